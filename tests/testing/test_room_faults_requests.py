"""Requests that are refused, and providers that raise: what the application sees."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fake_room_kit import ALL, connects, event

import ringroom
from app_kit import NEVER_AGAIN, PATIENCE, Call, check_law, opened, sound, until
from ringroom.errors import RoomError
from ringroom.events import EventKind
from ringroom.testing import FakeRoom

PICTURE = ringroom.VideoFrame.from_gray(np.zeros((48, 64), np.uint8))


def all_arrived(transport: ringroom.Transport, room: FakeRoom) -> None:
    """What was played so far has come to the room, also what nobody hears."""
    transport.send_data(b"", topic="fence")
    room.wait_for_data("fence", timeout=PATIENCE)


# Messages.


def said(receiver: ringroom.Receiver) -> tuple[str, bytes]:
    frame = next(receiver)
    assert isinstance(frame, ringroom.DataFrame)
    return frame.participant, frame.payload


def test_messages_come_without_their_sender(fake_room: FakeRoom) -> None:
    ann, bob = fake_room.join("ann"), fake_room.join("bob")
    with opened(fake_room, kinds=("data",)) as transport:
        receiver = transport.recv(timeout=PATIENCE)
        fake_room.wait_for_app()
        with fake_room.faults.messages_nameless("ann"):
            ann.send_data(b"1")
            bob.send_data(b"2")
            with fake_room.faults.messages_nameless():
                bob.send_data(b"3")
        ann.send_data(b"4")
        heard = [said(receiver) for _ in range(4)]
        assert heard == [("", b"1"), ("bob", b"2"), ("", b"3"), ("ann", b"4")]
        assert {frame.participant for frame in bob.received} == {"ann"}, "others know who it was"


@pytest.mark.parametrize("wanted", [["ann"], lambda who: who.identity == "ann"])
def test_messages_without_a_sender_are_left_out_and_told_where_some_are_wanted(
    fake_room: FakeRoom, wanted: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ann = fake_room.join("ann")
    with opened(fake_room, kinds=("data",), participants=wanted) as transport:
        receiver = transport.recv(timeout=PATIENCE)
        fake_room.wait_for_app()
        with fake_room.faults.messages_nameless("ann"):
            ann.send_data(b"1")
            ann.send_data(b"2")
        ann.send_data(b"3")
        assert said(receiver) == ("ann", b"3")
    assert caplog.text.count("a message that names no sender was left out") == 1


def test_texts_that_break_off_reach_nobody(fake_room: FakeRoom) -> None:
    ann, bob = fake_room.join("ann"), fake_room.join("bob")
    options = {"kinds": ("data", "event"), "text_topics": ("t",)}
    with opened(fake_room, **options) as transport:
        receiver = transport.recv(timeout=PATIENCE)
        fake_room.wait_for_app()
        with fake_room.faults.texts_broken_off("ann"):
            ann.send_text("1", topic="t")
            ann.send_text("2", topic="other")
            ann.send_data(b"3")
            bob.send_text("4", topic="t")
            with fake_room.faults.texts_broken_off():
                bob.send_text("5", topic="t")
        ann.send_text("6", topic="t")
        heard, failed = [], []
        while len(heard) < 3 or len(failed) < 2:
            item = next(receiver)
            if isinstance(item, ringroom.DataFrame):
                heard.append(item.payload)
            elif item.kind is EventKind.TEXT_FAILED:
                failed.append(item.participant.identity)
        assert heard == [b"3", b"4", b"6"]
        assert failed == ["ann", "bob"], "not of what nobody asked for"
        assert [one.payload for one in bob.received] == [b"3", b"6"]
        assert [one.payload for one in ann.received] == [b"4"]


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
            all_arrived(transport, fake_room)
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
            all_arrived(transport, fake_room)
        muted, unmuted = EventKind.PUBLISH_MUTED, EventKind.PUBLISH_UNMUTED
        told = []
        while unmuted not in told:
            if (kind := next(events).kind) in (muted, unmuted):
                told.append(kind)
        # Of two who mute it the first, and that the other has ended is nothing.
        assert told == [muted, muted, unmuted]
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


def test_a_refused_profile(fake_room: FakeRoom) -> None:
    with opened(fake_room, kinds=ALL) as transport:
        with fake_room.faults.profile_refused():
            with pytest.raises(RoomError, match="the room refuses the profile") as refused:
                transport.set_profile(name="App", timeout=PATIENCE)
            assert refused.value.reason == "profile_refused"
        transport.set_profile(name="App", timeout=PATIENCE)
        assert [one.name for one in fake_room.participants] == ["App"]


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


def test_a_provider_that_raises_in_call(fake_room: FakeRoom, io: str) -> None:
    fake_room.join("ann").answer("m", lambda call: "yes")
    with in_either(fake_room, io) as transport:
        with (
            fake_room.faults.provider_raises("call"),
            pytest.raises(RoomError, match="RuntimeError: ordered to raise in call"),
        ):
            transport.call("ann", "m")
        assert transport.call("ann", "m") == "yes"


def test_a_provider_that_raises_in_set_profile(fake_room: FakeRoom, io: str) -> None:
    with in_either(fake_room, io) as transport:
        with (
            fake_room.faults.provider_raises("set_profile"),
            pytest.raises(RoomError, match="RuntimeError: ordered to raise in set_profile"),
        ):
            transport.set_profile(name="App", timeout=PATIENCE)
        transport.set_profile(name="App", timeout=PATIENCE)
        assert [one.name for one in fake_room.participants] == ["App"]


def test_a_provider_that_raises_in_receive(fake_room: FakeRoom, io: str) -> None:
    with in_either(fake_room, io, reconnect=NEVER_AGAIN) as transport:
        waiting = Call(next, transport.recv(kinds=("audio",)))
        with fake_room.faults.provider_raises("receive"):
            with pytest.raises(RoomError, match="ordered to raise in receive"):
                waiting.result()
            assert transport.ended == "failed"


def test_a_provider_that_raises_in_close(
    fake_room: FakeRoom,
    io: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with in_either(fake_room, io), fake_room.faults.provider_raises("close"):
        fake_room.wait_for_app()
        # The transport is closed first, so within the fault.
        fault = contextlib.ExitStack()
        fault.enter_context(fake_room.faults.provider_raises("close"))
    fault.close()
    fake_room.wait_for_app_gone()
    told = caplog.text if io == "thread" else capfd.readouterr().err
    assert told.count("the provider failed to close") == 1
    assert "RuntimeError: ordered to raise in close" in told


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
