"""The reliable lane: nothing is dropped. The writer is told when there is no room.

I11 what was sent is taken exactly once, in order, unless an end dies or flushes
"""

from __future__ import annotations

from collections.abc import Iterable

from ringroom.errors import ClosedError, WouldBlock
from ringroom.events import Event
from ringroom.frames import Item
from ringroom.lanes import records
from ringroom.lanes.lane import LaneReader, LaneWriter


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
    """The reading end."""

    def receive_nowait(self) -> Item | None:
        """The next item; None if nothing waits."""
        slot = self._take()
        if slot is None:
            self.give_back()
            return None
        return self._deliver(slot, records.peek(slot.payload))
