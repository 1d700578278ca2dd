"""What one application publishes in a fake room, as far as its token and the room allow it.

It outlives a connection that is lost. All of it runs under `Wire.changed`.
"""

from __future__ import annotations

from ringroom.errors import WireError
from ringroom.events import Kind, TrackInfo
from ringroom.providers.fake import messages
from ringroom.testing.application import PictureLog, ReadingLog, SoundLog
from ringroom.testing.state import Media, Member, Publication, Refusal, RoomState
from ringroom.testing.wire import Line

__all__ = ["OwnTracks"]

_MAY_NOT_PUBLISH = "publishing this track is not allowed (canPublish)"


class OwnTracks:
    """``allowed`` is what the application joined with."""

    def __init__(
        self, state: RoomState, member: Member, line: Line, allowed: messages.Join
    ) -> None:
        self._state = state
        self._member = member
        self._line = line
        self._allowed = allowed
        self._published: dict[str, Publication] = {}
        """By the application's handle."""
        self._taken: list[str] = []
        """Handles of tracks that were ended, which the application is to be told."""

    # What the application says.

    def publish(self, message: messages.Publish) -> None:
        refusal = self._state.refused_publish.value
        if refusal is None and not self._may_publish(message.kind, message.source):
            refusal = Refusal(reason="publish_refused", text=_MAY_NOT_PUBLISH)
        if refusal is not None:
            self._line.send(refusal.of(message.request))
            return
        if message.track in self._published:
            raise WireError(f"track {message.track!r} is published already")
        track = TrackInfo(
            sid="",
            name=message.name,
            kind=message.kind,
            participant=self._member.identity,
            source=message.source,
        )
        publication = self._published[message.track] = self._publish(track, message.muted)
        publication.told_muted = message.muted
        self._line.send(messages.Done(request=message.request))

    def _may_publish(self, kind: Kind, source: str) -> bool:
        if {None, self._member.identity} & {*self._state.forbidden}:
            return False
        if kind is Kind.DATA_TRACK:  # as a LiveKit server has it
            return self._allowed.publish_data
        sources = self._allowed.sources
        return source in sources if sources else self._allowed.publish

    def _publish(self, track: TrackInfo, muted: bool) -> Publication:
        application = self._state.application(self._member.identity)
        log = application.open_log(track)
        publication = self._state.publish(self._member, track, log, muted=muted)
        application.note_track(publication.info, muted)
        return publication

    def unpublish(self, message: messages.Unpublish) -> None:
        publication = self._published.pop(message.track, None)
        if publication is not None:
            self._state.unpublish(self._member, publication)

    def mute_own(self, message: messages.Mute) -> None:
        """The application mutes or unmutes a track, whoever had muted it before. It is told only
        that what the server had muted is not muted any more."""
        publication = self._published.get(message.track)
        if publication is None:
            return
        if message.muted:
            publication.told_muted = True
        else:
            publication.muted_by.clear()
            publication.told_muted = publication.told_of_server
        self._set(publication, message.muted)
        self._state.announce()

    def _set(self, publication: Publication, muted: bool) -> None:
        publication.muted = muted
        self._state.application(self._member.identity).note_track(publication.info, muted)
        if muted:
            self._state.fell_silent(publication)

    def play(self, message: Media) -> None:
        """Nothing, if the track was refused or is over: media may still be under way."""
        publication = self._published.get(message.track)
        if publication is None or publication.muted:
            return
        match publication.log, message:
            case (SoundLog() as sound, messages.Audio()):
                sound.add(message)
            case (PictureLog() as pictures, messages.Video()):
                pictures.add(message)
            case (ReadingLog() as readings, messages.Reading()):
                readings.add(message)
            case (SoundLog(), messages.AudioPause()):
                self._state.fell_silent(publication)
            case _:
                kind = publication.info.kind
                raise WireError(f"{type(message).__name__} on a track of kind {kind}")
        self._state.media(publication, message)

    # What the room does with them.

    def tell(self) -> None:
        """Tell the application which of its tracks were ended, muted and unmuted."""
        for handle in self._taken:
            self._line.send(messages.PublicationEnded(track=handle, text=_MAY_NOT_PUBLISH))
        self._taken.clear()
        for publication in self._published.values():
            if publication.muted != publication.told_muted:
                publication.told_muted = publication.told_of_server = publication.muted
                message = messages.PublicationMuted(track=publication.info, muted=publication.muted)
                self._line.send(message)

    def fall_silent(self) -> None:
        """Nothing of them gets through for now."""
        for publication in self._published.values():
            self._state.fell_silent(publication)

    def publish_anew(self) -> None:
        """Each ends, and begins under a new sid."""
        for handle, publication in list(self._published.items()):
            self._state.unpublish(self._member, publication, "connection lost")
            anew = self._published[handle] = self._publish(publication.info, publication.muted)
            anew.told_muted, anew.muted_by = publication.told_muted, publication.muted_by
            anew.told_of_server = publication.told_of_server

    def end_forbidden(self) -> None:
        """Those end that the application may not have any more."""
        for handle, publication in list(self._published.items()):
            if not self._may_publish(publication.info.kind, publication.info.source):
                del self._published[handle]
                self._taken.append(handle)
                self._state.unpublish(self._member, publication, "the right was taken away")

    def mute(self, name: str, fault: object) -> bool:
        """Mute the track of that name. Returns whether there is one."""
        found = [one for one in self._published.values() if one.info.name == name]
        for publication in found:
            publication.muted_by.add(fault)
            self._set(publication, True)
        self._state.announce()
        return bool(found)

    def unmute(self, fault: object) -> None:
        """Unmute what the fault muted, unless another fault does: also what the application has
        muted, as a server does that is configured to."""
        for publication in self._published.values():
            if fault in publication.muted_by:
                publication.muted_by.discard(fault)
                self._set(publication, bool(publication.muted_by))
        self._state.announce()
