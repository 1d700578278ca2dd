"""One application's connection to a fake room, seen from the room.

There is one way to tell an application about the room: `catch_up` compares what it was told with
what is so, and sends the difference. It serves the first announcement, every change, and the
return of a connection that was lost.

All of it runs under `Wire.changed`.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from ringroom.checks import MAX_IDENTITY_BYTES
from ringroom.errors import WireError
from ringroom.frames import DataFrame, EventKind, Participant, TrackInfo
from ringroom.providers.fake import messages
from ringroom.providers.fake.envelopes import opened, sealed
from ringroom.testing.application import PictureLog, SoundLog
from ringroom.testing.state import (
    Media,
    Member,
    Publication,
    Refusal,
    RoomState,
    check_reason,
)
from ringroom.testing.wire import Line

__all__ = ["Connection", "connections"]


# What an application is told at its end, in the words of the provider ``livekit``; for others it is
# the server's own word.
_ENDS = {
    "participant removed": "removed from the room",
    "duplicate identity": "another participant joined with the same identity",
}

_MAY_NOT_PUBLISH = "publishing this track is not allowed (canPublish)"
_MAY_NOT_SEND = "sending data is not allowed (canPublishData)"
_MAY_NOT_DESCRIBE = "changing our own profile is not allowed (canUpdateOwnMetadata)"


@dataclass
class _Announced:
    sid: str
    muted: bool
    withheld: bool
    wanted: bool | None = None
    """None until the application has answered; media flows meanwhile, so that none is lost."""


class Connection:
    """A `LineReader` and an `Audience`."""

    def __init__(self, state: RoomState) -> None:
        self._state = state
        self._line: Line
        self._member: Member | None = None
        self._allowed: messages.Join
        self._people: dict[Member, Participant] = {}
        self._tracks: dict[Publication, _Announced] = {}
        self._told_before: set[Publication] = set()
        self._own: dict[str, Publication] = {}
        self._taken: list[str] = []
        self._held: deque[messages.Message] = deque()
        self._waiting = False
        self._known_orders: set[int] = set()
        self._since = 0.0
        self.lost = False
        self.losses = 0
        """How often the connection was lost."""

    @property
    def identity(self) -> str:
        return self._member.identity if self._member is not None else ""

    # What comes over the line.

    def received(self, line: Line, message: messages.Message) -> None:
        self._line = line
        if self._member is None:
            self._arrive(message)
        elif not self.lost or isinstance(message, messages.Leave | messages.Done):
            self._handle(message)
        elif not isinstance(message, Media):
            self._held.append(message)

    def hung_up(self, line: Line) -> None:
        if self._member is not None:
            self._state.put_out(self._member, "connection timeout")

    def _handle(self, message: messages.Message) -> None:
        handler = self._HANDLERS.get(type(message))
        if handler is None:
            raise WireError(f"the application sent {type(message).__name__}, which is ours to send")
        handler(self, message)

    def _arrive(self, message: messages.Message) -> None:
        if self._waiting and isinstance(message, messages.Leave):
            self._line.end()  # the application gave up before it was let in
            return
        if self._waiting or not isinstance(message, messages.Join):
            raise WireError(f"{type(message).__name__} before Join")
        if not 0 < len(message.identity.encode()) <= MAX_IDENTITY_BYTES:
            raise WireError("who joins has no identity, or too long a one")
        self._waiting = True

        def admit() -> None:
            if not self._line.ending:
                self._join(message)

        self._state.entrance.value(admit)

    def _join(self, message: messages.Join) -> None:
        refusal = self._state.refused_connects.value
        if refusal is not None:
            # A timeout is what the application makes of no answer at all.
            if refusal.reason != "timeout":
                self._refuse(0, refusal)
                self._line.end()
            return
        if "connect" in self._state.raising:
            self._line.send(messages.Misbehave(request=0, where="connect", on=True))
            self._line.end()
            return
        self._allowed, self._since = message, self._state.time()
        self._member = self._state.enter(Participant(identity=message.identity), self)
        for where in self._state.raising:
            self.make_raise(where, True, 0)
        self._line.send(
            messages.Joined(room=self._state.name, participant=self._member.participant)
        )
        self._state.application(message.identity).enter(self._line)
        self._state.audience.append(self)
        self.catch_up()

    def _leave(self, message: messages.Leave) -> None:
        assert self._member is not None
        self._state.put_out(self._member, "client initiated")

    def _publish(self, message: messages.Publish) -> None:
        assert self._member is not None
        refusal = self._state.refused_publish.value
        if refusal is None and not self._may_publish(message.source):
            refusal = Refusal(
                reason="publish_refused",
                text=_MAY_NOT_PUBLISH,
            )
        if refusal is not None:
            self._refuse(message.request, refusal)
            return
        if message.track in self._own:
            raise WireError(f"track {message.track!r} is published already")
        track = TrackInfo(
            sid="",
            name=message.name,
            kind=message.kind,
            participant=self.identity,
            source=message.source,
        )
        self._own[message.track] = self._publish_own(track)
        self._line.send(messages.Done(request=message.request))

    def _may_publish(self, source: str) -> bool:
        if None in self._state.forbidden or self.identity in self._state.forbidden:
            return False
        sources = self._allowed.sources
        return source in sources if sources else self._allowed.publish

    def _publish_own(self, track: TrackInfo) -> Publication:
        assert self._member is not None
        application = self._state.application(self.identity)
        log = application.open_log(track)
        publication = self._state.publish(self._member, track, log)
        application.note_track(publication.info)
        return publication

    def _unpublish(self, message: messages.Unpublish) -> None:
        assert self._member is not None
        publication = self._own.pop(message.track, None)
        if publication is not None:
            self._state.unpublish(self._member, publication)

    def _subscription(self, message: messages.Subscription) -> None:
        for publication, announced in self._tracks.items():
            if announced.sid == message.track:
                announced.wanted = message.wanted
                self._note_subscription(publication, announced)

    def _note_subscription(self, publication: Publication, announced: _Announced) -> None:
        if announced.wanted and not announced.withheld:
            publication.subscribers.add(self.identity)
        else:
            publication.subscribers.discard(self.identity)

    def _media(self, message: Media) -> None:
        # Media of a track that was refused or is over may still be under way.
        publication = self._own.get(message.track)
        if publication is None or publication.muted:
            return
        match publication.log, message:
            case (SoundLog() as sound, messages.Audio()):
                sound.add(message)
            case (PictureLog() as pictures, messages.Video()):
                pictures.add(message)
            case (SoundLog(), messages.AudioPause()):
                self._state.fell_silent(publication)
            case _:
                kind = publication.info.kind
                raise WireError(f"{type(message).__name__} on a track of kind {kind}")
        self._state.media(publication, message)

    def _data(self, message: messages.Data | messages.Text) -> None:
        refusal = self._state.refused_data.value
        if refusal is None and not self._allowed.publish_data:
            refusal = Refusal(reason="data_refused", text=_MAY_NOT_SEND)
        if refusal is not None:
            self._refuse(message.request, refusal)
            return
        frame = opened(message, self.identity, to=message.to)
        self._state.application(self.identity).add_data(frame)
        self._state.data(self.identity, frame)
        self._line.send(messages.Done(request=message.request))

    def _set_profile(self, message: messages.SetProfile) -> None:
        assert self._member is not None
        refusal = self._state.refused_profile.value
        if refusal is None and not self._allowed.set_profile:
            refusal = Refusal(reason="profile_refused", text=_MAY_NOT_DESCRIBE)
        if refusal is not None:
            self._refuse(message.request, refusal)
            return
        texts = {"name": message.name, "metadata": message.metadata}
        given = {key: text for key, text in texts.items() if text}
        self._state.describe(self._member, attributes=message.attributes, **given)
        self._line.send(messages.Done(request=message.request))

    def _refuse(self, request: int, refusal: Refusal) -> None:
        self._line.send(messages.Refused(request=request, reason=refusal.reason, text=refusal.text))

    # What the room tells: an `Audience`.

    def catch_up(self) -> None:
        if self.lost:
            return
        self._tell_own()
        self._tell_departures()
        self._tell_people()
        self._tell_tracks()

    def pass_media(self, publication: Publication, message: Media) -> None:
        announced = self._tracks.get(publication)
        if announced is None or announced.wanted is False or announced.withheld:
            return
        if self._allowed.subscribe and not self.lost:
            self._line.send(message.replace(track=announced.sid))

    def pass_data(self, sender: str, frame: DataFrame) -> None:
        if self.lost:
            return
        self._line.send(sealed(frame, participant=sender))

    def pass_broken_text(self, sender: Participant, topic: str, reason: str) -> None:
        if not self.lost:
            self._line.send(messages.TextBroken(participant=sender, topic=topic, reason=reason))

    def end(self, reason: str) -> None:
        if self in self._state.audience:
            self._state.audience.remove(self)
        for publication in self._tracks:
            publication.subscribers.discard(self.identity)
        self._state.application(self.identity).leave(reason)
        if self.lost:
            # What the room says does not get through either.
            self._line.cut()
            return
        self._line.send(messages.Ended(reason=_ENDS.get(reason, reason)))
        self._line.end()

    # Faults.

    def lose(self, reason: str) -> None:
        """Nothing gets through from here on, in either direction."""
        check_reason(reason)
        if not self.lost:
            self._happened(EventKind.CONNECTION_LOST, None, reason)
            self.losses += 1
            for publication in self._own.values():
                self._state.fell_silent(publication)
        self.lost = True

    def restore(self, *, resume: bool) -> None:
        """What changed meanwhile is told. Unless it is resumed, every track starts anew, with a
        new sid: the application's own, and those that it receives."""
        if not self.lost:
            return
        if not resume:
            for publication, announced in self._tracks.items():
                self._tell_end(publication, announced.sid, "connection lost")
            self._tracks.clear()
            self._republish()
        self.lost = False
        self._tell_departures()
        self._happened(EventKind.CONNECTION_BACK, None)
        self.catch_up()
        while self._held:
            self._handle(self._held.popleft())

    def make_raise(self, where: str, on: bool, order: int) -> bool:
        """Have the provider raise there from now on, or no more. Returns whether it will answer."""
        if self._line.ending:
            return False
        self._line.send(messages.Misbehave(request=order, where=where, on=on))
        return where != "receive"

    def knows(self, order: int) -> bool:
        """Whether the provider has heard of that order, or never will."""
        return order in self._known_orders or self._line.ending

    def _obey(self, message: messages.Done) -> None:
        self._known_orders.add(message.request)

    def break_off(self) -> None:
        """Hangs up without a word."""
        self._line.cut()

    def _republish(self) -> None:
        assert self._member is not None
        for handle, publication in list(self._own.items()):
            self._state.unpublish(self._member, publication, "connection lost")
            anew = self._own[handle] = self._publish_own(publication.info)
            anew.muted, anew.told_muted = publication.muted, publication.told_muted
            anew.muted_by = publication.muted_by

    def end_publications(self) -> None:
        """Those that it may not have any more."""
        assert self._member is not None
        for handle, publication in list(self._own.items()):
            if not self._may_publish(publication.info.source):
                del self._own[handle]
                self._taken.append(handle)
                self._state.unpublish(self._member, publication, "the right was taken away")

    def mute_publication(self, name: str, fault: object) -> bool:
        """Mute the application's track of that name. Returns whether there is one."""
        found = [one for one in self._own.values() if one.info.name == name]
        for publication in found:
            publication.muted_by.add(fault)
            publication.muted = True
            self._state.fell_silent(publication)
        self._state.announce()
        return bool(found)

    def unmute_publications(self, fault: object) -> None:
        """Unmute what the fault muted, unless another fault does."""
        for publication in self._own.values():
            publication.muted_by.discard(fault)
            publication.muted = bool(publication.muted_by)
        self._state.announce()

    def _tell_own(self) -> None:
        for handle in self._taken:
            self._line.send(messages.PublicationEnded(track=handle, text=_MAY_NOT_PUBLISH))
        self._taken.clear()
        for publication in self._own.values():
            if publication.muted != publication.told_muted:
                publication.told_muted = publication.muted
                message = messages.PublicationMuted(track=publication.info, muted=publication.muted)
                self._line.send(message)

    def _tell_departures(self) -> None:
        for publication, announced in list(self._tracks.items()):
            if publication.ended:
                del self._tracks[publication]
                self._tell_end(publication, announced.sid, publication.reason)
        for member, participant in list(self._people.items()):
            if member.gone:
                del self._people[member]
                self._happened(EventKind.PARTICIPANT_LEFT, participant, member.reason)

    def _tell_end(self, publication: Publication, sid: str, reason: str) -> None:
        publication.subscribers.discard(self.identity)
        if publication.ended:
            self._told_before.discard(publication)
        self._line.send(messages.TrackUnpublished(track=sid, reason=reason))

    def _tell_people(self) -> None:
        for member in self._state.members.values():
            known = self._people.get(member)
            if member is self._member or known == member.participant:
                continue
            self._people[member] = member.participant
            self._happened(
                EventKind.PARTICIPANT_JOINED if known is None else EventKind.PARTICIPANT_CHANGED,
                member.participant,
            )

    def _tell_tracks(self) -> None:
        for member in self._people:
            for publication in member.publications:
                announced = self._tracks.get(publication)
                if announced is None:
                    if not self._is_too_early(publication):
                        self._tell_track(publication, member.participant)
                    continue
                if announced.withheld != self._is_withheld(publication):
                    announced.withheld = not announced.withheld
                    self._note_subscription(publication, announced)
                    self._line.send(
                        messages.TrackWithheld(track=announced.sid, withheld=announced.withheld)
                    )
                if announced.muted != publication.muted:
                    announced.muted = publication.muted
                    self._line.send(
                        messages.TrackMuted(track=announced.sid, muted=publication.muted)
                    )

    def _is_withheld(self, publication: Publication) -> bool:
        who = self._state.withholding
        return None in who or publication.info.participant in who

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

    def _happened(self, kind: EventKind, participant: Participant | None, reason: str = "") -> None:
        self._line.send(messages.Happened(kind=kind, participant=participant, reason=reason))

    _HANDLERS: ClassVar[dict[type[Any], Callable[[Connection, Any], None]]] = {
        messages.Leave: _leave,
        messages.Done: _obey,
        messages.Publish: _publish,
        messages.Unpublish: _unpublish,
        messages.SetProfile: _set_profile,
        messages.Subscription: _subscription,
        messages.Audio: _media,
        messages.AudioPause: _media,
        messages.Video: _media,
        messages.Data: _data,
        messages.Text: _data,
    }


def connections(state: RoomState, identity: str | None = None) -> list[Connection]:
    """The applications in the room, or the one of that identity. Raises `LookupError`."""
    found = [
        one
        for one in state.audience
        if isinstance(one, Connection) and identity in (None, one.identity)
    ]
    if identity is not None and not found:
        there = ", ".join(map(repr, state.members)) or "nobody"
        raise LookupError(f"no application {identity!r}; in the room: {there}")
    return found
