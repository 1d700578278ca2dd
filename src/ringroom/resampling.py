"""Any audio to one track's rate and channels, without clicks between frames.

One resampler for each outgoing track, so that no two sounds share a filter's history.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ringroom.checks import Samples
from ringroom.frames import AudioFrame

if TYPE_CHECKING:
    import soxr


class TrackResampler:
    """Turns frames of any rate and channels into the track's (soxr, streaming, high quality)."""

    def __init__(self, sample_rate: int, channels: int) -> None:
        self.sample_rate = sample_rate
        self.channels = channels
        self._from_rate = sample_rate
        self._stream: soxr.ResampleStream | None = None
        self._taken = self._given = 0
        """Samples that the stream has taken, and given."""

    def convert(self, frame: AudioFrame) -> Samples:
        """The frame's sound in the track's form; when rates differ the last 5 to 15 ms come with
        the next call (30 ms from or to 8 kHz: the filter's delay), and `tail` gives the rest."""
        samples = _mix(frame.samples, self.channels)
        if frame.sample_rate == self.sample_rate and self._stream is None:
            return samples
        if frame.sample_rate != self._from_rate or self._stream is None:
            rest = self.tail()
            converted = self._convert(samples, frame.sample_rate)
            return np.concatenate([rest, converted]) if len(rest) else converted
        return self._convert(samples, frame.sample_rate)

    def most(self, frame: AudioFrame) -> int:
        """How many samples `convert` would give at most. A stream gives no sample before it has all
        that the sample is made of, and at its end the rest, rounded up to a whole sample."""
        count, rate = len(frame.samples), self.sample_rate
        if frame.sample_rate == self._from_rate:
            return (self._taken + count) * rate // self._from_rate - self._given
        tail = -(-self._taken * rate // self._from_rate) - self._given
        return tail + count * rate // frame.sample_rate

    def _convert(self, samples: Samples, rate: int) -> Samples:
        if rate == self.sample_rate:
            return samples
        if self._stream is None:
            import soxr

            # A stream of variable rate, though the rate is fixed: any other filters in blocks of up
            # to 100 ms, and gives nothing for some frames and much for others.
            self._stream = soxr.ResampleStream(
                rate, self.sample_rate, self.channels, dtype="int16", vr=True
            )
            self._from_rate = rate
        converted: Samples = self._stream.resample_chunk(samples).reshape(-1, self.channels)
        self._taken += len(samples)
        self._given += len(converted)
        return converted

    def tail(self) -> Samples:
        """What the filter still holds; the next frame starts afresh."""
        stream, self._stream, self._from_rate = self._stream, None, self.sample_rate
        self._taken = self._given = 0
        if stream is None:
            return np.empty((0, self.channels), np.int16)
        rest: Samples = stream.resample_chunk(
            np.empty((0, self.channels), np.int16), last=True
        ).reshape(-1, self.channels)
        return rest


def _mix(samples: Samples, channels: int) -> Samples:
    """Mono to both sides, or both sides' mean to mono."""
    if samples.shape[1] == channels:
        return samples
    if channels == 2:
        return np.repeat(samples, 2, axis=1)
    mean: Samples = np.rint(samples.mean(axis=1, keepdims=True)).astype(np.int16)
    return mean
