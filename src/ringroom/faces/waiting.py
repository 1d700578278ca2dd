"""Waiting on a thread: for descriptors, for a change of the session, until a deadline, and for who
is closing; and what interrupts it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Self

from ringroom.faces.connection import Connection
from ringroom.lanes.memory import open_counter
from ringroom.options import check_timeout
from ringroom.processes.machine import Machine


class Waiter:
    """Waits for a change of the session without losing one between a look and the wait."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._counter = open_counter()

    def __enter__(self) -> Self:
        with self._connection.lock:
            self._connection.session.listeners.add(self._wake)
        return self

    def _wake(self) -> None:
        self._counter.add(1)

    def wait(self, fds: Iterable[int], seconds: float | None) -> bool:
        """Until a descriptor is readable or the session changed; False when the time is up."""
        changed = self._counter.fileno()
        ready = self._connection.machine.wait((changed, *fds), seconds)
        if changed in ready:
            self._counter.take()
        return bool(ready)

    def __exit__(self, *exc: object) -> None:
        with self._connection.lock:
            self._connection.session.listeners.discard(self._wake)
            self._counter.close()


class Deadline:
    """A time limit that several waits share; None waits for ever."""

    def __init__(self, machine: Machine, seconds: float | None, what: str) -> None:
        seconds = check_timeout(seconds)
        self._machine = machine
        self._end = None if seconds is None else machine.now() + seconds
        self._seconds = seconds
        self._what = what

    def remaining(self) -> float | None:
        return None if self._end is None else max(0.0, self._end - self._machine.now())

    def expired(self) -> TimeoutError:
        return TimeoutError(f"{self._what} within {self._seconds} s")


class Closing:
    """What is closed once: whoever comes meanwhile waits for that."""

    def __init__(self, machine: Machine) -> None:
        self._changed = machine.condition()
        self._over = False
        self._closer: tuple[int, object] | None = None

    def run(self, close: Callable[[], None], patience: float) -> None:
        """Close, or wait that many seconds for who does. One that was interrupted (Ctrl-C) can be
        run again. A signal handler, which would wait for what it has interrupted, does not."""
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
    """SIGTERM is raised as that, where signals can be handled at all (the main thread)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise error

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        # None: it was set by other means than Python's.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
