"""Published tracks of the application: where outgoing sound is paced as a real source paces it.

A source plays on its own clock. What it was given plays from the moment the sound before it ends,
or at once when it had run dry, whatever the event loop is doing at that moment: the pieces carry
the time at which they are played, and a late loop only reports them late.

Invariants: every sample that was played is sent to the room once and in order, unless the track was
muted as it was played; a sample that `clear` or `close` threw away is never sent, also one of a
frame that still waits for its place; each is one or the other.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from ringroom.errors import RoomError
from ringroom.events import Kind
from ringroom.frames import AudioFrame, DataTrackFrame, MediaFrame, VideoFrame
from ringroom.providers.fake import messages
from ringroom.providers.provider import OutgoingTrack, Playout

__all__ = ["AudioPlayout", "DataPlayout", "Outlet", "PublishedTrack", "VideoPlayout", "playout_of"]

# A WebRTC source hands 10 ms at a time to its encoder; that much is beyond recall.
_PIECE_SECONDS = 0.01
# Below a nanosecond two times are the same: sums of floating-point durations differ by less.
_SAME = 1e-9


class Clock(Protocol):
    """What is needed of an event loop, or of one whose time goes faster."""

    def time(self) -> float: ...
    def call_at(self, when: float, callback: Callable[[], None], /) -> asyncio.TimerHandle: ...
    def call_later(self, delay: float, callback: Callable[[], None], /) -> asyncio.TimerHandle: ...
    def create_future(self) -> asyncio.Future[None]: ...


@dataclass(frozen=True, kw_only=True)
class Outlet:
    """What a playout needs of its connection."""

    handle: str
    send: Callable[[messages.Message], None]
    """Queues a message; never waits, never raises for load. Raises `RoomError` when closed."""
    drain: Callable[[], Awaitable[None]]
    """Waits until the connection takes more. Raises `RoomError` when closed."""
    loop: Clock
    ordered: Callable[[], None] = lambda: None
    """Raises if the room has ordered `Playout.play` to."""


@dataclass(frozen=True, slots=True)
class _Piece:
    starts: float
    seconds: float
    pcm: bytes


class PublishedTrack(Playout):
    """What the playouts of all kinds share: how a track comes to its end."""

    def __init__(self, track: OutgoingTrack, outlet: Outlet) -> None:
        self._track = track
        self._outlet = outlet
        self._reason = self._text = ""
        self._muted = track.muted

    @property
    def closed(self) -> bool:
        return bool(self._reason)

    @property
    def handle(self) -> str:
        return self._outlet.handle

    def queued(self) -> float:
        return 0.0

    def clear(self) -> float:
        return 0.0

    async def close(self) -> None:
        if self.closed:
            return
        self.stop("failed")
        self._outlet.send(messages.Unpublish(track=self._outlet.handle))
        await self._outlet.drain()

    def mute(self, muted: bool) -> None:
        self._muted = muted
        if not self.closed:
            with contextlib.suppress(RoomError):  # nobody is there to be told
                self._outlet.send(messages.Mute(track=self._outlet.handle, muted=muted))

    def take_away(self, text: str) -> None:
        """The room publishes it no more."""
        self.stop("publish_refused", text)
        self.ended(self._over())

    def stop(self, reason: str, text: str = "") -> None:
        """Nothing is played after it."""
        if not self.closed:
            self._reason, self._text = reason, text

    def _over(self) -> RoomError:
        why = f": {self._text}" if self._text else ""
        return RoomError(f"fake: track {self._track.name!r} is over{why}", reason=self._reason)

    def _refusal(self, found: str, expected: str) -> RoomError:
        return RoomError(
            f"track {self._track.name!r} takes {expected}, not {found}", reason="failed"
        )


class AudioPlayout(PublishedTrack):
    """An audio source with a queue of ``queue_ms``, drained in real time by the loop's clock."""

    def __init__(self, track: OutgoingTrack, outlet: Outlet) -> None:
        super().__init__(track, outlet)
        self._limit = track.options.queue_ms / 1000
        self._pieces: deque[_Piece] = deque()
        self._ends = float("-inf")
        self._timer: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._speaking = False
        self._waiting = self._given_up = 0.0
        self._clears = 0
        self._stopped = 0.0

    async def play(self, frame: MediaFrame) -> None:
        self._outlet.ordered()
        if not isinstance(frame, AudioFrame):
            raise self._refusal("a frame of another kind", "audio")
        form = (frame.sample_rate, frame.channels)
        if form != (self._track.sample_rate, self._track.channels):
            raise self._refusal(
                f"audio of {form}", f"{(self._track.sample_rate, self._track.channels)}"
            )
        clears, self._waiting = self._clears, frame.duration
        try:
            await self._wait_for_space(frame.duration)
        except asyncio.CancelledError:
            self._given_up += self._waiting
            raise
        finally:
            self._waiting = 0.0
        if self.closed:
            if self._clears == clears:  # it was over before
                self._stopped += frame.duration
            raise self._over()
        if self._clears == clears:
            self._enqueue(frame)

    def mute(self, muted: bool) -> None:
        # What a late loop has still to report was played before this.
        with contextlib.suppress(RoomError):
            self._emit_due()
        super().mute(muted)

    def queued(self) -> float:
        return max(0.0, self._ends - self._outlet.loop.time())

    def clear(self) -> float:
        if self.closed:  # what the end threw away is told once, to whoever asks first
            stopped, self._stopped = self._stopped, 0.0
            return stopped
        self._emit_due()
        # The frame that waits for its place belongs to what is thrown away, or whose wait was
        # cancelled.
        thrown = sum(piece.seconds for piece in self._pieces) + self._waiting + self._given_up
        self._clears += 1
        self._waiting = self._given_up = 0.0
        if self._pieces:
            self._ends = self._pieces[0].starts
            self._pieces.clear()
        self._arm()
        self._wake()
        return thrown

    def stop(self, reason: str, text: str = "") -> None:
        """What is due is sent, the rest thrown away; nothing is played after it."""
        if not self.closed:
            self._stopped = self.clear()
        super().stop(reason, text)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _wait_for_space(self, seconds: float) -> None:
        # A frame longer than the whole queue plays once the queue is empty.
        limit = max(self._limit, seconds)
        while not self.closed and (excess := self.queued() + seconds - limit) > _SAME:
            self._waiter = self._outlet.loop.create_future()
            timer = self._outlet.loop.call_later(excess, self._wake)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _enqueue(self, frame: AudioFrame) -> None:
        now = self._outlet.loop.time()
        starts = max(self._ends, now)
        length = max(1, int(frame.sample_rate * _PIECE_SECONDS))
        for first in range(0, len(frame.samples), length):
            samples = frame.samples[first : first + length]
            pcm = samples.astype("<i2", copy=False).tobytes()
            seconds = len(samples) / frame.sample_rate
            self._pieces.append(_Piece(starts + first / frame.sample_rate, seconds, pcm))
        self._ends = starts + frame.duration
        self._emit_due()
        self._arm()

    def _emit_due(self) -> None:
        now = self._outlet.loop.time()
        while self._pieces and self._pieces[0].starts <= now + _SAME:
            piece = self._pieces.popleft()
            if self._muted:
                continue
            self._speaking = True
            self._outlet.send(
                messages.Audio(
                    track=self._outlet.handle,
                    sample_rate=self._track.sample_rate,
                    channels=self._track.channels,
                    time_ns=round(piece.starts * 1e9),
                    payload=piece.pcm,
                )
            )

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._pieces:
            self._timer = self._outlet.loop.call_at(self._pieces[0].starts, self._on_time)
        elif self._speaking:
            self._timer = self._outlet.loop.call_at(self._ends, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self._emit_due()
        if self._speaking and not self._pieces and self._ends <= self._outlet.loop.time() + _SAME:
            self._speaking = False
            self._outlet.send(messages.AudioPause(track=self._outlet.handle))
        self._arm()


class VideoPlayout(PublishedTrack):
    """A video source: each picture goes out at once, at the pace of the connection."""

    async def play(self, frame: MediaFrame) -> None:
        self._outlet.ordered()
        if not isinstance(frame, VideoFrame):
            raise self._refusal("a frame of another kind", "pictures")
        if self.closed:
            raise self._over()
        if self._muted:
            return
        self._outlet.send(
            messages.Video(
                track=self._outlet.handle,
                width=frame.width,
                height=frame.height,
                rotation=frame.rotation,
                timestamp_us=frame.timestamp_us,
                time_ns=round(self._outlet.loop.time() * 1e9),
                payload=frame.data.tobytes(),
            )
        )
        await self._outlet.drain()


class DataPlayout(PublishedTrack):
    """A data track: each frame goes out at once, at the pace of the connection."""

    async def play(self, frame: MediaFrame) -> None:
        self._outlet.ordered()
        if not isinstance(frame, DataTrackFrame):
            raise self._refusal("a frame of another kind", "frames of data tracks")
        if self.closed:
            raise self._over()
        if self._muted:
            return
        self._outlet.send(
            messages.Reading(
                track=self._outlet.handle,
                timestamp=frame.timestamp,
                time_ns=round(self._outlet.loop.time() * 1e9),
                payload=frame.payload,
            )
        )
        await self._outlet.drain()


_PLAYOUTS: dict[Kind, type[PublishedTrack]] = {
    Kind.AUDIO: AudioPlayout,
    Kind.VIDEO: VideoPlayout,
    Kind.DATA_TRACK: DataPlayout,
}


def playout_of(track: OutgoingTrack, outlet: Outlet) -> PublishedTrack:
    """What plays a track of its kind."""
    return _PLAYOUTS[track.kind](track, outlet)
