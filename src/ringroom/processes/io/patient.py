"""An inbound track whose reader is waited for, for providers that can hold their source back.

A replay as fast as the reader drops nothing, neither for age nor for want of room: its lanes are
reliable, and the provider awaits `PatientSink.caught_up` between frames. What has no room meanwhile
waits here.
"""

from __future__ import annotations

import numpy as np

from ringroom.events import Event
from ringroom.frames import AudioFrame, DataTrackFrame, VideoFrame
from ringroom.lanes.ring import Geometry
from ringroom.processes.io.inbound import InboundTrack
from ringroom.processes.io.mailbox import Mailbox

__all__ = ["PatientTrack"]

# The lane and the frame make the stamp.
_NO_STAMP = (0, 0)


class PatientTrack(InboundTrack[Mailbox]):
    """The `TrackSink` of a track of which nothing is dropped. Frames are copied: they may have to
    wait, and the caller's memory does not."""

    def _put_sound(self, lane: Mailbox, body: memoryview, sample_rate: int, channels: int) -> None:
        if self.meter is not None:
            self.meter.hear(body, sample_rate * channels)
        pcm = np.frombuffer(bytes(body), np.int16).reshape(-1, channels)
        lane.post(AudioFrame.received(pcm, sample_rate, self._track, _NO_STAMP))

    def _put_picture(
        self, lane: Mailbox, body: memoryview, size: tuple[int, int], origin: tuple[int, int]
    ) -> None:
        data = np.frombuffer(bytes(body), np.uint8)
        lane.post(VideoFrame.received(data, size, origin, self._track, _NO_STAMP))

    def _put_reading(self, lane: Mailbox, body: memoryview, timestamp: int | None) -> None:
        lane.post(DataTrackFrame.received(bytes(body), timestamp, self._track, _NO_STAMP))

    def _put_event(self, lane: Mailbox, event: Event) -> None:
        lane.post(event)

    def _open_lane(self, ring: Geometry) -> tuple[int, Mailbox]:
        return self._owner.open_patient(ring, self._track, self._participant, self._number)

    def _leave(self, lane: Mailbox) -> None:
        """What waits there is still written."""
