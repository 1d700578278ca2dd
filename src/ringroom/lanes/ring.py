"""A ring of records over plain bytes; free of I/O.

Layout: the buffer is the ring, in some banks of one size. A record is an 8-byte header (payload
length u32, mark u32) and its payload, padded to ALIGN. Records fill a bank one behind the other.
Where the next does not fit, a jump closes the bank: a record of all that is left of it, whose first
8 bytes are the offset of another bank (u64).

Which bank: the one that was given back last, for the caches still hold it. A writer uses two banks
while its reader keeps up, else all. When everything is given back, the writer may go on at the
beginning of the bank that it is in, and says so with its next announcement (`REWIND`).

Ownership: the writer owns the bytes that are free, the reader those that were announced and not
yet credited; only the writer knows of banks. Positions count bytes since the beginning and never
wrap; the offset of a bank has nothing to do with its position. Each side keeps its own positions,
none lives in the shared bytes. Two sums cross, *announced* (writer to reader) and *credited*
(reader to writer), by anything that carries them in order.

Invariants
  I1  credited <= taken <= announced <= written <= credited + capacity
  I2  bytes in [credited, announced) are not written by the writer
  I3  every position at a record's start is a multiple of ALIGN, and behind each record a jump fits
  I4  credit is given for a contiguous prefix of released slots, in order
  I5  a record of at most `max_payload` fits whenever half of the ring is free
  I12 a bank is begun only when all that was in it has been given back; and the writer rewinds only
      when written = credited, so nothing is outstanding when the reader learns of it

A reader that died is succeeded by another, which begins behind the records that the dead one had
taken (`RingWriter.succeed`); how many these were is counted elsewhere.

Crash at any line: the writer's unannounced bytes are never read (I2); the reader's uncredited
bytes are never overwritten. The survivor's own positions stay right.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self, TypeAlias

from ringroom.errors import WireError

Buffer: TypeAlias = bytes | bytearray | memoryview

ALIGN = 16
_HEADER = struct.Struct("<II")
_TARGET = struct.Struct("<Q")
_HEADER_BYTES = _HEADER.size
_ROUND_UP = _HEADER_BYTES + ALIGN - 1
_RECORD, _JUMP = 0x52494E47, 0x4A554D50  # "RING", "JUMP": anything else is corruption
# Added to an announcement's count of bytes, which is always smaller (a length is a u32).
REWIND = 1 << 40


def slot_size(nbytes: int) -> int:
    """Bytes of the ring that a payload takes."""
    return (nbytes + _ROUND_UP) & -ALIGN


@dataclass(frozen=True, slots=True)
class Geometry:
    """The size of a ring, and the number of its banks, at least four (I5)."""

    capacity: int
    banks: int = 4

    @property
    def bank_bytes(self) -> int:
        return self.capacity // self.banks & -ALIGN

    @property
    def max_payload(self) -> int:
        """The largest payload: it fills a bank, but for its header and a jump."""
        return self.bank_bytes - ALIGN - _HEADER_BYTES

    @classmethod
    def of(cls, nbytes: int, records: int, banks: int = 4) -> Self:
        """Room for at least that many records of ``nbytes``."""
        return cls(banks * (slot_size(nbytes) * -(-records // banks) + ALIGN), banks)


class RingWriter:
    """The writing end. After each `push` or `commit` the reader is to be told `announce`."""

    __slots__ = (
        "_announced",
        "_bank",
        "_bank_bytes",
        "_base",
        "_buffer",
        "_closed",
        "_credited",
        "_end",
        "_free",
        "_reserved",
        "_rewound",
        "_shift",
        "_written",
        "capacity",
        "max_payload",
    )

    def __init__(self, buffer: memoryview, banks: int = 4) -> None:
        geometry = Geometry(len(buffer), banks)
        if banks < 4 or geometry.max_payload < _HEADER_BYTES:
            raise ValueError(
                f"a ring of {len(buffer)} bytes in {banks} banks: at least 4 banks of {2 * ALIGN}"
            )
        self.capacity = geometry.capacity
        self.max_payload = geometry.max_payload
        self._buffer = buffer
        self._bank_bytes = geometry.bank_bytes
        self._written = self._announced = self._credited = 0
        # Offsets of free banks, the one that was given back last at the end.
        self._free = [number * self._bank_bytes for number in range(banks - 1, 0, -1)]
        # Banks that were left, the oldest first: where their positions end, and their offsets.
        self._closed: deque[tuple[int, int]] = deque()
        # The offset of the bank that is written to, and where the reader believes that it begins.
        self._bank = self._base = 0
        self._shift = 0  # from its positions to its offsets
        self._end = self._bank_bytes - ALIGN  # the position by which its records must have ended
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
        self._free_banks()

    def _free_banks(self) -> None:
        closed = self._closed
        while closed and closed[0][0] <= self._credited:
            self._free.append(closed.popleft()[1])

    def rewind(self) -> bool:
        """Go on at the bank's beginning, if all that was written has been given back (I12).
        Returns whether it has. Gives up what is reserved."""
        self._reserved = -1
        if self._written != self._credited:
            return False
        self._begin(self._base)
        self._rewound = True
        return True

    def _begin(self, offset: int) -> None:
        self._base = offset
        self._shift = offset - self._written
        self._end = self._bank + self._bank_bytes - ALIGN - self._shift

    def turn(self, nbytes: int) -> bool:
        """Make room for a record that does not fit behind the bank's last one: at the beginning of
        the same bank if all is given back, else in another. Returns whether there is room. Gives up
        what is reserved."""
        self._check(nbytes)
        if self.rewind() and slot_size(nbytes) <= self._end - self._written:
            return True
        if not self._free:
            return False
        offset, end = self._written + self._shift, self._end + ALIGN
        bank = self._free.pop()
        _HEADER.pack_into(self._buffer, offset, end - self._written - _HEADER_BYTES, _JUMP)
        _TARGET.pack_into(self._buffer, offset + _HEADER_BYTES, bank)
        self._closed.append((end, self._bank))
        self._written, self._bank = end, bank
        self._begin(bank)
        return True

    def fits(self, sizes: Iterable[int]) -> bool:
        """Whether records of these sizes go in now, one after the other."""
        room, free = self._end - self._written, len(self._free)
        for nbytes in sizes:
            self._check(nbytes)
            size = slot_size(nbytes)
            if size > room:
                room, free = self._bank_bytes - ALIGN, free - 1
            if free < 0:
                return False
            room -= size
        return True

    def _check(self, nbytes: int) -> None:
        if nbytes > self.max_payload:
            raise ValueError(f"{nbytes} bytes do not fit a ring of {self.capacity}")

    def push(self, head: Buffer, body: Buffer, spare: int = 0) -> bool:
        """Write a record of two parts. Returns whether the bank had room for it. While no other
        bank is free ``spare`` bytes must be left for others, but by the bank's first record. Gives
        up what is reserved."""
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
        `push` would write none."""
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
        """The offset of a record of that many bytes; -1 for no room."""
        self._reserved = -1  # it would be overwritten
        offset = self._written + self._shift
        room = self._end - self._written - ((nbytes + _ROUND_UP) & -ALIGN)
        if room < 0:
            self._check(nbytes)
            return -1
        if room < spare and not self._free and offset != self._bank:
            return -1
        return offset

    def succeed(self, untaken: int) -> tuple[int, int]:
        """Give back all announced records but the last ``untaken``, after the reader's death.
        Returns the offset at which another begins, and the bytes that are announced from there."""
        starts: list[int] = []
        position = self._credited
        while position < self._announced:
            length, mark = _HEADER.unpack_from(self._buffer, self._offset(position))
            if mark == _RECORD:
                starts.append(position)
            position += slot_size(length)
        untaken = min(untaken, len(starts))
        self._credited = starts[-untaken] if untaken else self._announced
        self._free_banks()
        offset = self._offset(self._credited)
        if not self._closed:
            self._base = offset  # the new reader knows of nothing before it
        return offset, self._announced - self._credited

    def _offset(self, position: int) -> int:
        for end, bank in self._closed:
            if position < end:
                return bank + self._bank_bytes - (end - position)
        return position + self._shift

    def announce(self) -> int:
        """What to announce now: the bytes that records and jumps take up, and `REWIND` if the
        writer has rewound before them."""
        nbytes = self._written - self._announced
        self._announced = self._written
        if self._rewound:
            self._rewound = False
            nbytes += REWIND
        return nbytes


class Slot:
    """A record that was taken: its payload, and where its bytes lie until it is released."""

    __slots__ = ("offset", "payload", "position", "released", "size")

    def __init__(
        self, payload: Buffer, position: int, offset: int, size: int, released: bool
    ) -> None:
        self.payload = payload
        self.position = position
        self.offset = offset
        self.size = size
        self.released = released


class RingReader:
    """The reading end."""

    __slots__ = (
        "_announced",
        "_base",
        "_buffer",
        "_credited",
        "_held",
        "_last",
        "_shift",
        "_taken",
        "capacity",
    )

    def __init__(self, buffer: memoryview, offset: int = 0) -> None:
        """``offset``: where the reader before this one came to; 0 for the first."""
        self.capacity = len(buffer)
        self._last = self.capacity - ALIGN  # behind a record a jump has room
        if offset % ALIGN or not 0 <= offset <= max(self._last, 0):
            raise WireError(f"a reader that begins at {offset} of {self.capacity} bytes")
        self._buffer = buffer
        self._announced = self._taken = self._credited = 0
        self._base = self._shift = offset
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
        """The writer has published that many more bytes, after a rewind if they hold `REWIND`."""
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
            offset = position + self._shift
            length, mark = _HEADER.unpack_from(self._buffer, offset)
            size = (length + _ROUND_UP) & -ALIGN
            if mark != _RECORD:
                self._jump(mark, offset, size)
                continue
            if size > self._last - offset or size > self._announced - position:
                raise WireError(f"a record of {length} bytes passes the end of what was announced")
            self._taken = position + size
            start = offset + _HEADER_BYTES
            payload = self._buffer[start : start + length]
            if length < copy_below:
                return Slot(payload.tobytes(), position, offset, size, True)
            slot = Slot(payload, position, offset, size, False)
            self._held.append(slot)
            return slot
        return None

    def _jump(self, mark: int, offset: int, size: int) -> None:
        if mark != _JUMP:
            raise WireError(f"a record marked {mark:#x}, neither record nor jump")
        (target,) = _TARGET.unpack_from(self._buffer, offset + _HEADER_BYTES)
        if size > self._announced - self._taken or target % ALIGN or target > self._last:
            raise WireError(f"a jump of {size} bytes to {target} of {self.capacity}")
        self._taken += size
        self._base = target
        self._shift = target - self._taken

    def _rewind(self) -> None:
        if self._credited != self._announced:
            raise WireError("the writer has rewound before all was given back")
        self._shift = self._base - self._taken

    def ahead(self) -> Buffer | None:
        """The payload of the record that `take` gives next, or None. Takes nothing."""
        slot = self.take()
        if slot is None:
            return None
        self._held.pop()
        self._taken = slot.position
        return slot.payload

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
