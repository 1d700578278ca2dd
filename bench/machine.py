"""What the machine did meanwhile: time that the hypervisor took, and who else computed.

A figure is worth no more than the quiet in which it was measured, so each run is recorded with its
conditions, and a run whose conditions were bad is known as such.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

TICKS = os.sysconf("SC_CLK_TCK")
# Beyond these a run is noisy. A core that somebody else uses for a twentieth of the time shows in
# the 99th percentile.
MAX_STOLEN = 0.02
MAX_OTHERS = 0.05


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What a run was measured under."""

    seconds: float
    stolen: float
    """Share of the machine's core time that the hypervisor gave to somebody else."""
    others: float
    """Cores that processes outside of the run used."""
    load: float
    """The load average over a minute, at the end."""

    @property
    def noisy(self) -> bool:
        return self.stolen > MAX_STOLEN or self.others > MAX_OTHERS

    @property
    def badness(self) -> float:
        """For choosing among noisy runs."""
        return self.stolen / MAX_STOLEN + self.others / MAX_OTHERS


class Watch:
    """A context manager; `conditions` afterwards. The process and all its descendants are the
    run's own, and so are the trees below ``also`` (a server in a container)."""

    conditions: Conditions

    def __init__(self, also: Collection[int] = ()) -> None:
        self._also = also

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._before = _machine_seconds()
        self._ours = tree_seconds((os.getpid(), *self._also))
        return self

    def __exit__(self, *exc_info: object) -> None:
        seconds = time.monotonic() - self._began
        busy, stolen = (
            now - then for now, then in zip(_machine_seconds(), self._before, strict=True)
        )
        ours = tree_seconds((os.getpid(), *self._also)) - self._ours
        self.conditions = Conditions(
            seconds=seconds,
            stolen=stolen / seconds / cores(),
            others=max(0.0, busy - ours) / seconds,
            load=os.getloadavg()[0],
        )


def cores() -> int:
    return os.cpu_count() or 1


def description() -> dict[str, str | int]:
    """The machine in a few words, for whoever reads a result later."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "processor": model,
        "cores": cores(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _machine_seconds() -> tuple[float, float]:
    """Core seconds since the machine started: spent in processes, and stolen. Interrupts count
    for nobody: those of our own packets cannot be told from others."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    user, nice, system = (int(field) for field in fields[1:4])
    return (user + nice + system) / TICKS, int(fields[8]) / TICKS


def tree_seconds(roots: Iterable[int]) -> float:
    """Core seconds of the processes and their descendants, those that have ended included."""
    parents, seconds = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        pid = int(path.parent.name)
        parents[pid] = int(fields[1])
        seconds[pid] = sum(int(field) for field in fields[11:15]) / TICKS
    ours = set(roots)

    def is_ours(pid: int) -> bool:
        while pid > 1:
            if pid in ours:
                return True
            pid = parents.get(pid, 0)
        return False

    return sum(spent for pid, spent in seconds.items() if is_ours(pid))


_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def adopt_orphans() -> None:
    """Processes whose parent below us has ended are our children from now on, for `reap_group`."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no subreaper")


def reap_group(group: int) -> None:
    """Wait for the children of a process group that was killed: what they have computed counts as
    ours only then."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-group, 0)


def process_seconds(pid: int) -> float:
    """Core seconds of all threads of a process, to the nanosecond (those of threads that have
    ended are not in it). Raises `OSError` when it has ended."""
    total = 0
    for path in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((path / "schedstat").read_text().split()[0])
        except OSError:
            continue
    return total / 1e9


def memory(pid: int) -> dict[str, float]:
    """Megabytes: ``private`` to the process, and its ``share`` of all (pages that several
    processes map are divided among them)."""
    sums = {"Pss": 0, "Private_Clean": 0, "Private_Dirty": 0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in sums:
            sums[name] += int(rest.split()[0])
    private = sums["Private_Clean"] + sums["Private_Dirty"]
    return {"private": private / 1024, "share": sums["Pss"] / 1024}
