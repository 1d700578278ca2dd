"""Media through the SDK's public API.

Owns the two defects at the end of its streams (livekit 1.1.21 to 1.2.1): `AudioStream` drops what
is still queued when its end comes, and `VideoStream` never ends.

The streams' queues are left unbounded on purpose. A bounded one drops without a count, and frees
nothing: the frames that wait while the loop is held up are in the native library already. The
sink never waits, so the queue is emptied in one turn of the loop, and the lane behind the sink is
where age and size are bounded and counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any

import numpy as np
from livekit import rtc
from numpy.typing import NDArray

from ringroom.events import Kind
from ringroom.options import SessionOptions
from ringroom.providers.livekit.media import (
    KEPT_READINGS,
    AnyTrack,
    Capture,
    SoundSource,
    Stream,
    TextReader,
)
from ringroom.providers.provider import TrackSink

__all__ = [
    "PublicCapture",
    "PublicDataStream",
    "PublicPath",
    "PublicSource",
    "PublicStream",
    "frames_of",
]


class PublicPath:
    """A `MediaPath` over the public API."""

    def stream(self, track: AnyTrack, kind: Kind, options: SessionOptions) -> Stream:
        if isinstance(track, rtc.RemoteDataTrack):
            return PublicDataStream(track)
        if kind is Kind.VIDEO:
            return PublicStream(rtc.VideoStream(track, format=rtc.VideoBufferType.I420))
        return PublicStream(
            rtc.AudioStream(
                track,
                sample_rate=options.sample_rate,
                num_channels=options.channels,
                frame_size_ms=options.frame_ms,
            )
        )

    def source(self, source: rtc.AudioSource) -> SoundSource:
        return PublicSource(source)

    def fill(self, reader: TextReader, on: bool) -> None:
        """Each fills itself."""

    def close(self) -> None:
        """Nothing is held beyond the streams and sources."""


class PublicStream:
    """A `Stream` over the SDK's own."""

    def __init__(self, stream: rtc.AudioStream | rtc.VideoStream) -> None:
        self._stream = stream

    async def run(self, out: TrackSink) -> None:
        async for event in frames_of(self._stream):
            _deliver(event, out)

    async def aclose(self) -> None:
        await self._stream.aclose()


class PublicDataStream:
    """A `Stream` over the SDK's own of a data track. That does not end by being closed."""

    def __init__(self, track: rtc.RemoteDataTrack) -> None:
        self._track = track  # the native one ends with its handle
        self._stream = track.subscribe(buffer_size=KEPT_READINGS)
        self._closed = asyncio.get_running_loop().create_future()

    async def run(self, out: TrackSink) -> None:
        reading = asyncio.create_task(self._pass_on(out))
        try:
            await asyncio.wait({reading, self._closed}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                await reading
        finally:
            reading.cancel()
            self._stream.close()

    async def _pass_on(self, out: TrackSink) -> None:
        async for frame in self._stream:
            out.reading(memoryview(frame.payload), frame.user_timestamp)

    async def aclose(self) -> None:
        self._stream.close()
        if not self._closed.done():
            self._closed.set_result(None)


class PublicCapture:
    """A `Capture`, which tells every answer."""

    def __init__(self, capturing: Coroutine[Any, Any, None], answered: Callable[[], None]) -> None:
        self.error: str | None = None
        self._answered = answered
        self._task = asyncio.create_task(self._run(capturing))

    async def _run(self, capturing: Coroutine[Any, Any, None]) -> None:
        try:
            await capturing
            self.error = ""
        except Exception as error:  # noqa: BLE001  (the SDK raises nothing more special)
            self.error = str(error) or type(error).__name__
        self._answered()

    def ask(self) -> None:
        if self.error is not None:
            self._answered()


class PublicSource:
    """A `SoundSource` over the SDK's own."""

    def __init__(self, source: rtc.AudioSource) -> None:
        self._source = source

    def capture(self, samples: NDArray[np.int16], answered: Callable[[], None]) -> Capture:
        rate, channels = self._source.sample_rate, self._source.num_channels
        frame = rtc.AudioFrame(samples.tobytes(), rate, channels, len(samples))
        return PublicCapture(self._source.capture_frame(frame), answered)

    def clear_queue(self) -> None:
        self._source.clear_queue()

    async def aclose(self) -> None:
        await self._source.aclose()


def _deliver(event: rtc.AudioFrameEvent | rtc.VideoFrameEvent, out: TrackSink) -> None:
    if isinstance(event, rtc.AudioFrameEvent):
        sound = event.frame
        out.audio(sound.data, sound.sample_rate, sound.num_channels)
        return
    picture = event.frame
    quarter_turns: Any = event.rotation
    out.video(
        picture.data,
        (picture.width, picture.height),
        int(quarter_turns) * 90,
        event.timestamp_us,
    )


async def frames_of(stream: rtc.AudioStream | rtc.VideoStream) -> AsyncIterator[Any]:
    """All that the stream receives, to the last frame, ending when the stream's source ends.

    What it needs for that is private to the SDK; without it (another version), video ends by
    the cancellation in `Ingest.end`, and audio loses what was queued at its end.
    """
    reader = getattr(stream, "_task", None)
    queue: Any = getattr(stream, "_queue", None)
    if isinstance(reader, asyncio.Task) and hasattr(queue, "put"):
        # Wakes a reader that waits for a video frame which will never come.
        reader.add_done_callback(lambda _: queue.put(None))
    async for event in stream:
        yield event
    for event in _left_in(queue):
        yield event


def _left_in(queue: object) -> Iterable[Any]:
    waiting = getattr(queue, "_queue", ())
    while waiting:
        event = waiting.popleft()
        if event is not None:
            yield event
