"""The ring against a deque: any geometry, any interleaving, I1 to I5 and I12 after each step; and
what it promises to hold."""

from __future__ import annotations

from collections import deque

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from ring_kit import GEOMETRIES, pass_on, push, ring

from ringroom.lanes.ring import (
    ALIGN,
    REWIND,
    Geometry,
    RingReader,
    RingWriter,
    Slot,
    slot_size,
)


class RingAgainstDeque(RuleBasedStateMachine):
    """Whatever the order of steps, what comes out is what a deque would give."""

    @initialize(geometry=GEOMETRIES)
    def open(self, geometry: Geometry) -> None:
        self.memory = bytearray(geometry.capacity)
        self.geometry, self.capacity = geometry, geometry.capacity
        self.max_payload = geometry.max_payload
        self.writer = RingWriter(memoryview(self.memory), geometry.banks)
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
        payload = self.payload(int(self.max_payload * share))
        middle = int(len(payload) * cut)
        before, theirs = self.writer.in_use, self.owned_by_the_reader()

        def written() -> bool:
            return self.writer.push(payload[:middle], memoryview(payload)[middle:], spare)

        went_in = written()
        if not went_in and self.writer.turn(len(payload)):
            went_in = written()
            assert went_in, "a bank has room for any record"
        if went_in:
            self.check_spare(spare, len(payload))
            self.waiting.append(payload)
        else:
            bank = self.geometry.bank_bytes
            # Free, but of no use: the end of a bank, and what is read of another.
            assert before > (self.geometry.banks - 2) * bank - spare, "I5"
        assert self.owned_by_the_reader() == theirs, "I2"

    @rule(share=st.floats(0, 1), spare=st.integers(0, 9))
    def reserve_and_commit(self, share: float, spare: int) -> None:
        payload = self.payload(int(self.max_payload * share))
        reserved = min(len(payload) + spare, self.max_payload)
        before, theirs = self.writer.in_use, self.owned_by_the_reader()
        view = self.writer.reserve(reserved)
        if view is None and self.writer.turn(reserved):
            view = self.writer.reserve(reserved)
            assert view is not None, "a bank has room for any record"
        if view is None:
            # I5: what fits in a bank is refused only while more than half is in use.
            assert before * 2 > self.capacity, "I5"
        else:
            assert len(view) == reserved
            view[: len(payload)] = payload
            self.writer.commit(len(payload))
            self.waiting.append(payload)
        assert self.owned_by_the_reader() == theirs, "I2"

    @rule()
    def reserve_and_think_again(self) -> None:
        """A reservation that is not committed takes nothing."""
        before, theirs = self.writer.in_use, self.owned_by_the_reader()
        self.writer.reserve(self.max_payload)
        assert self.writer.in_use == before
        assert self.owned_by_the_reader() == theirs, "I2"

    @rule(spare=st.integers(0, 2_000))
    def reserve_beside_others(self, spare: int) -> None:
        """What would not leave them their room is refused, and takes nothing."""
        before = self.writer.in_use
        if self.writer.reserve(8, spare) is None:
            assert self.writer.in_use == before
        else:
            self.check_spare(spare + slot_size(8))

    def check_spare(self, spare: int, first: int = 8) -> None:
        """So much has still its place, but for the first record of the last bank."""
        writer = self.writer
        is_first = writer._written + writer._shift - slot_size(first) <= writer._bank
        assert writer._free or is_first or writer._end - writer._written >= spare

    @rule()
    def rewind(self) -> None:
        """I12: where nothing is out; else nothing at all. No position moves."""
        used = self.writer.in_use
        assert self.writer.rewind() == (used == 0)
        if used == 0:
            assert self.said == self.credited == self.announced
            assert self.writer._shift + self.writer._written == self.writer._bank
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
        before = self.credited
        nbytes = self.reader.collect()
        self.credited += nbytes
        assert nbytes % ALIGN == 0
        # I4: a contiguous prefix, which ends before the oldest slot that is still held.
        if self.reader.held:
            assert before + nbytes == min(slot.position for slot, _ in self.kept), "I4"
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
        offsets = map(self.writer._offset, range(self.said, self.announced, ALIGN))
        return b"".join(bytes(self.memory[offset : offset + ALIGN]) for offset in offsets)

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


@given(geometry=GEOMETRIES)
@settings(deadline=None)
def test_the_largest_payload_passes_forever(geometry: Geometry) -> None:
    """I5: half free is enough, wherever the bank's end lies."""
    memory = memoryview(bytearray(geometry.capacity))
    writer, reader = RingWriter(memory, geometry.banks), RingReader(memory)
    largest = bytes(number % 251 for number in range(geometry.max_payload))
    for _ in range(3 * geometry.capacity // ALIGN):
        assert push(writer, b"between")
        assert push(writer, largest)
        assert pass_on(writer, reader) == [b"between", largest]


@given(
    geometry=GEOMETRIES,
    before=st.lists(st.floats(0, 1), max_size=20),
    behind=st.integers(0, 20),
    shares=st.lists(st.floats(0, 1), max_size=20),
)
@settings(deadline=None)
def test_what_fits_goes_in_and_what_does_not_fit_does_not(
    geometry: Geometry, before: list[float], behind: int, shares: list[float]
) -> None:
    memory = memoryview(bytearray(geometry.capacity))
    writer, reader = RingWriter(memory, geometry.banks), RingReader(memory)
    for number, share in enumerate(before):
        push(writer, bytes(int(geometry.max_payload * share)))
        if number < len(before) - behind:
            pass_on(writer, reader)
    writer.rewind()  # what an empty ring would do anyhow
    sizes = [int(geometry.max_payload * share) for share in shares]
    state = writer.in_use, bytes(memory)
    fits = writer.fits(sizes)
    assert (writer.in_use, bytes(memory)) == state
    assert fits == all(push(writer, bytes(size)) for size in sizes)


@given(
    nbytes=st.integers(1, 5_000),
    records=st.integers(1, 40),
    banks=st.integers(4, 8),
    taken=st.integers(0, 60),
)
@settings(deadline=None)
def test_a_ring_for_records_holds_as_many(
    nbytes: int, records: int, banks: int, taken: int
) -> None:
    """All of them where it is empty, all but a bank's wherever the reader has come to."""
    geometry = Geometry.of(nbytes, records, banks)
    memory = memoryview(bytearray(geometry.capacity))
    writer, reader = RingWriter(memory, banks), RingReader(memory)
    for number in range(taken):
        assert push(writer, bytes([number]) * nbytes)
        assert pass_on(writer, reader) == [bytes([number]) * nbytes]
    held = 0
    while push(writer, b"x" * nbytes):
        held += 1
    assert held >= records - (-(-records // banks) - 1 if taken else 0)
    assert pass_on(writer, reader) == [b"x" * nbytes] * held


def test_a_full_ring_refuses_and_recovers() -> None:
    writer, reader = ring(256)
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
