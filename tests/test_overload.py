"""More than can be done: ages and memory stay bounded, what is dropped is counted and told once."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest

from app_kit import check_law, microphone, opened, sound, until
from ringroom.errors import WouldBlock
from ringroom.events import Event, EventKind
from ringroom.frames import AudioFrame, DataFrame
from ringroom.testing import FakeRoom, faults


def lost(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.message for one in caplog.records if "frames were dropped" in one.message]


@pytest.fixture(autouse=True)
def _warnings(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)


def audible(frames: Iterator[Any], value: int) -> AudioFrame:
    """The first frame of that value; what came before it may have been dropped or not."""
    return next(f for f in frames if int(f.samples[0, 0]) == value)


def test_an_application_that_stops_reading_is_told_once_and_recovers(
    fake_room: FakeRoom, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(fake_room, max_age=0.5) as t:
        ann = microphone(fake_room)
        ann.wait_for_subscriber()
        for _ in range(8):
            ann.silence(2.0, realtime=False)  # a ring of two seconds; nobody reads
        until(lambda: t.stats().received.dropped_full > 500, "drops")
        until(lambda: lost(caplog), "a line in the log")
        ann.speak(AudioFrame(b"\x63\0" * 16_000 * 5, 16_000))  # while it reads again
        assert audible(t.recv(timeout=10), 99).participant == "alice"
        check_law(t)
        counts = t.stats().received
        assert counts.oldest_ns <= 0.5e9
    assert len(lost(caplog)) == 1
    assert "of 'alice/mic' for want of room" in lost(caplog)[0]


def test_a_reader_too_slow_for_real_time_is_told_which_track(
    fake_room: FakeRoom, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(fake_room, max_age=0.05) as t:
        ann = microphone(fake_room)
        ann.wait_for_subscriber()
        received = t.recv(timeout=0.05)

        def is_told() -> bool:
            with faults.not_reading(t):  # of less than the ring spans, however late we look
                ann.tone(seconds=0.8, speed=4.0, wait=True)
            with contextlib.suppress(TimeoutError):
                next(received)
            return bool(lost(caplog))

        until(is_told, "a line in the log")
        assert t.stats().received.dropped_stale > 0
        check_law(t)
    assert "of 'alice/mic' too old when it was their turn" in lost(caplog)[0]


def test_a_reader_that_keeps_up_is_told_nothing(
    fake_room: FakeRoom, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(fake_room) as t:
        ann = microphone(fake_room)
        received = t.recv(timeout=10)
        for _ in range(10):
            ann.silence(0.2, realtime=False)
            for _ in range(10):
                next(received)
    assert not lost(caplog)


def test_ten_thousand_messages_at_once(
    fake_room: FakeRoom, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(fake_room, kinds=("data", "event")) as t:
        ann = fake_room.join("ann")
        for number in range(10_000):
            ann.send_data(b"%d" % number + bytes(2_000), topic="flood")
        # Nine MiB are kept, this is twenty.
        until(lambda: t.stats().received.dropped > 5_000, "drops", timeout=40)
        numbers, told = [], ""
        received = t.recv(timeout=10)
        while not told:
            item = next(received)
            if isinstance(item, DataFrame):
                numbers.append(int(item.payload.rstrip(b"\0")))
            elif item.kind is EventKind.EVENTS_LOST:
                told = item.reason
        assert numbers == sorted(numbers)
        assert int(told.split()[0]) > 5_000
        check_law(t)
    assert len(lost(caplog)) == 1
    assert "of 'data' for want of room" in lost(caplog)[0]


def test_who_reads_events_apart_is_told_of_lost_messages_too(fake_room: FakeRoom) -> None:
    with opened(fake_room, kinds=("data", "event")) as t:
        messages, events = (t.recv(kinds=(kind,), timeout=0) for kind in ("data", "event"))
        ann = fake_room.join("ann")
        for _ in range(6_000):
            ann.send_data(bytes(2_000), topic="flood")
        until(lambda: t.stats().received.dropped > 500, "drops", timeout=40)
        told: set[EventKind] = set()

        def is_told() -> bool:
            for received in (messages, events):
                with contextlib.suppress(TimeoutError):
                    told.update(item.kind for item in received if isinstance(item, Event))
            return EventKind.EVENTS_LOST in told

        until(is_told, "word of it")


def test_a_sender_faster_than_real_time_waits_and_loses_nothing(fake_room: FakeRoom) -> None:
    with opened(fake_room) as t:
        began, sent = time.monotonic(), 0
        with contextlib.suppress(WouldBlock):
            while sent < 600:
                t.send_nowait(sound(0.1))
                sent += 1
        assert sent < 600
        waiting = sent / 10 - (time.monotonic() - began)
        assert waiting < 5, "a second in the lane, and what the source takes"
        counts = t.stats().sent
        assert (counts.dropped, counts.lost) == (0, 0)
        fake_room.wait_for_track("audio")  # a flush may be answered before
        flushed = t.flush()
        # What was heard last may still be on its way to the room.
        until(lambda: abs(fake_room.heard().duration + flushed - sent / 10) < 1e-6, "all of it")
        check_law(t)


def test_frames_that_are_kept_for_ever_do_not_stop_the_track(fake_room: FakeRoom) -> None:
    kept = []
    with opened(fake_room, kinds=("video",)) as t:
        ann = fake_room.join("ann").publish_video("camera", 320, 240)
        received = t.recv(timeout=10)
        for _ in range(60):  # a ring of eight
            ann.test_picture(1 / 30, realtime=False)
            kept.append(next(received))
        assert t.stats().received.dropped == 0
    assert len({bytes(frame.data) for frame in kept}) == 60, "and none has changed"
