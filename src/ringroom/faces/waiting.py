"""Waiting on a thread: for the end of a session, and for whoever is closing; and what interrupts
it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import FrameType
from typing import TypeAlias

from ringroom.errors import StartupError
from ringroom.faces.connection import Connection
from ringroom.processes.machine import Machine
from ringroom.processes.waiting import Deadline

Wait: TypeAlias = Callable[[Iterable[int], float | None], object]
"""Until a descriptor is readable or the session changed, or so many seconds."""

# How often a thread looks that nothing can wake.
LOOK_SECONDS = 0.05


def leave(connection: Connection, hurried: Callable[[], bool] = lambda: False) -> None:
    """Leave the room, and wait until it is left, the time for that is up, or ``hurried`` says so
    (it is asked at each change of the session)."""
    connection.leave()
    limit = Deadline(connection.machine, connection.leaving_seconds, "not left")
    with always_waiting(connection) as wait:
        while not (connection.left() or hurried()) and (remaining := limit.remaining()):
            wait((connection.session.fileno(),), remaining)


@contextlib.contextmanager
def always_waiting(connection: Connection) -> Iterator[Wait]:
    """A function that waits for a change of the session, also when no descriptor is left for a
    waiter: then it looks every 0.05 s."""
    try:
        waiter = connection.waiter()
    except StartupError:
        yield partial(_wait_for_a_moment, connection.machine)
        return
    with waiter:
        yield waiter.wait


def _wait_for_a_moment(machine: Machine, fds: Iterable[int], seconds: float | None) -> None:
    machine.wait(fds, LOOK_SECONDS if seconds is None else min(LOOK_SECONDS, seconds))


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


@contextlib.contextmanager
def sigterm_raises(error: type[BaseException]) -> Iterator[None]:
    """Have the first SIGTERM raise the error in the main thread, the only one that can handle
    signals; in another thread this does nothing. Later ones change nothing: a service
    manager may send one to it and another to its group, and kills what does not end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    came = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if not came:
            came = True
            raise error

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        # None: the handler from before was not set by Python.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
