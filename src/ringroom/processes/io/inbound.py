"""Inbound tracks in the I/O role: from the provider's calls into the lane of the track's reader.

`LiveTrack` writes live lanes and never waits. Each call that writes to a lane holds the lock of the
lane's reader, because sound may come on any thread; everything else runs on the loop.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from ringroom.checks import MAX_DATA_TRACK_BYTES, check_picture, check_reading, check_sound
from ringroom.errors import ClosedError, FrameError, StartupError
from ringroom.events import Event, EventKind, Kind, Participant, TrackInfo
from ringroom.lanes import records
from ringroom.lanes.lane import USUAL_READING, grown, ring_for, ring_for_readings
from ringroom.lanes.live import LiveWriter
from ringroom.lanes.ring import Geometry
from ringroom.lanes.statistics import Count
from ringroom.notices import LostFrames, Notices
from ringroom.options import SessionOptions
from ringroom.processes.io.mailbox import Mailbox
from ringroom.processes.io.speakers import Meter

AUDIO_SECONDS = 2.0
VIDEO_FRAMES = 8
# A lane of pictures gets fewer frames rather than more memory than this.
MAX_LANE_BYTES = 64 << 20
# Looks at what the reader has dropped: once a second for sound.
LOOK_EVERY = 50
WHY_STALE, WHY_FULL = "too old when it was their turn", "for want of room"


class LaneOwner(Protocol):
    """Where lanes are announced: a reader's `inbound_lanes.InboundLanes`."""

    clock: Callable[[], int]
    notices: Notices
    lost: LostFrames
    """Frames that were dropped are noted there."""
    lock: threading.RLock
    """Held by whatever writes to its tracks' lanes, or closes or hands over live ones."""
    closed: bool
    """The reader is gone: no lane is opened for it any more."""

    @property
    def options(self) -> SessionOptions:
        """The room's."""

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


class NullTrack:
    """The `TrackSink` of a track that is not taken."""

    def audio(self, samples: memoryview, sample_rate: int, channels: int) -> None:
        """Nothing."""

    def video(
        self, i420: memoryview, size: tuple[int, int], rotation: int, timestamp_us: int
    ) -> None:
        """Nothing."""

    def reading(self, payload: memoryview, timestamp: int | None) -> None:
        """Nothing."""

    def muted(self, muted: bool) -> None:
        """Nothing."""

    def close(self, reason: str = "") -> None:
        """Nothing."""


class Lane(Protocol):
    """What a track's frames are given to."""

    @property
    def max_record(self) -> int:
        """Bytes; 0 once its reader has given it up."""


L = TypeVar("L", bound=Lane)


class InboundTrack(ABC, Generic[L]):
    """The `TrackSink` of a reader's track, which is served on the loop: a lane that is made by the
    first frame, and made anew when a frame is larger than the ring was made for."""

    def __init__(
        self,
        owner: LaneOwner,
        track: TrackInfo,
        participant: Participant,
        on_closed: Callable[[InboundTrack[Any]], None],
    ) -> None:
        self._owner = owner
        self._on_closed = on_closed
        self._track = track
        self._participant = participant
        self._lane: L | None = None
        self._number = 0
        """The lane's; 0 for none yet."""
        self.meter: Meter | None = None
        """What all sound of the track is measured by."""
        self._frame_bytes = 0
        self._closed = False

    def prepare(self) -> None:
        """Make the lane, where the size of a frame is known before the first, that of sound, or
        one size serves most: so the reader knows of the track before anything comes."""
        if self._track.kind is Kind.AUDIO:
            options = self._owner.options
            self._renew(options.sample_rate * options.frame_ms // 1000 * options.channels * 2)
        elif self._track.kind is Kind.DATA_TRACK:
            self._renew(USUAL_READING)

    def audio(self, samples: memoryview, sample_rate: int, channels: int) -> None:
        body = _flat(samples)
        try:
            check_sound(len(body), sample_rate, channels)
        except FrameError as error:
            self._refuse(error)
            return
        with self._owner.lock:
            lane = self._lane_for(len(body))
            if lane is not None:
                self._put_sound(lane, body, sample_rate, channels)

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
            lane = self._lane_for(len(body))
            if lane is not None:
                self._put_picture(lane, body, size, (rotation, timestamp_us))

    def reading(self, payload: memoryview, timestamp: int | None) -> None:
        body = _flat(payload)
        try:
            check_reading(len(body))
        except FrameError as error:
            self._refuse(error)
            return
        with self._owner.lock:
            lane = self._lane_for(len(body))
            if lane is not None:
                self._put_reading(lane, body, timestamp)

    def muted(self, muted: bool) -> None:
        kind = EventKind.TRACK_MUTED if muted else EventKind.TRACK_UNMUTED
        with self._owner.lock:
            lane = self._lane_for(records.HEADER_BYTES)
            if lane is not None:
                now = self._owner.clock()
                self._put_event(lane, Event(kind=kind, track=self._track, received_ns=now))

    def close(self, reason: str = "") -> None:
        if self._closed:
            return
        with self._owner.lock:
            self._closed = True
            lane, self._lane = self._lane, None
            if lane is not None:
                self._leave(lane)
        self._on_closed(self)
        if lane is not None:
            self._owner.lane_ending(self._number)

    def _lane_for(self, nbytes: int) -> L | None:
        """The lane, if a frame of that size is to be written and fits."""
        if self._closed or self._owner.closed:
            return None
        room = nbytes + records.MAX_MEDIA_HEADER_BYTES
        if self._lane is None or room > self._lane.max_record:
            self._renew(nbytes)
        fits = self._lane is not None and room <= self._lane.max_record
        return self._lane if fits else None

    def _renew(self, nbytes: int) -> None:
        """Go on in a new lane, for frames of that size. Where none can be had, the log tells."""
        kind = self._track.kind
        most = {"most": MAX_DATA_TRACK_BYTES} if kind is Kind.DATA_TRACK else {}
        nbytes = grown(nbytes, self._frame_bytes, **most)
        try:
            ring = ring_of(self._owner.options, kind, nbytes)
            number, lane = self._open_lane(ring)
        except (StartupError, ClosedError) as error:
            self._tell(f"track {self._track.name!r} is not received: {error}")
            return
        if self._lane is not None:
            self._leave(self._lane)
        self._number, self._lane, self._frame_bytes = number, lane, nbytes

    def _refuse(self, error: FrameError) -> None:
        self._tell(f"a frame of track {self._track.name!r} is left out: {error}")

    def _tell(self, text: str) -> None:
        self._owner.notices.tell("lane", text)

    @abstractmethod
    def _open_lane(self, ring: Geometry) -> tuple[int, L]:
        """Another lane, in which the track goes on, and its number."""

    @abstractmethod
    def _leave(self, lane: L) -> None:
        """Nothing more is written to that lane."""

    @abstractmethod
    def _put_sound(self, lane: L, body: memoryview, sample_rate: int, channels: int) -> None:
        """Sound that was checked, in a lane that it fits into."""

    @abstractmethod
    def _put_picture(
        self, lane: L, body: memoryview, size: tuple[int, int], origin: tuple[int, int]
    ) -> None:
        """A picture likewise; ``origin`` is its rotation, and its time in microseconds."""

    @abstractmethod
    def _put_reading(self, lane: L, body: memoryview, timestamp: int | None) -> None:
        """A frame of a data track likewise."""

    @abstractmethod
    def _put_event(self, lane: L, event: Event) -> None:
        """An event of the track's life, in order with its frames."""


class LiveTrack(InboundTrack[LiveWriter]):
    """The `TrackSink` of a track whose newest frames count."""

    _sequence = 0
    _noted = (0, 0)
    """How many frames of the lane were dropped, as far as that was told."""

    def audio_at_once(self, samples: memoryview, sample_rate: int, channels: int) -> bool:
        # No wait for the lock: the calling thread may hold something for which the loop waits
        # while it has this lock.
        if not self._owner.lock.acquire(blocking=False):
            return False
        try:
            body = _flat(samples)
            writer = self._lane
            if writer is None or self._closed or self._owner.closed or self._looks_next():
                return False
            if len(body) + records.MAX_MEDIA_HEADER_BYTES > writer.max_record:
                return False
            check_sound(len(body), sample_rate, channels)
            self._write_sound(writer, body, sample_rate, channels)
        except FrameError:
            return False  # `audio` says so, on the loop
        finally:
            self._owner.lock.release()
        return True

    def _write_sound(
        self, writer: LiveWriter, body: memoryview, sample_rate: int, channels: int
    ) -> None:
        if self.meter is not None:
            self.meter.hear(body, sample_rate * channels)
        stamp = (self._sequence, self._owner.clock())
        writer.send_parts(records.audio_head(sample_rate, channels, stamp), body)
        self._sequence += 1

    def _put_sound(
        self, lane: LiveWriter, body: memoryview, sample_rate: int, channels: int
    ) -> None:
        self._write_sound(lane, body, sample_rate, channels)
        self._look(lane)

    def _put_picture(
        self, lane: LiveWriter, body: memoryview, size: tuple[int, int], origin: tuple[int, int]
    ) -> None:
        stamp = (self._sequence, self._owner.clock())
        lane.send_parts(records.video_head(size, *origin, stamp), body)
        self._sequence += 1
        self._look(lane)

    def _put_reading(self, lane: LiveWriter, body: memoryview, timestamp: int | None) -> None:
        stamp = (self._sequence, self._owner.clock())
        lane.send_parts(records.reading_head(len(body), timestamp, stamp), body)
        self._sequence += 1
        self._look(lane)

    def _put_event(self, lane: LiveWriter, event: Event) -> None:
        lane.event(event)

    def _open_lane(self, ring: Geometry) -> tuple[int, LiveWriter]:
        return self._owner.open_live(ring, self._track, self._participant, self._number)

    def _leave(self, lane: LiveWriter) -> None:
        self._note_dropped(lane)
        self._noted = (0, 0)

    def _looks_next(self) -> bool:
        return (self._sequence + 1) % LOOK_EVERY == 0

    def _look(self, lane: LiveWriter) -> None:
        if self._sequence % LOOK_EVERY == 0:
            self._note_dropped(lane)

    def _note_dropped(self, lane: LiveWriter) -> None:
        row, (stale, full) = lane.row, self._noted
        now = row.get(Count.DROPPED_STALE), row.get(Count.DROPPED_FULL)
        label = f"{self._track.participant}/{self._track.name or self._track.sid}"
        for cause, count in ((WHY_STALE, now[0] - stale), (WHY_FULL, now[1] - full)):
            if count > 0:
                self._owner.lost.note(label, cause, count)
        self._noted = now


def _flat(samples: memoryview) -> memoryview:
    return samples.cast("B") if samples.format != "B" or samples.ndim != 1 else samples


def ring_of(options: SessionOptions, kind: Kind, nbytes: int) -> Geometry:
    """The ring of a track's lane, for frames of that size."""
    if kind is Kind.AUDIO:
        seconds = max(AUDIO_SECONDS, 2.0 * options.max_age)
        return ring_for(nbytes, int(seconds * 1000 / options.frame_ms) + 8)
    if kind is Kind.DATA_TRACK:
        return ring_for_readings(nbytes)
    frames = max(4, min(VIDEO_FRAMES, MAX_LANE_BYTES // max(nbytes, 1)))
    return ring_for(nbytes, frames)
