"""What one application was told of a fake room, of the others in it, and of their tracks.

There is one way to tell it: what it was told is compared with what is so, and the difference is
sent. That serves the first announcement, every change, and the return of a connection that was
lost. All of it runs under `Wire.changed`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from ringroom.events import EventKind, Participant
from ringroom.providers.fake import messages
from ringroom.testing.layers import layer
from ringroom.testing.state import Media, Member, Publication, RoomState
from ringroom.testing.wire import Line

__all__ = ["Announcements"]


@dataclass
class _Announced:
    sid: str
    muted: bool
    withheld: bool
    quality: str = "high"
    wanted: bool | None = None
    """None until the application has answered; media flows meanwhile, so that none is lost."""


class Announcements:
    """To the application that has just joined as ``member``."""

    def __init__(self, state: RoomState, member: Member, line: Line) -> None:
        self._state = state
        self._member = member
        self._line = line
        self._since = state.time()
        self._room = state.info
        self._people: dict[Member, Participant] = {}
        self._tracks: dict[Publication, _Announced] = {}
        self._told_before: set[Publication] = set()
        self._qualities: dict[Member, str] = {}

    def subscription(self, message: messages.Subscription) -> None:
        """Whether the application wants a track."""
        for publication, announced in self._tracks.items():
            if announced.sid == message.track:
                announced.wanted, announced.quality = message.wanted, message.quality
                self._note_subscription(publication, announced)
        self.tell_qualities()

    def _note_subscription(self, publication: Publication, announced: _Announced) -> None:
        if announced.wanted and not announced.withheld:
            publication.subscribers.add(self._member.identity)
        else:
            publication.subscribers.discard(self._member.identity)

    def pass_media(self, publication: Publication, message: Media) -> None:
        """Unless the application does not want the track, or does not get it."""
        announced = self._tracks.get(publication)
        if announced is None or announced.wanted is False or announced.withheld:
            return
        if publication.layered and isinstance(message, messages.Video):
            message = layer(message, announced.quality)
        self._line.send(message.replace(track=announced.sid))

    def end(self) -> None:
        """The application is gone."""
        for publication in self._tracks:
            publication.subscribers.discard(self._member.identity)

    def end_tracks(self, reason: str) -> None:
        """Tell that all are over; those that are not will be told under new sids."""
        for publication, announced in self._tracks.items():
            self._tell_end(publication, announced.sid, reason)
        self._tracks.clear()

    def tell_departures(self) -> None:
        for publication, announced in list(self._tracks.items()):
            if publication.ended:
                del self._tracks[publication]
                self._tell_end(publication, announced.sid, publication.reason)
        for member, participant in list(self._people.items()):
            if member.gone:
                del self._people[member]
                self._qualities.pop(member, None)
                self._happened(EventKind.PARTICIPANT_LEFT, participant, member.reason)

    def _tell_end(self, publication: Publication, sid: str, reason: str) -> None:
        publication.subscribers.discard(self._member.identity)
        if publication.ended:
            self._told_before.discard(publication)
        self._line.send(messages.TrackUnpublished(track=sid, reason=reason))

    def tell_room(self) -> None:
        """What has changed of it."""
        if self._room != self._state.info:
            self._room = self._state.info
            self._line.send(messages.RoomChanged(room=self._room))

    def tell_people(self) -> None:
        """Those who came, and what has changed of the others."""
        for member in self._state.members.values():
            known = self._people.get(member)
            if member is self._member or known == member.participant:
                continue
            self._people[member] = member.participant
            self._happened(
                EventKind.PARTICIPANT_JOINED if known is None else EventKind.PARTICIPANT_CHANGED,
                member.participant,
            )

    def tell_tracks(self) -> None:
        """Those of the people that were told, and what has changed of them."""
        for member in self._people:
            for publication in member.publications:
                announced = self._tracks.get(publication)
                if announced is not None:
                    self._tell_change(publication, announced)
                elif not self._is_too_early(publication):
                    self._tell_track(publication, member.participant)

    def tell_qualities(self) -> None:
        """Of the application's own connection, and of those whose tracks it receives, as a LiveKit
        server does."""
        for member in (self._member, *self._people):
            known = self._qualities.get(member, "")
            if member.quality != known and (member is self._member or self._receives(member)):
                self._qualities[member] = member.quality
                who = member.participant
                self._line.send(messages.QualityTold(participant=who, quality=member.quality))

    def _receives(self, member: Member) -> bool:
        told = (self._tracks.get(publication) for publication in member.publications)
        return any(one is not None and one.wanted and not one.withheld for one in told)

    def _tell_change(self, publication: Publication, announced: _Announced) -> None:
        if announced.withheld != self._is_withheld(publication):
            announced.withheld = not announced.withheld
            self._note_subscription(publication, announced)
            self._line.send(
                messages.TrackWithheld(track=announced.sid, withheld=announced.withheld)
            )
        if announced.muted != publication.muted:
            announced.muted = publication.muted
            self._line.send(messages.TrackMuted(track=announced.sid, muted=publication.muted))

    def _is_withheld(self, publication: Publication) -> bool:
        who, track = self._state.withholding, publication.info
        if None in who or track.participant in who:
            return True
        publisher = self._state.applications.get(track.participant)
        us = self._member.identity
        return publisher is not None and not publisher.subscribers.allows(us, track.name)

    def _is_too_early(self, publication: Publication) -> bool:
        """While subscribing takes its time; the room lets everybody catch up when it is over."""
        seconds = self._state.subscribing.value
        return self._state.time() < max(publication.since, self._since) + seconds

    def _tell_track(self, publication: Publication, participant: Participant) -> None:
        track = publication.info
        if publication in self._told_before:
            track = dataclasses.replace(track, sid=self._state.new_sid("TR"))
        self._told_before.add(publication)
        withheld = self._is_withheld(publication)
        self._tracks[publication] = _Announced(track.sid, publication.muted, withheld)
        self._line.send(
            messages.TrackPublished(
                track=track, participant=participant, muted=publication.muted, withheld=withheld
            )
        )

    def _happened(self, kind: EventKind, participant: Participant, reason: str = "") -> None:
        self._line.send(messages.Happened(kind=kind, participant=participant, reason=reason))
