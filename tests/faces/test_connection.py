"""What the faces share: options from both forms, the hand-over, shares of statistics rows."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Self

import pytest

from app_kit import descriptors, until
from ringroom import messages as m
from ringroom.errors import ClosedError, ConfigurationError, RoomError
from ringroom.events import Kind
from ringroom.faces.connection import IO_ROWS, Connection, Statistics, configured, rows_for
from ringroom.faces.handover import Renewals
from ringroom.lanes.statistics import SLOTS, LaneCounts
from ringroom.message_codec import encode
from ringroom.options import TransportConfig
from ringroom.processes.hosts import IOThread
from ringroom.providers.provider import Provider, ProviderSpec
from ringroom.sessions.accounts import LaneStatistics
from ringroom.sessions.session import Session
from ringroom.testing import FakeRoom


def test_keywords_win_over_the_config() -> None:
    assert set(configured("fake", TransportConfig(), {})) == {"sample_rate", "channels"}
    config = TransportConfig(url="u", token="t", sample_rate=8_000, extra={"room": "r"})
    assert configured("fake", None, {"a": 1}) == {"a": 1}
    assert configured("fake", config, {"channels": 2, "url": "mine"}) == {
        "url": "mine",
        "token": "t",
        "sample_rate": 8_000,
        "channels": 2,
        "room": "r",
    }


@pytest.mark.parametrize("readers", [0, 1, 2, 7, 256])
def test_rows_are_shared_without_overlap(readers: int) -> None:
    taken: set[int] = set(range(IO_ROWS))
    for place in range(-1, readers):
        first, count = rows_for(place, readers)
        rows = set(range(first, first + count))
        assert count > 10
        assert not rows & taken
        taken |= rows
    assert max(taken) < SLOTS


def test_totals() -> None:
    def lane(direction: str, sent: int, oldest: int) -> LaneStatistics:
        return LaneStatistics(
            direction=direction,
            kind=Kind.AUDIO,
            track="",
            participant="",
            place=0,
            counts=LaneCounts(sent=sent, done=sent, oldest_ns=oldest),
        )

    statistics = Statistics(lanes=(lane("in", 1, 5), lane("in", 2, 3), lane("out", 4, 0)))
    assert (statistics.received.sent, statistics.received.oldest_ns) == (3, 5)
    assert statistics.sent.done == 4
    assert Statistics(lanes=()).sent == LaneCounts()


@pytest.mark.parametrize("route", ["participant", "track"])
def test_who_was_where_fits_in_a_message_whatever_they_call_themselves(route: str) -> None:
    """Names are bounded each; so many together would end what brings the connection back."""
    connection = Connection(Odd(), {}, "thread", readers=3, route=route)
    lanes = [
        LaneStatistics(
            direction="in",
            kind=Kind.AUDIO,
            track="mic",
            participant=f"{number:04}" + "\x01" * 1_020,
            place=number % 3,
            counts=LaneCounts(),
        )
        for number in range(4_000)
    ]
    session: Any = SimpleNamespace(statistics=lambda: lanes)
    connection.session = session
    places = connection._places()
    latest = lanes[-1].participant + ("/mic" if route == "track" else "")
    assert places[latest] == 3_999 % 3, "the latest are kept"
    assert next(reversed(places)) == latest
    assert 300 < len(places) < 4_000
    message = m.Connect(
        blob=b"",
        rows_first=0,
        rows_count=1,
        readers=3,
        route=route,
        places=places,
    )
    assert len(encode(message)) < m.MAX_MESSAGE_BYTES // 2
    del lanes[:-2]
    assert len(connection._places()) == 2


@dataclass(frozen=True, kw_only=True)
class Odd(ProviderSpec):
    """Its hand-over does what the test says."""

    name = "odd"
    does: Any = None

    def open(self, descriptors: tuple[int, ...]) -> Provider:
        raise NotImplementedError

    def handover(self) -> tuple[Self, tuple[int, ...]]:
        return self, self.does() or ()


def test_a_hand_over_that_raises() -> None:
    def mint() -> None:
        raise RoomError("no token today", reason="unauthorized")

    connection = Connection(Odd(does=mint), {}, "thread")
    with pytest.raises(RoomError, match="no token today"):
        connection.open()


def test_options_that_are_too_large_start_nothing() -> None:
    """A `WireError` would speak of a message that the caller has never seen."""
    large = os.urandom(9 << 20)
    connection = Connection(Odd(does=lambda: large[:0]), {}, "thread")
    with pytest.raises(ConfigurationError, match=r"odd: the options, .* expected at most 8388608"):
        connection.open()
    assert not hasattr(connection, "session")
    before = descriptors()
    many = Odd(does=lambda: tuple(os.open(os.devnull, os.O_RDONLY) for _ in range(32)))
    with pytest.raises(ConfigurationError, match=r"odd: .* 32 descriptors, expected at most 31"):
        Connection(many, {}, "thread").open()
    assert descriptors() == before


def test_a_hand_over_that_takes_too_long() -> None:
    before, release, minted = descriptors(), threading.Event(), threading.Event()

    def mint() -> tuple[int, ...]:
        release.wait()
        made = (os.dup(0), os.dup(0))
        minted.set()
        return made

    connection = Connection(Odd(does=mint), {"connect_timeout": 0.1}, "thread")
    with pytest.raises(RoomError, match=r"not minted within 0\.1 s") as late:
        connection.open()
    assert late.value.reason == "timeout"
    release.set()
    assert minted.wait(30)
    until(lambda: descriptors() == before)  # what comes too late is closed


def test_what_cannot_travel_gives_its_descriptors_back() -> None:
    before = descriptors()
    numbers = (number for number in range(3))
    connection = Connection(Odd(does=lambda: (os.dup(0), next(numbers))[:1]), {}, "thread")
    with pytest.raises(ConfigurationError, match="the provider's options cannot be sent"):
        connection.open()
    assert descriptors() == before


@dataclass(frozen=True, kw_only=True)
class Plain(ProviderSpec):
    """Its hand-over brings a descriptor, so there is something to renew."""

    name = "plain"

    def open(self, descriptors: tuple[int, ...]) -> Provider:
        raise NotImplementedError

    def handover(self) -> tuple[Self, tuple[int, ...]]:
        return self, (os.dup(0),)


def test_an_opening_that_fails_half_way_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before, threads = descriptors(), threading.active_count()

    def fails(self: Connection) -> dict[str, int]:
        raise ConfigurationError("half of it is said already")

    monkeypatch.setattr(Connection, "_places", fails)
    connection = Connection(Plain(), {}, "thread")
    with pytest.raises(ConfigurationError, match="half of it"):
        connection.open()
    assert connection.session.closed
    until(lambda: descriptors() == before)
    until(lambda: threading.active_count() == threads)


def interrupting(step: Callable[[Any], None]) -> Callable[[Any], None]:
    """Ctrl-C at the end of that step."""

    def interrupted(of: Any) -> None:
        step(of)
        raise KeyboardInterrupt

    return interrupted


@pytest.mark.parametrize("step", [(Session, "close"), (Renewals, "close")])
def test_whatever_step_of_a_close_is_interrupted_the_host_is_closed(
    fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch, step: tuple[type, str]
) -> None:
    connection = Connection("fake", {"room": fake_room}, "thread")
    connection.open()
    with monkeypatch.context() as patched:
        patched.setattr(*step, interrupting(getattr(*step)))
        with pytest.raises(KeyboardInterrupt):
            connection.close()
    closed = connection.host._closed
    connection.close()
    assert closed


def test_a_failed_opening_whose_end_is_interrupted_closes_the_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(self: Connection) -> dict[str, int]:
        raise ConfigurationError("half of it is said already")

    monkeypatch.setattr(Connection, "_places", fails)
    monkeypatch.setattr(Renewals, "close", interrupting(Renewals.close))
    connection = Connection(Plain(), {}, "thread")
    with pytest.raises(KeyboardInterrupt):
        connection.open()
    closed = connection.host._closed
    connection.close_host()
    assert closed


def test_who_closes_may_be_quicker_than_who_joins_again(fake_room: FakeRoom) -> None:
    before = descriptors()
    connection = Connection("fake", {"room": fake_room}, "thread")
    connection.open()
    prepared = connection.prepare()
    connection.close()
    with pytest.raises(ClosedError):
        connection.reopen(prepared, ())
    until(lambda: descriptors() == before)


def test_a_host_that_is_closed_gives_everything_back(fake_room: FakeRoom) -> None:
    host = IOThread()
    host.start()
    host.close()
    host.close()
    connection = Connection("fake", {"room": fake_room}, host)
    with pytest.raises(ClosedError, match="the IOThread is closed"):
        connection.open()
    until(lambda: not fake_room.participants)
