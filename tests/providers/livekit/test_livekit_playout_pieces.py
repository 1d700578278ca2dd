"""The way out, piece by piece: ahead, in real time, cancelled, closed."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from source_kit import RATE, REFUSED, Rig, Source, _outer, now, run, speech, turns

from ringroom.errors import ClosedError


def test_long_sound_goes_in_pieces_as_the_source_plays() -> None:
    async def scenario() -> None:
        rig = Rig(Source())
        began = now()
        await rig.playout.play(speech(RATE + 7))
        assert 0.8 <= now() - began <= 0.85, "it waits while 200 ms of sound wait"
        assert 0.15 <= rig.playout.queued() <= 0.2 + 7 / RATE
        await asyncio.sleep(rig.playout.queued())
        assert np.array_equal(rig.source.sound(), np.arange(RATE + 7).astype(np.int16))
        assert max(map(len, rig.source.pieces)) <= RATE // 5
        await rig.playout.play(speech(320))
        await turns()
        assert len(rig.source.pieces[-1]) == 320
        assert rig.playout.retries == 0

    run(scenario())


def test_a_sender_that_is_ahead_is_held_back_and_handed_over_in_few_pieces() -> None:
    async def scenario() -> None:
        rig = Rig(Source())
        began = now()
        for number in range(100):
            await rig.playout.play(speech(320, 320 * number))
            assert rig.playout.queued() <= 0.2 + 1e-6
        assert 1.75 <= now() - began <= 1.85
        await asyncio.sleep(0.2)
        assert np.array_equal(rig.source.sound(), np.arange(32_000).astype(np.int16))
        assert len(rig.source.pieces) <= 30, "a hundred frames"

    run(scenario())


def test_a_sender_in_real_time_is_never_held_back() -> None:
    async def scenario() -> None:
        rig = Rig(Source())
        for number in range(50):
            began = now()
            await rig.playout.play(speech(320))
            assert now() == began
            await turns()
            assert len(rig.source.pieces) == number + 1, "not at once"
            await asyncio.sleep(0.02)

    run(scenario())


def test_the_callers_memory_is_free_after_a_cancellation() -> None:
    async def scenario() -> None:
        rig = Rig(Source(held=True))
        frame = speech(8_000)
        expected = frame.samples[:, 0].copy()
        playing = rig.begin(frame)
        await turns()
        playing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await playing
        frame.samples[:] = 0
        following = rig.begin(speech(320, 9_000))
        await take_all(rig.source, until=following)
        await asyncio.sleep(0.2)
        whole = np.concatenate([expected, speech(320, 9_000).samples[:, 0]])
        assert np.array_equal(rig.source.sound(), whole), "never half"
        assert rig.playout.retries == 0

    run(scenario())


async def take_all(source: Source, until: asyncio.Task[None]) -> None:
    """The source answers in its own time, and goes on to."""
    while not until.done():
        await asyncio.sleep(0.01)
        if source.under_way is not None:
            source.take()
    source.held = False
    if source.under_way is not None:
        source.take()


@pytest.mark.parametrize("count", [320, 8_000])
def test_a_call_that_does_not_know_yet_that_it_was_cancelled(count: int) -> None:
    async def scenario() -> None:
        rig = Rig(Source(held=True))
        playing = rig.begin(speech(count))
        await asyncio.sleep(0)
        playing.cancel()  # it has begun, and hears of it after the next has begun
        following = rig.begin(speech(320, 9_000))
        await take_all(rig.source, until=following)
        await asyncio.wait({playing})
        await asyncio.sleep(0.2)
        whole = [speech(count).samples[:, 0], speech(320, 9_000).samples[:, 0]]
        assert np.array_equal(rig.source.sound(), np.concatenate(whole))
        assert rig.playout.retries == 0

    run(scenario())


def test_a_cancellation_between_two_tries() -> None:
    async def scenario() -> None:
        rig = Rig(Source())
        rig.source.refuse = [REFUSED]
        playing = rig.begin(speech(8_000))
        await turns()
        assert rig.playout.retries == 1
        playing.cancel()
        await asyncio.wait({playing})
        await rig.playout.play(speech(320, 9_000))
        await asyncio.sleep(0.2)
        whole = [speech(8_000).samples[:, 0], speech(320, 9_000).samples[:, 0]]
        assert np.array_equal(rig.source.sound(), np.concatenate(whole)), "never half"

    run(scenario())


@pytest.mark.parametrize("cancelled", [True, False])
@pytest.mark.parametrize("count", [320, 8_000])
def test_closing_waits_for_the_capture_that_is_under_way(count: int, cancelled: bool) -> None:
    async def scenario() -> None:
        rig = Rig(Source(held=True))
        playing = rig.begin(speech(count))
        await turns()
        rig.source.clears = False  # natively it takes up to 10 ms
        if cancelled:
            playing.cancel()
            await asyncio.wait({playing})
        closing = asyncio.create_task(rig.playout.close())
        await turns()
        assert rig.source.log == ["cleared"]
        rig.source.take()
        await closing
        assert rig.source.log == ["cleared", "unpublished", "closed"]
        assert len(rig.source.pieces) == 1
        await asyncio.wait({playing})
        assert not asyncio.all_tasks() - {asyncio.current_task(), *_outer()}

    run(scenario())


def test_closing_does_not_wait_for_ever_for_a_capture() -> None:
    async def scenario() -> None:
        source = Source(held=True)
        rig = Rig(source)
        await rig.playout.play(speech(320))
        await turns()
        source.clears = False
        began = now()
        closing = asyncio.create_task(rig.playout.close())
        await asyncio.sleep(0.9)
        assert source.log == ["cleared"]
        source.aclose = rig._unpublish  # type: ignore[method-assign]  (it insists)
        await closing
        assert now() - began == pytest.approx(1.0, abs=0.01)
        assert not asyncio.all_tasks() - {asyncio.current_task(), *_outer()}

    run(scenario())


def test_close_waits_for_the_capture_under_way() -> None:
    async def scenario() -> None:
        rig = Rig(Source(held=True))
        playing = rig.begin(speech(RATE))
        await turns()
        await asyncio.gather(rig.playout.close(), rig.playout.close())
        await playing
        assert rig.source.log == ["cleared", "unpublished", "closed"]
        with pytest.raises(ClosedError):
            await rig.playout.play(speech(320))
        assert rig.playout.clear() == 0.0

    run(scenario())
