"""A reader and writer of a room, as the I/O role sees it: the application or one worker.

Owns the writing ends of the lanes to it, the playouts from it, and the link to it. When its link
ends (it closed, or died) everything of it is closed here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ringroom import messages as m
from ringroom.errors import (
    BusyError,
    ConfigurationError,
    FrameError,
    RingroomError,
    RoomError,
    StartupError,
)
from ringroom.frames import DataFrame, Event, EventKind, Kind, Participant, TrackInfo
from ringroom.lanes.lane import LaneDescriptors
from ringroom.lanes.live import LiveReader, LiveWriter
from ringroom.lanes.records import participant_to_json, track_to_json
from ringroom.lanes.reliable import ReliableReader, ReliableWriter
from ringroom.lanes.statistics import Row
from ringroom.notices import LostFrames, Notices
from ringroom.options import PublishOptions, SessionOptions
from ringroom.processes.inbound import (
    DROPPED_FULL,
    MAILBOX_RING_BYTES,
    SETTLE_SECONDS,
    Mailbox,
    close_writer,
)
from ringroom.processes.playouts import OutgoingData, OutgoingPlayout, Reader
from ringroom.processes.wire import LoopLink, as_ours, close_descriptors
from ringroom.providers.provider import OutgoingTrack, Provider

log = logging.getLogger("ringroom.io")
W = TypeVar("W", LiveWriter, ReliableWriter)

# A reader gives up lanes that have ended and that it does not read, beyond a number of its own
# (`session.MAX_UNREAD_ENDED`); who waits for it stays well below.
MAX_UNREAD_ENDED = 32
STALL_SECONDS = 10.0
# What one reader's lanes may take while it does not read: forty cameras of 1080p, or a thousand
# microphones.
MAX_LANES = 1_024
MAX_LANES_BYTES = 1 << 30


class Room(Protocol):
    """What an attachment needs of the room it is attached to."""

    options: SessionOptions
    clock: Callable[[], int]
    notices: Notices
    lost: LostFrames

    def acquire_row(self) -> Row: ...
    def row(self, index: int) -> Row: ...
    def list_lane(self, listing: m.LaneListed, owner: Attachment | None) -> None: ...
    def retire_lane(self, row: int) -> None: ...
    async def joined_provider(self) -> Provider: ...
    def claim_track(self, name: str, owner: Attachment) -> bool: ...
    def release_track(self, name: str, owner: Attachment) -> None: ...
    def event(self, event: Event) -> None: ...


@dataclass(slots=True)
class _Playing:
    playout: OutgoingPlayout | OutgoingData
    task: asyncio.Task[None]
    rows: list[int]
    name: str


class Attachment:
    """See the module's docstring. ``place`` is the worker's number, -1 the application."""

    def __init__(self, room: Room, place: int) -> None:
        self.place = place
        self.options = room.options
        self.clock = room.clock
        self.closed = False
        self._room = room
        self._wire: LoopLink | None = None
        self._loop = asyncio.get_running_loop()
        self._numbers = 0
        self._writers: dict[int, LiveWriter] = {}
        self._mailboxes: dict[Kind, Mailbox] = {}
        self._patient: dict[int, Mailbox] = {}
        self._ended: set[int] = set()
        self._progress = asyncio.Event()
        self._told = False
        self._playing: dict[int, _Playing] = {}
        self._settling: asyncio.TimerHandle | None = None

    def connect(self, wire: LoopLink) -> None:
        """From here on messages can be sent to it."""
        self._wire = wire

    def send(self, message: m.Message, descriptors: tuple[int, ...] = ()) -> None:
        if self._wire is not None:
            self._wire.send(message, descriptors)

    # Inbound: lanes that we write and it reads.

    def open_live(
        self, capacity: int, track: TrackInfo, participant: Participant, follows: int
    ) -> tuple[int, LiveWriter]:
        number, writer = self._open(LiveWriter, capacity, track, participant, follows)
        self._writers[number] = writer
        return number, writer

    def open_patient(
        self, capacity: int, track: TrackInfo, participant: Participant, follows: int
    ) -> tuple[int, Mailbox]:
        number, writer = self._open(ReliableWriter, capacity, track, participant, follows)
        mailbox = self._patient[number] = Mailbox(writer, self.clock)
        return number, mailbox

    def _open(
        self,
        made: type[W],
        capacity: int,
        track: TrackInfo,
        participant: Participant,
        follows: int,
    ) -> tuple[int, W]:
        self._check_room_for(capacity)
        row = self._room.acquire_row()
        try:
            writer = made(capacity, row)
        except BaseException:
            self._room.retire_lane(row.index)
            raise
        self._numbers += 1
        self._list(row, "in", track.name or track.sid, track.kind, track.participant)
        message = m.LaneOpened(
            lane=self._numbers,
            row=row.index,
            kind=track.kind.value,
            live=isinstance(writer, LiveWriter),
            track=track_to_json(track),
            participant=participant_to_json(participant),
            follows=follows,
        )
        self.send(message, writer.descriptors().flat())
        return self._numbers, writer

    def _check_room_for(self, capacity: int) -> None:
        lanes = [*self._writers.values(), *(box.writer for box in self._patient.values())]
        taken = sum(writer.capacity for writer in lanes)
        if len(lanes) >= MAX_LANES or taken + capacity > MAX_LANES_BYTES:
            raise StartupError(
                f"its reader has {len(lanes)} lanes of {taken >> 20} MiB, and reads them too slowly"
            )

    def lane_ending(self, number: int) -> None:
        if number in self._patient:
            self._ended.add(number)
        self.send(m.LaneEnding(lane=number))
        self._settle()

    async def caught_up(self) -> None:
        """Until nothing waits for room in its lanes, and few that ended wait to be read."""
        for mailbox in (*self._mailboxes.values(), *self._patient.values()):
            if not mailbox.emptied.is_set():
                await self._wait(mailbox.emptied)
        while len(self._ended) > MAX_UNREAD_ENDED:
            self._progress.clear()
            await self._wait(self._progress)

    async def _wait(self, event: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(STALL_SECONDS):
                await event.wait()
        except TimeoutError:
            if not self._told:
                self._told = True
                log.warning(
                    "the source waits for a reader: of what is asked for by kinds= and "
                    "participants= something is not received"
                )
            await event.wait()

    def log_problem(self, text: str) -> None:
        self._room.notices.tell("lane", text)

    def frames_dropped(self, track: str, cause: str, count: int) -> None:
        self._room.lost.note(track, cause, count)

    def _settle(self) -> None:
        """Write events that had no room in their lanes, until none is owed."""
        owed = [writer for writer in self._writers.values() if not writer.settle()]
        self._settling = self._loop.call_later(SETTLE_SECONDS, self._settle) if owed else None

    def post(self, kind: Kind, item: DataFrame | Event) -> None:
        """A message or a room event for it."""
        if self.closed or kind not in self.options.kinds:
            return
        mailbox = self._mailboxes.get(kind)
        if mailbox is None:
            try:
                mailbox = self._mailboxes[kind] = self._open_mailbox(kind)
            except StartupError as error:
                self.log_problem(f"{kind} is not received: {error}")
                return
        lost = mailbox.post(item)
        if lost:
            self.frames_dropped(kind.value, DROPPED_FULL, lost)

    def _open_mailbox(self, kind: Kind) -> Mailbox:
        row = self._room.acquire_row()
        try:
            writer = ReliableWriter(MAILBOX_RING_BYTES, row)
        except BaseException:
            self._room.retire_lane(row.index)
            raise
        self._numbers += 1
        self._list(row, "in", "", kind, "")
        message = m.LaneOpened(
            lane=self._numbers,
            row=row.index,
            kind=kind.value,
            live=False,
            track={},
            participant={},
            follows=0,
        )
        self.send(message, writer.descriptors().flat())
        return Mailbox(writer, self.clock)

    def _list(self, row: Row, direction: str, track: str, kind: Kind, participant: str) -> None:
        listing = m.LaneListed(
            row=row.index,
            direction=direction,
            track=track,
            kind=kind.value,
            participant=participant,
            place=self.place,
        )
        self._room.list_lane(listing, self if direction == "out" else None)

    # Outbound: lanes that it writes and we read.

    def handle(self, message: m.Message, descriptors: tuple[int, ...]) -> None:
        """A message from it."""
        match message:
            case m.PlayoutOpen():
                self._open_playout(message, descriptors)
                return
            case m.LaneDone(lane=number):
                self._bury(number)
            case m.Flush(request=request, lane=number, sequence=sequence):
                playing = self._playing.get(number)
                if playing is not None and isinstance(playing.playout, OutgoingPlayout):
                    playing.playout.flush(request, sequence, self._answer)
                else:
                    self._answer(request, 0.0)
            case m.Drain(request=request, lane=number, sequence=sequence):
                playing = self._playing.get(number)
                if playing is not None:
                    playing.playout.drain(request, sequence, self._answer)
                else:
                    self._answer(request, 0.0)
            case m.PlayoutClose(lane=number):
                playing = self._playing.get(number)
                if playing is not None and isinstance(playing.playout, OutgoingPlayout):
                    playing.playout.finish()
            case _:
                log.error("a message that does not belong here: %s", type(message).__name__)
        close_descriptors(descriptors)

    def _answer(self, request: int, value: float) -> None:
        self.send(m.Reply(request=request, value=value))

    def _bury(self, number: int) -> None:
        writer = self._writers.pop(number, None)
        if writer is not None:
            row = writer.row.index
            close_writer(writer)
            self._room.retire_lane(row)
        mailbox = self._patient.pop(number, None)
        if mailbox is not None:
            mailbox.close()
            self._room.retire_lane(mailbox.writer.row.index)
            self._ended.discard(number)
            self._progress.set()

    def _open_playout(self, message: m.PlayoutOpen, descriptors: tuple[int, ...]) -> None:
        row = self._room.row(message.row)
        self._list(row, "out", message.name, Kind(message.kind), "")
        try:
            publish = _publish_options(message)
        except FrameError as error:
            close_descriptors(descriptors)
            self._refuse(message, error)
            return
        try:
            reader = self._reader(message, descriptors, row)
        except RingroomError as error:  # it has closed the descriptors
            self._refuse(message, error)
            return
        if message.kind == Kind.DATA:
            assert isinstance(reader, ReliableReader)
            data = OutgoingData(reader, self._data_failed)
            self._start(message, data, self._run_data(message, data))
            return
        ending: asyncio.Task[None] | None = None
        for number, playing in self._playing.items():
            if playing.name == message.name and isinstance(playing.playout, OutgoingPlayout):
                if playing.playout.closing:
                    ending = playing.task  # the last of that name, if there are several
                    continue
                playing.playout.replace(reader)
                playing.rows.append(message.row)
                self._playing[message.lane] = self._playing.pop(number)
                self.send(m.PlayoutReady(lane=message.lane))
                return
        if ending is None:
            try:
                self._claim(message.name)
            except BusyError as error:
                reader.close()
                self._refuse(message, error)
                return
        track = OutgoingTrack(
            name=message.name,
            kind=Kind(message.kind),
            options=publish,
            sample_rate=message.sample_rate,
            channels=message.channels,
            width=message.width,
            height=message.height,
        )
        playout = OutgoingPlayout(track, reader, self.clock)
        self._start(message, playout, self._run_playout(message, playout, ending))

    def _claim(self, name: str) -> None:
        if not self._room.claim_track(name, self):
            raise BusyError(
                f"track {name!r} is sent by somebody else already; a track has one writer"
            )

    def _refuse(self, message: m.PlayoutOpen, error: RingroomError) -> None:
        self._room.retire_lane(message.row)
        self.send(m.PlayoutFailed(lane=message.lane, error=m.error_to_json(error)))

    def _reader(self, message: m.PlayoutOpen, descriptors: tuple[int, ...], row: Row) -> Reader:
        handles = LaneDescriptors.from_flat(descriptors)
        if not message.live:
            return ReliableReader(handles, row, message.name)
        age = int(self.options.max_age * 1e9)
        return LiveReader(handles, row, message.name, max_age_ns=age, clock=self.clock)

    def _start(
        self,
        message: m.PlayoutOpen,
        playout: OutgoingPlayout | OutgoingData,
        run: asyncio._CoroutineLike[None],
    ) -> None:
        task = self._loop.create_task(run)
        self._playing[message.lane] = _Playing(playout, task, [message.row], message.name)

    async def _run_playout(
        self,
        message: m.PlayoutOpen,
        playout: OutgoingPlayout,
        ending: asyncio.Task[None] | None,
    ) -> None:
        def ready() -> None:
            self.send(m.PlayoutReady(lane=message.lane))

        try:
            if ending is not None:
                # The track of that name before it plays out first.
                await asyncio.wait([ending])
                self._claim(message.name)
            provider = await self._room.joined_provider()
            await playout.run(provider, ready)
        except Exception as error:
            if not isinstance(error, RingroomError):
                log.exception("the provider failed to publish %r", message.name)
            failed = as_ours(error)
            self.send(m.PlayoutFailed(lane=message.lane, error=m.error_to_json(failed)))
            self._room.event(Event(kind=EventKind.PUBLISH_FAILED, reason=str(failed)))
        finally:
            playout.close()
            self._room.release_track(message.name, self)
            self._forget(playout)

    async def _run_data(self, message: m.PlayoutOpen, data: OutgoingData) -> None:
        try:
            provider = await self._room.joined_provider()
            self.send(m.PlayoutReady(lane=message.lane))
            await data.run(provider)
        except RoomError as error:
            self.send(m.PlayoutFailed(lane=message.lane, error=m.error_to_json(error)))
        finally:
            data.close()
            self._forget(data)

    def _forget(self, playout: OutgoingPlayout | OutgoingData) -> None:
        for number, playing in tuple(self._playing.items()):
            if playing.playout is playout:
                del self._playing[number]
                for row in playing.rows:
                    self._room.retire_lane(row)

    def _data_failed(self, error: RingroomError) -> None:
        log.warning("a message was not sent: %s", str(error))
        self._room.event(Event(kind=EventKind.DATA_FAILED, reason=str(error)))

    async def close(self) -> None:
        """Idempotent."""
        await self.close_lanes()
        if self._wire is not None:
            self._wire.close()

    async def close_lanes(self) -> None:
        """Close all but the link, over which the last counts are still told."""
        if self.closed:
            return
        self.closed = True
        if self._settling is not None:
            self._settling.cancel()
        tasks = [playing.task for playing in self._playing.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for mailbox in self._mailboxes.values():
            mailbox.close()
            self._room.retire_lane(mailbox.writer.row.index)
        self._mailboxes.clear()
        for number in (*self._writers, *self._patient):
            self._bury(number)


def _publish_options(message: m.PlayoutOpen) -> PublishOptions:
    try:
        return PublishOptions(**message.publish)
    except (TypeError, ConfigurationError) as error:
        raise FrameError(f"track {message.name!r}: {error}") from None
