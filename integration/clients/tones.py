"""Sounds to send, and what was heard: tones as WAV and Ogg Opus files, their pitch and level.

Needs ``opusenc`` and ``opusdec`` (Debian: opus-tools) for the Opus files, and nothing else for the
rest.
"""

from __future__ import annotations

import subprocess
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["Heard", "decoded", "encoded", "heard", "sine", "write_wav"]

RATE = 48000
SILENCE = 0.001  # RMS of a block below which nothing is heard
BLOCK = 0.01  # seconds

Samples = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What one track sounded like."""

    frequency: float  # of the loudest part, in Hz
    level: float  # RMS, 1.0 is a square wave at full scale
    longest_gap: float  # of silence, in seconds
    seconds: float


def sine(frequency: float, seconds: float = 10.0, amplitude: float = 0.3) -> Samples:
    """``amplitude`` is the peak, so the level that is heard is ``amplitude / sqrt(2)``."""
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(int(seconds * RATE)) / RATE)


def write_wav(path: Path, samples: Samples) -> Path:
    """Mono from a one-dimensional array, stereo from one of shape (samples, 2)."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.ndim)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())
    return path


def encoded(path: Path, samples: Samples) -> Path:
    """An Ogg Opus file as go/publish.go wants it: one packet of 20 ms in each page."""
    wav = write_wav(path.with_suffix(".wav"), samples)
    command = ["opusenc", "--quiet", "--framesize", "20", "--max-delay", "20", "--bitrate", "64"]
    subprocess.run([*command, wav, path], check=True, capture_output=True)
    return path


def decoded(path: Path | str) -> Samples:
    """One channel of an Ogg Opus file, at 48 kHz."""
    command = ["opusdec", "--quiet", "--rate", str(RATE), "--force-wav", path, "-"]
    output = subprocess.run(command, check=True, capture_output=True).stdout
    # A WAV file that was written to a pipe has no length in its header: skip to the samples.
    body = output[output.index(b"data") + 8 :]
    channels = int.from_bytes(output[22:24], "little")
    samples = np.frombuffer(body[: len(body) // (2 * channels) * 2 * channels], "<i2")
    return samples.reshape(-1, channels)[:, 0] / 32768


def heard(samples: Samples, rate: int = RATE) -> Heard:
    """Judges a piece of sound; the ends, where it fades in and out, should be cut off before."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    spectrum[0] = 0
    block = int(rate * BLOCK)
    blocks = samples[: len(samples) // block * block].reshape(-1, block)
    silent = np.sqrt((blocks**2).mean(axis=1)) < SILENCE
    longest = run = 0
    for quiet in silent:
        run = run + 1 if quiet else 0
        longest = max(longest, run)
    return Heard(
        frequency=float(spectrum.argmax() * rate / len(samples)),
        level=float(np.sqrt((samples**2).mean())),
        longest_gap=longest * BLOCK,
        seconds=len(samples) / rate,
    )
