"""The way in: frames of one subscribed track, from its stream to its `TrackSink`.

Owns the stream's life: what came before comes first, what it still holds is passed on at its end,
and the end is told.
"""

from __future__ import annotations

import asyncio
import logging

from ringroom.events import Participant, TrackInfo
from ringroom.options import SessionOptions
from ringroom.providers.livekit.media import AnyTrack, MediaPath, Stream
from ringroom.providers.provider import Sink, TrackSink

__all__ = ["Ingest"]

_log = logging.getLogger("ringroom.livekit")

# Native answers to "close" come within milliseconds; this only bounds a stuck library.
CLOSE_TIMEOUT = 2.0


class Ingest:
    """One subscribed track, from subscription to its end."""

    def __init__(
        self, sink: Sink, track: TrackInfo, participant: Participant, path: MediaPath
    ) -> None:
        self.track = track
        self.participant = participant
        self.muted = False
        self._sink = sink
        self._path = path
        self._open: TrackSink | None = None
        self._stream: Stream | None = None
        self._task: asyncio.Task[None] | None = None
        self._reason = ""
        self._ending = False

    def start(
        self, track: AnyTrack, options: SessionOptions, after: Ingest | None = None
    ) -> asyncio.Task[None]:
        """Begin to read. ``after`` is an earlier subscription of the same track, whose last
        frames and end come first."""
        self._stream = self._path.stream(track, self.track.kind, options)
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
        try:
            if after is not None:
                await after.end("subscribed again")
            await self._pass_on(stream)
        except asyncio.CancelledError:
            # Only `end` cancels, after its deadline; the track's end is told all the same.
            if not self._ending:
                raise
        finally:
            if not self._ending:
                self._ending = True
                await self._close_stream(stream)

    async def _pass_on(self, stream: Stream) -> None:
        out = self._open = self._sink.open_track(self.track, self.participant)
        try:
            if self.muted:
                out.muted(True)
            await stream.run(out)
        finally:
            self._open = None
            out.close(self._reason)

    async def _close_stream(self, stream: Stream) -> None:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await stream.aclose()
        except TimeoutError:
            _log.warning("livekit: the stream of track %s did not close", self.track.sid)
