"""The way out, cut or refused: what is thrown away, tried again, and told."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from source_kit import RATE, REFUSED, Rig, Source, now, run, speech, turns

from ringroom.errors import RoomError


def test_clear_throws_away_what_is_under_way() -> None:
    async def scenario() -> None:
        rig = Rig(Source(held=True))
        playing = rig.begin(speech(RATE))
        await turns()
        assert rig.playout.queued() == pytest.approx(1.0)
        assert rig.playout.clear() == pytest.approx(1.0)
        await playing
        assert len(rig.source.pieces) == 1
        assert rig.playout.queued() == 0.0
        rig.source.held = False
        await rig.playout.play(speech(320))
        assert rig.playout.queued() == pytest.approx(0.02)
        await turns()
        assert len(rig.source.pieces) == 2, "what follows a flush does not wait"

    run(scenario())


def test_what_waits_for_its_turn_is_thrown_away_too() -> None:
    async def scenario() -> None:
        rig = Rig(Source())
        for _ in range(10):
            await rig.playout.play(speech(320))
        await asyncio.sleep(0.07)
        for _ in range(3):
            await rig.playout.play(speech(320, 5_000))
        await turns()
        assert 5_000 not in rig.source.sound(), "the source has enough"
        assert rig.playout.clear() == pytest.approx(0.19)
        await asyncio.sleep(1.0)
        assert 5_000 not in rig.source.sound()

    run(scenario())


def test_a_capture_that_a_flush_has_overtaken_is_cleared_again() -> None:
    """The native library takes a piece on a thread of its own, perhaps after the clearing."""

    async def scenario() -> None:
        source = Source(held=True)
        source.clears = False
        rig = Rig(source)
        await rig.playout.play(speech(320))
        await turns()
        rig.playout.clear()
        assert source.log == ["cleared"]
        source.take()
        await turns()
        assert source.log == ["cleared", "cleared"]
        source.held = False
        await rig.playout.play(speech(320))
        await turns()
        assert source.log == ["cleared", "cleared"], "nothing but what was flushed"

    run(scenario())


def test_a_refusal_is_tried_again_and_counted() -> None:
    async def scenario() -> None:
        rig = Rig(Source())
        rig.source.refuse = [REFUSED, REFUSED]
        await rig.playout.play(speech(1_600))
        await turns()
        assert rig.playout.queued() == pytest.approx(0.1), "not at the source yet"
        await asyncio.sleep(0.05)
        assert np.array_equal(rig.source.sound(), speech(1_600).samples[:, 0])
        assert rig.playout.retries == 2
        assert rig.playout.queued() == pytest.approx(0.07, abs=0.001)

    run(scenario())


def test_a_flush_ends_the_tries() -> None:
    async def scenario() -> None:
        rig = Rig(Source())
        rig.source.refuse = [REFUSED]
        await rig.playout.play(speech(1_600))
        await turns()
        rig.playout.clear()
        await asyncio.sleep(1)
        assert not rig.source.pieces
        await rig.playout.play(speech(320))
        await turns()
        assert len(rig.source.pieces) == 1

    run(scenario())


def test_a_source_that_takes_nothing_more() -> None:
    async def scenario() -> None:
        hanging = Rig(Source(held=True))
        began = now()
        with pytest.raises(RoomError, match="took no sound for 5 s"):
            await hanging.playout.play(speech(RATE))
        assert now() - began == pytest.approx(5.2)
        refusing = Rig(Source())
        refusing.source.refuse = [REFUSED] * 3_000
        with pytest.raises(RoomError, match="refused sound for 5 s"):
            await refusing.playout.play(speech(RATE))
        assert len(refusing.source.pieces) == 0
        assert refusing.playout.queued() == 0, "who waits for the end would wait for ever"

    run(scenario())


def test_another_error_is_not_tried_again() -> None:
    async def scenario() -> None:
        rig = Rig(Source())
        for text in ("InvalidState - sample_rate and num_channels don't match", "broken"):
            rig.source.refuse = [text]
            with pytest.raises(RoomError, match="answer"):
                await rig.playout.play(speech(RATE))
            assert not rig.source.pieces
            rig.source.refuse = [text]
            await rig.playout.play(speech(320))
            await turns()
            with pytest.raises(RoomError, match="answer"):  # it is told by the next
                await rig.playout.play(speech(320))
        assert rig.playout.retries == 0
        await rig.playout.play(speech(320))
        await turns()
        assert len(rig.source.pieces) == 1, "it goes on"

    run(scenario())


def test_an_error_that_nobody_comes_to_hear_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        rig = Rig(Source())
        rig.source.refuse = ["broken"]
        await rig.playout.play(speech(320))
        await turns()
        await rig.playout.close()

    run(scenario())
    assert "broken" in caplog.text
