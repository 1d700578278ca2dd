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
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import numpy as np
from livekit import rtc
from numpy.typing import NDArray

from ringroom.errors import ClosedError, FrameError, RoomError
from ringroom.frames import AudioFrame, VideoFrame
from ringroom.providers.livekit.backlog import Backlog
from ringroom.providers.livekit.line import Line
from ringroom.providers.livekit.media import SoundSource
from ringroom.providers.provider import OutgoingTrack, Playout

__all__ = ["AudioPlayout", "Unpublish", "VideoPlayout", "borrowed", "queue_size_ms"]

_log = logging.getLogger("ringroom.livekit")
Unpublish = Callable[[], Awaitable[None]]
Audience = Callable[[], Coroutine[Any, Any, None]]

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
        self._loop = asyncio.get_running_loop()
        self._source = source
        self._line = line
        self._unpublish = unpublish
        self._queue = queue_size_ms(track.options.queue_ms) / 1000
        self._backlog = Backlog(track.sample_rate, self._queue)
        self._clears = 0
        self._audience = audience if track.options.mode == "speech" else None
        self._audience_until = self._loop.time() + AUDIENCE_SECONDS
        self._waiting: asyncio.Task[None] | None = None
        self._more, self._room = Pause(self._loop), Pause(self._loop)
        self._failure: RoomError | None = None
        self._feeding: asyncio.Task[None] | None = None
        self._closed = False

    async def play(self, frame: AudioFrame | VideoFrame) -> None:
        sound = self._checked(frame)
        self._raise_failure()
        # A copy of 20 ms costs less than to keep the caller's memory alive.
        self._backlog.add(sound.samples.astype(np.int16, copy=True))
        if self._feeding is None:
            self._feeding = asyncio.create_task(self._feed())
        self._more.end()
        clears = self._clears
        while self._clears == clears and self._failure is None:
            if self._held():
                await self._room.wait()
            elif (seconds := self._backlog.until_room(self._loop.time())) > 0:
                await self._room.wait(seconds)
            else:
                break
        self._raise_failure()

    def queued(self) -> float:
        return self._backlog.queued(self._loop.time())

    def clear(self) -> float:
        thrown = self._backlog.clear(self._loop.time())
        self._clears += 1
        if self._waiting is not None:
            self._waiting.cancel()
        self._more.end()
        self._room.end()
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
                if self._feeding is not None:
                    await asyncio.wait({self._feeding})
                await self._source.settled()
        if self._feeding is not None and not self._feeding.done():
            self._feeding.cancel()
            await asyncio.wait({self._feeding})
        if self._failure is not None:
            _log.warning("%s", self._failure)
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

    def _raise_failure(self) -> None:
        """What became of sound that was taken is told by the call that waits, or the next."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _held(self) -> bool:
        """Whether the sound waits for something else than its turn."""
        speech = self.track.options.mode == "speech"
        return speech and (self._audience is not None or self._line.lost)

    async def _feed(self) -> None:
        """Hand over what waits, a piece at a time, until the playout is closed."""
        while not self._closed:
            wait = self._backlog.until_due(self._loop.time())
            if wait is None or wait > 0:
                await self._more.wait(wait)
                continue
            try:
                if self._held():
                    await self._wait_while_held()
                else:
                    await self._hand_over()
            except RoomError as error:
                self._failure = error
                self._backlog.clear(self._loop.time())
                self._room.end()

    async def _wait_while_held(self) -> None:
        if self._audience is None:
            # The source plays on while the connection is down, to nobody.
            await self._wait_for(self._line.up(), None)
            self._line.check()
        else:
            left = max(self._audience_until - self._loop.time(), 0.0)
            # Not if it was a flush: what is sent next has first words too.
            if await self._wait_for(self._audience(), left):
                self._audience = None
        self._room.end()

    async def _wait_for(self, what: Coroutine[Any, Any, None], seconds: float | None) -> bool:
        """Whether it has come, or so many seconds have passed: False if it was a flush."""
        waiting = self._waiting = asyncio.create_task(what)
        try:
            await asyncio.wait({waiting}, timeout=seconds)
            return not waiting.cancelled()
        finally:
            waiting.cancel()
            self._waiting = None

    async def _hand_over(self) -> None:
        """One piece; again, for as long as the source refuses it."""
        clears = self._clears
        deadline = self._loop.time() + self._queue + PATIENCE
        while self._clears == clears:
            piece = self._backlog.take(self._loop.time())
            try:
                async with asyncio.timeout_at(deadline):
                    await self._source.capture(piece)
            except TimeoutError:
                raise self._refused("took no sound") from None
            except Exception as error:
                if "InvalidState" not in str(error) or "don't match" in str(error):
                    raise RoomError(f"livekit: track {self.track.name!r}: {error}") from error
                self.retries += 1
                if self._clears == clears:
                    self._backlog.give_back(piece)
                if self._loop.time() >= deadline:
                    raise self._refused("refused sound") from None
                await asyncio.sleep(RETRY_AFTER)
            else:
                if self._clears != clears and not self._closed:
                    # It may have reached the source after the clearing did.
                    self._source.clear_queue()
                return

    def _refused(self, how: str) -> RoomError:
        return RoomError(f"livekit: track {self.track.name!r} {how} for {PATIENCE:.0f} s")


class Pause:
    """A task's wait that others can end. One task at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._over: asyncio.Future[None] | None = None

    async def wait(self, seconds: float | None = None) -> None:
        """Until `end`, or for so long at most."""
        over = self._over = self._loop.create_future()
        timer = None if seconds is None else self._loop.call_later(seconds, _set, over)
        try:
            await over
        finally:
            if timer is not None:
                timer.cancel()

    def end(self) -> None:
        """Who waits goes on; where nobody waits it does nothing."""
        if self._over is not None:
            _set(self._over)


def _set(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)


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
