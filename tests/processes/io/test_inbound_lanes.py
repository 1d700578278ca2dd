"""The lanes of one reader, which dies, and of the one who comes after it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from io_kit import ANN, MIC, run, turns

from loop_kit import run_virtual
from ringroom import messages as m
from ringroom.checks import MAX_FILE_BYTES
from ringroom.colour import i420_size
from ringroom.errors import ClosedError, StartupError
from ringroom.events import Event, EventKind, Kind
from ringroom.frames import DataFrame, FileFrame
from ringroom.lanes.lane import LaneDescriptors, ring_for
from ringroom.lanes.live import LiveReader, LiveWriter
from ringroom.lanes.reliable import ReliableReader
from ringroom.lanes.ring import Geometry
from ringroom.lanes.statistics import Count, Row, StatisticsTable
from ringroom.notices import LostFrames, Notices
from ringroom.options import SessionOptions
from ringroom.processes.io import inbound_lanes
from ringroom.processes.io.inbound import LiveTrack, ring_of
from ringroom.processes.io.inbound_lanes import InboundLanes
from ringroom.processes.io.row_ledger import RowLedger
from ringroom.testing import faults

OPTIONS = SessionOptions(kinds=("audio", "data", "event"))


class Bench:
    """InboundLanes, the room around them, and the readers that come and go."""

    def __init__(self) -> None:
        self.table = StatisticsTable.create()
        self.ledger = RowLedger(self.note)
        self.ledger.open(self.table, 0, 16)
        self.listed: list[m.LaneListed] = []
        self.retired: list[int] = []
        self.told: list[m.Message] = []
        self.refuses = False
        self.readers: dict[int, Any] = {}
        log = logging.getLogger("ringroom.io")
        self.now = 1_000
        self.options = OPTIONS
        self.clock = lambda: 1_000
        self.notices = Notices(log, lambda: self.now)
        self.lost = LostFrames(log, lambda: self.now)
        self.inbound = InboundLanes(self, self.ledger, 0, self.tell)

    def note(self, message: m.Message) -> None:
        """What the application is told."""
        if isinstance(message, m.LaneListed):
            self.listed.append(message)
        elif isinstance(message, m.LaneRetired):
            self.retired.append(message.row)

    def tell(self, message: m.Message, descriptors: tuple[int, ...] = ()) -> None:
        if self.refuses:
            raise StartupError("no descriptors left")
        self.told.append(message)
        if isinstance(message, m.LaneOpened):
            handles = LaneDescriptors.from_flat(tuple(os.dup(fd) for fd in descriptors))
            row, start = self.table.row(message.row), (message.position, message.waiting)
            self.readers[message.lane] = (
                LiveReader(handles, row, MIC, max_age_ns=10**12, clock=lambda: 1_000, start=start)
                if message.live
                else ReliableReader(handles, row, None, start=start)
            )

    def reader_dies(self) -> None:
        for reader in self.readers.values():
            reader.close()
        self.readers.clear()
        self.told.clear()

    def track(self) -> LiveTrack:
        track = LiveTrack(self.inbound, MIC, ANN, lambda track: None)
        track.prepare()
        return track

    def close(self) -> None:
        self.inbound.close()
        self.reader_dies()
        self.table.close()


@contextlib.asynccontextmanager
async def opened() -> AsyncIterator[Bench]:
    bench = Bench()
    try:
        yield bench
    finally:
        bench.close()


def speak(track: LiveTrack, *values: int) -> None:
    for value in values:
        track.audio(memoryview(bytes([value, 0]) * 320), 16_000, 1)


def hear(reader: Any) -> list[Any]:
    """All that comes; processed at once."""
    found = []
    while (item := reader.receive_nowait()) is not None:
        if isinstance(item, Event):
            found.append(item.kind)
            continue
        reader.row.add(Count.DONE)
        found.append(item.payload if isinstance(item, DataFrame) else int(item.samples[0, 0]))
    return found


def test_the_next_reader_begins_where_the_dead_one_was() -> None:
    async def test() -> None:
        async with opened() as bench:
            track = bench.track()
            speak(track, 1, 2, 3)
            reader = bench.readers[1]
            assert int(reader.receive_nowait().samples[0, 0]) == 1
            reader.row.add(Count.DONE)
            assert int(reader.receive_nowait().samples[0, 0]) == 2  # taken, not done
            track.muted(True)
            bench.reader_dies()
            speak(track, 4)  # nobody reads
            bench.inbound.hand_over()
            assert hear(bench.readers[1]) == [3, EventKind.TRACK_MUTED, 4]
            speak(track, 5)
            assert hear(bench.readers[1]) == [5]
            counts = bench.readers[1].row.snapshot()
            assert (counts.sent, counts.done, counts.lost, counts.in_flight) == (5, 4, 1, 0)
            assert len(bench.listed) == 1
            assert not bench.retired

    run(test())


def test_messages_go_on_after_a_lane_that_could_not_be_read_on() -> None:
    """Native code of the application has damaged it, say. Each message was an error of the sink."""

    async def test() -> None:
        async with opened() as bench:
            bench.inbound.post(Kind.DATA, DataFrame(b"1"))
            bench.inbound.close_lane(1)
            for payload in (b"2", b"3"):
                bench.inbound.post(Kind.DATA, DataFrame(payload))
            bench.inbound.refuse(Kind.DATA)
            assert hear(bench.readers[2]) == [b"2", b"3"]
            assert bench.readers[2].row.snapshot().dropped_full == 1

    run(test())


def test_sound_of_a_native_thread_and_a_loop_that_does_all_else() -> None:
    """Law: what was sent is received or counted, in order, whoever did what in between."""
    sent, took = 6_000, [0]

    async def test() -> None:
        async with opened() as bench:
            track, left = bench.track(), queue.SimpleQueue[int]()
            behind = threading.Semaphore(1)

            def speak_from_a_thread() -> None:
                for number in range(sent):
                    samples = memoryview(np.full(16, number % 30_000, np.int16))
                    if track.audio_at_once(samples, 16_000, 1):
                        took[0] += 1
                        continue
                    behind.acquire()
                    left.put(number)
                    behind.acquire()  # nothing overtakes it
                    behind.release()

            heard: list[int] = []
            thread = threading.Thread(target=speak_from_a_thread)
            thread.start()
            turn = 0
            while thread.is_alive() or not left.empty():
                turn += 1
                if not left.empty():
                    number = left.get()
                    track.audio(memoryview(np.full(16, number % 30_000, np.int16)), 16_000, 1)
                    behind.release()
                heard += [item for item in hear(bench.readers[1]) if isinstance(item, int)]
                if turn % 5 == 0:
                    track.muted(turn % 2 == 0)
                if turn % 50 == 0:
                    bench.reader_dies()
                    bench.inbound.hand_over()
            thread.join()
            heard += [item for item in hear(bench.readers[1]) if isinstance(item, int)]
            assert heard == sorted(set(heard))
            counts = bench.readers[1].row.snapshot()
            assert counts.sent == sent
            assert counts.done == len(heard)
            assert counts.in_flight == 0

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        run(test())
    finally:
        sys.setswitchinterval(before)
    assert took[0] > sent // 2


def test_lanes_are_handed_over_and_closed_with_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with opened() as bench:
            speak(bench.track(), 1)
            asked: list[str] = []

            def watch(name: str) -> None:
                function = getattr(LiveWriter, name)

                def watched(writer: LiveWriter) -> object:
                    other = threading.Thread(target=try_it)
                    other.start()
                    other.join()
                    assert got == [False], "it is held"
                    asked.append(name)
                    return function(writer)

                monkeypatch.setattr(LiveWriter, name, watched)

            got: list[bool] = []

            def try_it() -> None:
                lock: Any = bench.inbound.lock
                free = lock.acquire(blocking=False)
                got[:] = [free]
                if free:
                    lock.release()

            for name in ("succeed", "write_owed", "close"):
                watch(name)
            bench.reader_dies()
            bench.inbound.hand_over()
            bench.inbound.close()
            assert asked == ["succeed", "write_owed", "close"]
            try_it()
            assert got == [True]

    run(test())


def test_it_stops_with_the_lock() -> None:
    """A thread that writes just now has looked whether it may."""

    async def test() -> None:
        async with opened() as bench:
            seen: list[bool] = []

            class Lock:
                def __enter__(self) -> None:
                    seen.append(bench.inbound.closed)

                def __exit__(self, *_: object) -> None:
                    seen.append(bench.inbound.closed)

            lock: Any = Lock()
            bench.inbound.lock = lock
            bench.inbound.stop()
            assert seen == [False, True]

    run(test())


def test_ended_tracks_and_those_that_follow_are_told_in_order() -> None:
    async def test() -> None:
        async with opened() as bench:
            track = bench.track()
            speak(track, 1)
            track.audio(memoryview(bytes(200_000)), 16_000, 1)  # goes on in a larger lane
            track.close()
            bench.reader_dies()
            bench.inbound.hand_over()
            first, second, ending = bench.told
            assert isinstance(first, m.LaneOpened)
            assert isinstance(second, m.LaneOpened)
            assert (first.lane, first.follows, second.lane, second.follows) == (1, 0, 2, 1)
            assert ending == m.LaneEnding(lane=2)
            # What the dead one had finished does not come again.
            bench.inbound.close_lane(1)
            bench.reader_dies()
            bench.inbound.hand_over()
            assert [getattr(message, "lane", 0) for message in bench.told] == [2, 2]

    run(test())


def test_messages_that_had_no_room_follow_those_in_the_lane() -> None:
    async def test() -> None:
        async with opened() as bench:
            payloads = [bytes([number]) * 60_000 for number in range(40)]
            for payload in payloads:
                bench.inbound.post(Kind.DATA, DataFrame(payload, "topic"))
            bench.inbound.post(Kind.EVENT, Event(kind=EventKind.CONNECTED))
            reader = bench.readers[1]
            # It empties the lane, and dies before the writer has seen that there is room.
            taken = []
            while (item := reader.receive_nowait()) is not None:
                taken.append(item.payload)
            assert taken == payloads[: len(taken)]
            assert len(taken) < 40
            reader.row.add(Count.DONE, len(taken) - 1)
            bench.reader_dies()
            bench.inbound.hand_over()
            heard: list[bytes] = []
            while len(heard) < 40 - len(taken):
                heard += hear(bench.readers[1])
                await turns()
            assert heard == payloads[len(taken) :]
            assert hear(bench.readers[2]) == [EventKind.CONNECTED]
            counts = bench.readers[1].row.snapshot()
            assert (counts.sent, counts.done, counts.lost) == (40, 39, 1)

    run(test())


def test_closing_buries_what_nobody_came_for() -> None:
    async def test() -> None:
        async with opened() as bench:
            speak(bench.track(), 1, 2)
            bench.reader_dies()
            bench.inbound.close()
            bench.inbound.close()
            counts = bench.table.row(bench.listed[0].row).snapshot()
            assert (counts.lost, counts.in_flight) == (2, 0)
            assert bench.retired == [bench.listed[0].row]
            bench.inbound.post(Kind.DATA, DataFrame(b"late"))
            for open_late in (bench.inbound.open_live, bench.inbound.open_patient):
                with pytest.raises(ClosedError, match="its reader is closed"):
                    open_late(Geometry(4096), MIC, ANN, 0)
            assert len(bench.listed) == 1

    run(test())


def test_a_lane_that_cannot_be_made_gives_its_row_back() -> None:
    async def test() -> None:
        async with opened() as bench:
            free = bench.ledger.acquire()
            bench.ledger.release(free)
            with faults.segments_refused(), pytest.raises(StartupError):
                bench.inbound.open_live(Geometry(4096), MIC, ANN, 0)
            assert bench.ledger.acquire().index == free.index
            assert not bench.listed
            assert not bench.retired

    run(test())


@pytest.mark.parametrize("which", ["live", "patient", "events"])
def test_a_lane_that_the_reader_cannot_be_told_of_is_no_more(which: str) -> None:
    async def test() -> None:
        async with opened() as bench:
            bench.refuses = True
            if which == "events":
                bench.inbound.post(Kind.EVENT, Event(kind=EventKind.TRACK_MUTED))  # it is logged
            else:
                lanes = bench.inbound
                open_lane = lanes.open_live if which == "live" else lanes.open_patient
                with pytest.raises(StartupError):
                    open_lane(Geometry(4096), MIC, ANN, 0)
            assert bench.retired
            assert [one.row for one in bench.listed] == bench.retired
            bench.refuses = False
            bench.inbound.hand_over()
            assert not bench.told, "there is nothing to hand over"

    run(test())


def test_events_that_are_owed_are_looked_after_by_one_timer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many tracks end meanwhile, and also when a reader comes."""
    looked = []
    write_owed = LiveWriter.write_owed

    def counted(writer: LiveWriter) -> bool:
        looked.append(writer)
        return write_owed(writer)

    async def test() -> None:
        async with opened() as bench:
            muted = bench.track()
            speak(muted, *[1] * 120)  # the ring is full
            for count in range(300):
                muted.muted(count % 2 == 0)
            for _ in range(10):
                muted.close()
                bench.inbound.lane_ending(1)
            monkeypatch.setattr(LiveWriter, "write_owed", counted)
            looked.clear()
            await asyncio.sleep(10 * inbound_lanes.OWED_SECONDS)
            assert 9 <= len(looked) <= 11
            while hear(bench.readers[1]):  # the writer has room now and then
                await asyncio.sleep(inbound_lanes.OWED_SECONDS)
            looked.clear()
            await asyncio.sleep(10 * inbound_lanes.OWED_SECONDS)
            assert not looked, "none is owed any more"

    run_virtual(lambda _: test())


class PaperWriter(LiveWriter):
    """Says it is as large as was asked for, and takes next to no memory."""

    def __init__(self, ring: Geometry, row: Row) -> None:
        self._said = ring.capacity
        super().__init__(ring_for(64, 4), row)

    @property
    def capacity(self) -> int:
        return self._said


def test_sixty_cameras_fit_and_some_may_change_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is for those who mean harm: a large conference does not meet it."""

    async def test() -> None:
        async with opened() as bench:
            bench.ledger.open(bench.table, 0, 400)
            monkeypatch.setattr(inbound_lanes, "LiveWriter", PaperWriter)
            hd = ring_of(OPTIONS, Kind.VIDEO, i420_size(1920, 1080))
            for number in range(60 + 20):
                assert bench.inbound.open_live(hd, MIC, ANN, 0)[0] == number + 1
            while (len(bench.listed) + 1) * hd.capacity <= inbound_lanes.MAX_LANES_BYTES:
                bench.inbound.open_live(hd, MIC, ANN, 0)
            with pytest.raises(StartupError, match="MiB, and reads them too slowly"):
                bench.inbound.open_live(hd, MIC, ANN, 0)
            lanes = len(bench.listed)
            bench.inbound.close_lane(1)  # it is read
            bench.inbound.open_live(hd, MIC, ANN, 0)
            assert len(bench.listed) == lanes + 1

    run(test())


def test_what_is_lost_and_what_is_refused_is_told_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """By the clock of the session, not by that of the machine."""

    async def test() -> None:
        async with opened() as bench:
            for _ in range(3):
                bench.inbound.notices.tell("lane", "no lane")
                bench.inbound.lost.note("ann/mic", "for want of room", 1)
            bench.now += 60 * 10**9
            bench.inbound.notices.tell("lane", "no lane")
            bench.inbound.lost.note("ann/mic", "for want of room", 1)

    run(test())
    told = [record.message for record in caplog.records]
    assert [line[:40] for line in told] == [
        "no lane",
        "1 frames were dropped: 1 of 'ann/mic' fo",
        "no lane (2 more of this kind since it wa",
        "3 frames were dropped: 3 of 'ann/mic' fo",
    ]


def test_a_file_goes_on_in_a_larger_lane_as_do_the_messages_after_it() -> None:
    async def test() -> None:
        async with opened() as bench:
            payloads = [b"1", bytes(1 << 20), b"2", bytes(5 << 20), bytes(1 << 18), b"3"]
            for payload in payloads:
                frame = FileFrame(payload) if len(payload) > 1 else DataFrame(payload)
                assert bench.inbound.post(Kind.DATA, frame)
            lanes = [one for one in bench.told if isinstance(one, m.LaneOpened)]
            assert [(one.lane, one.follows) for one in lanes] == [(1, 0), (2, 1), (3, 2)]
            found = [payload for lane in (1, 2, 3) for payload in hear(bench.readers[lane])]
            assert found == payloads
            capacity = bench.inbound._lanes[3].writer.capacity
            assert capacity < 4 * (MAX_FILE_BYTES + 10_000), "no more than the largest needs"
            for lane in (1, 2):
                bench.inbound.close_lane(lane)
            assert bench.inbound.post(Kind.DATA, DataFrame(b"4"))
            assert hear(bench.readers[3]) == [b"4"], "the lane before is closed, and not this one"
            bench.inbound.refuse(Kind.DATA)
            row = bench.readers[3].row
            assert row.snapshot().dropped_full == 1

    run(test())


def test_the_next_reader_gets_both_lanes_and_what_waited_for_room_in_a_larger_one() -> None:
    """Which is opened as the lanes are handed over."""

    async def test() -> None:
        async with opened() as bench:
            small, payloads = [bytes([number]) * 60_000 for number in range(20)], []
            for payload in small:
                bench.inbound.post(Kind.DATA, DataFrame(payload))
            large = bytes(1 << 20)
            bench.inbound.post(Kind.DATA, FileFrame(large))
            bench.inbound.post(Kind.DATA, DataFrame(b"last"))
            taken = hear(bench.readers[1])
            assert 0 < len(taken) < len(small)
            bench.reader_dies()
            bench.inbound.hand_over()
            for _ in range(100):
                for lane in tuple(bench.readers):
                    payloads += hear(bench.readers[lane])
                await turns()
                if payloads[-1:] == [b"last"]:
                    break
            assert taken + payloads == [*small, large, b"last"]
            opened_lanes = [one for one in bench.told if isinstance(one, m.LaneOpened)]
            assert [(one.lane, one.follows) for one in opened_lanes] == [(1, 0), (2, 1)]

    run(test())


def test_where_a_larger_lane_cannot_be_had_the_file_is_left_out_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        async with opened() as bench:
            bench.inbound.post(Kind.DATA, DataFrame(b"1"))
            bench.refuses = True  # no descriptors are left for it
            bench.inbound.post(Kind.DATA, FileFrame(bytes(1 << 20)))
            bench.inbound.post(Kind.DATA, DataFrame(b"2"))
            assert hear(bench.readers[1]) == [b"1", b"2"]
            assert bench.readers[1].row.snapshot().dropped_full == 1
            bench.refuses = False
            bench.inbound.post(Kind.DATA, FileFrame(bytes(1 << 20)))
            *_, last = bench.readers.values()
            assert hear(last) == [bytes(1 << 20)]

    run(test())
    assert "no lane for data of" in caplog.text
