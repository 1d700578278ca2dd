"""Data tracks of ours, over a room that behaves as the SDK's does."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from livekit import rtc
from livekit.rtc.participant import PublishDataTrackError

import native_kit  # noqa: F401  (the native library's threads are no test's)
from loop_kit import VirtualLoop, run_virtual
from ringroom.errors import ClosedError, FrameError, RoomError
from ringroom.events import Kind
from ringroom.frames import AudioFrame, DataTrackFrame
from ringroom.options import PublishOptions, SessionOptions
from ringroom.providers.livekit import data_playout
from ringroom.providers.provider import OutgoingTrack
from sdk_kit import TOKEN, Room, Sink, provider, raising, turns

LIDAR = OutgoingTrack(name="lidar", kind=Kind.DATA_TRACK, options=PublishOptions())
X = DataTrackFrame(b"x", timestamp=5)


async def published(room: Room, track: OutgoingTrack = LIDAR) -> tuple[Any, Any]:
    app = provider()
    await app.connect(Sink(), SessionOptions())  # type: ignore[arg-type]
    return app, await app.publish(track)


async def pass_seconds(loop: VirtualLoop, seconds: float) -> None:
    passed = loop.create_future()
    loop.call_later(seconds, passed.set_result, None)
    await passed


def test_frames_are_pushed_with_their_time_until_the_track_ends(room: Room) -> None:
    async def scenario(loop: VirtualLoop) -> None:
        app, playout = await published(room)
        (local,) = room.local_participant.data_tracks
        assert local.name == "lidar"
        await playout.play(X)
        await playout.play(DataTrackFrame(b"y"))
        assert local.pushed == [(b"x", 5), (b"y", None)]
        assert (playout.queued(), playout.clear()) == (0.0, 0.0)
        pushed = loop.time()
        await playout.close()
        assert loop.time() >= pushed + data_playout.LAST_SECONDS, "the SDK has queued the last"
        await playout.close()
        assert (local.alive, local.unpublished) == (False, 1)
        with pytest.raises(ClosedError, match="'lidar' is closed"):
            await playout.play(X)
        with pytest.raises(FrameError, match="another kind"):
            await playout.play(AudioFrame(bytes(640), 16_000))
        await app.close()

    run_virtual(scenario)


def test_a_frame_waits_while_the_sdk_has_no_room(room: Room) -> None:
    async def scenario(loop: VirtualLoop) -> None:
        app, playout = await published(room)
        (local,) = room.local_participant.data_tracks
        local.full = True
        playing = asyncio.ensure_future(playout.play(X))
        await pass_seconds(loop, 1.0)
        assert not playing.done()
        assert local.refused > 100
        local.full = False
        await playing
        assert local.pushed == [(b"x", 5)]
        local.full = True
        given_up = asyncio.ensure_future(playout.play(X))
        await turns()
        given_up.cancel()
        await asyncio.wait({given_up})
        local.full = False
        await turns()
        assert len(local.pushed) == 1
        await app.close()

    run_virtual(scenario)


def test_a_frame_waits_while_the_connection_is_lost(room: Room) -> None:
    async def scenario(loop: VirtualLoop) -> None:
        app, playout = await published(room)
        (local,) = room.local_participant.data_tracks
        room.emit("reconnecting")
        playing = asyncio.ensure_future(playout.play(X))
        await pass_seconds(loop, 30.0)
        assert not local.pushed
        room.emit("reconnected")
        await playing
        assert local.pushed == [(b"x", 5)]
        assert room.local_participant.data_tracks == [local]
        await app.close()

    run_virtual(scenario)


@pytest.mark.parametrize("how", ["full", "gone"])
def test_a_track_that_the_sdk_has_lost_is_published_anew(room: Room, how: str) -> None:
    async def scenario(loop: VirtualLoop) -> None:
        app, playout = await published(room)
        (before,) = room.local_participant.data_tracks
        ended: list[RoomError] = []
        playout.on_ended(ended.append)
        before.full, before.alive = how == "full", how == "full"
        begun = loop.time()
        for _ in range(100):  # each given up, for it has grown too old
            playing = asyncio.ensure_future(playout.play(X))
            await asyncio.wait({playing}, timeout=0.1)
            playing.cancel()
            await asyncio.wait({playing})
            if len(room.local_participant.data_tracks) > 1:
                break
        waited = data_playout.LOST_SECONDS if how == "full" else 0.0
        assert waited <= loop.time() - begun < waited + 0.5
        assert before.unpublished == 1
        after = room.local_participant.data_tracks[1]
        await playout.play(DataTrackFrame(b"after"))
        assert after.pushed[-1] == (b"after", None)
        assert after.name == "lidar"
        assert not ended
        await playout.close()
        assert after.unpublished == 1
        await app.close()

    run_virtual(scenario)


def test_who_sends_is_told_of_a_track_that_is_lost_and_refused(room: Room) -> None:
    async def scenario(loop: VirtualLoop) -> None:
        app, playout = await published(room)
        (local,) = room.local_participant.data_tracks
        ended: list[RoomError] = []
        playout.on_ended(ended.append)
        local.alive = False
        room.local_participant.data_answer = raising(PublishDataTrackError(f"no more {TOKEN}"))
        with pytest.raises(RoomError, match=r"is not back: .*no more \(token\)") as caught:
            await playout.play(X)
        assert caught.value.reason == "publish_refused"
        assert [str(one) for one in ended] == [str(caught.value)]
        await app.close()

    run_virtual(scenario)


@pytest.mark.parametrize("message", ["Track name already taken", "Track name invalid"])
def test_what_the_server_refuses_is_told(room: Room, message: str) -> None:
    async def scenario(loop: VirtualLoop) -> None:
        app = provider()
        await app.connect(Sink(), SessionOptions())  # type: ignore[arg-type]
        room.local_participant.data_answer = raising(PublishDataTrackError(message))
        with pytest.raises(RoomError, match=f"'lidar' was not published: {message}") as caught:
            await app.publish(LIDAR)
        assert caught.value.reason == "publish_refused"
        await app.close()

    run_virtual(scenario)


def test_a_name_that_was_ours_is_asked_for_until_it_is_free(room: Room) -> None:
    """The SDK tells the server of the end after the call, maybe after the next request."""

    async def scenario(loop: VirtualLoop) -> None:
        app, playout = await published(room)
        await playout.close()
        asked = 0

        def taken() -> None:
            nonlocal asked
            asked += 1
            if asked < 4:
                raise PublishDataTrackError("Track name already taken")

        room.local_participant.data_answer = taken
        begun = loop.time()
        again = await app.publish(LIDAR)
        assert asked == 4
        assert loop.time() < begun + data_playout.FREE_SECONDS
        room.local_participant.data_answer = raising(PublishDataTrackError("already taken"))
        with pytest.raises(RoomError, match="already taken"):
            await app.publish(LIDAR)
        assert loop.time() >= begun + data_playout.FREE_SECONDS - data_playout.LAST_SECONDS
        begun = loop.time()
        with pytest.raises(RoomError, match="already taken"):
            await app.publish(LIDAR)
        with pytest.raises(RoomError, match="already taken"):
            await app.publish(replace(LIDAR, name="arm"))
        assert loop.time() == begun, "it is nobody's of ours that is about to end"
        await again.close()
        await app.close()

    run_virtual(scenario)


@pytest.mark.parametrize("seconds", [2.0, 60.0])
def test_a_track_that_ends_during_a_loss_is_unpublished_after_it(
    room: Room, seconds: float
) -> None:
    """But no close waits for longer than its time limit."""

    async def scenario(loop: VirtualLoop) -> None:
        app, playout = await published(room)
        (local,) = room.local_participant.data_tracks
        room.emit("reconnecting")
        loop.call_later(seconds, room.emit, "reconnected")
        begun = loop.time()
        await playout.close()
        limit = SessionOptions().close_timeout
        assert loop.time() - begun == pytest.approx(min(seconds, limit), abs=0.1)
        assert local.unpublished == 1
        await app.close()

    run_virtual(scenario)


def test_a_server_that_knows_no_data_tracks_does_not_answer(room: Room) -> None:
    async def scenario(loop: VirtualLoop) -> None:
        app = provider()
        await app.connect(Sink(), SessionOptions())  # type: ignore[arg-type]
        room.local_participant.data_answer = raising(
            PublishDataTrackError("Publish data track timed-out")
        )
        with pytest.raises(RoomError, match="timed-out") as caught:
            await app.publish(LIDAR)
        assert caught.value.reason == "publish_refused"
        room.local_participant.wait = loop.create_future()
        with pytest.raises(RoomError, match="the server did not answer"):
            await app.publish(LIDAR)
        room.local_participant.data_answer = lambda: None
        room.local_participant.wait.set_result(None)
        await turns()
        (late,) = room.local_participant.data_tracks
        assert late.unpublished == 1, "what comes too late is undone"
        await app.close()

    run_virtual(scenario)


def test_a_request_that_a_loss_overtakes_is_made_again(room: Room) -> None:
    async def scenario(loop: VirtualLoop) -> None:
        app = provider()
        await app.connect(Sink(), SessionOptions())  # type: ignore[arg-type]

        def lost() -> None:
            room.emit("reconnecting")
            room.local_participant.data_answer = lambda: None
            loop.call_later(3.0, room.emit, "reconnected")
            raise PublishDataTrackError("Room disconnected")

        room.local_participant.data_answer = lost
        playout = await app.publish(LIDAR)
        await playout.play(X)
        assert room.local_participant.data_tracks[0].pushed == [(b"x", 5)]
        await app.close()

    run_virtual(scenario)


def test_the_right_to_send_data_is_asked_for_and_may_be_taken_away(room: Room) -> None:
    async def scenario(loop: VirtualLoop) -> None:
        allowed = room.local_participant.permissions
        app, playout = await published(room)
        ended: list[RoomError] = []
        playout.on_ended(ended.append)
        allowed.can_publish = False  # which is about sound and pictures
        room.emit("participant_permissions_changed", room.local_participant, None)
        await playout.play(X)
        allowed.can_publish_data = False
        for _ in range(2):
            room.emit("participant_permissions_changed", room.local_participant, None)
        (why,) = ended
        assert (why.reason, "canPublishData" in str(why)) == ("publish_refused", True)
        with pytest.raises(RoomError, match="canPublishData"):
            await playout.play(X)
        with pytest.raises(RoomError, match="canPublishData"):
            await app.publish(LIDAR)
        assert len(room.local_participant.data_tracks) == 1
        await app.close()

    run_virtual(scenario)


def test_a_muted_track_sends_nothing(room: Room) -> None:
    async def scenario(loop: VirtualLoop) -> None:
        app, playout = await published(room, replace(LIDAR, muted=True))
        (local,) = room.local_participant.data_tracks
        local.full = True
        await playout.play(X)
        playout.mute(False)
        local.full = False
        await playout.play(DataTrackFrame(b"y"))
        assert local.pushed == [(b"y", None)]
        await app.close()
        assert local.unpublished == 1

    run_virtual(scenario)


def test_a_frame_that_waits_ends_with_the_room(room: Room) -> None:
    async def scenario(loop: VirtualLoop) -> None:
        app, playout = await published(room)
        ended: list[RoomError] = []
        playout.on_ended(ended.append)
        room.emit("reconnecting")
        playing = asyncio.ensure_future(playout.play(X))
        await turns()
        room.emit("disconnected", rtc.DisconnectReason.SERVER_SHUTDOWN)
        with pytest.raises(RoomError) as caught:
            await playing
        assert caught.value.reason == "disconnected"
        assert not ended
        begun = loop.time()
        await playout.close()
        assert loop.time() == begun, "nothing goes out any more"
        await app.close()

    run_virtual(scenario)
