"""The layer of a picture that the server is asked for, over a room that behaves as the SDK's."""

from __future__ import annotations

from typing import Any

import pytest
from livekit import rtc

from ringroom.options import SessionOptions, VideoQuality
from sdk_kit import Publication, Room, Sink, provider, run, someone, turns

VIDEO, AUDIO = rtc.TrackKind.KIND_VIDEO, rtc.TrackKind.KIND_AUDIO
LOW, MEDIUM = rtc.VideoQuality.VIDEO_QUALITY_LOW, rtc.VideoQuality.VIDEO_QUALITY_MEDIUM


@pytest.mark.parametrize(
    ("quality", "layered", "kind", "asked"),
    [
        ("low", True, VIDEO, [LOW]),
        ("medium", True, VIDEO, [MEDIUM]),
        ("high", True, VIDEO, []),  # what the server sends by itself
        ("low", False, VIDEO, []),  # which the SDK refuses
        ("low", True, AUDIO, []),
    ],
)
def test_a_layer_is_asked_for_where_there_are_some(
    room: Room, quality: VideoQuality, layered: bool, kind: int, asked: list[int]
) -> None:
    async def scenario() -> None:
        app, camera = provider(), Publication("TR_1", kind, simulcasted=layered)
        ann = room.remote_participants["ann"] = someone("ann", camera)
        await app.connect(Sink(), options(quality))  # type: ignore[arg-type]
        room.emit("track_subscribed", object(), camera, ann)
        assert camera.layers == asked
        await app.close()

    run(scenario())


def test_a_layer_is_asked_for_again_after_a_loss(room: Room) -> None:
    async def scenario() -> None:
        app, camera = provider(), Publication("TR_1", VIDEO, simulcasted=True)
        ann = room.remote_participants["ann"] = someone("ann", camera)
        await app.connect(Sink(), options("low"))  # type: ignore[arg-type]
        room.emit("track_subscribed", object(), camera, ann)
        camera.subscribed = True
        room.emit("reconnecting")
        assert camera.layers == [LOW]
        room.emit("reconnected")
        assert camera.layers == [LOW, LOW], "what was asked for during the loss is lost"
        room.emit("track_unsubscribed", object(), camera, ann)
        await turns()
        room.emit("track_subscribed", object(), camera, ann)
        assert camera.layers == [LOW, LOW, LOW]
        await app.close()

    run(scenario())


def options(quality: VideoQuality) -> Any:
    return SessionOptions(kinds=("video",), video_quality=quality)  # type: ignore[arg-type]
