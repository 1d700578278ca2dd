"""Where the ring writes: banks, jumps, rewinds, reservations, and who comes after a dead reader."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ring_kit import GEOMETRIES, pass_on, push, ring

from ringroom.lanes.ring import Geometry, RingReader, RingWriter, Slot, slot_size


def offsets(writer: RingWriter, reader: RingReader, *payloads: bytes, behind: int) -> list[int]:
    """Where each lies, in a ring whose reader is that many records behind."""
    held: list[Slot] = []
    found = []
    for payload in payloads:
        assert push(writer, payload)
        found.append(writer._offset(writer._written - slot_size(len(payload))))
        reader.announce(writer.announce())
        slot = reader.take()
        assert slot is not None
        assert (bytes(slot.payload), slot.offset) == (payload, found[-1])
        held.append(slot)
        if len(held) > behind:
            held.pop(0).released = True
        writer.credit(reader.collect())
    return found


@pytest.mark.parametrize(("behind", "banks"), [(0, 1), (1, 2), (2, 3), (6, 7)])
def test_who_is_read_in_time_writes_to_few_banks(behind: int, banks: int) -> None:
    """I12: of those that are free, the one that was given back last."""
    geometry = Geometry.of(40, 8, 8)
    memory = memoryview(bytearray(geometry.capacity))
    writer, reader = RingWriter(memory, 8), RingReader(memory)
    payloads = [bytes([number]) * 40 for number in range(40)]
    found = offsets(writer, reader, *payloads, behind=behind)
    assert len(set(found)) == banks


def test_a_jump_that_nobody_followed_is_followed_later() -> None:
    """A reservation that was given up has closed the bank: what comes then lies in the next."""
    writer, reader = ring(256)
    assert push(writer, b"1" * 24)
    assert writer.reserve(24) is None
    assert writer.turn(24)
    assert writer.reserve(24) is not None
    assert pass_on(writer, reader) == [b"1" * 24]
    assert writer.in_use == 0
    assert push(writer, b"2" * 8)
    assert pass_on(writer, reader) == [b"2" * 8]


def test_a_full_ring_has_no_room_for_a_jump_either() -> None:
    """I1, I2: with no bank free nothing is written, though the one that is read is half free."""
    writer, reader = ring(512)
    for _ in range(14):  # three and a half of them fill a bank
        assert push(writer, b"12345678")
    reader.announce(writer.announce())
    taken = [reader.take() for _ in range(5)]
    for slot in taken:
        assert slot is not None
        slot.released = True
    writer.credit(reader.collect())
    while push(writer, b"abcdefgh"):
        pass
    used, before = writer.in_use, bytes(writer._buffer)
    assert not writer.turn(24)
    assert writer.reserve(24) is None
    assert writer.in_use == used
    assert bytes(writer._buffer) == before
    assert pass_on(writer, reader)[:9] == [b"12345678"] * 9


def test_an_empty_record_is_a_record() -> None:
    writer, reader = ring(128)
    assert push(writer, b"")
    assert pass_on(writer, reader) == [b""]


def test_out_of_order_releases_wait_for_the_oldest() -> None:
    """I4."""
    writer, reader = ring(512)
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


def test_commit_without_reserve_is_refused() -> None:
    writer, _ = ring(256)
    with pytest.raises(ValueError, match="nothing is reserved"):
        writer.commit(1)
    assert writer.reserve(8) is not None
    assert push(writer, b"12345678")
    with pytest.raises(ValueError, match="nothing is reserved"):
        writer.commit(1)  # what was pushed lies where it was reserved


@pytest.mark.parametrize("step", [lambda writer: writer.rewind(), lambda writer: writer.turn(8)])
def test_a_new_beginning_gives_up_what_is_reserved(step: Callable[[RingWriter], bool]) -> None:
    writer, _ = ring(256)
    assert writer.reserve(8) is not None
    assert step(writer)
    with pytest.raises(ValueError, match="nothing is reserved"):
        writer.commit(8)


def test_a_ring_that_is_empty_goes_on_at_its_banks_beginning() -> None:
    """I12: the same bytes each time, and room for as much as ever."""
    writer, reader = ring(512)
    for payload in (b"a" * 60, b"b" * 60):
        assert push(writer, payload)
    assert pass_on(writer, reader) == [b"a" * 60, b"b" * 60]
    assert writer._bank == 128
    for begin in (writer.rewind, lambda: writer.turn(8), writer.rewind):
        assert begin()
        for payload in (b"a" * 8, b"b" * 40, b"c" * 40):
            assert push(writer, payload)
        assert bytes(writer._buffer[136:144]) == b"a" * 8
        assert not writer.rewind(), "nothing was given back"
        assert [taken[:1] for taken in pass_on(writer, reader)] == [b"a", b"b", b"c"]
        assert writer.in_use == 0
        assert push(writer, b"e" * 104)
        assert pass_on(writer, reader) == [b"e" * 104]
        assert writer._bank == 128


# Successors.


@given(
    geometry=GEOMETRIES,
    shares=st.lists(st.floats(0, 1), min_size=1, max_size=60),
    data=st.data(),
)
@settings(deadline=None)
def test_successors_take_what_the_dead_have_left(
    geometry: Geometry, shares: list[float], data: st.DataObject
) -> None:
    """Whatever was taken, credited, rewound and not: each record comes once, in order."""
    memory = memoryview(bytearray(geometry.capacity))
    writer, reader = RingWriter(memory, geometry.banks), RingReader(memory)
    written, taken = [], []
    announced = 0
    for number, share in enumerate(shares):
        payload = bytes([number]) * int(geometry.max_payload * share)
        if data.draw(st.integers(0, 3)) == 0:
            writer.rewind()
        if push(writer, payload):
            written.append(payload)
        step = data.draw(st.integers(0, 4))
        if step > 0:
            reader.announce(writer.announce())
            announced = len(written)
        if step > 1:
            while (slot := reader.take(10_000)) is not None:
                taken.append(bytes(slot.payload))
        if step > 2:
            writer.credit(reader.collect())
        if step > 3 or data.draw(st.integers(0, 5)) == 0:
            offset, waiting = writer.succeed(announced - len(taken))
            reader = RingReader(memory, offset)
            reader.announce(waiting)
    taken += [bytes(slot.payload) for slot in iter(reader.take, None)]
    reader.announce(writer.announce())
    taken += [bytes(slot.payload) for slot in iter(reader.take, None)]
    assert taken == written


def test_a_successor_gets_no_more_than_there_is() -> None:
    """The counts of a dead reader are its own: whatever they say, nobody reads beyond."""
    writer, _ = ring(256)
    assert push(writer, b"a")
    assert push(writer, b"b")
    writer.announce()
    assert writer.succeed(9) == (0, 32)


def test_a_bank_is_free_once_its_jump_was_followed() -> None:
    """I12: also where a record fills the bank, and the jump is all that is left of it."""
    writer, reader = ring(512)
    records = [bytes([number]) * writer.max_payload for number in range(4)]
    assert all(push(writer, record) for record in records)
    reader.announce(writer.announce())
    first = reader.take()
    assert first is not None
    first.released = True
    writer.credit(reader.collect())
    assert not push(writer, b"over the jump")
    assert pass_on(writer, reader) == records[1:]
    assert push(writer, b"over the jump")
