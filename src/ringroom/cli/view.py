"""What runs, live: a table of all tracks and the CPU of every process.

On a terminal it is drawn again and again in place; elsewhere it is a plain line now and then.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ringroom.faces.connection import Statistics
from ringroom.messages import APPLICATION
from ringroom.pool import Pool
from ringroom.sessions.accounts import LaneStatistics
from ringroom.system import process_status

__all__ = ["Processes", "View", "machine_seconds", "pool_processes", "says"]

_PLAIN_SECONDS = 2.0


def says(line: str = "") -> None:
    """Print a line for the user on standard output; nothing where that is closed."""
    if sys.stdout is not None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def machine_seconds() -> float:
    """CPU seconds that all processes have used since the machine started; 0 without /proc."""
    try:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    except OSError:
        return 0.0
    idle_and_waiting = (3, 4)
    used = sum(int(f) for n, f in enumerate(fields[:8]) if n not in idle_and_waiting)
    return used / os.sysconf("SC_CLK_TCK")


def pool_processes(pool: Pool) -> dict[int, str]:
    """The names of the processes that work for a pool now."""
    named = {pid: f"worker {place}" for place, pid in enumerate(pool.pids)}
    return named if pool.io_pid is None else {pool.io_pid: "I/O", **named}


class Processes:
    """The CPU of this process and its children, from /proc; nothing where there is no /proc.

    ``known`` tells the names of children by pid; children that it does not name, such as spares,
    are not shown. `pool_processes` names those of a pool.
    """

    def __init__(self, known: Callable[[], dict[int, str]]) -> None:
        self._known = known
        self._before: dict[int, float] = {}
        self._at = 0.0

    def usage(self) -> list[tuple[str, float]]:
        """(name, share of a core since the last call)."""
        names = {os.getpid(): "app", **self._known()}
        now = time.monotonic()
        since, self._at = now - self._at, now
        seconds = {pid: used for pid in names if (used := _seconds(pid)) is not None}
        before, self._before = self._before, seconds
        return [
            (names[pid], (used - before[pid]) / max(since, 1e-9))
            for pid, used in seconds.items()
            if pid in before
        ]


def _seconds(pid: int) -> float | None:
    """CPU seconds; None where there is no /proc, and for what is neither this process nor a child
    of its: a number may be a stranger's by now."""
    fields, me = process_status(pid), os.getpid()
    if not fields or me not in (pid, int(fields[1])):
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class View:
    """Call `tick` a few times each second."""

    def __init__(
        self, title: str, read: Callable[[], Statistics], processes: Processes, console: Console
    ) -> None:
        self._title = title
        self._read = read
        self._processes = processes
        self._console = console
        self._began = time.monotonic()
        self._told = self._began
        self._usage = processes.usage()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=False)
            self._live.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def tick(self) -> None:
        """Show the present state, if it is time to."""
        now = time.monotonic()
        if now - self._told < (0.25 if self._live else _PLAIN_SECONDS):
            return
        self._told = now
        statistics = self._read()
        self._usage = self._processes.usage()
        if self._live is None:
            says(self._line(statistics))
        else:
            self._live.update(Group(self._table(statistics), self._cpu()), refresh=True)

    def _line(self, statistics: Statistics) -> str:
        into, out = statistics.received, statistics.sent
        parts = [
            f"{time.monotonic() - self._began:6.1f} s",
            f"in {into.sent}",
            f"processed {into.done}",
            f"dropped {into.dropped}",
            f"lost {into.lost}",
            f"oldest {into.oldest_ns / 1e6:.0f} ms",
            f"out {out.sent}",
            f"cpu {_shares(self._usage)}",
        ]
        return "  ".join(parts)

    def _table(self, statistics: Statistics) -> Table:
        seconds = time.monotonic() - self._began
        table = Table(title=f"{self._title}  {seconds:.0f} s", title_justify="left")
        for heading in ("", "track", "kind", "by"):
            table.add_column(heading)
        for heading in ("frames", "done", "dropped", "lost", "age ms", "oldest"):
            table.add_column(heading, justify="right")
        for lane in sorted(statistics.lanes, key=lambda lane: (lane.direction, lane.track)):
            table.add_row(*_cells(lane))
        return table

    def _cpu(self) -> Text:
        return Text(f"CPU  {_shares(self._usage)}")


def _cells(lane: LaneStatistics) -> tuple[str, ...]:
    counts = lane.counts
    track = f"{lane.participant}/{lane.track}" if lane.participant else lane.track
    return (
        "room →" if lane.direction == "in" else "→ room",
        track or str(lane.kind),
        str(lane.kind),
        _where(lane.place),
        str(counts.sent),
        str(counts.done),
        str(counts.dropped),
        str(counts.lost),
        f"{counts.waited_ns / counts.taken / 1e6:.1f}" if counts.waited_ns else "",
        f"{counts.oldest_ns / 1e6:.1f}" if counts.oldest_ns else "",
    )


def _where(place: int) -> str:
    return "app" if place == APPLICATION else f"worker {place}"


def _shares(usage: list[tuple[str, float]]) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in usage) or "unknown"
