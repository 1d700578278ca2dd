"""What a reader that may be slow is told by a writer that cannot wait: messages, room events, and
the tracks of a provider that is patient.

A reliable lane, and a bounded backlog of what it has no room for. Beyond the bound what is new is
dropped, counted. If the lane is that of events, its reader is told how many were dropped, as soon
as there is room.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from ringroom.errors import FrameError, WouldBlock
from ringroom.frames import AudioFrame, DataFrame, Event, EventKind, Item, VideoFrame
from ringroom.lanes.lane import ring_for
from ringroom.lanes.reliable import ReliableWriter
from ringroom.processes.io.admission import bare

__all__ = ["MAILBOX_RING", "Mailbox"]

MAILBOX_RING = ring_for(1 << 18, 4)
MAX_BACKLOG_BYTES = 8 << 20


class Mailbox:
    """A reliable lane, and the backlog of a writer that cannot wait for room in it."""

    def __init__(self, writer: ReliableWriter, clock: Callable[[], int]) -> None:
        self.writer = writer
        self.emptied = asyncio.Event()
        """Set while nothing waits for room."""
        self.emptied.set()
        self._clock = clock
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
        if not self._backlog and self._write(item, now):
            return 0
        nbytes = _held_bytes(item)
        if self._backlog and self._backlog_bytes + nbytes > MAX_BACKLOG_BYTES:
            self._lost += 1
            if not isinstance(item, Event):
                self.writer.row.count_refused()
            return 1
        if not self._backlog:
            self.emptied.clear()
            self._loop.add_reader(self.writer.freed_fileno(), self.drain)
        self._backlog.append((item, now, nbytes))
        self._backlog_bytes += nbytes
        return 0

    def drain(self) -> None:
        """Write what waits for room, if there is some."""
        if not self._backlog:
            return
        while self._backlog:
            item, received_ns, nbytes = self._backlog[0]
            if not self._write(item, received_ns):
                return  # the writer took what credit there was: the loop sleeps until more
            self._backlog.popleft()
            self._backlog_bytes -= nbytes
        self._loop.remove_reader(self.writer.freed_fileno())
        self.emptied.set()
        if self._lost:
            lost, self._lost = self._lost, 0
            self.post(Event(kind=EventKind.EVENTS_LOST, reason=f"{lost} not read in time"))

    def _write(self, item: Item, received_ns: int) -> bool:
        try:
            self.writer.send_nowait(item, received_ns)
        except WouldBlock:
            return False
        except FrameError:
            # An event may tell of a participant with more metadata than a record takes.
            assert isinstance(item, Event)
            who = item.participant
            if who is None or not (who.metadata or who.attributes):
                raise
            return self._write(replace(item, participant=bare(who)), received_ns)
        return True

    def close(self) -> None:
        """Idempotent."""
        if self._backlog:
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
    if isinstance(item, DataFrame):
        return 256 + len(item.payload) + len(item.topic)
    who = item.participant
    texts = () if who is None else (who.metadata, *who.attributes, *who.attributes.values())
    return 1_280 + sum(map(len, texts))
