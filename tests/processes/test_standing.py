"""What waits at a source for nothing is left out, and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroom.processes.standing import (
    RESERVE,
    SPAN_SECONDS,
    SPANS,
    WORTH,
    StandingQueue,
)

FRAME = 0.02
WHILE = SPANS * SPAN_SECONDS


class Source:
    """A live track's source, and what it did with each frame."""

    def __init__(self) -> None:
        self.queue = StandingQueue()
        self.now, self.plays_until = 5.0, 0.0
        self.found: list[float] = []
        self.gaps = 0

    @property
    def queued(self) -> float:
        return max(self.plays_until - self.now, 0.0)

    def take(self, seconds: float = FRAME) -> bool:
        """Whether the frame was left out."""
        before = self.queued
        self.found.append(before)
        if self.queue.leaves_out(seconds, before, self.now):
            return True
        self.gaps += before == 0.0
        self.plays_until = max(self.plays_until, self.now) + seconds
        return False

    def heap(self, seconds: float) -> None:
        """What comes at once, of which only the last is asked about."""
        self.plays_until = max(self.plays_until, self.now) + seconds

    def talk(self, seconds: float, late: Sequence[float] = (0.0,)) -> int:
        """Frames in real time, each as late as the next of ``late``; how many were left out."""
        began, left_out = self.now, 0
        for number in range(round(seconds / FRAME)):
            due = began + number * FRAME
            self.now = max(self.now, due + late[number % len(late)])
            left_out += self.take()
        self.now = max(self.now, began + seconds)
        return left_out


def test_the_heap_of_the_beginning_goes_after_a_while() -> None:
    source = Source()
    source.heap(0.18)
    assert source.talk(WHILE) == 0
    source.talk(1.0)
    assert RESERVE - 1e-9 <= source.queued < RESERVE + FRAME
    assert source.gaps == 0


def test_a_heap_that_comes_later_goes_after_a_while() -> None:
    source = Source()
    source.talk(WHILE + 1.0)
    source.now += 0.155  # the sender stood still, and then sends all of it
    source.gaps = 0
    source.heap(0.155 + FRAME)
    assert source.talk(2 * WHILE + 1.0) == 8
    assert source.gaps == 0
    assert source.talk(3 * WHILE) == 0, "once"


def test_a_sender_that_stands_still_now_and_then_keeps_what_it_needs() -> None:
    late = [0.0] * 200
    late[60] = 0.15  # every four seconds; those behind it come with it
    source = Source()
    source.heap(FRAME)
    source.talk(WHILE, late)
    source.gaps, late[60] = 0, 0.14
    assert source.talk(10 * WHILE, late) == 0
    assert source.gaps == 0


@pytest.mark.parametrize(("pieces", "seconds"), [(2, FRAME), (5, FRAME), (25, FRAME), (5, 0.1)])
def test_who_always_sends_some_together_keeps_all(pieces: int, seconds: float) -> None:
    source = Source()
    for _ in range(round(5 * WHILE / (pieces * seconds))):
        for _ in range(pieces):
            assert not source.take(seconds)
        source.now += pieces * seconds


def test_who_sends_some_together_and_has_more_standing_loses_that() -> None:
    source, left_out = Source(), 0
    source.heap(0.195)
    for _ in range(100):
        left_out += sum(source.take() for _ in range(5))
        source.now += 5 * FRAME
    assert left_out == 9
    assert source.gaps == 0


@pytest.mark.parametrize(
    ("ahead", "seconds"),
    [(0.0, 0.01), (FRAME, 0.01), (RESERVE + WORTH - 0.001, 0.01), (0.09, 0.1)],
)
def test_what_is_not_worth_a_cut_or_less_than_a_frame_stays(ahead: float, seconds: float) -> None:
    source = Source()
    source.heap(ahead)
    for _ in range(round(3 * WHILE / seconds)):
        assert not source.take(seconds)
        source.now += seconds


def test_after_a_pause_nothing_is_left_out() -> None:
    source = Source()
    source.heap(0.18)
    source.talk(WHILE - FRAME)
    source.now += 30.0
    assert source.talk(5 * WHILE) == 0


def test_who_comes_late_just_then_is_played() -> None:
    source = Source()
    source.heap(0.13)
    assert source.talk(WHILE + FRAME) == 1, "it has begun"
    source.now += 0.08
    assert RESERVE < source.queued < RESERVE + FRAME
    assert not source.take()


def test_who_needs_it_after_the_look_keeps_it() -> None:
    source = Source()
    source.heap(0.105)
    left_out = 0
    while not left_out:
        left_out = sum(source.take() for _ in range(5))
        source.now += 5 * FRAME
    source.now += source.queued  # he comes late, from now on
    for _ in range(200):
        assert not any(source.take() for _ in range(5))
        source.now += 5 * FRAME


def test_where_a_cut_does_not_help_there_is_one_in_a_while_at_most() -> None:
    queue, times = StandingQueue(), []
    for number in range(4_000):
        if queue.leaves_out(FRAME, 0.055, number * FRAME):
            times.append(number * FRAME)
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert [round(pause) for pause in pauses if pause > 2 * FRAME] == [8] * 8


def test_what_comes_in_a_heap_after_a_cut_waits_for_the_next() -> None:
    source = Source()
    source.heap(0.185)
    assert source.talk(WHILE + 1.0) == 8
    source.heap(0.14)
    assert source.talk(WHILE - 1.5) == 0


arrivals = st.lists(
    st.tuples(
        st.floats(0.0, 0.5).map(lambda seconds: seconds**3), st.sampled_from((0.01, 0.02, 0.1))
    ),
    max_size=400,
)


def _played(steps: Sequence[tuple[float, float]]) -> Iterator[tuple[Source, float, bool]]:
    source = Source()
    for pause, seconds in steps:
        source.now += pause
        yield source, seconds, source.take(seconds)


@given(arrivals)
def test_whatever_comes_a_source_keeps_its_reserve(steps: list[tuple[float, float]]) -> None:
    for source, seconds, left_out in _played(steps):
        if left_out:
            assert source.found[-1] >= RESERVE + seconds, "I1"


@given(arrivals)
def test_where_the_source_was_low_in_the_last_while_nothing_is_left_out(
    steps: list[tuple[float, float]],
) -> None:
    found: list[tuple[float, float]] = []
    for source, _, left_out in _played(steps):
        found.append((source.now, source.found[-1]))
        if left_out:
            # As of the last look, which was a span ago at most.
            times = [now for now, _ in found]
            looks = [now for now in times if source.now - now <= SPAN_SECONDS + 1e-9]
            lows = [
                min(queued for then, queued in found if now - WHILE <= then <= now) for now in looks
            ]
            assert max(lows) >= RESERVE + WORTH, "I2"
