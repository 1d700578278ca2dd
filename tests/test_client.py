"""The synchronous face, over a room in memory."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import os
import signal
import threading
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ringroom
from app_kit import (
    NEVER_AGAIN,
    PATIENCE,
    RATE,
    Call,
    check_law,
    children,
    descriptors,
    microphone,
    noise,
    opened,
    said,
    same,
    say,
    sound,
    take,
    until,
)
from ringroom.checks import MAX_DATA_BYTES
from ringroom.errors import (
    BusyError,
    ClosedError,
    ConfigurationError,
    FrameError,
    LostProcessError,
    RoomError,
    UnknownProviderError,
    WouldBlock,
)
from ringroom.frames import AudioFrame, DataFrame, EventKind, Kind, VideoFrame
from ringroom.options import PublishOptions, TransportConfig
from ringroom.providers.fake.connection import FakeProvider
from ringroom.testing import FakeRoom, leaks, sources
from ringroom.testing.virtual import VirtualClock

LIVE = PublishOptions(mode="live")


# Options: every error comes before any process or thread starts.


@pytest.fixture
def nothing_starts() -> Any:
    with leaks.nothing_left_behind(grace=0.0):
        yield


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sample_rte": 8_000}, "unknown option sample_rte; known are: "),
        ({"kinds": ("sound",)}, "kinds has 'sound', expected some of: audio, video, data, event"),
        ({"kinds": "audio"}, "expected a tuple"),
        ({"kinds": 3}, "expected a tuple"),
        ({"sample_rate": 4_000}, "sample rate"),
        ({"sample_rate": 96_000}, "expected 8000 to 48000"),
        ({"sample_rate": "16000"}, "sample rate"),
        ({"channels": 3}, "channels"),
        ({"channels": 0}, "channels"),
        ({"participants": "alice"}, "expected a list of identities"),
        ({"participants": 7}, "expected a list of identities"),
        ({"participants": [""]}, "empty or not text"),
        ({"participants": [5]}, "empty or not text"),
        ({"io": "fork"}, "io is 'fork'"),
        ({"io": None}, "io is None"),
        ({"frame_ms": 25}, "multiple of 10"),
        ({"frame_ms": 5}, "frame_ms is 5"),
        ({"frame_ms": 20.0}, "whole number"),
        ({"max_age": 0}, "max_age"),
        ({"max_age": True}, "max_age"),
        ({"connect_timeout": -1}, "connect_timeout"),
        ({"close_timeout": float("nan")}, "close_timeout"),
        ({"publish": {"mode": "live"}}, "expected ringroom.PublishOptions"),
        ({"room": ""}, "fake: room is ''"),
        ({"identity": ""}, "identity is empty"),
    ],
)
@pytest.mark.usefixtures("nothing_starts")
def test_a_wrong_option_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says.replace("(", r"\(")):
        ringroom.transport("fake", **{"room": "nowhere", **options})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mode": "fast"}, "publish mode"),
        ({"queue_ms": 10}, "queue_ms"),
        ({"video_codec": "mpeg"}, "'vp8', 'vp9'"),
        ({"audio_bitrate": 1}, "audio_bitrate"),
        ({"video_fps": 0}, "video_fps"),
        ({"source": "moon"}, "source"),
    ],
)
def test_a_wrong_publish_option_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        PublishOptions(**options)


@pytest.mark.usefixtures("nothing_starts")
def test_an_unknown_provider_lists_those_that_are_known() -> None:
    with pytest.raises(UnknownProviderError, match=r"known are: fake, livekit"):
        ringroom.transport("lievkit")
    with pytest.raises(ConfigurationError, match="expected a name"):
        ringroom.transport(3)  # type: ignore[arg-type]


@pytest.mark.usefixtures("nothing_starts")
def test_livekit_says_what_is_missing() -> None:
    with pytest.raises(ConfigurationError) as no_url:
        ringroom.transport("livekit", token="t")
    assert str(no_url.value) == "livekit: URL is required"
    with pytest.raises(ConfigurationError) as no_token:
        ringroom.transport("livekit", url="ws://127.0.0.1:1")
    assert str(no_token.value) == "livekit: Token is required"


@pytest.mark.usefixtures("nothing_starts")
def test_what_cannot_travel_is_refused(fake_room: FakeRoom) -> None:
    running = (number for number in range(3))

    def predicate(participant: Any) -> bool:
        return next(running) > 0

    with pytest.raises(ConfigurationError, match="participants="):
        ringroom.transport("fake", room=fake_room, participants=predicate)


@pytest.mark.usefixtures("nothing_starts")
def test_a_config_is_a_config() -> None:
    with pytest.raises(ConfigurationError, match="expected a TransportConfig"):
        ringroom.transport("fake", {"url": "x"})  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="a mapping"):
        TransportConfig(extra=[1])  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="not with a spec"):
        ringroom.transport(ringroom.Fake(room="here"), TransportConfig())


def test_a_refused_connection(fake_room: FakeRoom) -> None:
    fake_room.refuse_connects()
    with pytest.raises(RoomError) as refused:
        ringroom.transport("fake", room=fake_room, io="thread")
    assert refused.value.reason == "unauthorized"
    fake_room.refuse_connects("timeout")
    with pytest.raises(RoomError) as late:
        ringroom.transport("fake", room=fake_room, io="thread", connect_timeout=0.1)
    assert late.value.reason == "timeout"


# Opening.


def test_by_name_by_spec_and_from_a_config(fake_room: FakeRoom) -> None:
    with ringroom.transport("fake", room=fake_room, io="thread") as by_name:
        assert (by_name.room, by_name.identity) == (fake_room.name, "app")
        assert repr(by_name) == f"<Transport fake in {fake_room.name!r} as 'app'>"
    assert repr(by_name) == "<Transport fake closed>"
    spec = ringroom.Fake(room=fake_room, identity="spec")
    with ringroom.transport(spec, io="thread") as by_spec:
        assert by_spec.identity == "spec"
    config = TransportConfig(
        url="ws://x", token="t", sample_rate=8_000, extra={"room": fake_room, "identity": "config"}
    )
    with ringroom.transport("fake", config, io="thread") as by_config:
        assert by_config.identity == "config"
        mic = microphone(fake_room)
        say(mic)
        assert next(by_config.recv(timeout=PATIENCE)).sample_rate == 8_000


def test_in_a_process_of_its_own(fake_room: FakeRoom) -> None:
    before = children()
    with opened(fake_room, io="process", token="s3cret") as transport:
        mic = microphone(fake_room)
        mic.wait_for_subscriber()
        spoken = say(mic)
        heard = take(transport.recv(timeout=PATIENCE), len(spoken))
        assert same(heard, spoken)
        transport.send(sound(0.1, 5))
        assert same(fake_room.wait_for_audio(seconds=0.1).samples, noise(0.1, 5))
        transport.send_data("hello", topic="chat")
        assert fake_room.wait_for_data("chat")[0].payload == b"hello"
        child = min(children() - before, key=lambda pid: pid == _tracker())
        public = [Path(f"/proc/{child}/{name}").read_text() for name in ("cmdline", "environ")]
        assert not any("s3cret" in text for text in public)
    check_law(transport)


def _tracker() -> int:
    from multiprocess import resource_tracker

    return int(resource_tracker._resource_tracker._pid or 0)


def test_several_transports_share_a_process(fake_room: FakeRoom) -> None:
    with ringroom.IOProcess() as shared:
        pid = shared.pid
        with (
            opened(fake_room, io=shared, identity="one") as one,
            opened(fake_room, io=shared, identity="two", kinds=("audio", "data")) as two,
        ):
            one.send(sound(0.1, 1))
            heard = take(two.recv(kinds=("audio",), timeout=PATIENCE), 1_600)
            assert same(heard, noise(0.1, 1))
            one.close()
            assert os.path.exists(f"/proc/{pid}")
            two.send_data(b"still here")
            fake_room.wait_for_data(app="two")
    assert shared.pid is None
    with pytest.raises(ClosedError, match="closed"):
        ringroom.transport("fake", room=fake_room, io=shared)


# Receiving.


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


def test_a_predicate_that_raises_refuses(fake_room: FakeRoom, caplog: Any) -> None:
    mic = microphone(fake_room)
    with opened(fake_room, participants=lambda who: who.identity == "friend" or 1 / 0):
        late = microphone(fake_room, "late")
        microphone(fake_room, "friend").wait_for_subscriber()
        assert not mic.subscribers | late.subscribers
    assert caplog.text.count("predicate raised for 'alice'") == 1
    assert "predicate raised for 'late'" not in caplog.text, "once a minute"


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


def test_the_rooms_end_wakes_who_waits(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        waiting = Call(lambda: list(transport.recv()))
        until(lambda: transport._connection.session._inboxes)
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


def test_a_connection_lost_for_good_raises(fake_room: FakeRoom) -> None:
    with opened(fake_room, reconnect=NEVER_AGAIN) as transport:
        receiver = transport.recv()
        waiting = Call(next, receiver)
        fake_room.break_connection()
        with pytest.raises(RoomError, match="hung up") as lost:
            waiting.result()
        assert lost.value.reason == "disconnected"
        with pytest.raises(RoomError, match="hung up"):
            transport.send(sound(0.02))
        with pytest.raises(RoomError, match="hung up"):
            next(transport.recv())


def test_a_lost_connection_comes_back(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)
    with opened(fake_room, kinds=("audio", "event")) as transport:
        mic.wait_for_subscriber()
        events = transport.recv(kinds=("event",), timeout=PATIENCE)
        fake_room.lose_connection()
        fake_room.restore_connection()
        kinds = [next(events).kind]
        while kinds[-1] is not EventKind.CONNECTION_BACK:
            kinds.append(next(events).kind)
        assert EventKind.CONNECTION_LOST in kinds
        spoken = say(mic, 0.04)
        assert same(take(transport.recv(kinds=("audio",), timeout=PATIENCE), 640), spoken)


# Closing.


def test_after_close_every_call_says_so(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        receiver = transport.recv()
        out = transport.audio_out()
        transport.send(sound(0.02))
    for call in (
        transport.recv,
        lambda: next(receiver),
        lambda: transport.send(sound(0.02)),
        lambda: transport.send_nowait(sound(0.02)),
        lambda: transport.send_data("x"),
        lambda: out.write(b"\0\0"),
        transport.audio_out,
        transport.flush,
        transport.played,
        transport.wait_playout,
    ):
        with pytest.raises(ClosedError, match="fake: transport is closed"):
            call()
    receiver.close()
    transport.close()
    assert transport.stats().sent.sent == 1
    assert transport.stats().sent.in_flight == 0


@pytest.mark.parametrize("io", ["thread", "process"])
def test_close_wakes_everybody(fake_room: FakeRoom, io: str) -> None:
    with opened(fake_room, kinds=("audio", "data"), io=io) as transport:
        fake_room.lose_connection()  # so that nothing is published, and no answer comes
        calls: list[Call[Any]] = [
            Call(next, transport.recv(kinds=("audio",))),
            Call(next, transport.recv(kinds=("data",), timeout=60)),
            Call(transport.send, sound(30.0, track="long")),
        ]
        until(lambda: transport.stats().sent.sent or len(transport._connection.outgoing.lanes))
        calls.append(Call(transport.wait_playout))
        until(lambda: len(transport._connection.session.listeners) >= 5)
        closing = [Call(transport.close), Call(transport.close)]
        for call in calls:
            with pytest.raises(ClosedError, match="fake: transport is closed"):
                call.result()
        for close in closing:
            close.result()


def test_who_waits_need_not_wait_for_the_leaving(
    fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, close = threading.Event(), FakeProvider.close

    async def late(provider: FakeProvider) -> None:
        await asyncio.to_thread(gate.wait, 60)
        await close(provider)

    monkeypatch.setattr(FakeProvider, "close", late)
    with opened(fake_room, close_timeout=50) as transport:
        waiting = Call(next, transport.recv())
        until(lambda: len(transport._connection.session.listeners) >= 2)
        closing = Call(transport.close)
        with pytest.raises(ClosedError, match="transport is closed"):
            waiting.result()
        assert not closing.over
        gate.set()
        closing.result()


def test_close_wakes_a_sender_and_a_listener_of_a_full_track(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        sending = Call(transport.send, sound(30.0))
        until(lambda: fake_room.applications["app"].tracks and transport.stats().sent.sent > 10)
        waiting = Call(transport.wait_playout)
        until(lambda: len(transport._connection.session.listeners) >= 2)
        transport.close()
        for call in (sending, waiting):
            with pytest.raises(ClosedError, match="fake: transport is closed"):
                call.result()
    check_law(transport)
    assert transport.stats().sent.in_flight == 0


def test_close_from_many_threads(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        for call in [Call(transport.close) for _ in range(8)]:
            call.result()
    fake_room.wait_for_app_gone()


def test_forgotten_transports_say_so(fake_room: FakeRoom) -> None:
    transport: Any = ringroom.transport("fake", room=fake_room, io="thread")
    assert transport
    with pytest.warns(ResourceWarning, match="ransport never closed"):
        transport = None
    fake_room.wait_for_app_gone()


def test_leaving_normally_plays_out(fake_room: FakeRoom) -> None:
    spoken = noise(0.5)
    with ringroom.transport("fake", room=fake_room, io="thread") as transport:
        transport.send(AudioFrame(spoken, RATE))
        transport.send_data("bye", topic="end")
        transport.send(sources.picture(7, 64, 64))
    application = fake_room.application
    assert same(application.heard().samples, spoken)
    assert [message.payload for message in application.messages] == [b"bye"]
    assert application.seen().count == 1
    assert transport.stats().sent.lost == 0


def test_leaving_by_an_exception_does_not_play_out(fake_room: FakeRoom) -> None:
    transport = ringroom.transport("fake", room=fake_room, io="thread")
    transport.send(sound(1.5))
    with pytest.raises(KeyError), transport:
        raise KeyError
    assert fake_room.heard().duration < 1.5
    assert transport.stats().sent.lost > 0
    check_law(transport)


def test_leaving_while_the_room_ends_is_no_error(fake_room: FakeRoom) -> None:
    with ringroom.transport("fake", room=fake_room, io="thread") as transport:
        transport.send(sound(1.5))
        fake_room.wait_for_audio(seconds=0.01)
        ending = threading.Timer(0.1, fake_room.close_room)
        ending.start()
    ending.join()


# Sending sound.


def test_the_default_track_named_tracks_and_replies(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)
    with opened(fake_room) as transport:
        transport.send(sound(0.04, 1))
        transport.send(sound(0.04, 2, track="music"))
        mic.wait_for_subscriber()
        say(mic, 0.02, 3)
        transport.send(next(transport.recv(timeout=PATIENCE)))
        transport.wait_playout(timeout=PATIENCE)
        app = fake_room.application
        assert set(app.tracks) == {"audio", "music", "alice/mic"}
        assert same(said(fake_room, 0.04, "audio"), noise(0.04, 1))
        assert same(said(fake_room, 0.04, "music"), noise(0.04, 2))
        assert same(said(fake_room, 0.02, "alice/mic"), noise(0.02, 3))


def test_other_rates_and_channels_are_converted(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        transport.send(sound(0.1, rate=16_000))
        transport.send(AudioFrame(noise(0.1, channels=2, rate=48_000), 48_000))
        transport.send(AudioFrame(noise(0.1, rate=8_000), 8_000))
        stereo = AudioFrame(noise(0.1, 9, channels=2), RATE, track="stereo")
        transport.send(stereo)
        transport.send(sound(0.1, 9, track="stereo"))
        transport.wait_playout(timeout=PATIENCE)
        mono = fake_room.wait_for_audio("audio", 0.298, timeout=PATIENCE)
        assert (mono.sample_rate, mono.channels) == (16_000, 1)
        assert mono.duration == pytest.approx(0.3, abs=0.002)
        both = fake_room.wait_for_audio("stereo", 0.2, timeout=PATIENCE)
        assert both.channels == 2
        assert same(both.samples[:1_600], stereo.samples)
        assert same(both.samples[1_600:], stereo.samples)


def test_long_sound_is_paced_by_the_room(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        started = time.monotonic()
        long = noise(3.2)
        transport.send(AudioFrame(long, RATE))
        took = time.monotonic() - started
        assert took > 0.4  # the lane holds about two seconds, the rest waits
        assert transport.stats().sent.sent == 32
        seconds = transport.flush()
        assert seconds + fake_room.heard().duration == pytest.approx(3.2, abs=0.03)


def test_a_frame_that_is_not_taken_in_time(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        with pytest.raises(TimeoutError, match=r"not taken within 0\.05 s"):
            transport.send(sound(10.0), timeout=0.05)
        with pytest.raises(WouldBlock):
            transport.send_nowait(sound(20.0))
        transport.flush()
        transport.send(sound(0.02), timeout=PATIENCE)


def test_one_writer_a_track(fake_room: FakeRoom) -> None:
    with opened(fake_room, identity="one") as transport:
        sending = Call(transport.send, sound(30.0))
        until(lambda: transport.stats().sent.sent > 10)
        for call in (transport.send, transport.send_nowait):
            with pytest.raises(BusyError, match="sends on track 'audio'"):
                call(sound(0.02))
        transport.send(sound(0.02, track="other"), timeout=PATIENCE)
        transport.close()
        with pytest.raises(ClosedError):
            sending.result()


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (b"\0\0", "cannot send a bytes"),
        (None, "cannot send a NoneType"),
        (ringroom.Event(kind=EventKind.CONNECTED), "cannot send a Event"),
    ],
)
def test_what_is_no_frame(fake_room: FakeRoom, frame: Any, says: str) -> None:
    with opened(fake_room) as transport:
        for call in (transport.send, transport.send_nowait):
            with pytest.raises(FrameError, match=says):
                call(frame)


def test_a_track_carries_one_kind(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        transport.send(sound(0.02, track="x"))
        picture = sources.picture(0, 64, 64)
        picture.track = "x"
        with pytest.raises(FrameError, match="carries audio"):
            transport.send(picture)
        for bad in ("x" * 300, "\ud800"):
            with pytest.raises(FrameError, match="track name"):
                transport.send(sound(0.02, track=bad))


def test_a_refused_track(fake_room: FakeRoom) -> None:
    with opened(fake_room, kinds=("audio", "event")) as transport:
        fake_room.refuse_publish()
        with pytest.raises(RoomError) as refused:
            transport.send(sound(0.02), timeout=PATIENCE)
        assert refused.value.reason == "publish_refused"
        events = transport.recv(kinds=("event",), timeout=PATIENCE)
        assert EventKind.PUBLISH_FAILED in [next(events).kind for _ in range(2)]
        fake_room.refuse_publish(False)
        transport.send(sound(0.02), timeout=PATIENCE)  # it was told, and begins anew
        fake_room.wait_for_audio(seconds=0.02)
    check_law(transport)


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("wait", ["unpublish", "wait_playout"])
def test_who_waits_for_a_refused_track_is_told(fake_room: FakeRoom, wait: str, told: bool) -> None:
    fake_room.refuse_publish()
    with opened(fake_room, kinds=("event",)) as transport:
        transport.send_nowait(sound(0.02))
        if told:
            failed = EventKind.PUBLISH_FAILED
            assert any(event.kind is failed for event in transport.recv(timeout=PATIENCE))
        with pytest.raises(RoomError, match="refuses the track"):
            getattr(transport, wait)("audio", timeout=PATIENCE)
        with pytest.raises(ConfigurationError, match="no track 'audio'"):
            transport.unpublish()


def test_leaving_tells_of_a_refused_track_once_the_others_have_played(fake_room: FakeRoom) -> None:
    def stay() -> None:
        with opened(fake_room) as transport, transport:
            transport.send(sound(0.3, track="music"))
            fake_room.refuse_publish()
            transport.send_nowait(sound(0.02))

    with pytest.raises(RoomError, match="refuses the track"):
        stay()
    assert said(fake_room, 0.3, "music") is not None


def test_flush_tells_how_much_and_later_sends_survive(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        transport.send(sound(1.5, 1))
        transport.send(sound(0.5, 2, track="other"))
        fake_room.wait_for_audio("audio", 0.1)
        seconds = transport.flush("audio")
        heard = fake_room.heard("audio").duration
        assert seconds + heard == pytest.approx(1.5, abs=0.02)
        assert 0.0 < seconds < 1.45
        transport.send(sound(0.2, 3))
        transport.wait_playout("audio", timeout=PATIENCE)
        until(lambda: same(fake_room.heard("audio").samples[-3_200:], noise(0.2, 3)))
        recording = fake_room.heard("audio")
        assert recording.duration == pytest.approx(heard + 0.2, abs=0.02)
        assert transport.played("audio") == pytest.approx(recording.duration, abs=0.02)
        transport.wait_playout("other", timeout=PATIENCE)
        assert same(said(fake_room, 0.5, "other"), noise(0.5, 2))
        assert transport.flush("nothing") == 0.0
        assert not transport._connection.session.replies, "an answer is taken once"
    check_law(transport)


def test_an_answer_that_nobody_waits_for_any_more_is_not_kept(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        for track in ("one", "two", "three"):  # the first answer is waited for in vain
            transport.send(sound(0.5, track=track))
        for _ in range(3):
            with pytest.raises(TimeoutError):
                transport.wait_playout(timeout=0.0)
        transport.wait_playout(timeout=PATIENCE)
        session = transport._connection.session
        until(lambda: transport.stats() and not session.unanswered)  # whoever calls takes the news
        assert not session.replies


def test_a_flush_reaches_who_waits_for_the_track() -> None:
    with (
        VirtualClock() as clock,
        FakeRoom(clock=clock) as room,
        ringroom.transport("fake", room=room, io=clock.io) as transport,
    ):
        clock.freeze("ringroom-io", 1.0)
        sending = clock.start_thread("sends", lambda: transport.send(sound(2.0)))
        clock.sleep(0.5)
        assert transport.flush() == pytest.approx(2.0)
        sending.join(10)
        transport.wait_playout(timeout=10)
        assert transport.played() == 0.0


def test_a_playout_is_over_though_the_stream_goes_on() -> None:
    with (
        VirtualClock() as clock,
        FakeRoom(clock=clock) as room,
        ringroom.transport("fake", room=room, io=clock.io) as transport,
    ):

        def stream() -> None:
            for _ in range(60):
                transport.send(sound(0.5))

        streaming = clock.start_thread("streams", stream)
        clock.sleep(3.0)
        begun = clock.now()
        transport.wait_playout(timeout=60)
        # What was under way: a ring of a second, and the source's queue.
        assert 0.5 < clock.now() - begun < 6.0
        streaming.join(60)


def test_a_flush_that_waits_costs_no_turns() -> None:
    with (
        VirtualClock(keep_trace=True) as clock,
        FakeRoom(clock=clock) as room,
        ringroom.transport("fake", room=room, io=clock.io) as transport,
    ):
        transport.send(sound(0.5))
        transport.wait_playout(timeout=10)  # so there is room, and the lane tells of it
        clock.freeze("ringroom-io", 5.0)
        flushing = clock.start_thread("flushes", transport.flush)
        clock.sleep(0.1)
        before = len(clock.trace)
        transport.send(sound(0.1))  # waits for the answer, though there is room
        assert len(clock.trace) - before < 100
        flushing.join(10)


def test_flush_before_the_track_is_published(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        transport.send_nowait(sound(0.3, 1))
        assert transport.flush() == pytest.approx(0.3, abs=0.021)
        transport.send(sound(0.1, 2))
        transport.wait_playout(timeout=PATIENCE)
        until(lambda: same(fake_room.heard().samples[-1_600:], noise(0.1, 2)))


def test_flush_cuts_a_send_that_waits(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        sending = Call(transport.send, sound(20.0))
        fake_room.wait_for_audio(seconds=0.1)
        until(lambda: transport.stats().sent.sent > 10)
        seconds = transport.flush()
        sending.result()
        transport.wait_playout(timeout=PATIENCE)
        until(lambda: seconds + fake_room.heard().duration == pytest.approx(20.0, abs=0.03))


def test_flush_and_playout_wait_for_an_answer(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        transport.send(sound(1.0))
        with pytest.raises(TimeoutError, match="not played out"):
            transport.wait_playout(timeout=0.01)
        transport.flush()
        transport.wait_playout(timeout=PATIENCE)


@pytest.mark.parametrize("io", ["thread", "process"])
def test_a_track_is_unpublished_once_it_has_played(fake_room: FakeRoom, io: str) -> None:
    with opened(fake_room, io=io) as transport:
        app = fake_room.wait_for_app()
        transport.send(sound(0.3, track="music"))
        transport.send(sound(0.02))
        transport.unpublish("music", timeout=PATIENCE)
        assert said(fake_room, 0.3, "music") is not None
        until(lambda: list(app.tracks) == ["audio"])
        transport.send(sound(0.1, 1, track="music"))  # the name is free again
        fake_room.wait_for_track("music")
        transport.wait_playout(timeout=PATIENCE)
        with pytest.raises(
            ConfigurationError, match=r"no track 'speech'; our tracks are \['audio', "
        ):
            transport.unpublish("speech")
        check_law(transport)


def test_the_default_track_and_pictures_are_unpublished(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        with pytest.raises(ConfigurationError, match=r"no track 'audio'; our tracks are \[\]"):
            transport.unpublish()
        transport.send(sound(0.02))
        transport.send(sources.picture(1, 64, 48))
        transport.unpublish("video", timeout=PATIENCE)
        transport.unpublish(timeout=PATIENCE)
        until(lambda: not fake_room.wait_for_app().tracks)


def test_nobody_unpublishes_a_track_that_somebody_sends_on(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        sending = Call(transport.send, sound(30.0))
        until(lambda: transport.stats().sent.sent > 3)
        with pytest.raises(BusyError, match="somebody else sends on track 'audio'"):
            transport.unpublish()
        transport.flush()
        sending.result()
        transport.send(sound(1.0))
        with pytest.raises(TimeoutError, match="the track has not ended"):
            transport.unpublish(timeout=0.0)
        until(lambda: not fake_room.wait_for_app().tracks)


@contextlib.contextmanager
def ending(room: FakeRoom, seconds: float, track: str = "audio") -> Iterator[ringroom.Transport]:
    """A transport with a track that was unpublished and plays still."""
    with opened(room) as transport:
        transport.send(sound(seconds, track=track))
        with pytest.raises(TimeoutError, match="the track has not ended"):
            transport.unpublish(track, timeout=0.0)
        yield transport


def test_leaving_plays_out_a_track_that_is_ending(fake_room: FakeRoom) -> None:
    with ending(fake_room, 0.8, "music") as transport, transport:
        pass
    assert said(fake_room, 0.8, "music") is not None


@pytest.mark.parametrize("track", ["music", None])
@pytest.mark.parametrize("wait", ["unpublish", "wait_playout"])
def test_who_waits_waits_for_a_track_that_is_ending(
    fake_room: FakeRoom, wait: str, track: str | None
) -> None:
    with ending(fake_room, 0.8, track or "audio") as transport:
        assert transport.played(track) < 0.8
        getattr(transport, wait)(track, timeout=PATIENCE)
        assert said(fake_room, 0.8, track or "audio") is not None
        if wait == "unpublish":
            until(lambda: not fake_room.wait_for_app().tracks)
            with pytest.raises(ConfigurationError, match="we publish no track"):
                transport.unpublish(track)


def test_a_flush_cuts_a_track_that_is_ending_and_its_successor(fake_room: FakeRoom) -> None:
    with ending(fake_room, 2.0) as transport:
        transport.send_nowait(sound(0.3, 1))
        seconds = transport.flush(timeout=PATIENCE)
        assert seconds + fake_room.heard().duration == pytest.approx(2.3, abs=0.03)
        transport.wait_playout(timeout=PATIENCE)
        check_law(transport)


def test_unpublishing_again_ends_no_other_track(fake_room: FakeRoom) -> None:
    with ending(fake_room, 0.3) as transport:
        transport.send(sound(0.02, track="music"))
        transport.unpublish(timeout=PATIENCE)
        with pytest.raises(ConfigurationError, match=r"no track 'audio'; our tracks are \['music'"):
            transport.unpublish()
        until(lambda: list(fake_room.wait_for_app().tracks) == ["music"])


def test_a_resampled_track_is_unpublished_with_its_end(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        transport.send(sound(0.1))  # the track's rate
        transport.send(sound(0.5, rate=48_000))
        transport.unpublish(timeout=PATIENCE)
        assert len(said(fake_room, 0.6)) == pytest.approx(0.6 * RATE, abs=1)


def test_played_follows_what_was_heard(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        assert transport.played() == 0.0
        transport.send(sound(1.5))
        fake_room.wait_for_audio(seconds=0.2)
        assert 0.1 < transport.played() < 1.5
        transport.wait_playout(timeout=PATIENCE)
        assert transport.played() == pytest.approx(1.5, abs=0.011)
        transport.send(sources.picture(0, 64, 64))
        assert transport.played() == pytest.approx(1.5, abs=0.011)


def test_what_the_resampler_holds_is_played_out(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        transport.send(sound(0.02))
        transport.send(sound(0.1, rate=48_000))
        transport.wait_playout(timeout=PATIENCE)
        until(lambda: fake_room.heard().duration == pytest.approx(0.12, abs=0.0002))


def test_live_drops_and_speech_waits(fake_room: FakeRoom) -> None:
    with opened(fake_room, max_age=0.1) as transport:
        for seed in range(60):
            transport.send(sound(0.1, seed), publish=LIVE)
        transport.wait_playout(timeout=PATIENCE)
        counts = transport.stats().sent
        assert counts.dropped_full + counts.dropped_stale > 20
        assert counts.sent == 60
    check_law(transport)


def test_a_raw_stream(fake_room: FakeRoom) -> None:
    with opened(fake_room, channels=2) as transport:
        out = transport.audio_out()
        pcm = noise(0.1, channels=2)
        assert out.writable()
        assert out.write(pcm) == pcm.nbytes
        assert out.write(b"") == 0
        with pytest.raises(FrameError, match="3 bytes are no whole number of samples"):
            out.write(b"\0\0\0")
        transport.wait_playout(timeout=PATIENCE)
        assert same(said(fake_room, 0.1), pcm)
        out.close()
        with pytest.raises(ValueError, match="closed stream"):
            out.write(b"\0\0\0\0")
        with io.BufferedWriter(transport.audio_out("other", sample_rate=8_000)) as buffered:
            buffered.write(noise(0.1, channels=2, rate=8_000).tobytes())
        fake_room.wait_for_audio("other", 0.1)
        assert fake_room.heard("other").sample_rate == 8_000


def test_a_raw_stream_takes_what_wave_reads(fake_room: FakeRoom, tmp_path: Any) -> None:
    path = tmp_path / "sound.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(noise(0.1).tobytes())
    with opened(fake_room) as transport, wave.open(str(path), "rb") as file:
        transport.audio_out().write(file.readframes(-1))
        assert same(fake_room.wait_for_audio(seconds=0.1).samples, noise(0.1))


# Data and events.


def test_messages_to_all_and_to_some(fake_room: FakeRoom) -> None:
    alice, bob = fake_room.join("alice"), fake_room.join("bob")
    with opened(fake_room) as transport:
        transport.send_data("grüße", topic="t", to=["alice"])
        transport.send_data(b"\x00\xff", reliable=False)
        messages = fake_room.wait_for_data(count=2)
        assert messages[0].payload.decode() == "grüße"
        assert (messages[0].topic, messages[0].to, messages[0].reliable) == ("t", ("alice",), True)
        assert (messages[1].to, messages[1].reliable) == ((), False)
        assert [m.payload for m in alice.received] == [messages[0].payload, b"\x00\xff"]
        assert [m.payload for m in bob.received] == [b"\x00\xff"]
        transport.send_data(b"x" * MAX_DATA_BYTES)
        with pytest.raises(FrameError, match=str(MAX_DATA_BYTES)):
            transport.send_data(b"x" * (MAX_DATA_BYTES + 1))
        with pytest.raises(FrameError, match="expected a tuple of identities"):
            transport.send_data(b"x", to="alice")


def test_a_refused_message_is_told_as_an_event(fake_room: FakeRoom) -> None:
    with opened(fake_room, kinds=("event",)) as transport:
        fake_room.refuse_data()
        transport.send_data(b"x")
        events = transport.recv(timeout=PATIENCE)
        kinds = [next(events).kind for _ in range(2)]
        assert EventKind.DATA_FAILED in kinds
        fake_room.refuse_data(False)
        transport.send_data(b"y")
        fake_room.wait_for_data()
    assert transport.stats().sent.problems == 1


def test_a_tracks_life_in_events(fake_room: FakeRoom) -> None:
    with opened(fake_room, kinds=("audio", "event")) as transport:
        events = transport.recv(timeout=PATIENCE)
        mic = microphone(fake_room)
        mic.wait_for_subscriber()
        mic.mute()
        mic.unmute()
        spoken = say(mic, 0.04)
        mic.unpublish()
        fake_room.remove("alice")
        track: list[str] = []
        whole: list[str] = []
        while EventKind.PARTICIPANT_LEFT not in whole or EventKind.TRACK_ENDED not in whole:
            item = next(events)
            name = item.kind if isinstance(item, ringroom.Event) else "sound"
            whole.append(name)
            if name in ("sound", *_LIFE):
                track.append(name)
            if name in _LIFE:
                assert item.participant.identity == "alice"
                assert item.track.name == "mic"
        assert track == [*_LIFE[:3], *["sound"] * 2, _LIFE[3]]
        room_events = [name for name in whole if name not in ("sound", *_LIFE)]
        assert room_events == [
            EventKind.CONNECTED,
            EventKind.PARTICIPANT_JOINED,
            EventKind.TRACK_PUBLISHED,
            EventKind.TRACK_UNPUBLISHED,
            EventKind.PARTICIPANT_LEFT,
        ]
        assert len(spoken) == 640


_LIFE = (
    EventKind.TRACK_STARTED,
    EventKind.TRACK_MUTED,
    EventKind.TRACK_UNMUTED,
    EventKind.TRACK_ENDED,
)


def test_events_apart_from_frames(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)
    with opened(fake_room, kinds=("audio", "event")) as transport:
        sounds = transport.recv(kinds=("audio",), timeout=PATIENCE)
        events = transport.recv(kinds=("event",), timeout=PATIENCE)
        mic.wait_for_subscriber()
        say(mic, 0.02)
        assert isinstance(next(sounds), AudioFrame)
        kinds = {next(events).kind for _ in range(4)}
        assert kinds == {
            EventKind.CONNECTED,
            EventKind.PARTICIPANT_JOINED,
            EventKind.TRACK_PUBLISHED,
            EventKind.TRACK_STARTED,
        }


# Pictures.


@pytest.mark.parametrize("io", ["thread", "process"])
def test_pictures_both_ways(fake_room: FakeRoom, io: str) -> None:
    camera = fake_room.join("alice").publish_video(width=64, height=48)
    with opened(fake_room, kinds=("video",), io=io) as transport:
        camera.wait_for_subscriber()
        red = np.zeros((48, 64, 3), np.uint8)
        red[..., 0] = 200
        camera.show(VideoFrame.from_rgb(red))
        frame = next(transport.recv(timeout=PATIENCE))
        assert (frame.width, frame.height, frame.participant) == (64, 48, "alice")
        assert np.abs(frame.to_rgb().astype(int) - red).max() < 6
        transport.send(frame)
        transport.send(sources.picture(5, 64, 48))
        echoed = fake_room.wait_for_video("alice/camera").frames[0]
        assert np.abs(echoed.to_rgb().astype(int) - red).max() < 6
        own = fake_room.wait_for_video("video").frames[0]
        assert sources.picture_number(own) == 5


def test_a_growing_picture_inbound(fake_room: FakeRoom) -> None:
    camera = fake_room.join("alice").publish_video(width=64, height=64)
    with opened(fake_room, kinds=("video", "event")) as transport:
        camera.wait_for_subscriber()
        receiver = transport.recv(timeout=PATIENCE)
        kept: list[tuple[VideoFrame, bytes]] = []
        names: list[EventKind] = []
        for number, side in enumerate((64, 64, 256, 640, 128, 1280)):
            camera.show(sources.picture(number, side, side))
            item = next(receiver)
            while not isinstance(item, VideoFrame):
                names.append(item.kind)
                item = next(receiver)
            assert (item.width, sources.picture_number(item)) == (side, number)
            kept.append((item, item.data.tobytes()))
        assert names.count(EventKind.TRACK_STARTED) == 1
        assert EventKind.TRACK_ENDED not in names
        for number in range(20):
            camera.show(sources.picture(number, 1280, 1280))
            next(receiver)
    assert all(frame.data.tobytes() == data for frame, data in kept)
    check_law(transport)


def test_a_growing_picture_outbound(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        for number, side in enumerate((64, 640, 320, 1280)):
            transport.send(sources.picture(number, side, side), timeout=PATIENCE)
        transport.wait_playout(timeout=PATIENCE)
        footage = fake_room.wait_for_video(count=4)
        assert [frame.width for frame in footage.frames] == [64, 640, 320, 1280]
        assert [sources.picture_number(frame) for frame in footage.frames] == [0, 1, 2, 3]
        assert set(fake_room.application.tracks) == {"video"}
    check_law(transport)
    (lane,) = transport.stats().lanes
    assert (lane.counts.sent, lane.counts.done) == (4, 4)


# Death.


def test_a_killed_io_process(fake_room: FakeRoom) -> None:
    shared = ringroom.IOProcess()
    options = {"io": shared, "close_timeout": 60, "reconnect": NEVER_AGAIN}
    with shared, opened(fake_room, **options) as transport:
        calls: list[Call[Any]] = [
            Call(next, transport.recv()),
            Call(transport.send, sound(30.0)),
        ]
        until(lambda: transport.stats().sent.sent > 10)
        calls.append(Call(transport.wait_playout))
        until(lambda: len(transport._connection.session.listeners) >= 3)
        assert shared.pid is not None
        os.kill(shared.pid, signal.SIGKILL)
        for call in calls:
            with pytest.raises(
                LostProcessError, match=r"the I/O process died \(killed by signal 9\)"
            ):
                call.result()
        for again in (
            lambda: next(transport.recv()),
            lambda: transport.send(sound(0.02)),
            lambda: transport.send(sound(0.02, track="new")),
            transport.flush,
            transport.wait_playout,
        ):
            with pytest.raises(LostProcessError):
                again()
        with pytest.raises(LostProcessError, match="gone"):
            ringroom.transport("fake", room=fake_room, io=shared)
        started = time.monotonic()
        transport.close()
        assert time.monotonic() - started < 30
    check_law(transport)
    assert transport.stats().sent.in_flight == 0
    fake_room.wait_for_app_gone()


def test_a_process_that_dies_before_it_connects(
    fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_room.refuse_connects("timeout")
    shared = ringroom.IOProcess()
    with shared:
        connecting = Call(ringroom.transport, "fake", room=fake_room, io=shared)
        assert shared.pid is not None
        os.kill(shared.pid, signal.SIGKILL)
        with pytest.raises(LostProcessError):
            connecting.result()


# Many cycles.


@pytest.mark.once
def test_many_cycles_leave_nothing(fake_room: FakeRoom) -> None:
    from ringroom.processes.children import IOThread

    with IOThread() as shared:

        def cycle(number: int) -> None:
            with ringroom.transport("fake", room=fake_room, io=shared) as transport:
                if number % 10 == 0:
                    transport.recv().close()
                    transport.send_data(b"x")

        cycle(0)
        until(lambda: not fake_room.participants)
        before = descriptors(), threading.active_count()
        for number in range(200):
            cycle(number)
        # Not equal: what earlier tests left to the collector may go meanwhile.
        until(lambda: descriptors() <= before[0] and threading.active_count() <= before[1])


@pytest.mark.once
def test_many_processes_leave_nothing(fake_room: FakeRoom) -> None:
    def cycle() -> None:
        with ringroom.transport("fake", room=fake_room) as transport:
            transport.send_data(b"x")

    cycle()
    before = descriptors(), threading.active_count(), children()
    for _ in range(6):
        cycle()
    until(lambda: descriptors() <= before[0] and threading.active_count() <= before[1])
    until(lambda: children() <= before[2])


# Narrowed.


def test_a_voice_transport(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)
    wide = ringroom.transport("fake", room=fake_room, io="thread", max_age=20.0)
    with ringroom.as_voice_transport(wide) as voice:
        mic.wait_for_subscriber()
        spoken = say(mic, 0.04)
        receiver = voice.recv(timeout=PATIENCE)
        frames = [next(receiver), next(receiver)]
        assert b"".join(frame.data for frame in frames) == spoken.tobytes()
        voice.send(frames[0], timeout=PATIENCE)
        with pytest.raises(FrameError, match="sends AudioFrame"):
            voice.send(DataFrame(b"x"))  # type: ignore[arg-type]
        fake_room.wait_for_audio("alice/mic", 0.02)
        voice.close()
    with pytest.raises(ClosedError, match="fake: transport is closed"):
        voice.recv()
    assert not hasattr(voice, "stats")


def test_kinds_without_audio_refuse_a_voice(fake_room: FakeRoom) -> None:
    with opened(fake_room, kinds=("data",)) as transport:
        with pytest.raises(ConfigurationError):
            ringroom.as_voice_transport(transport).recv()
        assert transport._connection.options.kinds == (Kind.DATA,)
