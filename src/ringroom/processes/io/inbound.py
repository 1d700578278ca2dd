"""Inbound tracks in the I/O role: from the provider's calls into the lane of the track's reader.

`LiveTrack` writes live lanes and never waits. Sound may come on any thread: what writes to the
lanes of one reader holds its lock, and all but the writing is done on the loop.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

from ringroom.checks import check_picture, check_sound
from ringroom.errors import ClosedError, FrameError, StartupError
from ringroom.frames import Event, EventKind, Kind, Participant, TrackInfo
from ringroom.lanes import records
from ringroom.lanes.lane import grown, ring_for
from ringroom.lanes.live import LiveWriter
from ringroom.lanes.ring import Geometry
from ringroom.lanes.statistics import Count
from ringroom.options import SessionOptions
from ringroom.processes.io.mailbox import Mailbox

AUDIO_SECONDS = 2.0
VIDEO_FRAMES = 8
# A lane of pictures gets fewer frames rather than more memory than this.
MAX_LANE_BYTES = 64 << 20
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

    def open_patient(
        self, ring: Geometry, track: TrackInfo, participant: Participant, follows: int
    ) -> tuple[int, Mailbox]:
        """The same with a reliable lane."""

    def lane_ending(self, number: int) -> None:
        """Tell the reader that nothing more will come."""

    def log_problem(self, text: str) -> None:
        """Say something went wrong, at most once in a while."""

    def frames_dropped(self, track: str, cause: str, count: int) -> None:
        """So many more frames of the track were dropped."""


class NullTrack:
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


class InboundTrack(ABC):
    """What the `TrackSink`s of a reader's tracks share: a lane that is made by the first frame, and
    made anew when a frame is larger than the ring was made for."""

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
        """Of its lane; 0 for none yet."""
        self._frame_bytes = 0
        self._closed = False
        if track.kind is Kind.AUDIO:  # how large a frame will be is known before the first
            options = owner.options
            self._renew(options.sample_rate * options.frame_ms // 1000 * options.channels * 2)

    @abstractmethod
    def close(self, reason: str = "") -> None:
        """The track is over."""

    @abstractmethod
    def _open_lane(self, ring: Geometry) -> int:
        """Another lane, in which the track goes on; its number."""

    def _renew(self, nbytes: int) -> None:
        """Go on in a lane for frames of that size; where there is none, that is told."""
        nbytes = grown(nbytes, self._frame_bytes)
        try:
            self._number = self._open_lane(ring_of(self._owner.options, self._track.kind, nbytes))
        except (StartupError, ClosedError) as error:
            self._owner.log_problem(f"track {self._track.name!r} is not received: {error}")
        else:
            self._frame_bytes = nbytes

    def _refuse(self, error: FrameError) -> None:
        self._owner.log_problem(f"a frame of track {self._track.name!r} is left out: {error}")


class LiveTrack(InboundTrack):
    """The `TrackSink` of a track whose newest frames count."""

    _writer: LiveWriter | None = None
    _sequence = 0
    _told = (0, 0)

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
            if len(body) + records.MAX_MEDIA_HEADER_BYTES > writer.max_record:
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
        room = nbytes + records.MAX_MEDIA_HEADER_BYTES
        if self._writer is None or room > self._writer.max_record:
            self._renew(nbytes)
        fits = self._writer is not None and room <= self._writer.max_record
        return self._writer if fits else None

    def _open_lane(self, ring: Geometry) -> int:
        self._tell_dropped()
        number, self._writer = self._owner.open_live(
            ring, self._track, self._participant, self._number
        )
        self._told = (0, 0)
        return number


def _flat(samples: memoryview) -> memoryview:
    return samples.cast("B") if samples.format != "B" or samples.ndim != 1 else samples


def ring_of(options: SessionOptions, kind: Kind, nbytes: int) -> Geometry:
    """The ring of a track's lane, for frames of that size."""
    if kind is Kind.AUDIO:
        seconds = max(AUDIO_SECONDS, 2.0 * options.max_age)
        return ring_for(nbytes, int(seconds * 1000 / options.frame_ms) + 8)
    frames = max(4, min(VIDEO_FRAMES, MAX_LANE_BYTES // max(nbytes, 1)))
    return ring_for(nbytes, frames)
