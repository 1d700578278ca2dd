"""The ring against a deque: any geometry, any interleaving, I1 to I5 and I12 after each step."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ringroom.errors import WireError
from ringroom.lanes.ring import (
    ALIGN,
    REWIND,
    RingReader,
    RingWriter,
    Slot,
    max_payload,
    slot_size,
)

CAPACITIES = st.integers(4, 80).map(lambda slots: slots * ALIGN)


class RingAgainstDeque(RuleBasedStateMachine):
    """Whatever the order of steps, what comes out is what a deque would give."""

    @initialize(capacity=CAPACITIES)
    def open(self, capacity: int) -> None:
        self.memory = bytearray(capacity)
        self.capacity = capacity
        self.writer = RingWriter(memoryview(self.memory))
        self.reader = RingReader(memoryview(self.memory))
        self.waiting: deque[bytes] = deque()  # written, not announced
        self.model: deque[bytes] = deque()  # announced, not taken
        self.kept: list[tuple[Slot, bytes]] = []  # taken, not released
        self.announced = self.credited = self.said = 0
        self.made = 0

    def payload(self, nbytes: int) -> bytes:
        self.made += 1
        return bytes((self.made * 31 + i) % 251 for i in range(nbytes))

    @rule(share=st.floats(0, 1), cut=st.floats(0, 1), spare=st.integers(0, 99))
    def push(self, share: float, cut: float, spare: int) -> None:
        payload = self.payload(int(max_payload(self.capacity) * share))
        middle = int(len(payload) * cut)
        before, untouched = self.writer.in_use, self.owned_by_the_reader()
        if self.writer.push(payload[:middle], memoryview(payload)[middle:], spare):
            assert before + slot_size(len(payload)) <= self.capacity
            assert before + len(payload) + spare <= self.capacity, "others have their room"
            self.waiting.append(payload)
        else:
            assert before * 2 > self.capacity - 2 * spare, "I5"
        assert self.owned_by_the_reader() == untouched, "I2"

    @rule(share=st.floats(0, 1), spare=st.integers(0, 9))
    def reserve_and_commit(self, share: float, spare: int) -> None:
        payload = self.payload(int(max_payload(self.capacity) * share))
        reserved = min(len(payload) + spare, max_payload(self.capacity))
        before, untouched = self.writer.in_use, self.owned_by_the_reader()
        view = self.writer.reserve(reserved)
        if view is None:
            # I5: what fits in a quarter is refused only while more than half is in use.
            assert before * 2 > self.capacity, "I5"
        else:
            assert len(view) == reserved
            view[: len(payload)] = payload
            self.writer.commit(len(payload))
            self.waiting.append(payload)
        assert self.owned_by_the_reader() == untouched, "I2"

    @rule()
    def reserve_and_think_again(self) -> None:
        """A reservation that is not committed takes nothing (but perhaps a skip)."""
        untouched = self.owned_by_the_reader()
        self.writer.reserve(max_payload(self.capacity))
        assert self.owned_by_the_reader() == untouched, "I2"

    @rule(spare=st.integers(0, 2_000))
    def reserve_beside_others(self, spare: int) -> None:
        """What would not leave them their room is refused, and takes nothing but perhaps a skip."""
        before = self.writer.in_use
        view = self.writer.reserve(8, spare)
        if before + 8 + spare > self.capacity:
            assert view is None
            assert self.writer.in_use == before

    @rule()
    def rewind(self) -> None:
        """I12: a step of all positions, where nothing is out; else nothing at all."""
        if self.writer.in_use == 0:
            assert self.said == self.credited == self.announced
            self.said += self.capacity - self.said % self.capacity
            self.credited = self.announced = self.said
        used = self.writer.in_use
        self.writer.rewind()
        assert self.writer.in_use == used

    @rule()
    def announce(self) -> None:
        nbytes = self.writer.announce()
        self.announced += nbytes % REWIND
        self.reader.announce(nbytes)
        self.model.extend(self.waiting)
        self.waiting.clear()
        assert self.writer.announce() == 0

    @rule(copy_below=st.sampled_from([0, 8, 100, 10_000]))
    def take(self, copy_below: int) -> None:
        slot = self.reader.take(copy_below)
        if slot is None:
            assert not self.model
            assert not self.reader.pending
            return
        assert bytes(slot.payload) == self.model.popleft()
        assert slot.released == isinstance(slot.payload, bytes) == (len(slot.payload) < copy_below)
        if not slot.released:
            self.kept.append((slot, bytes(slot.payload)))

    @rule()
    def look_ahead(self) -> None:
        """It takes nothing, but perhaps a skip."""
        payload = self.reader.ahead()
        assert (None if payload is None else bytes(payload)) == next(iter(self.model), None)
        assert self.reader.pending == bool(self.model)

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def release_any(self, data: st.DataObject) -> None:
        """Out of order: the credit waits for those before it (I4)."""
        slot, _ = self.kept.pop(data.draw(st.integers(0, len(self.kept) - 1)))
        slot.released = True

    @rule()
    def collect(self) -> None:
        offset = self.credited % self.capacity
        nbytes = self.reader.collect()
        self.credited += nbytes
        assert nbytes % ALIGN == 0
        # I4: a contiguous prefix, which ends before the oldest slot that is still held.
        if self.reader.held:
            oldest = min((slot.position - offset) % self.capacity for slot, _ in self.kept)
            assert nbytes == oldest or nbytes % self.capacity == oldest, "I4"
        else:
            assert self.reader.outstanding == 0, "I4"

    @rule()
    def pass_credit(self) -> None:
        self.writer.credit(self.credited - self.said)
        self.said = self.credited

    @rule()
    def flush(self) -> None:
        """All that waits is dropped, and all bytes come back."""
        self.announce()
        while (slot := self.reader.take()) is not None:
            slot.released = True
        self.model.clear()
        for slot, _ in self.kept:
            slot.released = True
        self.kept.clear()
        self.collect()
        self.pass_credit()
        assert self.writer.in_use == 0
        assert self.reader.outstanding == 0

    @rule()
    def remap(self) -> None:
        self.reader.rebase(memoryview(self.memory))

    def owned_by_the_reader(self) -> bytes:
        """Bytes in [credited, announced), as the writer knows them."""
        start, length = self.said % self.capacity, self.announced - self.said
        return (bytes(self.memory) * 2)[start : start + length]

    @invariant()
    def positions_are_in_order(self) -> None:
        credited, taken = self.credited, self.credited + self.reader.outstanding
        written = self.said + self.writer.in_use
        assert self.said <= credited <= taken <= self.announced <= written, "I1"
        assert written <= self.said + self.capacity, "I1"
        for position in (credited, taken, self.announced, written):
            assert position % ALIGN == 0, "I3"

    @invariant()
    def kept_slots_keep_their_bytes(self) -> None:
        for slot, payload in self.kept:
            assert bytes(slot.payload) == payload, "I2"
        assert self.reader.held == [slot for slot in self.reader.held if not slot.released]
        assert len(self.reader.held) == len(self.kept)


RingAgainstDeque.TestCase.settings = settings(
    max_examples=80,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestRingAgainstDeque = RingAgainstDeque.TestCase


def ring(capacity: int) -> tuple[RingWriter, RingReader]:
    memory = memoryview(bytearray(capacity))
    return RingWriter(memory), RingReader(memory)


def push(writer: RingWriter, payload: bytes) -> bool:
    return writer.push(b"", payload)


@given(capacity=CAPACITIES)
@settings(deadline=None)
def test_the_largest_payload_passes_forever(capacity: int) -> None:
    """I5: half free is enough, wherever the ring's end lies."""
    writer, reader = ring(capacity)
    largest = bytes(range(max_payload(capacity) % 256)) or b"x" * max_payload(capacity)
    largest = largest.ljust(max_payload(capacity), b".")
    for _ in range(3 * capacity // ALIGN):
        assert push(writer, largest)
        reader.announce(writer.announce())
        slot = reader.take()
        assert slot is not None
        assert bytes(slot.payload) == largest
        slot.released = True
        writer.credit(reader.collect())


def test_a_full_ring_refuses_and_recovers() -> None:
    writer, reader = ring(128)
    payload = b"p" * 24
    assert [push(writer, payload) for _ in range(5)] == [True] * 4 + [False]
    reader.announce(writer.announce())
    taken = [reader.take() for _ in range(4)]
    assert reader.take() is None
    assert not push(writer, payload)
    for slot in taken:
        assert slot is not None
        slot.released = True
    writer.credit(reader.collect())
    assert push(writer, payload)


def test_a_skip_that_a_full_ring_made_is_announced_alone() -> None:
    """The reader must learn of it, else it never gives back the room that the record waits for."""
    writer, reader = ring(128)
    for size in (8, 24, 24, 24):
        assert push(writer, b"x" * size)
    reader.announce(writer.announce())
    slot = reader.take()
    assert slot is not None
    slot.released = True
    writer.credit(reader.collect())
    assert writer.reserve(24) is None
    assert writer.announce() == 16
    assert writer.in_use == 112


def test_a_full_ring_has_no_room_for_a_skip_either() -> None:
    """I1, I2: at the ring's end, with not a byte free, nothing is written."""
    writer, reader = ring(128)
    for _ in range(7):
        assert push(writer, b"12345678")
    reader.announce(writer.announce())
    while (slot := reader.take()) is not None:
        slot.released = True
    writer.credit(reader.collect())
    for _ in range(8):
        assert push(writer, b"abcdefgh")
    assert writer.in_use == 128
    assert writer.reserve(24) is None
    assert writer.in_use == 128
    reader.announce(writer.announce())
    for _ in range(8):
        slot = reader.take()
        assert slot is not None
        assert bytes(slot.payload) == b"abcdefgh"


def test_an_empty_record_is_a_record() -> None:
    writer, reader = ring(64)
    assert push(writer, b"")
    reader.announce(writer.announce())
    slot = reader.take()
    assert slot is not None
    assert len(slot.payload) == 0


def test_out_of_order_releases_wait_for_the_oldest() -> None:
    """I4."""
    writer, reader = ring(256)
    for number in range(3):
        assert push(writer, bytes([number]))
    reader.announce(writer.announce())
    first, second, third = (reader.take() for _ in range(3))
    assert first is not None
    assert second is not None
    assert third is not None
    second.released = third.released = True
    assert reader.collect() == 0
    assert reader.held == [first]
    first.released = True
    assert reader.collect() == 3 * slot_size(1)


@pytest.mark.parametrize("capacity", [0, 16, 48, 65, 100])
def test_a_bad_capacity_is_refused(capacity: int) -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        RingWriter(memoryview(bytearray(capacity)))


def test_what_never_fits_is_refused() -> None:
    writer, _ = ring(64)
    assert max_payload(64) == 8
    with pytest.raises(ValueError, match="do not fit"):
        writer.reserve(9)
    with pytest.raises(ValueError, match="do not fit"):
        push(writer, b"123456789")


def test_commit_without_reserve_is_refused() -> None:
    writer, _ = ring(64)
    with pytest.raises(ValueError, match="nothing is reserved"):
        writer.commit(1)
    assert writer.reserve(8) is not None
    assert push(writer, b"12345678")
    with pytest.raises(ValueError, match="nothing is reserved"):
        writer.commit(1)  # what was pushed lies where it was reserved


def test_a_ring_that_is_empty_goes_on_at_its_beginning() -> None:
    """I12: the same bytes each time, and room for as much as ever."""
    writer, reader = ring(256)
    for _ in range(3):
        writer.rewind()
        for payload in (b"a" * 8, b"b" * 40, b"c" * 40, b"d" * 40):
            assert push(writer, payload)
        assert bytes(writer._buffer[8:16]) == b"a" * 8
        reader.announce(writer.announce())
        taken = [bytes(slot.payload)[:1] for slot in iter(lambda: reader.take(1_000), None)]
        assert taken == [b"a", b"b", b"c", b"d"]
        writer.rewind()  # not yet: nothing was given back
        assert writer.in_use == 16 + 3 * 48
        writer.credit(reader.collect())
        assert writer.in_use == 0


def test_a_rewind_gives_up_what_is_reserved() -> None:
    writer, _ = ring(256)
    assert push(writer, b"a")
    assert writer.reserve(8) is not None
    writer.rewind()
    with pytest.raises(ValueError, match="nothing is reserved"):
        writer.commit(8)


def test_a_rewind_where_something_is_out_is_refused() -> None:
    """I12: a peer that lies is found out before a byte is read."""
    writer, reader = ring(256)
    assert push(writer, b"1")
    reader.announce(writer.announce())
    with pytest.raises(WireError, match="before all was given back"):
        reader.announce(REWIND)
    slot = reader.take()
    assert slot is not None
    with pytest.raises(WireError, match="before all was given back"):
        reader.announce(REWIND)
    slot.released = True
    writer.credit(reader.collect())
    with pytest.raises(WireError, match="more than the ring has room for"):
        reader.announce(2 * REWIND)
    reader.announce(REWIND)
    assert not reader.pending


def test_too_much_credit_or_announcement_is_refused() -> None:
    """A peer that lies is found out before a byte is read or overwritten."""
    writer, reader = ring(64)
    assert push(writer, b"1")
    with pytest.raises(WireError, match="credit"):
        writer.credit(16)  # written, not announced
    with pytest.raises(WireError, match="announced"):
        reader.announce(65)
    reader.announce(64)
    with pytest.raises(WireError, match="announced"):
        reader.announce(1)


def test_room_that_was_not_credited_is_not_announced_again() -> None:
    """I1: announced <= credited + capacity, whatever was taken."""
    writer, reader = ring(64)
    assert push(writer, b"1")
    reader.announce(writer.announce())
    slot = reader.take()
    assert slot is not None
    with pytest.raises(WireError, match="announced"):
        reader.announce(64)
    slot.released = True
    writer.credit(reader.collect())
    reader.announce(64)


@given(raw=st.binary(min_size=64, max_size=256).map(lambda raw: raw[: len(raw) // 16 * 16]))
@settings(deadline=None)
def test_any_bytes_give_records_or_an_error(raw: bytes) -> None:
    """Corrupt memory: no read beyond the ring, no endless loop."""
    reader = RingReader(memoryview(raw))
    reader.announce(len(raw))
    try:
        while (slot := reader.take()) is not None:
            assert slot.position + slot.size <= len(raw)
    except WireError:
        pass


def test_a_record_longer_than_what_was_announced_is_refused() -> None:
    writer, reader = ring(256)
    assert push(writer, b"x" * 40)
    reader.announce(16)
    with pytest.raises(WireError, match="passes the end"):
        reader.take()


def test_a_record_that_passes_the_rings_end_is_refused() -> None:
    """Records are contiguous, also when enough was announced."""
    writer, reader = ring(64)
    for payload in (b"1" * 8, b"2" * 8, b"3" * 8):
        assert push(writer, payload)
    reader.announce(writer.announce())
    for _ in range(3):
        slot = reader.take()
        assert slot is not None
        slot.released = True
    writer.credit(reader.collect())
    assert push(writer, b"4" * 8)
    writer._buffer[48:52] = (24).to_bytes(4, "little")
    reader.announce(writer.announce() + 32)
    with pytest.raises(WireError, match="passes the end"):
        reader.take()


def test_a_record_of_an_unknown_mark_is_refused() -> None:
    memory = bytearray(64)
    memory[:8] = b"\x04\x00\x00\x00WHAT"
    reader = RingReader(memoryview(memory))
    reader.announce(16)
    with pytest.raises(WireError, match="neither record nor skip"):
        reader.take()


@pytest.mark.parametrize("position", [-16, 8])
def test_a_reader_begins_at_a_record_or_not_at_all(position: int) -> None:
    with pytest.raises(WireError, match=f"begins at {position}"):
        RingReader(memoryview(bytearray(64)), position)


def test_of_what_is_left_for_a_successor_a_skip_is_no_record() -> None:
    memory = memoryview(bytearray(128))
    writer, reader = RingWriter(memory), RingReader(memory)
    assert push(writer, b"a" * 24)
    assert push(writer, b"b" * 24)
    assert push(writer, b"c" * 24)
    reader.announce(writer.announce())
    for _ in range(2):
        slot = reader.take()
        assert slot is not None
        slot.released = True
    writer.credit(reader.collect())
    # Of the ring's last 32 bytes the first half takes this, the other a skip.
    assert push(writer, b"d" * 8)
    assert push(writer, b"e" * 24)
    writer.announce()
    position, waiting = writer.succeed(2)
    successor = RingReader(memory, position)
    successor.announce(waiting)
    taken = [bytes(slot.payload) for slot in iter(successor.take, None)]
    assert taken == [b"d" * 8, b"e" * 24]


def test_a_successor_begins_behind_a_rewind_that_nobody_was_told_of() -> None:
    memory = memoryview(bytearray(128))
    writer, reader = RingWriter(memory), RingReader(memory)
    assert push(writer, b"a" * 24)
    reader.announce(writer.announce())
    assert reader.take(100) is not None
    writer.credit(reader.collect())
    writer.rewind()
    position, waiting = writer.succeed(0)
    assert (position, waiting) == (128, 0)
    assert push(writer, b"b" * 24)
    successor = RingReader(memory, position)
    successor.announce(writer.announce())
    slot = successor.take()
    assert slot is not None
    assert bytes(slot.payload) == b"b" * 24


def test_a_successor_gets_no_more_than_there_is() -> None:
    """The counts of a dead reader are its own: whatever they say, nobody reads beyond."""
    writer, _ = ring(128)
    assert push(writer, b"a")
    assert push(writer, b"b")
    writer.announce()
    assert writer.succeed(9) == (0, 32)
