"""A ring of records over plain bytes; free of I/O.

Layout: the buffer is the ring, `capacity` bytes, a multiple of ALIGN. A record is an 8-byte header
(payload length u32, mark u32) and its payload, padded to ALIGN. Records are contiguous: one that
does not fit before the end is preceded by a skip record that closes the ring's end.

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

A reader that died is succeeded by another, which begins behind the records that the dead one had
taken (`RingWriter.succeed`); how many these were is counted elsewhere.

Crash at any line: the writer's unannounced bytes are never read (I2); the reader's uncredited
bytes are never overwritten. The survivor's own positions stay right.
"""

from __future__ import annotations

import struct
from collections import deque

from ringroom.errors import WireError

ALIGN = 16
_HEADER = struct.Struct("<II")
_HEADER_BYTES = _HEADER.size
_RECORD, _SKIP = 0x52494E47, 0x534B4950  # "RING", "SKIP": anything else is corruption


def slot_size(nbytes: int) -> int:
    """Bytes of the ring that a payload takes."""
    return (nbytes + _HEADER_BYTES + ALIGN - 1) & -ALIGN


def max_payload(capacity: int) -> int:
    """The largest payload that never wedges a ring of the capacity (I5)."""
    return capacity // 4 - _HEADER_BYTES


class RingWriter:
    """The writing end. `announce` tells what to tell the reader after each `push` or `reserve`."""

    __slots__ = (
        "_announced",
        "_buffer",
        "_credited",
        "_reserved",
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

    def reserve(self, nbytes: int) -> memoryview | None:
        """A writable view of that many bytes, or None when they are not free now."""
        if nbytes > self.max_payload:
            raise ValueError(f"{nbytes} bytes do not fit a ring of {self.capacity}")
        need = slot_size(nbytes)
        free = self.capacity - self.in_use
        offset = self._written % self.capacity
        tail = self.capacity - offset
        if need > tail:
            if free < tail:
                return None
            _HEADER.pack_into(self._buffer, offset, tail - _HEADER_BYTES, _SKIP)
            self._written += tail
            free -= tail
            offset = 0
        if free < need:
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
        """Bytes to announce now: records, and skips that a full ring has made necessary."""
        nbytes = self._written - self._announced
        self._announced = self._written
        return nbytes


class Slot:
    """A record that was taken: its payload, and the bytes it holds until it is released."""

    __slots__ = ("offset", "payload", "released", "size")

    def __init__(self, payload: memoryview, offset: int, size: int) -> None:
        self.payload = payload
        self.offset = offset
        self.size = size
        self.released = False


class RingReader:
    """The reading end."""

    __slots__ = ("_announced", "_buffer", "_credited", "_slots", "_taken", "capacity")

    def __init__(self, buffer: memoryview, position: int = 0) -> None:
        """``position``: where the reader before this one came to; 0 for the first."""
        if position < 0 or position % ALIGN:
            raise WireError(f"a reader that begins at {position}")
        self.capacity = len(buffer)
        self._buffer = buffer
        self._announced = self._taken = self._credited = position
        self._slots: deque[Slot] = deque()

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
        return [slot for slot in self._slots if not slot.released]

    def announce(self, nbytes: int) -> None:
        """The writer has published that many more bytes."""
        if self._announced + nbytes - self._credited > self.capacity:
            raise WireError(f"{nbytes} bytes announced, more than the ring has room for")
        self._announced += nbytes

    def take(self) -> Slot | None:
        """The next record, or None. Its payload is valid until the slot is released."""
        while self._taken < self._announced:
            offset = self._taken % self.capacity
            length, mark = _HEADER.unpack_from(self._buffer, offset)
            size = slot_size(length)
            if size > self.capacity - offset or size > self._announced - self._taken:
                raise WireError(f"a record of {length} bytes passes the end of what was announced")
            start = offset + _HEADER_BYTES
            slot = Slot(self._buffer[start : start + length], offset, size)
            self._taken += size
            self._slots.append(slot)
            if mark == _RECORD:
                return slot
            if mark != _SKIP:
                raise WireError(f"a record marked {mark:#x}, neither record nor skip")
            slot.released = True
        return None

    def collect(self) -> int:
        """Bytes to credit now: the released prefix (I4)."""
        nbytes = 0
        while self._slots and self._slots[0].released:
            nbytes += self._slots.popleft().size
        self._credited += nbytes
        return nbytes

    def rebase(self, buffer: memoryview) -> None:
        """Go on with another mapping of the same bytes."""
        self._buffer = buffer
