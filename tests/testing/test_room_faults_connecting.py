"""Faults of a connection, and the form of all: while they last, and that nothing is left."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fake_room_kit import ALL, connects, event

from app_kit import NEVER_AGAIN, PATIENCE, RATE, Call, check_law, microphone, opened, sound, until
from ringroom.errors import ConfigurationError, RoomError
from ringroom.events import Event, EventKind
from ringroom.testing import FakeRoom

# Every fault has the same form.


FAULTS: list[Callable[[FakeRoom], Any]] = [
    lambda room: room.faults.connects_refused(),
    lambda room: room.faults.slow_connect(0.1),
    lambda room: room.faults.hanging_connect(),
    lambda room: room.faults.connection_lost(),
    lambda room: room.faults.room_closed(),
    lambda room: room.faults.publish_refused(),
    lambda room: room.faults.publishing_forbidden(),
    lambda room: room.faults.data_refused(),
    lambda room: room.faults.profile_refused(),
    lambda room: room.faults.provider_raises("publish"),
    lambda room: room.faults.late(0.1),
    lambda room: room.faults.bursts(0.1),
    lambda room: room.faults.out_of_order(),
    lambda room: room.faults.drift(100),
    lambda room: room.faults.slow_subscribing(0.1),
    lambda room: room.faults.tracks_withheld(),
]


@pytest.mark.parametrize("begin", FAULTS)
def test_a_fault_ends_with_its_block_or_its_call(
    fake_room: FakeRoom, begin: Callable[[FakeRoom], Any]
) -> None:
    fault = begin(fake_room)
    with pytest.raises(ZeroDivisionError), fault:
        raise ZeroDivisionError
    assert fault.over
    with begin(fake_room) as fault:
        assert not fault.over
        assert "lasting" in repr(fault)
    assert fault.over
    first, second = begin(fake_room), begin(fake_room)
    first.end()
    first.end()
    second.end()
    short = begin(fake_room).lasting(0.001)
    until(lambda: short.over)
    # Nothing is left: somebody speaks, and is answered.
    with opened(fake_room, kinds=ALL, connect_timeout=PATIENCE) as transport:
        alice = fake_room.join("alice")
        mic = alice.publish_audio(sample_rate=RATE)
        mic.speak(np.full(640, 7, np.int16), realtime=False)
        frames = transport.recv(kinds=("audio",), timeout=PATIENCE)
        assert [set(next(frames).samples.ravel()) for _ in range(2)] == [{7}, {7}]
        transport.send(sound(0.02))
        fake_room.wait_for_audio(seconds=0.02)
        transport.send_data(b"there", topic="is it")
        fake_room.wait_for_data("is it")
    check_law(transport)


@pytest.mark.parametrize(
    "begin",
    [
        lambda faults: faults.late(0),
        lambda faults: faults.bursts(float("nan")),
        lambda faults: faults.slow_connect(-1),
        lambda faults: faults.slow_subscribing(0),
        lambda faults: faults.out_of_order(1),
        lambda faults: faults.drift(1e9),
        lambda faults: faults.provider_raises("somewhere"),
    ],
)
def test_a_fault_that_makes_no_sense(fake_room: FakeRoom, begin: Callable[[Any], Any]) -> None:
    with pytest.raises(ConfigurationError):
        begin(fake_room.faults)


# Connecting.


def test_connects_refused_and_the_newest_counts(fake_room: FakeRoom) -> None:
    fake_room.refuse_connects("unreachable")
    with fake_room.faults.connects_refused():
        with fake_room.faults.connects_refused("failed"):
            with pytest.raises(RoomError) as refused:
                connects(fake_room)
            assert refused.value.reason == "failed"
        with pytest.raises(RoomError, match="refuses to let anybody in") as refused:
            connects(fake_room)
        assert refused.value.reason == "unauthorized"
    with pytest.raises(RoomError) as refused:
        connects(fake_room)
    assert refused.value.reason == "unreachable"
    fake_room.accept_connects()
    connects(fake_room)


@pytest.mark.parametrize("io", ["thread", "process"])
def test_a_slow_connect(fake_room: FakeRoom, io: str) -> None:
    with fake_room.faults.slow_connect(60), pytest.raises(RoomError) as refused:
        connects(fake_room, io=io, connect_timeout=0.2)
    assert refused.value.reason == "timeout"
    assert not fake_room.applications
    with fake_room.faults.slow_connect(0.05):
        connects(fake_room, io=io)


def test_a_hanging_connect_is_answered_in_the_end(fake_room: FakeRoom) -> None:
    with fake_room.faults.hanging_connect():
        with pytest.raises(RoomError) as refused:
            connects(fake_room, connect_timeout=0.1, identity="hasty")
        assert refused.value.reason == "timeout"
        entrance = fake_room._floor.state.entrance
        hold, asked = entrance.value, threading.Event()

        def noting(admit: Callable[[], None]) -> None:
            hold(admit)
            asked.set()

        unnoted = entrance.lay(noting)
        patient = Call(connects, fake_room, identity="patient", connect_timeout=PATIENCE)
        assert asked.wait(PATIENCE)
        assert not patient.over
        assert "patient" not in fake_room.applications
        unnoted()
    patient.result()
    assert "patient" in fake_room.applications
    # Who has hung up may still be let in, for a moment: the room has not heard of it yet.
    until(lambda: all(one.left for one in fake_room.applications.values()), "all to have left")


# The connection.


@pytest.mark.parametrize("resume", [False, True])
def test_a_connection_lost_for_a_while(fake_room: FakeRoom, resume: bool) -> None:
    mic = microphone(fake_room)
    with opened(fake_room, kinds=ALL) as transport:
        events = transport.recv(kinds=("event",), timeout=PATIENCE)
        before = event(events, EventKind.TRACK_STARTED).track
        transport.send(sound(0.02, track="voice"))
        ours = fake_room.wait_for_track("voice").sid
        with fake_room.faults.connection_lost(resume=resume, reason="no signal"):
            assert event(events, EventKind.CONNECTION_LOST).reason == "no signal"
            mic.speak(np.full(320, 1, np.int16), realtime=False)
            transport.send_data(b"waits", topic="requests")
            assert not fake_room.application.messages
        # A track's event and the room's come by ways of their own, in any order.
        wanted = {EventKind.CONNECTION_BACK} | (set() if resume else {EventKind.TRACK_STARTED})
        told: dict[EventKind, Event] = {}
        while wanted - told.keys():
            found = next(events)
            told.setdefault(found.kind, found)
        fake_room.wait_for_data("requests")
        assert (fake_room.wait_for_track("voice").sid == ours) is resume
        if not resume:
            after = told[EventKind.TRACK_STARTED].track
            assert before is not None
            assert after is not None
            assert (after.reply_name, after.sid != before.sid) == (before.reply_name, True)
        mic.speak(np.full(320, 2, np.int16), realtime=False)
        frames = transport.recv(kinds=("audio",), timeout=PATIENCE)
        assert set(next(frames).samples.ravel()) == {2}, "what was spoken meanwhile is lost"
    check_law(transport)


def test_who_leaves_while_the_connection_is_lost(fake_room: FakeRoom) -> None:
    with opened(fake_room), fake_room.faults.connection_lost() as fault:
        fake_room.remove("app")
    assert fault.over
    with pytest.raises(LookupError, match="no application 'app'; in the room: nobody"):
        fake_room.faults.connection_lost("app")


def test_a_broken_connection_ends_the_transport(fake_room: FakeRoom) -> None:
    with opened(fake_room, reconnect=NEVER_AGAIN) as transport:
        fault = fake_room.faults.connection_broken()
        assert fault.over
        with pytest.raises(RoomError, match="hung up"):
            next(transport.recv(timeout=PATIENCE))
    check_law(transport)


def test_a_room_that_the_server_closes(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport, fake_room.faults.room_closed("maintenance"):
        assert list(transport.recv(timeout=PATIENCE)) == []
        assert transport.ended == "maintenance"
        with pytest.raises(RoomError) as refused:
            connects(fake_room, identity="again")
        assert refused.value.reason == "unreachable"
    connects(fake_room, identity="again")
