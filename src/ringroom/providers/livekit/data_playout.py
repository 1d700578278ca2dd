"""The way out of data tracks: published tracks of ours, from frames to the SDK's.

Facts about the SDK (livekit 1.1.21 to 1.2.1) that this rests on: it queues 16 frames of a track,
and refuses more, as it does while it publishes the track again after a reconnection; where that
fails, it refuses for good, and does not tell. What it has queued as a track ends is lost. The
server is told of that end after the call, and the next track of that name may be asked for first.
It drops frames itself where the connection is behind, and does not tell: data tracks are lossy.
"""

from __future__ import annotations

import asyncio
import contextlib

from livekit import rtc
from livekit.rtc.participant import PublishDataTrackError

from ringroom.errors import ClosedError, FrameError, RoomError
from ringroom.frames import DataTrackFrame, MediaFrame
from ringroom.options import SessionOptions
from ringroom.providers.livekit.calls import Calls
from ringroom.providers.livekit.line import ANSWERED_WITHIN, Line
from ringroom.providers.livekit.mapping import data_refusal, scrub, unanswered
from ringroom.providers.livekit.playout import taken_away
from ringroom.providers.provider import OutgoingTrack, Playout

__all__ = ["DataPlayout", "DataPublications"]

# Between two tries of a frame that the SDK has no room for: it empties its queue in less.
FULL_SECONDS = 0.002
# For so long no frame was taken, while the connection is up: the SDK has lost the track.
LOST_SECONDS = 5.0
# What the SDK has queued is out by then.
LAST_SECONDS = 0.05
# A name that was ours is free by then; until then it is asked for again.
FREE_SECONDS, ASKED_SECONDS = 2.0, 0.02


class DataPublications:
    """The data tracks of ours in one room. ``calls`` are the requests of the room's connection."""

    def __init__(self, room: rtc.Room, line: Line, calls: Calls, options: SessionOptions) -> None:
        self._room = room
        self._line = line
        self._calls = calls
        self._timeout = max(options.connect_timeout, ANSWERED_WITHIN)
        self._close_timeout = options.close_timeout
        self._loop = asyncio.get_running_loop()
        self._playouts: set[DataPlayout] = set()
        self._ended: dict[str, float] = {}
        """The names of tracks that have ended, and when."""

    async def publish(self, track: OutgoingTrack) -> DataPlayout:
        """Raises `RoomError`, for the reason "publish_refused" unless the room is gone."""
        playout = DataPlayout(track, await self.ask(track), self._line, self._calls, self)
        self._playouts.add(playout)
        return playout

    async def end(self, name: str, local: rtc.LocalDataTrack) -> None:
        """Have the SDK unpublish it, once the connection is up."""
        with contextlib.suppress(RoomError, TimeoutError):
            async with asyncio.timeout(self._close_timeout):
                await self._line.up()
        self._ended[name] = self._loop.time()
        await local.unpublish()

    def closed(self, playout: DataPlayout) -> None:
        self._playouts.discard(playout)

    async def ask(self, track: OutgoingTrack) -> rtc.LocalDataTrack:
        """While the connection is lost nobody can refuse a track: it is asked for when it is back,
        and again if it was lost meanwhile."""
        us, line = self._room.local_participant, self._line
        while True:
            await line.up()
            if why := data_refusal(us.permissions):
                raise _refused(track, why)
            losses = line.losses
            try:
                return await self._calls.run(
                    us.publish_data_track(name=track.name),
                    self._timeout,
                    gone=line.gone,
                    undo=lambda local: local.unpublish(),
                )
            except ConnectionError:
                line.check()
                raise
            except (PublishDataTrackError, TimeoutError) as error:
                lost = line.losses != losses or (
                    unanswered(error) and await line.lost_since(losses)
                )
                line.check()
                if not lost and self._is_being_freed(track.name):
                    await asyncio.sleep(ASKED_SECONDS)
                elif not lost:
                    raise _refused(track, _no_answer(error)) from None

    def _is_being_freed(self, name: str) -> bool:
        now = self._loop.time()
        self._ended = {one: at for one, at in self._ended.items() if now < at + FREE_SECONDS}
        return name in self._ended

    def rights_changed(self) -> None:
        """What we may publish."""
        if why := data_refusal(self._room.local_participant.permissions):
            for playout in tuple(self._playouts):
                playout.take_away(f"was ended by the server: {why}")

    async def close(self) -> None:
        """Close all playouts."""
        await asyncio.gather(*(playout.close() for playout in tuple(self._playouts)))


class DataPlayout(Playout):
    """A published data track. A frame waits while the SDK has no room for it, or no connection."""

    def __init__(
        self,
        track: OutgoingTrack,
        local: rtc.LocalDataTrack,
        line: Line,
        calls: Calls,
        home: DataPublications,
    ) -> None:
        self.track = track
        self._local = local
        self._line = line
        self._calls = calls
        self._home = home
        self._loop = asyncio.get_running_loop()
        self._muted = track.muted
        self._taken = ""
        self._closed = False
        self._renewal: asyncio.Task[None] | None = None
        self._pushed = self._loop.time()
        """When the last frame was."""
        self._refused_since: float | None = None
        """Since when no frame was taken, while the connection is up."""

    async def play(self, frame: MediaFrame) -> None:
        if not isinstance(frame, DataTrackFrame):
            raise FrameError(f"livekit: a frame of another kind for data track {self.track.name!r}")
        reading = rtc.DataTrackFrame(frame.payload, frame.timestamp)
        while not self._is_pushed(reading):
            await self._wait()

    def _is_pushed(self, reading: rtc.DataTrackFrame) -> bool:
        if self._closed:
            raise ClosedError(f"livekit: track {self.track.name!r} is closed")
        if self._taken:
            raise taken_away(self.track, self._taken)
        self._line.check()
        if self._muted:
            return True
        if self._line.lost or self._renewal is not None:
            return False
        try:
            self._local.try_push(reading)
        except rtc.PushFrameError:
            return False
        self._pushed, self._refused_since = self._loop.time(), None
        return True

    async def _wait(self) -> None:
        """Until it is worth another try."""
        if self._renewal is not None:
            await asyncio.wait({self._renewal})
        elif self._line.lost:
            self._refused_since = None
            await self._line.up()
        elif self._is_lost():
            self._renewal = self._calls.begin(self._renew())
        else:
            await asyncio.sleep(FULL_SECONDS)

    def _is_lost(self) -> bool:
        """Whether the SDK takes nothing any more."""
        now = self._loop.time()
        if self._refused_since is None:
            self._refused_since = now
        return now >= self._refused_since + LOST_SECONDS or not self._local.is_published()

    async def _renew(self) -> None:
        try:
            await self._home.end(self.track.name, self._local)
            self._local = await self._home.ask(self.track)
        except RoomError as error:
            self.take_away(f"was lost with the connection, and is not back: {error}")
        finally:
            self._refused_since, self._renewal = None, None

    def take_away(self, how: str) -> None:
        """The track is gone: who sends on it is told."""
        if not (self._taken or self._closed or self._line.gone.done()):
            self._taken = how
            self.ended(taken_away(self.track, how))

    def mute(self, muted: bool) -> None:
        """LiveKit has no word for it: nothing is sent meanwhile, and nobody is told."""
        self._muted = muted

    def queued(self) -> float:
        return 0.0

    def clear(self) -> float:
        return 0.0

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._home.closed(self)
        try:
            if (left := self._pushed + LAST_SECONDS - self._loop.time()) > 0:
                await asyncio.wait({self._line.gone}, timeout=left)
        finally:
            if self._renewal is not None:
                self._renewal.cancel()
            await self._home.end(self.track.name, self._local)


def _no_answer(error: PublishDataTrackError | TimeoutError) -> str:
    if isinstance(error, PublishDataTrackError):
        return scrub(error.message)
    return "the server did not answer"


def _refused(track: OutgoingTrack, why: str) -> RoomError:
    return RoomError(
        f"livekit: data track {track.name!r} was not published: {why}", reason="publish_refused"
    )
