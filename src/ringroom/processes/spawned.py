"""A child process whose end is waited for without trusting the child.

`multiprocess` waits for the end of a pipe that the child has inherited, and then, without limit,
for the process. User code may close all descriptors and live on, or start a program that holds
them open and outlives it. Here the process itself tells of its end, by its pidfd; where there is
none, it is asked in steps.
"""

from __future__ import annotations

import contextlib
import os
import select
import time

from multiprocess.context import SpawnProcess

__all__ = ["Spawned"]

_STEP_SECONDS = 0.02


class Spawned(SpawnProcess):  # type: ignore[misc]
    """A `multiprocess.Process`, owned until `close` by the caller that has started it."""

    pidfd: int | None = None
    """Readable once it is dead; None where there is no such, before `start` and after `close`."""

    def start(self) -> None:
        super().start()
        if hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):  # an old kernel, or no descriptors are left
                self.pidfd = os.pidfd_open(self.pid)

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end, for that many seconds at most. `exitcode` tells whether it came."""
        if timeout is None:
            super().join()
            return
        end = time.monotonic() + timeout
        super().join(0)
        over = False  # and no exit code: the application has waited for all of its children
        while self.exitcode is None and not over and (left := end - time.monotonic()) > 0:
            over = self._ends_within(left)

    def _ends_within(self, seconds: float) -> bool:
        if self.pidfd is None:
            time.sleep(min(seconds, _STEP_SECONDS))
            return False
        poller = select.poll()
        poller.register(self.pidfd, select.POLLIN)
        return bool(poller.poll(seconds * 1000))

    def close(self) -> None:
        """Idempotent. One that lives was given up (see `spawning.put_down`): `multiprocess` reaps
        it when another is started."""
        fd, self.pidfd = self.pidfd, None
        if fd is not None:
            os.close(fd)
        with contextlib.suppress(ValueError):  # it lives
            super().close()
