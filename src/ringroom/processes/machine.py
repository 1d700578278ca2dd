"""What a role needs of the machine it runs on: time, waiting, threads, an event loop.

`MACHINE` is the real one. All waits and all looks at the clock go through it, and `hosts.IOHost`
starts the other roles, so that a test can play all roles in one process, one at a time and in
virtual time. No thread holds a lock while it waits, except that of the `condition` it waits on.
"""

from __future__ import annotations

import gc
import select
import threading
import time
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AbstractContextManager
from selectors import DefaultSelector
from typing import Any, TypeVar

from ringroom.sessions.inbox import Found
from ringroom.system import no_thread

__all__ = ["MACHINE", "Machine", "ProcessMachine"]

T = TypeVar("T")


class Machine:
    """The real machine. A substitute overrides all methods but `freeze_garbage`."""

    def now_ns(self) -> int:
        """Nanoseconds, never going back; the same for all roles."""
        return time.monotonic_ns()

    def now(self) -> float:
        """The same in seconds."""
        return time.monotonic()

    def wait(self, fds: Iterable[int], seconds: float | None) -> list[int]:
        """Wait until a descriptor is readable. Returns those that are, none when the time is up
        (None: it never is). Closed ones (-1) are left out."""
        poller = select.poll()
        for fd in fds:
            if fd >= 0:
                poller.register(fd, select.POLLIN)
        milliseconds = None if seconds is None else max(0.0, seconds) * 1000
        return [fd for fd, _ in poller.poll(milliseconds)]

    def select(self, selector: DefaultSelector, seconds: float | None) -> Found:
        """The same for what a selector watches, which costs less than naming it each time. A look
        that does not wait gives no other role a turn."""
        return selector.select(seconds)

    def lock(self) -> AbstractContextManager[bool]:
        """A lock for threads of one process, held for a moment; its holder may take it again."""
        return threading.RLock()

    def condition(self) -> threading.Condition:
        """A condition, on which threads of one process wait for each other."""
        return threading.Condition()

    def start_thread(self, name: str, run: Callable[[], object]) -> threading.Thread:
        """Start a thread of this process. Raises `StartupError` where none is to be had."""
        thread = threading.Thread(target=run, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            raise no_thread(name, error) from error
        return thread

    def freeze_garbage(self) -> None:
        """Called once all that lasts is made. Here it does nothing: the process is the user's."""

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run the coroutine on an event loop of its own, on this thread."""
        import asyncio  # a worker does without

        return asyncio.run(coroutine)


class ProcessMachine(Machine):
    """The machine of a role that has its process to itself."""

    def __init__(self) -> None:
        self._frozen = False

    def freeze_garbage(self) -> None:
        """Exempt all present objects from garbage collection: a full one takes 15 ms in an I/O
        process with LiveKit's SDK, and more in a worker with a large model. Only the first call
        does it, since what is garbage at that moment is never freed."""
        if not self._frozen:
            self._frozen = True
            gc.freeze()


MACHINE = Machine()
