"""Inbound tracks, from the provider's calls into lanes that the test reads.

Law: what is offered is in the lane, in order, or counted as dropped."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from io_kit import ANN, CAMERA, LIDAR, MIC, RATE, duplicate

from ringroom.checks import MAX_DATA_TRACK_BYTES
from ringroom.errors import StartupError
from ringroom.events import Event, EventKind, Kind, Participant, TrackInfo
from ringroom.lanes.live import LiveReader, LiveWriter
from ringroom.lanes.ring import Buffer, Geometry
from ringroom.lanes.statistics import StatisticsTable
from ringroom.options import SessionOptions
from ringroom.processes.io import inbound
from ringroom.processes.io.inbound import LOOK_EVERY, LiveTrack, ring_of
from ringroom.providers.provider import PromptSink

MAX_AGE_NS = 60 * 10**9


def held(lock: Any) -> bool:
    """By this thread."""
    return bool(lock._is_owned())


class Locked(LiveWriter):
    """What must not be done by two threads at once is done with the lock of its reader."""

    lock: threading.RLock

    def send_parts(self, head: bytes, body: Buffer) -> bool:
        assert held(self.lock)
        return super().send_parts(head, body)

    def event(self, event: Event) -> None:
        assert held(self.lock)
        super().event(event)


class Owner:
    """The reader's side, in the test's hands."""

    def __init__(self, table: StatisticsTable) -> None:
        self.table = table
        self.now = 10**9
        self.options = SessionOptions()
        self.lock = threading.RLock()
        self.closed = False
        self.refuses = False
        self.opened: list[tuple[int, int]] = []
        self.endings: list[int] = []
        self.notices: Any = self
        self.lost: Any = self
        self.problems: list[str] = []
        self.dropped: list[tuple[str, int]] = []
        self.writers: list[Any] = []
        self.readers: list[Any] = []
        self.over: list[object] = []

    def clock(self) -> int:
        return self.now

    def open_live(
        self, ring: Geometry, track: TrackInfo, participant: Participant, follows: int
    ) -> tuple[int, LiveWriter]:
        assert not self.closed
        if self.refuses:
            raise StartupError("no memory")
        number = len(self.writers) + 1
        row = self.table.row(number)
        writer = Locked(ring, row)
        writer.lock = self.lock
        handles = duplicate(writer.descriptors())
        reader = LiveReader(handles, row, track, max_age_ns=MAX_AGE_NS, clock=self.clock)
        self.opened.append((number, follows))
        self.writers.append(writer)
        self.readers.append(reader)
        return number, writer

    def lane_ending(self, number: int) -> None:
        self.endings.append(number)

    def tell(self, kind: str, text: str) -> None:
        assert kind == "lane"
        self.problems.append(text)

    def note(self, track: str, cause: str, count: int) -> None:
        assert held(self.lock), "no frame comes between the look and the end"
        self.dropped.append((cause, count))

    def received(self, number: int) -> list[Any]:
        found = []
        while (item := self.readers[number - 1].receive_nowait()) is not None:
            found.append(item)
        return found


@pytest.fixture
def owner() -> Iterator[Owner]:
    with contextlib.closing(StatisticsTable.create()) as table:
        owner = Owner(table)
        yield owner
        for end in (*owner.writers, *owner.readers):
            end.close()
        owner.writers.clear()
        owner.readers.clear()


def sound(value: int, samples: int = 320) -> memoryview:
    return memoryview(np.full(samples, value, np.int16))


def hear(track: LiveTrack, *values: int, samples: int = 320) -> None:
    for value in values:
        track.audio(sound(value, samples), RATE, 1)


def values_of(items: list[Any]) -> list[Any]:
    return [i.kind if isinstance(i, Event) else int(i.samples[0, 0]) for i in items]


def track_of(owner: Owner, track: TrackInfo = MIC) -> LiveTrack:
    made = LiveTrack(owner, track, ANN, owner.over.append)
    made.prepare()
    return made


def test_frames_are_numbered_stamped_and_in_order(owner: Owner) -> None:
    track = track_of(owner)
    assert owner.opened == [(1, 0)], "a track of sound is there before it sounds"
    hear(track, 5, 6)
    owner.now += 7
    hear(track, 7)
    items = owner.received(1)
    assert values_of(items) == [5, 6, 7]
    assert [item.sequence for item in items] == [0, 1, 2]
    assert [item.received_ns for item in items] == [10**9, 10**9, 10**9 + 7]


def test_a_drop_leaves_its_number_out(owner: Owner) -> None:
    track = track_of(owner)
    sent = 0
    while not owner.table.row(1).snapshot().dropped_full:
        hear(track, sent)
        sent += 1
    assert len(owner.received(1)) == sent - 1
    hear(track, 99)
    assert [item.sequence for item in owner.received(1)] == [sent]
    counts = owner.table.row(1).snapshot()
    assert (counts.sent, counts.dropped_full) == (sent + 1, 1)


def test_larger_frames_open_a_lane_that_follows(owner: Owner) -> None:
    track = track_of(owner)
    largest = owner.writers[0].max_record
    hear(track, 1)
    hear(track, 2, samples=largest)
    hear(track, 3)
    assert owner.opened == [(1, 0), (2, 1)]
    assert values_of(owner.received(1)) == [1]
    second = owner.received(2)
    assert values_of(second) == [2, 3]
    assert [item.sequence for item in second] == [1, 2]


@pytest.mark.parametrize("spare", range(-24, 64, 8))
def test_a_frame_at_the_limit_of_its_lane_passes(owner: Owner, spare: int) -> None:
    """Whether it still fits or wants a lane of its own, it arrives whole."""
    track = track_of(owner, CAMERA)
    track.video(memoryview(bytes(2 * 2 * 3 // 2)), (2, 2), 0, 0)
    limit = owner.writers[0].max_record
    width = 2 * ((limit - 40 + spare) // 6)
    body = np.full(width * 2 * 3 // 2, 9, np.uint8)
    track.video(memoryview(body), (width, 2), 90, 3)
    frame = owner.received(len(owner.writers))[-1]
    assert (frame.width, frame.rotation, frame.data.tobytes()) == (width, 90, body.tobytes())


def read(track: Any, *payloads: bytes) -> None:
    for payload in payloads:
        track.reading(memoryview(payload), len(payload))


def test_readings_are_numbered_stamped_and_in_order_whatever_their_size(owner: Owner) -> None:
    track = track_of(owner, LIDAR)
    assert owner.opened == [(1, 0)], "a data track is there before it brings anything"
    read(track, b"x", bytes(100_000))
    owner.now += 7
    track.reading(memoryview(b"abcd").cast("H"), None)  # any format of memoryview
    read(track, bytes(500_000), b"y")
    assert owner.opened == [(1, 0), (2, 1)]
    items = [*owner.received(1), *owner.received(2)]
    assert [len(item.payload) for item in items] == [1, 100_000, 4, 500_000, 1]
    assert [item.timestamp for item in items] == [1, 100_000, None, 500_000, 1]
    assert [item.sequence for item in items] == [0, 1, 2, 3, 4]
    assert [item.received_ns for item in items] == [10**9, 10**9, *[10**9 + 7] * 3]
    assert all(item.track == LIDAR for item in items)


def test_readings_that_grow_with_each_open_few_lanes(owner: Owner) -> None:
    track = track_of(owner, LIDAR)
    for size in range(1, MAX_DATA_TRACK_BYTES, 50_000):
        read(track, bytes(size))
    assert len(owner.opened) == 5
    assert owner.writers[-1].max_record >= MAX_DATA_TRACK_BYTES
    assert owner.writers[-1].capacity < 9 * MAX_DATA_TRACK_BYTES


def test_a_reading_of_a_wrong_size_is_left_out_and_said(owner: Owner) -> None:
    track = track_of(owner, LIDAR)
    read(track, b"", bytes(MAX_DATA_TRACK_BYTES + 1), b"x")
    assert [item.payload for item in owner.received(1)] == [b"x"]
    assert len(owner.problems) == 2
    assert "a frame of track 'lidar' is left out: 0 bytes in one frame" in owner.problems[0]
    track.close()
    read(track, b"late")
    assert owner.received(1) == []


def test_muting_comes_in_its_place_also_before_the_first_frame(owner: Owner) -> None:
    track = track_of(owner, CAMERA)
    assert owner.opened == []
    track.muted(True)
    track.muted(False)
    assert values_of(owner.received(1)) == [EventKind.TRACK_MUTED, EventKind.TRACK_UNMUTED]
    heard = track_of(owner)
    hear(heard, 1)
    heard.muted(True)
    hear(heard, 2)
    assert values_of(owner.received(2)) == [1, EventKind.TRACK_MUTED, 2]


def test_it_ends_once_and_takes_nothing_afterwards(owner: Owner) -> None:
    track = track_of(owner)
    hear(track, 1)
    track.close()
    track.close("again")
    hear(track, 2)
    track.muted(True)
    assert owner.endings == [1]
    assert owner.over == [track]
    assert values_of(owner.received(1)) == [1]
    assert owner.opened == [(1, 0)]


def test_a_lane_that_its_reader_has_given_up_is_followed_by_another(owner: Owner) -> None:
    """Whatever comes next; an event was once written to nobody."""
    track = track_of(owner)
    owner.writers[0].close()
    track.muted(True)
    owner.writers[1].close()
    hear(track, 1)
    assert owner.opened == [(1, 0), (2, 1), (3, 2)]
    assert values_of(owner.received(2)) == [EventKind.TRACK_MUTED]
    assert values_of(owner.received(3)) == [1]


def at_once(track: LiveTrack, *values: int, samples: int = 320) -> list[bool]:
    return [track.audio_at_once(sound(value, samples), RATE, 1) for value in values]


def test_sound_on_any_thread_is_written_as_on_the_loop(owner: Owner) -> None:
    track = track_of(owner)
    assert isinstance(track, PromptSink)
    assert at_once(track, 5, 6) == [True, True]
    owner.now += 7
    hear(track, 7)
    assert at_once(track, 8) == [True]
    items = owner.received(1)
    assert values_of(items) == [5, 6, 7, 8]
    assert [item.sequence for item in items] == [0, 1, 2, 3]
    assert [item.received_ns for item in items] == [10**9, 10**9, 10**9 + 7, 10**9 + 7]
    assert owner.table.row(1).snapshot().sent == 4


def test_what_is_more_than_writing_is_left_to_the_loop(owner: Owner) -> None:
    """A larger lane, a wrong form, a look at what was dropped; and what nobody takes any more."""
    track = track_of(owner)
    assert at_once(track, 1, samples=owner.writers[0].max_record) == [False]
    assert not track.audio_at_once(sound(1), 1, 1)
    assert not track.audio_at_once(sound(1), RATE, 7)
    assert not track.audio_at_once(memoryview(b""), RATE, 1)
    assert owner.problems == []
    taken = at_once(track, *range(LOOK_EVERY))
    assert taken == [True] * (LOOK_EVERY - 1) + [False]
    hear(track, 99)
    assert at_once(track, 1) == [True]
    assert values_of(owner.received(1)) == [*range(LOOK_EVERY - 1), 99, 1]
    owner.closed = True
    assert at_once(track, 2) == [False]
    owner.closed = False
    track.close()
    assert at_once(track, 2) == [False]
    assert owner.received(1) == []
    assert owner.table.row(1).snapshot().sent == LOOK_EVERY + 1
    owner.refuses = True
    nowhere = track_of(owner)
    assert at_once(nowhere, 1) == [False]
    assert not held(owner.lock)


def test_a_thread_does_not_wait_for_the_loop(owner: Owner) -> None:
    """What it holds the loop may wait for."""
    track = track_of(owner)
    taken: list[bool] = []

    def give() -> None:
        taken.extend(at_once(track, 1))

    with owner.lock:
        thread = threading.Thread(target=give)
        thread.start()
        thread.join()
    assert taken == [False]
    assert at_once(track, 2) == [True]


def test_what_was_dropped_is_told_by_the_loop_though_all_comes_on_threads(owner: Owner) -> None:
    track = track_of(owner)
    for number in range(4 * LOOK_EVERY + 10):
        if not at_once(track, number)[0]:
            hear(track, number)
    counts = owner.table.row(1).snapshot()
    assert LOOK_EVERY < counts.dropped_full == sum(count for _, count in owner.dropped) + 10
    track.close()
    assert sum(count for _, count in owner.dropped) == counts.dropped_full
    assert {cause for cause, _ in owner.dropped} == {inbound.WHY_FULL}


def test_no_lane_is_opened_for_a_reader_that_is_gone(owner: Owner) -> None:
    track = track_of(owner, CAMERA)
    owner.closed = True
    track.video(memoryview(bytes(6)), (2, 2), 0, 0)
    track.muted(True)
    track.close()
    assert owner.opened == []
    assert owner.endings == []


def test_where_no_lane_can_be_made_it_is_said_and_tried_again(owner: Owner) -> None:
    owner.refuses = True
    track = track_of(owner)
    hear(track, 1)
    assert len(owner.problems) == 2
    assert "no memory" in owner.problems[0]
    owner.refuses = False
    hear(track, 2)
    assert values_of(owner.received(1)) == [2]


@pytest.mark.parametrize("max_age", [0.2, 10.0, 60.0])
def test_the_ring_spans_more_than_the_greatest_age(max_age: float) -> None:
    """Otherwise the writer would drop for want of room what the reader would still take."""
    options = SessionOptions(max_age=max_age)
    frame = RATE * options.frame_ms // 1000 * 2
    ring = ring_of(options, Kind.AUDIO, frame)
    # Room is given back by the eighth, and only a whole bank is free.
    frames = (ring.capacity * 7 // 8 - ring.bank_bytes) // (frame + 64)
    assert frames * options.frame_ms / 1000 > 1.2 * max_age
