"""Whatever is spoken arrives, in frames of the length that was asked for."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ringroom.frames import AudioFrame
from ringroom.providers.fake.conversion import FrameCutter
from ringroom.testing import sources


@given(
    st.lists(st.integers(1, 2_000), min_size=1, max_size=8),
    st.sampled_from([8_000, 16_000, 44_100]),
    st.integers(1, 2),
    st.sampled_from([10, 20, 60]),
)
def test_the_same_form_passes_sample_for_sample(
    lengths: list[int], rate: int, channels: int, frame_ms: int
) -> None:
    spoken = sources.noise(sum(lengths) / rate, rate, channels, seed=1)
    cutter = FrameCutter(rate, channels, frame_ms)
    frames = []
    start = 0
    for length in lengths:
        piece = spoken[start : start + length]
        frames += [*cutter.push(AudioFrame(piece, rate))]
        start += length
    frames += [*cutter.pause()]
    assert {frame.shape for frame in frames} == {(rate * frame_ms // 1000, channels)}
    heard = np.concatenate(frames)
    assert np.array_equal(heard[: len(spoken)], spoken)
    assert not heard[len(spoken) :].any()
    assert len(heard) - len(spoken) < rate * frame_ms // 1000


@given(
    st.sampled_from([8_000, 16_000, 44_100, 48_000]),
    st.sampled_from([8_000, 16_000, 24_000, 48_000]),
    st.integers(1, 2),
    st.integers(1, 2),
)
def test_another_form_keeps_pitch_level_and_length(
    source: int, wanted: int, source_channels: int, channels: int
) -> None:
    spoken = sources.tone(440, 0.5, source, source_channels, level=0.5)
    cutter = FrameCutter(wanted, channels, 20)
    frames = []
    for start in range(0, len(spoken), source // 50):
        frames += [*cutter.push(AudioFrame(spoken[start : start + source // 50], source))]
    frames += [*cutter.pause()]
    heard = np.concatenate(frames)
    assert heard.shape == (wanted // 2, channels) or len(heard) == wanted // 2 + wanted // 50
    spectrum = np.abs(np.fft.rfft(heard[: wanted // 2, 0] / 32767))
    assert np.argmax(spectrum) * 2 == 440
    assert np.isclose(2 * np.max(spectrum) / (wanted // 2), 0.5, atol=0.02)


def test_stereo_is_mixed_to_its_mean_and_mono_goes_to_both_sides() -> None:
    cutter = FrameCutter(8_000, 1, 10)
    stereo = np.tile(np.array([[100, 300]], np.int16), (80, 1))
    assert [frame.tolist() for frame in cutter.push(AudioFrame(stereo, 8_000))] == [[[200]] * 80]
    cutter = FrameCutter(8_000, 2, 10)
    mono = np.full((80, 1), 7, np.int16)
    assert [frame.tolist() for frame in cutter.push(AudioFrame(mono, 8_000))] == [[[7, 7]] * 80]


def test_a_change_of_rate_loses_nothing() -> None:
    cutter = FrameCutter(16_000, 1, 10)
    frames = [*cutter.push(AudioFrame(sources.tone(300, 0.1, 48_000), 48_000))]
    frames += [*cutter.push(AudioFrame(sources.tone(300, 0.1, 8_000), 8_000))]
    frames += [*cutter.pause()]
    assert len(np.concatenate(frames)) in (3_200, 3_360)
