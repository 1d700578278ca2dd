"""Tracks of ours that the SDK loses in a reconnection, over a room that behaves as the SDK's does.

After a loss that costs the session it publishes all again; where that fails it forgets the track,
whose statistics it then refuses for want of a transceiver.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from livekit import rtc
from livekit.rtc.participant import PublishTrackError

import sdk_kit
from loop_kit import VirtualLoop, run_virtual
from ringroom.errors import RoomError
from ringroom.frames import AudioFrame
from ringroom.options import SessionOptions
from sdk_kit import (
    TOKEN,
    VOICE,
    Publication,
    Room,
    Sink,
    provider,
    raising,
    someone,
    turns,
)

LOST = Exception("room failure: no transceiver found for track")
WORDS = AudioFrame(np.full(320, 1_000, np.int16), 16_000)


class Track(sdk_kit.Track):
    """A local track, as far as its statistics go: fine, lost, or never answered."""

    def __init__(self) -> None:
        super().__init__()
        self.failure: Exception | None = None
        self.waits: list[asyncio.Future[None]] = []
        self.asked = 0

    async def get_stats(self) -> list[Any]:
        self.asked += 1
        if self.waits:
            await self.waits.pop(0)
        if self.failure is not None:
            raise self.failure
        return []


class Taken:
    """A capture that was taken at once."""

    error = ""

    def ask(self) -> None: ...


class Sound:
    """A native source that takes all; how many samples."""

    def __init__(self) -> None:
        self.samples = 0

    def capture(self, samples: np.ndarray, answered: Callable[[], None]) -> Taken:
        self.samples += len(samples)
        return Taken()

    def clear_queue(self) -> None: ...

    async def aclose(self) -> None: ...


class Stage:
    """A provider that has joined and publishes VOICE; each publication has its own track."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.local = room.local_participant
        self.sound = Sound()
        self.app = provider()
        self.playout: Any = None
        self.local.answer = self._publication

    def _publication(self) -> Publication:
        return Publication(f"TR_{len(self.local.published)}", name="answer", track=Track())

    @property
    def tracks(self) -> list[Track]:
        return [publication.track for publication in self.local.published]

    async def begin(self, *, lost: bool = False, patience: float = 17.0) -> Track:
        """The track that is published, which the SDK loses in the next reconnection if ``lost``."""
        await self.app.connect(Sink(), SessionOptions(connect_timeout=patience))  # type: ignore[arg-type]
        self.app._opened.path.source = lambda source: self.sound  # type: ignore[union-attr, method-assign, assignment]
        self.playout = await self.app.publish(VOICE)
        (track,) = self.tracks
        if lost:
            track.failure = LOST
        return track

    async def reconnect(self, seconds: float = 3.0) -> None:
        self.room.emit("reconnecting")
        await asyncio.sleep(seconds)
        self.room.emit("reconnected")
        await turns()


@pytest.fixture
def stage(room: Room) -> Stage:
    return Stage(room)


def test_a_track_that_the_sdk_has_lost_is_published_again(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(_: VirtualLoop) -> None:
        await stage.begin()
        (first,) = stage.tracks
        first.failure = LOST
        await stage.reconnect()
        assert stage.local.log == ["published", "published"]
        await stage.reconnect()
        assert [track.asked for track in stage.tracks] == [1, 1], "only what is there"
        await stage.playout.close()
        assert stage.local.log == ["published", "published", "unpublished TR_1"]
        await stage.app.close()

    run_virtual(scenario)
    assert caplog.messages == ["livekit: track 'answer' was lost: it is published again"]


UNKNOWN = "livekit: track 'answer' is taken to be there still; its statistics were refused: "


@pytest.mark.parametrize(
    ("failure", "logged"),
    [(None, []), (Exception(f"closed to {TOKEN}"), [f"{UNKNOWN}Exception: closed to (token)"])],
    ids=["resumed", "another failure"],
)
def test_a_track_that_is_not_known_to_be_lost_is_left_alone(
    stage: Stage,
    failure: Exception | None,
    logged: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario(_: VirtualLoop) -> None:
        track = await stage.begin()
        track.failure = failure
        await stage.reconnect()
        assert track.asked == 1
        await stage.playout.play(WORDS)
        await turns()
        assert stage.sound.samples == 320
        await stage.app.close()
        assert stage.local.log == ["published"]

    run_virtual(scenario)
    assert caplog.messages == logged


def test_speech_waits_until_it_is_known_that_there_is_a_track(stage: Stage) -> None:
    async def scenario(_: VirtualLoop) -> None:
        track = await stage.begin()
        stage.room.emit("reconnecting")
        speaking = asyncio.create_task(stage.playout.play(WORDS))
        track.failure = LOST
        stage.local.wait = asyncio.get_running_loop().create_future()
        stage.room.emit("reconnected")
        await asyncio.sleep(5)
        assert not stage.sound.samples, "it would go to nobody"
        stage.local.wait.set_result(None)
        await speaking
        await turns()
        assert stage.sound.samples == 320
        await stage.app.close()

    run_virtual(scenario)


def test_a_track_whose_loss_is_found_late_is_published_again(stage: Stage) -> None:
    async def scenario(loop: VirtualLoop) -> None:
        track = await stage.begin(lost=True, patience=2.0)
        track.waits.append(answer := loop.create_future())
        await stage.reconnect()
        await asyncio.sleep(10.0)
        answer.set_result(None)
        await turns()
        assert stage.local.log == ["published", "published"]
        await stage.app.close()

    run_virtual(scenario)


def test_speech_does_not_wait_for_ever_for_an_answer(stage: Stage) -> None:
    async def scenario(loop: VirtualLoop) -> None:
        track = await stage.begin()
        track.waits.append(loop.create_future())
        await stage.reconnect()
        before = loop.time()
        await stage.playout.play(WORDS)
        assert loop.time() - before == pytest.approx(17.0, abs=0.1)
        await turns()
        assert stage.sound.samples == 320
        await stage.app.close()

    run_virtual(scenario)


def test_a_track_that_is_closed_while_it_is_published_again_is_taken_back(stage: Stage) -> None:
    async def scenario(_: VirtualLoop) -> None:
        await stage.begin(lost=True)
        stage.local.wait = asyncio.get_running_loop().create_future()
        await stage.reconnect()
        await stage.playout.close()
        assert stage.local.log == ["published"], "the SDK has nothing to unpublish"
        stage.local.wait.set_result(None)
        await turns()
        assert stage.local.log == ["published", "published", "unpublished TR_1"]
        await stage.app.close()

    run_virtual(scenario)


def test_a_loss_while_it_is_published_again_makes_one_track_and_not_two(stage: Stage) -> None:
    """The connection is back for a moment and lost again: twice it is looked after."""

    async def scenario(_: VirtualLoop) -> None:
        await stage.begin(lost=True)
        stage.room.emit("reconnecting")
        stage.room.emit("reconnected")
        stage.room.emit("reconnecting")
        await turns()
        assert stage.local.log == ["published"]
        speaking = asyncio.create_task(stage.playout.play(WORDS))
        await stage.reconnect()
        await speaking
        assert stage.local.log == ["published", "published"]
        await stage.app.close()

    run_virtual(scenario)


@pytest.mark.parametrize("earlier", [0, 1], ids=["in order", "the second first"])
@pytest.mark.parametrize("speaks", ["before", "after"])
def test_two_who_find_it_lost_make_one_track_and_speech_waits_for_that(
    stage: Stage, earlier: int, speaks: str
) -> None:
    async def scenario(loop: VirtualLoop) -> None:
        track = await stage.begin(lost=True)
        answers = [loop.create_future(), loop.create_future()]
        track.waits.extend(answers)
        stage.local.wait = loop.create_future()
        stage.room.emit("reconnecting")
        words = stage.playout.play(WORDS)
        if speaks == "before":
            words = asyncio.create_task(words)
            await turns()
        for name in ("reconnected", "reconnecting", "reconnected"):
            stage.room.emit(name)
            await asyncio.sleep(0.1)
        speaking = asyncio.ensure_future(words)
        answers[earlier].set_result(None)
        await asyncio.sleep(0.1)
        answers[1 - earlier].set_result(None)
        await asyncio.sleep(0.1)
        assert not stage.sound.samples
        stage.local.wait.set_result(None)
        await speaking
        await asyncio.sleep(0.1)
        assert stage.sound.samples == 320
        assert stage.local.log == ["published", "published"]
        await stage.app.close()

    run_virtual(scenario)


def test_a_track_that_is_refused_on_its_way_back_is_told(stage: Stage) -> None:
    async def scenario(_: VirtualLoop) -> None:
        await stage.begin(lost=True)
        stage.local.answer = raising(PublishTrackError("no room for it"))
        await stage.reconnect()
        await asyncio.sleep(5)
        for _again in range(2):
            with pytest.raises(RoomError, match=r"lost with the connection.*no room") as caught:
                await stage.playout.play(WORDS)
            assert caught.value.reason == "publish_refused"
        await stage.app.close()
        assert stage.local.log == ["published", "published"]

    run_virtual(scenario)


def test_a_right_that_goes_while_it_is_published_again_ends_it(stage: Stage) -> None:
    async def scenario(_: VirtualLoop) -> None:
        await stage.begin(lost=True)
        stage.local.wait = asyncio.get_running_loop().create_future()
        await stage.reconnect()
        stage.local.permissions.can_publish = False
        stage.room.emit("participant_permissions_changed", stage.local, stage.local.permissions)
        stage.local.wait.set_result(None)
        await turns(30)
        with pytest.raises(RoomError, match="canPublish"):
            await stage.playout.play(WORDS)
        assert stage.local.log == ["published", "published", "unpublished TR_1"]
        await stage.app.close()

    run_virtual(scenario)


def test_a_track_that_was_taken_away_is_not_looked_after(stage: Stage) -> None:
    """Though we may publish again by then: who sends was told that it is over."""

    async def scenario(_: VirtualLoop) -> None:
        track = await stage.begin()
        for allowed in (False, True):
            stage.local.permissions.can_publish = allowed
            stage.room.emit("participant_permissions_changed", stage.local, None)
        await turns()
        track.failure = LOST
        await stage.reconnect()
        assert stage.local.log == ["published", "unpublished TR_0"]
        await stage.app.close()

    run_virtual(scenario)


@pytest.mark.parametrize("how", ["ended", "closed", "ended in a loss"])
def test_a_room_that_ends_while_a_track_is_published_again_refuses_nothing(
    stage: Stage, how: str
) -> None:
    """The track waits for the next room, as all others do."""

    async def scenario(_: VirtualLoop) -> None:
        await stage.begin(lost=True)
        stage.local.wait = asyncio.get_running_loop().create_future()
        await stage.reconnect()
        told: list[RoomError] = []
        stage.playout.on_ended(told.append)
        speaking = asyncio.create_task(stage.playout.play(WORDS))
        await turns()
        if how == "ended in a loss":
            stage.room.emit("reconnecting")
            await turns()
        if how == "closed":
            await stage.app.close()
        else:
            stage.room.emit("disconnected", rtc.DisconnectReason.ROOM_DELETED)
        await turns(30)
        if how == "closed":
            await speaking  # what waits is thrown away, and the request given up
        else:
            stage.local.wait.set_result(None)
            with pytest.raises(RoomError) as caught:
                await speaking
            assert caught.value.reason == "disconnected"
        assert not told
        assert not stage.sound.samples
        await stage.app.close()

    run_virtual(scenario)


def test_whatever_is_raised_is_told_as_the_end_of_the_track_and_logged_with_its_traceback(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(_: VirtualLoop) -> None:
        await stage.begin(lost=True)
        stage.local.answer = raising(AssertionError(f"no handle {TOKEN}"))
        told: list[RoomError] = []
        stage.playout.on_ended(told.append)
        await stage.reconnect()
        with pytest.raises(RoomError, match=r"is not back: AssertionError$"):
            await stage.playout.play(WORDS)
        assert [error.reason for error in told] == ["publish_refused"]
        await stage.app.close()

    run_virtual(scenario)
    (text,) = (record.getMessage() for record in caplog.records if record.levelname == "ERROR")
    assert text.startswith("livekit: track 'answer' was not published again\nTraceback")
    assert "in publish_track" in text
    assert text.endswith("AssertionError: no handle (token)\n")


def test_the_first_words_on_a_track_that_is_back_wait_for_somebody_to_hear_them(
    stage: Stage,
) -> None:
    async def scenario(loop: VirtualLoop) -> None:
        await stage.begin(lost=True)
        stage.room.remote_participants["ann"] = someone("ann")
        heard = loop.create_future()

        async def subscribed() -> None:
            await heard

        def publication() -> Publication:
            return Publication("TR_1", track=Track(), wait_for_subscription=subscribed)

        stage.local.answer = publication
        stage.room.emit("reconnecting")
        speaking = asyncio.create_task(stage.playout.play(WORDS))
        stage.room.emit("reconnected")
        await asyncio.sleep(0.5)
        assert stage.local.log == ["published", "published"]
        assert not stage.sound.samples
        heard.set_result(None)
        await speaking
        await turns()
        assert stage.sound.samples == 320
        await stage.app.close()

    run_virtual(scenario)


@pytest.mark.parametrize("when", ["looked after", "waiting for the line"])
def test_a_track_that_is_closed_before_it_is_published_again_is_not(
    stage: Stage, when: str
) -> None:
    async def scenario(loop: VirtualLoop) -> None:
        track = await stage.begin(lost=True)
        answer = loop.create_future()
        track.waits.append(answer)
        await stage.reconnect()
        closing = asyncio.create_task(stage.playout.close())
        if when == "waiting for the line":
            stage.room.emit("reconnecting")
            answer.set_result(None)
            await turns()
            await stage.reconnect()
        else:
            await closing
            answer.set_result(None)
        await turns(30)
        await closing
        assert "published" not in stage.local.log[1:]
        await stage.app.close()

    run_virtual(scenario)
