"""What a track has still to write: nothing is missing, and nothing is made before its turn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app_kit import RATE, noise, same, sound
from ringroom.frames import AudioFrame, DataFrame, Samples
from ringroom.resampling import TrackResampler
from ringroom.sessions.unsent import Unsent

RATES = st.sampled_from([8_000, 11_025, 16_000, 44_100, 48_000])


def unsent(rate: int = RATE, channels: int = 1) -> Unsent:
    made = Unsent("x")
    made.resampler = TrackResampler(rate, channels)
    return made


def written(queue: Unsent) -> list[Samples]:
    """All of it."""
    pieces = []
    while (piece := queue.first()) is not None:
        assert queue.first() is piece, "until it is written"
        assert isinstance(piece, AudioFrame)
        assert piece.track == "x"
        pieces.append(piece.samples)
        queue.written()
    assert len(queue) == 0
    assert queue.seconds == 0.0
    return pieces


@settings(max_examples=40, deadline=None)
@given(
    target=RATES,
    frames=st.lists(
        st.tuples(RATES, st.integers(1, 2), st.integers(1, 700)), min_size=1, max_size=5
    ),
)
def test_cut_as_it_is_written_it_is_the_same_sound(
    target: int, frames: list[tuple[int, int, int]]
) -> None:
    sounds = [AudioFrame(noise(ms / 1000, ms, there, rate), rate) for rate, there, ms in frames]
    at_once = TrackResampler(target, 1)
    whole = np.concatenate([*(at_once.convert(sound) for sound in sounds), at_once.tail()])
    queue = unsent(target)
    pieces = []
    for each in sounds:
        queue.put(each)
        cut = written(queue)
        assert all(len(piece) == target // 10 for piece in cut[:-1])
        assert all(0 < len(piece) <= target // 10 for piece in cut)
        pieces += cut
    assert queue.resampler is not None
    got = np.concatenate([*pieces, queue.resampler.tail()])
    assert got.shape == whole.shape
    # soxr dithers what it rounds: at most the last bit differs.
    assert np.abs(whole.astype(int) - got).max(initial=0) <= 2


def test_a_piece_is_made_when_its_turn_has_come() -> None:
    queue = unsent()
    queue.put(sound(60.0, rate=48_000))
    assert len(queue) == 600
    while queue.first() is None:
        pass
    assert len(queue) > 590
    assert len(queue._pieces) < 3, "the others are not made yet"
    assert queue.seconds == pytest.approx(60, abs=0.1)
    queue.clear()
    assert len(queue) == 0
    assert queue.seconds == 0.0
    fresh = noise(0.1, 1)
    queue.put(AudioFrame(fresh, RATE))
    assert same(np.concatenate(written(queue))[-len(fresh) :], fresh)


def test_sound_of_the_tracks_form_is_not_copied() -> None:
    queue, frame = unsent(), sound(0.55)
    queue.put(frame, DataFrame(b"x"))
    assert len(queue) == 7
    for left in range(6, 0, -1):
        piece = queue.first()
        assert isinstance(piece, AudioFrame)
        assert np.shares_memory(piece.samples, frame.samples)
        assert queue.seconds == pytest.approx(max(0.05, left / 10 - 0.05))
        queue.written()
    assert queue.first() == DataFrame(b"x")
    assert queue.seconds == 0.0
