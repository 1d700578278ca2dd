"""The I/O process of a plain transport dies, in virtual time: outages of minutes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

import ringroom
from app_kit import RATE, sound
from recovery_kit import settled, until_kind
from ringroom.errors import RoomError, StartupError, WouldBlock
from ringroom.testing import FakeRoom
from ringroom.testing.virtual import VirtualClock


def test_a_track_that_does_not_come_again_has_ended() -> None:
    with VirtualClock() as clock, FakeRoom(clock=clock) as room:
        ann = room.join("ann")
        mic = ann.publish_audio(sample_rate=RATE)
        options: Any = {"kinds": ("audio", "event"), "io": clock.io}
        with ringroom.transport("fake", room=room, **options) as transport:
            mic.tone(seconds=0.1)
            taken = transport.recv(timeout=60)
            until_kind(taken, "track_started")
            with room.faults.hanging_connect():
                clock.kill("ringroom-io")
                until_kind(taken, "connection_lost")
                ann.leave()
            until_kind(taken, "connection_back")
            joined = clock.now()
            until_kind(taken, "track_ended")
            assert clock.now() - joined == pytest.approx(5.0, abs=0.1)
        settled(transport)


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    with VirtualClock() as clock:
        yield clock


@pytest.fixture
def room(clock: VirtualClock) -> Iterator[FakeRoom]:
    with FakeRoom(clock=clock) as room:
        yield room


def opened_at(clock: VirtualClock, room: FakeRoom, **options: Any) -> ringroom.Transport:
    return ringroom.transport("fake", room=room, io=clock.io, kinds=("event",), **options)


@pytest.mark.parametrize("reason", ["refused", "no answer"])
def test_who_sends_waits_while_nobody_is_let_in(
    clock: VirtualClock, room: FakeRoom, reason: str
) -> None:
    """Try after try fails: nothing that is accepted meanwhile is lost, and nobody gets an error."""
    with opened_at(clock, room, connect_timeout=1.0) as transport:
        events = transport.recv(timeout=600)
        transport.send(sound(0.5))
        transport.send(sound(0.1, track="live"), publish=ringroom.PublishOptions(mode="live"))
        clock.sleep(1.0)
        fault = room.faults.connects_refused("unreachable") if reason == "refused" else None
        with fault or room.faults.hanging_connect():
            clock.kill("ringroom-io")
            until_kind(events, "connection_lost")
            calls = [clock.start_thread("says", lambda: transport.send(sound(1.0)))]
            new = sound(0.3, track="new")
            calls.append(clock.start_thread("begins", lambda: transport.send(new)))
            calls.append(clock.start_thread("tells", lambda: transport.send_data(b"x", topic="t")))
            with pytest.raises(WouldBlock, match="joined again"):
                transport.send_nowait(sound(0.1, track="newer"))
            transport.send_nowait(sound(0.1, track="live"))  # never waits
            assert transport.flush("live") == 0.0
            transport.wait_playout("live", timeout=1.0)
            clock.sleep(60.0)
            assert transport.ended is None
        until_kind(events, "connection_back")
        for call in calls:
            call.join(60)
        transport.wait_playout(timeout=60)
        assert room.heard("audio").duration == pytest.approx(1.5)
        assert room.heard("new").duration == pytest.approx(0.3)
        assert [message.payload for message in room.wait_for_data("t", 1)] == [b"x"]
        assert transport.played("audio") == pytest.approx(1.5, abs=0.03)
    counts = settled(transport).sent
    assert (counts.sent, counts.done) == (21, 20)  # one piece on the live track


@pytest.mark.parametrize("seconds", [60.0, 300.0])
def test_the_deadline_is_that_of_the_outage(
    clock: VirtualClock, room: FakeRoom, seconds: float
) -> None:
    with opened_at(clock, room, connect_timeout=10.0) as transport:
        events = transport.recv(timeout=600)
        with room.faults.hanging_connect():
            clock.kill("ringroom-io")
            until_kind(events, "connection_lost")
            lost = clock.now()
            if seconds == 60.0:
                clock.sleep(seconds)
            else:
                with pytest.raises(RoomError, match="did not answer") as given_up:
                    next(events)
                assert given_up.value.reason == "timeout"
                assert clock.now() - lost == pytest.approx(120.0, abs=15.0)
        if seconds == 60.0:
            until_kind(events, "connection_back")
    settled(transport)


def test_closing_in_a_signal_handler_that_has_interrupted_the_locks_holder(
    clock: VirtualClock, room: FakeRoom
) -> None:
    """The thread that brings another I/O process cannot end before the handler returns."""
    with opened_at(clock, room) as transport:
        clock.kill("ringroom-io")
        transport.stats()  # finds the death
        assert "ringroom-recovery" in clock.roles
        closing = clock.now()
        with transport._connection.lock:
            transport.close()
        assert clock.now() - closing < 2.0
        clock.sleep(0.1)
        assert "ringroom-recovery" not in clock.roles
    settled(transport)


def test_where_no_thread_is_to_be_had_for_it_every_call_that_waits_is_told(
    clock: VirtualClock, room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[str] = []
    start = clock.start_thread

    def refuse(name: str, run: Any) -> Any:
        if name == "ringroom-recovery":
            raise StartupError("no thread")
        return start(name, run)

    kinds = ("audio", "data", "event")
    with ringroom.transport("fake", room=room, io=clock.io, kinds=kinds) as transport:

        def read(kind: str) -> None:
            with pytest.raises(StartupError, match="no thread"):
                for _ in transport.recv(kinds=(kind,)):
                    pass
            errors.append(kind)

        readers = [start(kind, partial(read, kind)) for kind in kinds]
        clock.sleep(1.0)
        monkeypatch.setattr(clock, "start_thread", refuse)
        clock.kill("ringroom-io")
        for reader in readers:
            reader.join(1.0)
        assert sorted(errors) == sorted(kinds)
        assert transport.ended == "failed"
    settled(transport)
