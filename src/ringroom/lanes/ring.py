"""A ring of records over plain bytes; free of I/O.

Layout: the buffer is the ring, `capacity` bytes, a multiple of ALIGN. A record is an 8-byte header
(payload length u32, mark u32) and its payload, padded to ALIGN. Records are contiguous: one that
does not fit before the end is preceded by a skip record that closes the ring's end. When all is
given back, the writer may go on at the beginning, whose bytes the caches still hold, and says so
with its next announcement (`REWIND`).

Ownership: the writer owns the bytes that are free, the reader those that were announced and not
yet credited. Positions count bytes since the beginning and never wrap; only offsets do. Each side
keeps its own positions, none lives in the shared bytes; what crosses is two sums, *announced*
(writer to reader) and *credited* (reader to writer), by whatever carries them in order.

Invariants
  I1  credited <= taken <= announced <= written <= credited + capacity
  I2  bytes in [credited, announced) are not written by the writer
  I3  every position at a record's start is a multiple of ALIGN, so a skip header always fits
  I4  credit is given for a contiguous prefix of released slots, in order
  I5  a record of at most capacity/4 fits whenever half of the ring is free
  I12 the writer rewinds only where written = credited, so where the reader hears of it nothing is
      out: both sides move all of their positions to the next multiple of the capacity

A reader that died is succeeded by another, which begins behind the records that the dead one had
taken (`RingWriter.succeed`); how many these were is counted elsewhere.

Crash at any line: the writer's unannounced bytes are never read (I2); the reader's uncredited
bytes are never overwritten. The survivor's own positions stay right.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import TypeAlias

from ringroom.errors import WireError

Buffer: TypeAlias = bytes | bytearray | memoryview

ALIGN = 16
_HEADER = struct.Struct("<II")
_HEADER_BYTES = _HEADER.size
_ROUND_UP = _HEADER_BYTES + ALIGN - 1
_RECORD, _SKIP = 0x52494E47, 0x534B4950  # "RING", "SKIP": anything else is corruption
# Added to the bytes of an announcement, of which there are never so many (a length is a u32).
REWIND = 1 << 40


def slot_size(nbytes: int) -> int:
    """Bytes of the ring that a payload takes."""
    return (nbytes + _ROUND_UP) & -ALIGN


def max_payload(capacity: int) -> int:
    """The largest payload that never wedges a ring of the capacity (I5)."""
    return capacity // 4 - _HEADER_BYTES


def _rewound(position: int, capacity: int) -> int:
    """The next position at the ring's beginning (I12)."""
    return position - position % capacity + capacity


class RingWriter:
    """The writing end. `announce` tells what to tell the reader after each `push` or `commit`."""

    __slots__ = (
        "_announced",
        "_buffer",
        "_credited",
        "_reserved",
        "_rewound",
        "_written",
        "capacity",
        "max_payload",
    )

    def __init__(self, buffer: memoryview) -> None:
        self.capacity = len(buffer)
        self.max_payload = max_payload(self.capacity)
        if self.capacity < 4 * ALIGN or self.capacity % ALIGN:
            raise ValueError(f"a ring of {self.capacity} bytes: at least 64, a multiple of {ALIGN}")
        self._buffer = buffer
        self._written = 0
        self._announced = 0
        self._credited = 0
        self._reserved = -1
        self._rewound = False

    @property
    def in_use(self) -> int:
        return self._written - self._credited

    def credit(self, nbytes: int) -> None:
        """The reader is done with that many more bytes."""
        if nbytes > self._announced - self._credited:
            raise WireError(
                f"credit for {nbytes} bytes, {self._announced - self._credited} are out"
            )
        self._credited += nbytes

    def rewind(self) -> None:
        """Go on at the ring's beginning, if all that was written has been given back (I12). Gives
        up what is reserved."""
        self._reserved = -1
        written = self._written
        if written == self._credited:
            self._written = self._announced = self._credited = _rewound(written, self.capacity)
            self._rewound = True

    def push(self, head: Buffer, body: Buffer, spare: int = 0) -> bool:
        """Write a record of two parts; whether it fits, now, and leaves ``spare`` bytes for others.
        It takes the place of a reservation that is not committed."""
        middle = len(head)
        nbytes = middle + len(body)
        offset = self._place(nbytes, spare)
        if offset < 0:
            return False
        buffer = self._buffer
        _HEADER.pack_into(buffer, offset, nbytes, _RECORD)
        start = offset + _HEADER_BYTES
        middle += start
        buffer[start:middle] = head
        buffer[middle : start + nbytes] = body
        self._written += (nbytes + _ROUND_UP) & -ALIGN
        return True

    def reserve(self, nbytes: int, spare: int = 0) -> memoryview | None:
        """A writable view of that many bytes, for a record that is filled in place; None when
        they are not free now, or would not leave ``spare`` bytes for others."""
        offset = self._place(nbytes, spare)
        if offset < 0:
            return None
        self._reserved = offset
        start = offset + _HEADER_BYTES
        return self._buffer[start : start + nbytes]

    def commit(self, nbytes: int) -> None:
        """The reserved view holds a record of that many bytes (at most what was reserved)."""
        if self._reserved < 0:
            raise ValueError("nothing is reserved")
        _HEADER.pack_into(self._buffer, self._reserved, nbytes, _RECORD)
        self._written += slot_size(nbytes)
        self._reserved = -1

    def _place(self, nbytes: int, spare: int) -> int:
        """The offset of a record of that many bytes, behind a skip if need be; -1 for no room."""
        if nbytes > self.max_payload:
            raise ValueError(f"{nbytes} bytes do not fit a ring of {self.capacity}")
        self._reserved = -1  # it would be overwritten
        need = (nbytes + _ROUND_UP) & -ALIGN
        free = self.capacity - self._written + self._credited
        if free < nbytes + spare:
            return -1
        offset = self._written % self.capacity
        tail = self.capacity - offset
        if need > tail:
            if free < tail:
                return -1
            _HEADER.pack_into(self._buffer, offset, tail - _HEADER_BYTES, _SKIP)
            self._written += tail
            free -= tail
            offset = 0
        return offset if free >= need else -1

    def succeed(self, untaken: int) -> tuple[int, int]:
        """The reader is gone, and all but the last ``untaken`` announced records are done with: the
        position at which another reader begins, and the bytes that are announced from there."""
        starts: list[int] = []
        position = self._credited
        while position < self._announced:
            length, mark = _HEADER.unpack_from(self._buffer, position % self.capacity)
            if mark == _RECORD:
                starts.append(position)
            position += slot_size(length)
        untaken = min(untaken, len(starts))
        self._credited = starts[-untaken] if untaken else self._announced
        return self._credited, self._announced - self._credited

    def announce(self) -> int:
        """What to announce now: the bytes of records, and of skips that a full ring has made
        necessary, and a rewind before them."""
        nbytes = self._written - self._announced
        self._announced = self._written
        if self._rewound:
            self._rewound = False
            nbytes += REWIND
        return nbytes


class Slot:
    """A record that was taken: its payload, and where its bytes lie until it is released."""

    __slots__ = ("payload", "position", "released", "size")

    def __init__(self, payload: Buffer, position: int, size: int, released: bool) -> None:
        self.payload = payload
        self.position = position
        self.size = size
        self.released = released


class RingReader:
    """The reading end."""

    __slots__ = ("_announced", "_buffer", "_credited", "_held", "_taken", "capacity")

    def __init__(self, buffer: memoryview, position: int = 0) -> None:
        """``position``: where the reader before this one came to; 0 for the first."""
        if position < 0 or position % ALIGN:
            raise WireError(f"a reader that begins at {position}")
        self.capacity = len(buffer)
        self._buffer = buffer
        self._announced = self._taken = self._credited = position
        self._held: deque[Slot] = deque()

    @property
    def outstanding(self) -> int:
        """Bytes taken and not yet credited."""
        return self._taken - self._credited

    @property
    def pending(self) -> bool:
        """Whether announced bytes wait to be taken."""
        return self._taken < self._announced

    @property
    def held(self) -> list[Slot]:
        """The slots that are taken and not released, oldest first."""
        return [slot for slot in self._held if not slot.released]

    def announce(self, nbytes: int) -> None:
        """The writer has published that many more bytes, behind a rewind or not."""
        if nbytes >= REWIND:
            nbytes -= REWIND
            self._rewind()
        if self._announced + nbytes - self._credited > self.capacity:
            raise WireError(f"{nbytes} bytes announced, more than the ring has room for")
        self._announced += nbytes

    def take(self, copy_below: int = 0) -> Slot | None:
        """The next record, or None. A payload of fewer than ``copy_below`` bytes is copied, and its
        slot released; a larger one is a view of the ring, valid until its slot is released."""
        while (position := self._taken) < self._announced:
            offset = position % self.capacity
            length, mark = _HEADER.unpack_from(self._buffer, offset)
            size = (length + _ROUND_UP) & -ALIGN
            if size > self.capacity - offset or size > self._announced - position:
                raise WireError(f"a record of {length} bytes passes the end of what was announced")
            self._taken = position + size
            if mark == _RECORD:
                start = offset + _HEADER_BYTES
                payload = self._buffer[start : start + length]
                if length < copy_below:
                    return Slot(payload.tobytes(), position, size, True)
                slot = Slot(payload, position, size, False)
                self._held.append(slot)
                return slot
            if mark != _SKIP:
                raise WireError(f"a record marked {mark:#x}, neither record nor skip")
        return None

    def ahead(self) -> Buffer | None:
        """The payload of the record that `take` gives next, or None. It is not taken by that."""
        slot = self.take()
        if slot is None:
            return None
        self._held.pop()
        self._taken = slot.position
        return slot.payload

    def _rewind(self) -> None:
        if self._credited != self._announced:
            raise WireError("the writer has rewound before all was given back")
        self._announced = self._taken = self._credited = _rewound(self._taken, self.capacity)

    def collect(self) -> int:
        """Bytes to credit now: all before the first slot that is held (I4)."""
        held = self._held
        while held and held[0].released:
            held.popleft()
        end = held[0].position if held else self._taken
        nbytes = end - self._credited
        self._credited = end
        return nbytes

    def rebase(self, buffer: memoryview) -> None:
        """Go on with another mapping of the same bytes."""
        self._buffer = buffer
