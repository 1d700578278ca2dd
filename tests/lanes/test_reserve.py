"""Frames that are filled in place: published by commit, and by nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest

from ringroom.frames import Event, EventKind, Kind, TrackInfo, VideoFrame
from ringroom.lanes import records
from ringroom.lanes.lane import LaneDescriptors, ring_capacity
from ringroom.lanes.live import LiveReader, LiveWriter
from ringroom.lanes.statistics import RowPool, StatisticsTable

SIZE = (64, 48)
BODY = 64 * 48 * 3 // 2
TRACK = TrackInfo(sid="T", name="camera", kind=Kind.VIDEO, participant="ann")


@pytest.fixture
def lane() -> Iterator[tuple[LiveWriter, LiveReader]]:
    table = StatisticsTable.create()
    row = RowPool(table, 0, 1).acquire()
    writer = LiveWriter(ring_capacity(BODY, 4), row)
    copies = tuple(os.dup(fd) for fd in writer.descriptors().flat())
    reader = LiveReader(
        LaneDescriptors.from_flat(copies), row, TRACK, max_age_ns=10**9, clock=lambda: 0
    )
    yield writer, reader
    reader.close()
    writer.close()
    table.close()


def head(writer: LiveWriter) -> bytes:
    return records.video_head(SIZE, 0, 0, (writer.sequence, 0))


def test_what_is_filled_in_place_arrives(lane: tuple[LiveWriter, LiveReader]) -> None:
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


def test_a_reservation_that_is_given_up_is_never_seen(lane: tuple[LiveWriter, LiveReader]) -> None:
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
    lane: tuple[LiveWriter, LiveReader],
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


def test_no_room_is_a_counted_drop(lane: tuple[LiveWriter, LiveReader]) -> None:
    writer, _ = lane
    taken = 0
    while (view := writer.reserve(head(writer), BODY)) is not None:
        view[:] = bytes(BODY)
        writer.commit()
        taken += 1
    counts = writer.row.snapshot()
    assert counts.dropped_full == 1
    assert counts.sent == taken + 1
