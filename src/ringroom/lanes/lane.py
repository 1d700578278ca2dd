"""The two ends of a lane: a ring in a segment, a counter each way, and a row of statistics.

Ownership: the writer makes the lane and passes its descriptors on; each end owns its own copies.
`published` carries announced bytes to the reader, `freed` credited bytes back (see ring.py).

Zero copy: a large frame's array is a read-only view of the ring; its slot is released when the last
reference to the array dies (the finalizer only sets a flag). Small ones are cheaper to copy.
A frame that is kept must not stall the lane: once more than half of the ring is outstanding, the
kept slots are *evacuated*. The reader's mapping is private, so writing one byte of a page there
gives the kept frame a copy of the page at the same address, out of the writer's reach; the slots
are credited and the reader goes on with a fresh mapping.

Invariants (of ring.py, and)
  I6  a frame handed out never changes, however long it is kept and whatever the writer does
  I7  before a reader waits, at most half of the ring is outstanding, so a writer never waits for a
      frame that somebody keeps. Except where the machine refuses a fresh mapping (for want of
      descriptors or memory): I6 comes first, and each `give_back` tries again

Crash at any line: the kernel frees the descriptors; the surviving end keeps its mapping, and the
counts of both ends are in the statistics segment. From them the writer of a lane whose reader has
died knows what was taken, and the same lane goes on with another reader (`LaneWriter.succeed`).
"""

from __future__ import annotations

import contextlib
import mmap
import os
import weakref
from dataclasses import dataclass, replace
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ringroom.checks import MAX_SIDE
from ringroom.colour import i420_size
from ringroom.errors import FrameError, StartupError, WireError
from ringroom.events import TrackInfo
from ringroom.frames import AudioFrame, Item, VideoFrame
from ringroom.lanes import records
from ringroom.lanes.memory import ZERO_COPY, Segment, attach_counter, open_counter
from ringroom.lanes.ring import Buffer, Geometry, RingReader, RingWriter, Slot
from ringroom.lanes.statistics import Count, Row

# Below it a copy costs less than tracking the slot's life: 32 KiB copy in about 2 us, a tracked
# array costs about 3 us.
COPY_BELOW = 32_768
# From it on the writer looks before each frame whether the reader has given all back, to go on in
# memory that the caches still hold. That saves a fifth of its costs at 1080p, two fifths at 4K.
# Below, two banks fit the cache, and the look would cost a tenth of the frame.
REWIND_FROM = 1_048_576
# Mappings kept alive by kept frames; beyond, frames are copied out until some of them die.
MAX_EVACUATED = 16
# Frames of a data track for which a ring has room at least, and the size that the smallest is for.
READINGS, USUAL_READING = 8, 1 << 17
ReaderStart: TypeAlias = tuple[int, int]
"""Where in the ring a reader begins, and how many bytes are announced from there."""


@dataclass(frozen=True, slots=True)
class LaneDescriptors:
    """What the other end needs: three descriptors with eventfds, five with pipes."""

    segment: int
    published: tuple[int, ...]
    freed: tuple[int, ...]

    def flat(self) -> tuple[int, ...]:
        return (self.segment, *self.published, *self.freed)

    @classmethod
    def from_flat(cls, fds: tuple[int, ...]) -> Self:
        if len(fds) not in (3, 5):
            raise WireError(f"a lane has three or five descriptors, not {len(fds)}")
        half = (len(fds) - 1) // 2
        return cls(fds[0], fds[1 : 1 + half], fds[1 + half :])


def ring_for(frame_bytes: int, frames: int) -> Geometry:
    """A ring for that many frames of a track. Large frames have a bank each, up to eight banks."""
    nbytes = frame_bytes + records.MAX_MEDIA_HEADER_BYTES
    banks = min(max(frames, 4), 8) if frame_bytes >= COPY_BELOW else 4
    ring = Geometry.of(nbytes, frames, banks)
    return replace(ring, capacity=-(-ring.capacity // mmap.PAGESIZE) * mmap.PAGESIZE)


def ring_for_readings(frame_bytes: int) -> Geometry:
    """A ring for eight frames of a data track, and for 1 MiB of small ones: nothing tells how often
    they come."""
    return ring_for(max(frame_bytes, USUAL_READING), READINGS)


def grown(nbytes: int, before: int, most: int = i420_size(MAX_SIDE, MAX_SIDE)) -> int:
    """Bytes of a frame to make a ring for, where the ring before was made for ``before``. If these
    are too few, at least twice as many, up to ``most``, the largest picture: one that grows with
    every frame would make a ring each time."""
    if nbytes <= before:
        return before
    return max(nbytes, min(2 * before, most))


class LaneWriter:
    """The writing end; `LiveWriter` and `ReliableWriter` say what happens when it is full."""

    def __init__(self, ring: Geometry, row: Row, *, portable: bool | None = None) -> None:
        form = {} if portable is None else {"portable": portable}
        with contextlib.ExitStack() as made:
            self._segment = made.enter_context(Segment.create(ring.capacity, **form))
            self._published = made.enter_context(open_counter(**form))
            self._freed = made.enter_context(open_counter(**form))
            self._mapping: mmap.mmap | None = self._segment.map_shared()
            self._ring = RingWriter(memoryview(self._mapping), ring.banks)
            made.pop_all()
        self.row = row
        self._sequence = 0
        self._records = 0
        self._spare = 0
        """Bytes that `reserve` leaves free for other records."""

    @property
    def sequence(self) -> int:
        """Frames offered so far; the next frame's number."""
        return self._sequence

    @property
    def capacity(self) -> int:
        return self._ring.capacity

    @property
    def max_record(self) -> int:
        return self._ring.max_payload

    def _too_large(self, nbytes: int) -> FrameError:
        return FrameError(
            f"{nbytes} bytes in one record, the lane takes {self.max_record}; send it in parts (a "
            "message counts with its topic and its destinations)"
        )

    @property
    def in_use(self) -> int:
        """Bytes of the ring that the reader has not given back."""
        self._refill()
        return self._ring.in_use

    def number_from(self, sequence: int) -> None:
        """The first frame has that number: the lane follows one that has had those before."""
        self._sequence = sequence

    def descriptors(self) -> LaneDescriptors:
        return LaneDescriptors(
            self._segment.fd, self._published.descriptors(), self._freed.descriptors()
        )

    def succeed(self) -> ReaderStart:
        """After the reader's death (its counts must be final): where another begins. What the dead
        one had taken and not done is counted as lost; what it had not taken is the other's."""
        self._published.take()
        self._ring.credit(self._freed.take())
        counts = self.row.snapshot()
        self.row.add(Count.LOST, max(0, counts.taken - counts.done - counts.lost))
        gone = counts.taken + counts.dropped_stale + counts.dropped_flushed
        return self._ring.succeed(self._records - gone - self.row.get(Count.EVENTS))

    def freed_fileno(self) -> int:
        """Readable when the reader gave room back; -1 once closed."""
        return self._freed.fileno()

    def _push(self, head: bytes, body: Buffer, spare: int = 0) -> bool:
        """Write a record, for `_publish` to count and announce. Returns whether there was room."""
        if len(body) >= REWIND_FROM:
            self._rewind()
        push = self._ring.push
        return push(head, body, spare) or (
            self._turn(len(head) + len(body)) and push(head, body, spare)
        )

    def reserve(self, nbytes: int) -> memoryview | None:
        """A writable view of that many bytes, for a record that is filled in place and published
        by `commit`; None when there is no room, or once closed. The next record or reservation
        gives it up, and then the reader never sees it."""
        if nbytes >= REWIND_FROM:
            self._rewind()
        view = self._ring.reserve(nbytes, self._spare)
        if view is None and self._turn(nbytes):
            view = self._ring.reserve(nbytes, self._spare)
        return view

    def commit(self, nbytes: int) -> None:
        """Publish what `reserve` gave: a record of that many bytes, at most what was reserved.
        Raises `ValueError` when nothing is reserved."""
        self._ring.commit(nbytes)
        self._publish(nbytes)

    def _rewind(self) -> None:
        self._refill()
        self._ring.rewind()

    def _turn(self, nbytes: int) -> bool:
        """Have the ring go on at the beginning of a bank, after a look at what is given back."""
        self._refill()
        return self._ring.turn(nbytes)

    def _refill(self) -> None:
        """Take note of the room that the reader has given back. It costs a system call, so small
        frames do it only for want of room."""
        if self._mapping is not None:
            self._ring.credit(self._freed.take())

    def _publish(self, nbytes: int, *, event: bool = False) -> None:
        """Count what was written, and then announce it."""
        if event:
            self.row.add(Count.BYTES, nbytes)
        else:
            self._sequence += 1
            self.row.count_sent(nbytes)
        self._records += 1
        self._published.add(self._ring.announce())

    def close(self) -> None:
        """Idempotent. The reader still gets what was published."""
        self._segment.close()
        self._published.close()
        self._freed.close()
        self._ring = _CLOSED_RING
        self._mapping = None


class LaneReader:
    """The reading end; its two kinds differ in what they skip. It takes the descriptors over, and
    closes them if it cannot be made."""

    def __init__(
        self,
        descriptors: LaneDescriptors,
        row: Row,
        track: TrackInfo | str | None = None,
        *,
        start: ReaderStart = (0, 0),
    ) -> None:
        with contextlib.ExitStack() as taken:
            for fd in descriptors.flat():
                taken.callback(os.close, fd)
            self._segment = Segment.attach(descriptors.segment)
            self._published = attach_counter(descriptors.published)
            self._freed = attach_counter(descriptors.freed)
            taken.pop_all()
            taken.enter_context(self._segment)
            taken.enter_context(self._published)
            taken.enter_context(self._freed)
            self._mapping: mmap.mmap | None = self._map()
            offset, waiting = start
            self._ring = RingReader(memoryview(self._mapping), offset)
            self._ring.announce(waiting)
            taken.pop_all()
        self._eighth = self._ring.capacity // 8
        self._evacuated: list[weakref.ref[mmap.mmap]] = []
        self._references: dict[int, weakref.ref[NDArray[np.generic]]] = {}
        self.row = row
        self.track = track

    def _map(self) -> mmap.mmap:
        return self._segment.map_private() if ZERO_COPY else self._segment.map_shared()

    def fileno(self) -> int:
        """Readable when something was published since the last look; -1 once closed."""
        return self._published.fileno()

    def absorb(self) -> None:
        """Take note of what was published, so that `fileno` wakes only for more."""
        announced = self._published.take()
        if announced:
            self._ring.announce(announced)

    @property
    def pending(self) -> bool:
        """Whether something waits, as far as was absorbed."""
        return self._ring.pending

    def _take(self) -> Slot | None:
        slot = self._ring.take(COPY_BELOW)
        if slot is None:
            self.absorb()
            slot = self._ring.take(COPY_BELOW)
        return slot

    def _deliver(self, slot: Slot, head: records.Head, age: int = 0) -> Item:
        """Decode and hand over, by view or by copy."""
        if slot.released:
            item = records.decode(slot.payload, self.track, head)
        else:
            item = self._deliver_large(slot, head)
        # Counted before it is given back: a successor finds its place by the counts.
        if head[0] == records.EVENT:
            self.row.add(Count.EVENTS)
        else:
            self.row.count_taken(age)
        self._give_back_in_bulk()
        return item

    def _release(self, slot: Slot) -> None:
        slot.released = True
        self._give_back_in_bulk()

    def _give_back_in_bulk(self) -> None:
        """Credit costs a system call: one for each eighth of the ring, or when going idle."""
        if self._ring.outstanding >= self._eighth:
            self.give_back()

    def _deliver_large(self, slot: Slot, head: records.Head) -> Item:
        payload = slot.payload
        if not self._may_lend():
            slot.released = True
            return records.decode(bytes(payload), self.track, head)
        item = records.decode(memoryview(payload).toreadonly(), self.track, head)
        self._lend(slot, item)
        return item

    def _may_lend(self) -> bool:
        if not ZERO_COPY:
            return False
        self._evacuated = [mapping for mapping in self._evacuated if mapping() is not None]
        return len(self._evacuated) < MAX_EVACUATED

    def _lend(self, slot: Slot, item: Item) -> None:
        if isinstance(item, VideoFrame):
            root: NDArray[np.generic] = item.data
        elif isinstance(item, AudioFrame):
            root = item.samples
        else:
            slot.released = True
            return
        key, references = id(slot), self._references

        def release(_: object) -> None:
            slot.released = True
            references.pop(key, None)

        references[key] = weakref.ref(root, release)

    def give_back(self) -> None:
        """Give back what is released, and evacuate what is kept beyond half of the ring (I7)."""
        credit = self._ring.collect()
        if self._ring.outstanding * 2 > self._ring.capacity:
            self._evacuate()
            credit += self._ring.collect()
        if credit:
            self._freed.add(credit)

    def _evacuate(self) -> None:
        mapping = self._mapping
        if mapping is None or not ZERO_COPY:
            return
        try:
            fresh = self._map()
        except StartupError:  # no descriptor or memory just now: the next `give_back` tries again
            return
        kept = self._ring.held
        for slot in kept:
            start = slot.offset & -mmap.PAGESIZE
            for page in range(start, slot.offset + slot.size, mmap.PAGESIZE):
                mapping[page] = mapping[page]
        for slot in kept:
            slot.released = True
        self._evacuated.append(weakref.ref(mapping))
        self._mapping = fresh
        self._ring.rebase(memoryview(fresh))

    def discard(self) -> int:
        """Drop all that waits, counted as flushed. Returns how many frames."""
        discarded = 0
        while (slot := self._take()) is not None:
            is_event = records.peek(slot.payload)[0] == records.EVENT
            discarded += not is_event
            self.row.add(Count.EVENTS if is_event else Count.DROPPED_FLUSHED)
            self._release(slot)
        self.give_back()
        return discarded

    def close(self) -> None:
        """Idempotent. Frames that are kept stay valid; the last of them unmaps the ring."""
        self._segment.close()
        self._published.close()
        self._freed.close()
        self._ring = RingReader(memoryview(b""))
        self._mapping = None


class _ClosedRing(RingWriter):
    """Stands in after close: takes nothing, so a late write is refused and not lost in memory."""

    def __init__(self) -> None:
        super().__init__(memoryview(bytearray(Geometry.of(8, 4).capacity)))

    def rewind(self) -> bool:
        return False  # there is nobody to tell

    def turn(self, nbytes: int) -> bool:
        return False

    def push(self, head: Buffer, body: Buffer, spare: int = 0) -> bool:
        return False

    def reserve(self, nbytes: int, spare: int = 0) -> memoryview | None:
        return None


_CLOSED_RING = _ClosedRing()
