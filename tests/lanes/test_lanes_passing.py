"""What passes a lane: in order and counted, from empty to full, until an end is closed."""

from __future__ import annotations

import mmap
import select
from contextlib import ExitStack, closing

import pytest
from lane_kit import (
    PICTURE,
    TRACK,
    Clock,
    audio,
    content,
    duplicate,
    fill,
    live_lane,
    message,
    muted,
    picture_ring,
    plain_row,
    reliable_lane,
    video,
)

from ringroom.errors import ClosedError, FrameError, WireError, WouldBlock
from ringroom.events import Kind
from ringroom.frames import DataFrame, VideoFrame
from ringroom.lanes import records
from ringroom.lanes.lane import ring_for
from ringroom.lanes.live import LiveWriter
from ringroom.lanes.memory import Counter
from ringroom.lanes.reliable import ReliableReader, ReliableWriter
from ringroom.lanes.ring import Geometry
from ringroom.lanes.statistics import Count
from ringroom.rpc import RpcAnswer, RpcCall


def test_what_was_published_outlives_the_writer(portable: bool) -> None:
    writer, reader, _ = reliable_lane(ring_for(2_000, 8), portable=portable)
    with closing(reader):
        writer.send_nowait(audio(480, 1), 0)
        writer.send_nowait(audio(480, 2), 0)
        writer.close()
        first, second = reader.receive_nowait(), reader.receive_nowait()
        assert first is not None
        assert second is not None
        assert content(first) == content(audio(480, 1))
        assert content(second) == content(audio(480, 2))
        assert reader.receive_nowait() is None


def test_a_call_is_dropped_once_its_caller_waits_no_longer(ends: ExitStack) -> None:
    """And nothing else is: what was sent before and behind it is taken."""
    row, clock = plain_row(), Clock()
    writer = ReliableWriter(ring_for(2_000, 8), row)
    ends.callback(writer.close)
    reader = ReliableReader(duplicate(writer.descriptors()), row, clock=clock)
    ends.callback(reader.close)
    sent = [
        DataFrame(b"1"),
        *(RpcCall(b"2", "m", "ann", number=number, timeout=number) for number in (1, 2, 1)),
        RpcCall(b"3", "m", "ann", timeout=1).answer("4"),
    ]
    for item in sent:
        writer.send_nowait(item, clock())
    clock.pass_ms(999)
    assert isinstance(reader.receive_nowait(), DataFrame)
    taken = reader.receive_nowait()
    assert isinstance(taken, RpcCall)
    assert taken.number == 1, "its caller still waits"
    clock.pass_ms(1)
    taken = reader.receive_nowait()
    assert isinstance(taken, RpcCall)
    assert taken.number == 2
    assert isinstance(reader.receive_nowait(), RpcAnswer)
    assert reader.receive_nowait() is None
    counts = row.snapshot()
    assert (counts.sent, counts.taken, counts.dropped_stale, counts.in_flight) == (5, 4, 1, 4)
    assert reader.receive_nowait() is None


def test_fileno_wakes_for_what_is_new(ends: ExitStack, portable: bool) -> None:
    writer, reader, _ = reliable_lane(ring_for(2_000, 8), portable=portable)
    ends.callback(writer.close)
    ends.callback(reader.close)

    def readable(fd: int) -> bool:
        return bool(select.select([fd], [], [], 0)[0])

    assert not readable(reader.fileno())
    assert not reader.pending
    writer.send_nowait(audio(480), 0)
    assert readable(reader.fileno())
    reader.absorb()
    assert not readable(reader.fileno())
    assert reader.pending
    reader.absorb()
    assert reader.receive_nowait() is not None
    assert not reader.pending
    assert not readable(writer.freed_fileno())
    assert reader.receive_nowait() is None
    assert readable(writer.freed_fileno())
    assert writer.in_use == 0
    assert not readable(writer.freed_fileno())


def test_a_full_reliable_lane_says_would_block_until_there_is_room(ends: ExitStack) -> None:
    writer, reader, row = reliable_lane(ring_for(2_000, 4))
    ends.callback(writer.close)
    ends.callback(reader.close)
    sent = fill(writer)
    assert row.snapshot().sent == sent == writer.sequence, "a refused frame is not counted"
    assert reader.discard() == sent
    writer.send_nowait(audio(480), 0)
    assert row.snapshot().in_flight == 1
    assert row.snapshot().bytes > 960 * sent


def test_a_lane_that_was_full_goes_on(ends: ExitStack, portable: bool) -> None:
    """Where nothing waits for its reader any more, there is room for its writer."""
    writer, reader, _ = reliable_lane(Geometry(mmap.PAGESIZE), portable=portable)
    ends.callback(writer.close)
    ends.callback(reader.close)
    for _ in range(4):  # 1008 bytes each, which leaves none of four banks any room
        writer.send_nowait(audio(484), 0)
    with pytest.raises(WouldBlock):
        writer.send_nowait(audio(484), 0)
    with pytest.raises(WouldBlock):
        writer.send_nowait(audio(300), 0)
    for _ in range(4):
        assert reader.receive_nowait() is not None
    reader.absorb()
    reader.give_back()
    writer.send_nowait(audio(300), 0)
    assert reader.receive_nowait() is not None


def test_what_could_never_fit_is_an_error_and_not_counted(ends: ExitStack, clock: Clock) -> None:
    ring = ring_for(2_000, 4)
    writer, reader, row = reliable_lane(ring)
    live_writer, live_reader, live_row = live_lane(ring, clock)
    for end in (writer, reader, live_writer, live_reader):
        ends.callback(end.close)
    too_large = audio(ring.capacity // 2)
    with pytest.raises(FrameError, match="the lane takes"):
        writer.send_nowait(too_large, 0)
    with pytest.raises(FrameError, match="the lane takes"):
        live_writer.send(too_large, 0)
    assert row.snapshot().sent == live_row.snapshot().sent == 0
    assert live_writer.send(audio((live_writer.max_record - records.HEADER_BYTES) // 2), 0)


def test_closed_ends_refuse(clock: Clock, portable: bool) -> None:
    writer, reader, row = reliable_lane(ring_for(700, 8), portable=portable)
    live_writer, live_reader, live_row = live_lane(ring_for(700, 8), clock, portable=portable)
    for end in (writer, reader, live_writer, live_reader):
        end.close()
        end.close()
    assert writer.freed_fileno() == live_reader.fileno() == reader.fileno() == -1
    with pytest.raises(ClosedError):
        writer.send_nowait(audio(1), 0)
    with pytest.raises(ClosedError):
        writer.fits([1])
    assert not live_writer.send(audio(480), 0)
    assert not live_writer.send(video(*PICTURE), 0)
    live_writer.event(muted(1))
    assert not live_writer.write_owed()
    assert writer.in_use == live_writer.in_use == 0
    assert not reader.pending
    for closed in (reader, live_reader):
        with pytest.raises(ClosedError):
            closed.receive_nowait()
    assert row.snapshot().sent == 0
    assert live_row.snapshot().in_flight == 0
    assert live_row.snapshot().dropped_full == 2


def test_data_events_and_large_data_pass(ends: ExitStack, portable: bool) -> None:
    writer, reader, row = reliable_lane(ring_for(64_000, 8), portable=portable)
    ends.callback(writer.close)
    ends.callback(reader.close)
    items = [message(62_000, 1), muted(2), message(0, 3), audio(12_000, 4, 2), muted(5)]
    for item in items:
        writer.send_nowait(item, 7)
    records_of = [records.encode(item, (0, 7)) for item in items]
    assert row.get(Count.BYTES) == sum(len(head) + len(body) for head, body in records_of)
    assert [content(item) for item in iter(reader.receive_nowait, None)] == [
        content(item) for item in items
    ]
    assert row.snapshot().sent == row.snapshot().taken == 3
    assert writer.in_use == 0


def test_pictures_that_nobody_keeps_pass_through_the_same_memory(
    ends: ExitStack, clock: Clock, portable: bool
) -> None:
    """I12: the caches hold it. One that is kept is left alone (I6)."""
    writer, reader, _ = live_lane(picture_ring(8), clock, portable=portable)
    ends.callback(writer.close)
    ends.callback(reader.close)

    def passed(number: int) -> VideoFrame:
        assert writer.send(video(*PICTURE, number), clock.now)
        frame = reader.receive_nowait()
        assert isinstance(frame, VideoFrame)
        assert content(frame) == content(video(*PICTURE, number))
        return frame

    def address(number: int) -> int:
        place = passed(number).data.ctypes.data
        assert reader.receive_nowait() is None
        return int(place)

    first = address(0)
    assert [address(number) for number in range(1, 30)] == [first] * 29
    kept = passed(30)
    assert reader.receive_nowait() is None
    assert first not in [address(number) for number in range(31, 34)]
    assert content(kept) == content(video(*PICTURE, 30))


def test_corrupt_records_are_wire_errors(ends: ExitStack) -> None:
    writer, reader, _ = reliable_lane(Geometry(8_192))
    ends.callback(writer.close)
    ends.callback(reader.close)
    assert writer._push(b"\xff" * 40, b"")  # as a broken peer would
    writer._publish(40)
    with pytest.raises(WireError):
        reader.receive_nowait()


def test_kinds_of_tracks_do_not_matter_to_bytes(ends: ExitStack) -> None:
    """A lane of messages: what arrives has no track and says who sent it."""
    writer, reader, _ = reliable_lane(ring_for(1_000, 8))
    ends.callback(writer.close)
    ends.callback(reader.close)
    writer.send_nowait(DataFrame(b"hi", "t", "ann", reliable=False), 3)
    got = reader.receive_nowait()
    assert isinstance(got, DataFrame)
    assert (got.payload, got.topic, got.participant, got.reliable) == (b"hi", "t", "ann", False)
    assert TRACK.kind is Kind.AUDIO


@pytest.mark.parametrize("live", [True, False])
def test_a_frame_is_counted_before_its_reader_can_see_it(
    ends: ExitStack, clock: Clock, live: bool
) -> None:
    """In flight is never negative: what is taken was sent before."""
    made = live_lane(Geometry(1 << 16), clock) if live else reliable_lane(Geometry(1 << 16))
    writer, reader, row = made
    ends.enter_context(closing(writer))
    ends.enter_context(closing(reader))

    class Seen:
        """The reader is as fast as can be."""

        def __init__(self, counter: Counter) -> None:
            self.counter = counter
            self.close = counter.close

        def add(self, count: int) -> None:
            self.counter.add(count)
            assert reader.receive_nowait() is not None
            row.add(Count.DONE)
            assert row.snapshot().in_flight == 0

    writer._published = Seen(writer._published)  # type: ignore[assignment]
    for seed in range(3):
        if isinstance(writer, LiveWriter):
            assert writer.send(audio(100, seed), clock())
        else:
            writer.send_nowait(audio(100, seed), clock())
    assert row.snapshot().done == 3
