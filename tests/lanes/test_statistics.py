"""The counts that outlive a process."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from ringroom.errors import ClosedError, StartupError, WireError
from ringroom.lanes.memory import Segment
from ringroom.lanes.statistics import (
    FIELDS,
    SLOTS,
    Cell,
    Count,
    LaneCounts,
    Row,
    RowPool,
    StatisticsTable,
)

CELLS = [Cell(value) for name, value in vars(Count).items() if name.isupper()]


@pytest.fixture
def table() -> Iterator[StatisticsTable]:
    with closing(StatisticsTable.create()) as made:
        yield made


def test_both_sides_see_the_counts(table: StatisticsTable) -> None:
    with closing(StatisticsTable.attach(os.dup(table.fd))) as other:
        table.row(5).add(Count.SENT, 3)
        other.row(5).add(Count.DONE)
        assert table.row(5).snapshot() == LaneCounts(sent=3, done=1)
        assert other.row(5).snapshot().in_flight == 2
        assert table.row(4).snapshot() == table.row(6).snapshot() == LaneCounts()


def test_every_cell_is_its_own(table: StatisticsTable) -> None:
    row = table.row(SLOTS - 1)
    for count in CELLS:
        row.set(count, 100 + count)
    assert [row.get(count) for count in CELLS] == [100 + count for count in CELLS]
    assert len(CELLS) == len(set(CELLS)) <= FIELDS
    assert table.row(SLOTS - 2).snapshot() == LaneCounts()
    row.clear()
    assert not any(row.get(count) for count in CELLS)


def test_the_law(table: StatisticsTable) -> None:
    row = table.row(7)
    for _ in range(99):
        row.count_sent(10)
    row.count_refused()
    for _ in range(50):
        row.count_taken(age=3)
    row.add(Count.DONE, 40)
    row.add(Count.DROPPED_STALE, 2)
    row.add(Count.DROPPED_FLUSHED, 3)
    row.add(Count.LOST, 4)
    counts = row.snapshot()
    assert counts == LaneCounts(
        sent=100,
        bytes=990,
        taken=50,
        done=40,
        dropped_full=1,
        dropped_stale=2,
        dropped_flushed=3,
        lost=4,
        waited_ns=150,
        oldest_ns=3,
    )
    assert counts.dropped == 6
    assert counts.in_flight == 50
    total = counts + counts
    assert total.sent == 200
    assert total.in_flight == 100


def test_what_is_under_way_when_a_lane_is_buried_is_lost_once(table: StatisticsTable) -> None:
    row = table.row(0)
    row.add(Count.SENT, 5)
    row.add(Count.DONE, 2)
    for _ in range(2):
        row.bury()
        assert (row.snapshot().lost, row.snapshot().in_flight) == (3, 0)


@pytest.mark.parametrize("index", [-1, SLOTS])
def test_there_is_an_end_to_rows(index: int, table: StatisticsTable) -> None:
    with pytest.raises(StartupError, match="8192 lanes at most"):
        table.row(index)


def test_rows_are_lent_and_come_back_clean(table: StatisticsTable) -> None:
    pool = RowPool(table, 10, 2)
    first, second = pool.acquire(), pool.acquire()
    assert (first.index, second.index) == (10, 11)
    with pytest.raises(StartupError, match="too many tracks"):
        pool.acquire()
    first.add(Count.SENT)
    pool.release(first.index)
    assert pool.acquire().snapshot() == LaneCounts()


def test_a_row_outlives_its_table() -> None:
    """The memory stays while somebody counts."""
    table = StatisticsTable.create()
    row = table.row(0)
    table.close()
    table.close()
    with pytest.raises(ClosedError):
        table.row(0)
    row.add(Count.SENT)
    assert row.snapshot().sent == 1


def test_another_segment_is_no_table() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with closing(Segment.create(4_096)) as segment, pytest.raises(WireError, match="4096"):
        StatisticsTable.attach(os.dup(segment.fd))
    with pytest.raises(WireError, match="no bytes"):
        StatisticsTable.attach(os.memfd_create("empty"))
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


class Racing(list[int]):
    """Cells of a lane that goes on while they are read: before each look some steps are counted, of
    one frame after the other, in the order in which the two sides count."""

    life: tuple[Cell, ...]
    steps = 0
    step = 0

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self  # the row's cells: all there are
        for _ in range(self.steps):
            count = self.life[self.step % len(self.life)]
            self.step += 1
            list.__setitem__(self, count, list.__getitem__(self, count) + 1)
        return list.__getitem__(self, index)


@pytest.mark.parametrize(
    "life",
    [
        (Count.SENT, Count.DROPPED_FULL),
        (Count.SENT, Count.TAKEN, Count.DONE),
        (Count.SENT, Count.TAKEN, Count.LOST),
        (Count.SENT, Count.DROPPED_STALE),
        (Count.SENT, Count.TAKEN, Count.DROPPED_STALE),
        (Count.SENT, Count.DROPPED_FLUSHED),
        (Count.SENT, Count.TAKEN, Count.DROPPED_FLUSHED),
    ],
)
@pytest.mark.parametrize("steps", [1, 2, 3, 6])
def test_a_look_in_the_middle_never_finds_more_done_than_sent(
    life: tuple[Cell, ...], steps: int
) -> None:
    cells = Racing([0] * 16)
    cells.life, cells.steps = life, steps
    for _ in range(len(life)):
        counts = Row(cells, 0).snapshot()  # type: ignore[arg-type]
        assert 0 <= counts.done <= counts.taken <= counts.sent - counts.dropped_full
        assert counts.in_flight >= 0
