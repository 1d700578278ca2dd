"""What is remembered of lanes that have ended: everything, but not for ever by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from ringroom import messages as m
from ringroom.lanes.statistics import Count, Row, StatisticsTable
from ringroom.sessions import accounts
from ringroom.sessions.accounts import OTHERS, Accounts

KEPT = 10


@pytest.fixture
def table() -> Iterator[StatisticsTable]:
    made = StatisticsTable.create()
    yield made
    made.close()


@pytest.mark.parametrize("name", ["mic", OTHERS])
def test_who_comes_and_goes_for_ever_is_counted_together(
    name: str, table: StatisticsTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also who calls a track like the sum."""
    monkeypatch.setattr(accounts, "MAX_REMEMBERED", KEPT)
    kept = Accounts(table)
    for number in range(100):
        row = table.row(0)
        row.clear()
        row.add(Count.SENT, 2)
        row.add(Count.DONE)
        kept.listed(
            m.LaneListed(
                row=0,
                direction="in",
                track=name,
                kind="audio",
                participant=f"eve-{number}",
                place=1,
            )
        )
        assert kept.retire(0)
    lanes = kept.statistics()
    assert {lane.participant for lane in lanes} == {"", *(f"eve-{n}" for n in range(90, 100))}
    assert len(lanes) == KEPT + 1
    counts = [lane.counts for lane in lanes]
    assert sum(one.sent for one in counts) == 200
    assert sum(one.done for one in counts) == sum(one.lost for one in counts) == 100


def test_what_a_place_has_counted_never_becomes_less(
    table: StatisticsTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many come and go: whoever draws a curve for each worker sees no step down."""
    monkeypatch.setattr(accounts, "MAX_REMEMBERED", KEPT)
    kept = Accounts(table)
    counted: Counter[int] = Counter()
    for number in range(100):
        place = number % 3
        row = table.row(0)
        row.clear()
        row.add(Count.SENT, number)
        counted[place] += number
        kept.listed(
            m.LaneListed(
                row=0,
                direction="in",
                track="mic",
                kind="audio",
                participant=f"eve-{number}",
                place=place,
            )
        )
        assert kept.retire(0)
        now: Counter[int] = Counter()
        for lane in kept.statistics():
            now[lane.place] += lane.counts.sent
        assert now == counted
    assert len(kept.statistics()) == KEPT + 3


def count(kept: Accounts, row: Row, place: int, sent: int) -> None:
    row.clear()
    row.add(Count.SENT, sent)
    kept.listed(
        m.LaneListed(
            row=row.index, direction="in", track="", kind="data", participant="", place=place
        )
    )


def told(kept: Accounts) -> list[tuple[int, int]]:
    return [(one.place, one.counts.sent) for one in kept.statistics()]


def test_each_place_counts_for_itself_and_the_last_one_comes_last(table: StatisticsTable) -> None:
    """Messages have a lane of the same name at each worker; some have ended, some count still."""
    kept = Accounts(table)
    for place, sent in ((1, 1), (2, 2), (0, 4), (2, 8)):
        count(kept, table.row(0), place, sent)
        assert kept.retire(0)
    assert told(kept) == [(1, 1), (0, 4), (2, 10)]
    count(kept, table.row(0), 0, 16)
    assert told(kept) == [(1, 1), (2, 10), (0, 20)]


def test_what_counts_in_an_earlier_table_counts_until_it_is_settled(
    table: StatisticsTable,
) -> None:
    """Another I/O process may use the same numbers of rows."""
    kept = Accounts(table)
    count(kept, earlier := table.row(0), 0, 1)
    second = StatisticsTable.create()
    try:
        kept.renew(second)
        earlier.add(Count.SENT)
        count(kept, second.row(0), 1, 4)
        assert told(kept) == [(0, 2), (1, 4)]
        assert kept.received_at(0).sent == 0, "it does not count now"
        kept.settle()
        earlier.add(Count.SENT, 100)
        assert told(kept) == [(0, 2), (1, 4)]
        lost = {one.place: one.counts.lost for one in kept.statistics()}
        assert lost == {0: 2, 1: 0}
        kept.retire_all()
        assert {one.place: one.counts.lost for one in kept.statistics()} == {0: 2, 1: 4}
    finally:
        second.close()
