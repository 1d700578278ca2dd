"""What is remembered of lanes that have ended: everything, but not for ever by name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ringroom import messages as m
from ringroom.lanes.statistics import Count, StatisticsTable
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
    assert {lane.place for lane in lanes if not lane.participant} == {None}, "no one reader's"
    counts = [lane.counts for lane in lanes]
    assert sum(one.sent for one in counts) == 200
    assert sum(one.done for one in counts) == sum(one.lost for one in counts) == 100
