"""Sound as a track speaks it -> frames as the application asked for them.

What LiveKit's native stream does: mix to the wanted channels, resample, and cut into frames of
equal length. Sound that is already in the wanted form passes unchanged, sample for sample.

Invariant: a pause lets out all that was held back, its last frame padded with silence, so whatever
was spoken arrives.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ringroom.checks import Samples
from ringroom.frames import AudioFrame
from ringroom.resampling import TrackResampler

__all__ = ["FrameCutter"]


class FrameCutter:
    """One track's sound. Frames come out as int16 arrays of shape (frame length, channels)."""

    def __init__(self, sample_rate: int, channels: int, frame_ms: int) -> None:
        self._resampler = TrackResampler(sample_rate, channels)
        self._length = sample_rate * frame_ms // 1000
        self._held = np.zeros((0, channels), np.int16)

    def push(self, frame: AudioFrame) -> Iterator[Samples]:
        """Frames that are complete with this one, whatever its rate and channels."""
        return self._cut(self._resampler.convert(frame))

    def pause(self) -> Iterator[Samples]:
        """What is held back, in whole frames."""
        yield from self._cut(self._resampler.tail())
        if len(self._held):
            missing = self._length - len(self._held)
            yield from self._cut(np.zeros((missing, self._resampler.channels), np.int16))

    def _cut(self, samples: Samples) -> Iterator[Samples]:
        held = np.concatenate((self._held, samples)) if len(self._held) else samples
        whole = len(held) - len(held) % self._length
        self._held = held[whole:]
        for start in range(0, whole, self._length):
            yield held[start : start + self._length]
