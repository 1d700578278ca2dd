"""A source plays in real time, pushes back, and what it plays is what the room hears."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from fake_kit import audio_track, video_track
from hypothesis import given
from hypothesis import strategies as st

from loop_kit import VirtualLoop, run_virtual
from ringroom.errors import RoomError
from ringroom.frames import AudioFrame, VideoFrame
from ringroom.providers.fake import messages
from ringroom.providers.fake.playout import AudioPlayout, Outlet, VideoPlayout
from ringroom.testing import sources

RATE = 16_000


class _Room:
    """What the room hears."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.messages: list[messages.Message] = []
        self.outlet = Outlet(handle="1", send=self.messages.append, drain=self._drain, loop=loop)

    async def _drain(self) -> None:
        return None

    @property
    def audio(self) -> list[messages.Audio]:
        return [message for message in self.messages if isinstance(message, messages.Audio)]

    @property
    def heard(self) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
        return np.frombuffer(b"".join(message.payload for message in self.audio), "<i2")


def _frame(seconds: float, seed: int = 0) -> AudioFrame:
    return AudioFrame(sources.noise(seconds, RATE, seed=seed), RATE)


def playing(
    test: Callable[[VirtualLoop, _Room, AudioPlayout], Awaitable[None]],
) -> None:
    async def whole(loop: VirtualLoop) -> None:
        room = _Room(loop)
        playout = AudioPlayout(audio_track(), room.outlet)
        await test(loop, room, playout)
        await playout.close()

    run_virtual(whole)


@given(st.lists(st.integers(1, 1_000), min_size=1, max_size=30))
def test_all_that_is_played_is_heard_in_order_at_its_time(lengths: list[int]) -> None:
    async def test(loop: VirtualLoop, room: _Room, playout: AudioPlayout) -> None:
        sound = sources.noise(sum(lengths) / RATE, RATE, seed=3)
        start, started = 0, loop.time()
        for length in lengths:
            await playout.play(AudioFrame(sound[start : start + length], RATE))
            start += length
        await asyncio.sleep(playout.queued())
        assert np.array_equal(room.heard, sound[:, 0])
        position = 0
        for piece in room.audio:
            assert abs(piece.time_ns / 1e9 - started - position / RATE) < 1e-6
            position += len(piece.payload) // 2
        assert abs(loop.time() - started - len(sound) / RATE) < 1e-6

    playing(test)


def test_the_sender_waits_while_the_queue_is_full() -> None:
    async def test(loop: VirtualLoop, room: _Room, playout: AudioPlayout) -> None:
        started = loop.time()
        for number in range(50):
            await playout.play(_frame(0.02))
            assert playout.queued() <= 0.2 + 1e-6
            ahead = (number + 1) * 0.02 - (loop.time() - started)
            assert ahead <= 0.2 + 1e-6
        assert abs(loop.time() - started - 0.8) < 1e-6

    playing(test)


def test_what_plays_while_it_is_muted_takes_its_time_and_is_not_heard() -> None:
    async def test(loop: VirtualLoop, room: _Room, playout: AudioPlayout) -> None:
        started = loop.time()
        await playout.play(_frame(0.1, seed=1))
        await asyncio.sleep(0.05)
        playout.mute(True)
        heard = len(room.heard)
        assert heard == pytest.approx(0.06 * RATE, abs=0.011 * RATE)
        await playout.play(_frame(1.0, seed=2))
        assert playout.queued() == pytest.approx(1.0)
        await asyncio.sleep(0.8)
        assert len(room.heard) == heard
        playout.mute(False)
        await asyncio.sleep(playout.queued())
        assert abs(loop.time() - started - 1.1) < 1e-6
        assert len(room.heard) - heard == pytest.approx(0.2 * RATE, abs=0.011 * RATE)
        told = [message.muted for message in room.messages if isinstance(message, messages.Mute)]
        assert told == [True, False]

    playing(test)


@pytest.mark.parametrize("muted", [True, False])
def test_what_a_late_loop_reports_was_played_before_it_is_muted_or_unmuted(muted: bool) -> None:
    """The simulation found it: what had played while the track was muted was heard once it was
    unmuted, if the loop had stood still meanwhile."""

    async def test(loop: VirtualLoop, room: _Room, playout: AudioPlayout) -> None:
        playout.mute(not muted)
        await playout.play(_frame(0.5))
        # The loop stands still: time passes, and no timer runs.
        late, time = 0.2, loop.time
        loop.time = lambda: time() + late  # type: ignore[method-assign]
        playout.mute(muted)
        await asyncio.sleep(0.6)
        heard = 0.21 if muted else 0.29
        assert len(room.heard) == pytest.approx(heard * RATE, abs=1)
        early = [piece for piece in room.audio if piece.time_ns / 1e9 <= 1_000.2]
        assert bool(early) == muted

    playing(test)


def test_a_frame_longer_than_the_queue_plays_when_the_queue_is_empty() -> None:
    async def test(loop: VirtualLoop, room: _Room, playout: AudioPlayout) -> None:
        started = loop.time()
        await playout.play(_frame(1.0))
        await playout.play(_frame(0.5))
        assert abs(loop.time() - started - 1.0) < 1e-6
        await asyncio.sleep(playout.queued())
        assert len(room.heard) == 1.5 * RATE

    playing(test)


def test_a_source_that_ran_dry_starts_again_at_once() -> None:
    async def test(loop: VirtualLoop, room: _Room, playout: AudioPlayout) -> None:
        await playout.play(_frame(0.1))
        await asyncio.sleep(0.35)
        await playout.play(_frame(0.1))
        times = [piece.time_ns / 1e9 for piece in room.audio]
        assert abs(times[10] - times[9] - 0.26) < 1e-6

    playing(test)


def test_a_pause_is_told_once_when_the_source_runs_dry() -> None:
    async def test(loop: VirtualLoop, room: _Room, playout: AudioPlayout) -> None:
        await playout.play(_frame(0.1))
        await playout.play(_frame(0.1))
        await asyncio.sleep(1.0)
        pauses = [isinstance(message, messages.AudioPause) for message in room.messages]
        assert pauses == [False] * 20 + [True]

    playing(test)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("play"), st.integers(1, 3_000)),
            st.tuples(st.just("sleep"), st.integers(1, 3_000)),
            st.tuples(st.just("clear"), st.just(0)),
        ),
        max_size=30,
    )
)
def test_what_is_played_is_heard_or_cleared(steps: list[tuple[str, int]]) -> None:
    async def test(loop: VirtualLoop, room: _Room, playout: AudioPlayout) -> None:
        played, cleared = 0, 0.0
        for step, length in steps:
            if step == "play":
                await playout.play(_frame(length / RATE, seed=played))
                played += length
            elif step == "sleep":
                await asyncio.sleep(length / RATE)
            else:
                cleared += playout.clear()
                assert playout.queued() <= 0.01 + 1e-6
        await asyncio.sleep(playout.queued())
        assert round(len(room.heard) + cleared * RATE) == played
        times = [piece.time_ns for piece in room.audio]
        ends = [p.time_ns + round(len(p.payload) / 2 / RATE * 1e9) for p in room.audio]
        assert all(end <= start + 2 for end, start in zip(ends, times[1:], strict=False))

    playing(test)


def test_clearing_throws_away_what_waits_and_lets_its_sender_go_on() -> None:
    async def test(loop: VirtualLoop, room: _Room, playout: AudioPlayout) -> None:
        await playout.play(_frame(0.2))
        started = loop.time()
        waiting = loop.create_task(playout.play(_frame(0.2, seed=2)))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        heard = len(room.heard)
        assert abs(playout.clear() - 0.34) < 1e-6
        await asyncio.sleep(0)
        await asyncio.sleep(0.011)
        assert waiting.done()
        assert loop.time() - started < 0.1
        assert playout.queued() == playout.clear() == 0
        assert len(room.heard) == heard, "nothing is heard after it"
        await playout.play(_frame(0.1, seed=3))
        await asyncio.sleep(0.2)
        assert len(room.heard) == heard + round(0.1 * RATE)

    playing(test)


def test_a_cancelled_sender_has_not_played() -> None:
    async def test(loop: VirtualLoop, room: _Room, playout: AudioPlayout) -> None:
        await playout.play(_frame(0.2))
        waiting = loop.create_task(playout.play(_frame(0.1)))
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.wait([waiting])
        await asyncio.sleep(1)
        assert len(room.heard) == 0.2 * RATE
        assert playout.clear() == pytest.approx(0.1), "it is told as thrown away, once"
        assert playout.clear() == 0.0

    playing(test)


def test_all_that_comes_to_nothing_as_a_track_ends_is_told_once() -> None:
    """What was queued, what waited for its place, and what came after the end."""

    async def test(loop: VirtualLoop, room: _Room, playout: AudioPlayout) -> None:
        await playout.play(_frame(0.2))
        waiting = asyncio.create_task(playout.play(_frame(0.3)))
        await asyncio.sleep(0.05)
        playout.take_away("not allowed")
        with pytest.raises(RoomError, match="not allowed"):
            await waiting
        with pytest.raises(RoomError, match="not allowed"):
            await playout.play(_frame(1.0))
        heard = len(room.heard) / RATE
        assert playout.clear() == pytest.approx(0.2 + 0.3 + 1.0 - heard)
        assert playout.clear() == 0.0

    playing(test)


def test_closing_throws_away_what_is_queued_and_is_idempotent() -> None:
    async def test(loop: VirtualLoop, room: _Room, playout: AudioPlayout) -> None:
        await playout.play(_frame(0.2))
        waiting = loop.create_task(playout.play(_frame(0.1)))
        await asyncio.sleep(0.045)
        await playout.close()
        await playout.close()
        with pytest.raises(RoomError, match="'out' is over"):
            await waiting
        with pytest.raises(RoomError):
            await playout.play(_frame(0.1))
        await asyncio.sleep(1)
        assert len(room.heard) == 0.05 * RATE
        assert room.messages[-1] == messages.Unpublish(track="1")
        assert room.messages.count(room.messages[-1]) == 1

    playing(test)


@pytest.mark.parametrize(
    "frame",
    [AudioFrame(bytes(960), 48_000), AudioFrame(bytes(960), 16_000, 2), sources.picture(1, 32, 32)],
    ids=["rate", "channels", "picture"],
)
def test_another_form_is_refused(frame: AudioFrame | VideoFrame) -> None:
    async def test(loop: VirtualLoop, room: _Room, playout: AudioPlayout) -> None:
        with pytest.raises(RoomError, match="'out' takes"):
            await playout.play(frame)

    playing(test)


def test_pictures_go_out_at_once() -> None:
    async def test(loop: VirtualLoop) -> None:
        room = _Room(loop)
        playout = VideoPlayout(video_track(), room.outlet)
        for number in range(3):
            await playout.play(sources.picture(number, 64, 48))
        assert playout.queued() == playout.clear() == 0
        with pytest.raises(RoomError, match="takes pictures"):
            await playout.play(_frame(0.1))
        await playout.close()
        await playout.close()
        with pytest.raises(RoomError, match="over"):
            await playout.play(sources.picture(0, 64, 48))
        kinds = [type(message) for message in room.messages]
        assert kinds == [messages.Video] * 3 + [messages.Unpublish]

    run_virtual(test)
