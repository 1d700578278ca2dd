"""What the ring refuses: a bad geometry, what never fits, and a peer that lies."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ring_kit import push, ring

from ringroom.errors import WireError
from ringroom.lanes.ring import ALIGN, REWIND, Geometry, RingReader, RingWriter


@pytest.mark.parametrize(("capacity", "banks"), [(0, 4), (64, 4), (127, 4), (255, 8), (4_096, 3)])
def test_a_bad_geometry_is_refused(capacity: int, banks: int) -> None:
    with pytest.raises(ValueError, match=f"{capacity} bytes in {banks} banks: at least 4 banks"):
        RingWriter(memoryview(bytearray(capacity)), banks)


def test_what_never_fits_is_refused() -> None:
    writer, _ = ring(128)
    assert writer.max_payload == Geometry(128).max_payload == 8
    with pytest.raises(ValueError, match="do not fit"):
        writer.reserve(9)
    with pytest.raises(ValueError, match="do not fit"):
        writer.turn(9)
    with pytest.raises(ValueError, match="do not fit"):
        writer.push(b"1234", b"56789")


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
    writer, reader = ring(128)
    assert push(writer, b"1")
    with pytest.raises(WireError, match="credit"):
        writer.credit(16)  # written, not announced
    with pytest.raises(WireError, match="announced"):
        reader.announce(129)
    reader.announce(128)
    with pytest.raises(WireError, match="announced"):
        reader.announce(1)


def test_room_that_was_not_credited_is_not_announced_again() -> None:
    """I1: announced <= credited + capacity, whatever was taken."""
    writer, reader = ring(128)
    assert push(writer, b"1")
    reader.announce(writer.announce())
    slot = reader.take()
    assert slot is not None
    with pytest.raises(WireError, match="announced"):
        reader.announce(128)
    slot.released = True
    writer.credit(reader.collect())
    reader.announce(128)


RECORD, JUMP = b"GNIR", b"PMUJ"  # as they lie in memory


def header(length: int, mark: bytes, target: int = 0) -> bytes:
    return length.to_bytes(4, "little") + mark + target.to_bytes(8, "little")


@given(
    raw=st.lists(
        st.one_of(
            st.binary(min_size=16, max_size=16),
            st.builds(
                header, st.integers(0, 70), st.sampled_from([RECORD, JUMP]), st.integers(0, 300)
            ),
            st.builds(
                header, st.integers(0, 40), st.just(JUMP), st.integers(0, 12).map(ALIGN.__mul__)
            ),
        ),
        min_size=4,
        max_size=16,
    ).map(b"".join),
    start=st.integers(0, 15),
)
@settings(deadline=None, max_examples=400)
def test_any_bytes_give_records_or_an_error(raw: bytes, start: int) -> None:
    """Corrupt memory: no read beyond the ring, no endless loop, no other error."""
    try:
        reader = RingReader(memoryview(raw), start * ALIGN)
        reader.announce(len(raw))
        while (slot := reader.take()) is not None:
            assert slot.offset + slot.size <= len(raw)
            assert len(slot.payload) <= slot.size
    except WireError:
        pass


def test_a_record_longer_than_what_was_announced_is_refused() -> None:
    writer, reader = ring(512)
    assert push(writer, b"x" * 40)
    reader.announce(16)
    with pytest.raises(WireError, match="passes the end"):
        reader.take()


def read(raw: bytes, announced: int) -> None:
    reader = RingReader(memoryview(raw))
    reader.announce(announced)
    while reader.take() is not None:
        pass


@pytest.mark.parametrize(
    ("raw", "announced", "wrong"),
    [
        (header(4, b"WHAT"), 16, "neither record nor jump"),
        (header(105, RECORD), 128, "a record of 105 bytes passes the end"),
        (header(40, RECORD), 32, "a record of 40 bytes passes the end"),
        (header(40, JUMP, 64), 32, "a jump of 48 bytes to 64 of 128"),
        (header(8, JUMP, 128), 16, "a jump of 16 bytes to 128 of 128"),
        (header(8, JUMP, 24), 16, "a jump of 16 bytes to 24 of 128"),
        # The record leaves no room for a jump behind it.
        (header(8, JUMP, 112) + bytes(96) + header(8, RECORD), 32, "a record of 8 bytes passes"),
    ],
)
def test_what_is_no_record_is_refused(raw: bytes, announced: int, wrong: str) -> None:
    with pytest.raises(WireError, match=wrong):
        read(raw.ljust(128, b"\0"), announced)


@pytest.mark.parametrize("offset", [-16, 8, 64])
def test_a_reader_begins_at_a_record_or_not_at_all(offset: int) -> None:
    with pytest.raises(WireError, match=f"begins at {offset} of 64 bytes"):
        RingReader(memoryview(bytearray(64)), offset)
