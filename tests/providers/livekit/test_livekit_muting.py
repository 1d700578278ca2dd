"""Our tracks while they are muted, over a room that behaves as the SDK's does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from loop_kit import VirtualLoop, run_virtual
from ringroom.events import EventKind
from ringroom.frames import AudioFrame, VideoFrame
from ringroom.options import PublishOptions, SessionOptions
from ringroom.providers.livekit.line import Line
from ringroom.providers.livekit.muting import Muting
from ringroom.providers.livekit.pictures import VideoPlayout
from ringroom.providers.provider import OutgoingTrack
from sdk_kit import VOICE, Publication, Room, Sink, Track, provider, turns

LIVE = replace(VOICE, options=PublishOptions(mode="live"))
WORDS = AudioFrame(np.full(320, 1_000, np.int16), 16_000)
M, U = EventKind.PUBLISH_MUTED, EventKind.PUBLISH_UNMUTED


class Taken:
    """A capture that was taken at once."""

    error = ""

    def ask(self) -> None: ...


class Sound:
    """A native source that takes all; how loud each piece was."""

    def __init__(self) -> None:
        self.levels: list[int] = []
        self.cleared = 0

    def capture(self, samples: np.ndarray, answered: Callable[[], None]) -> Taken:
        self.levels.append(int(np.abs(samples).max()))
        return Taken()

    def clear_queue(self) -> None:
        self.cleared += 1

    async def aclose(self) -> None: ...


class Stage:
    """A provider that has joined; what it publishes has no audience to wait for."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.local = room.local_participant
        self.sound = Sound()
        self.sink = Sink()
        self.app = provider()
        self.local.answer = lambda: Publication(f"TR_{len(self.local.published)}", name="answer")

    async def publish(self, track: OutgoingTrack = LIVE) -> Any:
        await self.app.connect(self.sink, SessionOptions())  # type: ignore[arg-type]
        self.app._opened.path.source = lambda source: self.sound  # type: ignore[union-attr, method-assign, assignment]
        return await self.app.publish(track)

    @property
    def said(self) -> list[list[bool]]:
        """To each of the tracks that were published."""
        return [publication.track.said for publication in self.local.published]

    @property
    def told(self) -> list[EventKind]:
        return [kind for kind in self.sink.kinds() if kind in (M, U)]


@pytest.fixture
def stage(room: Room) -> Stage:
    return Stage(room)


def test_what_is_sent_on_a_muted_track_is_silence_in_real_time(stage: Stage) -> None:
    async def scenario(loop: VirtualLoop) -> None:
        playout = await stage.publish()
        begun = loop.time()
        for muted in (False, True, False):
            if playout.muting.muted != muted:
                playout.mute(muted)
            for _ in range(50):
                await playout.play(WORDS)
            await asyncio.sleep(playout.queued())
            assert stage.sound.levels
            assert {*stage.sound.levels} == ({0} if muted else {1_000})
            stage.sound.levels.clear()
        assert loop.time() - begun == pytest.approx(3.0, abs=0.01)
        assert stage.said == [[True, False]]
        assert stage.sound.cleared == 0, "what its source has the SDK does not let through"
        await stage.app.close()

    run_virtual(scenario)


@pytest.mark.parametrize("mode", ["speech", "live"])
def test_the_first_words_of_speech_wait_for_the_server_to_know(stage: Stage, mode: Any) -> None:
    async def scenario(loop: VirtualLoop) -> None:
        playout = await stage.publish(replace(VOICE, options=PublishOptions(mode=mode)))
        playout.mute(True)
        playout.mute(False)
        begun = loop.time()
        await asyncio.sleep(0.03)
        await playout.play(WORDS)
        while not stage.sound.levels:
            await asyncio.sleep(0.001)
        waited = 0.1 if mode == "speech" else 0.03
        assert loop.time() - begun == pytest.approx(waited, abs=0.005)
        for late in (1.0, 2.0):  # long after that, and unmuted once more: nothing to wait for
            await asyncio.sleep(late)
            stage.sound.levels.clear()
            playout.mute(False)
            begun = loop.time()
            await playout.play(WORDS)
            while not stage.sound.levels:
                await asyncio.sleep(0.001)
            assert loop.time() - begun < 0.005
        await stage.app.close()

    run_virtual(scenario)


def test_a_track_that_begins_muted_is_muted_before_it_is_published(stage: Stage) -> None:
    async def scenario(_: VirtualLoop) -> None:
        playout = await stage.publish(replace(LIVE, muted=True))
        (publication,) = stage.local.published
        assert publication.muted
        await playout.play(WORDS)
        await turns()
        assert stage.sound.levels == [0]
        playout.mute(False)
        assert stage.said == [[True, False]]
        await stage.app.close()

    run_virtual(scenario)


LOST = Exception("room failure: no transceiver found for track")


class Losable(Track):
    """The SDK may lose it in a reconnection."""

    def __init__(self) -> None:
        super().__init__()
        self.failure: Exception | None = None

    async def get_stats(self) -> list[Any]:
        if self.failure is not None:
            raise self.failure
        return []


@pytest.mark.parametrize("muted", [True, False])
@pytest.mark.parametrize("before", [True, False])
def test_what_the_sdk_has_lost_is_published_muted_whatever_is_said_meanwhile(
    stage: Stage, muted: bool, before: bool
) -> None:
    """It would not heed what is said while it publishes a track."""

    async def scenario(_: VirtualLoop) -> None:
        stage.local.answer = lambda: Publication(
            f"TR_{len(stage.local.published)}", name="answer", track=Losable()
        )
        playout = await stage.publish()
        if before:
            playout.mute(True)
        stage.local.published[0].track.failure = LOST
        stage.local.wait = asyncio.get_running_loop().create_future()
        stage.room.emit("reconnecting")
        stage.room.emit("reconnected")
        await turns()
        lost = [*stage.said[0]]
        playout.mute(muted)
        await playout.play(WORDS)
        await turns()
        assert {*stage.sound.levels} == {0 if muted else 1_000}
        assert stage.sound.cleared == muted
        stage.local.wait.set_result(None)
        await turns()
        assert [one.muted for one in stage.local.published] == [False, True]
        assert stage.said == [lost, [] if muted else [False]]
        await stage.app.close()

    run_virtual(scenario)


def test_what_was_said_during_a_loss_is_said_again_after_it(stage: Stage) -> None:
    """The SDK may have been publishing all again just then."""

    async def scenario(_: VirtualLoop) -> None:
        stage.local.answer = lambda: Publication("TR_own", name="answer", track=Losable())
        playout = await stage.publish()
        stage.room.emit("reconnecting")
        playout.mute(True)
        assert stage.sound.cleared == 1
        assert stage.said == [[True]]
        stage.room.emit("reconnected")
        await turns()
        assert stage.said == [[True, False, True]]
        stage.room.emit("reconnecting")
        stage.room.emit("reconnected")
        await turns()
        assert stage.said == [[True, False, True]], "once is enough"
        await stage.app.close()

    run_virtual(scenario)


def test_pictures_on_a_muted_track_are_left_out() -> None:
    async def scenario(_: VirtualLoop) -> None:
        class Pictures:
            shown = 0

            def capture_frame(self, picture: Any, **fields: Any) -> None:
                self.shown += 1

        async def nobody(playout: Any) -> None: ...

        source = Pictures()
        playout = VideoPlayout(VOICE, source, Line(), nobody)  # type: ignore[arg-type]
        picture = VideoFrame.from_gray(np.zeros((48, 64), np.uint8))
        for muted, shown in ((False, 1), (True, 1), (False, 2)):
            playout.mute(muted)
            await playout.play(picture)
            assert source.shown == shown

    run_virtual(scenario)


# What the SDK tells: once what we have done, once or twice what the server has done.
OURS_M, OURS_U, SAYS_M, SAYS_U = "we mute", "we unmute", True, False


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ([OURS_M, SAYS_M, OURS_U, SAYS_U], []),
        ([OURS_M, OURS_U, SAYS_M, SAYS_U], []),
        ([SAYS_M, SAYS_M, SAYS_U, SAYS_U], [M, U]),
        ([SAYS_M, OURS_U, SAYS_M, SAYS_U], [M, U]),
        ([SAYS_M, OURS_M, OURS_U, SAYS_U], [M, U]),
        ([OURS_M, SAYS_M, SAYS_M, SAYS_U, SAYS_U], [U]),
        ([OURS_M, SAYS_M, SAYS_U, OURS_M, SAYS_M, OURS_U, SAYS_U], [U]),
        ([OURS_M, OURS_M, SAYS_M, OURS_U, OURS_U, SAYS_U, SAYS_M], [M]),
    ],
    ids=range(8),
)
def test_what_the_server_does_is_told_and_what_we_do_is_not(
    steps: list[Any], told: list[EventKind]
) -> None:
    async def scenario(_: VirtualLoop) -> None:
        muting = Muting(Line(), muted=False)
        muting.published(Track(), muted=False)  # type: ignore[arg-type]
        heard = []
        for step in steps:
            if isinstance(step, str):
                muting.set(step == OURS_M)
            else:
                heard.append(muting.told(step))
        assert [kind for kind in heard if kind] == told

    run_virtual(scenario)


def test_what_we_have_muted_the_server_does_not_unmute(stage: Stage) -> None:
    """It is told, and muted again; but a server that insists is not fought without an end."""

    async def scenario(_: VirtualLoop) -> None:
        playout = await stage.publish()
        (ours,) = stage.local.published

        def server_unmutes() -> None:
            stage.room.emit("track_unmuted", stage.local, ours)
            stage.room.emit("track_unmuted", stage.local, ours)

        playout.mute(True)
        stage.room.emit("track_muted", stage.local, ours)
        server_unmutes()
        assert stage.said == [[True, True]]
        stage.room.emit("track_muted", stage.local, ours)
        assert stage.told == [U], "of our own muting nothing is told"
        for _ in range(3):
            await asyncio.sleep(3)
            server_unmutes()
            stage.room.emit("track_muted", stage.local, ours)
        assert stage.said == [[True, True]], "it is left at that for 10 s"
        await asyncio.sleep(3)
        server_unmutes()
        assert stage.said == [[True, True, True]]
        stage.room.emit("track_muted", stage.local, ours)
        playout.mute(False)
        stage.room.emit("track_unmuted", stage.local, ours)
        assert stage.said == [[True, True, True, False]]
        await playout.play(WORDS)
        await stage.app.close()

    run_virtual(scenario)


def test_of_a_track_that_is_not_ours_any_more_nothing_is_told(stage: Stage) -> None:
    async def scenario(_: VirtualLoop) -> None:
        playout = await stage.publish()
        (ours,) = stage.local.published
        playout.mute(True)
        stage.room.emit("track_muted", stage.local, ours)
        assert stage.told == []
        stage.room.emit("track_unmuted", stage.local, ours)
        assert stage.told == [U], "the server has unmuted it"
        await playout.close()
        stage.room.emit("track_muted", stage.local, ours)
        assert stage.told == [U]
        await stage.app.close()

    run_virtual(scenario)
