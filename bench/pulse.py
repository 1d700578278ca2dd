"""A provider with nothing behind it: tracks that send a frame at each beat, and ears that note when
a reply is back. What is measured with it is ringroom alone, without a codec and without a network.

Each frame begins with the moment at which it was handed to the sink. A worker that echoes may put
its own measurement behind it (`Echo` does); the ears keep both, and write them where they are told.
"""

from __future__ import annotations

import asyncio
import struct
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import ringroom
from ringroom.events import Kind, Participant, TrackInfo
from ringroom.frames import AudioFrame, DataTrackFrame, Frame, VideoFrame
from ringroom.options import SessionOptions
from ringroom.providers.provider import (
    Joined,
    OutgoingTrack,
    Playout,
    Provider,
    ProviderSpec,
    Sink,
    TrackSink,
)

_STAMP = struct.Struct("<qq")  # handed over, and how old it was in the worker; nanoseconds


@dataclass(frozen=True, kw_only=True)
class Pulse(ProviderSpec):
    """``tracks`` participants with a track each; a frame on each every ``frame_ms`` of the
    session's options, until ``frames`` have been sent on each (0: for ever), then the room ends.
    All begin on the same beat, or one after the other (``spread``)."""

    name = "pulse"
    tracks: int = 1
    frames: int = 0
    spread: bool = True
    heard: str = ""
    """The file that the ears write: pairs of echo and hop, in nanoseconds."""

    def open(self, descriptors: tuple[int, ...]) -> Provider:
        return _PulseProvider(self)


class _PulseProvider(Provider):
    def __init__(self, spec: Pulse) -> None:
        self._spec = spec
        self._task: asyncio.Task[None] | None = None
        self.heard: list[tuple[int, int]] = []

    async def connect(self, sink: Sink, options: SessionOptions) -> Joined:
        self._task = asyncio.create_task(self._beat(sink, options))
        return Joined(room="pulse", identity="app")

    async def _beat(self, sink: Sink, options: SessionOptions) -> None:
        tracks = [_open(sink, number) for number in range(self._spec.tracks)]
        beat = options.frame_ms / 1000
        samples = bytearray(options.sample_rate * options.frame_ms // 1000 * options.channels * 2)
        start, sent = time.monotonic(), 0
        while not self._spec.frames or sent < self._spec.frames:
            for number, track in enumerate(tracks):
                lag = number / len(tracks) if self._spec.spread else 0.0
                await asyncio.sleep(start + (sent + lag) * beat - time.monotonic())
                _STAMP.pack_into(samples, 0, time.monotonic_ns(), 0)
                track.audio(memoryview(samples), options.sample_rate, options.channels)
            sent += 1
        for track in tracks:
            track.close()
        # Replies to the last frames are still on their way.
        await asyncio.sleep(0.2)
        sink.ended("all is sent")

    async def publish(self, track: OutgoingTrack) -> Playout:
        return _Ears(self.heard, patient=track.options.mode == "speech")

    async def send_data(self, frame: ringroom.DataFrame) -> None:
        """Nobody reads it."""

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._spec.heard:
            content = np.array(self.heard, np.int64).reshape(-1, 2)
            np.save(Path(self._spec.heard), content)
            self._spec = Pulse()


def _open(sink: Sink, number: int) -> TrackSink:
    speaker = Participant(identity=f"p{number}")
    info = TrackInfo(sid=f"t{number}", name="mic", kind=Kind.AUDIO, participant=speaker.identity)
    assert sink.wants(info, speaker)
    return sink.open_track(info, speaker)


class _Ears(Playout):
    """``patient``: they listen to each frame to its end before they take the next."""

    def __init__(self, heard: list[tuple[int, int]], *, patient: bool) -> None:
        self._heard = heard
        self._patient = patient

    async def play(self, frame: AudioFrame | VideoFrame | DataTrackFrame) -> None:
        now = time.monotonic_ns()
        if isinstance(frame, AudioFrame):
            sent, hop = _STAMP.unpack_from(frame.data)
            self._heard.append((now - sent, hop))
            if self._patient:
                await asyncio.sleep(frame.duration)

    def queued(self) -> float:
        return 0.0

    def clear(self) -> float:
        return 0.0

    async def close(self) -> None:
        pass


class Echo(ringroom.Processor):
    """Sends each frame back at once, with its age at the moment it came to the worker."""

    mode = "live"

    def process(self, frame: Frame) -> Frame | None:
        now = time.monotonic_ns()
        assert isinstance(frame, AudioFrame)
        samples = bytearray(frame.data)
        sent, _ = _STAMP.unpack_from(samples)
        _STAMP.pack_into(samples, 0, sent, now - sent)
        return AudioFrame(bytes(samples), frame.sample_rate, frame.channels, track=frame.track)
