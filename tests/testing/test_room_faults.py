"""Faults on command, and what the application sees: while they last, and that nothing is left."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from fake_room_kit import ManualClock, joined

import processors_kit as kit
import ringroom
from app_kit import NEVER_AGAIN, PATIENCE, RATE, Call, check_law, microphone, opened, sound, until
from ringroom.errors import ConfigurationError, RoomError
from ringroom.frames import Event, EventKind
from ringroom.providers.fake import messages
from ringroom.testing import FakeRoom, sources
from ringroom.testing.counting import numbers

ALL = ("audio", "video", "data", "event")
PICTURE = ringroom.VideoFrame.from_gray(np.zeros((48, 64), np.uint8))


def connects(room: FakeRoom, **options: Any) -> None:
    with opened(room, **options):
        room.wait_for_app()


def event(events: Any, kind: EventKind) -> Event:
    """The next event of that kind."""
    return next(found for found in events if found.kind is kind)


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
    lambda room: room.faults.provider_raises("publish"),
    lambda room: room.faults.late(0.1),
    lambda room: room.faults.bursts(0.1),
    lambda room: room.faults.out_of_order(),
    lambda room: room.faults.drift(100),
    lambda room: room.faults.slow_subscribing(0.1),
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
        patient = Call(connects, fake_room, identity="patient")
        until(lambda: not patient.over)
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


# Requests.


@pytest.mark.parametrize("lost", [False, True], ids=["told at once", "told after a loss"])
def test_the_right_to_publish_taken_away(fake_room: FakeRoom, lost: bool) -> None:
    with opened(fake_room, kinds=ALL) as transport:
        transport.send(sound(0.02, track="voice"))
        transport.send(PICTURE)
        for name in ("voice", "video"):
            fake_room.wait_for_track(name)
        outage = fake_room.faults.connection_lost() if lost else None
        with fake_room.faults.publishing_forbidden():
            assert not fake_room.application.tracks
            if outage is not None:
                outage.end()
            with pytest.raises(RoomError, match=r"'voice' is over: .* not allowed") as refused:
                transport.send(sound(5.0, track="voice"))
            assert refused.value.reason == "publish_refused"
            with pytest.raises(RoomError, match=r"'video' is over: .* not allowed"):
                until(lambda: transport.send(PICTURE))
            with pytest.raises(RoomError, match="not allowed"):
                transport.send(sound(0.02, track="voice"))
            heard = fake_room.heard("voice").duration
            events = transport.recv(kinds=("event",), timeout=PATIENCE)
            for _ in range(3):
                event(events, EventKind.PUBLISH_FAILED)
        transport.send(sound(0.02, track="voice"))
        fake_room.wait_for_audio("voice", seconds=heard + 0.02)
    check_law(transport)


@pytest.mark.parametrize("resume", [None, True, False], ids=["at once", "resumed", "anew"])
def test_a_track_that_the_server_mutes(fake_room: FakeRoom, resume: bool | None) -> None:
    with opened(fake_room, kinds=ALL) as transport:
        events = transport.recv(kinds=("event",), timeout=PATIENCE)
        with pytest.raises(LookupError, match="no application publishes a track 'voice'"):
            fake_room.faults.muted_by_server("voice")
        transport.send(sound(0.02, track="voice"))
        transport.send(sound(0.02, track="music"))
        for name in ("voice", "music"):
            fake_room.wait_for_audio(name, seconds=0.02)
        outage = None if resume is None else fake_room.faults.connection_lost(resume=resume)
        with fake_room.faults.muted_by_server("voice"):
            if outage is not None:
                outage.end()
            muted = event(events, EventKind.PUBLISH_MUTED).track
            assert muted is not None
            assert (muted.name, muted.participant) == ("voice", "app")
            transport.send(sound(0.02, track="voice"))
            transport.send(sound(0.02, track="music"))
            fake_room.wait_for_audio("music", seconds=0.04)
            transport.wait_playout("voice")
        assert event(events, EventKind.PUBLISH_UNMUTED).track == muted
        transport.send(sound(0.02, track="voice"))
        fake_room.wait_for_audio("voice", seconds=0.04)
        transport.wait_playout()
        assert fake_room.heard("voice").duration == pytest.approx(0.04)
    check_law(transport)


def test_two_who_mute_a_track(fake_room: FakeRoom) -> None:
    with opened(fake_room, kinds=ALL) as transport:
        events = transport.recv(kinds=("event",), timeout=PATIENCE)
        transport.send(sound(0.02, track="voice"))
        fake_room.wait_for_audio("voice", seconds=0.02)
        with fake_room.faults.muted_by_server("voice"):
            with fake_room.faults.muted_by_server("voice"), fake_room.faults.connection_lost():
                pass
            transport.send(sound(0.02, track="voice"))
            transport.wait_playout("voice")
            transport.unpublish("voice")
            # Another track of that name, which the first fault has not muted.
            transport.send(sound(0.02, track="voice"))
            fake_room.wait_for_audio("voice", seconds=0.04)
            inner = fake_room.faults.muted_by_server("voice")
        with inner:
            transport.send(sound(0.02, track="voice"))
            transport.wait_playout("voice")
        told = [event(events, kind).kind for kind in (EventKind.PUBLISH_MUTED,) * 2]
        assert len(told) == 2
        assert event(events, EventKind.PUBLISH_UNMUTED)
        assert fake_room.heard("voice").duration == pytest.approx(0.04)


def test_who_is_not_there_may_publish_when_he_comes(fake_room: FakeRoom) -> None:
    with pytest.raises(LookupError, match="no application 'app'"):
        fake_room.faults.publishing_forbidden("app")
    with opened(fake_room, identity="app") as transport:
        transport.send(sound(0.02, track="voice"))
        fake_room.wait_for_audio("voice", seconds=0.02)


def test_a_refused_track_and_a_refused_message(fake_room: FakeRoom) -> None:
    with opened(fake_room, kinds=ALL) as transport:
        with fake_room.faults.publish_refused(), pytest.raises(RoomError, match="refuses"):
            transport.send(sound(0.02, track="first"))
        transport.send(sound(0.02, track="second"))
        fake_room.wait_for_audio("second", seconds=0.02)
        events = transport.recv(kinds=("event",), timeout=PATIENCE)
        event(events, EventKind.PUBLISH_FAILED)
        with fake_room.faults.data_refused():
            transport.send_data(b"no")
            assert "refuses" in event(events, EventKind.DATA_FAILED).reason
        transport.send_data(b"yes")
        assert fake_room.wait_for_data()[0].payload == b"yes"
    check_law(transport)


# A provider that raises.


@contextlib.contextmanager
def in_either(room: FakeRoom, io: str, **options: Any) -> Iterator[Any]:
    with opened(room, io=io, kinds=ALL, **options) as transport:
        yield transport
    check_law(transport)


@pytest.fixture(params=["thread", "process"])
def io(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_provider_that_raises_in_connect(fake_room: FakeRoom, io: str) -> None:
    with fake_room.faults.provider_raises("connect"):
        with pytest.raises(RoomError, match="RuntimeError: ordered to raise in connect") as failed:
            connects(fake_room, io=io)
        assert failed.value.reason == "failed"
    connects(fake_room, io=io)


def test_a_provider_that_raises_in_publish(fake_room: FakeRoom, io: str) -> None:
    with in_either(fake_room, io) as transport:
        with fake_room.faults.provider_raises("publish"):
            with pytest.raises(RoomError, match="ordered to raise in publish"):
                transport.send(sound(0.02, track="first"), timeout=PATIENCE)
            events = transport.recv(kinds=("event",), timeout=PATIENCE)
            assert "ordered" in event(events, EventKind.PUBLISH_FAILED).reason
        transport.send(sound(0.02, track="second"))
        fake_room.wait_for_audio("second", seconds=0.02)


def test_a_provider_that_raises_in_play(fake_room: FakeRoom, io: str) -> None:
    with in_either(fake_room, io) as transport:
        with fake_room.faults.provider_raises("play"):
            transport.send(sound(0.02))
            until(lambda: transport.stats().sent.problems)
        transport.send(sound(0.02))
        transport.wait_playout(timeout=PATIENCE)
        assert round(fake_room.wait_for_audio(seconds=0.02).duration, 3) == 0.02


def test_a_provider_that_raises_in_send_data(fake_room: FakeRoom, io: str) -> None:
    with in_either(fake_room, io) as transport:
        with fake_room.faults.provider_raises("send_data"):
            transport.send_data(b"lost")
            events = transport.recv(kinds=("event",), timeout=PATIENCE)
            assert "ordered" in event(events, EventKind.DATA_FAILED).reason
        transport.send_data(b"sent")
        assert fake_room.wait_for_data()[0].payload == b"sent"


def test_a_provider_that_raises_in_receive(fake_room: FakeRoom, io: str) -> None:
    with in_either(fake_room, io, reconnect=NEVER_AGAIN) as transport:
        waiting = Call(next, transport.recv(kinds=("audio",)))
        with fake_room.faults.provider_raises("receive"):
            with pytest.raises(RoomError, match="ordered to raise in receive"):
                waiting.result()
            assert transport.ended == "failed"


def test_a_provider_that_raises_in_close(fake_room: FakeRoom, io: str) -> None:
    with in_either(fake_room, io), fake_room.faults.provider_raises("close"):
        fake_room.wait_for_app()
        # The transport is closed first, so within the fault.
        fault = contextlib.ExitStack()
        fault.enter_context(fake_room.faults.provider_raises("close"))
    fault.close()
    fake_room.wait_for_app_gone()


def test_who_joins_later_is_told_to_raise_too(fake_room: FakeRoom) -> None:
    with (
        fake_room.faults.provider_raises("publish"),
        opened(fake_room) as transport,
        pytest.raises(RoomError, match="ordered"),
    ):
        transport.send(sound(0.02), timeout=PATIENCE)
    with (
        fake_room.faults.provider_raises("receive"),
        opened(fake_room, identity="deaf", reconnect=NEVER_AGAIN) as transport,
        pytest.raises(RoomError, match="ordered"),
    ):
        next(transport.recv(timeout=PATIENCE))


# Media on its way, by a clock that the test sets.


@contextlib.contextmanager
def spoken_into(clock: ManualClock) -> Iterator[tuple[FakeRoom, Any, Any]]:
    with FakeRoom(clock=clock) as room, joined(room) as app:
        yield room, room.join("alice").publish_audio(sample_rate=8_000), app


def say(mic: Any, *values: int) -> None:
    """A piece of 20 ms for each value, at once; all are on their way when it returns."""
    mic.speak(np.repeat(np.array(values, np.int16), 160), realtime=False, wait=True)


def heard(app: Any, count: int) -> list[int]:
    return [int(np.frombuffer(app.next(messages.Audio).payload, "<i2")[0]) for _ in range(count)]


def test_late_media_comes_whole_and_in_order() -> None:
    clock = ManualClock()
    with spoken_into(clock) as (room, mic, app):
        with room.faults.late(0.3) as fault:
            say(mic, 1, 2)
            clock.advance(0.2)
            say(mic, 3)
            fence(room, app)
            clock.advance(0.1)
            assert heard(app, 2) == [1, 2]
            fence(room, app)
            clock.advance(0.2)
            assert heard(app, 1) == [3]
            say(mic, 4)
        assert fault.over
        say(mic, 5)
        assert heard(app, 2) == [4, 5], "what was under way at the end comes before what follows"
        with room.faults.late(0.3, "bob"):
            say(mic, 6)
            assert heard(app, 1) == [6]


def fence(room: FakeRoom, app: Any) -> None:
    """All that the application was sent so far is control messages, or was heard."""
    wire, settled = room._core.wire, threading.Event()
    wire.call_at(wire.time(), settled.set)  # after all else that is due by now
    assert settled.wait(5)
    people = len(room.participants)
    room.join(f"fence {people}")
    while not isinstance(message := app.hear(), messages.Happened):
        assert not isinstance(message, messages.Audio), "media came too early"


def test_bursts() -> None:
    clock = ManualClock()
    with spoken_into(clock) as (room, mic, app), room.faults.bursts(0.5):
        fence(room, app)
        say(mic, 1)
        clock.advance(0.3)
        say(mic, 2)
        fence(room, app)
        clock.advance(0.2)
        assert heard(app, 2) == [1, 2]
        say(mic, 3)
        fence(room, app)
        clock.advance(0.5)
        assert heard(app, 1) == [3]


def test_out_of_order() -> None:
    with spoken_into(ManualClock()) as (room, mic, app):
        with room.faults.out_of_order(3):
            say(mic, 1, 2, 3, 4, 5, 6)
            assert heard(app, 6) == [1, 3, 2, 4, 6, 5]
            app.next(messages.AudioPause)
            say(mic, 7, 8)
            assert heard(app, 2) == [7, 8], "a pause lets out what is held back"
        say(mic, 9)
        assert heard(app, 1) == [9]


def test_faults_of_the_way_act_one_after_the_other() -> None:
    clock = ManualClock()
    with (
        spoken_into(clock) as (room, mic, app),
        room.faults.late(0.1),
        room.faults.out_of_order(),
        room.faults.late(0.1),
    ):
        say(mic, 1, 2)
        fence(room, app)  # what is said is on its way: only then may time pass
        clock.advance(0.1)
        fence(room, app)
        clock.advance(0.1)
        assert heard(app, 2) == [2, 1]


def test_sources_drift() -> None:
    clock = ManualClock()
    with spoken_into(clock) as (room, mic, app), room.faults.drift(100_000):
        mic.tone(seconds=1.1)
        for _ in range(50):
            clock.advance(0.02)
        assert mic.subscribers == set()
        # 1.1 s of a clock that runs a tenth faster.
        assert sum(len(app.next(messages.Audio).payload) for _ in range(55)) == 2 * 8_000 * 1.1
        camera = room.join("bob").publish_video(width=32, height=32)
        times = []
        for _ in range(2):
            camera.show(sources.picture(1, 32, 32))
            times.append(app.next(messages.Video).timestamp_us)
            clock.advance(1.0)
        assert times[1] - times[0] == pytest.approx(1_100_000, abs=2)


def test_late_media_is_as_fresh_as_when_it_arrives(fake_room: FakeRoom) -> None:
    """The age that `max_age` bounds counts from the arrival: the room's lateness is the room's."""
    mic = microphone(fake_room)
    with opened(fake_room, max_age=1.0) as transport, fake_room.faults.late(1.2):
        mic.wait_for_subscriber()
        mic.speak(np.full(320, 3, np.int16), realtime=False)
        assert set(next(transport.recv(timeout=PATIENCE)).samples.ravel()) == {3}
    assert transport.stats().received.dropped == 0


def test_bursts_through_a_pool(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)
    with (
        ringroom.Pool(kit.echo, "fake", room=fake_room, workers=1, io="thread") as pool,
        fake_room.faults.bursts(0.1),
    ):
        mic.wait_for_subscriber()
        mic.tone(seconds=0.3)
        fake_room.wait_for_audio("alice/mic", 0.28)
        pool.drain()
    check_law(pool)
    assert pool.stats().received.dropped == 0


def test_subscribing_takes_its_time() -> None:
    clock = ManualClock()
    with FakeRoom(clock=clock) as room:
        early = room.join("ann").publish_audio(sample_rate=8_000)
        clock.advance(100)
        with room.faults.slow_subscribing(2) as fault, joined(room) as app:
            # A track that was there counts from when the application joined.
            early.count(2, realtime=False)
            clock.advance(1.5)
            late = room.join("bob").publish_audio(sample_rate=8_000)
            clock.advance(0.5)
            assert app.next(messages.TrackPublished).track.participant == "ann"
            early.count(1, realtime=False)
            late.count(3, realtime=False)
            heard = app.next(messages.Audio)
            assert numbers(np.frombuffer(heard.payload, "<i2"), 8_000) == [3]
            fault.end()
            assert app.next(messages.TrackPublished).track.participant == "bob"
            late.count(1, realtime=False)
            heard = app.next(messages.Audio)
            assert numbers(np.frombuffer(heard.payload, "<i2"), 8_000) == [4]
