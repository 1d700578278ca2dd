"""Rings of every geometry, and both ends of one in a single process."""

from __future__ import annotations

from hypothesis import strategies as st

from ringroom.lanes.ring import ALIGN, Geometry, RingReader, RingWriter

# Banks of two slots and more, and sometimes a rest that is in none of them.
GEOMETRIES = st.builds(
    lambda banks, slots, rest: Geometry(banks * slots * ALIGN + rest, banks),
    st.integers(4, 8),
    st.integers(2, 20),
    st.integers(0, 3 * ALIGN),
)


def ring(capacity: int) -> tuple[RingWriter, RingReader]:
    memory = memoryview(bytearray(capacity))
    return RingWriter(memory), RingReader(memory)


def push(writer: RingWriter, payload: bytes) -> bool:
    return writer.push(b"", payload) or (writer.turn(len(payload)) and writer.push(b"", payload))


def pass_on(writer: RingWriter, reader: RingReader) -> list[bytes]:
    """Announce, take all, give it back."""
    reader.announce(writer.announce())
    taken = [bytes(slot.payload) for slot in iter(lambda: reader.take(10_000), None)]
    writer.credit(reader.collect())
    return taken
