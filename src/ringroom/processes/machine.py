"""What a role needs of the machine it runs on: time, waiting, threads, an event loop.

`MACHINE` is the real one. Whatever waits or asks for the time does it here, and `children.IOHost`
starts the other roles, so that a test can play all roles in one process, one at a time and in
virtual time. Nobody holds a lock while waiting, but that of the `condition` that is waited on.
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

__all__ = ["MACHINE", "Machine", "ProcessMachine"]

T = TypeVar("T")


class Machine:
    """The real machine; what stands for another overrides all of it but `freeze_garbage`."""

    def now_ns(self) -> int:
        """Nanoseconds, never going back; the same for all roles."""
        return time.monotonic_ns()

    def now(self) -> float:
        """The same in seconds."""
        return time.monotonic()

    def wait(self, fds: Iterable[int], seconds: float | None) -> list[int]:
        """Until one of them is readable: those that are, none when the time is up (None: never).
        What is closed (-1) is left out."""
        poller = select.poll()
        for fd in fds:
            if fd >= 0:
                poller.register(fd, select.POLLIN)
        milliseconds = None if seconds is None else max(0.0, seconds) * 1000
        return [fd for fd, _ in poller.poll(milliseconds)]

    def select(self, selector: DefaultSelector, seconds: float | None) -> Found:
        """The same for what a selector watches, which costs less than to name it each time. A look
        without waiting is nobody else's turn."""
        return selector.select(seconds)

    def lock(self) -> AbstractContextManager[bool]:
        """What threads of one process hold for a moment, once or several times."""
        return threading.RLock()

    def condition(self) -> threading.Condition:
        """What threads of one process wait on for each other."""
        return threading.Condition()

    def start_thread(self, name: str, run: Callable[[], object]) -> threading.Thread:
        """A thread of this process, started."""
        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        return thread

    def freeze_garbage(self) -> None:
        """All that lasts is made. Nothing, where the process is also somebody else's."""

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it on an event loop of its own, on this thread."""
        import asyncio  # a worker does without

        return asyncio.run(coroutine)


class ProcessMachine(Machine):
    """That of a role which has its process to itself."""

    def __init__(self) -> None:
        self._frozen = False

    def freeze_garbage(self) -> None:
        """The collector need not look through what is there now any more: a full collection takes
        15 ms of an I/O process with LiveKit's SDK, and more of a worker with a large model. Once:
        what is garbage just then stays for good."""
        if not self._frozen:
            self._frozen = True
            gc.freeze()


MACHINE = Machine()
