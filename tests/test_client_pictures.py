"""A transport's pictures, both ways, also growing ones."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from app_kit import (
    PATIENCE,
    check_law,
    opened,
)
from ringroom.frames import EventKind, VideoFrame
from ringroom.testing import FakeRoom, sources


@pytest.mark.parametrize("io", ["thread", "process"])
def test_pictures_both_ways(fake_room: FakeRoom, io: str) -> None:
    camera = fake_room.join("alice").publish_video(width=64, height=48)
    with opened(fake_room, kinds=("video",), io=io) as transport:
        camera.wait_for_subscriber()
        red = np.zeros((48, 64, 3), np.uint8)
        red[..., 0] = 200
        camera.show(VideoFrame.from_rgb(red))
        frame = next(transport.recv(timeout=PATIENCE))
        assert (frame.width, frame.height, frame.participant) == (64, 48, "alice")
        assert np.abs(frame.to_rgb().astype(int) - red).max() < 6
        transport.send(frame)
        transport.send(sources.picture(5, 64, 48))
        echoed = fake_room.wait_for_video("alice/camera").frames[0]
        assert np.abs(echoed.to_rgb().astype(int) - red).max() < 6
        own = fake_room.wait_for_video("video").frames[0]
        assert sources.picture_number(own) == 5


def test_what_is_to_be_kept_over_a_fork_can_be_copied(fake_room: FakeRoom) -> None:
    camera = fake_room.join("alice").publish_video(width=64, height=48)
    with opened(fake_room, kinds=("video",)) as transport:
        camera.wait_for_subscriber()
        camera.show(sources.picture(1, 64, 48))
        frame = next(transport.recv(timeout=PATIENCE))
        kept = copy.deepcopy(frame)
        assert not np.shares_memory(kept.data, frame.data)
        assert (kept.track, kept.data.tobytes()) == (frame.track, frame.data.tobytes())


def test_a_growing_picture_inbound(fake_room: FakeRoom) -> None:
    camera = fake_room.join("alice").publish_video(width=64, height=64)
    with opened(fake_room, kinds=("video", "event")) as transport:
        camera.wait_for_subscriber()
        receiver = transport.recv(timeout=PATIENCE)
        kept: list[tuple[VideoFrame, bytes]] = []
        names: list[EventKind] = []
        for number, side in enumerate((64, 64, 256, 640, 128, 1280)):
            camera.show(sources.picture(number, side, side))
            item = next(receiver)
            while not isinstance(item, VideoFrame):
                names.append(item.kind)
                item = next(receiver)
            assert (item.width, sources.picture_number(item)) == (side, number)
            kept.append((item, item.data.tobytes()))
        assert names.count(EventKind.TRACK_STARTED) == 1
        assert EventKind.TRACK_ENDED not in names
        for number in range(20):
            camera.show(sources.picture(number, 1280, 1280))
            next(receiver)
    assert all(frame.data.tobytes() == data for frame, data in kept)
    check_law(transport)


def test_a_growing_picture_outbound(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        for number, side in enumerate((64, 640, 320, 1280)):
            transport.send(sources.picture(number, side, side), timeout=PATIENCE)
        transport.wait_playout(timeout=PATIENCE)
        footage = fake_room.wait_for_video(count=4)
        assert [frame.width for frame in footage.frames] == [64, 640, 320, 1280]
        assert [sources.picture_number(frame) for frame in footage.frames] == [0, 1, 2, 3]
        assert set(fake_room.application.tracks) == {"video"}
    check_law(transport)
    (lane,) = transport.stats().lanes
    assert (lane.counts.sent, lane.counts.done) == (4, 4)
