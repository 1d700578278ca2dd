"""A role: one of those that take turns under a `VirtualClock`."""

from __future__ import annotations

import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ringroom.testing.virtual.waits import Loop

__all__ = ["Role", "Stuck", "where_it_waits"]

_KIT = str(Path(__file__).parent)


class Stuck(AssertionError):
    """No role of a `VirtualClock` can ever go on; the message says which waits for what."""


class Role:
    """One of those that take turns. ``process`` names the process that it would belong to."""

    __slots__ = (
        "dead",
        "ended",
        "error",
        "failure",
        "fds",
        "frozen_ns",
        "gate",
        "joins",
        "loop",
        "name",
        "number",
        "process",
        "readable",
        "thread",
        "told",
        "turn",
        "until_ns",
        "waits",
    )

    def __init__(self, name: str, number: int, process: str) -> None:
        self.name = name
        self.number = number
        self.process = process
        self.gate = threading.Lock()
        self.gate.acquire()
        self.thread: threading.Thread = threading.current_thread()
        self.loop: Loop | None = None
        self.fds: tuple[int, ...] = ()
        self.readable: list[int] = []
        self.until_ns: int | None = None
        self.waits = False
        self.told = False
        """Whether the role may go on, whatever it waits for."""
        self.joins: Role | None = None
        self.turn = 0
        self.frozen_ns = 0
        self.dead = False
        self.ended = False
        self.error: BaseException | None = None
        """What the role's wait raises."""
        self.failure: BaseException | None = None
        """What the role's function has raised."""

    @property
    def lives(self) -> bool:
        return not (self.dead or self.ended)


def where_it_waits(role: Role, now_ns: int) -> str:
    """For people: where in the code, and until when."""
    if role.frozen_ns > now_ns:
        return f"is frozen for {(role.frozen_ns - now_ns) / 1e9:.3f} s more"
    limit = "without a time limit"
    if role.until_ns is not None:
        limit = f"for {(role.until_ns - now_ns) / 1e9:.3f} s more"
    if role.joins is not None:
        return f"waits for the end of {role.joins.name} {limit}{_place(role)}"
    return f"waits {limit}{_place(role)}"


def _place(role: Role) -> str:
    frame = sys._current_frames().get(role.thread.ident or 0)
    if frame is None:
        return ""
    calls = [
        call
        for call in traceback.extract_stack(frame)
        if not call.filename.startswith(_KIT) and call.filename != threading.__file__
    ]
    shown = [f"{call.name} ({call.filename.rpartition('/')[2]}:{call.lineno})" for call in calls]
    return ", in " + " < ".join(reversed(shown[-4:]))
