"""What a chaos run has found: how long recoveries took, what became of all frames, what is held."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from ringroom.faces.connection import Statistics
from ringroom.lanes.statistics import LaneCounts
from ringroom.testing.chaos.deaths import Recovery
from ringroom.testing.chaos.gauges import Gauge

__all__ = ["Report"]


@dataclass(kw_only=True)
class Report:
    """What a chaos run has found. ``law`` is empty if all laws were kept."""

    law: str = ""
    """The law that was broken."""
    text: str = ""
    """In what way."""
    title: str = ""
    seconds: float = 0.0
    kills: dict[str, int] = field(default_factory=dict)
    """How many kills there were, by what was killed."""
    recoveries: list[Recovery] = field(default_factory=list)
    """Recoveries from kills and hangs, except those that another fault held up."""
    happenings: dict[str, int] = field(default_factory=dict)
    """What else went wrong."""
    last: deque[str] = field(default_factory=lambda: deque(maxlen=8))
    """What happened last, as code."""
    problems: dict[str, int] = field(default_factory=dict)
    """How often ``on_error`` was called, by where."""
    answers: int = 0
    calls: int = 0
    """Calls that have ended, of both sides."""
    mutes: int = 0
    """How often our own track was muted or unmuted."""
    statistics: Statistics | None = None
    gauges: dict[str, Gauge] = field(default_factory=dict)
    """At the start, in the middle and at the end."""
    steal: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether all laws were kept."""
        return not self.law

    def quantile(self, kind: str, part: float) -> float:
        """Seconds of the recoveries of a kind; ``part`` 1 is the longest. Raises `LookupError`."""
        times = sorted(one.seconds for one in self.recoveries if one.kind == kind)
        return times[min(len(times) - 1, int(len(times) * part))]

    def __str__(self) -> str:
        lines = [self.title]
        lines += self._recovery_lines()
        if self.happenings:
            lines.append("also: " + _counts(self.happenings))
        if self.statistics is not None:
            lines.append("received " + _fate(self.statistics.received))
            lines.append("sent     " + _fate(self.statistics.sent))
        lines.append(
            f"answers to messages {self.answers}; {self.calls} calls, {self.mutes} mutes; "
            f"problems: {_counts(self.problems)}"
        )
        lines += self._gauge_lines()
        lines.append(f"{self.seconds:.0f} s, steal {self.steal:.1%}")
        if self.law:
            lines += ["the last that happened:", *(f"  {one}" for one in self.last)]
        lines.append(f"broken: {self.law}: {self.text}" if self.law else "all laws were kept")
        return "\n".join(lines)

    def _recovery_lines(self) -> list[str]:
        kinds = sorted({*self.kills, *(one.kind for one in self.recoveries)})
        if not kinds:
            return []
        rows: list[tuple[str, ...]] = [("", "times", "measured", "p50", "p99", "max")]
        for kind in kinds:
            count = sum(one.kind == kind for one in self.recoveries)
            times = [f"{self.quantile(kind, part):.3f}" if count else "" for part in _PARTS]
            rows.append((kind, f"{self.kills.get(kind, count)}", f"{count}", *times))
        return _table(rows)

    def _gauge_lines(self) -> list[str]:
        rows = []
        for name, gauge in self.gauges.items():
            held = (gauge.application, gauge.io, gauge.workers)
            rows.append((name, *map(str, held), f"{gauge.children} children"))
        return _table([("", "application", "I/O process", "workers", ""), *rows]) if rows else []


_PARTS = (0.5, 0.99, 1.0)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"


def _fate(counts: LaneCounts) -> str:
    return (
        f"{counts.sent}: {counts.done} done, {counts.dropped} dropped, {counts.lost} lost, "
        f"{counts.in_flight} under way; the oldest {counts.oldest_ns / 1e6:.0f} ms old"
    )


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
