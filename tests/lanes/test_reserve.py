"""Frames that are filled in place: published by commit, and by nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest
from lane_kit import PICTURE, TRACK, Clock, live_lane, picture_ring

from ringroom.colour import i420_size
from ringroom.frames import Event, EventKind, VideoFrame
from ringroom.lanes import records
from ringroom.lanes.lane import ring_for
from ringroom.lanes.live import LiveReader, LiveWriter

SIZE = (64, 48)
BODY = 64 * 48 * 3 // 2


Lane = tuple[LiveWriter, LiveReader]


@pytest.fixture
def lane() -> Iterator[Lane]:
    writer, reader, _ = live_lane(ring_for(BODY, 4), Clock(0), max_age_ms=1_000)
    with closing(writer), closing(reader):
        yield writer, reader


def head(writer: LiveWriter) -> bytes:
    return records.video_head(SIZE, 0, 0, (writer.sequence, 0))


def test_what_is_filled_in_place_arrives(lane: Lane) -> None:
    writer, reader = lane
    for value in range(20):
        view = writer.reserve(head(writer), BODY)
        assert view is not None
        np.frombuffer(view, np.uint8)[:] = value
        assert reader.receive_nowait() is None
        writer.commit()
        frame = reader.receive_nowait()
        assert isinstance(frame, VideoFrame)
        assert frame.sequence == value
        assert (frame.data == value).all()
    assert writer.row.snapshot().sent == 20


def test_a_reservation_that_is_given_up_is_never_seen(lane: Lane) -> None:
    writer, reader = lane
    assert writer.reserve(head(writer), BODY) is not None
    view = writer.reserve(head(writer), BODY)
    assert view is not None
    view[:] = bytes(BODY)
    writer.commit()
    frame = reader.receive_nowait()
    assert isinstance(frame, VideoFrame)
    assert frame.sequence == 0
    assert reader.receive_nowait() is None
    assert writer.row.snapshot().sent == 1
    with pytest.raises(ValueError, match="nothing is reserved"):
        writer.commit()


def test_an_event_waits_for_the_commit_and_keeps_its_place(
    lane: Lane,
) -> None:
    writer, reader = lane
    view = writer.reserve(head(writer), BODY)
    assert view is not None
    writer.event(Event(kind=EventKind.TRACK_MUTED, track=TRACK))
    view[:] = b"\7" * BODY
    assert reader.receive_nowait() is None
    writer.commit()
    frame, event = reader.receive_nowait(), reader.receive_nowait()
    assert isinstance(frame, VideoFrame)
    assert (frame.data == 7).all()
    assert isinstance(event, Event)
    assert event.kind is EventKind.TRACK_MUTED


def test_no_room_is_a_counted_drop(lane: Lane) -> None:
    writer, _ = lane
    taken = 0
    while (view := writer.reserve(head(writer), BODY)) is not None:
        view[:] = bytes(BODY)
        writer.commit()
        taken += 1
    counts = writer.row.snapshot()
    assert counts.dropped_full == 1
    assert counts.sent == taken + 1


def test_frames_filled_in_place_leave_events_their_room(lane: Lane) -> None:
    """I10."""
    writer, _ = lane
    while writer.reserve(records.audio_head(16_000, 1, (writer.sequence, 0)), 16) is not None:
        writer.commit()
    writer.event(Event(kind=EventKind.TRACK_MUTED, track=TRACK))
    assert writer.write_owed(), "it is written already"


def test_large_frames_are_filled_in_the_same_memory_while_nobody_keeps_one() -> None:
    """I12."""
    writer, reader, _ = live_lane(picture_ring(4), Clock(0), max_age_ms=1_000)
    with closing(writer), closing(reader):
        places = []
        for number in range(20):
            start = records.video_head(PICTURE, 0, 0, (writer.sequence, 0))
            view = writer.reserve(start, i420_size(*PICTURE))
            assert view is not None
            array = np.frombuffer(view, np.uint8)
            array[:] = number
            places.append(array.ctypes.data)
            writer.commit()
            frame = reader.receive_nowait()
            assert isinstance(frame, VideoFrame)
            assert (frame.data == number).all()
            del frame
            assert reader.receive_nowait() is None
        assert places == places[:1] * 20


def test_closing_gives_up_what_was_reserved(lane: Lane) -> None:
    writer, _ = lane
    assert writer.reserve(head(writer), BODY) is not None
    writer.close()
    with pytest.raises(ValueError, match="nothing is reserved"):
        writer.commit()
    assert writer.row.snapshot().sent == 0


def test_an_event_comes_before_the_reservation_that_follows_a_given_up_one(lane: Lane) -> None:
    """What was given up holds back nothing, and cannot be committed any more."""
    writer, reader = lane
    assert writer.reserve(head(writer), BODY) is not None
    writer.event(Event(kind=EventKind.TRACK_MUTED, track=TRACK))
    view = writer.reserve(head(writer), BODY)
    assert view is not None
    view[:] = bytes(BODY)
    writer.commit()
    event, frame = reader.receive_nowait(), reader.receive_nowait()
    assert isinstance(event, Event)
    assert isinstance(frame, VideoFrame)
    assert writer.row.snapshot().dropped == 0


def test_what_was_given_up_cannot_be_committed_after_a_drop(lane: Lane) -> None:
    writer, _ = lane
    taken = 0
    while writer.reserve(head(writer), BODY) is not None:
        writer.commit()
        taken += 1
    with pytest.raises(ValueError, match="nothing is reserved"):
        writer.commit()
    assert writer.row.snapshot().sent == taken + 1
