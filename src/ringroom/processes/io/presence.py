"""The room, who is in it and what they publish, and which of our tracks are muted: for the events
that tell of the room's loss, and for a worker that takes a place later. Free of I/O.

Remote participants can grow it, so it has limits. Beyond `MAX_TEXT` people are remembered without
metadata and attributes; beyond `MAX_NOTED` not at all, and then they leave without a farewell.
"""

from __future__ import annotations

from ringroom.events import Event, EventKind, Participant, RoomInfo, TrackInfo
from ringroom.processes.io.admission import bare, text_length

__all__ = ["MAX_NOTED", "MAX_TEXT", "Presence"]

MAX_NOTED = 10_000
# The length of all metadata and attributes together.
MAX_TEXT = 16 << 20


class Presence:
    """What is there, as the provider has told it in events whose texts are bounded."""

    def __init__(self) -> None:
        self.room: RoomInfo | None = None
        """As it was told last, also in a stay before this one."""
        self._people: dict[str, Participant] = {}
        self._text = 0
        """The length of what they tell of themselves."""
        self._tracks: dict[str, TrackInfo] = {}
        self._muted: dict[str, TrackInfo] = {}
        """Our tracks that the server has muted."""

    def note(self, event: Event) -> None:
        """Something that happened in the room."""
        who, track = event.participant, event.track
        self.room = event.room or self.room
        match event.kind:
            case EventKind.PARTICIPANT_JOINED | EventKind.PARTICIPANT_CHANGED if who:
                self._remember(who)
            case EventKind.PARTICIPANT_LEFT if who:
                self._forget(who.identity)
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

    @property
    def people(self) -> tuple[Participant, ...]:
        """Everybody who is there, as they are now."""
        return tuple(self._people.values())

    def _remember(self, who: Participant) -> None:
        before = self._people.get(who.identity)
        if before is not None:
            self._text -= text_length(before)
        elif len(self._people) >= MAX_NOTED:
            return
        if self._text + text_length(who) > MAX_TEXT:
            who = bare(who)
        self._text += text_length(who)
        self._people[who.identity] = who

    def _forget(self, identity: str) -> None:
        before = self._people.pop(identity, None)
        if before is not None:
            self._text -= text_length(before)
        for track in [one for one in self._tracks.values() if one.participant == identity]:
            del self._tracks[track.sid]

    def farewell(self, reason: str, now_ns: int) -> list[Event]:
        """What is to be told when the room is lost: all tracks are unpublished, all participants
        have left (without metadata). Our tracks are published anew in the next room, which has not
        muted them."""
        people = {who.identity: bare(who) for who in self.people}
        tracks, muted = self._tracks, self._muted
        self._people, self._text, self._tracks, self._muted = {}, 0, {}, {}
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
