"""A reader and writer of a room, as the I/O role sees it: the application, or a worker's place.

Owns the lanes to the reader (`inbound`), the playouts from the writer, and the link to both. When
the link of the application ends, or that of a worker which has said good-bye, everything of it is
closed here. A worker whose link ends otherwise is dead, and its place waits for another: the lanes
to it wait with what was not taken, its tracks stay published under their names and play what is in
their lanes. Who comes next is told of all that, and goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from ringroom import messages as m
from ringroom.errors import BusyError, ClosedError, ConfigurationError, FrameError, RingroomError
from ringroom.frames import Event, EventKind, Kind, Participant
from ringroom.lanes.lane import LaneDescriptors
from ringroom.lanes.live import LiveReader
from ringroom.lanes.reliable import ReliableReader
from ringroom.lanes.statistics import Row
from ringroom.link import close_descriptors, until_taken
from ringroom.options import PublishOptions, SessionOptions
from ringroom.processes.io.inbound_lanes import InboundLanes, Logbook
from ringroom.processes.io.outbound import Answer, Reader
from ringroom.processes.io.outgoing_data import OutgoingData
from ringroom.processes.io.playouts import OutgoingPlayout
from ringroom.processes.io.row_ledger import RowLedger
from ringroom.processes.io.wire import LoopLink, as_ours
from ringroom.providers.provider import OutgoingTrack, Provider

log = logging.getLogger("ringroom.io")


class Room(Logbook, Protocol):
    """What an attachment needs of the room it is attached to."""

    options: SessionOptions
    clock: Callable[[], int]

    async def joined_provider(self, other_than: Provider | None = None) -> Provider: ...
    def claim_track(self, name: str, owner: Attachment) -> bool: ...
    def release_track(self, name: str, owner: Attachment) -> None: ...
    def tell(self, event: Event) -> None: ...
    def people(self) -> Iterable[Participant]: ...


@dataclass(slots=True, eq=False)
class _Playing:
    """A playout; ``number`` is its lane's, 0 once whoever wrote to it has died."""

    number: int
    name: str
    playout: OutgoingPlayout | OutgoingData
    task: asyncio.Task[None] | None = None
    unanswering: bool = False
    """What it answered has ended: its writer is about to end it."""
    waiting: list[Callable[[], None]] = field(default_factory=list)
    """To be told that it is over: it was ended before they asked."""

    @property
    def takes_lanes(self) -> bool:
        """Whether it is a track that nobody has ended: its next writer goes on in it."""
        return isinstance(self.playout, OutgoingPlayout) and not self.playout.closing


class Attachment:
    """See the module's docstring. ``place`` is the worker's number, -1 the application."""

    def __init__(self, room: Room, ledger: RowLedger, place: int) -> None:
        self.place = place
        self.closed = False
        self.leaving = False
        """It has said good-bye: its link's end is no death."""
        self.inbound = InboundLanes(room, ledger, place, room.options, room.clock, self.send)
        self._room = room
        self._ledger = ledger
        self._wire: LoopLink | None = None
        self._loop = asyncio.get_running_loop()
        self._playing: list[_Playing] = []
        self._ended_last = ""
        """The reply name of the track that the reader was through with last: it may be closing it
        still, and say its first word on it."""

    def connect(self, wire: LoopLink) -> None:
        """From here on messages can be sent to it. A worker that takes the place of a dead one is
        told what it inherits first."""
        before, self._wire = self._wire, wire
        if self.place == m.APPLICATION:
            return
        names = [playing.name for playing in self._playing if playing.takes_lanes]
        self.send(m.Attached(rows=self._ledger.lent_by(self), tracks=names))
        if before is not None:
            self.inbound.hand_over()
            for participant in self._room.people():
                joined = Event(kind=EventKind.PARTICIPANT_JOINED, participant=participant)
                self.inbound.post(Kind.EVENT, joined)

    def settle_link(self) -> None:
        """Handle all that a worker has said before it died."""
        if self._wire is not None:
            self._wire.finish()

    def bereave(self) -> None:
        """Its writer has died: what is in its lanes is played and sent, its tracks wait. Those that
        it was about to end, end: nobody else knows of the tracks that they answered."""
        for playing in self._playing:
            playing.number = 0
            over = playing.unanswering and not self.inbound.flows(playing.name)
            if over or isinstance(playing.playout, OutgoingData):
                playing.playout.finish()

    def interrupt(self) -> None:
        """The room is lost, or over: nothing plays any more. Tracks wait to be published again."""
        for playing in self._playing:
            playing.playout.interrupt()

    def send(self, message: m.Message, descriptors: tuple[int, ...] = ()) -> None:
        if self._wire is not None:
            self._wire.send(message, descriptors)

    # Outbound: lanes that it writes and we read.

    def handle(self, message: m.Message, descriptors: tuple[int, ...]) -> None:
        """A message from it."""
        match message:
            case m.PlayoutOpen() if not self.closed:
                self._open_playout(message, descriptors)
                return
            case m.PlayoutOpen():
                pass  # it comes too late: nobody would close it
            case m.LaneDone(lane=number):
                self._lane_done(number)
            case m.Flush(request=request, lane=number, sequence=sequence):
                playing = self._find(number)
                if playing is not None and isinstance(playing.playout, OutgoingPlayout):
                    playing.playout.flush(request, sequence, self._answer())
                else:
                    self._answer()(request, 0.0)
            case m.Drain(request=request, lane=number, sequence=sequence):
                self._drain(self._find(number), request, sequence)
            case m.PlayoutClose(lane=number):
                self._finish(self._find(number))
            case m.TrackClose(name=name):
                self._finish(self._inherited(name))
            case m.Leave():
                self.leaving = True
            case _:
                log.error("a message that does not belong here: %s", type(message).__name__)
        close_descriptors(descriptors)

    def _drain(self, playing: _Playing | None, request: int, sequence: int) -> None:
        answer = self._answer()
        if playing is None:
            answer(request, 0.0)
        elif isinstance(playing.playout, OutgoingPlayout) and playing.playout.closing:
            playing.waiting.append(partial(answer, request, 0.0))
        else:
            playing.playout.drain(request, sequence, answer)

    def _lane_done(self, number: int) -> None:
        """What answers its track is ended next, once the processor has closed the track."""
        self._ended_last = self.inbound.reply_name(number)
        self.inbound.bury(number)
        for playing in self._playing:
            playing.unanswering = playing.unanswering or self._answers_ended(playing.name)

    def _answers_ended(self, name: str) -> bool:
        return bool(name) and name == self._ended_last

    def _find(self, number: int) -> _Playing | None:
        return next((p for p in self._playing if p.number == number != 0), None)

    def _inherited(self, name: str) -> _Playing | None:
        return next(
            (p for p in self._playing if p.name == name and p.number == 0 and p.takes_lanes), None
        )

    @staticmethod
    def _finish(playing: _Playing | None) -> None:
        if playing is not None and isinstance(playing.playout, OutgoingPlayout):
            playing.playout.finish()

    def _answer(self) -> Answer:
        """To whoever asks now: a successor has other requests of the same numbers."""
        wire = self._wire

        def answer(request: int, value: float) -> None:
            if wire is not None:
                wire.send(m.Reply(request=request, value=value))

        return answer

    def _open_playout(self, message: m.PlayoutOpen, descriptors: tuple[int, ...]) -> None:
        """Takes the descriptors over. A lane that is none is refused, and who sends goes on."""
        try:
            with until_taken(descriptors):
                kind = _kind(message)  # whoever counts its lane relies on that
                row = self._ledger.lend(message.row, self)
                self._list(message)
                track = _as_track(message, kind)
                handles = LaneDescriptors.from_flat(descriptors)
            if kind is Kind.DATA:
                self._open_data(message, ReliableReader(handles, row, message.name))
            else:
                self._open_track(message, track, self._reader(message, handles, row))
        except RingroomError as error:
            self._refuse(message, error)

    def _list(self, message: m.PlayoutOpen) -> None:
        self._ledger.begin(
            m.LaneListed(
                row=message.row,
                direction="out",
                track=message.name,
                kind=message.kind,
                participant="",
                place=self.place,
            )
        )

    def _reader(self, message: m.PlayoutOpen, handles: LaneDescriptors, row: Row) -> Reader:
        if not message.live:
            return ReliableReader(handles, row, message.name)
        age = int(self._room.options.max_age * 1e9)
        return LiveReader(handles, row, message.name, max_age_ns=age, clock=self._room.clock)

    def _open_data(self, message: m.PlayoutOpen, reader: ReliableReader) -> None:
        data = OutgoingData(reader, self._data_failed, self._ledger.retire)
        before = [p.task for p in self._playing if isinstance(p.playout, OutgoingData)]
        playing = self._play(message, data)
        playing.task = self._loop.create_task(self._run_data(playing, data, before))

    def _open_track(self, message: m.PlayoutOpen, track: OutgoingTrack, reader: Reader) -> None:
        """Go on with the track of that name, if it is not ending and carries the same; else begin
        one, after those that end."""
        ending: asyncio.Task[None] | None = None
        for playing in self._playing:
            if playing.name != message.name or not isinstance(playing.playout, OutgoingPlayout):
                continue
            if not playing.playout.fits(message):
                playing.playout.finish()
            if not playing.playout.closing:
                playing.playout.replace(reader)
                playing.number = message.lane
                self._tell_ready(playing)
                return
            ending = playing.task  # the last of that name, if there are several
        if ending is None:
            try:
                self._claim(message.name)
            except BusyError:
                reader.close()
                raise
        playout = OutgoingPlayout(track, reader, self._room.clock, self._ledger.retire)
        playing = self._play(message, playout)
        playing.task = self._loop.create_task(self._run_playout(playing, playout, ending))

    def _claim(self, name: str) -> None:
        if not self._room.claim_track(name, self):
            raise BusyError(
                f"track {name!r} is sent by somebody else already; a track has one writer (workers "
                "that share one need workers=1, or a track for each participant)"
            )

    def _refuse(self, message: m.PlayoutOpen, error: RingroomError) -> None:
        self._ledger.retire(message.row)
        self.send(m.PlayoutFailed(lane=message.lane, error=m.error_to_json(error)))

    def _play(self, message: m.PlayoutOpen, playout: OutgoingPlayout | OutgoingData) -> _Playing:
        playing = _Playing(message.lane, message.name, playout)
        playing.unanswering = self._answers_ended(message.name)
        self._playing.append(playing)
        return playing

    def _tell_ready(self, playing: _Playing) -> None:
        if playing.number:
            self.send(m.PlayoutReady(lane=playing.number))

    def _tell_failed(self, playing: _Playing, error: RingroomError) -> None:
        if playing.number:
            self.send(m.PlayoutFailed(lane=playing.number, error=m.error_to_json(error)))

    async def _run_playout(
        self, playing: _Playing, playout: OutgoingPlayout, ending: asyncio.Task[None] | None
    ) -> None:
        try:
            if ending is not None:
                # The track of that name before it plays out first.
                await asyncio.wait([ending])
                self._claim(playing.name)
            provider = None
            while True:
                provider = await self._room.joined_provider(provider)
                if await playout.run(provider, lambda: self._tell_ready(playing)):
                    break
                if playout.is_over():
                    break  # what was left of it went with the room
        except ClosedError:
            pass  # the room is over, which is told
        except Exception as error:
            if not isinstance(error, RingroomError):
                log.exception("the provider failed to publish %r", playing.name)
            failed = as_ours(error)
            self._tell_failed(playing, failed)
            self._room.tell(Event(kind=EventKind.PUBLISH_FAILED, reason=str(failed)))
        finally:
            playout.close()
            self._room.release_track(playing.name, self)
            self._forget(playing)

    async def _run_data(
        self, playing: _Playing, data: OutgoingData, before: list[asyncio.Task[None] | None]
    ) -> None:
        try:
            for task in before:
                # What a writer said before it died goes first.
                if task is not None:
                    await asyncio.wait([task])
            provider = await self._room.joined_provider()
            self._tell_ready(playing)
            while not await data.run(provider):
                provider = await self._room.joined_provider(provider)
        except ClosedError:
            pass  # the room is over, which is told
        except RingroomError as error:
            self._tell_failed(playing, error)
        finally:
            data.close()
            self._forget(playing)

    def _forget(self, playing: _Playing) -> None:
        if playing not in self._playing:
            return  # it did not end in time
        self._playing.remove(playing)
        for tell in playing.waiting:
            tell()

    def _data_failed(self, error: RingroomError) -> None:
        if self.closed:
            return  # we have left, and nobody hears it
        log.warning("a message was not sent: %s", str(error))
        self._room.tell(Event(kind=EventKind.DATA_FAILED, reason=str(error)))

    async def close(self) -> None:
        """Idempotent."""
        try:
            await self.close_lanes()
        finally:
            if self._wire is not None:
                self._wire.close()

    async def close_lanes(self) -> None:
        """Close all but the link, over which the last counts are still told."""
        if self.closed:
            return
        self.closed = self.inbound.closed = True
        tasks = [playing.task for playing in self._playing if playing.task is not None]
        for task in tasks:
            task.cancel()
        try:
            if tasks:
                await asyncio.wait(tasks)
        finally:
            # A task that is cancelled before it begins has closed nothing, nor has one whose
            # provider does not close its source in time.
            for task in tasks:
                task.cancel()
            for playing in tuple(self._playing):
                playing.playout.close()
                self._forget(playing)
            self.inbound.close()


def _kind(message: m.PlayoutOpen) -> Kind:
    try:
        return Kind(message.kind)
    except ValueError:
        raise FrameError(f"track {message.name!r} is of kind {message.kind!r}") from None


def _as_track(message: m.PlayoutOpen, kind: Kind) -> OutgoingTrack:
    """What is to be published. Raises `FrameError`."""
    try:
        publish = PublishOptions(**message.publish)
    except (TypeError, ConfigurationError) as error:
        raise FrameError(f"track {message.name!r}: {error}") from None
    return OutgoingTrack(
        name=message.name,
        kind=kind,
        options=publish,
        sample_rate=message.sample_rate,
        channels=message.channels,
        width=message.width,
        height=message.height,
    )
