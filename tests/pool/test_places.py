"""The places of a pool's workers, over generations of I/O processes; the session is the test's."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from ringroom import messages as m
from ringroom.errors import StartupError
from ringroom.lanes.statistics import LaneCounts, StatisticsTable
from ringroom.link import Link, open_links
from ringroom.pool import places as module
from ringroom.pool.places import Places
from ringroom.processes.supervision.crew import Progress


@dataclass
class Session:
    """What a place asks of its session."""

    settled: int = 0
    refuses: bool = False
    attached: list[int] = field(default_factory=list)
    counts: LaneCounts = field(default_factory=LaneCounts)

    def pump(self) -> bool:
        return False

    def counts_at(self, place: int) -> LaneCounts:
        return self.counts

    def settle_past(self) -> None:
        self.settled += 1

    def send(self, message: m.Attach, descriptors: tuple[int, ...]) -> None:
        if self.refuses:
            raise StartupError("no descriptors left")
        self.attached.append(message.place)


@dataclass
class Connection:
    table: StatisticsTable
    session: Session = field(default_factory=Session)
    lock: Any = field(default_factory=threading.RLock)
    is_away: bool = False

    @property
    def outgoing(self) -> Connection:
        return self


@pytest.fixture
def connection() -> Iterator[Connection]:
    with contextlib.closing(StatisticsTable.create()) as table:
        yield Connection(table)


@pytest.fixture
def places(connection: Connection) -> Iterator[Places]:
    with contextlib.closing(Places(connection, 3)) as places:  # type: ignore[arg-type]  # a stand-in
        yield places


def renew(places: Places, occupied: set[int]) -> list[Link]:
    far = places.renew(occupied)
    for link in far:
        link.close()
    return far


def test_each_place_has_a_link_until_it_is_taken(places: Places) -> None:
    far = places.renew(set())
    with contextlib.ExitStack() as taken:
        for link in far:
            taken.callback(link.close)
        message, (descriptor, _), link = places.seat(1)
        taken.callback(link.close)
        assert (message.place, message.generation, descriptor) == (1, 0, link.fileno())
        assert places.linked == {0, 2}
        link.send(m.Attach(place=1))
        received = far[1].receive_nowait()
        assert received is not None
        assert received[0] == m.Attach(place=1)


def test_who_comes_later_gets_a_link_of_its_own(places: Places, connection: Connection) -> None:
    renew(places, set())
    for _ in range(2):
        places.seat(0)[2].close()
    assert connection.session.attached == [0]


def test_a_link_that_cannot_be_told_of_is_closed(places: Places, connection: Connection) -> None:
    """The check of each test for descriptors that are left sees it."""
    connection.session.refuses = True
    with pytest.raises(StartupError, match="no descriptors left"):
        places.seat(0)


def test_the_past_is_settled_once_by_all_who_were_there(
    places: Places, connection: Connection
) -> None:
    renew(places, set())
    places.settled(0, None)
    assert connection.session.settled == 0, "there is no past"
    renew(places, {0, 2})
    places.settle_past()
    places.settled(2, 0)
    places.settled(0, 1)
    assert connection.session.settled == 0, "place 2 has told of the generation before"
    places.settled(2, None)
    assert connection.session.settled == 1


def test_nothing_is_settled_before_our_own_tracks_go_on(
    places: Places, connection: Connection
) -> None:
    renew(places, set())
    renew(places, {1})
    connection.is_away = True
    places.settled(1, 1)
    assert connection.session.settled == 0
    places.settle_past()  # as it is resumed
    assert connection.session.settled == 1


def test_links_are_there_for_all_places_or_for_none(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    renew(places, set())
    left = iter(range(2))

    def refuses_the_third() -> tuple[Link, Link]:
        if next(left, None) is None:
            raise StartupError("no descriptors left")
        return open_links()

    monkeypatch.setattr(module, "open_links", refuses_the_third)
    with pytest.raises(StartupError):
        places.renew({1})
    assert (places.generation, places.linked) == (0, {0, 1, 2}), "those before are there"


@pytest.mark.parametrize(("lost", "within"), [(0, True), (1, False)])
def test_a_frame_that_was_lost_is_none_that_a_worker_is_at(
    places: Places, connection: Connection, lost: int, within: bool
) -> None:
    """Of a lane that was buried under it: it would count as stuck there for ever."""
    connection.session.counts = LaneCounts(sent=5, taken=5, done=4, lost=lost)
    progress = places.progress(0)
    assert progress == Progress(count=9, within=within, waiting=within)
