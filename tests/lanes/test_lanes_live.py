"""Live lanes: what is too old or has no room is dropped and counted, and no event is."""

from __future__ import annotations

import mmap
from contextlib import ExitStack

import pytest
from lane_kit import PICTURE, TRACK, Clock, audio, content, live_lane, muted, picture_ring, video

from ringroom.checks import MAX_DATA_TRACK_BYTES
from ringroom.events import Event
from ringroom.frames import AudioFrame, DataTrackFrame, VideoFrame
from ringroom.lanes import records
from ringroom.lanes.lane import ring_for, ring_for_readings
from ringroom.lanes.live import MAX_OWED
from ringroom.lanes.ring import Geometry


def test_sequence_and_stamp_travel(ends: ExitStack, clock: Clock) -> None:
    writer, reader, _ = live_lane(ring_for(2_000, 8), clock)
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
    writer, reader, row = live_lane(ring_for(700, 100), clock)
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
    writer, reader, row = live_lane(ring_for(700, 100), clock)
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


def test_of_readings_too_the_young_ones(ends: ExitStack, clock: Clock) -> None:
    """A stall leaves no more than the lower mark, and frames that are kept do not change."""
    writer, reader, row = live_lane(ring_for_readings(40_000), clock)
    ends.callback(writer.close)
    ends.callback(reader.close)
    ages = (250, 180, 100, 50, 20)
    for age in ages:
        frame = DataTrackFrame(bytes([age]) * 40_000, timestamp=age)
        assert writer.send(frame, clock.now - age * 1_000_000)
    found = list(iter(reader.receive_nowait, None))
    assert [one.timestamp for one in found] == [50, 20]  # type: ignore[union-attr]
    assert [one.payload[-1] for one in found] == [50, 20]  # type: ignore[union-attr]
    assert row.snapshot().dropped_stale == 3
    assert writer.in_use == 0, "they are copies"


def test_a_ring_for_readings_has_room_for_eight_and_for_a_mebibyte_of_small_ones(
    ends: ExitStack, clock: Clock
) -> None:
    for size, least in ((100, (1 << 20) // 160), (200_000, 8), (MAX_DATA_TRACK_BYTES, 8)):
        writer, reader, row = live_lane(ring_for_readings(size), clock)
        ends.callback(writer.close)
        ends.callback(reader.close)
        frame, count = DataTrackFrame(bytes(size)), 0
        while writer.send(frame, clock.now):
            count += 1
        assert count >= least
        assert row.snapshot().dropped_full == 1


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


def test_the_newest_picture_is_found_though_it_has_just_come(ends: ExitStack, clock: Clock) -> None:
    writer, reader, _ = live_lane(picture_ring(8), clock)
    ends.callback(writer.close)
    ends.callback(reader.close)
    assert writer.send(video(*PICTURE, 1), clock.now - 250_000_000)
    assert writer.send(video(*PICTURE, 2), clock.now)
    reader.absorb()
    assert writer.send(video(*PICTURE, 3), clock.now)
    newest = reader.receive_nowait()
    assert isinstance(newest, VideoFrame)
    assert newest.timestamp_us == 3


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
    writer, reader, row = live_lane(ring_for(2_000, 8), clock)
    ends.callback(writer.close)
    ends.callback(reader.close)
    accepted = [writer.send(audio(480, number), clock.now) for number in range(100)]
    went_in = sum(accepted)
    assert accepted == [True] * went_in + [False] * (100 - went_in)
    assert row.snapshot().dropped_full == 100 - went_in
    for number in range(8):
        writer.event(muted(number))
    assert writer.write_owed(), "frames leave events room"
    for number in range(8, 200):
        writer.event(muted(number))
    assert not writer.write_owed()
    assert not writer.send(audio(1), clock.now), "no frame overtakes an event"
    seen = []
    while len(seen) < 200:
        item = reader.receive_nowait()
        if isinstance(item, Event):
            seen.append(int(item.reason))
        elif item is None:
            writer.write_owed()
    assert seen == list(range(200))
    assert writer.write_owed()
    assert writer.send(audio(1), clock.now)


def test_no_frame_overtakes_an_event(ends: ExitStack, clock: Clock) -> None:
    """The room that came back belongs to the events that wait for it."""
    writer, reader, _ = live_lane(ring_for(2_000, 8), clock)
    ends.callback(writer.close)
    ends.callback(reader.close)
    count = 0
    while writer.write_owed():
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
    writer, reader, _ = live_lane(Geometry(pages * mmap.PAGESIZE), clock)
    ends.callback(writer.close)
    ends.callback(reader.close)
    largest = audio((writer.max_record - records.HEADER_BYTES) // 2)
    for _ in range(20):
        assert writer.send(largest, clock.now)
        assert reader.receive_nowait() is not None
        assert reader.receive_nowait() is None


def test_an_event_of_any_size_passes_a_small_lane(ends: ExitStack, clock: Clock) -> None:
    """I10: a participant's metadata may be larger than the ring; then it goes without."""
    writer, reader, _ = live_lane(ring_for(700, 8), clock)
    ends.callback(writer.close)
    ends.callback(reader.close)
    writer.event(muted(1, padding=60_000))
    assert writer.write_owed()
    event = reader.receive_nowait()
    assert isinstance(event, Event)
    assert event.participant is not None
    assert (event.participant.identity, event.participant.kind) == ("ann", "agent")
    assert event.track == TRACK
    assert writer.send(audio(1), clock.now)


def test_a_flush_counts_frames_and_gives_all_room_back(
    ends: ExitStack, clock: Clock, portable: bool
) -> None:
    writer, reader, row = live_lane(ring_for(2_000, 8), clock, portable=portable)
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


@pytest.mark.parametrize("in_place", [False, True])
def test_what_is_refused_takes_no_room(ends: ExitStack, clock: Clock, in_place: bool) -> None:
    """I5: a lane whose reader keeps half of it has no bytes to lose."""
    writer, reader, _ = live_lane(Geometry(10 * mmap.PAGESIZE), clock)
    ends.callback(writer.close)
    ends.callback(reader.close)
    for number in range(7):  # 5,104 bytes each: two fill a bank of 10,240
        assert writer.send(audio(2_535, number), clock.now)
    assert reader.receive_nowait() is not None
    reader.give_back()
    # It would fit into what was given back and what is left of the last bank, but into neither.
    large, used = audio(2_980), writer.in_use
    if in_place:
        head, body = records.encode(large, (writer.sequence, clock.now))
        assert writer.reserve(len(head) + len(body)) is None
    else:
        assert not writer.send(large, clock.now)
    assert writer.in_use == used
    for _ in range(6):
        assert reader.receive_nowait() is not None
    assert reader.receive_nowait() is None
    assert writer.in_use == 0


def test_of_events_beyond_the_bound_the_last_is_kept(ends: ExitStack, clock: Clock) -> None:
    writer, reader, _ = live_lane(Geometry(mmap.PAGESIZE), clock)
    ends.callback(writer.close)
    ends.callback(reader.close)
    for number in range(MAX_OWED + 100):
        writer.event(muted(number))
    found: list[str] = []
    while not (writer.write_owed() and not reader.pending):
        while (item := reader.receive_nowait()) is not None:
            assert isinstance(item, Event)
            found.append(item.reason)
        reader.absorb()
    while isinstance(item := reader.receive_nowait(), Event):
        found.append(item.reason)
    assert found[-1] == str(MAX_OWED + 99), "how it is now"
    assert found[:-1] == [str(number) for number in range(len(found) - 1)], "the first, in order"
