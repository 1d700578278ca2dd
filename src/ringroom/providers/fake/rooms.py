"""The open fake rooms of this process, so that a room can be named as a real one is.

Holds them weakly: to name a room never keeps it alive.
"""

from __future__ import annotations

import socket
import threading
import weakref
from typing import Protocol, runtime_checkable

from ringroom.checks import shown
from ringroom.errors import RoomError

__all__ = ["Reachable", "announce", "find", "opened", "withdraw"]


@runtime_checkable
class Reachable(Protocol):
    """A room in this process that a provider can connect to."""

    @property
    def name(self) -> str:
        """The name that `find` knows it by; several open rooms may share one."""

    def dial(self) -> socket.socket:
        """The application's end of a fresh connection, which the caller owns.

        Raises `RoomError` (``unreachable``) if the room is closed.
        """


_lock = threading.Lock()
_open: weakref.WeakSet[Reachable] = weakref.WeakSet()


def announce(room: Reachable) -> None:
    with _lock:
        _open.add(room)


def withdraw(room: Reachable) -> None:
    with _lock:
        _open.discard(room)


def opened() -> list[Reachable]:
    """All that are open."""
    with _lock:
        return list(_open)


def find(name: str) -> Reachable:
    """The one open room of that name. Raises `RoomError` (``unreachable``) if none or several."""
    rooms = opened()
    found = [room for room in rooms if room.name == name]
    if len(found) == 1:
        return found[0]
    names = ", ".join(sorted(room.name for room in rooms)) or "none"
    raise RoomError(
        f"fake: {len(found)} open rooms are called {shown(name)}, expected one (open: {names}); "
        "pass the FakeRoom itself as room=",
        reason="unreachable",
    )
