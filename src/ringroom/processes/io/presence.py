"""Who is in the room and what they publish, and which of our tracks are muted, for the events that
tell of the room's loss. Free of I/O.

Only what such an event says is kept: no metadata. Remote participants can grow it, so it has a
limit; a participant that came when it was full leaves without a farewell.
"""

from __future__ import annotations

from ringroom.frames import Event, EventKind, Participant, TrackInfo
from ringroom.processes.io.admission import bare

__all__ = ["MAX_NOTED", "Presence"]

MAX_NOTED = 10_000


class Presence:
    """What is there, as the provider has told it."""

    def __init__(self) -> None:
        self._people: dict[str, Participant] = {}
        self._tracks: dict[str, TrackInfo] = {}
        self._muted: dict[str, TrackInfo] = {}
        """Our tracks that the server has muted."""

    def note(self, event: Event) -> None:
        """Something that happened in the room."""
        who, track = event.participant, event.track
        match event.kind:
            case EventKind.PARTICIPANT_JOINED if who and len(self._people) < MAX_NOTED:
                self._people[who.identity] = bare(who)
            case EventKind.PARTICIPANT_CHANGED if who and who.identity in self._people:
                self._people[who.identity] = bare(who)
            case EventKind.PARTICIPANT_LEFT if who:
                self._people.pop(who.identity, None)
                self._forget_tracks(who.identity)
            case EventKind.TRACK_PUBLISHED if track and len(self._tracks) < MAX_NOTED:
                self._tracks[track.sid] = track
            case EventKind.TRACK_UNPUBLISHED if track:
                self._tracks.pop(track.sid, None)
            case EventKind.PUBLISH_MUTED if track:
                self._muted[track.name] = track
            case EventKind.PUBLISH_UNMUTED if track:
                self._muted.pop(track.name, None)

    def unpublished(self, name: str) -> None:
        """A track of ours: its name is free."""
        self._muted.pop(name, None)

    def _forget_tracks(self, identity: str) -> None:
        for track in [one for one in self._tracks.values() if one.participant == identity]:
            del self._tracks[track.sid]

    def farewell(self, reason: str, now_ns: int) -> list[Event]:
        """What is to be told when the room is lost: all tracks are unpublished, all participants
        have left. Our tracks are published anew in the next room, which has not muted them."""
        people, tracks, muted = self._people, self._tracks, self._muted
        self._people, self._tracks, self._muted = {}, {}, {}
        gone = [
            Event(
                kind=EventKind.TRACK_UNPUBLISHED,
                participant=people.get(track.participant),
                track=track,
                reason=reason,
                received_ns=now_ns,
            )
            for track in tracks.values()
        ]
        left = [
            Event(
                kind=EventKind.PARTICIPANT_LEFT, participant=who, reason=reason, received_ns=now_ns
            )
            for who in people.values()
        ]
        back = [
            Event(kind=EventKind.PUBLISH_UNMUTED, track=track, reason=reason, received_ns=now_ns)
            for track in muted.values()
        ]
        return gone + left + back
