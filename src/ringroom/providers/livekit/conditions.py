"""What is told of a LiveKit room itself, its metadata, and of everybody's connection to it.

Facts about the SDK (livekit 1.1.21 to 1.2.1) that it rests on: what the room is after a
reconnection comes as an update of all of it, of which ``room_metadata_changed`` tells nothing; the
room's sid is awaited there, and may come later than the room is joined; a quality that has not
changed is told again when that of somebody else has.
"""

from __future__ import annotations

from livekit import rtc

from ringroom.events import EventKind, RoomInfo
from ringroom.providers.livekit.mapping import quality_name
from ringroom.providers.livekit.roster import Roster

__all__ = ["Conditions"]


class Conditions:
    """Tells the roster's sink what has changed since it was told last."""

    def __init__(self, room: rtc.Room, roster: Roster) -> None:
        self._room = room
        self._roster = roster
        self._told: RoomInfo | None = None
        self._qualities: dict[str, str] = {}
        """Of the connections of those who are there, and of ours."""
        for event in ("room_metadata_changed", "room_updated"):
            roster.on(event, lambda *_: self.look())
        roster.on("connection_quality_changed", self._on_quality)
        roster.on("participant_disconnected", self._on_left)
        roster.on("reconnecting", self._qualities.clear)

    def joined(self) -> None:
        """We are in the room."""
        # The SDK has a "connected" event that it never emits.
        self._told = _info_of(self._room)
        self._roster.tell(EventKind.CONNECTED, room=self._told)

    def look(self) -> None:
        """Tell the room if it is another than was told."""
        now = _info_of(self._room)
        if self._told is not None and now != self._told:
            self._told = now
            self._roster.tell(EventKind.ROOM_CHANGED, room=now)

    def _on_quality(self, participant: rtc.Participant | None, quality: int) -> None:
        word = quality_name(quality)
        if participant is None or not word:
            return
        if self._qualities.get(participant.identity) != word:
            self._qualities[participant.identity] = word
            who = self._roster.described(participant)
            self._roster.tell(EventKind.CONNECTION_QUALITY, participant=who, quality=word)

    def _on_left(self, participant: rtc.RemoteParticipant) -> None:
        self._qualities.pop(participant.identity, None)


def _info_of(room: rtc.Room) -> RoomInfo:
    return RoomInfo(name=room.name, sid=_known_sid(room), metadata=room.metadata)


def _known_sid(room: rtc.Room) -> str:
    """Empty while it has not come: it is not waited for."""
    asking = room.sid
    try:
        asking.send(None)
    except StopIteration as known:
        return str(known.value)
    except RuntimeError:  # the room is over
        return ""
    asking.close()
    return ""
