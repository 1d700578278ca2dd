"""Frames that are lent and kept: they hold their slots, or are evacuated, and never change."""

from __future__ import annotations

import gc
import mmap
from contextlib import ExitStack

import numpy as np
import pytest
from lane_kit import PICTURE, Clock, audio, content, live_lane, picture_ring, reliable_lane, video

from ringroom.colour import i420_size
from ringroom.errors import StartupError, WouldBlock
from ringroom.frames import AudioFrame, VideoFrame
from ringroom.lanes import lane as lane_module
from ringroom.lanes.lane import COPY_BELOW, MAX_EVACUATED, ring_for
from ringroom.lanes.memory import Segment
from ringroom.lanes.ring import Geometry


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
    reader.give_back()
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
    reader.give_back()
    assert writer.in_use > 70_000
    del part
    reader.give_back()
    assert writer.in_use == 0


def test_a_slice_of_sound_holds_the_slot_as_well(ends: ExitStack) -> None:
    """Its samples are a view of a view; the finalizer sits on the root."""
    writer, reader, _ = reliable_lane(ring_for(80_000, 8))
    ends.callback(writer.close)
    ends.callback(reader.close)
    writer.send_nowait(audio(20_000, 1, 2), 0)
    frame = reader.receive_nowait()
    assert isinstance(frame, AudioFrame)
    part = frame.samples[5:9]
    del frame
    reader.give_back()
    assert writer.in_use > 70_000
    del part
    reader.give_back()
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
    writer, reader, _ = reliable_lane(Geometry(64 * mmap.PAGESIZE))
    ends.callback(writer.close)
    ends.callback(reader.close)
    kept = []
    for samples in (3_000, 28_500, 28_500):  # a little less than half of the ring
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
    reader.give_back()
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


def test_a_payload_below_the_threshold_is_independent(ends: ExitStack) -> None:
    writer, reader, _ = reliable_lane(ring_for(COPY_BELOW, 8))
    ends.callback(writer.close)
    ends.callback(reader.close)
    writer.send_nowait(audio(COPY_BELOW // 2 - 100, 1), 0)
    frame = reader.receive_nowait()
    assert reader.receive_nowait() is None
    assert writer.in_use == 0
    assert isinstance(frame, AudioFrame)
    assert not frame.samples.flags.writeable
    assert np.array_equal(frame.samples, audio(COPY_BELOW // 2 - 100, 1).samples)


def test_a_picture_that_was_looked_at_ahead_is_lent_as_any_other(
    ends: ExitStack, clock: Clock
) -> None:
    """I6: also where what is kept is moved out of the way while it waits."""
    writer, reader, _ = live_lane(picture_ring(8), clock)
    ends.callback(writer.close)
    ends.callback(reader.close)
    assert writer.send(video(*PICTURE, 0), clock.now)
    kept = reader.receive_nowait()
    for number in (1, 2):
        assert writer.send(video(*PICTURE, number), clock.now)
    clock.pass_ms(300)
    for number in (3, 4):
        assert writer.send(video(*PICTURE, number), clock.now)
    newest = reader.receive_nowait()
    assert isinstance(kept, VideoFrame)
    assert isinstance(newest, VideoFrame)
    assert not newest.data.flags.writeable
    for number in range(5, 40):
        assert writer.send(video(*PICTURE, number), clock.now)
        assert reader.receive_nowait() is not None
    assert content(kept) == content(video(*PICTURE, 0))
    assert content(newest) == content(video(*PICTURE, 4))


@pytest.mark.parametrize("frames", [4, 5, 8])
def test_a_small_frame_that_is_kept_leaves_room_for_the_largest(
    frames: int, ends: ExitStack, clock: Clock
) -> None:
    """I5, I7: though it may keep a part of nearly every bank, and events have their room."""
    ring = ring_for(i420_size(256, 200), frames)
    writer, reader, _ = live_lane(ring, clock)
    ends.callback(writer.close)
    ends.callback(reader.close)
    kept = []
    for number, lines in enumerate((100, 100, 200, 100)):
        assert writer.send(video(256, lines, number), clock.now)
        frame = reader.receive_nowait()
        assert isinstance(frame, VideoFrame)
        if number == 1:
            kept.append(frame)
        del frame
        assert reader.receive_nowait() is None
    for number in range(20):
        assert writer.send(video(256, 200, number), clock.now)
        assert reader.receive_nowait() is not None
        assert reader.receive_nowait() is None
    assert content(kept[0]) == content(video(256, 100, 1))
