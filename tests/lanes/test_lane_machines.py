"""Both kinds of lane against plain models: every interleaving, every death, in both forms.

The rings have a few pages and frames are lent from 200 bytes on, so records share pages, wrap and
are evacuated all the time.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from lane_kit import (
    TRACK,
    Clock,
    audio,
    content,
    duplicate,
    live_lane,
    message,
    muted,
    noise,
    reliable_lane,
    video,
)

from ringroom.errors import FrameError, WouldBlock
from ringroom.events import Event
from ringroom.frames import AudioFrame, Item, VideoFrame
from ringroom.lanes import lane as lane_module
from ringroom.lanes.lane import LaneReader, LaneWriter, ReaderStart
from ringroom.lanes.live import EVENT_ROOM, LiveReader, LiveWriter
from ringroom.lanes.memory import mmap
from ringroom.lanes.reliable import ReliableReader, ReliableWriter
from ringroom.lanes.ring import Geometry, slot_size
from ringroom.lanes.statistics import Count, Row

MAX_AGE_MS = 200
LOW_MARK_MS = 60
SIZES = st.one_of(st.integers(1, 300), st.integers(1, 4_500))
SIDES = st.integers(2, 70)


class Lane(RuleBasedStateMachine):
    """What both kinds share: keeping frames, the law, and death."""

    portable = False
    writer: LaneWriter
    reader: LaneReader
    row: Row

    @initialize(pages=st.integers(1, 8))
    def open(self, pages: int) -> None:
        self.thresholds = lane_module.COPY_BELOW, lane_module.REWIND_FROM
        lane_module.COPY_BELOW, lane_module.REWIND_FROM = 200, 500
        self.clock = Clock()
        self.kept: list[tuple[Any, bytes]] = []
        self.made = 0
        self.pages = pages
        self.renew()

    def renew(self) -> None:
        self.waiting: deque[tuple[Item, int]] = deque()
        self.sent = self.done = self.taken = self.dropped = self.lost = 0
        self.writes = self.reads = True
        self.open_lane(Geometry(self.pages * mmap.PAGESIZE))

    def open_lane(self, ring: Geometry) -> None:
        raise NotImplementedError

    def seed(self) -> int:
        self.made += 1
        return self.made

    def expect(self, item: Item | None, wanted: tuple[Item, int], keep: str) -> None:
        """It came out as it went in; perhaps somebody keeps it, or only a part of it."""
        sent, received_ns = wanted
        assert item is not None
        assert content(item) == content(sent)
        if isinstance(item, Event):
            return
        self.taken += 1
        assert item.received_ns == received_ns
        if isinstance(item, AudioFrame | VideoFrame):
            assert item.track is TRACK
            self.keep(item, keep)

    def keep(self, item: AudioFrame | VideoFrame, how: str) -> None:
        array = item.samples if isinstance(item, AudioFrame) else item.data
        if self.lends(array.nbytes):
            assert not array.flags.writeable
        views = {
            "frame": lambda: item,
            "array": lambda: array,
            "slice": lambda: array[len(array) // 3 :],
            "transposed": lambda: array.T,
            "memory": lambda: memoryview(array),
            "plane": lambda: item.planes()[1] if isinstance(item, VideoFrame) else array[:1],
        }
        if how in views:
            view = views[how]()
            self.kept.append((view, bytes_of(view)))

    def lends(self, nbytes: int) -> bool:
        return nbytes >= lane_module.COPY_BELOW

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def let_go(self, data: st.DataObject) -> None:
        del self.kept[data.draw(st.integers(0, len(self.kept) - 1))]

    @precondition(lambda self: self.taken > self.done + self.lost)
    @rule()
    def finish(self) -> None:
        """Whoever processes says so."""
        self.row.add(Count.DONE)
        self.done += 1

    @precondition(lambda self: self.reads)
    @rule()
    def absorb(self) -> None:
        self.reader.absorb()

    @precondition(lambda self: self.reads)
    @rule()
    def give_back(self) -> None:
        """I7: once the reader has looked, at most half of the ring is held by anybody."""
        self.reader.give_back()
        if self.writes and not self.waiting:
            assert self.writer.in_use * 2 <= self.writer.capacity, "I7"

    @precondition(lambda self: self.writes)
    @rule()
    def writer_dies(self) -> None:
        """What it had published still comes; frames that are kept stay valid."""
        self.writer.close()
        self.writes = False

    @precondition(lambda self: self.reads)
    @rule()
    def reader_dies(self) -> None:
        self.reader.close()
        self.reads = False

    @precondition(lambda self: self.reads and self.writes)
    @rule()
    def reader_is_succeeded(self) -> None:
        """It dies, with all that it kept, and another goes on: nothing comes twice, nothing that
        was not taken is missing."""
        self.kept.clear()
        self.reader.close()
        start = self.writer.succeed()
        self.lost += self.taken - self.done - self.lost
        self.reader = self.another_reader(start)
        if self.waiting == deque() and not self.reader.pending:
            assert self.writer.in_use == 0

    def another_reader(self, start: ReaderStart) -> LaneReader:
        raise NotImplementedError

    @precondition(lambda self: not (self.reads and self.writes))
    @rule()
    def bury(self) -> None:
        """Somebody else counts what was under way, and a new lane begins."""
        lost = self.row.snapshot().in_flight
        self.row.add(Count.LOST, lost)
        self.lost += lost
        self.law()
        assert self.row.snapshot().in_flight == 0
        self.writer.close()
        self.reader.close()
        self.renew()

    @invariant()
    def law(self) -> None:
        """sent = done + dropped + lost + in flight, each known from elsewhere too."""
        if not hasattr(self, "row"):
            return
        counts = self.row.snapshot()
        under_way = sum(not isinstance(item, Event) for item, _ in self.waiting)
        under_way += self.taken - self.done
        assert counts.sent == self.sent, "I9"
        assert counts.taken == self.taken
        assert counts.done == self.done
        assert counts.dropped == self.dropped, "I9"
        assert counts.in_flight == under_way - self.lost

    @invariant()
    def kept_frames_never_change(self) -> None:
        for view, was in getattr(self, "kept", ()):
            assert bytes_of(view) == was, "I6"

    def teardown(self) -> None:
        if not hasattr(self, "thresholds"):
            return
        lane_module.COPY_BELOW, lane_module.REWIND_FROM = self.thresholds
        self.drain()
        self.writer.close()
        self.reader.close()
        self.writer.close()
        self.reader.close()
        self.kept_frames_never_change()
        self.kept.clear()

    def drain(self) -> None:
        raise NotImplementedError


def bytes_of(view: Any) -> bytes:
    if isinstance(view, AudioFrame):
        return view.data
    if isinstance(view, VideoFrame):
        return view.data.tobytes()
    return bytes(view.tobytes())


KEEPING = st.sampled_from(["", "", "frame", "array", "slice", "transposed", "memory", "plane"])


class Reliable(Lane):
    """I11: what was sent is taken exactly once, in order."""

    writer: ReliableWriter
    reader: ReliableReader

    def open_lane(self, ring: Geometry) -> None:
        self.idle = True
        self.writer, self.reader, self.row = reliable_lane(ring, portable=self.portable)

    def another_reader(self, start: ReaderStart) -> ReliableReader:
        return ReliableReader(duplicate(self.writer.descriptors()), self.row, TRACK, start=start)

    def send(self, item: Item) -> None:
        if not self.writes:
            return
        used = self.writer.in_use
        try:
            self.writer.send_nowait(item, self.clock.now)
        except WouldBlock:
            assert used * 2 > self.writer.capacity, "I5"
            return
        except FrameError:
            assert len(bytes_of_item(item)) > self.writer.max_record - 300
            return
        self.waiting.append((item, self.clock.now))
        self.sent += not isinstance(item, Event)

    @rule(samples=SIZES, channels=st.sampled_from([1, 2]))
    def send_audio(self, samples: int, channels: int) -> None:
        self.send(audio(samples, self.seed(), channels))

    @precondition(lambda self: self.reads and self.writes)
    @rule(samples=SIZES, count=st.integers(1, 12))
    def stream(self, samples: int, count: int) -> None:
        """Many in a row, so that the ring wraps beneath what is kept."""
        for _ in range(count):
            self.send_audio(samples, 1)
            self.receive("")
            self.give_back()

    @rule(width=SIDES, height=SIDES)
    def send_video(self, width: int, height: int) -> None:
        self.send(video(width, height, self.seed()))

    @rule(nbytes=st.integers(0, 3_000))
    def send_data(self, nbytes: int) -> None:
        self.send(message(nbytes, self.seed()))

    @rule(padding=st.integers(0, 500))
    def send_event(self, padding: int) -> None:
        self.send(muted(self.seed(), padding=padding))

    @precondition(lambda self: self.reads)
    @rule(keep=KEEPING)
    def receive(self, keep: str) -> None:
        item = self.reader.receive_nowait()
        if not self.waiting:
            assert item is None
            assert not self.reader.pending
            return
        self.expect(item, self.waiting.popleft(), keep)

    @precondition(lambda self: self.reads)
    @rule()
    def flush(self) -> None:
        dropped = sum(not isinstance(item, Event) for item, _ in self.waiting)
        assert self.reader.discard() == dropped
        self.waiting.clear()
        self.dropped += dropped

    def drain(self) -> None:
        while self.reads and self.waiting:
            self.receive("")


def bytes_of_item(item: Item) -> bytes:
    if isinstance(item, AudioFrame | VideoFrame):
        return bytes_of(item)
    return item.payload if not isinstance(item, Event) else noise(1_000, 0)


class Live(Lane):
    """I8, I9, I10, with the reader's choice worked out a second time on a plain deque."""

    writer: LiveWriter
    reader: LiveReader

    def open_lane(self, ring: Geometry) -> None:
        self.owing = False
        self.writer, self.reader, self.row = live_lane(
            ring, self.clock, max_age_ms=MAX_AGE_MS, portable=self.portable
        )

    def another_reader(self, start: ReaderStart) -> LiveReader:
        return LiveReader(
            duplicate(self.writer.descriptors()),
            self.row,
            TRACK,
            max_age_ns=MAX_AGE_MS * 1_000_000,
            clock=self.clock,
            start=start,
        )

    @rule(ms=st.sampled_from([1, 20, 61, 100, 201]))
    def time_passes(self, ms: int) -> None:
        self.clock.pass_ms(ms)

    def offer(self, frame: AudioFrame | VideoFrame, late_ms: int) -> None:
        if not self.writes:
            return
        received_ns = self.clock.now - late_ms * 1_000_000
        size = slot_size(len(bytes_of(frame)) + 40)
        used, was_owing = self.writer.in_use, self.owing
        room = min(EVENT_ROOM, self.writer.max_record)
        try:
            went_in = self.writer.send(frame, received_ns)
        except FrameError:
            assert size > self.writer.max_record
            return
        self.sent += 1
        if went_in:
            self.owing = False
            self.waiting.append((frame, received_ns))
        else:
            self.dropped += 1
            bank = self.writer.capacity // 4  # the one that is being read is in use as a whole
            assert was_owing or used + 2 * size + room + bank > self.writer.capacity

    @rule(samples=SIZES, late_ms=st.sampled_from([0, 0, 30, 150, 250]))
    def send_audio(self, samples: int, late_ms: int) -> None:
        self.offer(audio(samples, self.seed()), late_ms)

    @precondition(lambda self: self.reads and self.writes)
    @rule(samples=SIZES, count=st.integers(1, 12))
    def stream(self, samples: int, count: int) -> None:
        """Many in a row, so that the ring wraps beneath what is kept."""
        for _ in range(count):
            self.send_audio(samples, 0)
            self.receive("")
            self.give_back()

    @rule(width=SIDES, height=SIDES, late_ms=st.sampled_from([0, 0, 150, 250]))
    def send_video(self, width: int, height: int, late_ms: int) -> None:
        self.offer(video(width, height, self.seed()), late_ms)

    @precondition(lambda self: self.writes)
    @rule(padding=st.integers(0, 500))
    def tell(self, padding: int) -> None:
        event = muted(self.seed(), padding=padding)
        self.waiting.append((event, 0))
        self.writer.event(event)
        self.owing = not self.writer.write_owed()

    @precondition(lambda self: self.writes)
    @rule()
    def writer_settles(self) -> None:
        self.owing = not self.writer.write_owed()

    def choose(self) -> tuple[Item, int] | None:
        """What the reader is to hand out: the policy again, in its plain words."""
        fresh, skipped = MAX_AGE_MS * 1_000_000, 0
        while self.waiting:
            item, received_ns = self.waiting[0]
            age = self.clock.now - received_ns
            if isinstance(item, Event):
                break
            newest = len(self.waiting) < 2 or not isinstance(self.waiting[1][0], VideoFrame)
            if isinstance(item, VideoFrame):
                wanted = age <= fresh and (not skipped or newest)
            else:
                wanted = age <= (LOW_MARK_MS * 1_000_000 if skipped else fresh)
            if wanted:
                break
            self.waiting.popleft()
            skipped += 1
        self.dropped += skipped
        return self.waiting.popleft() if self.waiting else None

    @precondition(lambda self: self.reads)
    @rule(keep=KEEPING)
    def receive(self, keep: str) -> None:
        wanted = self.choose()
        item = self.reader.receive_nowait()
        if item is None and wanted is not None and isinstance(wanted[0], Event):
            # I10: an event may have to wait for room, never get lost (see `drain`).
            assert self.owing or not self.writes
            self.waiting.appendleft(wanted)
        elif wanted is None:
            assert item is None
        else:
            self.expect(item, wanted, keep)
        if isinstance(item, AudioFrame | VideoFrame):
            assert self.clock.now - item.received_ns <= MAX_AGE_MS * 1_000_000, "I8"

    @precondition(lambda self: self.reads)
    @rule()
    def flush(self) -> None:
        frames = sum(not isinstance(item, Event) for item, _ in self.waiting)
        assert self.reader.discard() == frames
        self.dropped += frames
        # Which events had been written is the writer's affair; a fresh lane makes it plain.
        self.waiting.clear()
        if self.owing:
            self.writer.close()
            self.writes = False

    def drain(self) -> None:
        """I10: with a reader that goes on reading, every event comes."""
        while self.reads and self.writes and self.waiting:
            before = len(self.waiting)
            self.receive("")
            self.reader.give_back()
            self.owing = not self.writer.write_owed()
            if len(self.waiting) == before:
                self.receive("")
                assert len(self.waiting) < before, "I10"


class PortableReliable(Reliable):
    portable = True


class PortableLive(Live):
    portable = True


pytestmark = pytest.mark.timeout(180)  # thousands of steps, on a machine that is busy
QUICK = settings(
    max_examples=60,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
for machine in (Reliable, Live, PortableReliable, PortableLive):
    machine.TestCase.settings = QUICK
TestReliable = Reliable.TestCase
TestLive = Live.TestCase
TestPortableReliable = pytest.mark.once(PortableReliable.TestCase)
TestPortableLive = pytest.mark.once(PortableLive.TestCase)
