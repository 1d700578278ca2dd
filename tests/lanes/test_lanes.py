"""Lanes at the edges that a machine rarely meets: full, closed, refused, two processes."""

from __future__ import annotations

import errno
import gc
import mmap
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import numpy as np
import pytest
from lane_kit import (
    TRACK,
    Clock,
    audio,
    content,
    duplicate,
    live_lane,
    message,
    muted,
    plain_row,
    reliable_lane,
    video,
)

from ringroom.errors import ClosedError, FrameError, StartupError, WireError, WouldBlock
from ringroom.frames import AudioFrame, DataFrame, Event, Kind, VideoFrame
from ringroom.lanes import lane as lane_module
from ringroom.lanes import records
from ringroom.lanes.lane import (
    COPY_BELOW,
    MAX_EVACUATED,
    LaneDescriptors,
    LaneReader,
    LaneWriter,
    ring_capacity,
)
from ringroom.lanes.live import MAX_OWED, LiveReader, LiveWriter
from ringroom.lanes.memory import Counter, Segment
from ringroom.lanes.reliable import ReliableReader, ReliableWriter
from ringroom.lanes.ring import Slot, max_payload
from ringroom.lanes.statistics import Count

PICTURE = (256, 200)  # 76,800 bytes: lent, not copied


@pytest.fixture(params=[False, True], ids=["memfd", "portable"])
def portable(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ends() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def fill(writer: ReliableWriter) -> int:
    """Send until it is full; how many frames went in."""
    for number in range(1_000):
        try:
            writer.send_nowait(audio(480, number), 0)
        except WouldBlock:
            return number
    raise AssertionError("it is never full")


def picture_ring(pictures: int) -> int:
    return ring_capacity(PICTURE[0] * PICTURE[1] * 3 // 2, pictures)


def test_large_frames_are_lent_and_small_ones_copied(ends: ExitStack, portable: bool) -> None:
    writer, reader, _ = reliable_lane(picture_ring(8), portable=portable)
    ends.callback(writer.close)
    ends.callback(reader.close)
    writer.send_nowait(video(*PICTURE), 0)
    writer.send_nowait(audio(480), 0)
    lent, copied = reader.receive_nowait(), reader.receive_nowait()
    assert isinstance(lent, VideoFrame)
    assert isinstance(copied, AudioFrame)
    assert reader.receive_nowait() is None
    assert writer.in_use > 70_000, "its slot is held while the frame lives"
    with pytest.raises(ValueError, match="WRITEABLE"):
        lent.data.flags.writeable = True
    del lent
    reader.settle()
    assert writer.in_use == 0


def test_a_slice_holds_the_slot_as_well(ends: ExitStack) -> None:
    writer, reader, _ = reliable_lane(picture_ring(8))
    ends.callback(writer.close)
    ends.callback(reader.close)
    writer.send_nowait(video(*PICTURE), 0)
    frame = reader.receive_nowait()
    assert isinstance(frame, VideoFrame)
    part = frame.planes()[0][3:5, ::2]
    del frame
    reader.settle()
    assert writer.in_use > 70_000
    del part
    reader.settle()
    assert writer.in_use == 0


def test_a_slice_of_sound_holds_the_slot_as_well(ends: ExitStack) -> None:
    """Its samples are a view of a view; the finalizer sits on the root."""
    writer, reader, _ = reliable_lane(ring_capacity(80_000, 8))
    ends.callback(writer.close)
    ends.callback(reader.close)
    writer.send_nowait(audio(20_000, 1, 2), 0)
    frame = reader.receive_nowait()
    assert isinstance(frame, AudioFrame)
    part = frame.samples[5:9]
    del frame
    reader.settle()
    assert writer.in_use > 70_000
    del part
    reader.settle()
    assert writer.in_use == 0


def test_kept_frames_are_evacuated_and_never_change(ends: ExitStack, portable: bool) -> None:
    """I6, I7: all frames of a long stream are kept, and the writer never waits for them."""
    writer, reader, row = reliable_lane(picture_ring(4), portable=portable)
    ends.callback(writer.close)
    ends.callback(reader.close)
    kept: list[VideoFrame] = []
    for number in range(60):
        writer.send_nowait(video(*PICTURE, number), number)
        frame = reader.receive_nowait()
        assert isinstance(frame, VideoFrame)
        kept.append(frame)
        assert reader.receive_nowait() is None
        assert writer.in_use * 2 <= writer.capacity, "I7"
    for number, frame in enumerate(kept):
        assert content(frame) == content(video(*PICTURE, number)), "I6"
    assert row.snapshot().taken == 60


def test_what_is_released_is_credited_also_when_the_rest_is_evacuated(
    ends: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_module, "COPY_BELOW", 200)
    writer, reader, _ = reliable_lane(64 * mmap.PAGESIZE)
    ends.callback(writer.close)
    ends.callback(reader.close)
    kept = []
    for samples in (6_500, 28_500, 28_500):  # a little less than half of the ring
        writer.send_nowait(audio(samples), 0)
        kept.append(reader.receive_nowait())
    del kept[0]
    writer.send_nowait(audio(28_500), 0)
    kept.append(reader.receive_nowait())
    assert writer.in_use == 0
    for frame in kept:
        assert isinstance(frame, AudioFrame)
        assert content(frame) == content(audio(28_500))


def test_mappings_of_kept_frames_are_bounded(
    ends: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond MAX_EVACUATED frames are copied, until kept ones die."""
    mapped = 0
    real = Segment.map_private

    def count(segment: Segment) -> mmap.mmap:
        nonlocal mapped
        mapped += 1
        return real(segment)

    monkeypatch.setattr(Segment, "map_private", count)
    writer, reader, _ = reliable_lane(picture_ring(4))
    ends.callback(writer.close)
    ends.callback(reader.close)

    def stream(number: int) -> list[object]:
        kept = []
        for seed in range(number):
            writer.send_nowait(video(*PICTURE, seed), 0)
            kept.append(reader.receive_nowait())
            assert reader.receive_nowait() is None
        return kept

    kept = stream(100)
    assert mapped <= MAX_EVACUATED + 1
    del kept
    before = mapped
    stream(8)
    assert mapped > before, "lent again"


def test_a_busy_reader_gives_room_back(ends: ExitStack) -> None:
    """Credit flows although the reader never finds the lane empty."""
    writer, reader, _ = reliable_lane(picture_ring(8))
    ends.callback(writer.close)
    ends.callback(reader.close)
    for number in range(4):
        writer.send_nowait(video(*PICTURE, number), 0)
    for number in range(4, 40):
        frame = reader.receive_nowait()
        assert isinstance(frame, VideoFrame)
        assert frame.timestamp_us == number - 4
        del frame
        writer.send_nowait(video(*PICTURE, number), 0)


def test_a_full_table_of_descriptors_does_not_corrupt_kept_frames(
    ends: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I6 comes before I7: without a descriptor for a fresh mapping nothing is evacuated yet."""
    writer, reader, _ = reliable_lane(picture_ring(4))
    ends.callback(writer.close)
    ends.callback(reader.close)
    kept = []
    real = Segment.map_private

    def refuse(segment: Segment) -> mmap.mmap:
        raise StartupError("no descriptors left")

    monkeypatch.setattr(Segment, "map_private", refuse)
    for number in range(10):
        try:
            writer.send_nowait(video(*PICTURE, number), 0)
        except WouldBlock:
            break
        kept.append(reader.receive_nowait())
        assert reader.receive_nowait() is None
    else:
        pytest.fail("frames were credited that nobody evacuated")
    monkeypatch.setattr(Segment, "map_private", real)
    reader.settle()
    for number in range(10, 20):
        writer.send_nowait(video(*PICTURE, number), 0)
        kept.append(reader.receive_nowait())
        assert reader.receive_nowait() is None
    for frame in kept:
        assert isinstance(frame, VideoFrame)
        assert content(frame) == content(video(*PICTURE, frame.timestamp_us))


def test_frames_outlive_both_ends() -> None:
    """The last of them unmaps."""
    writer, reader, _ = reliable_lane(picture_ring(8))
    writer.send_nowait(video(*PICTURE, 5), 0)
    frame = reader.receive_nowait()
    writer.close()
    reader.close()
    gc.collect()
    assert frame is not None
    assert content(frame) == content(video(*PICTURE, 5))


def test_what_was_published_outlives_the_writer(portable: bool) -> None:
    writer, reader, _ = reliable_lane(ring_capacity(2_000, 8), portable=portable)
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


def test_fileno_wakes_for_what_is_new(ends: ExitStack, portable: bool) -> None:
    writer, reader, _ = reliable_lane(ring_capacity(2_000, 8), portable=portable)
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
    writer, reader, row = reliable_lane(ring_capacity(2_000, 4))
    ends.callback(writer.close)
    ends.callback(reader.close)
    sent = fill(writer)
    assert row.snapshot().sent == sent == writer.sequence, "a refused frame is not counted"
    assert reader.discard() == sent
    writer.send_nowait(audio(480), 0)
    assert row.snapshot().in_flight == 1
    assert row.snapshot().bytes > 960 * sent


def test_a_skip_that_came_alone_hides_nothing(ends: ExitStack, portable: bool) -> None:
    """None means that nothing waits, or a reader that drains would lose the rest."""
    writer, reader, _ = reliable_lane(mmap.PAGESIZE, portable=portable)
    ends.callback(writer.close)
    ends.callback(reader.close)
    for _ in range(4):  # 1008 bytes each: 64 are left at the ring's end
        writer.send_nowait(audio(484), 0)
    with pytest.raises(WouldBlock):
        writer.send_nowait(audio(484), 0)
    with pytest.raises(WouldBlock):
        writer.send_nowait(audio(300), 0)
    for _ in range(4):
        assert reader.receive_nowait() is not None
    reader.absorb()
    reader.settle()
    writer.send_nowait(audio(300), 0)
    assert reader.receive_nowait() is not None


def test_what_could_never_fit_is_an_error_and_not_counted(ends: ExitStack, clock: Clock) -> None:
    capacity = ring_capacity(2_000, 4)
    writer, reader, row = reliable_lane(capacity)
    live_writer, live_reader, live_row = live_lane(capacity, clock)
    for end in (writer, reader, live_writer, live_reader):
        ends.callback(end.close)
    too_large = audio(capacity // 2)
    with pytest.raises(FrameError, match="the lane takes"):
        writer.send_nowait(too_large, 0)
    with pytest.raises(FrameError, match="the lane takes"):
        live_writer.send(too_large, 0)
    assert row.snapshot().sent == live_row.snapshot().sent == 0
    assert live_writer.send(audio((live_writer.max_record - records.HEADER_BYTES) // 2), 0)


def test_sequence_and_stamp_travel(ends: ExitStack, clock: Clock) -> None:
    writer, reader, _ = live_lane(ring_capacity(2_000, 8), clock)
    ends.callback(writer.close)
    ends.callback(reader.close)
    for number in range(3):
        assert writer.sequence == number
        assert writer.send(audio(10), clock.now - number)
    for number in range(3):
        frame = reader.receive_nowait()
        assert isinstance(frame, AudioFrame)
        assert (frame.sequence, frame.received_ns) == (number, clock.now - number)
        assert frame.track is TRACK


def test_a_slow_reader_does_not_live_at_the_limit(ends: ExitStack, clock: Clock) -> None:
    """I8, and the lower mark: once the limit was hit, the next frame is a young one."""
    writer, reader, row = live_lane(ring_capacity(700, 100), clock)
    ends.callback(writer.close)
    ends.callback(reader.close)
    for number in range(15):
        assert writer.send(audio(320, number), clock.now)
        clock.pass_ms(20)
    frame = reader.receive_nowait()
    assert isinstance(frame, AudioFrame)
    assert clock.now - frame.received_ns == 60_000_000
    assert row.snapshot().dropped_stale == frame.sequence == 12


def test_age_at_the_limit_is_still_fresh(ends: ExitStack, clock: Clock) -> None:
    writer, reader, row = live_lane(ring_capacity(700, 100), clock)
    ends.callback(writer.close)
    ends.callback(reader.close)
    assert writer.send(audio(320), clock.now)
    clock.pass_ms(200)
    assert reader.receive_nowait() is not None
    assert writer.send(audio(320), clock.now)
    clock.now += 200_000_001
    assert reader.receive_nowait() is None
    assert writer.in_use == 0, "what is skipped gives its room back"
    assert row.snapshot().dropped_stale == 1


def test_of_pictures_only_the_newest(ends: ExitStack, clock: Clock) -> None:
    """After a stall the newest picture comes, even one beyond the lower mark."""
    writer, reader, row = live_lane(picture_ring(8), clock)
    ends.callback(writer.close)
    ends.callback(reader.close)
    for age in (250, 180, 140, 100):
        assert writer.send(video(*PICTURE, age), clock.now - age * 1_000_000)
    frame = reader.receive_nowait()
    assert isinstance(frame, VideoFrame)
    assert frame.timestamp_us == 100
    assert row.snapshot().dropped_stale == 3
    assert reader.receive_nowait() is None


def test_the_newest_picture_is_no_exception_to_the_greatest_age(
    ends: ExitStack, clock: Clock
) -> None:
    """I8."""
    writer, reader, row = live_lane(picture_ring(8), clock)
    ends.callback(writer.close)
    ends.callback(reader.close)
    for number in range(3):
        assert writer.send(video(*PICTURE, number), clock())
    clock.pass_ms(201)
    assert reader.receive_nowait() is None
    assert row.snapshot().dropped_stale == 3


def test_fresh_pictures_all_come(ends: ExitStack, clock: Clock) -> None:
    writer, reader, row = live_lane(picture_ring(8), clock)
    ends.callback(writer.close)
    ends.callback(reader.close)
    for age in (150, 100, 50):
        assert writer.send(video(*PICTURE, age), clock.now - age * 1_000_000)
    ages = [frame.timestamp_us for frame in iter(reader.receive_nowait, None)]  # type: ignore[union-attr]
    assert ages == [150, 100, 50]
    assert row.snapshot().dropped == 0


def test_an_event_behind_a_picture_is_neither_lost_nor_counted(
    ends: ExitStack, clock: Clock
) -> None:
    """I10, and the law: looking ahead of a picture finds an event; then a flush comes."""
    writer, reader, row = live_lane(picture_ring(8), clock)
    ends.callback(writer.close)
    ends.callback(reader.close)

    def stalled_pictures_then_event() -> None:
        assert writer.send(video(*PICTURE, 1), clock.now - 250_000_000)
        assert writer.send(video(*PICTURE, 2), clock.now)
        writer.event(muted(1))
        assert isinstance(reader.receive_nowait(), VideoFrame)
        assert reader.pending

    stalled_pictures_then_event()
    event = reader.receive_nowait()
    assert event is not None
    assert content(event) == content(muted(1))
    stalled_pictures_then_event()
    assert reader.discard() == 0
    assert not reader.pending
    counts = row.snapshot()
    assert (counts.sent, counts.dropped_stale, counts.taken, counts.in_flight) == (4, 2, 2, 2)


def test_a_full_live_lane_drops_the_new_frame_and_keeps_events(
    ends: ExitStack, clock: Clock
) -> None:
    """I9, I10."""
    writer, reader, row = live_lane(ring_capacity(2_000, 8), clock)
    ends.callback(writer.close)
    ends.callback(reader.close)
    accepted = [writer.send(audio(480, number), clock.now) for number in range(100)]
    went_in = sum(accepted)
    assert accepted == [True] * went_in + [False] * (100 - went_in)
    assert row.snapshot().dropped_full == 100 - went_in
    for number in range(8):
        writer.event(muted(number))
    assert writer.settle(), "frames leave events room"
    for number in range(8, 200):
        writer.event(muted(number))
    assert not writer.settle()
    assert not writer.send(audio(1), clock.now), "no frame overtakes an event"
    seen = []
    while len(seen) < 200:
        item = reader.receive_nowait()
        if isinstance(item, Event):
            seen.append(int(item.reason))
        elif item is None:
            writer.settle()
    assert seen == list(range(200))
    assert writer.settle()
    assert writer.send(audio(1), clock.now)


def test_no_frame_overtakes_an_event(ends: ExitStack, clock: Clock) -> None:
    """The room that came back belongs to the events that wait for it."""
    writer, reader, _ = live_lane(ring_capacity(2_000, 8), clock)
    ends.callback(writer.close)
    ends.callback(reader.close)
    count = 0
    while writer.settle():
        writer.event(muted(count))
        count += 1
    assert sum(1 for _ in iter(reader.receive_nowait, None)) == count - 1
    assert writer.send(audio(1), clock.now)
    last, frame = reader.receive_nowait(), reader.receive_nowait()
    assert isinstance(last, Event)
    assert last.reason == str(count - 1)
    assert isinstance(frame, AudioFrame)


@pytest.mark.parametrize("pages", [1, 2, 4])
def test_the_smallest_live_lane_takes_its_largest_frame(
    pages: int, ends: ExitStack, clock: Clock
) -> None:
    writer, reader, _ = live_lane(pages * mmap.PAGESIZE, clock)
    ends.callback(writer.close)
    ends.callback(reader.close)
    largest = audio((writer.max_record - records.HEADER_BYTES) // 2)
    for _ in range(20):
        assert writer.send(largest, clock.now)
        assert reader.receive_nowait() is not None
        assert reader.receive_nowait() is None


def test_an_event_of_any_size_passes_a_small_lane(ends: ExitStack, clock: Clock) -> None:
    """I10: a participant's metadata may be larger than the ring; then it goes without."""
    writer, reader, _ = live_lane(ring_capacity(700, 8), clock)
    ends.callback(writer.close)
    ends.callback(reader.close)
    writer.event(muted(1, padding=60_000))
    assert writer.settle()
    event = reader.receive_nowait()
    assert isinstance(event, Event)
    assert event.participant is not None
    assert event.participant.identity == "ann"
    assert event.track == TRACK
    assert writer.send(audio(1), clock.now)


def test_closed_ends_refuse(clock: Clock, portable: bool) -> None:
    writer, reader, row = reliable_lane(ring_capacity(700, 8), portable=portable)
    live_writer, live_reader, live_row = live_lane(ring_capacity(700, 8), clock, portable=portable)
    for end in (writer, reader, live_writer, live_reader):
        end.close()
        end.close()
    assert writer.freed_fileno() == live_reader.fileno() == reader.fileno() == -1
    with pytest.raises(ClosedError):
        writer.send_nowait(audio(1), 0)
    assert not live_writer.send(audio(480), 0)
    live_writer.event(muted(1))
    assert not live_writer.settle()
    assert writer.in_use == live_writer.in_use == 0
    assert not reader.pending
    for closed in (reader, live_reader):
        with pytest.raises(ClosedError):
            closed.receive_nowait()
    assert row.snapshot().sent == 0
    assert live_row.snapshot().in_flight == 0
    assert live_row.snapshot().dropped_full == 1


def test_a_flush_counts_frames_and_gives_all_room_back(
    ends: ExitStack, clock: Clock, portable: bool
) -> None:
    writer, reader, row = live_lane(ring_capacity(2_000, 8), clock, portable=portable)
    ends.callback(writer.close)
    ends.callback(reader.close)
    for number in range(5):
        assert writer.send(audio(480, number), clock.now)
    writer.event(muted(1))
    assert reader.discard() == 5
    assert writer.in_use == 0
    assert writer.send(audio(48), clock.now)
    assert reader.discard() == 1
    assert writer.in_use == 0, "a single frame's room as well"
    assert row.snapshot().dropped_flushed == 6
    assert reader.discard() == 0


def test_of_events_beyond_the_bound_the_last_is_kept(ends: ExitStack, clock: Clock) -> None:
    writer, reader, _ = live_lane(mmap.PAGESIZE, clock)
    ends.callback(writer.close)
    ends.callback(reader.close)
    for number in range(MAX_OWED + 100):
        writer.event(muted(number))
    found: list[str] = []
    while not (writer.settle() and not reader.pending):
        while (item := reader.receive_nowait()) is not None:
            assert isinstance(item, Event)
            found.append(item.reason)
        reader.absorb()
    while isinstance(item := reader.receive_nowait(), Event):
        found.append(item.reason)
    assert found[-1] == str(MAX_OWED + 99), "how it is now"
    assert found[:-1] == [str(number) for number in range(len(found) - 1)], "the first, in order"


def test_a_stale_frame_is_counted_before_its_room_is_given_back(
    ends: ExitStack, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes after a reader that dies there finds its place by the counts."""
    writer, reader, row = live_lane(ring_capacity(2_000, 8), clock)
    ends.callback(writer.close)
    ends.callback(reader.close)
    for number in range(3):
        assert writer.send(audio(480, number), clock.now)
    clock.pass_ms(300)
    counted: list[int] = []
    release = reader._release

    def look(slot: Slot) -> None:
        counted.append(row.get(Count.DROPPED_STALE))
        release(slot)

    monkeypatch.setattr(reader, "_release", look)
    assert reader.receive_nowait() is None
    assert counted == [1, 2, 3]


def test_a_successor_begins_behind_what_was_dropped_as_well(ends: ExitStack, clock: Clock) -> None:
    """The ring is wide, so nothing of it was given back when the reader died."""
    writer, reader, row = live_lane(ring_capacity(2_000, 100), clock)
    ends.callback(writer.close)
    writer.event(muted(0))
    for number in range(3):
        assert writer.send(audio(48, number), clock.now)
    clock.pass_ms(300)
    for number in range(3, 6):
        assert writer.send(audio(48, number), clock.now)
    assert isinstance(reader.receive_nowait(), Event)
    assert content(reader.receive_nowait()) == content(audio(48, 3))
    reader.close()
    assert row.snapshot().dropped_stale == 3
    position, waiting = writer.succeed()
    successor = LiveReader(
        duplicate(writer.descriptors()),
        row,
        TRACK,
        max_age_ns=200_000_000,
        clock=clock,
        start=(position, waiting),
    )
    ends.callback(successor.close)
    assert content(successor.receive_nowait()) == content(audio(48, 4))
    assert content(successor.receive_nowait()) == content(audio(48, 5))
    assert successor.receive_nowait() is None
    assert row.snapshot().lost == 1, "what was taken and not done"


def test_a_successor_begins_behind_what_was_flushed_and_taken(ends: ExitStack) -> None:
    writer, reader, row = reliable_lane(ring_capacity(2_000, 100))
    ends.callback(writer.close)
    for number in range(2):
        writer.send_nowait(audio(48, number), 0)
    assert reader.discard() == 2
    for number in range(2, 4):
        writer.send_nowait(audio(48, number), 0)
    assert content(reader.receive_nowait()) == content(audio(48, 2))
    reader.close()
    successor = ReliableReader(duplicate(writer.descriptors()), row, TRACK, start=writer.succeed())
    ends.callback(successor.close)
    assert content(successor.receive_nowait()) == content(audio(48, 3))
    assert successor.receive_nowait() is None


def test_what_a_dead_reader_had_not_heard_of_is_announced_once(
    ends: ExitStack, portable: bool
) -> None:
    writer, reader, row = reliable_lane(ring_capacity(2_000, 8), portable=portable)
    ends.callback(writer.close)
    writer.send_nowait(audio(48, 0), 0)
    reader.close()
    successor = ReliableReader(duplicate(writer.descriptors()), row, TRACK, start=writer.succeed())
    ends.callback(successor.close)
    assert content(successor.receive_nowait()) == content(audio(48, 0))
    assert successor.receive_nowait() is None
    writer.send_nowait(audio(48, 1), 0)
    assert content(successor.receive_nowait()) == content(audio(48, 1))


def test_nothing_is_remembered_of_a_frame_that_is_gone(ends: ExitStack) -> None:
    writer, reader, _ = reliable_lane(picture_ring(8))
    ends.callback(writer.close)
    ends.callback(reader.close)
    for number in range(3):
        writer.send_nowait(video(*PICTURE, number), 0)
        kept = reader.receive_nowait()
        assert len(reader._references) == 1
        del kept
        gc.collect()
        assert not reader._references


@pytest.mark.parametrize("count", [0, 1, 2, 4, 6])
def test_a_wrong_number_of_descriptors_is_refused(count: int) -> None:
    with pytest.raises(WireError, match="three or five"):
        LaneDescriptors.from_flat(tuple(range(count)))


def test_descriptors_go_flat_and_back(portable: bool) -> None:
    with closing(ReliableWriter(4_096, plain_row(), portable=portable)) as writer:
        descriptors = writer.descriptors()
        assert len(descriptors.flat()) == (5 if portable else 3)
        assert LaneDescriptors.from_flat(descriptors.flat()) == descriptors
        assert not any(os.get_inheritable(fd) for fd in descriptors.flat())


@pytest.mark.parametrize("frame_bytes", [1, 639, 640, 76_800, 1_382_400])
@pytest.mark.parametrize("frames", [1, 4, 100])
def test_a_ring_for_frames_takes_such_a_frame(frame_bytes: int, frames: int) -> None:
    capacity = ring_capacity(frame_bytes, frames)
    assert capacity % mmap.PAGESIZE == 0
    assert max_payload(capacity) >= frame_bytes + records.VIDEO_HEADER_BYTES


def refuse_mappings(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> mmap.mmap:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("ringroom.lanes.memory.mmap.mmap", full)


def refuse_second_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    left = [1]
    for name in ("eventfd", "pipe"):
        real: Callable[..., Any] = getattr(os, name)

        def limited(*args: Any, real: Callable[..., Any] = real) -> Any:
            if not left:
                raise OSError(errno.EMFILE, "Too many open files")
            left.pop()
            return real(*args)

        monkeypatch.setattr(os, name, limited)


@pytest.mark.parametrize("fault", [refuse_mappings, refuse_second_counter])
def test_a_writer_that_cannot_be_made_leaves_nothing(
    fault: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch, portable: bool
) -> None:
    before = open_descriptors()
    fault(monkeypatch)
    with pytest.raises(StartupError, match="ulimit"):
        LiveWriter(8_192, plain_row(), portable=portable)
    gc.collect()
    assert open_descriptors() == before


def test_a_writer_of_a_bad_capacity_leaves_nothing(portable: bool) -> None:
    before = open_descriptors()
    for capacity in (0, 50, 100):
        with pytest.raises((ValueError, StartupError)):
            LiveWriter(capacity, plain_row(), portable=portable)
    gc.collect()
    assert open_descriptors() == before


def test_a_reader_that_cannot_be_made_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, portable: bool
) -> None:
    """It has taken the descriptors over, so it closes them."""
    with closing(ReliableWriter(8_192, plain_row(), portable=portable)) as writer:
        before = open_descriptors()
        with monkeypatch.context() as patch:
            refuse_mappings(patch)
            with pytest.raises(StartupError, match="ulimit"):
                ReliableReader(duplicate(writer.descriptors()), plain_row())
        empty = os.memfd_create("empty")
        rest = duplicate(writer.descriptors())
        os.close(rest.segment)
        with pytest.raises(WireError, match="no bytes"):
            ReliableReader(LaneDescriptors(empty, rest.published, rest.freed), plain_row())
        gc.collect()
        assert open_descriptors() == before


def test_an_end_that_is_forgotten_warns_and_closes() -> None:
    before = open_descriptors()
    writer = ReliableWriter(8_192, plain_row(), portable=False)
    with pytest.warns(ResourceWarning, match="never closed") as seen:
        del writer
    assert len(seen) == 3
    assert open_descriptors() == before


def test_data_events_and_large_data_pass(ends: ExitStack, portable: bool) -> None:
    writer, reader, row = reliable_lane(ring_capacity(64_000, 8), portable=portable)
    ends.callback(writer.close)
    ends.callback(reader.close)
    items = [message(62_000, 1), muted(2), message(0, 3), audio(20_000, 4, 2), muted(5)]
    for item in items:
        writer.send_nowait(item, 7)
    assert [content(item) for item in iter(reader.receive_nowait, None)] == [
        content(item) for item in items
    ]
    assert row.snapshot().sent == row.snapshot().taken == 3
    assert writer.in_use == 0


def test_where_private_mappings_do_not_follow_frames_are_copied(
    ends: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The form for other systems than Linux."""
    monkeypatch.setattr(lane_module, "ZERO_COPY", False)
    writer, reader, _ = reliable_lane(picture_ring(4), portable=True)
    ends.callback(writer.close)
    ends.callback(reader.close)
    kept = []
    for number in range(20):
        writer.send_nowait(video(*PICTURE, number), 0)
        kept.append(reader.receive_nowait())
        assert reader.receive_nowait() is None
        assert writer.in_use == 0
    for number, frame in enumerate(kept):
        assert frame is not None
        assert content(frame) == content(video(*PICTURE, number))


def test_corrupt_records_are_wire_errors(ends: ExitStack) -> None:
    writer, reader, _ = reliable_lane(8_192)
    ends.callback(writer.close)
    ends.callback(reader.close)
    view = writer._room(40)  # as a broken peer would
    assert view is not None
    writer._write(view, b"\xff" * 40, b"")
    with pytest.raises(WireError):
        reader.receive_nowait()


def test_a_payload_below_the_threshold_is_independent(ends: ExitStack) -> None:
    writer, reader, _ = reliable_lane(ring_capacity(COPY_BELOW, 8))
    ends.callback(writer.close)
    ends.callback(reader.close)
    writer.send_nowait(audio(COPY_BELOW // 2 - 100, 1), 0)
    frame = reader.receive_nowait()
    assert reader.receive_nowait() is None
    assert writer.in_use == 0
    assert isinstance(frame, AudioFrame)
    assert not frame.samples.flags.writeable
    assert np.array_equal(frame.samples, audio(COPY_BELOW // 2 - 100, 1).samples)


# Another process: it writes, or reads, and is killed in the middle.

CHILD = """
import sys
sys.path[:0] = {path!r}
from lane_kit import audio, plain_row, video, content, Clock
from ringroom.errors import WouldBlock
from ringroom.lanes.lane import LaneDescriptors
from ringroom.lanes.memory import Segment, attach_counter
from ringroom.lanes.reliable import ReliableReader, ReliableWriter
from ringroom.lanes.ring import RingWriter
import select

there, back = (LaneDescriptors.from_flat(tuple(fds)) for fds in {fds!r})
reader = ReliableReader(there, plain_row())
writer = ReliableWriter.__new__(ReliableWriter)
writer._segment = Segment.attach(back.segment)
writer._published, writer._freed = attach_counter(back.published), attach_counter(back.freed)
writer._mapping = writer._segment.map_shared()
writer._ring = RingWriter(memoryview(writer._mapping))
writer.row, writer._sequence, writer._records = plain_row(), 0, 0
while True:
    item = reader.receive_nowait()
    if item is None:
        select.select([reader.fileno()], [], [])
        continue
    while True:
        try:
            writer.send_nowait(item, item.received_ns)
            break
        except WouldBlock:
            select.select([writer.freed_fileno()], [], [])
    del item
"""


def spawn(*lanes: LaneWriter | LaneReader, script: str = CHILD) -> subprocess.Popen[bytes]:
    groups = [descriptors_of(lane) for lane in lanes]
    code = script.format(path=[os.path.dirname(__file__)], fds=groups)
    flat = [fd for fds in groups for fd in fds]
    return subprocess.Popen([sys.executable, "-c", code], pass_fds=flat)


def descriptors_of(lane: LaneWriter | LaneReader) -> tuple[int, ...]:
    published, freed = lane._published.descriptors(), lane._freed.descriptors()
    return (lane._segment.fd, *published, *freed)


def test_both_directions_to_a_process_that_is_killed(portable: bool) -> None:
    """Whole frames in order, and after the writer's SIGKILL in mid-stream nothing more."""
    capacity = picture_ring(6)
    writer = ReliableWriter(capacity, plain_row(), portable=portable)
    segment_of_back = ReliableWriter(capacity, plain_row(), portable=portable)
    reader = ReliableReader(duplicate(segment_of_back.descriptors()), plain_row())
    segment_of_back.close()
    items = (lambda n: video(*PICTURE, n), lambda n: audio(480, n))
    kept = []
    sent = got = 0
    with closing(writer), closing(reader), spawn(writer, reader) as child:
        try:
            while got < 300:
                try:
                    writer.send_nowait(items[sent % 2](sent), sent)
                    sent += 1
                    continue
                except WouldBlock:
                    pass
                item = reader.receive_nowait()
                if item is None:
                    assert select.select([reader.fileno()], [], [], 20)[0], "nothing came back"
                    continue
                assert content(item) == content(items[got % 2](got))
                if got % 7 == 0:
                    kept.append((got, item))
                got += 1
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
        while (item := reader.receive_nowait()) is not None:
            assert content(item) == content(items[got % 2](got))
            got += 1
        assert got <= sent
        assert not select.select([reader.fileno()], [], [], 0)[0]
        assert reader.receive_nowait() is None
    for number, item in kept:
        assert content(item) == content(items[number % 2](number)), "I6"


STOPPED_HALF_WAY = """
import os, signal, sys
sys.path[:0] = {path!r}
from ringroom.lanes.memory import Counter, Segment
from ringroom.lanes.ring import RingWriter

(segment, *_), = {fds!r}
ring = RingWriter(memoryview(Segment.attach(segment).map_shared()))
view = ring.reserve(1000)
view[:500] = b"x" * 500
ring.commit(1000)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_frame_that_was_never_announced_is_never_read(portable: bool) -> None:
    writer, reader, _ = reliable_lane(8_192, portable=portable)
    with closing(writer), closing(reader):
        with spawn(writer, script=STOPPED_HALF_WAY) as child:
            assert child.wait() == -signal.SIGKILL
        assert reader.receive_nowait() is None


def test_a_dead_readers_room_is_not_given_back(portable: bool) -> None:
    """The writer goes on until the ring is full; the counts tell what is under way."""
    writer, reader, row = reliable_lane(8_192, portable=portable)
    with closing(writer):
        writer.send_nowait(audio(480), 0)
        assert reader.receive_nowait() is not None
        reader.close()
        fill(writer)
        counts = row.snapshot()
        assert counts.in_flight == counts.sent
        row.add(Count.LOST, counts.in_flight)
        assert row.snapshot().in_flight == 0


def test_kinds_of_tracks_do_not_matter_to_bytes(ends: ExitStack) -> None:
    """A lane of messages: what arrives has no track and says who sent it."""
    writer, reader, _ = reliable_lane(ring_capacity(1_000, 8))
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
    made = live_lane(1 << 16, clock) if live else reliable_lane(1 << 16)
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
