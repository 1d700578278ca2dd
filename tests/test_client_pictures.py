"""A transport's pictures, both ways, also growing ones."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from app_kit import (
    PATIENCE,
    Call,
    check_law,
    opened,
    until,
)
from ringroom.client import Transport
from ringroom.errors import BusyError, ClosedError, ConfigurationError, FrameError
from ringroom.events import EventKind
from ringroom.frames import VideoFrame
from ringroom.options import PublishOptions
from ringroom.testing import FakeRoom, faults, sources


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


@pytest.mark.parametrize("mode", ["speech", "live"])
def test_pictures_filled_in_place(fake_room: FakeRoom, mode: str) -> None:
    publish = PublishOptions(mode=mode)  # type: ignore[arg-type]
    with opened(fake_room, io="process") as transport:
        for number in range(4):
            with transport.fill_video(64, 48, publish=publish, timeout=PATIENCE) as frame:
                frame.data[:] = sources.picture(number, 64, 48).data
                frame.rotation = 90
            fake_room.wait_for_video(count=number + 1)
        footage = fake_room.wait_for_video(count=4)
    assert [sources.picture_number(frame) for frame in footage.frames] == [0, 1, 2, 3]
    assert {frame.rotation for frame in footage.frames} == {90}
    (lane,) = transport.stats().lanes
    assert (lane.counts.sent, lane.counts.done) == (4, 4)


def test_a_picture_is_filled_in_the_ring(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        with transport.fill_video(64, 48) as frame:
            in_place = not frame.data.flags.owndata
        assert in_place
        with transport.fill_video(1280, 1280) as frame:
            in_place = not frame.data.flags.owndata
        assert in_place, "also when the track gets a larger ring"


def test_a_block_that_raises_sends_nothing(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        with pytest.raises(ZeroDivisionError), transport.fill_video(64, 48):
            raise ZeroDivisionError
        transport.send(sources.picture(1, 64, 48), timeout=PATIENCE)
        frames = fake_room.wait_for_video(count=1).frames
    assert [sources.picture_number(frame) for frame in frames] == [1]
    assert transport.stats().sent.sent == 1


def test_a_track_whose_picture_is_being_filled_is_busy(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport, transport.fill_video(64, 48):
        calls: list[Callable[[], Any]] = [
            lambda: transport.send(sources.picture(1, 64, 48)),
            lambda: transport.send_nowait(sources.picture(1, 64, 48)),
            lambda: transport.unpublish("video"),
            transport.fill_video(64, 48).__enter__,
        ]
        for call in calls:
            with pytest.raises(BusyError, match="'video'"):
                call()
        with transport.fill_video(64, 48, track="other"):
            pass
    assert [lane.counts.sent for lane in transport.stats().lanes] == [1, 1]


def test_a_picture_that_is_filled_waits_for_room(fake_room: FakeRoom) -> None:
    """Where the ring is full the next one is filled elsewhere, and its end waits as `send` does."""
    in_place: list[bool] = []

    def show(transport: Transport) -> None:
        with transport.fill_video(64, 48) as frame:
            frame.data[:] = sources.picture(len(in_place), 64, 48).data
            in_place.append(not frame.data.flags.owndata)

    with opened(fake_room, io="process") as transport:
        show(transport)
        fake_room.wait_for_video()
        assert transport.io_pid is not None
        with faults.frozen(transport.io_pid):
            while in_place[-1]:
                shown = len(in_place)
                call = Call(show, transport)
                until(lambda before=shown: len(in_place) > before)  # type: ignore[misc]
                if in_place[-1]:
                    call.result()
            with pytest.raises(TimeoutError), transport.fill_video(64, 48, track="x", timeout=0):
                pass
            assert not call.over
        call.result()
        frames = fake_room.wait_for_video("video", count=len(in_place)).frames
    assert [sources.picture_number(frame) for frame in frames] == [*range(len(in_place))]


def test_a_transport_that_is_closed_in_the_block_says_so(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        with pytest.raises(ClosedError), transport.fill_video(64, 48):
            transport.close()
        with pytest.raises(ClosedError), transport.fill_video(64, 48):
            pass


def test_a_room_that_ends_in_the_block_ends_it_as_send_does(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        filling = transport.fill_video(64, 48)
        filling.__enter__()
        fake_room.close_room()
        until(lambda: transport.ended)
        with pytest.raises(ClosedError, match="the room has ended"):
            filling.__exit__(None, None, None)
        receiver = transport.recv()
        with transport.fill_video(64, 48) as frame:
            frame.data[:] = 0  # dropped: a receiver is still to be told
        assert list(receiver) == []


def test_a_picture_to_be_filled_without_its_block_says_so(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        picture: Any = transport.fill_video(64, 48)
        with pytest.raises(FrameError, match="for fill_video: a `with` block around it"):
            transport.send(picture)


def test_a_picture_that_is_filled_after_its_block_says_so(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        with transport.fill_video(64, 48) as frame:
            frame.data[:] = 0
        with pytest.raises(FrameError, match="sent at the end of its `with` block"):
            frame.planes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((1, 48), "the width is 1"), ((64, "48"), "the height is '48'")],
)
def test_what_cannot_be_filled_is_refused(
    fake_room: FakeRoom, arguments: tuple[Any, Any], message: str
) -> None:
    with opened(fake_room) as transport:
        with pytest.raises(FrameError, match=message), transport.fill_video(*arguments):
            pass
        unnamed = transport.fill_video(64, 48, track=5)  # type: ignore[arg-type]
        with pytest.raises(FrameError, match="the track name"), unnamed:
            pass
        untimed = transport.fill_video(64, 48, timeout="soon")  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="timeout"), untimed:
            pass
