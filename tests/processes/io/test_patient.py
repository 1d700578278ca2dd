"""Inbound tracks that are waited for: nothing is dropped, and a reader that gives up is seen."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
from io_kit import ANN, CAMERA, LIDAR, MIC, RATE, duplicate, run, until

from ringroom.colour import i420_size
from ringroom.errors import StartupError
from ringroom.events import Event, EventKind, Participant, TrackInfo
from ringroom.lanes.reliable import ReliableReader, ReliableWriter
from ringroom.lanes.ring import Geometry
from ringroom.lanes.statistics import StatisticsTable
from ringroom.options import SessionOptions
from ringroom.processes.io.mailbox import Mailbox
from ringroom.processes.io.patient import PatientTrack


class Owner:
    """The reader's side, in the test's hands."""

    def __init__(self, table: StatisticsTable) -> None:
        self.table = table
        self.options = SessionOptions()
        self.lock = threading.RLock()
        self.closed = False
        self.refuses = False
        self.opened: list[tuple[int, int]] = []
        self.endings: list[int] = []
        self.notices: Any = self
        self.problems: list[str] = []
        self.boxes: list[Mailbox] = []
        self.readers: list[Any] = []
        self.over: list[object] = []

    def clock(self) -> int:
        return 55

    def open_patient(
        self, ring: Geometry, track: TrackInfo, participant: Participant, follows: int
    ) -> tuple[int, Mailbox]:
        if self.refuses:
            raise StartupError("no memory")
        number = len(self.boxes) + 1
        row = self.table.row(number)
        writer = ReliableWriter(ring, row)
        self.readers.append(ReliableReader(duplicate(writer.descriptors()), row, track))
        self.boxes.append(Mailbox(writer, self.clock, self.notices))
        self.opened.append((number, follows))
        return number, self.boxes[-1]

    def open_live(self, *_: Any) -> Any:
        raise AssertionError("a patient track has patient lanes")

    def lane_ending(self, number: int) -> None:
        self.endings.append(number)

    def tell(self, kind: str, text: str) -> None:
        assert kind == "lane"
        self.problems.append(text)

    async def received(self, number: int, count: int) -> list[Any]:
        found: list[Any] = []
        reader = self.readers[number - 1]

        def more() -> bool:
            if (item := reader.receive_nowait()) is not None:
                found.append(item.kind if isinstance(item, Event) else int(item.samples[0, 0]))
            return len(found) == count

        await until(more)
        assert reader.receive_nowait() is None
        return found


@contextlib.asynccontextmanager
async def owner() -> AsyncIterator[Any]:
    with contextlib.closing(StatisticsTable.create()) as table:
        made = Owner(table)
        try:
            yield made
        finally:
            for end in (*made.boxes, *made.readers):
                end.close()
            made.boxes.clear()
            made.readers.clear()


def track_of(owner: Any, info: TrackInfo) -> PatientTrack:
    track = PatientTrack(owner, info, ANN, owner.over.append)
    track.prepare()
    return track


def hear(track: PatientTrack, value: int, samples: int = 320) -> None:
    pcm = np.full(samples, value, np.int16)
    track.audio(memoryview(pcm), RATE, 1)
    pcm[:] = -1  # the caller's memory is the caller's again


def test_nothing_is_dropped_however_late_the_reader() -> None:
    async def main() -> None:
        async with owner() as o:
            track = track_of(o, MIC)
            for number in range(1_000):
                hear(track, number)
            track.muted(True)
            assert not o.boxes[0].emptied.is_set()
            wanted = [*range(1_000), EventKind.TRACK_MUTED]
            assert await o.received(1, 1_001) == wanted
            await until(o.boxes[0].emptied.is_set)

    run(main())


def test_a_picture_that_waits_is_ours_and_not_the_callers() -> None:
    async def main() -> None:
        async with owner() as o:
            track = track_of(o, CAMERA)
            picture = np.zeros(i420_size(64, 64), np.uint8)
            for number in range(50):
                picture[:] = number
                track.video(memoryview(picture), (64, 64), 0, number)
            assert not o.boxes[0].emptied.is_set()
            found: list[Any] = []

            def more() -> bool:
                if (item := o.readers[0].receive_nowait()) is not None:
                    found.append((int(item.data[0]), item.timestamp_us))
                return len(found) == 50

            await until(more)
            assert found == [(number, number) for number in range(50)]

    run(main())


def test_readings_that_wait_are_ours_and_none_is_dropped() -> None:
    async def main() -> None:
        async with owner() as o:
            track = track_of(o, LIDAR)
            payload = bytearray(50_000)
            for number in range(100):
                payload[:] = bytes([number]) * len(payload)
                track.reading(memoryview(payload), number)
            assert not o.boxes[0].emptied.is_set()
            found: list[Any] = []

            def more() -> bool:
                if (item := o.readers[0].receive_nowait()) is not None:
                    found.append((item.payload[-1], item.timestamp))
                return len(found) == 100

            await until(more)
            assert found == [(number, number) for number in range(100)]

    run(main())


def test_a_reader_that_is_gone_gets_no_lane_any_more() -> None:
    async def main() -> None:
        async with owner() as o:
            track = track_of(o, CAMERA)
            o.closed = True
            picture = np.zeros(i420_size(64, 64), np.uint8)
            track.video(memoryview(picture), (64, 64), 0, 0)
            track.muted(True)
            assert o.opened == []

    run(main())


def test_larger_frames_open_a_lane_that_follows() -> None:
    async def main() -> None:
        async with owner() as o:
            track = track_of(o, MIC)
            hear(track, 1)
            hear(track, 2, samples=100_000)
            assert o.opened == [(1, 0), (2, 1)]
            assert await o.received(1, 1) == [1]
            assert await o.received(2, 1) == [2]

    run(main())


def test_pictures_that_grow_with_each_open_few_lanes() -> None:
    async def main() -> None:
        async with owner() as o:
            track = track_of(o, CAMERA)
            for side in range(64, 256, 2):
                picture = np.zeros(i420_size(side, side), np.uint8)
                track.video(memoryview(picture), (side, side), 0, 0)
            assert len(o.opened) == 5

    run(main())


def test_a_lane_that_its_reader_has_given_up_is_followed_by_another() -> None:
    async def main() -> None:
        async with owner() as o:
            track = track_of(o, MIC)
            hear(track, 1)
            o.boxes[0].close()
            hear(track, 2)
            hear(track, 3)
            assert o.opened == [(1, 0), (2, 1)]
            assert await o.received(2, 2) == [2, 3]

    run(main())


def test_a_frame_that_no_lane_is_made_for_is_left_out_and_said() -> None:
    async def main() -> None:
        async with owner() as o:
            track = track_of(o, MIC)
            hear(track, 1)
            o.refuses = True
            hear(track, 2, samples=100_000)
            hear(track, 3)
            assert len(o.problems) == 1
            assert await o.received(1, 2) == [1, 3]
            o.boxes[0].close()
            hear(track, 4)
            assert len(o.problems) == 2

    run(main())


def test_it_ends_once_and_takes_nothing_afterwards() -> None:
    async def main() -> None:
        async with owner() as o:
            track = track_of(o, MIC)
            hear(track, 1)
            track.close()
            track.close("again")
            hear(track, 2)
            track.muted(True)
            assert (o.endings, o.over) == ([1], [track])
            assert await o.received(1, 1) == [1]
            gone = track_of(o, MIC)
            o.closed = True
            hear(gone, 3)
            assert o.opened == [(1, 0), (2, 0)]

    run(main())


def test_where_no_lane_can_be_made_it_is_said_and_tried_again() -> None:
    async def main() -> None:
        async with owner() as o:
            o.refuses = True
            track = track_of(o, MIC)
            assert "no memory" in o.problems[0]
            o.refuses = False
            hear(track, 2)
            assert await o.received(1, 1) == [2]

    run(main())
