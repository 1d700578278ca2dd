"""A picture of ours that is filled where its reader will find it, so that it is never copied here.

Where the ring of its track has no room, or the track has no lane for now, its memory is its own,
and it is sent as any other frame.

Ownership: until its end the picture has its track to itself (`Outgoing.lane_for` refuses all else),
so no other record is written where it lies. After a crash before `commit` nothing was announced
(I2 of the ring).
"""

from __future__ import annotations

import weakref

import numpy as np
from numpy.typing import NDArray

from ringroom.checks import check_size
from ringroom.colour import i420_size
from ringroom.events import TrackInfo
from ringroom.frames import VideoFrame
from ringroom.lanes import records
from ringroom.sessions.outgoing_lane import OutgoingLane

__all__ = ["Filling", "blank"]

_SENT = np.zeros(0, np.uint8)
_SENT.flags.writeable = False


def blank(width: int, height: int, track: TrackInfo | str | None) -> VideoFrame:
    """A picture that has a form and takes no memory. Raises `FrameError` for what is no size."""
    width, height = check_size(width, height)
    data = np.broadcast_to(np.uint8(0), i420_size(width, height))
    return VideoFrame.received(data, (width, height), (0, 0), track, (0, 0))


class Filling:
    """See the module's docstring. Not thread-safe."""

    def __init__(self, lane: OutgoingLane | None, form: VideoFrame) -> None:
        """``lane`` is None where nobody would receive the picture."""
        nbytes = form.data.nbytes
        self._whole = records.VIDEO_HEADER_BYTES + nbytes
        self.lane = lane
        self._writer = None if lane is None else lane.writer
        self._view: memoryview | None = None
        if self._writer is not None and lane is not None and not lane.unsent:
            self._view = self._writer.reserve(self._whole)
        self._data: NDArray[np.uint8] = (
            np.empty(nbytes, np.uint8)
            if self._view is None
            else np.frombuffer(self._view, np.uint8, nbytes, records.VIDEO_HEADER_BYTES)
        )
        size = (form.width, form.height)
        self.frame = VideoFrame.received(self._data, size, (0, 0), form.track, (0, 0))
        """What the application fills."""
        if lane is not None:
            lane.filling = weakref.ref(self)

    @property
    def is_in_place(self) -> bool:
        """Whether the picture can be published from where it lies."""
        frame, lane, writer = self.frame, self.lane, self._writer
        return (
            self._view is not None
            and lane is not None
            and lane.writer is writer
            and not lane.unsent  # it would overtake what waits
            and frame.data is self._data
            and frame.data.nbytes == i420_size(frame.width, frame.height)
        )

    def commit(self, received_ns: int) -> None:
        """Publish it from where it lies."""
        assert self._view is not None
        assert self._writer is not None
        frame = self.frame
        size, stamp = (frame.width, frame.height), (self._writer.sequence, received_ns)
        head = records.video_head(size, frame.rotation, frame.timestamp_us, stamp)
        self._view[: len(head)] = head
        self._writer.commit(self._whole)

    def copied(self) -> VideoFrame:
        """The picture in memory of its own, to be sent as any other."""
        frame = self.frame
        data = frame.data
        if self._view is not None and data is self._data:
            data = data.copy()
        size, origin = (frame.width, frame.height), (frame.rotation, frame.timestamp_us)
        return VideoFrame.received(data, size, origin, frame.track, (0, 0))

    def end(self) -> None:
        """Idempotent: the track is free again, and the frame is no picture any more."""
        if self.lane is not None:
            self.lane.filling = None
        self._data.flags.writeable = False
        self.frame.data = _SENT
