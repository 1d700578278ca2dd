"""What a pool does about its workers: (state, event) -> (state, actions), free of I/O.

    starting --ready--> ready --begin--> running --stop--> stopping --exited--> ended
    starting --failed/exited--> failed        running --exited--> failed

A worker that dies while it should run fails the pool, with the reason: its tracks have no reader
any more. `children` and `pool` carry out the actions; time is handed in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class State(StrEnum):
    """Where a worker is in its life."""

    STARTING = "starting"
    READY = "ready"
    RUNNING = "running"
    STOPPING = "stopping"
    ENDED = "ended"
    FAILED = "failed"


class Happening(StrEnum):
    """What can happen to a worker."""

    READY = "ready"
    BEGIN = "begin"
    STOP = "stop"
    FAILED = "failed"
    EXITED = "exited"


class Action(StrEnum):
    """What the pool is to do."""

    SEND_START = "send start"
    SEND_STOP = "send stop"
    FAIL_POOL = "fail pool"


_S, _H, _A = State, Happening, Action
TABLE: dict[tuple[State, Happening], tuple[State, tuple[Action, ...]]] = {
    (_S.STARTING, _H.READY): (_S.READY, ()),
    (_S.STARTING, _H.STOP): (_S.STOPPING, (_A.SEND_STOP,)),
    (_S.STARTING, _H.FAILED): (_S.FAILED, (_A.FAIL_POOL,)),
    (_S.STARTING, _H.EXITED): (_S.FAILED, (_A.FAIL_POOL,)),
    (_S.READY, _H.BEGIN): (_S.RUNNING, (_A.SEND_START,)),
    (_S.READY, _H.STOP): (_S.STOPPING, (_A.SEND_STOP,)),
    (_S.READY, _H.EXITED): (_S.FAILED, (_A.FAIL_POOL,)),
    (_S.RUNNING, _H.STOP): (_S.STOPPING, (_A.SEND_STOP,)),
    (_S.RUNNING, _H.EXITED): (_S.FAILED, (_A.FAIL_POOL,)),
    (_S.STOPPING, _H.EXITED): (_S.ENDED, ()),
}


@dataclass(slots=True)
class WorkerLife:
    """One worker's state; what the table does not name changes nothing."""

    state: State = State.STARTING
    history: list[tuple[Happening, State]] = field(default_factory=list)

    def on(self, happening: Happening) -> tuple[Action, ...]:
        """Apply what happened; the actions it asks for."""
        entry = TABLE.get((self.state, happening))
        if entry is None:
            return ()
        self.state, actions = entry
        self.history.append((happening, self.state))
        return actions

    @property
    def over(self) -> bool:
        return self.state in (State.ENDED, State.FAILED)
