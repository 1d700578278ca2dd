"""One session in the I/O role: a provider, and the readers that its room is spread over.

It is the provider's `Sink`: it decides which reader a track belongs to (sticky: by the sender's
identity, or by track) and opens lanes; it does not touch each frame (`inbound.LiveTrack` does).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from ringroom import messages as m
from ringroom.errors import RingroomError
from ringroom.events import Event, EventKind, Kind, Participant, RoomInfo, TrackInfo
from ringroom.frames import DataFrame
from ringroom.lanes.statistics import StatisticsTable
from ringroom.link import Link, close_descriptors
from ringroom.notices import LostFrames, Notices
from ringroom.options import SessionOptions
from ringroom.processes.io.admission import (
    Admission,
    bounded,
    bounded_event,
    bounded_track,
)
from ringroom.processes.io.attachments import Attachment
from ringroom.processes.io.choice import Choice
from ringroom.processes.io.inbound import InboundTrack, LiveTrack, NullTrack
from ringroom.processes.io.loop_link import LoopLink
from ringroom.processes.io.membership import Membership, unpickled
from ringroom.processes.io.muting import Muting
from ringroom.processes.io.open_calls import OpenCalls
from ringroom.processes.io.own_calls import OwnCalls
from ringroom.processes.io.own_profile import OwnProfile
from ringroom.processes.io.own_subscribers import OwnSubscribers
from ringroom.processes.io.patient import PatientTrack
from ringroom.processes.io.presence import Presence
from ringroom.processes.io.provider_errors import as_ours
from ringroom.processes.io.roll_call import RollCall
from ringroom.processes.io.routing import Routing
from ringroom.processes.io.row_ledger import RowLedger
from ringroom.processes.io.speakers import Speakers
from ringroom.providers.provider import Joined, Provider, TrackSink
from ringroom.rpc import RpcCall

log = logging.getLogger("ringroom.io")
_OF_STREAMS = (EventKind.TEXT_FAILED, EventKind.FILE_FAILED)


class RoomSession:
    """See the module's docstring. Lives from its link's first message to the link's end."""

    def __init__(self, link: Link, clock: Callable[[], int]) -> None:
        self.clock = clock
        self.options = SessionOptions()
        self.done = asyncio.Event()
        self.notices = Notices(log, clock)
        self.lost = LostFrames(log, clock)
        self._choice = Choice(self.options, self.notices)
        self._admission = Admission()
        self._wire = LoopLink(link, self._on_message, self.leave)
        self._ledger = RowLedger(self._wire.send)
        self.profile = OwnProfile(self, self._wire.send)
        self.open_calls = OpenCalls(self)
        self.own_calls = OwnCalls(self)
        self.muting = Muting(self._wire.send, self._mute)
        self.subscribers = OwnSubscribers(self._wire.send)
        self.data_tracks = True  # until the provider is known
        self._application = Attachment(self, self._ledger, m.APPLICATION)
        self._attachments: dict[int, Attachment] = {m.APPLICATION: self._application}
        self._owners: dict[str, object] = {}
        self._membership = Membership(self, clock)
        self._presence = Presence()
        self.roll = RollCall(self.people)
        self._speakers = Speakers(self._tell_speakers)
        self._down = False
        self._routing = Routing()
        self._route = "participant"
        self._tasks: set[asyncio.Task[None]] = set()
        self._detaching: set[asyncio.Task[None]] = set()
        self._tracks: dict[InboundTrack[Any], None] = {}
        self._closing = False
        self._closer: asyncio.Task[None] | None = None
        self._ended: m.Ended | None = None
        """Said to the readers that are there, and to those that come later."""
        self._application.connect(self._wire)

    # What the application says.

    def _on_message(self, message: m.Message, descriptors: tuple[int, ...]) -> None:
        if self._closing:  # it comes too late: what it opened would never be closed
            close_descriptors(descriptors)
            return
        match message:
            case m.Connect():
                self._open_provider(message, descriptors)
            case m.Renewals():
                self._membership.renew_over(descriptors[0])
            case m.Attach(place=place):
                self._attach(place, descriptors[0])
            case m.RowFree(row=row):
                self._ledger.read(row)
            case m.Leave():
                self.leave()
            case _:
                self._application.handle(message, descriptors)

    def _attach(self, place: int, fd: int) -> None:
        attachment = self._attachments.get(place)
        if attachment is None:
            attachment = self._attachments[place] = Attachment(self, self._ledger, place)
        attachment.finish_link()
        attachment.connect(
            LoopLink(Link.attach(fd), attachment.handle, partial(self._gone, attachment))
        )
        if self._ended is not None:
            attachment.send(self._ended)

    def _gone(self, attachment: Attachment) -> None:
        """A worker's link has ended: it is dead, and its place waits, or it has left."""
        if not attachment.leaving:
            attachment.bereave()
            return
        if self._attachments.get(attachment.place) is attachment:
            del self._attachments[attachment.place]
        task = self._spawn(attachment.close())
        self._detaching.add(task)
        task.add_done_callback(self._detaching.discard)

    def _open_provider(self, message: m.Connect, descriptors: tuple[int, ...]) -> None:
        """Not in a task: one that is cancelled before it begins leaves the descriptors open."""
        self._route = message.route
        self._routing = Routing(message.readers, message.places)
        try:
            table = StatisticsTable.attach(descriptors[0])
            self._ledger.open(table, message.rows_first, message.rows_count)
            spec, self.options = unpickled(message.blob)
            self._choice = Choice(self.options, self.notices)
            self.muting.possible = spec.mutes
            self.subscribers.possible = spec.subscribers
            self.data_tracks = spec.data_tracks
            self._membership.open(spec, self.options, descriptors[1:])
        except Exception as error:
            if not isinstance(error, RingroomError):
                log.exception("the provider failed to open")
            close_descriptors(descriptors[1:])
            self._membership.refuse(as_ours(error))
            return
        self._spawn(self._membership.stay())

    def _spawn(self, run: asyncio._CoroutineLike[None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(run)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("the session failed", exc_info=task.exception())
            self.leave()

    # What attachments need.

    def people(self) -> Iterable[Participant]:
        """Who is in the room."""
        return self._presence.people

    @property
    def info(self) -> RoomInfo | None:
        """The room as it is now; None if the provider has not told."""
        return self._presence.room

    @property
    def speaking(self) -> tuple[str, ...]:
        """Who speaks now, as it was told last."""
        return self._speakers.told

    async def joined_provider(self, other_than: Provider | None = None) -> Provider:
        """Raises `ClosedError` when the room is over, and what kept us from joining it."""
        return await self._membership.provider(other_than)

    def claim_track(self, name: str, owner: object) -> bool:
        return self._owners.setdefault(name, owner) is owner

    def release_track(self, name: str, owner: object) -> None:
        if self._owners.get(name) is owner:
            del self._owners[name]
            self._presence.unpublished(name)

    def _mute(self, name: str, muted: bool) -> None:
        for attachment in tuple(self._attachments.values()):
            attachment.outbound.mute(name, muted)

    # The provider's sink.

    def wants(self, track: TrackInfo, participant: Participant) -> bool:
        if self._closing or not self._membership.hears or track.kind not in self.options.kinds:
            return False
        if not self._choice.wants(bounded(participant)):
            return False
        return self._choice.takes(bounded_track(track)) and self._admits(track)

    def _admits(self, track: TrackInfo) -> bool:
        refusal = self._admission.refusal(track)
        if refusal:
            self.notices.tell("admission", refusal)
        return not refusal

    def open_track(self, track: TrackInfo, participant: Participant) -> TrackSink:
        return self._open(LiveTrack, track, participant)

    def open_patient_track(self, track: TrackInfo, participant: Participant) -> TrackSink:
        return self._open(PatientTrack, track, participant)

    def _open(
        self,
        made: type[LiveTrack | PatientTrack],
        track: TrackInfo,
        participant: Participant,
    ) -> TrackSink:
        # While the readers are closed the provider is still heard. A lane that it opened then would
        # have no owner.
        if self._closing or not self._membership.hears or not self._admits(track):
            return NullTrack()
        track, participant = bounded_track(track), bounded(participant)
        by_track = self._route == "track"
        key = track.sid if by_track else participant.identity
        name = track.reply_name if by_track else key
        place = self._routing.opened(key, name)

        def closed(sink: InboundTrack[Any]) -> None:
            self._tracks.pop(sink, None)
            self._speakers.forget(sink)
            self._admission.forget(track.sid)
            self._routing.closed(key)

        sink = made(self._at(place).inbound, track, participant, closed)
        self._tracks[sink] = None
        if self.options.active_speakers and track.kind is Kind.AUDIO:
            sink.meter = self._speakers.meter(sink, participant.identity)
        sink.prepare()
        return sink

    async def caught_up(self) -> None:
        for attachment in tuple(self._attachments.values()):
            await attachment.inbound.caught_up()

    def _at(self, place: int) -> Attachment:
        return self._attachments.get(place, self._application)

    def data(self, frame: DataFrame) -> None:
        if self._membership.hears and self._choice.takes_message(frame):
            self._reader_of(frame.participant).inbound.post(Kind.DATA, frame)

    def call(
        self, method: str, payload: str, participant: str, seconds: float
    ) -> Coroutine[Any, Any, str]:
        heard = self._membership.hears and self._choice.hears(participant)
        return self.open_calls.take(method if heard else "", payload, participant, seconds)

    def pass_call(self, call: RpcCall) -> bool:
        return self._reader_of(call.participant).inbound.post(Kind.DATA, call)

    def _stream_failed(self, event: Event) -> bool:
        """Count the text or file, if it was one for us; whether it was."""
        sender = "" if event.participant is None else event.participant.identity
        heard = self._choice.takes_failed(event.kind, sender)
        if heard:
            told = f"of {sender!r} something is not received: {event.reason}"
            self.notices.tell(event.kind, told)
            self._reader_of(sender).inbound.refuse(Kind.DATA)
        return heard

    def _reader_of(self, sender: str) -> Attachment:
        return self._at(self._routing.of_sender(sender))

    def event(self, event: Event) -> None:
        if not self._membership.hears:
            return
        if event.kind is EventKind.ACTIVE_SPEAKERS:  # of a recording, say: it is worked out here
            return
        if event.kind in _OF_STREAMS and not self._stream_failed(event):
            return
        if event.kind is EventKind.CONNECTION_LOST:
            self._set_down(True)
            self.roll.parted()
            self._membership.lost()
        elif event.kind is EventKind.CONNECTION_BACK:
            self._set_down(False)
            self.roll.joined()
            self._membership.back()
        elif event.kind is EventKind.CONNECTED and self._down:
            # Not for the first time. It comes before all else that a stay begins with.
            self._set_down(False)
            event = replace(event, kind=EventKind.CONNECTION_BACK)
        event = bounded_event(event)
        before = self._presence.room
        self._presence.note(event)
        self.tell(event)
        if event.kind is EventKind.CONNECTION_BACK and event.room not in (None, before):
            self.tell(replace(event, kind=EventKind.ROOM_CHANGED))

    def tell(self, event: Event) -> None:
        """Give an event to all readers that receive events."""
        if event.kind is EventKind.TRACK_UNPUBLISHED and event.track is not None:
            self._admission.forget(event.track.sid)
        elif event.kind is EventKind.PARTICIPANT_LEFT and event.participant is not None:
            self._admission.forget_participant(event.participant.identity)
            self.open_calls.forget(event.participant.identity)
        event = bounded_event(event)
        self._choice.note(event)
        for attachment in tuple(self._attachments.values()):
            attachment.inbound.post(Kind.EVENT, event)

    def ended(self, reason: str, *, error: str = "") -> None:
        if not self._closing:
            self._membership.ended(reason, error)

    # What the membership asks for, and tells.

    def joined(self, joined: Joined) -> None:
        """We are in the room, for the first time or again."""
        if self._down:
            self._tell(EventKind.CONNECTION_BACK)
            self._set_down(False)
        if (provider := self._membership.joined_now) is not None:
            self.subscribers.joined(provider)
        self._application.send(m.Connected(room=joined.room, identity=joined.identity))
        self.profile.joined()
        self.roll.joined()

    def refused(self, error: RingroomError) -> None:
        """The room was not joined, the first time."""
        self._application.send(m.Failed(error=m.error_to_json(error)))

    def parted(self, reason: str) -> None:
        """We are out of the room: what was there is gone for us. The room may be joined again."""
        if not self._down:
            self._set_down(True)
            self._tell(EventKind.CONNECTION_LOST, reason)
        self.profile.parted()
        self.subscribers.parted()
        self.roll.parted()
        self._end_tracks()
        for event in self._presence.farewell(reason, self.clock()):
            self.tell(event)

    def over(self, reason: str, error: RingroomError | None) -> None:
        """The room is over for us: it will not be joined again."""
        if self._closing:
            return
        self.profile.parted()
        self.subscribers.parted()
        self.roll.parted()
        self._end_tracks()
        self._tell(EventKind.DISCONNECTED, reason)
        failure = {} if error is None else m.error_to_json(error)
        ended = self._ended = m.Ended(reason=reason, error=failure)
        for attachment in tuple(self._attachments.values()):
            attachment.send(ended)

    def _set_down(self, down: bool) -> None:
        """Note whether the connection is lost for a while, and tell the application, which counts
        that."""
        if down is not self._down:
            self._down = down
            self._application.send(m.Away(away=down))

    def _end_tracks(self) -> None:
        for track in tuple(self._tracks):
            track.close()
        self._speakers.end()
        self._admission = Admission()
        self._choice.forget_tracks()
        self.open_calls.end_all()
        self.own_calls.parted()
        for attachment in tuple(self._attachments.values()):
            attachment.outbound.interrupt()

    def _tell(self, kind: EventKind, reason: str = "") -> None:
        self.tell(Event(kind=kind, reason=reason, received_ns=self.clock()))

    def _tell_speakers(self, speakers: tuple[str, ...]) -> None:
        kind = EventKind.ACTIVE_SPEAKERS
        self.tell(Event(kind=kind, speakers=speakers, received_ns=self.clock()))

    # The end.

    def leave(self) -> None:
        """Close everything; `done` is set afterwards."""
        if not self._closing:
            self._closing = True
            self._speakers.close()
            self.profile.parted()
            self.subscribers.parted()
            self.roll.close()
            self.open_calls.close()
            self.own_calls.close()
            self._closer = asyncio.get_running_loop().create_task(self._close())

    async def _close(self) -> None:
        connecting = self._tasks - self._detaching
        begun, limit = asyncio.get_running_loop().time(), self.options.close_timeout
        try:
            for task in connecting:
                task.cancel()
            # A provider is not closed while it still connects; one that does not let itself be
            # cancelled is closed all the same.
            await self._end_within(limit / 2, begun, connecting)
            await self._end_within(limit * 3 / 4, begun, self._close_attachments())
            for track in tuple(self._tracks):
                track.close()
            # Whatever became of all that: the room would go on without us.
            await self._end_within(limit, begun, {self._spawn(self._membership.close())})
        finally:
            self._wire.close()
            self._ledger.close()
            self.done.set()

    def _close_attachments(self) -> set[asyncio.Task[None]]:
        """Also of workers that have just gone: their lanes are being buried, and what is lost is
        counted. The application's link stays, over which all that is told."""
        workers = [one for one in self._attachments.values() if one is not self._application]
        closing = {self._spawn(worker.close()) for worker in workers}
        return closing | self._detaching | {self._spawn(self._application.close_lanes())}

    async def _end_within(
        self, seconds: float, begun: float, tasks: set[asyncio.Task[None]]
    ) -> None:
        if not tasks:
            return
        left = begun + seconds - asyncio.get_running_loop().time()
        _, late = await asyncio.wait(tasks, timeout=max(left, 0.0))
        if late:
            log.warning("not closed within %g s: %d of the session's tasks", seconds, len(late))
            for task in late:
                task.cancel()
            await asyncio.sleep(0)  # what they do about that is done
