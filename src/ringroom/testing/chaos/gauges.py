"""What processes hold, read from ``/proc``: descriptors, threads, memory. And the processor time
that the hypervisor has taken from the machine."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ringroom.pool import Pool
from ringroom.system import process_status
from ringroom.testing.belongings import belongings

__all__ = [
    "Gauge",
    "Holdings",
    "cpu_ticks",
    "grown",
    "held_by",
    "is_asleep",
    "left_behind",
    "memory_grown",
    "steal_between",
]

_MIB = 1 << 20
# What may be more at a moment of rest than at the first: what comes and goes by itself.
_DESCRIPTORS, _THREADS, _MEMORY, _SHARE = 8, 2, 32 * _MIB, 1.25
_LOOK_SECONDS = 0.1
_LISTENS = "0A"  # the state of a socket, in the kernel's list


@dataclass(frozen=True, kw_only=True)
class Holdings:
    """What one process has, or several together. Of memory only the anonymous, which is not shared:
    rings are shared, and of a fixed size."""

    descriptors: int = 0
    threads: int = 0
    memory: int = 0

    @classmethod
    def of(cls, pids: Iterable[int]) -> Holdings:
        """The sum over these processes; those that have just died hold nothing."""
        total = cls()
        for pid in pids:
            try:
                descriptors = _descriptors(pid)
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


def _descriptors(pid: int) -> int:
    """How many it has, without those that WebRTC has beside its sockets for UDP: for each of them
    one on which it listens for TCP, at times for minutes, at times not at all."""
    names = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # it has just been closed
            names.append(os.readlink(descriptor))
    listening = _sockets(pid, "tcp", _LISTENS).intersection(names)
    return len(names) - min(len(listening), len(_sockets(pid, "udp").intersection(names)))


def _sockets(pid: int, kind: str, state: str = "") -> set[str]:
    """Those of that kind, as descriptors name them, of all processes that share its network."""
    found = set()
    for table in (kind, f"{kind}6"):
        with contextlib.suppress(FileNotFoundError):  # there is no IPv6
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if not state or fields[3] == state:
                    found.add(f"socket:[{fields[9]}]")
    return found


def cpu_ticks() -> tuple[int, int]:
    """What the hypervisor has taken from this machine, and all time of its processors."""
    numbers = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    return numbers[7], sum(numbers)


def steal_between(before: tuple[int, int], after: tuple[int, int]) -> float:
    """The share that the hypervisor took."""
    return (after[0] - before[0]) / max(1, after[1] - before[1])


def is_asleep(pid: int) -> tuple[str, str] | None:
    """The process's state and faults, which are the same at two moments if it waits for something;
    None if it works, or is dead."""
    fields = process_status(pid)
    return (fields[0], fields[11]) if fields[:1] == ["S"] else None


def held_by(pool: Pool) -> Gauge:
    """What the application, with a pool that runs, and its processes hold now."""
    gc.collect()
    with contextlib.suppress(AttributeError):
        # Memory that is free, but that glibc keeps, does not count.
        ctypes.CDLL(None).malloc_trim(0)
    return Gauge(
        application=Holdings.of([os.getpid()]),
        io=Holdings.of([pool.io_pid] if pool.io_pid else []),
        workers=Holdings.of(pool.pids),
        children=sum(text.startswith("child ") for text in belongings()),
    )


def grown(start: Gauge, now: Gauge) -> str:
    """What is more than at the start, in words; empty if nothing is."""
    found = []
    for who in ("application", "io"):
        before, after = getattr(start, who), getattr(now, who)
        if after.descriptors > before.descriptors + _DESCRIPTORS:
            found.append(f"{who}: {after.descriptors} descriptors, {before.descriptors} at first")
        if after.threads > before.threads + _THREADS:
            found.append(f"{who}: {after.threads} threads, {before.threads} at first")
    if now.children > start.children:
        found.append(f"{now.children} children, {start.children} at first")
    return "; ".join(found)


def memory_grown(before: Gauge, now: Gauge) -> str:
    """Which memory has grown beyond noise, in words; empty if none has."""
    found = []
    for who in ("application", "io", "workers"):
        was, is_ = getattr(before, who).memory, getattr(now, who).memory
        if is_ > was * _SHARE + _MEMORY:
            found.append(f"{who}: {is_ // _MIB} MiB at the end, {was // _MIB} in the middle")
    return "; ".join(found)


def left_behind(before: set[str], patience: float) -> str:
    """What is more than before, in words, after all is over."""
    end, left = time.monotonic() + patience, {""}
    while left and time.monotonic() < end:
        gc.collect()
        left = belongings() - before
        time.sleep(_LOOK_SECONDS if left else 0.0)
    return "left behind: " + ", ".join(sorted(left)) if left else ""
