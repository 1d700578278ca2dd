"""The I/O role and workers as roles of one process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ringroom.link import Link
from ringroom.processes.children import Child
from ringroom.processes.hosts import IOThread
from ringroom.processes.worker.starting import run_role
from ringroom.testing.virtual.roles import Role

if TYPE_CHECKING:
    from ringroom.testing.virtual.clock import VirtualClock

__all__ = ["VirtualHost"]

_KILLED = -9


class VirtualHost(IOThread):
    """Starts the other roles under the clock. `VirtualClock.close` closes it."""

    replaces_dead = True

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(machine=clock)
        self._virtual = clock

    def _is_dead(self, patience: float) -> bool:
        return self._thread is not None and not self._thread.is_alive()

    def start_worker(self, number: int, control: Link, blob: bytes) -> Child:
        return _WorkerRole(self._virtual, number, control, blob)


class _WorkerRole:
    """A worker, as a `Child`: it has no process of its own, so no number either."""

    def __init__(self, clock: VirtualClock, number: int, control: Link, blob: bytes) -> None:
        fd = os.dup(control.fileno())
        self._clock = clock
        name = f"ringroom-worker-{number}"
        self._role: Role = clock.start_process(name, lambda: run_role(Link.attach(fd), blob, clock))

    pid = None
    pidfd = None
    voice = None

    @property
    def exitcode(self) -> int | None:
        if self._role.dead:
            return _KILLED
        if not self._role.ended:
            return None
        return 0 if self._role.failure is None else 1

    def join(self, timeout: float | None = None) -> None:
        self._role.thread.join(timeout)

    def kill(self) -> None:
        if self._role.lives:
            self._clock.bring_down(self._role)

    def close(self) -> None:
        return None
