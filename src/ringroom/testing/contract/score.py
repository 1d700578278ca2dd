"""Sound in numbered pieces, and the numbers read back from what arrived.

Without loss each piece is noise of its own, found again byte for byte. Through a codec each is a
tone of its own, found again by its pitch. The last piece only marks the end: when it is heard,
all that came before has come, or never will.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ringroom.checks import Samples
from ringroom.frames import AudioFrame
from ringroom.testing import sources
from ringroom.testing.contract.subject import Capabilities

__all__ = [
    "FOREIGN",
    "MANY",
    "RATE",
    "Score",
    "disordered",
    "level",
    "missing",
    "pitch",
    "repeated",
    "tone_seconds",
]

RATE = 16_000
MANY = 50
"""Pieces of a score in which rare losses and repetitions show."""
FOREIGN = -1
"""What belongs to no piece."""
NOISE_SECONDS, TONE_SECONDS, WINDOW_SECONDS = 0.02, 0.24, 0.04
LOWEST, STEP, NEAR = 400.0, 175.0, 40.0
AUDIBLE = 0.02


def tone_seconds(capabilities: Capabilities) -> tuple[float, float]:
    """How many seconds a tone is said, and how many must be heard to be judged. A codec begins late
    and a network loses some, so with them much less is heard than was said."""
    return (0.3, 0.25) if capabilities.lossless_audio else (1.2, 0.55)


class Score:
    """``count`` pieces, and one that marks the end; scores of other seeds have other pieces."""

    def __init__(
        self, capabilities: Capabilities, count: int = 6, *, seed: int = 0, rate: int = RATE
    ) -> None:
        self.lossless = capabilities.lossless_audio
        # There are few tones whose pitches are far enough apart.
        self.count = count if self.lossless else min(count, 5)
        self.rate = rate
        self._seed = seed
        self._pieces = [self._piece(number) for number in range(self.count + 1)]

    def _piece(self, number: int) -> Samples:
        if self.lossless:
            return sources.noise(NOISE_SECONDS, self.rate, seed=1_000 * self._seed + number + 1)
        return sources.tone(self._frequency(number), TONE_SECONDS, self.rate)

    def _frequency(self, number: int) -> float:
        return LOWEST + STEP * (number + 6 * self._seed)

    @property
    def samples(self) -> Samples:
        return np.concatenate(self._pieces)

    @property
    def frame(self) -> AudioFrame:
        """All of it, to say or to send."""
        return AudioFrame(self.samples, self.rate)

    @property
    def parts(self) -> list[AudioFrame]:
        """What to say, one after the other: the whole, or, of `MANY`, single pieces, so that a loss
        of few messages in many meets one. Tones stay whole, for a codec makes seams audible."""
        apart = self.lossless and self.count == MANY
        return [self.piece(n) for n in range(self.count + 1)] if apart else [self.frame]

    def piece(self, number: int) -> AudioFrame:
        return AudioFrame(self._pieces[number], self.rate)

    @property
    def end(self) -> int:
        """The number of the last piece."""
        return self.count

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate

    def read(self, samples: Samples, rate: int) -> list[int]:
        """The numbers of the pieces in the order in which they are in that sound."""
        if not len(samples):
            return []
        if self.lossless:
            return self._read_bytes(samples)
        return self._read_pitches(samples[:, 0] / 32768.0, rate)

    def _read_bytes(self, samples: Samples) -> list[int]:
        raw = np.ascontiguousarray(samples[:, 0]).tobytes()
        known = {piece.tobytes(): number for number, piece in enumerate(self._pieces)}
        size = len(self._pieces[0]) * 2
        found: list[int] = []
        at = 0
        while at < len(raw):
            piece = raw[at : at + size]
            if (number := known.get(piece)) is not None:
                found.append(number)
                at += size
            elif any(piece):
                found.append(FOREIGN)
                at = min((p for head in known if (p := raw.find(head, at)) >= 0), default=len(raw))
            else:
                at += size
        return found

    def _read_pitches(self, sound: NDArray[np.float64], rate: int) -> list[int]:
        size = int(rate * WINDOW_SECONDS)
        windows = [
            self._number(sound[at : at + size], rate)
            for at in range(0, len(sound) - size + 1, size)
        ]
        # One window alone is the seam between two tones.
        runs = [(number, len([*run])) for number, run in itertools.groupby(windows)]
        steady = [number for number, length in runs if length > 1 and number is not None]
        return [number for number, _ in itertools.groupby(steady)]

    def _number(self, window: NDArray[np.float64], rate: int) -> int | None:
        if level(window) < AUDIBLE:
            return None
        frequency = pitch(window, rate)
        for number in range(self.count + 1):
            if abs(frequency - self._frequency(number)) < NEAR:
                return number
        return FOREIGN


def pitch(sound: NDArray[np.float64], rate: int) -> float:
    """The frequency of the loudest part, in Hz."""
    padded = max(len(sound), rate // 4)
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), padded))
    spectrum[: max(1, 60 * padded // rate)] = 0
    return float(spectrum.argmax() * rate / padded)


def level(sound: NDArray[np.float64]) -> float:
    """RMS; 1 is a square wave at full scale."""
    return float(np.sqrt(np.mean(np.square(sound)))) if len(sound) else 0.0


def missing(numbers: Sequence[int], score: Score) -> list[int]:
    return [number for number in range(score.count) if number not in numbers]


def repeated(numbers: Sequence[int]) -> list[int]:
    return sorted({n for n in numbers if n != FOREIGN and numbers.count(n) > 1})


def disordered(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of neighbours of which the later comes first."""
    known = [number for number in numbers if number != FOREIGN]
    return [(a, b) for a, b in itertools.pairwise(known) if a > b]
