"""An inbound track whose reader is waited for, for providers that can hold their source back.

A replay as fast as the reader drops nothing, neither for age nor for want of room: its lanes are
reliable, and the provider awaits `PatientSink.caught_up` between frames. What has no room meanwhile
waits here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from ringroom.checks import check_picture, check_sound
from ringroom.errors import ClosedError, FrameError, StartupError
from ringroom.frames import (
    AudioFrame,
    Event,
    EventKind,
    Item,
    Kind,
    Participant,
    TrackInfo,
    VideoFrame,
)
from ringroom.lanes import records
from ringroom.lanes.lane import grown
from ringroom.lanes.ring import Geometry
from ringroom.processes.inbound import LaneOwner, Mailbox, ring_of

__all__ = ["PatientOwner", "PatientTrack"]

# The lane and the frame make the stamp.
_NO_STAMP = (0, 0)


class PatientOwner(LaneOwner, Protocol):
    """Where such lanes are announced (`inbound_lanes.InboundLanes`)."""

    def open_patient(
        self, ring: Geometry, track: TrackInfo, participant: Participant, follows: int
    ) -> tuple[int, Mailbox]:
        """Make a reliable lane of a track and tell the reader."""


class PatientTrack:
    """One track's `TrackSink`. Its lane is made by what comes first, and made anew when a frame
    is larger than the ring was made for."""

    def __init__(
        self,
        owner: PatientOwner,
        track: TrackInfo,
        participant: Participant,
        on_closed: Callable[[PatientTrack], None],
    ) -> None:
        self._owner = owner
        self._track = track
        self._participant = participant
        self._on_closed = on_closed
        self._number = 0
        self._mailbox: Mailbox | None = None
        self._frame_bytes = 0
        self._closed = False
        if track.kind is Kind.AUDIO:
            options = owner.options
            samples = options.sample_rate * options.frame_ms // 1000
            self._renew(samples * options.channels * 2)

    def audio(self, samples: memoryview, sample_rate: int, channels: int) -> None:
        try:
            check_sound(samples.nbytes, sample_rate, channels)
        except FrameError as error:
            self._refuse(error)
            return
        # A copy: it may have to wait, and the caller's memory does not.
        pcm = np.frombuffer(bytes(samples), np.int16).reshape(-1, channels)
        self._post(AudioFrame.received(pcm, sample_rate, self._track, _NO_STAMP), pcm.nbytes)

    def video(
        self, i420: memoryview, size: tuple[int, int], rotation: int, timestamp_us: int
    ) -> None:
        try:
            check_picture(i420.nbytes, size, rotation)
        except FrameError as error:
            self._refuse(error)
            return
        data = np.frombuffer(bytes(i420), np.uint8)
        origin = (rotation, timestamp_us)
        self._post(VideoFrame.received(data, size, origin, self._track, _NO_STAMP), data.nbytes)

    def _refuse(self, error: FrameError) -> None:
        self._owner.log_problem(f"a frame of track {self._track.name!r} is left out: {error}")

    def muted(self, muted: bool) -> None:
        kind = EventKind.TRACK_MUTED if muted else EventKind.TRACK_UNMUTED
        event = Event(kind=kind, track=self._track, received_ns=self._owner.clock())
        self._post(event, records.HEADER_BYTES)

    def close(self, reason: str = "") -> None:
        if self._closed:
            return
        self._closed = True
        self._on_closed(self)
        if self._mailbox is not None:
            self._mailbox = None
            self._owner.lane_ending(self._number)

    def _post(self, item: Item, nbytes: int) -> None:
        if self._closed or self._owner.closed:
            return
        room = nbytes + records.VIDEO_HEADER_BYTES
        # Also when its reader has given the lane up: a closed writer has room for nothing.
        if self._mailbox is None or room > self._mailbox.writer.max_record:
            self._renew(nbytes)
        if self._mailbox is not None and room <= self._mailbox.writer.max_record:
            self._mailbox.post(item)

    def _renew(self, nbytes: int) -> None:
        nbytes = grown(nbytes, self._frame_bytes)
        ring = ring_of(self._owner.options, self._track.kind, nbytes)
        try:
            self._number, self._mailbox = self._owner.open_patient(
                ring, self._track, self._participant, self._number
            )
        except (StartupError, ClosedError) as error:
            self._owner.log_problem(f"track {self._track.name!r} is not received: {error}")
        else:
            self._frame_bytes = nbytes
