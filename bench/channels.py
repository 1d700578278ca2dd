"""Ways to pass frames from one process to another, each behind the same three calls.

A channel is made before the fork. Then one child calls `writing`, the other `reading`; what these
return is the hot path, written as the way's own documentation has it. All of them hold as many
frames as `depth` says before the writer waits, and lose none.

- ``copied``: the writer has the frame in memory of its own and hands it over: `put(frame)`.
- ``in place``: the writer fills memory that it is given: `loan()`, then `commit()`.

A reader gets a buffer that stays as it is until the next call at least.
"""

from __future__ import annotations

import multiprocessing
import select
from abc import ABC, abstractmethod
from collections.abc import Callable
from multiprocessing.shared_memory import SharedMemory
from typing import Any

from ringroom.lanes import records
from ringroom.lanes.lane import REWIND_FROM, ring_for
from ringroom.lanes.live import LiveReader, LiveWriter
from ringroom.lanes.memory import Segment, open_counter
from ringroom.lanes.ring import Buffer, RingReader, RingWriter, Slot
from ringroom.lanes.statistics import StatisticsTable

Put = Callable[[bytearray], None]
Get = Callable[[], Buffer]
Loan = tuple[Callable[[], memoryview], Callable[[], None]]

SMALL = 32_768
FOREVER_NS = 1 << 60
# Pictures by their bytes of I420.
PICTURES = {460_800: (640, 480), 3_110_400: (1920, 1080), 12_441_600: (3840, 2160)}


def depth(nbytes: int) -> int:
    """Frames that a channel holds: two seconds of sound, eight pictures."""
    return 100 if nbytes < SMALL else 8


class Channel(ABC):
    """See the module's docstring."""

    name = ""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self.depth = depth(nbytes)

    @abstractmethod
    def reading(self) -> Get:
        """In the reading child: what waits for the next frame and gives it."""

    def leave(self) -> None:
        """In each child, at its end: give back what would outlive the process."""
        return

    def close(self) -> None:
        """In the parent, after both children have ended."""
        return


class Copied(Channel):
    """The writer has the frame already."""

    @abstractmethod
    def writing(self) -> Put:
        """In the writing child: what hands a frame over, and waits for room if it must."""


class InPlace(Channel):
    """The writer fills the frame where the reader will find it."""

    @abstractmethod
    def loaning(self) -> Loan:
        """In the writing child: what gives memory for the next frame, and what sends it."""


# Ours.


class Ring(Copied):
    """The bare ring and its two counters: no headers, no statistics, no frames."""

    name = "ringroom ring"

    def __init__(self, nbytes: int) -> None:
        super().__init__(nbytes)
        self._ring = ring_for(nbytes, self.depth)
        self._segment = Segment.create(self._ring.capacity)
        self._published, self._freed = open_counter(), open_counter()

    def writing(self) -> Put:
        ring = RingWriter(memoryview(self._segment.map_shared()), self._ring.banks)
        poller = select.poll()
        poller.register(self._freed.fileno(), select.POLLIN)
        large = self.nbytes >= REWIND_FROM

        def put(frame: bytearray) -> None:
            if large:
                ring.credit(self._freed.take())
                ring.rewind()
            while not ring.push(b"", frame):
                ring.credit(self._freed.take())
                if not ring.turn(len(frame)):
                    poller.poll()
            self._published.add(ring.announce())

        return put

    def reading(self) -> Get:
        ring = RingReader(memoryview(self._segment.map_shared()))
        poller = select.poll()
        poller.register(self._published.fileno(), select.POLLIN)
        held: list[Slot] = []
        quarter = ring.capacity // 4

        def credit() -> None:
            nbytes = ring.collect()
            if nbytes:
                self._freed.add(nbytes)

        def get() -> Buffer:
            if held:
                held.pop().released = True
            while (slot := ring.take(SMALL)) is None:
                credit()
                poller.poll()
                ring.announce(self._published.take())
            if not slot.released:
                held.append(slot)
            if ring.outstanding >= quarter:
                credit()
            return slot.payload

        return get

    def close(self) -> None:
        self._segment.close()
        self._published.close()
        self._freed.close()


class _OfLanes(Channel):
    """A live lane as it runs between the I/O process and a worker: the reader gets a frame object.
    Here its writer waits for room, where the I/O process would count a drop."""

    def __init__(self, nbytes: int) -> None:
        super().__init__(nbytes)
        self._table = StatisticsTable.create()
        self._writer = LiveWriter(ring_for(nbytes, self.depth), self._table.row(0))
        self._size = PICTURES.get(nbytes)
        self._channels = 2 if nbytes > 1000 else 1

    def _head(self) -> bytes:
        stamp = (self._writer.sequence, 0)
        if self._size is not None:
            return records.video_head(self._size, 0, 0, stamp)
        return records.audio_head(48_000, self._channels, stamp)

    def _until_freed(self) -> Callable[[], object]:
        poller = select.poll()
        poller.register(self._writer.freed_fileno(), select.POLLIN)
        return poller.poll

    def reading(self) -> Get:
        reader = LiveReader(
            self._writer.descriptors(),
            self._table.row(0),
            "track",
            max_age_ns=FOREVER_NS,
            clock=lambda: 0,
        )
        poller = select.poll()
        poller.register(reader.fileno(), select.POLLIN)
        picture = self._size is not None

        def get() -> Buffer:
            while (item := reader.receive_nowait()) is None:
                poller.poll()
            array: Any = item.data if picture else item.samples  # type: ignore[union-attr]
            view: memoryview = array.data
            return view.cast("B")

        return get

    def close(self) -> None:
        self._writer.close()
        self._table.close()


class Lane(_OfLanes, Copied):
    """`send_parts`."""

    name = "ringroom lane"

    def writing(self) -> Put:
        wait, send = self._until_freed(), self._writer.send_parts

        def put(frame: bytearray) -> None:
            body = memoryview(frame)
            while not send(self._head(), body):
                wait()

        return put


class LaneInPlace(_OfLanes, InPlace):
    """`reserve` and `commit`."""

    name = "ringroom lane, reserve"

    def loaning(self) -> Loan:
        wait, writer = self._until_freed(), self._writer
        middle = len(self._head())
        whole = middle + self.nbytes
        loaned = memoryview(b"")

        def loan() -> memoryview:
            nonlocal loaned
            while (view := writer.reserve(whole)) is None:
                wait()
            loaned = view
            return view[middle:]

        def commit() -> None:
            loaned[:middle] = self._head()
            writer.commit(whole)

        return loan, commit


# The standard library's.


class Queue(Copied):
    """`multiprocessing.Queue`. It pickles on a thread of its own, later, so it needs a frame that
    nobody changes: here a copy, in an application the fresh object that the frame came in."""

    name = "multiprocessing Queue"

    def __init__(self, nbytes: int) -> None:
        super().__init__(nbytes)
        self._queue: Any = multiprocessing.get_context("fork").Queue(self.depth)

    def writing(self) -> Put:
        return lambda frame: self._queue.put(bytes(frame))

    def reading(self) -> Get:
        get: Get = self._queue.get
        return get

    def close(self) -> None:
        self._queue.close()


class Pipe(Copied):
    """`multiprocessing.Pipe`, one way."""

    name = "multiprocessing Pipe"

    def __init__(self, nbytes: int) -> None:
        super().__init__(nbytes)
        self._reader, self._writer = multiprocessing.Pipe(duplex=False)

    def writing(self) -> Put:
        return self._writer.send_bytes

    def reading(self) -> Get:
        return self._reader.recv_bytes

    def close(self) -> None:
        self._reader.close()
        self._writer.close()


class SharedSlots(Copied):
    """Slots in `shared_memory`, their numbers through a Queue and back through another."""

    name = "shared_memory + Queue"

    def __init__(self, nbytes: int) -> None:
        super().__init__(nbytes)
        self._memory = SharedMemory(create=True, size=nbytes * self.depth)
        assert self._memory.buf is not None
        self._buffer = self._memory.buf
        context = multiprocessing.get_context("fork")
        self._full: Any = context.Queue()
        self._free: Any = context.Queue()

    def writing(self) -> Put:
        memory, nbytes, free = self._buffer, self.nbytes, list(range(self.depth))

        def put(frame: bytearray) -> None:
            slot = free.pop() if free else self._free.get()
            memory[slot * nbytes : (slot + 1) * nbytes] = frame
            self._full.put(slot)

        return put

    def reading(self) -> Get:
        memory, nbytes, held = self._buffer, self.nbytes, list[int]()

        def get() -> Buffer:
            if held:
                self._free.put(held.pop())
            slot: int = self._full.get()
            held.append(slot)
            return memory[slot * nbytes : (slot + 1) * nbytes]

        return get

    def close(self) -> None:
        self._full.close()
        self._free.close()
        del self._buffer
        self._memory.close()
        self._memory.unlink()


OURS: tuple[type[Channel], ...] = (Ring, Lane, LaneInPlace)
STANDARD: tuple[type[Channel], ...] = (Queue, Pipe, SharedSlots)
