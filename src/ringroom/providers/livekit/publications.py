"""What we publish in one room, and what becomes of it there: refused, taken away by the server, or
lost and published again.

Owns our publications, with their sources and playouts. Facts about the SDK (livekit 1.1.21 to
1.2.1) that it rests on: what is asked while the connection is lost is never answered, and may be
done all the same; the server ends a track that we may not have any more and tells nothing of it;
after a loss that costs it the session the SDK publishes all tracks again, and where it fails with
one (the connection is lost again meanwhile), it logs that and forgets the track.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

from livekit import rtc
from livekit.rtc.participant import PublishTrackError, UnpublishTrackError

from ringroom.errors import RoomError
from ringroom.events import EventKind, Kind
from ringroom.options import SessionOptions
from ringroom.providers.livekit.calls import Calls
from ringroom.providers.livekit.line import ANSWERED_WITHIN, Line
from ringroom.providers.livekit.mapping import (
    publish_options,
    refusal,
    scrub,
    scrubbed,
    source_name,
    unanswered,
)
from ringroom.providers.livekit.media import MediaPath
from ringroom.providers.livekit.pictures import VideoPlayout
from ringroom.providers.livekit.playout import Audience, AudioPlayout, queue_size_ms
from ringroom.providers.provider import OutgoingTrack, Playout

__all__ = ["Publications"]

_log = logging.getLogger("ringroom.livekit")


_Source: TypeAlias = rtc.AudioSource | rtc.VideoSource


@dataclass(eq=False, slots=True)
class _Published:
    source: _Source
    publication: rtc.LocalTrackPublication | None
    """None while the SDK has lost it."""
    playout: AudioPlayout | VideoPlayout
    taken: bool = False
    """The server has ended it."""
    look: asyncio.Task[None] | None = None
    """Whether it is lost is being looked at, or it is being published again."""

    def look_no_more(self) -> None:
        if self.look is not None:
            self.look.cancel()


class Publications:
    """The tracks of ours in one room. ``calls`` are the requests of the room's connection."""

    def __init__(
        self, room: rtc.Room, line: Line, calls: Calls, options: SessionOptions, path: MediaPath
    ) -> None:
        self._room = room
        self._line = line
        self._calls = calls
        self._options = options
        self._timeout = max(options.connect_timeout, ANSWERED_WITHIN)
        self._path = path
        self._published: dict[Playout, _Published] = {}

    async def publish(self, track: OutgoingTrack) -> Playout:
        """Raises `RoomError`, for the reason "publish_refused" unless the room is gone."""
        source = _source(track)
        try:
            publication = await self._publish(track, source)
        except (RoomError, ConnectionError):
            await source.aclose()
            raise
        playout = self._playout(track, source, publication)
        _note_published(playout, publication, muted=track.muted)
        self._published[playout] = _Published(source, publication, playout)
        if why := refusal(track, self._room.local_participant.permissions):
            # It was taken away before anybody could be told.
            await playout.close()
            raise _refused(track, why)
        return playout

    def rights_changed(self) -> None:
        """What we may publish."""
        permissions = self._room.local_participant.permissions
        for published in self._published.values():
            why = refusal(published.playout.track, permissions)
            if why and not published.taken:
                published.taken = True
                published.look_no_more()
                published.playout.take_away(f"was ended by the server: {why}")
                # The SDK has it still: after a loss it would publish it again, or be back only once
                # nobody has answered that, 10 s later.
                self._calls.begin(self._take_back(published))

    def reconnected(self) -> None:
        """Look after what the SDK may have lost. Speech waits for that: it would go to nobody."""
        for published in self._published.values():
            published.playout.muting.reconnected()
            if not published.taken:
                looked = asyncio.Event()
                published.playout.hold(looked.wait)
                published.look_no_more()
                published.look = self._calls.begin(self._look_after(published, looked))

    def told_muted(self, publication: rtc.TrackPublication, muted: bool) -> EventKind | None:
        """The SDK tells that one of ours is muted or unmuted; what the server has done of that."""
        for published in self._published.values():
            if published.publication is publication:
                return published.playout.muting.told(muted)
        return None  # it is not published yet, or no more

    async def close(self) -> None:
        """Close all playouts; what they hold is thrown away."""
        await _all(playout.close() for playout in tuple(self._published))

    def _playout(
        self,
        track: OutgoingTrack,
        source: _Source,
        publication: rtc.LocalTrackPublication,
    ) -> AudioPlayout | VideoPlayout:
        if isinstance(source, rtc.VideoSource):
            return VideoPlayout(track, source, self._line, self._ended)
        if track.channels == 2:
            # rust-sdks #1018: it never tells the server that a track is stereo.
            _log.warning("track %r: the SDK sends the mean of both sides", track.name)
        sound = self._path.source(source)
        return AudioPlayout(track, sound, self._line, self._ended, self._audience(publication))

    def _audience(self, publication: rtc.LocalTrackPublication) -> Audience | None:
        return publication.wait_for_subscription if self._room.remote_participants else None

    async def _publish(self, track: OutgoingTrack, source: _Source) -> rtc.LocalTrackPublication:
        """While the connection is lost nobody can refuse a track: it is asked for when it is back,
        and again if it was lost meanwhile."""
        local, line = self._room.local_participant, self._line
        while True:
            await line.up()
            if why := refusal(track, local.permissions):
                raise _refused(track, why)
            losses = line.losses
            # Another each time: the answer for the one before may come yet, and be undone.
            made = _local_track(track.name, source)
            if track.muted:
                made.mute()
            try:
                return await self._calls.run(
                    local.publish_track(made, publish_options(track)),
                    self._timeout,
                    gone=line.gone,
                    undo=self._unpublish,
                )
            except ConnectionError:
                line.check()
                raise
            except (PublishTrackError, TimeoutError) as error:
                lost = line.losses != losses or (
                    unanswered(error) and await line.lost_since(losses)
                )
                line.check()
                if not lost:
                    # The server's own refusal, for want of a right, the SDK does not pass on.
                    why = refusal(track, local.permissions)
                    raise _refused(track, why or _no_answer(error)) from None

    async def _look_after(self, published: _Published, looked: asyncio.Event) -> None:
        playout = published.playout
        try:
            if published.publication is not None:
                if not await self._is_lost(published.publication):
                    return
                _log.warning(
                    "livekit: track %r was lost: it is published again", playout.track.name
                )
                published.publication = None
                playout.muting.lost()
            # Muted: what is said of it meanwhile the SDK would not heed.
            muted = replace(playout.track, muted=True)
            published.publication = again = await self._publish(muted, published.source)
            _note_published(playout, again, muted=True)
            playout.expect(self._audience(again))
        except Exception as error:  # noqa: BLE001  (whatever the SDK raises: nobody is above)
            if not self._line.gone.done():  # else it is the room that is over, which is told
                playout.take_away(
                    f"was lost with the connection, and is not back: {_why(playout.track, error)}"
                )
        finally:
            looked.set()

    async def _is_lost(self, publication: rtc.LocalTrackPublication) -> bool:
        """What the SDK has failed to publish again has no transceiver any more."""
        if publication.track is None:
            return False
        asking = publication.track.get_stats()
        try:
            await self._calls.run(asking, self._timeout, gone=self._line.gone)
        except (ConnectionError, TimeoutError):
            return False
        except Exception as error:  # noqa: BLE001  (the SDK raises nothing more special)
            if "no transceiver" in str(error):
                return True
            _log.warning(
                "livekit: track %r is taken to be there still; its statistics were refused: %s",
                publication.name,
                scrub(f"{type(error).__name__}: {error}"),
            )
        return False

    async def _ended(self, playout: Playout) -> None:
        published = self._published.pop(playout)
        published.look_no_more()
        if not published.taken:  # else it is asked for already
            await self._take_back(published)

    async def _take_back(self, published: _Published) -> None:
        line, losses, publication = self._line, self._line.losses, published.publication
        if line.gone.done() or publication is None:
            return
        request = self._unpublish(publication)
        try:
            await self._calls.run(request, self._options.close_timeout, gone=line.gone)
        except (ConnectionError, RoomError):
            return  # it went with the room
        except (UnpublishTrackError, TimeoutError) as error:
            if line.lost or line.losses != losses:
                return  # it is carried on
            _log.warning("livekit: track %r was not unpublished: %s", publication.name, error)

    async def _unpublish(self, publication: rtc.LocalTrackPublication) -> None:
        """Once the connection is up. What is asked while it is lost, the SDK never answers, and it
        may publish the track again all the same, under the new sid that its publication has then.

        Raises `RoomError` if the connection does not come back, or ends meanwhile.
        """
        await self._line.up()
        try:
            await self._room.local_participant.unpublish_track(publication.sid)
        except UnpublishTrackError:
            self._line.check()
            raise


async def _all(closings: Iterable[Coroutine[object, object, None]]) -> None:
    for result in await asyncio.gather(*closings, return_exceptions=True):
        if isinstance(result, BaseException):
            _log.warning("livekit: a track did not close: %s", result)


def _source(track: OutgoingTrack) -> _Source:
    if track.kind is Kind.AUDIO:
        queue_ms = queue_size_ms(track.options.queue_ms)
        return rtc.AudioSource(track.sample_rate, track.channels, queue_ms)
    screen = source_name(track) == "screen_share"
    return rtc.VideoSource(track.width, track.height, is_screencast=screen)


def _local_track(name: str, source: _Source) -> rtc.LocalTrack:
    if isinstance(source, rtc.VideoSource):
        return rtc.LocalVideoTrack.create_video_track(name, source)
    return rtc.LocalAudioTrack.create_audio_track(name, source)


def _note_published(
    playout: AudioPlayout | VideoPlayout, publication: rtc.LocalTrackPublication, *, muted: bool
) -> None:
    if publication.track is not None:  # as it always is, for the SDK's types alone
        playout.muting.published(publication.track, muted=muted)


def _refused(track: OutgoingTrack, why: str) -> RoomError:
    return RoomError(
        f"livekit: track {track.name!r} was not published: {why}", reason="publish_refused"
    )


def _why(track: OutgoingTrack, error: Exception) -> str:
    """Why it is not published again. What is no refusal is a defect, of which the user is told no
    more than its class: the log has its traceback."""
    if isinstance(error, RoomError):
        return str(error)
    _log.error("livekit: track %r was not published again\n%s", track.name, scrubbed(error))
    return type(error).__name__


def _no_answer(error: PublishTrackError | TimeoutError) -> str:
    return (
        scrub(error.message)
        if isinstance(error, PublishTrackError)
        else "the server did not answer"
    )
