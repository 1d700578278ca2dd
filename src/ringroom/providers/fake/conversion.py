"""Sound as a track speaks it -> frames as the application asked for them.

What LiveKit's native stream does: mix to the wanted channels, resample, and cut into frames of
equal length. Sound that is already in the wanted form passes unchanged, sample for sample.

Invariant: a pause lets out all that was held back, its last frame padded with silence, so whatever
was spoken arrives.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import soxr

from ringroom.frames import Samples

__all__ = ["FrameCutter"]

# 16-bit quality; the better ones hold back 30 ms and more.
_QUALITY = "LQ"


class FrameCutter:
    """One track's sound. Frames come out as int16 arrays of shape (frame length, channels)."""

    def __init__(self, sample_rate: int, channels: int, frame_ms: int) -> None:
        self._sample_rate = sample_rate
        self._channels = channels
        self._length = sample_rate * frame_ms // 1000
        self._held = np.zeros((0, channels), np.int16)
        self._resampler: soxr.ResampleStream | None = None
        self._source_rate = sample_rate

    def push(self, samples: Samples, sample_rate: int) -> Iterator[Samples]:
        """Frames that are complete with these samples, of shape (n, channels)."""
        if sample_rate != self._source_rate:
            yield from self._cut(self._drained())
            self._source_rate = sample_rate
        mixed = _mixed(samples, self._channels)
        if sample_rate != self._sample_rate:
            if self._resampler is None:
                self._resampler = soxr.ResampleStream(
                    sample_rate, self._sample_rate, self._channels, "int16", _QUALITY
                )
            mixed = self._resampler.resample_chunk(mixed)
        yield from self._cut(mixed)

    def pause(self) -> Iterator[Samples]:
        """What is held back, in whole frames."""
        yield from self._cut(self._drained())
        if len(self._held):
            missing = self._length - len(self._held)
            yield from self._cut(np.zeros((missing, self._channels), np.int16))

    def _drained(self) -> Samples:
        nothing = np.zeros((0, self._channels), np.int16)
        if self._resampler is None:
            return nothing
        tail: Samples = self._resampler.resample_chunk(nothing, last=True)
        self._resampler = None
        return tail

    def _cut(self, samples: Samples) -> Iterator[Samples]:
        held = np.concatenate((self._held, samples)) if len(self._held) else samples
        whole = len(held) - len(held) % self._length
        self._held = held[whole:]
        for start in range(0, whole, self._length):
            yield held[start : start + self._length]


def _mixed(samples: Samples, channels: int) -> Samples:
    if samples.shape[1] == channels:
        return samples
    if channels == 1:
        mono: Samples = np.rint(samples.mean(axis=1, keepdims=True)).astype(np.int16)
        return mono
    return np.repeat(samples, channels, axis=1)
