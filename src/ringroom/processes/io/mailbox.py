"""What a reader that may be slow is told by a writer that cannot wait: messages, room events, and
the tracks of a provider that is patient.

A file for which the lane is too small has another opened, in which all goes on that comes after it.

A reliable lane, and a bounded backlog of what it has no room for. What is beyond the bound, or
cannot wait because the loop may watch no descriptor more, is dropped, counted. The lane's reader is
told how many were dropped, as soon as there is room. What no record takes is left out, counted too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace

from ringroom.errors import FrameError, WouldBlock
from ringroom.events import Event, EventKind
from ringroom.frames import (
    AudioFrame,
    DataFrame,
    DataTrackFrame,
    FileFrame,
    Item,
    TextFrame,
    VideoFrame,
)
from ringroom.lanes import records
from ringroom.lanes.lane import ring_for
from ringroom.lanes.reliable import ReliableWriter
from ringroom.notices import Notices
from ringroom.processes.io.admission import bare
from ringroom.system import unwatched

__all__ = ["MAILBOX_RING", "Mailbox"]

MAILBOX_RING = ring_for(1 << 18, 4)
MAX_BACKLOG_BYTES = 8 << 20


def nothing_follows(nbytes: int) -> ReliableWriter | None:
    """No larger lane is to be had."""
    return None


class Mailbox:
    """A reliable lane, and the backlog of a writer that cannot wait for room in it."""

    def __init__(
        self,
        writer: ReliableWriter,
        clock: Callable[[], int],
        notices: Notices,
        follow: Callable[[int], ReliableWriter | None] = nothing_follows,
    ) -> None:
        """``follow`` opens a lane for records of so many bytes, which is read after this one."""
        self.writer = writer
        self._follow = follow
        self.emptied = asyncio.Event()
        """Set while nothing waits for room."""
        self.emptied.set()
        self._clock = clock
        self._notices = notices
        self._loop = asyncio.get_running_loop()
        self._backlog: deque[tuple[Item, int, int]] = deque()
        self._backlog_bytes = 0
        self._lost = 0

    @property
    def max_record(self) -> int:
        return self.writer.max_record

    def post(self, item: Item) -> int:
        """Write the item, now or when there is room; how many items were dropped for it: 0 or 1."""
        now = self._clock()
        if self.emptied.is_set():
            self._tell_lost()
            if self._write(item, now):
                return 0
            if not self._watch():
                return self._drop(item)
        nbytes = _held_bytes(item)
        if self._backlog and self._backlog_bytes + nbytes > MAX_BACKLOG_BYTES:
            return self._drop(item)
        self._backlog.append((item, now, nbytes))
        self._backlog_bytes += nbytes
        return 0

    def _drop(self, item: Item) -> int:
        self._lost += 1
        if not isinstance(item, Event):
            self.writer.row.count_refused()
        return 1

    def _watch(self) -> bool:
        """Have `drain` called once there is room. Returns whether that could be had."""
        try:
            self._loop.add_reader(self.writer.freed_fileno(), self.drain)
        except OSError as error:
            self._notices.tell(
                "mailbox", f"what has no room cannot wait for it: {unwatched(error)}"
            )
            return False
        self.emptied.clear()
        return True

    def drain(self) -> None:
        """Write what waits for room, if there is some."""
        if self.emptied.is_set():
            return
        while self._backlog:
            item, received_ns, nbytes = entry = self._backlog.popleft()
            if not self._write(item, received_ns):
                self._backlog.appendleft(entry)
                return  # the writer took what credit there was: the loop sleeps until more
            self._backlog_bytes -= nbytes
        if not self._tell_lost():
            return
        self._loop.remove_reader(self.writer.freed_fileno())
        self.emptied.set()

    def _tell_lost(self) -> bool:
        """Tell the reader what was dropped. Returns whether there was room for that."""
        if self._lost:
            told = Event(kind=EventKind.EVENTS_LOST, reason=f"{self._lost} not read in time")
            if not self._write(told, self._clock()):
                return False
            self._lost = 0
        return True

    def _write(self, item: Item, received_ns: int) -> bool:
        """Write the item, if there is room. Returns whether it is done with: it is written, or no
        record takes it."""
        try:
            self.writer.send_nowait(item, received_ns)
        except WouldBlock:
            return False
        except FrameError as error:
            # An event may tell of a participant, or a room, with more metadata than a record takes.
            who = item.participant if isinstance(item, Event) else None
            if isinstance(item, Event) and who and (who.metadata or who.attributes):
                return self._write(replace(item, participant=bare(who)), received_ns)
            room = item.room if isinstance(item, Event) else None
            if isinstance(item, Event) and room and room.metadata:
                return self._write(replace(item, room=replace(room, metadata="")), received_ns)
            if isinstance(item, FileFrame) and self._go_on(records.size_of(item)):
                return self._write(item, received_ns)
            self._notices.tell("too large", f"something received is left out: {error}")
            if not isinstance(item, Event):
                self.writer.row.count_refused()
        return True

    def _go_on(self, nbytes: int) -> bool:
        """Go on in a lane for records of that size; whether there is one."""
        if nbytes <= self.writer.max_record:
            return False
        writer = self._follow(nbytes)
        if writer is None:
            return False
        writer.number_from(self.writer.sequence)
        is_waiting = not self.emptied.is_set()
        if is_waiting:
            self._loop.remove_reader(self.writer.freed_fileno())
        self.writer = writer
        if is_waiting and not self._watch():
            for waiting, _, held in self._backlog:
                self._drop(waiting)
                self._backlog_bytes -= held
            self._backlog.clear()
        return True

    def close(self) -> None:
        """Idempotent."""
        if not self.emptied.is_set():
            self._loop.remove_reader(self.writer.freed_fileno())
            self._backlog.clear()
            self.emptied.set()
        self.writer.row.bury()
        self.writer.close()


def _held_bytes(item: Item) -> int:
    if isinstance(item, AudioFrame):
        return 256 + item.samples.nbytes
    if isinstance(item, VideoFrame):
        return 256 + item.data.nbytes
    if isinstance(item, TextFrame | FileFrame):
        return 512 + len(item.payload) + len(item.topic) + _characters(item.attributes)
    if isinstance(item, DataFrame):
        return 256 + len(item.payload) + len(item.topic)
    if isinstance(item, DataTrackFrame):
        return 256 + len(item.payload)
    who, room = item.participant, item.room
    of_room = 0 if room is None else len(room.metadata)
    return 1_280 + of_room + (0 if who is None else len(who.metadata) + _characters(who.attributes))


def _characters(attributes: Mapping[str, str]) -> int:
    return sum(map(len, (*attributes, *attributes.values())))
