"""The counts of every lane, in one small shared segment that no single death can take away.

Layout: SLOTS rows of FIELDS unsigned 64-bit cells. A row belongs to one lane while it lives; each
cell has one writing process (the lane's writer, its reader, or the one that buries the lane), so
none is ever raced. Aligned 8-byte stores do not tear; a reader of the row sees each count as of
some moment and, when both sides are quiet, exactly.

The law:  sent = done + dropped + lost + in flight,  in flight >= 0,  always, across any crash.

A reader that dies is succeeded in the same row: the lane goes on, and so do its counts. What the
dead one had taken and not done is lost.

Crash at any line: at most the one frame being handled is counted by one side and not the other; it
stays "in flight" until the side that buries the lane counts it as lost.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final, NewType, Self

from ringroom.errors import ClosedError, RingroomError, StartupError, WireError
from ringroom.lanes.memory import Segment

SLOTS = 8_192


Cell = NewType("Cell", int)


class Count:
    """The cells of a row, and who writes each. Plain numbers: with Python 3.11 a member of an
    enumeration costs as much as all of the counting, seven times a frame."""

    SENT: Final = Cell(0)  # writer: frames offered to the lane
    BYTES: Final = Cell(1)  # writer: payload bytes that entered the ring
    DROPPED_FULL: Final = Cell(2)  # writer: the ring was full
    TAKEN: Final = Cell(3)  # reader: handed on
    DONE: Final = Cell(4)  # reader: processed, or played; those that raised too
    DROPPED_STALE: Final = Cell(5)  # reader: older than max_age when its turn came, or surplus
    DROPPED_FLUSHED: Final = Cell(6)  # reader: discarded by a flush
    LOST: Final = Cell(7)  # the side that buries the lane
    PLAYED: Final = Cell(8)  # playout: samples that the source has accepted
    PLAYED_UNTIL_NS: Final = Cell(9)  # playout: when the last accepted sample will have been played
    CLEARED: Final = Cell(10)  # playout: accepted samples that a flush took back
    PROBLEMS: Final = Cell(11)  # reader: frames whose processing or playing raised
    WAITED_NS: Final = Cell(12)  # reader of a live lane: the ages of all taken frames, added up
    OLDEST_NS: Final = Cell(13)  # reader of a live lane: the age of the oldest frame that was taken
    EVENTS: Final = Cell(14)  # reader: events handed on, which are no frames and not in the law


FIELDS = 16
ROW_BYTES = FIELDS * 8


@dataclass(frozen=True, slots=True)
class LaneCounts:
    """A snapshot of a lane's counts, in frames unless said otherwise."""

    sent: int = 0
    bytes: int = 0
    taken: int = 0
    done: int = 0
    dropped_full: int = 0
    dropped_stale: int = 0
    dropped_flushed: int = 0
    lost: int = 0
    problems: int = 0
    waited_ns: int = 0
    """How old the taken frames of a live lane were when they were handed on, added up."""
    oldest_ns: int = 0
    """How old the oldest of them was."""

    @property
    def dropped(self) -> int:
        return self.dropped_full + self.dropped_stale + self.dropped_flushed

    @property
    def in_flight(self) -> int:
        """Frames under way: sent, and neither done nor dropped nor lost yet."""
        return self.sent - self.done - self.dropped - self.lost

    def __add__(self, other: LaneCounts) -> LaneCounts:
        total = LaneCounts(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))
        return replace(total, oldest_ns=max(self.oldest_ns, other.oldest_ns))


class Row:
    """One lane's cells."""

    __slots__ = ("_cells", "index")

    def __init__(self, cells: memoryview, index: int) -> None:
        self._cells = cells[index * FIELDS : (index + 1) * FIELDS]
        self.index = index

    def add(self, count: Cell, amount: int = 1) -> None:
        self._cells[count] += amount

    def set(self, count: Cell, value: int) -> None:
        self._cells[count] = value

    def get(self, count: Cell) -> int:
        return self._cells[count]

    def count_sent(self, nbytes: int) -> None:
        """A frame that has entered the ring."""
        cells = self._cells
        cells[Count.SENT] += 1
        cells[Count.BYTES] += nbytes

    def count_refused(self) -> None:
        """A frame that was offered to a full ring."""
        self.add(Count.SENT)
        self.add(Count.DROPPED_FULL)

    def count_taken(self, age: int) -> None:
        """A frame that is handed on, that many nanoseconds old."""
        cells = self._cells
        cells[Count.TAKEN] += 1
        if age > 0:
            cells[Count.WAITED_NS] += age
            if age > cells[Count.OLDEST_NS]:
                cells[Count.OLDEST_NS] = age

    def bury(self) -> None:
        """Count what is under way as lost. For the last process that has to do with the lane."""
        in_flight = self.snapshot().in_flight
        if in_flight > 0:
            self.add(Count.LOST, in_flight)

    def clear(self) -> None:
        for field in range(FIELDS):
            self._cells[field] = 0

    def snapshot(self) -> LaneCounts:
        # The reader's cells first: what is done was sent before, so in flight is never negative.
        done, taken = self.get(Count.DONE), self.get(Count.TAKEN)
        stale, flushed = self.get(Count.DROPPED_STALE), self.get(Count.DROPPED_FLUSHED)
        lost, problems = self.get(Count.LOST), self.get(Count.PROBLEMS)
        full = self.get(Count.DROPPED_FULL)
        return LaneCounts(
            sent=self.get(Count.SENT),
            bytes=self.get(Count.BYTES),
            taken=taken,
            done=done,
            dropped_full=full,
            dropped_stale=stale,
            dropped_flushed=flushed,
            lost=lost,
            problems=problems,
            waited_ns=self.get(Count.WAITED_NS),
            oldest_ns=self.get(Count.OLDEST_NS),
        )


class StatisticsTable:
    """All rows of one session. The application makes it; its children attach to it."""

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        try:
            if segment.size != SLOTS * ROW_BYTES:
                raise WireError(f"a statistics table of {segment.size} bytes")
            self._cells: memoryview | None = memoryview(segment.map_shared()).cast("Q")
        except RingroomError:
            segment.close()
            raise

    @classmethod
    def create(cls) -> Self:
        return cls(Segment.create(SLOTS * ROW_BYTES))

    @classmethod
    def attach(cls, fd: int) -> Self:
        """Takes the descriptor over, whether it is that of a table or not. Raises `WireError`."""
        try:
            segment = Segment.attach(fd)
        except WireError:
            os.close(fd)
            raise
        return cls(segment)

    @property
    def fd(self) -> int:
        return self._segment.fd

    def row(self, index: int) -> Row:
        if not 0 <= index < SLOTS:
            raise StartupError(f"no statistics row {index}: {SLOTS} lanes at most")
        if self._cells is None:
            raise ClosedError("the statistics table is closed")
        return Row(self._cells, index)

    def close(self) -> None:
        """Idempotent. Rows that are still held keep the memory mapped."""
        self._segment.close()
        self._cells = None


class RowPool:
    """The rows that one process may hand out; a row comes back once its counts were read."""

    def __init__(
        self, table: StatisticsTable, first: int, count: int, *, taken: Collection[int] = ()
    ) -> None:
        """``taken``: rows that still count for an earlier process; `release` brings them here."""
        self._table, self._count = table, count
        self._free = [row for row in range(first + count - 1, first - 1, -1) if row not in taken]

    def acquire(self) -> Row:
        if not self._free:
            raise StartupError(
                f"too many tracks at once: there are {self._count} statistics rows here, and each "
                "is taken; unpublish some, or use fewer workers (they share the rows)"
            )
        row = self._table.row(self._free.pop())
        row.clear()
        return row

    def release(self, index: int) -> None:
        self._free.append(index)
