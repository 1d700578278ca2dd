"""Sound for the demo: voices without a recording, and the mix that is written at the end.

Pure functions of their arguments; the same result every time.
"""

from __future__ import annotations

import wave
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ringroom.checks import Samples
from ringroom.errors import ConfigurationError, FrameError
from ringroom.frames import AudioFrame
from ringroom.testing.sources import read_wav

__all__ = [
    "RATE",
    "Heard",
    "check_writable",
    "chord",
    "longest_silence",
    "mixed",
    "read_speech",
    "voice",
    "voices",
    "write_wav",
]

RATE = 16_000
# The first two formants of some vowels, in Hz.
_VOWELS = ((730, 1090), (530, 1840), (390, 1990), (570, 840), (440, 1020), (300, 870))
_PITCHES = (112.0, 186.0, 141.0, 223.0)


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What the room heard of one track: pieces of sound and when each began (monotonic ns)."""

    track: str
    sample_rate: int
    pieces: tuple[tuple[int, Samples], ...]
    longest_gap: float
    """Seconds without sound that should have had some."""

    @property
    def seconds(self) -> float:
        return sum(len(samples) for _, samples in self.pieces) / max(1, self.sample_rate)


def voices(count: int, seconds: float, wav: Path | None) -> list[AudioFrame]:
    """What the participants say: synthesised, or the WAV file, each beginning elsewhere in it.

    Raises `ConfigurationError` for a file that is not 16-bit PCM WAV.
    """
    if wav is None:
        return [
            AudioFrame(voice(seconds, _PITCHES[n % len(_PITCHES)], n), RATE) for n in range(count)
        ]
    sound = read_speech(wav)
    wanted = round(seconds * sound.sample_rate)
    frames = []
    for number in range(count):
        turned = np.roll(sound.samples, -len(sound.samples) * number // count, axis=0)
        repeated = np.resize(turned, (wanted, sound.channels))
        frames.append(sound.replace(samples=repeated))
    return frames


def read_speech(wav: Path) -> AudioFrame:
    """Raises `ConfigurationError` for a file that is not 16-bit PCM WAV."""
    try:
        return read_wav(wav)
    except OSError as error:
        raise ConfigurationError(f"{wav}: cannot be read ({error.strerror})") from None
    except (EOFError, wave.Error, FrameError) as error:
        raise ConfigurationError(f"no 16-bit PCM WAV file: {error}") from None


def voice(seconds: float, pitch: float, seed: int) -> Samples:
    """Somebody who says nothing in particular: voiced syllables, hiss between them, pauses."""
    random = np.random.default_rng(seed)
    total = round(seconds * RATE)
    sound = np.zeros(total)
    position = int(random.integers(0, RATE // 4))
    while position < total:
        syllables = int(random.integers(3, 8))
        for _ in range(syllables):
            syllable = _syllable(random, pitch * random.uniform(0.88, 1.15))
            end = min(total, position + len(syllable))
            if end > position:
                sound[position:end] += syllable[: end - position]
            position += len(syllable)
        position += int(random.uniform(0.15, 0.5) * RATE)
    return _as_samples(0.5 * sound)


def _syllable(random: np.random.Generator, pitch: float) -> NDArray[np.float64]:
    hiss = random.normal(0.0, 0.08, int(random.uniform(0.03, 0.08) * RATE))
    hiss = np.diff(hiss, prepend=0.0) * np.hanning(len(hiss))
    length = int(random.uniform(0.11, 0.24) * RATE)
    time = np.arange(length) / RATE
    # The voice falls a little in each syllable.
    phase = 2 * np.pi * pitch * (time - 0.25 * time**2)
    first, second = _VOWELS[int(random.integers(len(_VOWELS)))]
    vowel = np.zeros(length)
    for harmonic in range(1, int(4_000 / pitch)):
        frequency = harmonic * pitch
        loudness = np.exp(-(((frequency - first) / 120) ** 2))
        loudness += 0.5 * np.exp(-(((frequency - second) / 180) ** 2)) + 0.04
        vowel += loudness * np.sin(harmonic * phase)
    envelope = np.minimum(1.0, np.minimum(time * 40, (time[-1] - time) * 25))
    return np.concatenate([hiss, 0.45 * vowel * envelope])


def chord(seconds: float) -> Samples:
    """A soft chord without a pause: in it the shortest hole can be heard."""
    time = np.arange(round(seconds * RATE)) / RATE
    tones = [np.sin(2 * np.pi * frequency * time) for frequency in (220.0, 277.2, 329.6)]
    return _as_samples(0.05 * np.sum(tones, axis=0))


def longest_silence(samples: Samples, sample_rate: int, level: int = 100) -> float:
    """The longest stretch, in seconds, between two samples that reach ``level``."""
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)).max(axis=1) >= level)
    return 0.0 if len(loud) < 2 else float(np.diff(loud).max() - 1) / sample_rate


def mixed(heard: Iterable[Heard]) -> Samples:
    """All tracks on one time line, mono, at `RATE`; what would clip is scaled down."""
    placed: list[tuple[int, NDArray[np.float64]]] = []
    begin = min((at for track in heard for at, _ in track.pieces[:1]), default=0)
    for track in heard:
        for at, samples in track.pieces:
            mono = samples.mean(axis=1)
            if track.sample_rate != RATE:
                count = round(len(mono) * RATE / track.sample_rate)
                mono = np.interp(np.linspace(0, len(mono), count), np.arange(len(mono)), mono)
            placed.append((round((at - begin) * RATE / 1e9), mono))
    mix = np.zeros(max((start + len(mono) for start, mono in placed), default=0))
    for start, mono in placed:
        mix[start : start + len(mono)] += mono
    peak = float(np.abs(mix).max(initial=0.0)) / 32767
    return _as_samples(mix / 32767 / max(1.0, peak))


def check_writable(path: Path) -> None:
    """Before the work rather than after it. Raises `ConfigurationError`."""
    try:
        path.open("ab").close()
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written ({error.strerror})") from None


def write_wav(path: Path, samples: Samples) -> None:
    """Raises `ConfigurationError` when the file cannot be written."""
    try:
        with path.open("wb") as stream, wave.open(stream, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes(samples.astype("<i2", copy=False).tobytes())
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written ({error.strerror})") from None


def _as_samples(sound: NDArray[np.float64]) -> Samples:
    return np.rint(np.clip(sound, -1.0, 1.0) * 32767).astype(np.int16)[:, None]
