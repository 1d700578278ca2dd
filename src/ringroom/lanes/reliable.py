"""The reliable lane: nothing is dropped but a call whose caller waits no longer. The writer is told
when there is no room.

I11 what was sent is taken exactly once, in order, unless an end dies or flushes
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ringroom.errors import ClosedError, WouldBlock
from ringroom.events import Event, TrackInfo
from ringroom.frames import Item
from ringroom.lanes import records
from ringroom.lanes.lane import LaneDescriptors, LaneReader, LaneWriter, ReaderStart
from ringroom.lanes.ring import Buffer
from ringroom.lanes.statistics import Count, Row
from ringroom.rpc import RpcCall


class ReliableWriter(LaneWriter):
    """The writing end."""

    def send_nowait(self, item: Item, received_ns: int) -> None:
        """Send. Raises `WouldBlock` when there is no room now (`freed_fileno` tells when it is
        worth another try), `FrameError` for what could never fit."""
        if self._mapping is None:
            raise ClosedError("the lane is closed")
        head, body = records.encode(item, (self._sequence, received_ns))
        nbytes = len(head) + len(body)
        if nbytes > self.max_record:
            raise self._too_large(nbytes)
        if not self._push(head, body):
            raise WouldBlock("the lane is full: its reader is behind")
        self._publish(nbytes, event=isinstance(item, Event))

    def fits(self, sizes: Iterable[int]) -> bool:
        """Whether records of these sizes go in now, one after the other."""
        if self._mapping is None:
            raise ClosedError("the lane is closed")
        self._rewind()  # an empty ring takes the most
        return self._ring.fits(sizes)


class ReliableReader(LaneReader):
    """The reading end. By its ``clock`` (in nanoseconds) calls expire; without one none does."""

    def __init__(
        self,
        descriptors: LaneDescriptors,
        row: Row,
        track: TrackInfo | str | None = None,
        *,
        clock: Callable[[], int] | None = None,
        start: ReaderStart = (0, 0),
    ) -> None:
        super().__init__(descriptors, row, track, start=start)
        self._clock = clock

    def receive_nowait(self) -> Item | None:
        """The next item; None if nothing waits."""
        while (slot := self._take()) is not None:
            head = records.peek(slot.payload)
            if head[0] != records.CALL or not self._has_expired(slot.payload, head):
                return self._deliver(slot, head)
            self.row.add(Count.DROPPED_STALE)
            self._release(slot)
        self.give_back()
        return None

    def _has_expired(self, record: Buffer, head: records.Head) -> bool:
        if self._clock is None:
            return False
        call = records.decode(record, None, head)
        assert isinstance(call, RpcCall)
        return self._clock() - call.received_ns >= call.timeout * 1e9
