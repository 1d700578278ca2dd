"""The data tracks of others in one room: told, subscribed and read.

Facts about the SDK (livekit 1.1.21 to 1.2.1) that this rests on: it tells of each data track once,
also where its publisher has joined anew since and it has another sid; who is told to have left in a
reconnection has its data tracks still, and what was subscribed then goes on by itself once its
stream was not closed. A subscription is answered by the first frame, or refused after 10 s. Of each
stream the SDK keeps the newest frames that were not read, as many as it was asked to, and drops
older ones without a word; a frame is asked for one at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from livekit import rtc

from ringroom.events import EventKind, Kind, Participant, TrackInfo
from ringroom.notices import Notices
from ringroom.options import SessionOptions
from ringroom.providers.livekit.ingest import Ingest
from ringroom.providers.livekit.mapping import scrub, subscription_refusal
from ringroom.providers.livekit.media import MediaPath
from ringroom.providers.provider import Sink

__all__ = ["DataTracks"]

_log = logging.getLogger("ringroom.livekit")

# What others can have us remember: twice as many as are received of all tracks.
MAX_KNOWN = 2_000
# A look at all of them, which asks the native library about each.
LOOK_SECONDS = 1.0
# A subscription that follows the end of another at once may end with it.
AGAIN_SECONDS = 0.5


class People(Protocol):
    """Who is in the room, and what is told of them: a `Roster`."""

    def tell(self, kind: EventKind, **fields: Any) -> None: ...
    def known(self, identity: str) -> Participant | None: ...
    def end(self, ingest: Ingest | None, reason: str) -> None: ...


@dataclass(slots=True, eq=False)
class _Known:
    """A data track that is published. ``remote`` is the SDK's, which ends with its last owner."""

    remote: rtc.RemoteDataTrack
    track: TrackInfo
    told: bool = False
    denied: bool = False
    ingest: Ingest | None = None


class DataTracks:
    """``open_path`` is how what they bring passes the SDK."""

    def __init__(
        self, room: rtc.Room, sink: Sink, options: SessionOptions, path: MediaPath, people: People
    ) -> None:
        self._room = room
        self._sink = sink
        self._options = options
        self._path = path
        self._people = people
        self._notices = Notices(_log)
        self._known: dict[str, _Known] = {}
        """By the sid that they were told with."""
        self._of_whom: dict[str, dict[str, _Known]] = {}
        """The same by their publisher's identity."""
        self._looking: asyncio.TimerHandle | None = None
        self._ending = False

    def published(self, remote: rtc.RemoteDataTrack) -> None:
        """The SDK tells of a data track."""
        info = remote.info
        if (before := self._known.get(info.sid)) is not None:
            self._forget(before)
            self._end(before, "published again")
        if len(self._known) >= MAX_KNOWN:
            self._notices.tell("data tracks", f"{MAX_KNOWN} data tracks are known, no more are")
            return
        who = remote.publisher_identity
        track = TrackInfo(sid=info.sid, name=info.name, kind=Kind.DATA_TRACK, participant=who)
        known = self._known[track.sid] = _Known(remote, track)
        self._of_whom.setdefault(who, {})[track.sid] = known
        self._take_up(known)

    def unpublished(self, sid: str) -> None:
        """The SDK tells that one is no more: by its sid of now, which may be another."""
        if sid in self._known:
            self._gone(self._known[sid])
        elif self._looking is None and self._known:
            loop = asyncio.get_running_loop()
            self._looking = loop.call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._looking = None
        for known in tuple(self._known.values()):
            if not known.remote.is_published():
                self._gone(known)

    def joined(self, identity: str) -> None:
        """Somebody is in the room, and was told."""
        for known in self._of(identity):
            self._take_up(known)

    def left(self, identity: str) -> None:
        """Somebody is told to have left: what they publish ends, and comes again with them."""
        for known in self._of(identity):
            self._end(known, "the participant left")
            known.told = known.denied = False
            if not known.remote.is_published():
                self._forget(known)

    def rights_changed(self) -> None:
        """What we may receive."""
        refused = subscription_refusal(self._room.local_participant.permissions)
        for known in tuple(self._known.values()):
            if refused:
                self._end(known, refused)
            else:
                known.denied = False
                self._take_up(known)

    def end(self, reason: str) -> None:
        """All end; no other is begun any more."""
        self._ending = True
        for known in tuple(self._known.values()):
            self._end(known, reason)
        self._known.clear()
        self._of_whom.clear()
        if self._looking is not None:
            self._looking.cancel()

    def _of(self, identity: str) -> list[_Known]:
        return list(self._of_whom.get(identity, {}).values())

    def _forget(self, known: _Known) -> None:
        del self._known[known.track.sid]
        theirs = self._of_whom[known.track.participant]
        del theirs[known.track.sid]
        if not theirs:
            del self._of_whom[known.track.participant]

    def _take_up(self, known: _Known) -> None:
        publisher = self._people.known(known.track.participant)
        if publisher is None or self._ending:
            return
        if not known.told:
            known.told = True
            self._people.tell(EventKind.TRACK_PUBLISHED, participant=publisher, track=known.track)
        if known.ingest is not None or not self._sink.wants(known.track, publisher):
            return
        refused = subscription_refusal(self._room.local_participant.permissions)
        if not refused:
            self._read(known, publisher)
        elif not known.denied:
            known.denied = True
            self._failed(known.track, publisher, refused)

    def _read(self, known: _Known, publisher: Participant) -> None:
        ingest = Ingest(self._sink, known.track, publisher, self._path)
        reading = ingest.start(known.remote, self._options)
        known.ingest = ingest
        reading.add_done_callback(self._done(known, ingest))

    def _done(self, known: _Known, ingest: Ingest) -> Callable[[asyncio.Task[None]], None]:
        def done(reading: asyncio.Task[None]) -> None:
            ended_by_itself = known.ingest is ingest
            if ended_by_itself:
                known.ingest = None
            error = None if reading.cancelled() else reading.exception()
            if isinstance(error, rtc.SubscribeDataTrackError):
                why = f"the subscription was not answered: {scrub(error.message)}"
                self._failed(known.track, ingest.participant, why)
            elif error is not None:
                _log.error("livekit: track %s failed", known.track.sid, exc_info=error)
                self._tell_failed(known.track, ingest.participant, type(error).__name__)
            elif ended_by_itself and known.remote.is_published():
                asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._again, known)

        return done

    def _again(self, known: _Known) -> None:
        if self._known.get(known.track.sid) is known:
            self._take_up(known)

    def _failed(self, track: TrackInfo, publisher: Participant, why: str) -> None:
        self._notices.tell("refused", f"livekit: track {track.name!r} is not received: {why}")
        self._tell_failed(track, publisher, why)

    def _tell_failed(self, track: TrackInfo, publisher: Participant, why: str) -> None:
        if not self._ending:
            self._people.tell(
                EventKind.TRACK_FAILED, participant=publisher, track=track, reason=why
            )

    def _end(self, known: _Known, reason: str) -> None:
        ingest, known.ingest = known.ingest, None
        self._people.end(ingest, reason)

    def _gone(self, known: _Known) -> None:
        self._forget(known)
        self._end(known, "unpublished")
        publisher = self._people.known(known.track.participant)
        if known.told and publisher is not None:
            self._people.tell(EventKind.TRACK_UNPUBLISHED, participant=publisher, track=known.track)
