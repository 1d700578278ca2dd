"""Frames that are filled in place: published by commit, and by nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from lane_kit import PICTURE, TRACK, Clock, live_lane, picture_ring, reliable_lane

from ringroom.colour import i420_size
from ringroom.events import Event, EventKind
from ringroom.frames import DataFrame, VideoFrame
from ringroom.lanes import records
from ringroom.lanes.lane import LaneReader, ring_for
from ringroom.lanes.live import LiveReader, LiveWriter
from ringroom.lanes.reliable import ReliableReader, ReliableWriter

SIZE = (64, 48)
BODY = 64 * 48 * 3 // 2
WHOLE = records.VIDEO_HEADER_BYTES + BODY

Writer = LiveWriter | ReliableWriter
Reader = LiveReader | ReliableReader
Lane = tuple[Writer, Reader]
MUTED = Event(kind=EventKind.TRACK_MUTED, track=TRACK)


@pytest.fixture(params=["live", "reliable"])
def lane(request: pytest.FixtureRequest) -> Iterator[Lane]:
    writer: Writer
    reader: Reader
    if request.param == "live":
        writer, reader, _ = live_lane(ring_for(BODY, 4), Clock(0), max_age_ms=1_000)
    else:
        writer, reader, _ = reliable_lane(ring_for(BODY, 4))
    with closing(writer), closing(reader):
        yield writer, reader


@pytest.fixture
def live() -> Iterator[tuple[LiveWriter, LiveReader]]:
    writer, reader, _ = live_lane(ring_for(BODY, 4), Clock(0), max_age_ms=1_000)
    with closing(writer), closing(reader):
        yield writer, reader


def reserve(writer: Writer) -> memoryview | None:
    """A view of the picture to be filled; its head is there already."""
    view = writer.reserve(WHOLE)
    if view is None:
        return None
    view[: records.VIDEO_HEADER_BYTES] = records.video_head(SIZE, 0, 0, (writer.sequence, 0))
    return view[records.VIDEO_HEADER_BYTES :]


def received(reader: LaneReader | Reader) -> VideoFrame:
    assert isinstance(reader, LiveReader | ReliableReader)
    frame = reader.receive_nowait()
    assert isinstance(frame, VideoFrame)
    return frame


def test_what_is_filled_in_place_arrives(lane: Lane) -> None:
    writer, reader = lane
    for value in range(20):
        view = reserve(writer)
        assert view is not None
        np.frombuffer(view, np.uint8)[:] = value
        assert reader.receive_nowait() is None
        writer.commit(WHOLE)
        frame = received(reader)
        assert frame.sequence == value
        assert (frame.data == value).all()
    assert writer.row.snapshot().sent == 20


def test_a_reservation_that_is_given_up_is_never_seen(lane: Lane) -> None:
    writer, reader = lane
    assert reserve(writer) is not None
    view = reserve(writer)
    assert view is not None
    view[:] = bytes(BODY)
    writer.commit(WHOLE)
    assert received(reader).sequence == 0
    assert reader.receive_nowait() is None
    assert writer.row.snapshot().sent == 1
    with pytest.raises(ValueError, match="nothing is reserved"):
        writer.commit(WHOLE)


def test_another_record_gives_up_what_is_reserved() -> None:
    writer, reader, _ = reliable_lane(ring_for(BODY, 4))
    with closing(writer), closing(reader):
        assert reserve(writer) is not None
        writer.send_nowait(DataFrame(b"first"), 0)
        with pytest.raises(ValueError, match="nothing is reserved"):
            writer.commit(WHOLE)
        assert isinstance(reader.receive_nowait(), DataFrame)
        assert reader.receive_nowait() is None


def test_an_event_gives_up_what_is_reserved(live: tuple[LiveWriter, LiveReader]) -> None:
    """I10: it waits for nothing."""
    writer, reader = live
    assert reserve(writer) is not None
    writer.event(MUTED)
    assert isinstance(reader.receive_nowait(), Event)
    with pytest.raises(ValueError, match="nothing is reserved"):
        writer.commit(WHOLE)
    assert writer.row.snapshot().sent == 0


def test_where_there_is_no_room_nothing_is_reserved_or_counted(lane: Lane) -> None:
    writer, reader = lane
    taken = 0
    while (view := reserve(writer)) is not None:
        view[:] = bytes(BODY)
        writer.commit(WHOLE)
        taken += 1
    with pytest.raises(ValueError, match="nothing is reserved"):
        writer.commit(WHOLE)
    counts = writer.row.snapshot()
    assert counts.sent == taken
    assert counts.dropped == 0
    while reader.receive_nowait() is not None:
        pass
    assert reserve(writer) is not None


def test_frames_filled_in_place_leave_events_their_room(
    live: tuple[LiveWriter, LiveReader],
) -> None:
    """I10."""
    writer, _ = live
    head = records.audio_head(16_000, 1, (0, 0))
    while (view := writer.reserve(len(head) + 16)) is not None:
        view[: len(head)] = head
        writer.commit(len(head) + 16)
    writer.event(MUTED)
    assert writer.write_owed(), "it is written already"


def test_a_frame_filled_in_place_does_not_overtake_an_event(
    live: tuple[LiveWriter, LiveReader],
) -> None:
    """I10."""
    writer, reader = live
    while reserve(writer) is not None:
        writer.commit(WHOLE)
    while writer.write_owed():  # until there is no room for one more either
        writer.event(MUTED)
    writer.event(replace(MUTED, kind=EventKind.TRACK_UNMUTED))
    while reader.receive_nowait() is not None:
        pass
    assert reserve(writer) is not None
    writer.commit(WHOLE)
    *_, owed, event, frame = iter(reader.receive_nowait, None)
    assert isinstance(owed, Event)
    assert isinstance(event, Event)
    assert event.kind == EventKind.TRACK_UNMUTED
    assert isinstance(frame, VideoFrame)


def test_large_frames_are_filled_in_the_same_memory_while_nobody_keeps_one() -> None:
    """I12."""
    writer, reader, _ = live_lane(picture_ring(4), Clock(0), max_age_ms=1_000)
    with closing(writer), closing(reader):
        places = []
        for number in range(20):
            head = records.video_head(PICTURE, 0, 0, (writer.sequence, 0))
            whole = len(head) + i420_size(*PICTURE)
            view = writer.reserve(whole)
            assert view is not None
            view[: len(head)] = head
            array = np.frombuffer(view, np.uint8)[len(head) :]
            array[:] = number
            places.append(array.ctypes.data)
            writer.commit(whole)
            frame = received(reader)
            assert (frame.data == number).all()
            del frame
            assert reader.receive_nowait() is None
        assert places == places[:1] * 20


def test_closing_gives_up_what_was_reserved(lane: Lane) -> None:
    writer, _ = lane
    assert reserve(writer) is not None
    writer.close()
    with pytest.raises(ValueError, match="nothing is reserved"):
        writer.commit(WHOLE)
    assert reserve(writer) is None
    assert writer.row.snapshot().sent == 0
