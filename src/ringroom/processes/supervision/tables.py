"""What becomes of a pool's processes: two tables, free of I/O and of clocks.

A *child* is a process; a *place* is what a child is there for (a worker's number). A child is
started for no place; once it is warm it waits as a spare, or takes a place that is vacant, and
keeps it until it dies. (state, happening) -> (state, actions): `CHILD` and `PLACE` name every pair,
and what is ignored says why. `supervisor.Supervisor` runs both for a pool. docs/design.md has the
tables as drawings, made by `draw`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class ChildState(StrEnum):
    """Where a child is in its life."""

    STARTING = "starting"
    WARM = "warm"
    SEATED = "seated"
    STUCK = "stuck"
    STOPPING = "stopping"
    ENDING = "ending"
    GONE = "gone"


class ChildHappening(StrEnum):
    """What can happen to a child."""

    READY = "ready"
    FAILED = "failed"
    SEAT = "seat"
    STILL = "still"
    MOVING = "moving"
    DONE = "done"
    STOP = "stop"
    LATE = "late"
    EXITED = "exited"


class PlaceState(StrEnum):
    """Where a place is in its life."""

    EMPTY = "empty"
    FILLED = "filled"
    WAITING = "waiting"
    VACANT = "vacant"
    OVER = "over"


class PlaceHappening(StrEnum):
    """What can happen to a place."""

    FILL = "fill"
    DIED = "died"
    DIED_SOON = "died soon"
    DIED_TOO_OFTEN = "died too often"
    LEFT = "left"
    TIME = "time"
    STOP = "stop"


class Action(StrEnum):
    """What the owner of the processes is to do."""

    SPAWN = "spawn"
    SEND_START = "send start"
    SEND_STOP = "send stop"
    REPORT_STUCK = "report stuck"
    REPORT_MOVING = "report moving"
    KILL = "kill"
    BURY = "bury"
    TELL_LOST = "tell lost"
    TELL_REPLACED = "tell replaced"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing follows."""

    why: str


ChildCell = tuple[ChildState, tuple[Action, ...]] | Ignored
PlaceCell = tuple[PlaceState, tuple[Action, ...]] | Ignored
ChildTable = Mapping[ChildState, Mapping[ChildHappening, ChildCell]]
PlaceTable = Mapping[PlaceState, Mapping[PlaceHappening, PlaceCell]]

_S, _H, _A, _P, _T = ChildState, ChildHappening, Action, PlaceState, PlaceHappening
_DEAD = Ignored("it is dead")
_DYING = Ignored("it will be dead in a moment")
_NOT_YET = Ignored("it does not work yet")
_NO_LIMIT = Ignored("nothing is waited for")
_ONCE = Ignored("it was so before")
_LEAVING = Ignored("it is leaving anyway")

CHILD: ChildTable = {
    _S.STARTING: {
        _H.READY: (_S.WARM, ()),
        _H.FAILED: (_S.ENDING, ()),
        _H.SEAT: Ignored("only a warm child is seated"),
        _H.STILL: _NOT_YET,
        _H.MOVING: _NOT_YET,
        _H.DONE: _NOT_YET,
        _H.STOP: (_S.ENDING, (_A.KILL,)),
        _H.LATE: (_S.ENDING, (_A.KILL,)),
        _H.EXITED: (_S.GONE, (_A.BURY,)),
    },
    _S.WARM: {
        _H.READY: _ONCE,
        _H.FAILED: Ignored("it has started"),
        _H.SEAT: (_S.SEATED, (_A.SEND_START,)),
        _H.STILL: _NOT_YET,
        _H.MOVING: _NOT_YET,
        _H.DONE: _NOT_YET,
        _H.STOP: (_S.STOPPING, (_A.SEND_STOP,)),
        _H.LATE: _NO_LIMIT,
        _H.EXITED: (_S.GONE, (_A.BURY,)),
    },
    _S.SEATED: {
        _H.READY: _ONCE,
        _H.FAILED: Ignored("it has started"),
        _H.SEAT: Ignored("it has a place"),
        _H.STILL: (_S.STUCK, (_A.REPORT_STUCK,)),
        _H.MOVING: _ONCE,
        _H.DONE: (_S.STOPPING, ()),
        _H.STOP: (_S.STOPPING, (_A.SEND_STOP,)),
        _H.LATE: _NO_LIMIT,
        _H.EXITED: (_S.GONE, (_A.BURY,)),
    },
    _S.STUCK: {
        _H.READY: _ONCE,
        _H.FAILED: Ignored("it has started"),
        _H.SEAT: Ignored("it has a place"),
        _H.STILL: _ONCE,
        _H.MOVING: (_S.SEATED, (_A.REPORT_MOVING,)),
        _H.DONE: (_S.STOPPING, ()),
        _H.STOP: (_S.STOPPING, (_A.SEND_STOP,)),
        _H.LATE: (_S.ENDING, (_A.KILL,)),
        _H.EXITED: (_S.GONE, (_A.BURY,)),
    },
    _S.STOPPING: {
        _H.READY: _LEAVING,
        _H.FAILED: _LEAVING,
        _H.SEAT: _LEAVING,
        _H.STILL: _LEAVING,
        _H.MOVING: _LEAVING,
        _H.DONE: _ONCE,
        _H.STOP: (_S.STOPPING, (_A.SEND_STOP,)),
        _H.LATE: (_S.ENDING, (_A.KILL,)),
        _H.EXITED: (_S.GONE, (_A.BURY,)),
    },
    _S.ENDING: {
        _H.READY: _DYING,
        _H.FAILED: _DYING,
        _H.SEAT: _DYING,
        _H.STILL: _DYING,
        _H.MOVING: _DYING,
        _H.DONE: _DYING,
        _H.STOP: _DYING,
        _H.LATE: (_S.ENDING, (_A.KILL,)),
        _H.EXITED: (_S.GONE, (_A.BURY,)),
    },
    _S.GONE: dict.fromkeys(ChildHappening, _DEAD),
}

_NOBODY = Ignored("nobody is there")
_SEATED = Ignored("somebody is there")
PLACE: PlaceTable = {
    _P.EMPTY: {
        _T.FILL: (_P.FILLED, ()),
        _T.DIED: _NOBODY,
        _T.DIED_SOON: _NOBODY,
        _T.DIED_TOO_OFTEN: _NOBODY,
        _T.LEFT: _NOBODY,
        _T.TIME: _NO_LIMIT,
        _T.STOP: (_P.OVER, ()),
    },
    _P.FILLED: {
        _T.FILL: _SEATED,
        _T.DIED: (_P.VACANT, (_A.TELL_LOST,)),
        _T.DIED_SOON: (_P.WAITING, (_A.TELL_LOST,)),
        _T.DIED_TOO_OFTEN: (_P.OVER, (_A.TELL_LOST, _A.FAIL)),
        _T.LEFT: (_P.OVER, ()),
        _T.TIME: _NO_LIMIT,
        _T.STOP: (_P.OVER, ()),
    },
    _P.WAITING: {
        _T.FILL: Ignored("it must wait"),
        _T.DIED: _NOBODY,
        _T.DIED_SOON: _NOBODY,
        _T.DIED_TOO_OFTEN: _NOBODY,
        _T.LEFT: _NOBODY,
        _T.TIME: (_P.VACANT, ()),
        _T.STOP: (_P.OVER, ()),
    },
    _P.VACANT: {
        _T.FILL: (_P.FILLED, (_A.TELL_REPLACED,)),
        _T.DIED: _NOBODY,
        _T.DIED_SOON: _NOBODY,
        _T.DIED_TOO_OFTEN: _NOBODY,
        _T.LEFT: _NOBODY,
        _T.TIME: _NO_LIMIT,
        _T.STOP: (_P.OVER, ()),
    },
    _P.OVER: dict.fromkeys(PlaceHappening, Ignored("it is over")),
}


def draw(table: ChildTable | PlaceTable) -> str:
    """The table as a Mermaid state diagram: what is ignored is left out."""
    lines = ["stateDiagram-v2", f"    [*] --> {next(iter(table))}"]
    for state, row in table.items():
        for happening, cell in row.items():
            if not isinstance(cell, Ignored):
                following, actions = cell
                does = f" / {', '.join(actions)}" if actions else ""
                lines.append(f"    {state} --> {following}: {happening}{does}")
    last = next(
        state for state, row in table.items() if all(isinstance(c, Ignored) for c in row.values())
    )
    return "\n".join([*lines, f"    {last} --> [*]"])
