"""What is put into a room: of the right length and level, the same every time."""

from __future__ import annotations

import struct
import uuid
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroom.errors import FrameError
from ringroom.testing import sources


def test_a_tone_has_its_pitch_and_level() -> None:
    tone = sources.tone(440, 1.0, 16_000, 2, level=0.25)
    assert tone.shape == (16_000, 2)
    assert np.array_equal(tone[:, 0], tone[:, 1])
    spectrum = np.abs(np.fft.rfft(tone[:, 0]))
    assert np.argmax(spectrum) == 440
    assert abs(int(np.max(tone)) - 0.25 * 32_767) < 40


def test_noise_is_the_same_for_the_same_seed() -> None:
    one = sources.noise(0.1, 48_000, seed=1, level=0.5)
    assert np.array_equal(one, sources.noise(0.1, 48_000, seed=1, level=0.5))
    assert not np.array_equal(one, sources.noise(0.1, 48_000, seed=2, level=0.5))
    assert np.max(np.abs(one)) <= 0.5 * 32_767 + 1


def test_silence_is_silent() -> None:
    assert sources.silence(0.5, 8_000, 2).shape == (4_000, 2)
    assert not sources.silence(0.5, 8_000).any()


def _write_wav(path: Path, width: int, pcm: bytes) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((2, width, 22_050, 0, "NONE", ""))
        file.writeframes(pcm)


def test_a_wav_file_is_read_whole(tmp_path: Path) -> None:
    sound = sources.noise(0.1, 22_050, 2)
    _write_wav(tmp_path / "a.wav", 2, sound.astype("<i2").tobytes())
    frame = sources.read_wav(tmp_path / "a.wav")
    assert (frame.sample_rate, frame.channels) == (22_050, 2)
    assert np.array_equal(frame.samples, sound)


def test_another_wav_format_is_refused(tmp_path: Path) -> None:
    _write_wav(tmp_path / "a.wav", 1, bytes(10))
    with pytest.raises(FrameError, match="8-bit samples, expected 16-bit"):
        sources.read_wav(tmp_path / "a.wav")


def _chunk(name: bytes, content: bytes, more: int = 0) -> bytes:
    """It says that it has ``more`` bytes than it has."""
    return name + struct.pack("<L", len(content) + more) + content


def _extended(subformat: str, pcm: bytes) -> bytes:
    """A file of two channels whose format is extended."""
    plain = struct.pack("<HHLLHH", 0xFFFE, 2, 22_050, 88_200, 4, 16)
    rest = struct.pack("<HHL", 22, 16, 3) + uuid.UUID(subformat).bytes_le
    chunks = _chunk(b"fmt ", plain + rest + b"more") + _chunk(b"data", pcm)
    return _chunk(b"RIFF", b"WAVE" + chunks)


def test_pcm_in_the_extended_format_is_read(tmp_path: Path) -> None:
    """As many programs write files of two channels; Python 3.11 refuses them."""
    sound = sources.noise(0.1, 22_050, 2)
    pcm = sound.astype("<i2").tobytes()
    file = tmp_path / "a.wav"
    file.write_bytes(_extended("00000001-0000-0010-8000-00aa00389b71", pcm))
    assert np.array_equal(sources.read_wav(file).samples, sound)
    file.write_bytes(_extended("00000003-0000-0010-8000-00aa00389b71", pcm))  # floats
    with pytest.raises(FrameError, match="is no WAV file of PCM"):
        sources.read_wav(file)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    """Whose parts are longer than the whole."""
    damaged = _chunk(b"RIFF", b"WAVE" + _chunk(b"LIST", bytes(10), more=1_000))
    (tmp_path / "a.wav").write_bytes(damaged)
    with pytest.raises(FrameError, match="is no WAV file of PCM"):
        sources.read_wav(tmp_path / "a.wav")


@given(st.integers(0, 65_535), st.integers(32, 200), st.integers(32, 100))
def test_the_number_of_a_test_picture_can_be_read(number: int, width: int, height: int) -> None:
    assert sources.picture_number(sources.picture(number, width, height)) == number


def test_the_test_picture_moves() -> None:
    one, other = sources.picture(1, 64, 64), sources.picture(2, 64, 64)
    assert not np.array_equal(one.data, other.data)
