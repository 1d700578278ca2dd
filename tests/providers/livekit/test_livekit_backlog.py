"""What waits between a sender and the native source, in a time of its own."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroom.providers.livekit.backlog import SHORTEST_PIECE, Backlog

RATE = 16_000
FRAME = 320
# Of the clock and of sums of its times, and half a sample.
SLACK = 1e-6 + 0.5 / RATE


def sound(count: int, start: int = 0) -> np.ndarray:
    return np.arange(start, start + count).astype(np.int16).reshape(-1, 1)


class Sender:
    """Always has more, and waits for room; what it sent and what came out."""

    def __init__(self, size: float, frames: list[int]) -> None:
        self.backlog = Backlog(RATE, size)
        self.now = 1_234.5
        self.size = size
        self._frames = itertools.cycle(frames)
        self.sent = 0
        self.pieces: list[np.ndarray] = []
        self.turns = 0

    def run(self, seconds: float) -> None:
        """Every wait is as long as it was said to be."""
        end = self.now + seconds
        while self.now < end:
            self.turns += 1
            while (wait := self.backlog.until_room(self.now)) == 0:
                count = next(self._frames)
                self.backlog.add(sound(count, self.sent))
                self.sent += count
            while (due := self.backlog.until_due(self.now)) == 0:
                self.hand_over()
            self.now += wait if due is None else min(wait, due)

    def hand_over(self) -> None:
        at_source = self.backlog.at_source(self.now)
        assert at_source > 0 or not self.pieces, "the source ran dry with a sender that has more"
        room = max(self.size - at_source, SHORTEST_PIECE)
        before = self.backlog.queued(self.now)
        self.pieces.append(self.backlog.take(self.now))
        assert 0 < len(self.pieces[-1]) / RATE <= room + SLACK
        assert self.backlog.queued(self.now) == pytest.approx(before, abs=1e-6)

    def handed_over(self) -> np.ndarray:
        return np.concatenate(self.pieces)


@pytest.mark.once
@given(
    queue_ms=st.integers(2, 100).map(lambda tens: tens * 10),
    frames=st.lists(st.integers(1, 5_000), min_size=1, max_size=20),
)
def test_all_comes_out_in_order_and_the_source_never_runs_dry(
    queue_ms: int, frames: list[int]
) -> None:
    sender = Sender(queue_ms / 1000, frames)
    sender.run(3.0)
    out = sender.handed_over()
    assert np.array_equal(out, sound(len(out)))
    waits = sender.backlog.queued(sender.now) - sender.backlog.at_source(sender.now)
    assert len(out) + round(waits * RATE) == sender.sent
    assert sender.backlog.queued(sender.now) <= sender.size + max(frames) / RATE + SLACK


def test_a_fast_sender_costs_few_pieces_and_few_turns() -> None:
    sender = Sender(0.2, [FRAME])
    sender.run(10.0)
    assert sender.sent >= 500 * FRAME
    assert len(sender.pieces) <= 150, "five hundred frames"
    assert sender.turns <= 300


def test_tracks_wake_together() -> None:
    ends = set()
    for start in (0.0, 0.003, 0.011):
        sender = Sender(0.2, [FRAME])
        sender.now = 50.0 + start
        sender.run(1.0)
        ends.add(round(sender.now % 0.04 / 0.04, 6) % 1)
    assert ends == {0.0}


def test_sound_goes_at_once_while_the_source_has_little() -> None:
    backlog = Backlog(RATE, 0.2)
    for number in range(20):
        now = 7.0 + number * 0.02
        backlog.add(sound(FRAME, number))
        assert backlog.until_due(now) == 0, "it would come later for nothing"
        assert np.array_equal(backlog.take(now), sound(FRAME, number))
        assert backlog.until_due(now) is None
        assert backlog.until_room(now) == 0


def test_long_sound_is_cut() -> None:
    backlog = Backlog(RATE, 0.2)
    backlog.add(sound(RATE))
    assert backlog.queued(5.0) == pytest.approx(1.0)
    assert 0.8 <= backlog.until_room(5.0) <= 0.84
    assert len(backlog.take(5.0)) == RATE // 5
    assert 0.0 < (backlog.until_due(5.0) or 0.0) <= 0.1
    assert backlog.queued(5.1) == pytest.approx(0.9)


def test_the_shortest_queue_is_not_fed_in_crumbs() -> None:
    backlog = Backlog(RATE, 0.02)
    backlog.add(sound(FRAME))
    assert len(backlog.take(5.0)) == FRAME
    backlog.add(sound(FRAME))
    assert len(backlog.take(5.01)) == FRAME


def test_a_piece_that_is_refused_comes_again() -> None:
    backlog = Backlog(RATE, 0.2)
    backlog.add(sound(FRAME))
    backlog.add(sound(FRAME, FRAME))
    piece = backlog.take(5.0)
    assert backlog.at_source(5.0) == pytest.approx(0.04)
    backlog.give_back(piece)
    backlog.add(sound(FRAME, 2 * FRAME))
    assert backlog.at_source(5.0) == 0
    assert backlog.queued(5.0) == pytest.approx(0.06)
    assert np.array_equal(backlog.take(5.0), sound(3 * FRAME))


def test_clearing_forgets_here_and_there() -> None:
    backlog = Backlog(RATE, 0.2)
    backlog.add(sound(RATE))
    backlog.take(5.0)
    assert backlog.clear(5.05) == pytest.approx(0.95)
    assert backlog.queued(5.05) == 0
    assert backlog.until_due(5.05) is None
    backlog.add(sound(FRAME))
    assert backlog.until_due(5.05) == 0


def test_no_sound_is_nothing() -> None:
    backlog = Backlog(RATE, 0.2)
    backlog.add(sound(0))
    assert backlog.until_due(5.0) is None
