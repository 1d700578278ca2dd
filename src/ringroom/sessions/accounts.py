"""What a session's lanes have counted, from their first to their last.

Ownership: rows belong to the process that made them. Here they are only read, except that what was
under way when the other side died is counted as lost, since no other process is left to do it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

from ringroom import messages as m
from ringroom.events import Kind
from ringroom.lanes.statistics import LaneCounts, Row, StatisticsTable


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneStatistics:
    """A lane's counts and what it is."""

    direction: str
    """``in`` from the room, ``out`` to it."""
    kind: Kind
    track: str
    participant: str
    place: int
    """Which worker; -1 the application. A track that several have had counts as one lane of each.
    """
    counts: LaneCounts


# Ended lanes that are told apart; what ended longest ago is counted together beyond it, for a room
# may see new names for ever. By place: what a worker has counted never becomes less.
MAX_REMEMBERED = 4_096
OTHERS = "(others)"

_Key: TypeAlias = tuple[str, Kind, str, str, int]


class Accounts:
    """The lanes that count now, and what those before them have counted. Lanes from before a
    `renew` may count until `settle`."""

    def __init__(self, table: StatisticsTable) -> None:
        self._table = table
        self._listed: dict[int, tuple[Row, m.LaneListed]] = {}
        self._before: list[tuple[Row, m.LaneListed]] = []
        """In earlier tables, whose rows serve no other lane."""
        self._retired: dict[_Key, LaneStatistics] = {}

    def listed(self, listing: m.LaneListed) -> None:
        """A lane begins to count in a row."""
        self._listed[listing.row] = (self._table.row(listing.row), listing)

    def retire(self, index: int) -> bool:
        """The counts of the row are final: keep them; whether the row was known. What its writer
        had sent and its reader had not taken, say on a track that was refused, is lost."""
        if index not in self._listed:
            return False
        self._retire(*self._listed.pop(index))
        return True

    def _retire(self, row: Row, listing: m.LaneListed) -> None:
        row.bury()
        self._keep(_statistics(row, listing))

    def _keep(self, now: LaneStatistics) -> None:
        # Last in order: the one that ended most lately.
        self._retired[_key(now)] = _sum(self._retired.pop(_key(now), None), now)
        if len(self._retired) > MAX_REMEMBERED:
            self._fold()

    def _fold(self) -> None:
        # A remote may call its track like the sum.
        sums = ("", OTHERS)
        oldest = next(
            key for key, one in self._retired.items() if (one.participant, one.track) != sums
        )
        gone = self._retired.pop(oldest)
        gone = replace(gone, track=OTHERS, participant="")
        self._retired[_key(gone)] = _sum(self._retired.get(_key(gone)), gone)

    def renew(self, table: StatisticsTable) -> None:
        """From here on lanes begin in another table: the other side is gone, and another there."""
        self._before += self._listed.values()
        self._listed.clear()
        self._table = table

    def settle(self) -> None:
        """Lanes from before are not used any more: what is under way there is lost."""
        for row, listing in self._before:
            self._retire(row, listing)
        self._before.clear()

    def retire_all(self) -> None:
        """No row is looked at from here on."""
        self.renew(self._table)
        self.settle()

    def received_at(self, place: int) -> LaneCounts:
        """The counts of those inbound lanes of a place that count now."""
        rows = (
            row.snapshot()
            for row, listing in self._listed.values()
            if (listing.place, listing.direction) == (place, "in")
        )
        return sum(rows, start=LaneCounts())

    def statistics(self) -> list[LaneStatistics]:
        """The counts of every lane since the beginning; a track's successive lanes at one place are
        one. What began to count last comes last."""
        counting = (*self._before, *self._listed.values())
        now = [_statistics(row, listing) for row, listing in counting]
        sums: dict[_Key, LaneStatistics] = {}
        for lane in (*self._retired.values(), *now):
            sums[_key(lane)] = _sum(sums.pop(_key(lane), None), lane)
        return list(sums.values())


def _key(lane: LaneStatistics) -> _Key:
    # With the place: messages that name nobody have a lane at each worker.
    return (lane.direction, lane.kind, lane.participant, lane.track, lane.place)


def _sum(before: LaneStatistics | None, now: LaneStatistics) -> LaneStatistics:
    return now if before is None else replace(now, counts=before.counts + now.counts)


def _statistics(row: Row, listing: m.LaneListed) -> LaneStatistics:
    return LaneStatistics(
        direction=listing.direction,
        kind=Kind(listing.kind),
        track=listing.track,
        participant=listing.participant,
        place=listing.place,
        counts=row.snapshot(),
    )
