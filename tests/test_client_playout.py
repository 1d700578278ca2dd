"""What was sent is played out, or flushed; and how much of it was played."""

from __future__ import annotations

import numpy as np
import pytest

import ringroom
from app_kit import (
    PATIENCE,
    Call,
    check_law,
    noise,
    opened,
    published_late,
    said,
    same,
    sound,
    until,
)
from ringroom.resampling import TrackResampler
from ringroom.testing import FakeRoom, sources
from ringroom.testing.virtual import VirtualClock


def test_flush_tells_how_much_and_later_sends_survive(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        transport.send(sound(1.5, 1))
        transport.send(sound(0.5, 2, track="other"))
        fake_room.wait_for_audio("audio", 0.1)
        seconds = transport.flush("audio")
        heard = pytest.approx(1.5 - seconds, abs=0.02)
        # What was heard last may still be on its way to the room.
        until(lambda: fake_room.heard("audio").duration == heard)
        assert 0.0 < seconds < 1.45
        transport.send(sound(0.2, 3))
        transport.wait_playout("audio", timeout=PATIENCE)
        until(lambda: same(fake_room.heard("audio").samples[-3_200:], noise(0.2, 3)))
        recording = fake_room.heard("audio")
        assert recording.duration == pytest.approx(1.7 - seconds, abs=0.02)
        assert transport.played("audio") == pytest.approx(recording.duration, abs=0.02)
        transport.wait_playout("other", timeout=PATIENCE)
        assert same(said(fake_room, 0.5, "other"), noise(0.5, 2))
        assert transport.flush("nothing") == 0.0
        assert not transport._connection.session.requests.answers, "an answer is taken once"
    check_law(transport)


def test_an_answer_that_nobody_waits_for_any_more_is_not_kept(
    fake_room: FakeRoom, virtual_clock: VirtualClock
) -> None:
    with opened(fake_room, io=virtual_clock.io) as transport:
        for track in ("one", "two", "three"):  # the first answer is waited for in vain
            transport.send(sound(0.5, track=track))
        for _ in range(3):
            with pytest.raises(TimeoutError):
                transport.wait_playout(timeout=0.0)
        transport.wait_playout(timeout=PATIENCE)
        session = transport._connection.session
        fake_room.wait_until(
            lambda: transport.stats() and not session.requests.unanswered
        )  # whoever calls takes the news
        assert not session.requests.answers


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


def test_a_playout_leaves_the_resampler_to_who_is_sending() -> None:
    """What it holds is the middle of the sound."""
    long = sources.noise(3.0, 48_000)
    with (
        VirtualClock() as clock,
        FakeRoom(clock=clock) as room,
        ringroom.transport("fake", room=room, io=clock.io) as transport,
    ):
        transport.send(sound(0.02))
        frame = ringroom.AudioFrame(long, 48_000)
        sending = clock.start_thread("sends", lambda: transport.send(frame))
        clock.sleep(0.2)
        assert "audio" in transport._sending, "it is in the middle"
        transport.wait_playout(timeout=60)
        sending.join(60)
        transport.wait_playout(timeout=60)
        heard = room.heard().samples[320:]
    resampler = TrackResampler(16_000, 1)
    whole = np.concatenate([resampler.convert(frame), resampler.tail()])
    assert len(heard) == len(whole)
    assert np.abs(heard.astype(int) - whole).max() <= 2


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


def test_who_waits_for_what_another_sends_is_told_when_that_gives_up() -> None:
    with (
        VirtualClock() as clock,
        FakeRoom(clock=clock) as room,
        ringroom.transport("fake", room=room, io=clock.io) as transport,
    ):

        def send() -> None:
            with pytest.raises(TimeoutError):
                transport.send(sound(10.0), timeout=2)

        transport.send(sound(0.1))
        clock.freeze("ringroom-io", 30.0)  # makes no room meanwhile
        sending = clock.start_thread("sends", send)
        clock.sleep(1.0)
        waiting = clock.start_thread("waits", lambda: transport.wait_playout(timeout=60))
        clock.sleep(1.5)
        sending.join(0)
        assert transport._connection.session.requests.unanswered, "its playout is asked for"
        waiting.join(60)


def test_flush_before_the_track_is_published(
    fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = published_late(monkeypatch)
    with opened(fake_room) as transport:
        transport.send_nowait(sound(0.3, 1))
        assert transport.flush(timeout=PATIENCE) == pytest.approx(0.3, abs=0.021)
        gate.set()
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


def test_flush_and_playout_wait_for_an_answer(
    fake_room: FakeRoom, virtual_clock: VirtualClock
) -> None:
    with opened(fake_room, io=virtual_clock.io) as transport:
        transport.send(sound(1.0))
        with pytest.raises(TimeoutError, match="not played out"):
            transport.wait_playout(timeout=0.01)
        transport.flush()
        transport.wait_playout(timeout=PATIENCE)


def test_played_follows_what_was_heard(fake_room: FakeRoom, virtual_clock: VirtualClock) -> None:
    with opened(fake_room, io=virtual_clock.io) as transport:
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
