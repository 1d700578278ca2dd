"""Ends that die: another process, which is killed in the middle, and who comes after a reader."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from contextlib import ExitStack, closing

import pytest
from lane_kit import (
    PICTURE,
    TRACK,
    Clock,
    audio,
    content,
    duplicate,
    fill,
    live_lane,
    muted,
    picture_ring,
    plain_row,
    reliable_lane,
    video,
)

from ringroom.errors import WouldBlock
from ringroom.events import Event
from ringroom.lanes.lane import LaneReader, LaneWriter, ring_for
from ringroom.lanes.live import LiveReader
from ringroom.lanes.reliable import ReliableReader, ReliableWriter
from ringroom.lanes.ring import Geometry, Slot
from ringroom.lanes.statistics import Count


def test_a_stale_frame_is_counted_before_its_room_is_given_back(
    ends: ExitStack, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes after a reader that dies there finds its place by the counts."""
    writer, reader, row = live_lane(ring_for(2_000, 8), clock)
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


def test_what_was_looked_at_ahead_is_not_given_back_before_it_is_counted(
    ends: ExitStack, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of small pictures too, which are copied: else whoever comes after a reader that dies there
    does not find the one that nobody has had."""
    writer, reader, _ = live_lane(ring_for(4_608, 8), clock)
    ends.callback(writer.close)
    ends.callback(reader.close)
    for number in range(4):
        assert writer.send(video(64, 48, number), clock.now - (number == 0) * 250_000_000)
    all_four, two = writer.in_use, writer.in_use - Geometry(writer.capacity).bank_bytes
    left: list[int] = []
    release = reader._release

    def look(slot: Slot) -> None:
        release(slot)
        left.append(writer.in_use)

    monkeypatch.setattr(reader, "_release", look)
    newest = reader.receive_nowait()
    assert newest is not None
    assert content(newest) == content(video(64, 48, 3))
    assert left == [all_four, two, two], "a bank at once, and up to the one that was looked at"


def test_a_successor_begins_behind_what_was_dropped_as_well(ends: ExitStack, clock: Clock) -> None:
    """The ring is wide, so nothing of it was given back when the reader died."""
    writer, reader, row = live_lane(ring_for(2_000, 100), clock)
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
    writer, reader, row = reliable_lane(ring_for(2_000, 100))
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
    writer, reader, row = reliable_lane(ring_for(2_000, 8), portable=portable)
    ends.callback(writer.close)
    writer.send_nowait(audio(48, 0), 0)
    reader.close()
    successor = ReliableReader(duplicate(writer.descriptors()), row, TRACK, start=writer.succeed())
    ends.callback(successor.close)
    assert content(successor.receive_nowait()) == content(audio(48, 0))
    assert successor.receive_nowait() is None
    writer.send_nowait(audio(48, 1), 0)
    assert content(successor.receive_nowait()) == content(audio(48, 1))


def test_a_dead_readers_room_is_not_given_back(portable: bool) -> None:
    """The writer goes on until the ring is full; the counts tell what is under way."""
    writer, reader, row = reliable_lane(Geometry(8_192), portable=portable)
    with closing(writer):
        writer.send_nowait(audio(480), 0)
        assert reader.receive_nowait() is not None
        reader.close()
        fill(writer)
        counts = row.snapshot()
        assert counts.in_flight == counts.sent
        row.add(Count.LOST, counts.in_flight)
        assert row.snapshot().in_flight == 0


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
writer._ring = RingWriter(memoryview(writer._mapping), {banks})
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


def spawn(
    *lanes: LaneWriter | LaneReader, script: str = CHILD, banks: int = 4
) -> subprocess.Popen[bytes]:
    groups = [descriptors_of(lane) for lane in lanes]
    code = script.format(path=[os.path.dirname(__file__)], fds=groups, banks=banks)
    flat = [fd for fds in groups for fd in fds]
    return subprocess.Popen([sys.executable, "-c", code], pass_fds=flat)


def descriptors_of(lane: LaneWriter | LaneReader) -> tuple[int, ...]:
    published, freed = lane._published.descriptors(), lane._freed.descriptors()
    return (lane._segment.fd, *published, *freed)


def test_both_directions_to_a_process_that_is_killed(portable: bool) -> None:
    """Whole frames in order, and after the writer's SIGKILL in mid-stream nothing more."""
    ring = picture_ring(6)
    writer = ReliableWriter(ring, plain_row(), portable=portable)
    segment_of_back = ReliableWriter(ring, plain_row(), portable=portable)
    reader = ReliableReader(duplicate(segment_of_back.descriptors()), plain_row())
    segment_of_back.close()
    items = (lambda n: video(*PICTURE, n), lambda n: audio(480, n))
    kept = []
    sent = got = 0
    with closing(writer), closing(reader), spawn(writer, reader, banks=ring.banks) as child:
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
    writer, reader, _ = reliable_lane(Geometry(8_192), portable=portable)
    with closing(writer), closing(reader):
        with spawn(writer, script=STOPPED_HALF_WAY) as child:
            assert child.wait() == -signal.SIGKILL
        assert reader.receive_nowait() is None
