"""The way out of pictures: a published track of ours, from frames to the SDK's source."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from livekit import rtc
from numpy.typing import NDArray

from ringroom.errors import ClosedError, FrameError
from ringroom.frames import MediaFrame, VideoFrame
from ringroom.providers.livekit.line import Line
from ringroom.providers.livekit.mapping import too_small
from ringroom.providers.livekit.muting import Muting
from ringroom.providers.livekit.playout import Audience, Unpublish, taken_away
from ringroom.providers.provider import OutgoingTrack, Playout

__all__ = ["VideoPlayout", "borrowed"]

_ROTATIONS = {
    0: rtc.VideoRotation.VIDEO_ROTATION_0,
    90: rtc.VideoRotation.VIDEO_ROTATION_90,
    180: rtc.VideoRotation.VIDEO_ROTATION_180,
    270: rtc.VideoRotation.VIDEO_ROTATION_270,
}


class VideoPlayout(Playout):
    """A published video track. Nothing waits: WebRTC encodes the newest picture."""

    def __init__(
        self, track: OutgoingTrack, source: rtc.VideoSource, line: Line, unpublish: Unpublish
    ) -> None:
        self.track = track
        self._source = source
        self._line = line
        self._unpublish = unpublish
        self.muting = Muting(line, track.muted)
        self._last_us = 0
        self._taken = ""
        self._closed = False

    async def play(self, frame: MediaFrame) -> None:
        if self._closed:
            raise ClosedError(f"livekit: track {self.track.name!r} is closed")
        if self._taken:
            raise taken_away(self.track, self._taken)
        self._line.check()
        if not isinstance(frame, VideoFrame):
            raise FrameError(f"livekit: sound for the video track {self.track.name!r}")
        if small := too_small(frame.width, frame.height):
            raise FrameError(f"livekit: track {self.track.name!r}: {small}")
        if self.muting.muted:
            return
        data = np.ascontiguousarray(frame.data)
        picture = rtc.VideoFrame(
            frame.width, frame.height, rtc.VideoBufferType.I420, borrowed(data)
        )
        rotation = _ROTATIONS[frame.rotation]
        # Copied natively before it returns; `data` lives until then.
        self._source.capture_frame(
            picture, timestamp_us=self._timestamp(frame.timestamp_us), rotation=rotation
        )

    def _timestamp(self, wanted: int) -> int:
        """0 lets WebRTC take its own clock: for a source's time that stands still or goes back,
        which WebRTC would drop as a duplicate."""
        if wanted <= self._last_us:
            return 0
        self._last_us = wanted
        return wanted

    def expect(self, audience: Audience | None) -> None:
        """Pictures do not wait."""

    def hold(self, until: Audience) -> None:
        """Pictures do not wait."""

    def take_away(self, how: str) -> None:
        """The track is gone: who sends on it is told."""
        self._taken = how
        self.ended(taken_away(self.track, how))

    def mute(self, muted: bool) -> None:
        self.muting.set(muted)

    def queued(self) -> float:
        return 0.0

    def clear(self) -> float:
        return 0.0

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await self._unpublish(self)
        await self._source.aclose()


def borrowed(data: NDArray[np.uint8]) -> memoryview:
    """The array's bytes in the one form that the SDK takes by reference: writable, of one
    dimension, over the whole of its owner. Read-only arrays (frames of a ring) it would refuse;
    it never writes. The array must outlive the view."""
    address = data.__array_interface__["data"][0]
    alias: Any = (ctypes.c_uint8 * data.nbytes).from_address(address)
    owner: Any = np.frombuffer(alias, np.uint8)
    return memoryview(owner)
