"""Inbound tracks in the I/O role: from the provider's calls into the lane of the track's reader.

`InboundTrack` writes live lanes and never waits. Sound may come on any thread: what writes to the
lanes of one reader holds its lock, and all but the writing is done on the loop. `Mailbox` writes a
reliable lane (messages, room events) and keeps what has no room, up to a bound, because here nobody
can wait; beyond the bound it drops, counted.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from ringroom.checks import check_picture, check_sound
from ringroom.errors import ClosedError, FrameError, StartupError, WouldBlock
from ringroom.frames import (
    AudioFrame,
    DataFrame,
    Event,
    EventKind,
    Item,
    Kind,
    Participant,
    TrackInfo,
    VideoFrame,
)
from ringroom.lanes import records
from ringroom.lanes.lane import grown, ring_for
from ringroom.lanes.live import LiveWriter
from ringroom.lanes.reliable import ReliableWriter
from ringroom.lanes.ring import Geometry
from ringroom.lanes.statistics import Count
from ringroom.options import SessionOptions

AUDIO_SECONDS = 2.0
VIDEO_FRAMES = 8
# A lane of pictures gets fewer frames rather than more memory than this.
MAX_LANE_BYTES = 64 << 20
MAILBOX_RING = ring_for(1 << 18, 4)
MAX_BACKLOG_BYTES = 8 << 20
SETTLE_SECONDS = 0.02
# Looks at what the reader has dropped: once a second for sound.
LOOK_EVERY = 50
WHY_STALE, WHY_FULL = "too old when it was their turn", "for want of room"


class LaneOwner(Protocol):
    """Where lanes are announced: a reader's `inbound_lanes.InboundLanes`."""

    clock: Callable[[], int]
    options: SessionOptions
    lock: threading.RLock
    """Held by whoever writes to its live lanes, or closes or hands them over."""
    closed: bool
    """The reader is gone: no lane is opened for it any more."""

    def open_live(
        self, ring: Geometry, track: TrackInfo, participant: Participant, follows: int
    ) -> tuple[int, LiveWriter]:
        """Make a lane and tell the reader; its number and writing end."""

    def lane_ending(self, number: int) -> None:
        """Tell the reader that nothing more will come."""

    def log_problem(self, text: str) -> None:
        """Say something went wrong, at most once in a while."""

    def frames_dropped(self, track: str, cause: str, count: int) -> None:
        """So many more frames of the track were dropped."""


class Deaf:
    """The `TrackSink` of a track that is not taken."""

    def audio(self, samples: memoryview, sample_rate: int, channels: int) -> None:
        """Nothing."""

    def video(
        self, i420: memoryview, size: tuple[int, int], rotation: int, timestamp_us: int
    ) -> None:
        """Nothing."""

    def muted(self, muted: bool) -> None:
        """Nothing."""

    def close(self, reason: str = "") -> None:
        """Nothing."""


class InboundTrack:
    """One track's `TrackSink`. Its lane is made by the first frame, and made anew when a frame
    is larger than the ring was made for."""

    def __init__(
        self,
        owner: LaneOwner,
        track: TrackInfo,
        participant: Participant,
        on_closed: Callable[[InboundTrack], None],
    ) -> None:
        self._owner = owner
        self._on_closed = on_closed
        self._track = track
        self._participant = participant
        self._number = 0
        self._writer: LiveWriter | None = None
        self._sequence = 0
        self._frame_bytes = 0
        self._told = (0, 0)
        self._closed = False
        if track.kind is Kind.AUDIO:
            options = owner.options
            samples = options.sample_rate * options.frame_ms // 1000
            self._renew(samples * options.channels * 2)

    def audio(self, samples: memoryview, sample_rate: int, channels: int) -> None:
        body = _flat(samples)
        try:
            check_sound(len(body), sample_rate, channels)
        except FrameError as error:
            self._refuse(error)
            return
        with self._owner.lock:
            writer = self._writer_for(len(body))
            if writer is not None:
                self._put_sound(writer, body, sample_rate, channels)
                self._look()

    def audio_at_once(self, samples: memoryview, sample_rate: int, channels: int) -> bool:
        # Never waited for: who calls may hold what the loop waits for, with the lock in its hand.
        if not self._owner.lock.acquire(blocking=False):
            return False
        try:
            body = _flat(samples)
            writer = self._writer
            if writer is None or self._closed or self._owner.closed or self._looks_next():
                return False
            if len(body) + records.VIDEO_HEADER_BYTES > writer.max_record:
                return False
            check_sound(len(body), sample_rate, channels)
            self._put_sound(writer, body, sample_rate, channels)
        except FrameError:
            return False  # said on the loop
        finally:
            self._owner.lock.release()
        return True

    def _put_sound(
        self, writer: LiveWriter, body: memoryview, sample_rate: int, channels: int
    ) -> None:
        stamp = (self._sequence, self._owner.clock())
        writer.send_parts(records.audio_head(sample_rate, channels, stamp), body)
        self._sequence += 1

    def video(
        self, i420: memoryview, size: tuple[int, int], rotation: int, timestamp_us: int
    ) -> None:
        body = _flat(i420)
        try:
            check_picture(len(body), size, rotation)
        except FrameError as error:
            self._refuse(error)
            return
        with self._owner.lock:
            writer = self._writer_for(len(body))
            if writer is not None:
                stamp = (self._sequence, self._owner.clock())
                writer.send_parts(records.video_head(size, rotation, timestamp_us, stamp), body)
                self._sequence += 1
                self._look()

    def _refuse(self, error: FrameError) -> None:
        self._owner.log_problem(f"a frame of track {self._track.name!r} is left out: {error}")

    def _looks_next(self) -> bool:
        return (self._sequence + 1) % LOOK_EVERY == 0

    def _look(self) -> None:
        if self._sequence % LOOK_EVERY == 0:
            self._tell_dropped()

    def _tell_dropped(self) -> None:
        if self._writer is None:
            return
        row, (stale, full) = self._writer.row, self._told
        now = row.get(Count.DROPPED_STALE), row.get(Count.DROPPED_FULL)
        label = f"{self._track.participant}/{self._track.name or self._track.sid}"
        for cause, count in ((WHY_STALE, now[0] - stale), (WHY_FULL, now[1] - full)):
            if count > 0:
                self._owner.frames_dropped(label, cause, count)
        self._told = now

    def muted(self, muted: bool) -> None:
        kind = EventKind.TRACK_MUTED if muted else EventKind.TRACK_UNMUTED
        with self._owner.lock:
            if self._writer is None and not self._closed and not self._owner.closed:
                self._renew(records.HEADER_BYTES)
            if self._writer is not None:
                now = self._owner.clock()
                self._writer.event(Event(kind=kind, track=self._track, received_ns=now))

    def close(self, reason: str = "") -> None:
        if self._closed:
            return
        with self._owner.lock:
            self._closed = True
            writer = self._writer
            if writer is not None:
                self._tell_dropped()
            self._writer = None
        self._on_closed(self)
        if writer is not None:
            self._owner.lane_ending(self._number)

    def _writer_for(self, nbytes: int) -> LiveWriter | None:
        if self._closed or self._owner.closed:
            return None
        room = nbytes + records.VIDEO_HEADER_BYTES
        if self._writer is None or room > self._writer.max_record:
            self._renew(nbytes)
        fits = self._writer is not None and room <= self._writer.max_record
        return self._writer if fits else None

    def _renew(self, nbytes: int) -> None:
        self._tell_dropped()
        nbytes = grown(nbytes, self._frame_bytes)
        try:
            number, writer = self._owner.open_live(
                ring_of(self._owner.options, self._track.kind, nbytes),
                self._track,
                self._participant,
                self._number,
            )
        except (StartupError, ClosedError) as error:
            self._owner.log_problem(f"track {self._track.name!r} is not received: {error}")
            return
        self._number, self._writer = number, writer
        self._frame_bytes, self._told = nbytes, (0, 0)


def _flat(samples: memoryview) -> memoryview:
    return samples.cast("B") if samples.format != "B" or samples.ndim != 1 else samples


def ring_of(options: SessionOptions, kind: Kind, nbytes: int) -> Geometry:
    """The ring of a track's lane, for frames of that size."""
    if kind is Kind.AUDIO:
        seconds = max(AUDIO_SECONDS, 2.0 * options.max_age)
        return ring_for(nbytes, int(seconds * 1000 / options.frame_ms) + 8)
    frames = max(4, min(VIDEO_FRAMES, MAX_LANE_BYTES // max(nbytes, 1)))
    return ring_for(nbytes, frames)


class Mailbox:
    """A reliable lane whose writer cannot wait: a bounded backlog stands in."""

    def __init__(self, writer: ReliableWriter, clock: Callable[[], int]) -> None:
        self.writer = writer
        self.emptied = asyncio.Event()
        """Set while nothing waits for room."""
        self.emptied.set()
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._backlog: deque[tuple[Item, int, int]] = deque()
        self._backlog_bytes = 0
        self._lost = 0

    def post(self, item: Item) -> int:
        """How many items this made it drop: 0 or 1."""
        now = self._clock()
        if not self._backlog and self._write(item, now):
            return 0
        nbytes = _held_bytes(item)
        if self._backlog and self._backlog_bytes + nbytes > MAX_BACKLOG_BYTES:
            self._lost += 1
            if not isinstance(item, Event):
                self.writer.row.add(Count.SENT)
                self.writer.row.add(Count.DROPPED_FULL)
            return 1
        if not self._backlog:
            self.emptied.clear()
            self._loop.add_reader(self.writer.freed_fileno(), self.drain)
        self._backlog.append((item, now, nbytes))
        self._backlog_bytes += nbytes
        return 0

    def drain(self) -> None:
        """Write what waits for room, if there is some."""
        if not self._backlog:
            return
        while self._backlog:
            item, received_ns, nbytes = self._backlog[0]
            if not self._write(item, received_ns):
                return  # the writer took what credit there was: the loop sleeps until more
            self._backlog.popleft()
            self._backlog_bytes -= nbytes
        self._loop.remove_reader(self.writer.freed_fileno())
        self.emptied.set()
        if self._lost:
            lost, self._lost = self._lost, 0
            self.post(Event(kind=EventKind.EVENTS_LOST, reason=f"{lost} not read in time"))

    def _write(self, item: Item, received_ns: int) -> bool:
        try:
            self.writer.send_nowait(item, received_ns)
        except WouldBlock:
            return False
        except FrameError:
            # An event may tell of a participant with more metadata than a record takes.
            assert isinstance(item, Event)
            who = item.participant
            if who is None or not (who.metadata or who.attributes):
                raise
            return self._write(replace(item, participant=_plain(who)), received_ns)
        return True

    def close(self) -> None:
        """Idempotent."""
        if self._backlog:
            self._loop.remove_reader(self.writer.freed_fileno())
            self._backlog.clear()
            self.emptied.set()
        self.writer.row.bury()
        self.writer.close()


def _plain(who: Participant) -> Participant:
    return Participant(identity=who.identity, sid=who.sid, name=who.name)


def _held_bytes(item: Item) -> int:
    if isinstance(item, AudioFrame):
        return 256 + item.samples.nbytes
    if isinstance(item, VideoFrame):
        return 256 + item.data.nbytes
    if isinstance(item, DataFrame):
        return 256 + len(item.payload) + len(item.topic)
    who = item.participant
    texts = () if who is None else (who.metadata, *who.attributes, *who.attributes.values())
    return 1_280 + sum(map(len, texts))
