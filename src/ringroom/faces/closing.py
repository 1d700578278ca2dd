"""The end of a face: the room is left, by one thread, for which others wait."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ringroom.faces.connection import Connection
from ringroom.processes.machine import Machine
from ringroom.processes.waiting import Deadline

__all__ = ["Closing", "leave"]


def leave(connection: Connection, hurried: Callable[[], bool] = lambda: False) -> None:
    """Leave the room, and wait until it is left, the time for that is up, or ``hurried`` says so
    (it is asked at each change of the session)."""
    connection.leave()
    limit = Deadline(connection.machine, connection.leaving_seconds, "not left")
    with connection.always_waiting() as wait:
        while not (connection.left() or hurried()) and (remaining := limit.remaining()):
            wait((connection.session.fileno(),), remaining)


class Closing:
    """Has one thread close; other threads that come meanwhile wait for it."""

    def __init__(self, machine: Machine) -> None:
        self._changed = machine.condition()
        self._over = False
        self._closer: tuple[int, object] | None = None

    def run(self, close: Callable[[], None], patience: float) -> None:
        """Close, or wait that many seconds for the thread that does. A close that was interrupted
        (Ctrl-C) can be run again. A signal handler that interrupts one returns at once, for it
        would wait for itself."""
        me = (threading.get_ident(), object())
        try:
            if self._begin(me, patience):
                close()
                self._over = True
        finally:
            self._end(me)

    def _begin(self, me: tuple[int, object], patience: float) -> bool:
        with self._changed:
            if self._closer is None or self._closer[0] != me[0]:
                self._changed.wait_for(lambda: self._over or self._closer is None, patience)
            if self._over or self._closer is not None:
                return False
            self._closer = me
            return True

    def _end(self, me: tuple[int, object]) -> None:
        with self._changed:
            if self._closer is me:
                self._closer = None
                self._changed.notify_all()
