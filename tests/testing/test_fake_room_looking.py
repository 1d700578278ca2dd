"""The room as a test uses it: waiting, and looking at what applications sent."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fake_room_kit import App, ManualClock, joined

from ringroom.errors import ConfigurationError
from ringroom.events import Kind
from ringroom.providers.fake import messages
from ringroom.testing import DeadlinePassed, FakeRoom, VirtualClock, sources

# Waiting.


def test_a_condition_may_look_elsewhere(room: FakeRoom) -> None:
    """Nothing happens in the room that would have it asked again."""
    elsewhere: list[int] = []
    timer = threading.Timer(0.1, lambda: elsewhere.append(1))
    timer.start()
    before = time.monotonic()
    assert room.wait_until(lambda: elsewhere, timeout=60) == [1]
    assert time.monotonic() - before < 30
    timer.join()


def test_a_condition_may_look_elsewhere_in_virtual_time() -> None:
    with VirtualClock() as clock, FakeRoom(clock=clock) as room:
        elsewhere: list[int] = []

        def come() -> None:
            clock.sleep(3)
            elsewhere.append(1)

        coming = clock.start_thread("elsewhere", come)
        assert room.wait_until(lambda: elsewhere, timeout=600) == [1]
        assert clock.now() < 1_004
        coming.join()


def test_a_deadline_tells_what_did_arrive(room: FakeRoom) -> None:
    room.join("alice")
    with pytest.raises(DeadlinePassed, match="no application has joined"):
        room.wait_for_app(timeout=0.01)
    with joined(room) as app:
        app.publish()
        app.play(bytes(1_600))
        app.publish("screen", Kind.VIDEO, "2")
        app.say(
            messages.Data(
                request=9, participant="", topic="t", reliable=True, to=(), payload=b"hello"
            )
        )
        app.next(messages.Done)
        with pytest.raises(TimeoutError) as raised:
            room.wait_for_audio("out", 1.0, timeout=0.01)
    assert isinstance(raised.value, AssertionError)
    text = str(raised.value)
    assert "waited 0.01 s for 1.0 s of sound on 'out'" in text
    assert "in it: 'alice', 'app'" in text
    assert "audio 'out': 0.100 s, longest gap 0.000 s" in text
    assert "video 'screen': 0 pictures" in text
    assert "data: 1 messages, newest topics ['t']" in text


@pytest.mark.parametrize(
    "wait",
    [
        lambda room: room.wait_for_app(timeout=0.01),
        lambda room: room.wait_for_app_gone(timeout=0.01),
        lambda room: room.wait_for_track("a", timeout=0.01),
        lambda room: room.wait_for_audio(timeout=0.01),
        lambda room: room.wait_for_quiet(timeout=0.01),
        lambda room: room.wait_for_video(timeout=0.01),
        lambda room: room.wait_for_data(timeout=0.01),
        lambda room: room.wait_until(lambda: False, "doomsday", 0.01),
        lambda room: room.join("a").publish_audio().wait_for_subscriber(timeout=0.01),
    ],
)
def test_every_wait_has_a_deadline(room: FakeRoom, wait: Callable[[FakeRoom], object]) -> None:
    with pytest.raises(DeadlinePassed, match=r"waited 0\.01 s for"):
        wait(room)


def test_a_wait_for_a_value_is_refused(room: FakeRoom) -> None:
    with pytest.raises(ConfigurationError, match="condition is False, expected a function"):
        room.wait_until(False)  # type: ignore[arg-type]


def test_a_wait_for_a_subscriber_says_who_takes_a_track(room: FakeRoom) -> None:
    microphone = room.join("ann").publish_audio()
    with pytest.raises(DeadlinePassed, match="kinds, participants and tracks all have"):
        microphone.wait_for_subscriber(timeout=0)


def test_a_source_that_no_track_has_is_refused(room: FakeRoom) -> None:
    ann = room.join("ann")
    with pytest.raises(ConfigurationError, match="source is 'mic', expected 'microphone'"):
        ann.publish_audio(source="mic")
    with pytest.raises(ConfigurationError, match="source is 'slides'"):
        ann.publish_video(source="slides")


@pytest.mark.parametrize("timeout", [float("nan"), float("inf"), "1"])
def test_a_deadline_that_never_comes_is_none(room: FakeRoom, timeout: Any) -> None:
    with pytest.raises(ConfigurationError, match="timeout is"):
        room.wait_for_app(timeout=timeout)


def test_waits_end_as_soon_as_it_comes(room: FakeRoom) -> None:
    with joined(room) as app:
        timer = threading.Timer(0.05, app.publish, ["late"])
        timer.start()
        assert room.wait_for_track("late").name == "late"
        timer.join()


def test_waiting_in_an_asyncio_test(room: FakeRoom) -> None:
    async def test() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.to_thread(room.wait_for_app, timeout=0.01)

    asyncio.run(test())


# What applications sent.


def test_a_recording_knows_its_gaps(room: FakeRoom) -> None:
    with joined(room) as app:
        app.publish()
        for number, start_ms in enumerate((0, 10, 20, 130, 140)):
            pcm = np.full(80, number, "<i2").tobytes()
            app.play(pcm, start_ms * 1_000_000)
        heard = room.wait_for_audio("out", 0.05)
    assert heard.samples.shape == (400, 1)
    assert heard.samples[::80, 0].tolist() == [0, 1, 2, 3, 4]
    assert heard.duration == 0.05
    assert [(round(g.position, 6), g.seconds, g.started_ns) for g in heard.gaps()] == [
        (0.03, 0.1, 30_000_000)
    ]
    assert heard.longest_gap == 0.1
    assert heard.gaps(longer_than=0.2) == []
    assert [frame.received_ns for frame in heard.frames][:2] == [0, 10_000_000]
    assert "0.050 s" in repr(heard)


def test_quiet_is_waited_for_by_the_rooms_clock() -> None:
    clock = ManualClock()
    with FakeRoom(clock=clock) as room, joined(room) as app:
        app.publish()
        with pytest.raises(DeadlinePassed, match=r"0\.3 s of quiet after sound on 'out'"):
            room.wait_for_quiet("out", timeout=0.01)  # nothing was heard yet
        app.play(bytes(1_600))
        room.wait_for_audio("out", 0.1)
        clock.advance(60)
        with pytest.raises(DeadlinePassed):
            room.wait_for_quiet("out", timeout=0.01)  # it has more to say
        app.say(messages.AudioPause(track="1"))
        app.say(
            messages.Data(request=2, participant="", topic="", reliable=True, to=(), payload=b"")
        )
        app.next(messages.Done)
        with pytest.raises(DeadlinePassed):
            room.wait_for_quiet("out", timeout=0.01)
        timer = threading.Timer(0.05, clock.advance, [0.3])
        timer.start()
        assert room.wait_for_quiet("out").duration == 0.1
        timer.join()
        app.play(bytes(1_600))
        room.wait_for_audio("out", 0.2)
        with pytest.raises(DeadlinePassed):
            room.wait_for_quiet("out", timeout=0.01)


@pytest.mark.parametrize(
    "end",
    [
        lambda room, app: app.say(messages.Unpublish(track="1")),
        lambda room, app: app.socket.close(),
        lambda room, app: room.lose_connection(),
    ],
)
def test_quiet_is_also_what_does_not_get_through(
    room: FakeRoom, end: Callable[[FakeRoom, App], object]
) -> None:
    with joined(room) as app:
        app.publish()
        app.play(bytes(1_600))
        room.wait_for_audio("out", 0.1)
        end(room, app)
        assert room.wait_for_quiet("out", 0.01).duration == 0.1


def test_looking_for_what_is_not_there(room: FakeRoom) -> None:
    with pytest.raises(LookupError, match="0 applications"):
        room.heard()
    with joined(room) as app:
        with pytest.raises(LookupError, match="expected one audio track"):
            room.heard()
        app.publish()
        assert room.heard().samples.shape == (0, 1)
        assert room.heard().longest_gap == 0
        with pytest.raises(LookupError, match="the audio track 'x' of 'app'"):
            room.heard("x")
        with pytest.raises(LookupError, match="video"):
            room.seen()


def test_a_change_of_format_starts_the_recording_anew(room: FakeRoom) -> None:
    with joined(room) as app:
        app.publish()
        app.play(bytes(1_600))
        room.wait_for_audio("out", 0.1)
        app.play(bytes(160), rate=16_000, channels=2)
        room.wait_until(lambda: room.heard("out").channels == 2)
    assert room.heard("out").samples.shape == (40, 2)


def test_a_second_publication_of_a_name_has_a_recording_of_its_own(room: FakeRoom) -> None:
    with joined(room) as app:
        app.publish()
        app.play(bytes(160))
        room.wait_for_audio("out", 0.01)
        app.publish(track="2")
        assert room.heard("out").duration == 0


def test_the_newest_pictures_are_kept() -> None:
    with FakeRoom(kept_pictures=3) as room, joined(room) as app:
        app.publish("screen", Kind.VIDEO)
        for number in range(5):
            picture = sources.picture(number, 32, 32)
            app.say(
                messages.Video(
                    track="1",
                    width=32,
                    height=32,
                    rotation=0,
                    timestamp_us=number,
                    time_ns=number,
                    payload=picture.data.tobytes(),
                )
            )
        seen = room.wait_for_video("screen", 5)
        assert seen.count == 5
        assert [frame.sequence for frame in seen.frames] == [2, 3, 4]
        assert [sources.picture_number(frame) for frame in seen.frames] == [2, 3, 4]
        assert "5 pictures" in repr(seen)


def test_readings_are_kept_as_pictures_are(room: FakeRoom) -> None:
    room.join("alice")
    with joined(room) as app:
        app.publish("lidar", Kind.DATA_TRACK, "3")
        for number in range(3):
            app.say(messages.Reading(track="3", timestamp=number, time_ns=number, payload=b"x" * 3))
        assert room.wait_for_data_track(count=3).track == "lidar"
        readings = room.pushed()
        assert [one.timestamp for one in readings.frames] == [0, 1, 2]
        assert [one.sequence for one in readings.frames] == [0, 1, 2]
        assert repr(readings) == "Readings('lidar', 3 frames)"
        assert "data 'lidar': 3 frames" in room.application.summary()
        room.application.take()
        assert (room.pushed().count, room.pushed().frames) == (3, ())
        with pytest.raises(LookupError, match="expected the data track 'arm'"):
            room.pushed("arm")
        with pytest.raises(DeadlinePassed, match="4 frames on the data track 'lidar'"):
            room.wait_for_data_track("lidar", 4, timeout=0.01)
