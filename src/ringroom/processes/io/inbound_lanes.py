"""The inbound lanes of one reader, as the I/O role sees them.

`InboundLanes` owns the writing ends. Each call that writes to a live lane holds
`InboundLanes.lock`, because sound may come on any thread (`LiveTrack.audio_at_once`). A lane lives
until its reader is done with it, or until everything ends: it outlives a reader that dies. While
there is no reader, frames still go into the ring (whose span bounds them); the next reader gets the
same lanes, from the first frame that was never taken.

Law: sent = done + dropped + lost + in flight for each lane at every moment, for a lane keeps its
row of statistics. Nothing comes twice: what was taken and not done is lost, and not tried again.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from ringroom import messages as m
from ringroom.checks import MAX_FILE_BYTES
from ringroom.errors import ClosedError, StartupError
from ringroom.events import Event, Kind, Participant, TrackInfo
from ringroom.frames import DataFrame
from ringroom.lanes.lane import grown, ring_for
from ringroom.lanes.live import LiveWriter
from ringroom.lanes.records import participant_to_json, track_to_json
from ringroom.lanes.reliable import ReliableWriter
from ringroom.lanes.ring import Geometry
from ringroom.lanes.statistics import Row
from ringroom.notices import LostFrames, Notices
from ringroom.options import SessionOptions
from ringroom.processes.io.inbound import WHY_FULL
from ringroom.processes.io.mailbox import MAILBOX_RING, Mailbox
from ringroom.processes.io.row_ledger import RowLedger

log = logging.getLogger("ringroom.io")
W = TypeVar("W", LiveWriter, ReliableWriter)

# A reader gives up lanes that have ended and that it does not read, beyond a number of its own
# (`incoming.MAX_UNREAD_ENDED`); a source that waits for it stays well below.
MAX_UNREAD_ENDED = 32
STALL_SECONDS = 10.0
# Between two tries to write an event that had no room.
OWED_SECONDS = 0.02
# What one reader's lanes may take while it does not read: sixty cameras of 1080p (1.4 GiB) of which
# some change their size, or a thousand microphones.
MAX_LANES = 1_024
MAX_LANES_BYTES = 2 << 30


class InboundRoom(Protocol):
    """What is needed of the room. Its options are known once it is opened."""

    options: SessionOptions
    clock: Callable[[], int]
    notices: Notices
    lost: LostFrames


class Teller(Protocol):
    """Sends to the reader that is there now."""

    def __call__(self, message: m.Message, descriptors: tuple[int, ...] = ()) -> None: ...


@dataclass(slots=True, eq=False)
class _Lane:
    opened: m.LaneOpened
    writer: LiveWriter | ReliableWriter
    reply_name: str = ""
    """The track of ours that answers it, if there is one."""
    mailbox: Mailbox | None = None
    ended: bool = False

    def close(self) -> None:
        if self.mailbox is not None:
            self.mailbox.close()
        else:
            self.writer.row.bury()
            self.writer.close()


class InboundLanes:
    """See the module's docstring. ``place`` is the worker's number, -1 the application."""

    def __init__(self, room: InboundRoom, ledger: RowLedger, place: int, tell: Teller) -> None:
        self.clock = room.clock
        self.notices = room.notices
        self.lost = room.lost
        self.lock = threading.RLock()
        self.closed = False
        self._room = room
        self._ledger = ledger
        self._place = place
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._numbers = 0
        self._lanes: dict[int, _Lane] = {}
        self._mailboxes: dict[Kind, Mailbox] = {}
        self._progress = asyncio.Event()
        self._stall_told = False
        self._owed_timer: asyncio.TimerHandle | None = None

    @property
    def options(self) -> SessionOptions:
        return self._room.options

    def open_live(
        self, ring: Geometry, track: TrackInfo, participant: Participant, follows: int
    ) -> tuple[int, LiveWriter]:
        number, lane, writer = self._open(LiveWriter, ring, track, participant, follows)
        self._announce(number, lane)
        return number, writer

    def open_patient(
        self, ring: Geometry, track: TrackInfo, participant: Participant, follows: int
    ) -> tuple[int, Mailbox]:
        number, lane, writer = self._open(ReliableWriter, ring, track, participant, follows)
        mailbox = lane.mailbox = Mailbox(writer, self.clock, self.notices)
        self._announce(number, lane)
        return number, mailbox

    def _open(
        self,
        made: type[W],
        ring: Geometry,
        track: TrackInfo,
        participant: Participant,
        follows: int,
    ) -> tuple[int, _Lane, W]:
        self._check_room_for(ring.capacity)
        row, writer = self._make(made, ring)
        name = track.name or track.sid
        self._ledger.begin(row, track.kind, self._place, track=name, participant=track.participant)
        self._numbers += 1
        message = m.LaneOpened(
            lane=self._numbers,
            row=row.index,
            kind=track.kind.value,
            live=isinstance(writer, LiveWriter),
            track=track_to_json(track),
            participant=participant_to_json(participant),
            follows=follows,
        )
        return self._numbers, _Lane(message, writer, track.reply_name), writer

    def _make(self, made: type[W], ring: Geometry) -> tuple[Row, W]:
        row = self._ledger.acquire()
        try:
            return row, made(ring, row)
        except BaseException:  # no memory, no descriptors: nobody was told of the row
            self._ledger.release(row)
            raise

    def _check_room_for(self, capacity: int) -> None:
        if self.closed:
            raise ClosedError("its reader is closed")
        lanes = self._lanes.values()
        taken = sum(lane.writer.capacity for lane in lanes)
        if len(lanes) >= MAX_LANES or taken + capacity > MAX_LANES_BYTES:
            raise StartupError(
                f"its reader has {len(lanes)} lanes of {taken >> 20} MiB, and reads them too slowly"
            )

    def _announce(self, number: int, lane: _Lane) -> None:
        self._lanes[number] = lane
        try:
            self._tell(lane.opened, lane.writer.descriptors().flat())
        except BaseException:  # no descriptors are left for it: nobody will say that it is done
            self.close_lane(number)
            raise

    def lane_ending(self, number: int) -> None:
        lane = self._lanes.get(number)
        if lane is not None:
            lane.ended = True
        self._tell(m.LaneEnding(lane=number))
        self._write_owed()

    async def caught_up(self) -> None:
        """Wait until nothing waits for room in the lanes, and few lanes that have ended wait to be
        read."""
        patient = [lane.mailbox for lane in self._lanes.values() if lane.mailbox is not None]
        for mailbox in patient:
            if not mailbox.emptied.is_set():
                await self._wait(mailbox.emptied)
        while self._unread > MAX_UNREAD_ENDED:
            self._progress.clear()
            await self._wait(self._progress)

    @property
    def _unread(self) -> int:
        return sum(lane.ended and lane.mailbox is not None for lane in self._lanes.values())

    async def _wait(self, event: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(STALL_SECONDS):
                await event.wait()
        except TimeoutError:
            if not self._stall_told:
                self._stall_told = True
                log.warning(
                    "the source waits for a reader: of what is asked for by kinds=, "
                    "participants= and tracks= something is not received"
                )
            await event.wait()

    def _write_owed(self) -> None:
        """Write events that had no room in their lanes, until none is owed."""
        if self._owed_timer is not None:  # one is enough, however often this is called
            self._owed_timer.cancel()
        live = [lane.writer for lane in self._lanes.values() if isinstance(lane.writer, LiveWriter)]
        with self.lock:
            owed = [writer for writer in live if not writer.write_owed()]
        self._owed_timer = self._loop.call_later(OWED_SECONDS, self._write_owed) if owed else None

    def post(self, kind: Kind, item: DataFrame | Event) -> bool:
        """Write a message or a room event for the reader; whether it is on its way."""
        if self.closed or kind not in self.options.kinds:
            return False
        mailbox = self._mailboxes.get(kind) or self._first_mailbox(kind)
        lost = mailbox.post(item) if mailbox is not None else 0
        if lost:
            self.lost.note(kind.value, WHY_FULL, lost)
        return mailbox is not None and not lost

    def refuse(self, kind: Kind) -> None:
        """Count as dropped a message for the reader that did not come whole."""
        if self.closed or kind not in self.options.kinds:
            return
        mailbox = self._mailboxes.get(kind) or self._first_mailbox(kind)
        if mailbox is not None:
            mailbox.writer.row.count_refused()

    def _first_mailbox(self, kind: Kind) -> Mailbox | None:
        """None while it cannot be made, for want of memory, say: the next message tries again."""
        try:
            mailbox = self._mailboxes[kind] = self._open_mailbox(kind)
        except StartupError as error:
            self.notices.tell(kind.value, f"of {kind.value} nothing is received: {error}")
            return None
        return mailbox

    def _open_mailbox(self, kind: Kind) -> Mailbox:
        lane, writer = self._post_lane(kind, MAILBOX_RING, follows=0)
        follow = partial(self._follow_mailbox, kind)
        lane.mailbox = mailbox = Mailbox(writer, self.clock, self.notices, follow)
        self._announce(lane.opened.lane, lane)
        return mailbox

    def _follow_mailbox(self, kind: Kind, nbytes: int) -> ReliableWriter | None:
        """A lane in which the mailbox of that kind goes on, with room for a record of that size;
        None where it cannot be had, which is told."""
        mailbox = self._mailboxes[kind]
        before = next(lane for lane in self._lanes.values() if lane.mailbox is mailbox)
        ring = ring_for(grown(nbytes, before.writer.max_record, MAX_FILE_BYTES), 4)
        try:
            self._check_room_for(ring.capacity)
            lane, writer = self._post_lane(kind, ring, follows=before.opened.lane)
            self._announce(lane.opened.lane, lane)
        except (StartupError, ClosedError) as error:
            self.notices.tell("lane", f"no lane for {kind.value} of {nbytes} bytes: {error}")
            return None
        before.mailbox, before.ended, lane.mailbox = None, True, mailbox
        return writer

    def _post_lane(self, kind: Kind, ring: Geometry, follows: int) -> tuple[_Lane, ReliableWriter]:
        """A lane for messages or room events; the reader is not told of it yet."""
        row, writer = self._make(ReliableWriter, ring)
        self._ledger.begin(row, kind, self._place)
        self._numbers += 1
        message = m.LaneOpened(
            lane=self._numbers,
            row=row.index,
            kind=kind.value,
            live=False,
            track={},
            participant={},
            follows=follows,
        )
        return _Lane(message, writer), writer

    def hand_over(self) -> None:
        """The reader is dead, and another is there: it gets every lane, from the first frame that
        was not taken."""
        for lane in tuple(self._lanes.values()):  # a mailbox may go on in another
            with self.lock:
                position, waiting = lane.writer.succeed()
            again = lane.opened.replace(position=position, waiting=waiting)
            self._tell(again, lane.writer.descriptors().flat())
            if lane.mailbox is not None:
                lane.mailbox.drain()
        for number, lane in self._lanes.items():
            if lane.ended:
                self._tell(m.LaneEnding(lane=number))
        self._write_owed()

    def reply_name(self, number: int) -> str:
        """The name under which that lane is answered; empty if it is none of a track."""
        lane = self._lanes.get(number)
        return "" if lane is None else lane.reply_name

    def flows(self, reply_name: str) -> bool:
        """Whether there is a lane that is answered under that name."""
        return any(lane.reply_name == reply_name for lane in self._lanes.values())

    def close_lane(self, number: int) -> None:
        """The reader is done with a lane."""
        lane = self._lanes.pop(number, None)
        if lane is not None:
            if lane.mailbox is not None:  # one that the reader could not read on: another follows
                self._mailboxes.pop(Kind(lane.opened.kind), None)
            with self.lock:
                lane.close()
            self._ledger.retire(lane.writer.row.index)
            self._progress.set()

    def stop(self) -> None:
        """Open no lane from here on, and write to none."""
        with self.lock:
            self.closed = True

    def close(self) -> None:
        """Close all lanes; what was not taken is lost, counted. Idempotent."""
        self.stop()
        if self._owed_timer is not None:
            self._owed_timer.cancel()
        self._mailboxes.clear()
        for number in tuple(self._lanes):
            self.close_lane(number)
