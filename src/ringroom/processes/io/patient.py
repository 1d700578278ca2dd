"""An inbound track whose reader is waited for, for providers that can hold their source back.

A replay as fast as the reader drops nothing, neither for age nor for want of room: its lanes are
reliable, and the provider awaits `PatientSink.caught_up` between frames. What has no room meanwhile
waits here.
"""

from __future__ import annotations

import numpy as np

from ringroom.checks import check_picture, check_sound
from ringroom.errors import FrameError
from ringroom.frames import (
    AudioFrame,
    Event,
    EventKind,
    Item,
    VideoFrame,
)
from ringroom.lanes import records
from ringroom.lanes.ring import Geometry
from ringroom.processes.io.inbound import InboundTrack
from ringroom.processes.io.mailbox import Mailbox

__all__ = ["PatientTrack"]

# The lane and the frame make the stamp.
_NO_STAMP = (0, 0)


class PatientTrack(InboundTrack):
    """The `TrackSink` of a track of which nothing is dropped."""

    _mailbox: Mailbox | None = None

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
        room = nbytes + records.MAX_MEDIA_HEADER_BYTES
        # Also when its reader has given the lane up: a closed writer has room for nothing.
        if self._mailbox is None or room > self._mailbox.writer.max_record:
            self._renew(nbytes)
        if self._mailbox is not None and room <= self._mailbox.writer.max_record:
            self._mailbox.post(item)

    def _open_lane(self, ring: Geometry) -> int:
        number, self._mailbox = self._owner.open_patient(
            ring, self._track, self._participant, self._number
        )
        return number
