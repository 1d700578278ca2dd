"""The way out, while it waits: for somebody who hears, and for the connection."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from source_kit import RATE, Listeners, Rig, Source, _outer, run, speech, turns

from ringroom.errors import FrameError, RoomError
from ringroom.frames import AudioFrame


def test_the_first_words_wait_for_somebody_who_hears_them() -> None:
    async def scenario() -> None:
        listeners = Listeners()
        rig = Rig(Source(), listeners)
        first = rig.begin(speech(1600))
        await turns()
        assert not rig.source.pieces, "played to nobody"
        assert rig.playout.queued() == pytest.approx(0.1)
        listeners.come.set_result(None)
        await first
        await rig.playout.play(speech(320))
        await turns()
        assert len(rig.source.sound()) == 1920
        assert listeners.waited_for == 1

    run(scenario())


def test_the_first_words_after_a_flush_wait_as_well() -> None:
    async def scenario() -> None:
        listeners = Listeners()
        rig = Rig(Source(), listeners)
        first = rig.begin(speech(1600))
        await turns()
        rig.playout.clear()
        await first
        second = rig.begin(speech(320))
        await turns()
        assert not rig.source.pieces, "played to nobody"
        listeners.come.set_result(None)
        await second
        await turns()
        assert len(rig.source.sound()) == 320

    run(scenario())


def test_nobody_who_subscribes_is_not_waited_for_for_ever() -> None:
    async def scenario() -> None:
        listeners = Listeners()
        rig = Rig(Source(), listeners)
        await rig.playout.play(speech(320))
        await rig.playout.play(speech(320))
        await turns()
        assert len(rig.source.sound()) == 640
        assert listeners.waited_for == 1

    run(scenario())


def test_live_sound_waits_for_nobody() -> None:
    async def scenario() -> None:
        listeners = Listeners()
        rig = Rig(Source(), listeners, mode="live")
        await rig.playout.play(speech(320))
        assert listeners.waited_for == 0

    run(scenario())


@pytest.mark.parametrize("how", ["clear", "close"])
def test_a_wait_for_listeners_ends_at_once(how: str) -> None:
    async def scenario() -> None:
        rig = Rig(Source(), Listeners())
        first = rig.begin(speech(1600))
        await turns()
        if how == "clear":
            assert rig.playout.clear() == pytest.approx(0.1)
        else:
            await rig.playout.close()
        await turns()
        assert first.done()
        assert not rig.source.pieces, "thrown away, and played all the same"
        waiting = [task for task in asyncio.all_tasks() if "Listeners" in repr(task.get_coro())]
        assert not waiting
        if how == "close":
            assert not asyncio.all_tasks() - {asyncio.current_task(), *_outer()}

    run(scenario())


@pytest.mark.parametrize("mode", ["speech", "live"])
def test_speech_waits_while_the_connection_is_lost(mode: str) -> None:
    async def scenario() -> None:
        rig = Rig(Source(), mode=mode)
        rig.line.set(False)
        playing = rig.begin(speech(1_600))
        await turns(20)
        assert playing.done() is (mode == "live")
        rig.line.set(True)
        await playing
        await turns()
        assert len(rig.source.sound()) == 1_600
        rig.line.set(False)
        playing = rig.begin(speech(1_600))
        await turns(20)
        rig.line.end()
        if mode == "speech":
            with pytest.raises(RoomError) as caught:
                await playing
            assert caught.value.reason == "disconnected"
        with pytest.raises(RoomError):
            await rig.playout.play(speech(320))

    run(scenario())


@pytest.mark.parametrize("outage", [0.01, 0.05, 0.09, 0.15])
def test_speech_goes_on_after_an_outage_however_short(outage: float) -> None:
    """Also one that is over before anything more was due at the source."""

    async def scenario() -> None:
        rig = Rig(Source())
        await rig.playout.play(speech(3_200))
        await turns()
        rig.line.set(False)
        playing = rig.begin(speech(1_600, 3_200))
        await asyncio.sleep(outage)
        assert not playing.done()
        rig.line.set(True)
        await playing
        await rig.playout.play(speech(320, 4_800))
        await asyncio.sleep(0.3)
        assert np.array_equal(rig.source.sound(), speech(5_120).samples[:, 0])

    run(scenario())


def test_first_words_wait_for_their_audience_after_they_were_held() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        heard, back = loop.create_future(), asyncio.Event()

        async def audience() -> None:
            await heard

        rig = Rig(Source(), audience)
        saying = rig.begin(speech(320))
        await turns()
        rig.playout.hold(back.wait)
        back.set()
        await turns()
        assert not rig.source.pieces
        heard.set_result(None)
        await saying
        await turns()
        assert len(rig.source.pieces) == 1

    run(scenario())


@pytest.mark.parametrize("how", ["the room is gone", "the track is gone"])
def test_a_frame_that_comes_too_late_is_told_as_not_played(how: str) -> None:
    async def scenario() -> None:
        rig = Rig(Source())
        if how == "the room is gone":
            rig.line.end()
        else:
            rig.playout.take_away("was ended by the server: not allowed")
        for _ in range(2):
            with pytest.raises(RoomError):
                await rig.playout.play(speech(RATE))
        assert rig.playout.clear() == 2.0
        assert rig.playout.clear() == 0.0
        with pytest.raises(FrameError):  # which is another's fault
            await rig.playout.play(AudioFrame(bytes(320), 8_000))
        assert rig.playout.clear() == 0.0

    run(scenario())


def test_what_was_held_as_the_room_ended_is_told_as_not_played() -> None:
    async def scenario() -> None:
        rig = Rig(Source(), queue_ms=100)
        rig.line.set(False)
        saying = rig.begin(speech(RATE * 3))
        await asyncio.sleep(1.0)
        rig.line.end()
        with pytest.raises(RoomError, match="has ended"):
            await saying
        assert rig.playout.clear() == 3.0
        assert rig.playout.clear() == 0.0
        assert not rig.source.pieces

    run(scenario())
