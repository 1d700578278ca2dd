"""The way in: frames of one subscribed track, from the SDK's stream to its `TrackSink`.

Owns the life of the SDK's streams, and the two defects at their end (livekit 1.1.21 to 1.2.1):
`AudioStream` drops what is still queued when its end comes, and `VideoStream` never ends.

The streams' queues are left unbounded on purpose. A bounded one drops without a count, and frees
nothing: the frames that wait while the loop is held up are in the native library already. The
sink never waits, so the queue is emptied in one turn of the loop, and the lane behind the sink is
where age and size are bounded and counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from typing import Any, TypeAlias

from livekit import rtc

from ringroom.frames import Kind, Participant, TrackInfo
from ringroom.options import SessionOptions
from ringroom.providers.provider import Sink, TrackSink

__all__ = ["Ingest", "frames_of"]

_log = logging.getLogger("ringroom.livekit")
Stream: TypeAlias = rtc.AudioStream | rtc.VideoStream

# Native answers to "close" come within milliseconds; this only bounds a stuck library.
CLOSE_TIMEOUT = 2.0


class Ingest:
    """One subscribed track, from subscription to its end."""

    def __init__(self, sink: Sink, track: TrackInfo, participant: Participant) -> None:
        self.track = track
        self.participant = participant
        self.muted = False
        self._sink = sink
        self._open: TrackSink | None = None
        self._stream: Stream | None = None
        self._task: asyncio.Task[None] | None = None
        self._reason = ""
        self._ending = False

    def start(
        self, track: rtc.Track, options: SessionOptions, after: Ingest | None = None
    ) -> asyncio.Task[None]:
        """Begin to read. ``after`` is an earlier subscription of the same track, whose last
        frames and end come first."""
        self._stream = open_stream(track, self.track.kind, options)
        self._task = asyncio.create_task(
            self._run(self._stream, after), name=f"ringroom-ingest-{self.track.sid}"
        )
        return self._task

    def mute(self, muted: bool) -> None:
        self.muted = muted
        if self._open is not None:
            self._open.muted(muted)

    async def end(self, reason: str) -> None:
        """The track is over: pass on what the stream still holds, then close the sink.
        Idempotent; everyone who calls it waits for the end."""
        if self._task is None or self._stream is None:
            return
        self._reason = reason
        if not self._ending:
            self._ending = True
            await self._close_stream(self._stream)
        await asyncio.wait({self._task}, timeout=CLOSE_TIMEOUT)
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _run(self, stream: Stream, after: Ingest | None) -> None:
        if after is not None:
            await after.end("subscribed again")
        out = self._open = self._sink.open_track(self.track, self.participant)
        try:
            if self.muted:
                out.muted(True)
            async for event in frames_of(stream):
                deliver(event, out)
        except asyncio.CancelledError:
            # Only `end` cancels, after its deadline; the track's end is told all the same.
            if not self._ending:
                raise
        finally:
            self._open = None
            out.close(self._reason)
            if not self._ending:
                self._ending = True
                await self._close_stream(stream)

    async def _close_stream(self, stream: Stream) -> None:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await stream.aclose()
        except TimeoutError:
            _log.warning("livekit: the stream of track %s did not close", self.track.sid)


def open_stream(track: rtc.Track, kind: Kind, options: SessionOptions) -> Stream:
    if kind is Kind.VIDEO:
        return rtc.VideoStream(track, format=rtc.VideoBufferType.I420)
    return rtc.AudioStream(
        track,
        sample_rate=options.sample_rate,
        num_channels=options.channels,
        frame_size_ms=options.frame_ms,
    )


def deliver(event: rtc.AudioFrameEvent | rtc.VideoFrameEvent, out: TrackSink) -> None:
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


async def frames_of(stream: Stream) -> AsyncIterator[Any]:
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
