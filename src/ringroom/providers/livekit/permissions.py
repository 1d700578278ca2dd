"""Who may subscribe to our tracks in one LiveKit room, as its server is told.

Facts about the SDK and the server (livekit 1.1.21 to 1.2.1, server 1.13) that it rests on: what is
said of an identity holds for tracks that are published later, and the SDK says it again after each
loss; single tracks are named by their sid, which is another after a loss that costs us the session.
There is no saying that everybody may have a track while some may not have all, so those who are
there are named, one by one. Who is not named may have nothing, and what is said too late keeps a
track from somebody for a moment: it never gives one away. Data tracks cannot be named: at their
sids the SDK's native part panics, which ends the process.
"""

from __future__ import annotations

from livekit import rtc

from ringroom.providers.livekit.roster import Roster
from ringroom.subscribers import Subscribers

__all__ = ["Permissions"]

# By which people come, and our tracks get sids.
_EVENTS = ("participant_connected", "local_track_published", "local_track_republished")


class Permissions:
    """Renewed whenever somebody or something comes that is to be named."""

    def __init__(self, room: rtc.Room, roster: Roster) -> None:
        self._room = room
        self._allowed = Subscribers()
        for event in _EVENTS:
            roster.on(event, lambda *_: self.look())

    def set(self, allowed: Subscribers) -> None:
        """From now on these may subscribe."""
        self._allowed = allowed
        self._say()

    def look(self) -> None:
        """A track of ours, or somebody in the room, is new."""
        if self._allowed.tracks:
            self._say()

    def reconnected(self) -> None:
        """The connection is back: what was said during the loss may not have been heard."""
        if self._allowed != Subscribers():
            self._say()

    def _say(self) -> None:
        allowed, local = self._allowed, self._room.local_participant
        everybody = allowed == Subscribers()
        there = self._room.remote_participants.keys() if allowed.tracks else ()
        named = [self._of(who) for who in sorted(allowed.named.union(there))]
        local.set_track_subscription_permissions(
            allow_all_participants=everybody, participant_permissions=named
        )

    def _of(self, who: str) -> rtc.ParticipantTrackPermission:
        allowed = self._allowed
        # By a name that no track of ours has: those that are still to come, as a rule.
        everything = allowed.allows(who, "") and all(
            allowed.allows(who, track) for track in allowed.tracks
        )
        if everything:
            return rtc.ParticipantTrackPermission(participant_identity=who, allow_all=True)
        tracks = self._room.local_participant.track_publications.values()
        sids = [track.sid for track in tracks if allowed.allows(who, track.name)]
        return rtc.ParticipantTrackPermission(participant_identity=who, allowed_track_sids=sids)
