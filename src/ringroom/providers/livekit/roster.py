"""Who is in the room and what they publish: the SDK's room events, told to the `Sink`.

Owns the subscriptions and the inbound tracks. The SDK's emitter calls the handlers on the event
loop, between room events. What they raise the emitter would log each time; here it is told as what
repeats.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from livekit import rtc

from ringroom.dtmf import DtmfFrame
from ringroom.errors import FrameError
from ringroom.events import Event, EventKind, Participant, TrackInfo
from ringroom.frames import DataFrame
from ringroom.notices import Notices
from ringroom.options import SessionOptions
from ringroom.providers.livekit.data_tracks import DataTracks
from ringroom.providers.livekit.ingest import Ingest
from ringroom.providers.livekit.mapping import (
    asked_layer,
    encryption_failure,
    participant_of,
    reason_name,
    scrub,
    subscription_refusal,
    track_of,
)
from ringroom.providers.livekit.media import MediaPath
from ringroom.providers.provider import Sink

__all__ = ["Roster"]

_log = logging.getLogger("ringroom.livekit")


class Roster:
    """The remote participants of one room, their publications, and our subscriptions."""

    def __init__(
        self, room: rtc.Room, sink: Sink, options: SessionOptions, path: MediaPath
    ) -> None:
        self.closed = False
        self._room = room
        self._sink = sink
        self._options = options
        self._path = path
        self._present: dict[str, Participant] = {}
        self._published: dict[str, TrackInfo] = {}
        self._denied: set[str] = set()
        self._asked: dict[str, asyncio.TimerHandle] = {}
        """When a subscription that the server has not answered is told of, by sid."""
        self._unanswered: set[str] = set()
        """Those that were told of."""
        self._answers = True
        """Whether the server can answer: the connection is up."""
        self._ending = False
        """Whether all tracks end: nobody would end one that is begun now."""
        self._ingests: dict[str, Ingest] = {}
        self._endings: set[asyncio.Task[None]] = set()
        self._broken: set[tuple[str, str]] = set()
        self._notices = Notices(_log)
        self._data_tracks = DataTracks(room, sink, options, path, self)
        self._listen()

    def _listen(self) -> None:
        handlers: dict[str, Callable[..., None]] = {
            "participant_connected": self._on_joined,
            "participant_disconnected": self._on_left,
            "participant_metadata_changed": self._on_changed,
            "participant_name_changed": self._on_changed,
            "participant_attributes_changed": self._on_attributes,
            "track_published": self._on_published,
            "track_unpublished": self._on_unpublished,
            "track_subscribed": self._on_subscribed,
            "track_unsubscribed": self._on_unsubscribed,
            "track_subscription_failed": self._on_subscription_failed,
            "track_muted": self._on_muted,
            "track_unmuted": self._on_unmuted,
            "data_track_published": self._data_tracks.published,
            "data_track_unpublished": self._data_tracks.unpublished,
            "data_received": self._on_data,
            "sip_dtmf_received": self._on_dtmf,
            "e2ee_state_changed": self._on_encryption,
        }
        for name, handler in handlers.items():
            self.on(name, handler)

    def on(self, name: Any, handler: Callable[..., None]) -> None:
        """Have a room event handled while the roster is open."""
        self._room.on(name, self.guarded(name, handler))

    def guarded(self, name: Any, handler: Callable[..., None]) -> Callable[..., None]:
        """The handler, for as long as the roster is open; what it raises is counted and logged."""

        def guarded(*arguments: Any) -> None:
            if self.closed:
                return
            try:
                handler(*arguments)
            except Exception:  # noqa: BLE001  (there is nobody above to raise it to)
                text = f"livekit: the room's event {name} was not handled"
                self._notices.tell(name, text, traceback=True)

        return guarded

    def tell(self, kind: EventKind, **fields: Any) -> None:
        self._sink.event(Event(kind=kind, received_ns=time.monotonic_ns(), **fields))

    def lost(self) -> None:
        """The connection is: nothing is answered until it is back."""
        self._expect_nothing()
        self.tell(EventKind.CONNECTION_LOST)

    def back(self) -> None:
        """The connection is: what was asked for meanwhile the SDK has forgotten."""
        self._answers = True
        self.tell(EventKind.CONNECTION_BACK)
        self.sync()

    def sync(self) -> None:
        """Take up whoever and whatever is there: after joining, and after a reconnection."""
        for participant in list(self._room.remote_participants.values()):
            self._on_joined(participant)

    def rights_changed(self) -> None:
        """What we may receive. What we may not the server stops, and tells nothing of it."""
        refused = subscription_refusal(self._room.local_participant.permissions)
        for participant in self._room.remote_participants.values() if refused else ():
            for publication in participant.track_publications.values():
                # The server goes on with it by itself when we may again: as a new track. What the
                # SDK gave up meanwhile it would not take up.
                self.end(self._ingests.get(publication.sid), refused)
        self._data_tracks.rights_changed()
        self.sync()

    async def end_tracks(self, reason: str) -> None:
        """End all inbound tracks; what they hold is passed on first. No other is begun any more."""
        self._begin_to_end(reason)
        while self._endings:
            await asyncio.wait(set(self._endings))

    def close(self) -> None:
        """The room's events are nobody's business any more, and of a track that nobody has ended
        nobody waits for the end. Idempotent."""
        self.closed = True
        self._begin_to_end("closed")

    def _begin_to_end(self, reason: str) -> None:
        self._expect_nothing()
        if not self._ending:
            self._ending = True
            for ingest in list(self._ingests.values()):
                self.end(ingest, reason)
            self._data_tracks.end(reason)

    def _on_joined(self, participant: rtc.RemoteParticipant) -> None:
        identity = participant.identity
        if identity not in self._present:
            self._present[identity] = participant_of(participant)
            self.tell(EventKind.PARTICIPANT_JOINED, participant=self._present[identity])
        for publication in list(participant.track_publications.values()):
            self._on_published(publication, participant)
        self._data_tracks.joined(identity)

    def _on_left(self, participant: rtc.RemoteParticipant) -> None:
        known = self._present.pop(participant.identity, None)
        self._broken = {one for one in self._broken if one[0] != participant.identity}
        for sid in [s for s, t in self._published.items() if t.participant == participant.identity]:
            self._forget(sid)
        for ingest in list(self._ingests.values()):
            if ingest.track.participant == participant.identity:
                self.end(ingest, "the participant left")
        self._data_tracks.left(participant.identity)
        if known is not None:
            reason = participant.disconnect_reason
            word = "" if reason is None else reason_name(reason)
            self.tell(EventKind.PARTICIPANT_LEFT, participant=known, reason=word)

    def _on_changed(self, participant: rtc.Participant, *_: Any) -> None:
        if participant.identity in self._present:
            self._present[participant.identity] = now = participant_of(participant)
            self.tell(EventKind.PARTICIPANT_CHANGED, participant=now)

    def _on_attributes(self, _: dict[str, str], participant: rtc.Participant) -> None:
        self._on_changed(participant)

    def _on_published(
        self, publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant
    ) -> None:
        track = track_of(publication, participant.identity)
        if track is None:
            return
        publisher = self.described(participant)
        if track.sid not in self._published:
            self._published[track.sid] = track
            self.tell(EventKind.TRACK_PUBLISHED, participant=publisher, track=track)
        if publication.subscribed:
            self._choose_layer(publication)  # that may have been asked for during a loss
            return
        if self._ending:
            return
        if self._sink.wants(track, publisher):
            self._subscribe(publication, track, publisher)

    def _subscribe(
        self, publication: rtc.RemoteTrackPublication, track: TrackInfo, publisher: Participant
    ) -> None:
        refused = subscription_refusal(self._room.local_participant.permissions)
        if not refused:
            self._denied.discard(track.sid)
            self._expect(track, publisher)
            publication.set_subscribed(True)
        elif track.sid not in self._denied:
            self._denied.add(track.sid)
            self._refused(track, publisher, refused)

    def _expect(self, track: TrackInfo, publisher: Participant) -> None:
        """What the publisher does not permit, say, is never answered, and taken up without another
        word once it is allowed."""
        if not self._answers or track.sid in self._asked or track.sid in self._unanswered:
            return
        seconds = self._options.connect_timeout
        loop = asyncio.get_running_loop()
        why = (
            f"the server has not answered the subscription within {seconds:g} s; it does so once "
            "what keeps it from that (its publisher does not permit it, say) is over"
        )
        late = self.guarded("subscription", partial(self._late, track, publisher, why))
        self._asked[track.sid] = loop.call_later(seconds, late)

    def _late(self, track: TrackInfo, publisher: Participant, why: str) -> None:
        self._unanswered.add(track.sid)
        self._refused(track, publisher, why)

    def _expect_no_more(self, sid: str) -> None:
        if timer := self._asked.pop(sid, None):
            timer.cancel()

    def _expect_nothing(self) -> None:
        self._answers = False
        for sid in tuple(self._asked):
            self._expect_no_more(sid)

    def _refused(self, track: TrackInfo, publisher: Participant, why: str) -> None:
        self._expect_no_more(track.sid)
        self._notices.tell("refused", f"livekit: track {track.name!r} is not received: {why}")
        self.tell(EventKind.TRACK_FAILED, participant=publisher, track=track, reason=why)

    def _on_unpublished(
        self, publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant
    ) -> None:
        track = self._forget(publication.sid)
        self.end(self._ingests.get(publication.sid), "unpublished")
        if track is not None:
            publisher = self.described(participant)
            self.tell(EventKind.TRACK_UNPUBLISHED, participant=publisher, track=track)

    def _forget(self, sid: str) -> TrackInfo | None:
        """The track is published no more."""
        self._denied.discard(sid)
        self._unanswered.discard(sid)
        self._expect_no_more(sid)
        return self._published.pop(sid, None)

    def _on_subscribed(
        self,
        remote: rtc.Track,
        publication: rtc.RemoteTrackPublication,
        participant: rtc.RemoteParticipant,
    ) -> None:
        track = track_of(publication, participant.identity)
        if track is None or self._ending:
            return
        self._unanswered.discard(track.sid)
        self._expect_no_more(track.sid)
        ingest = Ingest(self._sink, track, self.described(participant), self._path)
        ingest.muted = publication.muted
        reading = ingest.start(remote, self._options, self._ingests.get(track.sid))
        self._ingests[track.sid] = ingest  # not before: what did not start has no end either
        reading.add_done_callback(lambda task: self._ingest_done(ingest, task))
        self._choose_layer(publication)

    def _choose_layer(self, publication: rtc.RemoteTrackPublication) -> None:
        """What the server is asked for it forgets with the subscription."""
        layer = asked_layer(publication, self._options.video_quality)
        if layer is not None:
            publication.set_video_quality(layer)

    def _ingest_done(self, ingest: Ingest, task: asyncio.Task[None]) -> None:
        if self._ingests.get(ingest.track.sid) is ingest:
            del self._ingests[ingest.track.sid]
        if task.cancelled() or (error := task.exception()) is None:
            return
        _log.error("livekit: track %s failed", ingest.track.sid, exc_info=error)
        if not self.closed:
            self.tell(
                EventKind.TRACK_FAILED,
                participant=ingest.participant,
                track=ingest.track,
                reason=type(error).__name__,
            )

    def _on_unsubscribed(self, _: Any, publication: rtc.RemoteTrackPublication, *__: Any) -> None:
        self.end(self._ingests.get(publication.sid), "unsubscribed")

    def _on_subscription_failed(
        self, participant: rtc.RemoteParticipant, sid: str, error: Any
    ) -> None:
        self._expect_no_more(sid)
        self.tell(
            EventKind.TRACK_FAILED,
            participant=self.described(participant),
            track=self._published.get(sid),
            reason=scrub(f"subscription failed: {error}"),
        )

    def _on_muted(self, participant: rtc.Participant, publication: rtc.TrackPublication) -> None:
        self._mute(participant, publication, True)

    def _on_unmuted(self, participant: rtc.Participant, publication: rtc.TrackPublication) -> None:
        self._mute(participant, publication, False)

    def _mute(
        self, participant: rtc.Participant, publication: rtc.TrackPublication, muted: bool
    ) -> None:
        ingest = self._ingests.get(publication.sid)
        if ingest is not None:
            ingest.mute(muted)

    def _on_data(self, packet: rtc.DataPacket) -> None:
        sender = "" if packet.participant is None else packet.participant.identity
        try:
            frame = DataFrame(
                payload=packet.data,
                topic=packet.topic or "",
                participant=sender,
                reliable=packet.kind == rtc.DataPacketKind.KIND_RELIABLE,
                received_ns=time.monotonic_ns(),
            )
        except FrameError as error:
            # Another client may send what none of ours can.
            self._notices.tell("data", f"livekit: a message of {sender!r} is left out: {error}")
            return
        self._sink.data(frame)

    def _on_dtmf(self, pressed: rtc.SipDTMF) -> None:
        sender = "" if pressed.participant is None else pressed.participant.identity
        try:
            # LiveKit SIP has the letters in small.
            frame = DtmfFrame(
                pressed.digit.upper(), participant=sender, received_ns=time.monotonic_ns()
            )
        except FrameError as error:
            self._notices.tell("dtmf", f"livekit: a digit of {sender!r} is left out: {error}")
            return
        self._sink.data(frame)

    def stream_failed(self, kind: EventKind, sender: str, reason: str) -> None:
        """A text or a file of somebody did not come whole."""
        who = self._present.get(sender) or Participant(identity=sender)
        self.tell(kind, participant=who, reason=reason)

    def _on_encryption(self, participant: rtc.Participant | None, state: int) -> None:
        failure = encryption_failure(state)
        if not failure or participant is None:
            return
        # It is told for every frame that fails.
        if (participant.identity, failure) not in self._broken:
            self._broken.add((participant.identity, failure))
            who = participant.identity
            self._notices.tell(failure, f"livekit: participant {who!r}: {failure}")
            self.tell(
                EventKind.TRACK_FAILED, participant=self.described(participant), reason=failure
            )

    def known(self, identity: str) -> Participant | None:
        """Somebody who is in the room, as they were told."""
        return self._present.get(identity)

    def described(self, participant: rtc.Participant) -> Participant:
        """Somebody as they were told, or as they are."""
        return self._present.get(participant.identity) or participant_of(participant)

    def end(self, ingest: Ingest | None, reason: str) -> None:
        """End a track, if there is one; `end_tracks` waits for it."""
        if ingest is None:
            return
        ending = asyncio.create_task(ingest.end(reason))
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)
