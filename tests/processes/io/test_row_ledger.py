"""Rows of statistics: whose they are, and when they come back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ringroom import messages as m
from ringroom.errors import ClosedError, StartupError
from ringroom.events import Kind
from ringroom.lanes.statistics import SLOTS, Count, StatisticsTable
from ringroom.processes.io.row_ledger import RowLedger

ROWS = 2


class Lender:
    """A writer that has rows of its own."""

    place = 3

    def __init__(self) -> None:
        self.told: list[m.Message] = []

    def send(self, message: m.Message) -> None:
        self.told.append(message)


class Bench:
    """A ledger, and what it tells the application."""

    def __init__(self) -> None:
        self.told: list[m.Message] = []
        self.ledger = RowLedger(self.told.append)
        self.ledger.open(StatisticsTable.create(), 0, ROWS)


def opened(row: int) -> m.PlayoutOpen:
    return m.PlayoutOpen(lane=1, row=row, name="voice", kind="audio", live=True, publish={})


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.ledger.close()
    bench.ledger.close()


def test_a_row_of_ours_serves_another_lane_once_its_counts_were_read(bench: Bench) -> None:
    ledger = bench.ledger
    row = ledger.acquire()
    row.add(Count.SENT)
    ledger.acquire()
    ledger.begin(row, Kind.AUDIO, 1, track="mic", participant="ann")
    ledger.retire(row.index)
    listed = m.LaneListed(
        row=row.index, direction="in", track="mic", kind="audio", participant="ann", place=1
    )
    assert bench.told == [listed, m.LaneRetired(row=row.index)]
    with pytest.raises(StartupError, match="too many tracks"):
        ledger.acquire()
    assert row.snapshot().sent == 1, "nobody has read it yet"
    ledger.read(row.index)
    again = ledger.acquire()
    assert (again.index, again.snapshot().sent) == (row.index, 0)


def test_a_row_that_nobody_was_told_of_is_back_at_once(bench: Bench) -> None:
    row = bench.ledger.acquire()
    bench.ledger.release(row)
    assert bench.ledger.acquire().index == row.index
    assert not bench.told


def test_a_row_that_was_lent_comes_back_to_its_lender_alone(bench: Bench) -> None:
    ledger, one, other = bench.ledger, Lender(), Lender()
    assert ledger.lend(opened(100), one).index == 100
    assert bench.told == [
        m.LaneListed(row=100, direction="out", track="voice", kind="audio", participant="", place=3)
    ]
    ledger.lend(opened(101), one)
    ledger.lend(opened(200), other)
    assert (ledger.lent_by(one), ledger.lent_by(other)) == ([100, 101], [200])
    ledger.retire(100)
    assert ledger.lent_by(one) == [100, 101], "its counts are still to be read"
    ledger.read(100)
    assert (ledger.lent_by(one), ledger.lent_by(other)) == ([101], [200])
    assert one.told == [m.RowFree(row=100)]
    assert not other.told
    assert [ledger.acquire().index for _ in range(ROWS)] == [0, 1], "it is none of ours"


@pytest.mark.parametrize("index", [-1, SLOTS])
def test_a_number_that_is_no_rows_is_lent_by_nobody(bench: Bench, index: int) -> None:
    lender = Lender()
    with pytest.raises(StartupError, match="no statistics row"):
        bench.ledger.lend(opened(index), lender)
    assert bench.ledger.lent_by(lender) == []
    assert not bench.told


def test_where_there_is_no_table_nothing_is_lent() -> None:
    """A worker may speak before the session has one, or after it was closed."""
    ledger = RowLedger(lambda message: None)
    with pytest.raises(ClosedError):
        ledger.lend(opened(0), Lender())
    ledger.open(StatisticsTable.create(), 0, ROWS)
    ledger.close()
    with pytest.raises(ClosedError):
        ledger.lend(opened(0), Lender())
