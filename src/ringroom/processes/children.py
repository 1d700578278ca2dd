"""A pool's children: workers, as their pool sees them."""

from __future__ import annotations

import logging
from typing import Protocol

from ringroom.lanes.memory import Segment
from ringroom.link import Link
from ringroom.processes.spawning import Inherited, Process, spawn
from ringroom.processes.worker_voice import Voice

__all__ = ["Child", "WorkerProcess"]

log = logging.getLogger("ringroom")


class Child(Process, Protocol):
    """A worker that was started: a process, or, in virtual time, a role of ours."""

    @property
    def voice(self) -> Voice | None:
        """What it says beside its link; None for a worker without streams of its own."""

    @property
    def pidfd(self) -> int | None:
        """Readable once the worker is dead, even if others hold its links; None where there is no
        such descriptor, and the end of the link has to do."""

    @property
    def pid(self) -> int | None: ...


class WorkerProcess:
    """A worker in a process of its own, with its `Voice`."""

    def __init__(self, number: int, control: Link, blob: bytes) -> None:
        from ringroom.processes import entry

        self.voice = Voice()
        try:
            with Segment.holding(blob) as segment:
                self._process = spawn(
                    f"ringroom-worker-{number}",
                    entry.worker_process,
                    Inherited(control.fileno()),
                    Inherited(segment.fd),
                    tuple(Inherited(fd) for fd in self.voice.theirs),
                    log.getEffectiveLevel(),
                )
        except BaseException:
            self.voice.close()
            raise
        self.voice.handed_over()

    @property
    def pidfd(self) -> int | None:
        return self._process.pidfd

    @property
    def pid(self) -> int | None:
        return int(self._process.pid)

    @property
    def exitcode(self) -> int | None:
        code: int | None = self._process.exitcode
        return code

    def join(self, timeout: float | None = None) -> None:
        self._process.join(timeout)

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        self.voice.close()
        self._process.close()
