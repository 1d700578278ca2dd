"""The way out: published tracks of ours, from frames to the SDK's sources.

Owns the pacing of sound. Facts about the native source (livekit 1.1.21 to 1.2.1) it rests on:
one capture may be under way at a time, the next is refused with InvalidState; a cancelled capture
stays under way natively; clearing the source ends it within 10 ms; the queue's size must be a
multiple of 10 ms, or the native library aborts the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import numpy as np
from livekit import rtc
from numpy.typing import NDArray

from ringroom.errors import ClosedError, FrameError, RoomError
from ringroom.frames import AudioFrame, VideoFrame
from ringroom.providers.livekit.line import Line
from ringroom.providers.livekit.media import SoundSource
from ringroom.providers.provider import OutgoingTrack, Playout

__all__ = ["AudioPlayout", "Unpublish", "VideoPlayout", "borrowed", "queue_size_ms"]

_log = logging.getLogger("ringroom.livekit")
Unpublish = Callable[[], Awaitable[None]]
Audience = Callable[[], Coroutine[Any, Any, None]]

# Long sound is handed over in pieces, so that `clear` and `close` never wait longer than this and
# the source holds little more than its queue.
PIECE_MS = 50
# Beyond the time that its queue takes to play: a source that takes nothing for so long is dead.
PATIENCE = 5.0
RETRY_AFTER = 0.01
# How long the first words wait for somebody to hear them. Who is in the room may not want to.
AUDIENCE_SECONDS = 1.0

_ROTATIONS = {
    0: rtc.VideoRotation.VIDEO_ROTATION_0,
    90: rtc.VideoRotation.VIDEO_ROTATION_90,
    180: rtc.VideoRotation.VIDEO_ROTATION_180,
    270: rtc.VideoRotation.VIDEO_ROTATION_270,
}


def queue_size_ms(wanted: int) -> int:
    """A size that the native source accepts."""
    return -(-wanted // 10) * 10


class AudioPlayout(Playout):
    """A published audio track. ``audience`` returns when somebody has subscribed to it; speech
    waits for that, for a while: subscribing takes its time, and what plays before is lost."""

    def __init__(
        self,
        track: OutgoingTrack,
        source: SoundSource,
        line: Line,
        unpublish: Unpublish,
        audience: Audience | None = None,
    ) -> None:
        self.track = track
        self.retries = 0
        """How often the source refused a piece that it took later."""
        self._source = source
        self._line = line
        self._unpublish = unpublish
        self._queue = queue_size_ms(track.options.queue_ms) / 1000
        self._piece = track.sample_rate * PIECE_MS // 1000
        self._plays_until = 0.0
        self._unplayed = 0.0
        self._rest: NDArray[np.int16] = np.zeros((0, track.channels), np.int16)
        self._clears = 0
        self._audience = audience if track.options.mode == "speech" else None
        self._audience_until = time.monotonic() + AUDIENCE_SECONDS
        self._waiting: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._job: asyncio.Task[None] | None = None
        self._closed = False

    async def play(self, frame: AudioFrame | VideoFrame) -> None:
        sound = self._checked(frame)
        # A call that was cancelled may not have noticed yet.
        async with self._turn:
            while self._job is not None and not self._job.done():
                # The frame of a call that was cancelled: it is played to its end.
                await asyncio.wait({self._job})
            self._check_open()
            # A copy of 20 ms costs less than to keep the caller's memory alive.
            self._rest = sound.samples.astype(np.int16, copy=True)
            self._unplayed = len(self._rest) / self.track.sample_rate
            clears = self._clears
            try:
                await self._play_rest(clears)
            except asyncio.CancelledError:
                # A task only then: for each frame it would cost as much as all the rest.
                job = self._job = asyncio.create_task(self._play_rest(clears))
                job.add_done_callback(_report)
                raise

    def queued(self) -> float:
        return max(self._plays_until - time.monotonic(), 0.0) + self._unplayed

    def clear(self) -> float:
        thrown = self.queued()
        self._clears += 1
        self._unplayed = 0.0
        self._plays_until = 0.0
        if self._waiting is not None:
            self._waiting.cancel()
        if not self._closed:
            self._source.clear_queue()
        return thrown

    async def close(self) -> None:
        if self._closed:
            return
        self.clear()
        self._closed = True
        # The source must not go away under a capture; the clearing ends it in 10 ms.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self._source.settled()
                if self._job is not None:
                    await asyncio.wait({self._job})
        if self._job is not None and not self._job.done():
            self._job.cancel()
            await asyncio.wait({self._job})
        await self._unpublish()
        await self._source.aclose()

    def _checked(self, frame: AudioFrame | VideoFrame) -> AudioFrame:
        self._check_open()
        if not isinstance(frame, AudioFrame):
            raise FrameError(f"livekit: a picture for the audio track {self.track.name!r}")
        form = (self.track.sample_rate, self.track.channels)
        if (frame.sample_rate, frame.channels) != form:
            raise FrameError(
                f"livekit: sound of {frame.sample_rate} Hz and {frame.channels} channels for track "
                f"{self.track.name!r}, which has {form[0]} Hz and {form[1]}"
            )
        return frame

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"livekit: track {self.track.name!r} is closed")
        self._line.check()

    async def _play_rest(self, clears: int) -> None:
        """Play what is left of the frame; again, after it was cancelled."""
        await self._source.settled()
        if self._audience is not None:
            await self._wait_for(self._audience)
        while len(self._rest):
            if self.track.options.mode == "speech":
                # The source plays on while the connection is down, to nobody.
                await self._line.up()
            if self._clears != clears:
                return
            await self._capture(clears)
        if self._clears == clears:
            self._unplayed = 0.0

    async def _wait_for(self, audience: Audience) -> None:
        waiting = self._waiting = asyncio.create_task(audience())
        try:
            left = max(self._audience_until - time.monotonic(), 0.0)
            await asyncio.wait({waiting}, timeout=left)
            # Not if it was a flush: what is sent next has first words too.
            if not waiting.cancelled():
                self._audience = None
        finally:
            waiting.cancel()
            self._waiting = None

    async def _capture(self, clears: int) -> None:
        """Queue one piece; returns when the source has room for the next."""
        left = self._rest
        piece = left[: self._piece]
        seconds = len(piece) / self.track.sample_rate
        deadline = time.monotonic() + self._queue + seconds + PATIENCE
        while True:
            before = self._account(seconds)
            # It is on its way, whether or not the answer is waited for.
            self._rest = left[len(piece) :]
            try:
                async with asyncio.timeout_at(_loop_time(deadline)):
                    await self._source.capture(piece)
                return
            except TimeoutError:
                raise RoomError(
                    f"livekit: track {self.track.name!r} took no sound for {PATIENCE:.0f} s"
                ) from None
            except Exception as error:
                if "InvalidState" not in str(error) or "don't match" in str(error):
                    raise RoomError(f"livekit: track {self.track.name!r}: {error}") from error
                if self._clears == clears:
                    self._plays_until, self._unplayed = before, self._unplayed + seconds
                self._rest = left
                self._refused(deadline)
            await asyncio.sleep(RETRY_AFTER)
            if self._clears != clears:
                return

    def _account(self, seconds: float) -> float:
        """Count a piece as queued; what was counted before, to restore if it is refused."""
        before = self._plays_until
        self._plays_until = max(before, time.monotonic()) + seconds
        self._unplayed = max(self._unplayed - seconds, 0.0)
        return before

    def _refused(self, deadline: float) -> None:
        self.retries += 1
        if time.monotonic() >= deadline:
            raise RoomError(
                f"livekit: track {self.track.name!r} refused sound for {PATIENCE:.0f} s"
            )


class VideoPlayout(Playout):
    """A published video track. Nothing waits: WebRTC encodes the newest picture."""

    def __init__(
        self, track: OutgoingTrack, source: rtc.VideoSource, line: Line, unpublish: Unpublish
    ) -> None:
        self.track = track
        self._source = source
        self._line = line
        self._unpublish = unpublish
        self._last_us = 0
        self._closed = False

    async def play(self, frame: AudioFrame | VideoFrame) -> None:
        if self._closed:
            raise ClosedError(f"livekit: track {self.track.name!r} is closed")
        self._line.check()
        if not isinstance(frame, VideoFrame):
            raise FrameError(f"livekit: sound for the video track {self.track.name!r}")
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

    def queued(self) -> float:
        return 0.0

    def clear(self) -> float:
        return 0.0

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await self._unpublish()
        await self._source.aclose()


def borrowed(data: NDArray[np.uint8]) -> memoryview:
    """The array's bytes in the one form that the SDK takes by reference: writable, of one
    dimension, over the whole of its owner. Read-only arrays (frames of a ring) it would refuse;
    it never writes. The array must outlive the view."""
    address = data.__array_interface__["data"][0]
    alias: Any = (ctypes.c_uint8 * data.nbytes).from_address(address)
    owner: Any = np.frombuffer(alias, np.uint8)
    return memoryview(owner)


def _loop_time(deadline: float) -> float:
    return asyncio.get_running_loop().time() + deadline - time.monotonic()


def _report(job: asyncio.Task[None]) -> None:
    if not job.cancelled() and (error := job.exception()) is not None:
        _log.warning("livekit: sound of a call that was cancelled was lost: %s", error)
