"""Faults of media on its way, by a clock that the test sets."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fake_room_kit import ManualClock, joined

import processors_kit as kit
import ringroom
from app_kit import PATIENCE, check_law, microphone, opened
from ringroom.providers.fake import messages
from ringroom.testing import FakeRoom, sources
from ringroom.testing.counting import numbers


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
    wire, settled = room._floor.wire, threading.Event()
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
    options: dict[str, Any] = {"workers": 1, "io": "thread", "max_age": 20.0}
    with (
        ringroom.Pool(kit.echo, "fake", room=fake_room, **options) as pool,
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


def test_of_a_track_that_is_withheld_nothing_is_sent() -> None:
    with spoken_into(ManualClock()) as (room, mic, app):
        say(mic, 1)
        assert heard(app, 1) == [1]
        with room.faults.tracks_withheld("alice"):
            say(mic, 2)
        say(mic, 3)
        assert heard(app, 1) == [3]
