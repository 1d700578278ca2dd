"""Sound and pictures to put into a room: tones, noise, WAV files, a moving test picture.

Pure functions, the same result every time.
"""

from __future__ import annotations

import io
import itertools
import os
import struct
import wave
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ringroom.checks import Samples, as_number, check_channels, check_length, check_rate
from ringroom.colour import i420_size, planes
from ringroom.errors import FrameError
from ringroom.frames import AudioFrame, VideoFrame

__all__ = [
    "noise",
    "open_wav",
    "picture",
    "picture_number",
    "read_wav",
    "silence",
    "tone",
    "wav_frame",
]

_TAG = struct.Struct("<H")
_IS_EXTENDED = 0xFFFE
# What a plain format says too: the tag, and channels, rates and sizes; then the length of what
# follows, the bits that count, where each channel belongs, and the format itself.
_EXTENDED = struct.Struct("<H14s8s16s")
_PCM = bytes.fromhex("0100000000001000800000aa00389b71")
_NUMBER_BITS = 16
# Levels that survive video coding: far apart, and each bit is a block of many pixels.
_DARK, _BRIGHT = 40, 210


def tone(
    frequency: float, seconds: float, sample_rate: int, channels: int = 1, *, level: float = 0.5
) -> Samples:
    """A sine of ``frequency`` Hz with peak ``level`` (1 is full scale), starting at phase 0.

    int16 of shape (samples per channel, channels), the same in each channel.
    """
    count = _count(seconds, sample_rate)
    phase = 2 * np.pi * as_number("a frequency", frequency) * np.arange(count) / sample_rate
    return _spread(as_number("a level", level) * np.sin(phase), channels)


def silence(seconds: float, sample_rate: int, channels: int = 1) -> Samples:
    """Zeros, int16 of shape (samples per channel, channels)."""
    return np.zeros((_count(seconds, sample_rate), check_channels(channels)), np.int16)


def noise(
    seconds: float, sample_rate: int, channels: int = 1, *, seed: int = 0, level: float = 0.1
) -> Samples:
    """White noise, uniform within ``level``: no two pieces are alike, so order and loss show.

    int16 of shape (samples per channel, channels), the same in each channel.
    """
    generator = np.random.default_rng(seed)
    peak, count = as_number("a level", level), _count(seconds, sample_rate)
    return _spread(generator.uniform(-peak, peak, count), channels)


def read_wav(path: str | os.PathLike[str]) -> AudioFrame:
    """All of a WAV file of 16-bit PCM. Raises `FrameError` for another format."""
    with open_wav(path) as file:
        try:
            frame = wav_frame(file, file.getnframes())
        except FrameError as error:
            raise FrameError(f"{path}: {error}") from None
    if frame is None:
        raise FrameError(f"{path}: no sound in it")
    return frame


def open_wav(path: str | os.PathLike[str]) -> wave.Wave_read:
    """A WAV file of 16-bit PCM, for `wav_frame`. Raises `FrameError` for another format."""
    try:
        file = _WavFile(os.fsdecode(path))
    except (wave.Error, EOFError, RuntimeError) as error:
        raise FrameError(f"{path}: is no WAV file of PCM ({str(error) or 'cut off'})") from None
    if file.getsampwidth() != 2:
        file.close()
        raise FrameError(f"{path}: {8 * file.getsampwidth()}-bit samples, expected 16-bit PCM")
    return file


class _WavFile(wave.Wave_read):
    """Python 3.11 refuses PCM whose format is extended, as that of many files is. The method is one
    of the library's own: a version that calls it otherwise reads such files itself."""

    def _read_fmt_chunk(self, chunk: Any) -> None:
        described = chunk.read(_EXTENDED.size)
        if len(described) == _EXTENDED.size:
            tag, rest, _, subformat = _EXTENDED.unpack(described)
            if tag == _IS_EXTENDED and subformat == _PCM:
                described = _TAG.pack(wave.WAVE_FORMAT_PCM) + rest
        super()._read_fmt_chunk(io.BytesIO(described))  # type: ignore[misc]


def wav_frame(file: wave.Wave_read, count: int) -> AudioFrame | None:
    """The next ``count`` samples per channel, or those that are left; None at the end. Raises
    `FrameError` for a rate or channels that no frame has."""
    pcm = file.readframes(count)
    # A file that was cut off may end within a sample.
    pcm = pcm[: len(pcm) - len(pcm) % (file.getsampwidth() * file.getnchannels())]
    return AudioFrame(pcm, file.getframerate(), file.getnchannels()) if pcm else None


def picture(number: int, width: int, height: int) -> VideoFrame:
    """The test picture: a gradient that moves with ``number``, which is written into its top.

    Read it back with `picture_number`. Sides of at least 32 pixels, ``number`` below 65,536.
    """
    data = np.empty(i420_size(width, height), np.uint8)
    luma, blue, red = planes(data, width, height)
    # Each row is the one above it, moved by a pixel: to copy costs a fortieth of computing it.
    line = (16 + (np.arange(height + width - 1) + 3 * number) % 220).astype(np.uint8)
    luma[:] = sliding_window_view(line, width)
    blue[:] = 64 + number % 128
    red[:] = 192 - number % 128
    for bit, block in enumerate(_number_blocks(luma)):
        block[:] = _BRIGHT if number >> bit & 1 else _DARK
    return VideoFrame(data, width, height)


def picture_number(frame: VideoFrame) -> int:
    """Which test picture this is, also after lossy coding at the same aspect ratio."""
    luma = frame.planes()[0]
    threshold = (_DARK + _BRIGHT) / 2
    return sum(
        1 << bit for bit, block in enumerate(_number_blocks(luma)) if np.mean(block) > threshold
    )


def _number_blocks(luma: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    height, width = luma.shape
    top = luma[: max(2, height // 8)]
    edges = [width * bit // _NUMBER_BITS for bit in range(_NUMBER_BITS + 1)]
    return [top[:, left:right] for left, right in itertools.pairwise(edges)]


def _count(seconds: float, sample_rate: int) -> int:
    """Of samples. Raises `FrameError` for a length that no frame has."""
    count = round(as_number("seconds", seconds) * check_rate(sample_rate))
    if count < 0:
        raise FrameError(f"{seconds} seconds of sound, expected 0 and more")
    check_length(count)
    return count


def _spread(wave_form: NDArray[np.float64], channels: int) -> Samples:
    mono = np.rint(np.clip(wave_form, -1.0, 1.0) * 32767.0).astype(np.int16)
    return np.repeat(mono[:, None], check_channels(channels), axis=1)
