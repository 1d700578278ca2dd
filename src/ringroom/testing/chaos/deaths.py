"""Kills, freezes and hangs of a pool's processes, and how long each recovery took.

A process has recovered once its successor has taken a frame; a worker that had no frames to take
needs only a successor. A recovery that takes longer than it may is a broken law.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from ringroom.pool import Pool
from ringroom.processes.hosts import IOProcess
from ringroom.system import process_status
from ringroom.testing import faults
from ringroom.testing.chaos import plan as p
from ringroom.testing.chaos.actor import HOLD, SLEEP
from ringroom.testing.chaos.gauges import is_asleep
from ringroom.testing.floor import DeadlinePassed
from ringroom.testing.simulation.laws import Broken

__all__ = ["PAUSE", "Deaths", "Recovery", "Watched"]

# A worker that has taken less in that time gets only messages, which come now and then.
_IDLE_SECONDS, _AT_WORK = 0.5, 5
# Between looks at what is measured, and at what is only waited for.
_LOOK_SECONDS, PAUSE = 0.0005, 0.02
_LOOKS, _LOOKS_APART = 5, 0.02


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """A death or hang, and the seconds until all was as before."""

    kind: str
    seconds: float


class Watched(Protocol):
    """What `Deaths` needs of the run that it is part of."""

    @property
    def blocked_until(self) -> float:
        """Until then frames need not flow (`time.monotonic`)."""

    def check(self) -> None:
        """Raises `Broken` if a law was broken anywhere."""


class Deaths:
    """See the module's docstring. Its methods raise `Broken`."""

    def __init__(self, pool: Pool, plan: p.Plan, watched: Watched) -> None:
        self.recoveries: list[Recovery] = []
        self.kills: dict[str, int] = {}
        self._pool = pool
        self._plan = plan
        self._watched = watched

    def until(
        self, condition: Callable[[], object], what: str, pause: float = _LOOK_SECONDS
    ) -> None:
        """Raises `Broken` when it takes longer than it may."""
        began = time.monotonic()
        while not condition():
            self._watched.check()
            if time.monotonic() > max(began, self._watched.blocked_until) + self._plan.patience:
                raise Broken("recovery", f"waited {self._plan.patience:g} s for {what}")
            time.sleep(pause)

    def let(self, happening: p.Happening) -> bool:
        """Let it happen, and wait until it is overcome; False for a happening of another kind."""
        match happening:
            case p.Kill():
                self._kill(happening)
            case p.Freeze():
                self._freeze(happening)
            case p.Stick():
                self._stick(happening)
            case _:
                return False
        return True

    # Who is there.

    def wait_until_ready(self) -> None:
        """Wait until any process that dies can be replaced at once."""
        pool = self._pool
        self.until(lambda: pool.spares >= self._plan.spares, "warm spares", PAUSE)
        if self._plan.standby:
            self.until(self._has_standby, "a standby process that is ready", PAUSE)

    def _has_standby(self) -> bool:
        """Whether the standby is ready, or was killed: it is not replaced before its turn then."""
        pid = self._standby_pid()
        if pid is None:
            return False
        looks = []
        for _ in range(_LOOKS):
            looks.append(is_asleep(pid))
            time.sleep(_LOOKS_APART)
        return (looks[0] is not None and len(set(looks)) == 1) or not _lives(pid)

    def _standby_pid(self) -> int | None:
        host = self._pool._connection.host
        return host.standby_pid if isinstance(host, IOProcess) else None

    def _pids(self, target: str) -> list[int]:
        """The processes of that name, as of now."""
        kind, _, number = target.partition(" ")
        pool = self._pool
        seated = pool.pids
        found: list[int | None]
        match kind:
            case "worker":
                found = [seated[int(number)]]
            case "io":
                found = [pool.io_pid]
            case "standby":
                found = [self._standby_pid()]
            case _:
                members = tuple(pool._staff._crew._members.values())
                there = [member.process.pid for member in members]
                found = [pid for pid in there if pid not in seated][:1]
        return [pid for pid in found if pid]

    def _busy(self) -> set[int]:
        """The places that have frames to take."""
        was = [self._taken(place) for place in range(self._plan.places)]
        end = time.monotonic() + _IDLE_SECONDS
        busy: set[int] = set()
        while time.monotonic() < end and len(busy) < self._plan.places:
            for place, count in enumerate(was):
                if abs(self._taken(place) - count) >= _AT_WORK:
                    busy.add(place)
            time.sleep(_LOOK_SECONDS)
        return busy

    def _taken(self, place: int) -> int:
        return self._pool._staff.progress(place).count

    # What happens to them.

    def _kill(self, kill: p.Kill) -> None:
        if kill.ready:
            self.wait_until_ready()
        busy, generation = self._busy(), self._pool._staff.generation
        places = {int(t.split()[1]) for t in kill.targets if t.startswith("worker")}
        io = "io" in kill.targets
        name = self._kind(kill, places)
        clear = time.monotonic() > self._watched.blocked_until
        before = self._pool.pids
        pids = [pid for target in kill.targets for pid in self._pids(target)]
        began = time.monotonic()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, kill.number)
        self.kills[name] = self.kills.get(name, 0) + 1
        self.until(
            lambda: all(self._pool.pids[place] != before[place] for place in places),
            f"another worker in place of {places}",
        )
        if io:
            self.until(lambda: self._pool._staff.generation > generation, "another I/O process")
        self._overcome(busy if io else busy & places)
        if (io or places) and clear:
            self._note(name, began)

    def _kind(self, kill: p.Kill, places: Collection[int]) -> str:
        """What happens, and whether a successor is ready: that decides how long it takes."""
        parts = []
        if places:
            warm = "spare" not in kill.targets and self._pool.spares >= len(places)
            many = f"{len(places)} workers" if len(places) > 1 else "worker"
            parts.append(f"{many} killed, {'spare warm' if warm else 'no spare warm'}")
        if "io" in kill.targets:
            pid = None if "standby" in kill.targets else self._standby_pid()
            ready = pid is not None and is_asleep(pid) is not None
            parts.append(f"I/O process killed, {'standby ready' if ready else 'no standby ready'}")
        return " + ".join(parts) or f"{kill.targets[0]} killed"

    def _overcome(self, places: Collection[int]) -> None:
        """Wait until frames are taken at these places again."""
        was = {place: self._taken(place) for place in places}
        self.until(
            lambda: all(self._taken(place) != count for place, count in was.items()),
            f"frames that are taken at {sorted(places)}",
        )

    def _freeze(self, freeze: p.Freeze) -> None:
        busy = self._busy()
        pids = self._pids(freeze.target)
        # It may die meanwhile, or just before.
        with contextlib.suppress(ProcessLookupError, DeadlinePassed), faults.frozen(pids[0]):
            time.sleep(freeze.seconds)
        began = time.monotonic()
        kind, _, place = freeze.target.partition(" ")
        self._overcome(busy & {int(place)} if place else busy)
        if began > self._watched.blocked_until:
            self._note(f"{'worker' if kind == 'worker' else 'I/O process'} frozen", began)

    def _stick(self, stick: p.Stick) -> None:
        if stick.place not in self._busy():
            return
        pid = self._pool.pids[stick.place]
        began = time.monotonic()
        clear = began > self._watched.blocked_until
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, HOLD if stick.gil else SLEEP)
        self.until(lambda: self._pool.pids[stick.place] != pid, f"worker {stick.place} to be freed")
        self._overcome({stick.place})
        if clear:
            self._note("worker stuck" + (" in C code" if stick.gil else ""), began)

    def _note(self, kind: str, began: float) -> None:
        self.recoveries.append(Recovery(kind=kind, seconds=time.monotonic() - began))


def _lives(pid: int) -> bool:
    return process_status(pid)[:1] not in ([], ["Z"], ["X"])
