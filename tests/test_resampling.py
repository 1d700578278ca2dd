"""Any sound to one track's form: no sample lost, no matter how it is cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app_kit import noise, same
from ringroom.frames import AudioFrame, Samples
from ringroom.resampling import TrackResampler
from ringroom.testing import sources

RATES = st.sampled_from([8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])


def through(resampler: TrackResampler, frames: list[AudioFrame]) -> Samples:
    parts = [resampler.convert(frame) for frame in frames]
    return np.concatenate([*parts, resampler.tail()])


def cut(samples: Samples, rate: int, lengths: list[int]) -> list[AudioFrame]:
    frames, start = [], 0
    for length in lengths:
        if start < len(samples):
            frames.append(AudioFrame(samples[start : start + length], rate))
        start += length
    if start < len(samples):
        frames.append(AudioFrame(samples[start:], rate))
    return frames


@settings(max_examples=60, deadline=None)
@given(
    source=RATES,
    target=RATES,
    channels=st.integers(1, 2),
    lengths=st.lists(st.integers(1, 3_000), max_size=12),
    seed=st.integers(0, 5),
)
def test_any_cutting_gives_the_same_sound(
    source: int, target: int, channels: int, lengths: list[int], seed: int
) -> None:
    samples = noise(0.25, seed, channels, source)
    whole = through(TrackResampler(target, channels), [AudioFrame(samples, source)])
    pieces = through(TrackResampler(target, channels), cut(samples, source, lengths))
    assert abs(len(whole) - 0.25 * target) <= 2
    assert whole.shape == pieces.shape
    # soxr dithers what it rounds: at most the last bit differs.
    assert np.abs(whole.astype(int) - pieces).max(initial=0) <= 2


@settings(max_examples=40, deadline=None)
@given(
    target=st.sampled_from([8_000, 16_000, 48_000]),
    channels=st.integers(1, 2),
    frames=st.lists(
        st.tuples(RATES, st.integers(1, 2), st.integers(10, 100)), min_size=1, max_size=8
    ),
)
def test_no_sound_is_lost_when_forms_change(
    target: int, channels: int, frames: list[tuple[int, int, int]]
) -> None:
    sounds = [AudioFrame(noise(ms / 1000, ms, there, rate), rate) for rate, there, ms in frames]
    got = through(TrackResampler(target, channels), sounds)
    seconds = sum(sound.duration for sound in sounds)
    assert got.dtype == np.int16
    assert got.shape[1] == channels
    # Each stretch of one rate is rounded to whole samples on its own.
    assert abs(len(got) - seconds * target) <= 2 * len(frames)


@settings(max_examples=100, deadline=None)
@given(
    target=RATES,
    frames=st.lists(st.tuples(RATES, st.integers(1, 20_000)), min_size=1, max_size=8),
)
def test_it_gives_no_more_than_it_says(target: int, frames: list[tuple[int, int]]) -> None:
    resampler = TrackResampler(target, 1)
    for rate, length in frames:
        frame = AudioFrame(np.ones(length, np.int16), rate)
        most = resampler.most(frame)
        assert len(resampler.convert(frame)) <= most
        if rate == target:
            assert length <= most <= length + target  # with what the filter held


def test_the_same_form_passes_untouched() -> None:
    samples = noise(0.1, channels=2)
    resampler = TrackResampler(16_000, 2)
    assert same(resampler.convert(AudioFrame(samples, 16_000)), samples)
    assert len(resampler.tail()) == 0


def test_mono_and_stereo() -> None:
    left_right = np.array([[100, 200], [101, 102], [32767, 32767], [-32768, -32768]], np.int16)
    mono = TrackResampler(16_000, 1).convert(AudioFrame(left_right, 16_000))
    assert mono.ravel().tolist() == [150, 102, 32767, -32768]
    both = TrackResampler(16_000, 2).convert(AudioFrame(mono, 16_000))
    assert same(both[:, 0], both[:, 1])


@pytest.mark.parametrize("target", [16_000, 48_000])
def test_a_tone_stays_the_tone(target: int) -> None:
    frames = cut(sources.tone(1_000, 0.5, 44_100), 44_100, [441] * 50)
    got = through(TrackResampler(target, 1), frames).ravel().astype(float)
    spectrum = np.abs(np.fft.rfft(got * np.hanning(len(got))))
    peak = int(spectrum.argmax()) * target / len(got)
    assert peak == pytest.approx(1_000, abs=5)
    near = slice(int(spectrum.argmax()) - 5, int(spectrum.argmax()) + 6)
    assert np.square(spectrum[near]).sum() > 0.999 * np.square(spectrum).sum()


def test_after_the_tail_it_starts_afresh() -> None:
    resampler = TrackResampler(16_000, 1)
    frames = [AudioFrame(noise(0.1, 1, rate=48_000), 48_000)]
    first, second = through(resampler, frames), through(resampler, frames)
    assert np.abs(first.astype(int) - second).max() <= 2


def test_what_the_filter_holds_comes_before_sound_that_needs_none() -> None:
    resampler = TrackResampler(16_000, 1)
    first = resampler.convert(AudioFrame(noise(0.1, 1, rate=48_000), 48_000))
    plain = noise(0.02, 2)
    second = resampler.convert(AudioFrame(plain, 16_000))
    assert same(second[-len(plain) :], plain)
    assert len(first) + len(second) == pytest.approx(1_600 + len(plain), abs=2)
    assert len(resampler.tail()) == 0


@pytest.mark.parametrize(
    ("source", "target"), [(24_000, 16_000), (48_000, 16_000), (8_000, 48_000)]
)
def test_every_frame_gives_as_much_as_it_has(source: int, target: int) -> None:
    """But for the filter's delay, once: sound that is played as it comes waits for no block."""
    resampler, samples = TrackResampler(target, 1), noise(1.0, 1, 1, source)
    given = [len(resampler.convert(frame)) for frame in cut(samples, source, [source // 50] * 50)]
    whole = target // 50
    assert [abs(count - whole) <= 1 for count in given[3:]] == [True] * 47
    assert sum(given[:3]) >= 1.5 * whole
