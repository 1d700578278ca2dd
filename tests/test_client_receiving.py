"""What a transport receives: in which order, from whom, for whom, and until when."""

from __future__ import annotations

import gc
import time
from typing import Any, get_args

import numpy as np
import pytest

import ringroom
from app_kit import (
    PATIENCE,
    RATE,
    Call,
    check_law,
    interrupted,
    microphone,
    noise,
    opened,
    same,
    say,
    sound,
    take,
    until,
)
from ringroom import client
from ringroom.errors import (
    BusyError,
    ClosedError,
    ConfigurationError,
)
from ringroom.events import EventKind
from ringroom.faces import receiving
from ringroom.frames import AudioFrame, DataFrame, Item
from ringroom.processes import waiting
from ringroom.testing import FakeRoom


@pytest.mark.parametrize("receiver", [ringroom.client.Receiver, ringroom.aio.Receiver])
def test_a_list_of_what_is_received_is_one_of_items_to_a_type_checker(receiver: type) -> None:
    bases = receiver.__orig_bases__  # type: ignore[attr-defined]
    assert (Item,) in [get_args(base) for base in bases]


def test_frames_come_in_order_and_whole(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)
    with opened(fake_room) as transport:
        mic.wait_for_subscriber()
        spoken = say(mic, 0.2)
        receiver = transport.recv(timeout=PATIENCE)
        frames = [next(receiver) for _ in range(10)]
        assert b"".join(frame.data for frame in frames) == spoken.tobytes()
        assert [frame.sequence for frame in frames] == list(range(10))
        assert {frame.participant for frame in frames} == {"alice"}
        assert all(frame.received_ns <= time.monotonic_ns() for frame in frames)
        assert {frame.track.reply_name for frame in frames} == {"alice/mic"}


@pytest.mark.parametrize("waits", [False, True])
def test_ctrl_c_in_next_keeps_what_was_taken_for_the_one_after_it(
    fake_room: FakeRoom, waits: bool
) -> None:
    """Once it was taken from its lane; wherever Python looks for Ctrl-C from there on."""
    ann = fake_room.join("ann")
    with opened(fake_room, kinds=("data",)) as transport:
        receiver = transport.recv(timeout=PATIENCE)
        for moment in range(1, 200):
            found: list[Item] = []

            def one(number: int = moment, found: list[Item] = found) -> None:
                ann.send_data(str(number))
                if not waits:
                    until(lambda: transport.stats().received.sent == number)
                found.append(next(receiver))

            was = interrupted(one, moment, client, receiving, waiting)
            if was:
                found.append(next(receiver))
            assert [int(item.payload) for item in found if isinstance(item, DataFrame)] == [moment]
            if not was:
                return
        raise AssertionError("it had no end")


def test_a_timeout_does_not_end_the_iteration(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)
    with opened(fake_room) as transport:
        receiver = transport.recv(timeout=0.02)
        for _ in range(3):
            with pytest.raises(TimeoutError, match=r"nothing received within 0\.02 s"):
                next(receiver)
        mic.wait_for_subscriber()
        spoken = say(mic, 0.02)
        got = until(lambda: _or_none(receiver))
        assert same(got.samples, spoken)


def _or_none(receiver: Any) -> Any:
    try:
        return next(receiver)
    except TimeoutError:
        return None


def test_narrowed_by_participants_and_kinds(fake_room: FakeRoom) -> None:
    alice, bob = fake_room.join("alice"), fake_room.join("bob")
    mics = [who.publish_audio(sample_rate=RATE) for who in (alice, bob)]
    with opened(fake_room, kinds=("audio", "data")) as transport:
        for seed, mic in enumerate(mics):
            mic.wait_for_subscriber()
            say(mic, 0.1, seed)
        sounds = transport.recv(kinds=("audio",), participants=["bob"], timeout=PATIENCE)
        words = transport.recv(kinds=("data",), participants=["alice"], timeout=PATIENCE)
        assert same(take(sounds, 1_600), noise(0.1, 1))
        bob.send_data(b"from bob")
        alice.send_data(b"from alice", topic="t")
        message = next(words)
        assert isinstance(message, DataFrame)
        assert (message.payload, message.topic, message.participant) == (
            b"from alice",
            "t",
            "alice",
        )
        for wrong in (("video",), ("sound",), "audio"):
            with pytest.raises(ConfigurationError, match="was opened with kinds="):
                transport.recv(kinds=wrong)


@pytest.mark.parametrize("io", ["thread", "process"])
def test_only_the_participants_asked_for_are_subscribed(fake_room: FakeRoom, io: str) -> None:
    mics = {name: microphone(fake_room, name) for name in ("alice", "bob", "carol")}
    with opened(fake_room, participants=lambda who: who.identity < "b", io=io):
        mics["alice"].wait_for_subscriber()
        assert not mics["carol"].subscribers
    with opened(fake_room, participants=["bob"], io="thread"):
        mics["bob"].wait_for_subscriber()
        assert not mics["alice"].subscribers


@pytest.mark.parametrize(
    ("option", "asked", "name"),
    [("participants", "identity", ""), ("tracks", "participant", "/mic")],
)
def test_a_predicate_that_raises_refuses(
    fake_room: FakeRoom, caplog: Any, option: str, asked: str, name: str
) -> None:
    mic = microphone(fake_room)
    with opened(fake_room, **{option: lambda of: getattr(of, asked) == "friend" or 1 / 0}):
        late = microphone(fake_room, "late")
        microphone(fake_room, "friend").wait_for_subscriber()
        assert not mic.subscribers | late.subscribers
    assert caplog.text.count(f"{option}=: the predicate raised for 'alice{name}'") == 1
    assert "raised for 'late" not in caplog.text, "once a minute"


@pytest.mark.parametrize("io", ["thread", "process"])
@pytest.mark.parametrize(
    "tracks", [["microphone", "camera"], lambda track: not track.name.startswith("screen")]
)
def test_only_the_tracks_asked_for_are_subscribed(
    fake_room: FakeRoom, io: str, tracks: Any
) -> None:
    alice = fake_room.join("alice")
    shared = [
        alice.publish_audio("screen's sound", source="screen_share_audio"),
        alice.publish_video("screen", 64, 48, source="screen_share"),
    ]
    own = [alice.publish_audio("mic", RATE), alice.publish_video("camera", 64, 48)]
    with opened(fake_room, kinds=("audio", "video", "event"), tracks=tracks, io=io) as transport:
        for track in own:
            track.wait_for_subscriber()
        assert not any(track.subscribers for track in shared)
        late = alice.publish_video("screen again", 64, 48, source="screen_share")
        alice.publish_audio("mic again", RATE).wait_for_subscriber()
        assert not late.subscribers
        say(own[0])
        received = transport.recv(kinds=("audio",), timeout=PATIENCE)
        assert next(received).track.name == "mic"
        events = transport.recv(kinds=("event",), timeout=PATIENCE)
        published: list[str] = []
        while "mic again" not in published:
            event = next(events)
            if event.kind is EventKind.TRACK_PUBLISHED and event.track is not None:
                published.append(event.track.name)
        assert {"screen", "screen again"} < {*published}, "what is not received is told"
        lanes = {lane.track for lane in transport.stats().lanes}
        assert "mic" in lanes
        assert not any(name.startswith("screen") for name in lanes)


def test_both_choices_hold(fake_room: FakeRoom) -> None:
    options: Any = {"participants": ["alice"], "tracks": ["microphone"]}
    people = [fake_room.join(name) for name in ("bob", "alice")]
    screens = [one.publish_audio("screen", source="screen_share_audio") for one in people]
    mics = [one.publish_audio("mic", RATE) for one in people]
    with opened(fake_room, **options):
        mics[1].wait_for_subscriber()
        assert not any(track.subscribers for track in (*screens, mics[0]))


def test_two_receivers_of_a_kind_are_one_too_many(fake_room: FakeRoom) -> None:
    with opened(fake_room, kinds=("audio", "data")) as transport:
        first = transport.recv(kinds=("audio",))
        with pytest.raises(BusyError, match="already receives audio"):
            transport.recv()
        transport.recv(kinds=("data",)).close()
        first.close()
        first.close()
        second = transport.recv()
        del second
        gc.collect()
        with pytest.raises(StopIteration):
            next(first)
        transport.recv().close()


def test_an_exhausted_receiver_gives_its_kinds_back(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        receiver = transport.recv(timeout=PATIENCE)
        fake_room.close_room()
        assert list(receiver) == []
        assert list(receiver) == []  # an iterator that has ended stays ended
        assert list(transport.recv(timeout=PATIENCE)) == []
        assert transport.ended == "room closed"


def test_the_rooms_end_ends_the_loop_after_what_waits(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)
    with opened(fake_room, kinds=("audio", "data", "event")) as transport:
        mic.wait_for_subscriber()
        spoken = say(mic, 0.2)
        fake_room.join("bob").send_data(b"last words")
        fake_room.close_room("enough")
        until(lambda: transport.ended)
        items = list(transport.recv(timeout=PATIENCE))
        sounds = [item.samples for item in items if isinstance(item, AudioFrame)]
        assert same(np.concatenate(sounds), spoken)
        assert [item.payload for item in items if isinstance(item, DataFrame)] == [b"last words"]
        kinds = [item.kind for item in items if isinstance(item, ringroom.Event)]
        assert EventKind.TRACK_ENDED in kinds
        assert EventKind.DISCONNECTED in kinds
    check_law(transport)


def test_every_event_says_when(fake_room: FakeRoom) -> None:
    with opened(fake_room, kinds=("audio", "event")) as transport:
        before = time.monotonic_ns()
        mic = microphone(fake_room)
        mic.wait_for_subscriber()
        say(mic, 0.02)
        mic.mute()
        fake_room.close_room()
        events = [one for one in transport.recv() if isinstance(one, ringroom.Event)]
        assert {EventKind.TRACK_STARTED, EventKind.TRACK_ENDED} <= {one.kind for one in events}
        times = [one.received_ns for one in events if one.kind is not EventKind.CONNECTED]
        assert all(before <= then <= time.monotonic_ns() for then in times)


def test_the_rooms_end_wakes_who_waits(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        waiting = Call(lambda: list(transport.recv()))
        until(lambda: transport._connection.session.incoming.inboxes)
        fake_room.close_room()
        assert waiting.result() == []


def test_an_echo_that_is_busy_when_the_room_ends_still_ends(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)
    with opened(fake_room) as transport:
        mic.wait_for_subscriber()
        say(mic, 0.2)
        echoed = 0
        for frame in transport.recv(timeout=PATIENCE):
            if not echoed:
                fake_room.close_room()
                until(lambda: transport.ended)
            transport.send(frame)
            echoed += 1
        assert echoed == 10
        with pytest.raises(ClosedError, match="the room has ended: room closed"):
            transport.send(sound(0.02))
        with pytest.raises(ClosedError, match="the room has ended"):
            transport.send_nowait(sound(0.02))
