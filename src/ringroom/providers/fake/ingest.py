"""Tracks of the room on their way in: from messages to the sink's frames."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np

from ringroom.checks import Samples
from ringroom.events import Participant, TrackInfo
from ringroom.frames import AudioFrame
from ringroom.options import SessionOptions
from ringroom.providers.fake import messages
from ringroom.providers.fake.conversion import FrameCutter
from ringroom.providers.provider import TrackSink

__all__ = ["Ingest"]


class Ingest:
    """A track of somebody else, and where its frames go while they are wanted and given."""

    def __init__(
        self, track: TrackInfo, participant: Participant, wanted: bool, options: SessionOptions
    ) -> None:
        self.track = track
        self.participant = participant
        self.wanted = wanted
        self.muted = False
        self.sink: TrackSink | None = None
        self.awaited: asyncio.TimerHandle | None = None
        """Until then it is waited for in silence."""
        self._cutter = FrameCutter(options.sample_rate, options.channels, options.frame_ms)
        self._sample_rate, self._channels = options.sample_rate, options.channels

    def audio(self, message: messages.Audio) -> None:
        frame = AudioFrame(message.payload, message.sample_rate, message.channels)
        self._deliver(self._cutter.push(frame))

    def pause(self) -> None:
        self._deliver(self._cutter.pause())

    def open(self, sink: TrackSink) -> None:
        """It is given to us."""
        self.await_no_more()
        self.sink = sink
        if self.muted:
            sink.muted(True)

    def await_no_more(self) -> None:
        if self.awaited is not None:
            self.awaited.cancel()
            self.awaited = None

    def close(self, reason: str) -> None:
        """It may be opened again."""
        self.await_no_more()
        if self.sink is not None:
            self.pause()
            self.sink.close(reason)
            self.sink = None

    def video(self, message: messages.Video) -> None:
        assert self.sink is not None
        self.sink.video(
            memoryview(message.payload),
            (message.width, message.height),
            message.rotation,
            message.timestamp_us,
        )

    def reading(self, message: messages.Reading) -> None:
        assert self.sink is not None
        self.sink.reading(memoryview(message.payload), message.timestamp)

    def _deliver(self, frames: Iterator[Samples]) -> None:
        assert self.sink is not None
        for frame in frames:
            pcm = np.ascontiguousarray(frame).reshape(-1).data
            self.sink.audio(pcm, self._sample_rate, self._channels)
