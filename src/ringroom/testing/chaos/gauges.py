"""What processes hold, read from ``/proc``: descriptors, threads, memory; and the machine's steal."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Gauge", "Holdings", "cpu_ticks", "is_asleep", "steal_between"]

_MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Holdings:
    """What one process has, or several together. Of memory only what is nobody else's (anonymous):
    rings are shared, and of a fixed size."""

    descriptors: int = 0
    threads: int = 0
    memory: int = 0

    @classmethod
    def of(cls, pids: Iterable[int]) -> Holdings:
        """Those that have just died hold nothing."""
        total = cls()
        for pid in pids:
            try:
                descriptors = len(os.listdir(f"/proc/{pid}/fd"))
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            # A process that has ended and waits for its parent has no memory to tell.
            lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
            total = cls(
                descriptors=total.descriptors + descriptors,
                threads=total.threads + int(lines["Threads"]),
                memory=total.memory + int(lines.get("RssAnon", "0").split()[0]) * 1024,
            )
        return total

    def __str__(self) -> str:
        return (
            f"{self.descriptors} descriptors, {self.threads} threads, {self.memory / _MIB:.0f} MiB"
        )


@dataclass(frozen=True, kw_only=True)
class Gauge:
    """The application, its I/O process and its workers, at a moment when nothing goes wrong."""

    application: Holdings
    io: Holdings
    workers: Holdings
    children: int


def cpu_ticks() -> tuple[int, int]:
    """What the hypervisor has taken from this machine, and all time of its processors."""
    numbers = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    return numbers[7], sum(numbers)


def steal_between(before: tuple[int, int], after: tuple[int, int]) -> float:
    """The share that the hypervisor took."""
    return (after[0] - before[0]) / max(1, after[1] - before[1])


def is_asleep(pid: int) -> tuple[str, str] | None:
    """What tells, if it is the same at two moments, that a process waits for something: its state
    and its faults; None if it works, or is dead."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (text[0], text[11]) if text[0] == "S" else None
