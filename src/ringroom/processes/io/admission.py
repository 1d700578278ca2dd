"""What remote participants may make us hold. Free of I/O.

Whatever a participant can grow has a limit here: its tracks and all tracks, and the texts that
travel with it. What is beyond a limit is not taken (a track) or left out (a text); a room of
honest people on a LiveKit server with its own limits meets none of these.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from ringroom.checks import MAX_IDENTITY_BYTES
from ringroom.events import Event, Participant, RoomInfo, TrackInfo

__all__ = [
    "MAX_TRACKS",
    "MAX_TRACKS_OF_ONE",
    "Admission",
    "bare",
    "bounded",
    "bounded_event",
    "bounded_track",
    "text_length",
]

MAX_TRACKS = 1_000
MAX_TRACKS_OF_ONE = 64
# The length of metadata, and of all attributes together; livekit-server's own limit is 64,000 each.
MAX_METADATA = 65_536
MAX_TEXT = 1_024


class Admission:
    """The tracks that are subscribed. A track is admitted when it is wanted and forgotten when it
    has ended, was unpublished, or its participant left, whichever is told first."""

    def __init__(self) -> None:
        self._owner_of: dict[str, str] = {}
        self._count: Counter[str] = Counter()

    def refusal(self, track: TrackInfo) -> str:
        """Why the track is not taken; empty when it is, from now on. Idempotent."""
        if track.sid in self._owner_of:
            return ""
        who = track.participant
        if max(map(_size, (who, track.sid))) > MAX_IDENTITY_BYTES:
            return "an identity or a track's sid is longer than any server gives"
        if self._count[who] >= MAX_TRACKS_OF_ONE:
            return f"{who!r} has {MAX_TRACKS_OF_ONE} tracks already, more are not received"
        if len(self._owner_of) >= MAX_TRACKS:
            return f"{MAX_TRACKS} tracks are received already, more are not"
        self._owner_of[track.sid] = who
        self._count[who] += 1
        return ""

    def forget(self, sid: str) -> None:
        """The track is over."""
        who = self._owner_of.pop(sid, None)
        if who is not None:
            self._count[who] -= 1
            if not self._count[who]:
                del self._count[who]

    def forget_participant(self, identity: str) -> None:
        """All tracks of the participant are over."""
        if self._count[identity]:
            for sid in [s for s, who in self._owner_of.items() if who == identity]:
                self.forget(sid)
        self._count.pop(identity, None)


def text_length(who: Participant) -> int:
    """How long metadata and attributes are."""
    return len(who.metadata) + sum(len(key) + len(value) for key, value in who.attributes.items())


def bare(participant: Participant) -> Participant:
    """The participant without metadata and attributes."""
    return replace(participant, metadata="", attributes={})


def bounded(participant: Participant) -> Participant:
    """The participant with what is too long left out."""
    changes: dict[str, Any] = {
        name: _cut(text)
        for name in ("identity", "sid", "name", "kind")
        if len(text := getattr(participant, name)) * 4 > MAX_TEXT
    }
    if len(participant.metadata) > MAX_METADATA:
        changes["metadata"] = ""
    if text_length(participant) - len(participant.metadata) > MAX_METADATA:
        changes["attributes"] = {}
    return replace(participant, **changes) if changes else participant


def bounded_track(track: TrackInfo) -> TrackInfo:
    """The track with its texts cut."""
    changes: dict[str, Any] = {
        name: _cut(text)
        for name in ("sid", "name", "participant", "source")
        if len(text := getattr(track, name)) * 4 > MAX_TEXT
    }
    return replace(track, **changes) if changes else track


def _bounded_room(room: RoomInfo) -> RoomInfo:
    metadata = "" if len(room.metadata) > MAX_METADATA else room.metadata
    return RoomInfo(name=_cut(room.name), sid=_cut(room.sid), metadata=metadata)


def bounded_event(event: Event) -> Event:
    """The event with all its texts bounded."""
    participant = None if event.participant is None else bounded(event.participant)
    track = None if event.track is None else bounded_track(event.track)
    room = None if event.room is None else _bounded_room(event.room)
    reason, quality = event.reason[:MAX_TEXT], event.quality[:MAX_TEXT]
    before = (event.participant, event.track, event.room, event.reason, event.quality)
    if (participant, track, room, reason, quality) == before:
        return event
    return replace(
        event, participant=participant, track=track, room=room, reason=reason, quality=quality
    )


def _size(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))


def _cut(text: str) -> str:
    return text.encode(errors="replace")[:MAX_TEXT].decode(errors="ignore")
