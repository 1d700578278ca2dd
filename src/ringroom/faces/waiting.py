"""Waiting on a thread for whoever is closing, and what interrupts it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from ringroom.processes.machine import Machine


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
