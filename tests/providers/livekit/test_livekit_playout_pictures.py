"""The way out for pictures, and what fits neither a track nor the native library."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from livekit import rtc
from source_kit import RATE, Rig, Source, run, speech

from ringroom.errors import ClosedError, FrameError, RoomError
from ringroom.frames import AudioFrame, VideoFrame
from ringroom.providers.livekit.pictures import VideoPlayout, borrowed
from ringroom.providers.livekit.playout import queue_size_ms


class Pictures:
    def __init__(self) -> None:
        self.log: list[Any] = []

    def capture_frame(self, frame: Any, *, timestamp_us: int, rotation: int) -> None:
        address = np.frombuffer(frame.data, np.uint8).__array_interface__["data"][0]
        self.log.append((address, frame.width, frame.height, timestamp_us, rotation))

    async def aclose(self) -> None:
        self.log.append("closed")


def test_frames_that_do_not_fit_the_track() -> None:
    async def scenario() -> None:
        rig = Rig(Source())
        black = VideoFrame.from_gray(np.zeros((4, 4), np.uint8))
        stereo = AudioFrame(np.zeros((160, 2), np.int16), RATE)
        for frame in (black, stereo, AudioFrame(np.zeros(160, np.int16), 8_000)):
            with pytest.raises(FrameError):
                await rig.playout.play(frame)
        video = VideoPlayout(rig.playout.track, Pictures(), rig.line, rig._unpublish)  # type: ignore[arg-type]
        with pytest.raises(FrameError):
            await video.play(speech(320))
        for width, height in ((2, 2), (3, 400), (640, 2)):  # of these WebRTC ended the process
            dot = VideoFrame.from_gray(np.zeros((height, width), np.uint8))
            with pytest.raises(FrameError, match=f"{width}x{height}, and WebRTC takes sides of 4"):
                await video.play(dot)

    run(scenario())


def test_a_picture_on_a_track_that_is_gone_is_refused_as_it_was_told() -> None:
    async def scenario() -> None:
        rig, told = Rig(Source()), list[RoomError]()
        pictures = Pictures()
        playout = VideoPlayout(rig.playout.track, pictures, rig.line, rig._unpublish)  # type: ignore[arg-type]
        playout.on_ended(told.append)
        playout.take_away("was ended by the server: not allowed")
        with pytest.raises(RoomError, match="'answer' was ended by the server: not al") as caught:
            await playout.play(VideoFrame.from_gray(np.zeros((4, 4), np.uint8)))
        assert caught.value.reason == "publish_refused"
        assert [str(error) for error in told] == [str(caught.value)]
        assert not pictures.log

    run(scenario())


def test_pictures_go_by_reference_with_a_clock_that_goes_on() -> None:
    async def scenario() -> None:
        rig = Rig(Source())
        source = Pictures()
        playout = VideoPlayout(rig.playout.track, source, rig.line, rig._unpublish)  # type: ignore[arg-type]
        ring = np.zeros(1_000, np.uint8)
        for time_us, rotation in ((5, 0), (5, 90), (4, 180), (9, 270)):
            data = ring[100 : 100 + 35 + 24]
            data.setflags(write=False)
            frame = VideoFrame(data, 5, 7, rotation=rotation, timestamp_us=time_us)
            await playout.play(frame)
        start = ring.__array_interface__["data"][0] + 100
        assert source.log == [(start, 5, 7, t, r) for t, r in ((5, 0), (0, 1), (0, 2), (9, 3))]
        assert (playout.queued(), playout.clear()) == (0.0, 0.0)
        await playout.close()
        await playout.close()
        assert source.log[-1] == "closed"
        with pytest.raises(ClosedError):
            await playout.play(frame)

    run(scenario())


def test_borrowed_bytes_are_not_copied_by_the_sdk() -> None:
    ring = np.arange(64, dtype=np.uint8)
    part = ring[8:40]
    part.setflags(write=False)
    frame = rtc.VideoFrame(4, 4, rtc.VideoBufferType.I420, borrowed(part))
    ring[8] = 77
    assert frame.data[0] == 77
    assert frame._proto_info().data_ptr == part.__array_interface__["data"][0]


def test_queue_sizes_that_do_not_abort_the_native_library() -> None:
    assert [queue_size_ms(n) for n in (20, 21, 25, 30, 999, 1_000)] == [
        20,
        30,
        30,
        30,
        1_000,
        1_000,
    ]
