"""What waits at a source for nothing is left out, and nothing else."""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Sequence

import pytest

from ringroom.processes.io.standing import (
    LONG_SPANS,
    RESERVE,
    SHORT_SPANS,
    SPAN_SECONDS,
    STEP,
    WORTH,
    StandingQueue,
)

FRAME = 0.02
WHILE, SHORT_WHILE = LONG_SPANS * SPAN_SECONDS, SHORT_SPANS * SPAN_SECONDS


class Source:
    """A live track's source, and what it did with each frame."""

    def __init__(self) -> None:
        self.queue = StandingQueue()
        self.now, self.plays_until = 5.0, 0.0
        self.found: list[float] = []
        self.gaps = 0
        self.quiet = False

    @property
    def queued(self) -> float:
        return max(self.plays_until - self.now, 0.0)

    def take(self, seconds: float = FRAME) -> float:
        """How much of the frame was left out."""
        before = self.queued
        self.found.append(before)
        left_out = self.queue.surplus(seconds, before, self.now, lambda: self.quiet)
        assert 0.0 <= left_out <= seconds
        if left_out < seconds:
            self.gaps += before == 0.0
            self.plays_until = max(self.plays_until, self.now) + seconds - left_out
        return left_out

    def heap(self, seconds: float) -> None:
        """What comes at once, of which only the last is asked about."""
        self.plays_until = max(self.plays_until, self.now) + seconds

    def talk(self, seconds: float, late: Sequence[float] = (0.0,)) -> float:
        """Frames in real time, each as late as the next of ``late``; the seconds left out."""
        began, left_out = self.now, 0.0
        for number in range(round(seconds / FRAME)):
            due = began + number * FRAME
            self.now = max(self.now, due + late[number % len(late)])
            left_out += self.take()
        self.now = max(self.now, began + seconds)
        return round(left_out, 9)


def test_the_heap_of_the_beginning_goes_after_a_while() -> None:
    source = Source()
    source.heap(0.18)
    assert source.talk(WHILE) == 0
    assert source.talk(1.0) == 0.17
    assert source.queued == pytest.approx(RESERVE)
    assert source.gaps == 0


def test_a_heap_that_comes_later_goes_after_a_while() -> None:
    source = Source()
    source.talk(WHILE + 1.0)
    source.now += 0.155  # the sender stood still, and then sends all of it
    source.gaps = 0
    source.heap(0.155 + FRAME)
    assert source.talk(2 * WHILE + 1.0) == 0.16
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
    source.quiet = True
    for _ in range(round(5 * WHILE / (pieces * seconds))):
        for _ in range(pieces):
            assert source.take(seconds) == 0.0
        source.now += pieces * seconds


def test_who_sends_some_together_and_has_more_standing_loses_that() -> None:
    source, left_out = Source(), 0.0
    source.heap(0.195)
    for _ in range(100):
        left_out += sum(source.take() for _ in range(5))
        source.now += 5 * FRAME
    assert left_out == pytest.approx(0.18)
    assert source.gaps == 0


@pytest.mark.parametrize("quiet", [False, True])
@pytest.mark.parametrize("seconds", [0.01, FRAME])
def test_what_is_not_worth_a_cut_stays(quiet: bool, seconds: float) -> None:
    source = Source()
    source.quiet = quiet
    source.heap(RESERVE + (STEP if quiet else WORTH) - 0.001)
    for _ in range(round(3 * WHILE / seconds)):
        assert source.take(seconds) == 0.0
        source.now += seconds


@pytest.mark.parametrize("quiet", [False, True])
@pytest.mark.parametrize("seconds", [0.0025, 0.01, FRAME, 0.1, 0.5])
def test_of_a_frame_that_is_longer_than_what_stands_a_part_goes(
    quiet: bool, seconds: float
) -> None:
    source = Source()
    source.quiet = quiet
    source.heap(0.043)
    parts = []
    for _ in range(round(3 * WHILE / seconds)):
        parts.append(source.take(seconds))
        source.now += seconds
    assert sum(parts) == pytest.approx(0.0325 if seconds < STEP else 0.03)
    assert all(
        part in (0.0, seconds) or part == pytest.approx(part // 0.0099 * 0.01) for part in parts
    )
    assert source.gaps == 0


def test_after_a_pause_nothing_is_left_out() -> None:
    source = Source()
    source.heap(0.18)
    source.talk(WHILE - FRAME)
    source.now += 30.0
    assert source.talk(5 * WHILE) == 0.0


def test_who_comes_late_just_then_is_played() -> None:
    source = Source()
    source.heap(0.13)
    assert source.talk(WHILE + FRAME) == FRAME, "it has begun"
    source.now += 0.095
    assert RESERVE < source.queued < RESERVE + STEP
    assert source.take() == 0.0


def test_who_needs_it_after_the_look_keeps_it() -> None:
    source = Source()
    source.heap(0.105)
    left_out = 0.0
    while not left_out:
        left_out = sum(source.take() for _ in range(5))
        source.now += 5 * FRAME
    source.now += source.queued  # he comes late, from now on
    for _ in range(200):
        assert not any(source.take() for _ in range(5))
        source.now += 5 * FRAME


def test_where_nobody_speaks_a_heap_goes_after_a_short_while() -> None:
    source = Source()
    source.heap(0.18)
    assert source.talk(SHORT_WHILE + 1.0) == 0
    source.quiet = True
    assert source.talk(1.0) == 0.17
    assert source.queued == pytest.approx(RESERVE)
    assert source.gaps == 0
    source.heap(0.1)
    assert source.talk(SHORT_WHILE - 0.1) == 0
    assert source.talk(0.2) == 0.1


def test_of_what_is_quiet_for_moments_each_moment_takes_some() -> None:
    source = Source()
    source.heap(0.185)
    source.talk(SHORT_WHILE + SPAN_SECONDS)
    left_out = []
    for number in range(100):
        source.quiet = number % 10 == 0
        if part := source.take():
            left_out.append((number, round(part, 9)))
        source.now += FRAME
    assert left_out == [*((number, FRAME) for number in range(0, 80, 10)), (80, STEP)]
    assert source.gaps == 0


def test_who_runs_dry_for_want_of_it_is_left_his_own_from_then_on() -> None:
    """A sender that stands still every four seconds."""
    late = [0.0] * 200
    late[60] = 0.15
    source = Source()
    source.quiet = True
    source.talk(WHILE, late)
    assert source.gaps, "it came, was left out, and was wanting"
    source.gaps, late[60] = 0, 0.14
    assert source.talk(10 * WHILE, late) == 0
    assert source.gaps == 0


def test_who_ran_dry_once_loses_what_it_does_not_need() -> None:
    source = Source()
    source.quiet = True
    source.heap(0.18)
    source.talk(SHORT_WHILE + 1.0)
    source.now += 0.2
    source.take()  # nothing waits before it: it has run dry
    source.heap(0.005)
    assert source.talk(WHILE - 1.0) == 0
    assert source.gaps == 1
    assert source.talk(2.0) == STEP, "too little to be worth a cut that may be heard"
    assert source.queued < RESERVE + STEP
    source.heap(0.05)
    assert source.talk(WHILE - SPAN_SECONDS) == 0
    assert source.talk(1.0) == 0.05


def test_who_is_a_little_later_than_before_has_not_run_dry() -> None:
    source = Source()
    source.quiet = True
    for _ in range(3):
        source.heap(0.18)
        assert source.talk(SHORT_WHILE + 1.0) > 0.16
        source.talk(SHORT_WHILE - SPAN_SECONDS, [0.0, RESERVE - 0.001])
    assert source.gaps == 0


def test_who_falls_silent_long_after_a_cut_is_none_who_ran_dry() -> None:
    source = Source()
    for _ in range(3):
        source.quiet = True
        source.heap(0.18)
        assert source.talk(SHORT_WHILE + 1.0) == 0.17
        source.talk(WHILE)
        source.now += 30.0
        source.talk(1.0)


def test_what_comes_in_a_heap_after_a_cut_waits_for_the_next() -> None:
    source = Source()
    source.heap(0.185)
    assert source.talk(WHILE + 1.0) == 0.17
    source.heap(0.14)
    assert source.talk(WHILE - 1.5) == 0


def _played(seed: int) -> Iterator[tuple[Source, float]]:
    """Two minutes of a sender who is late now and then, sends some together, and pauses."""
    dice = random.Random(seed)
    source = Source()
    seconds = dice.choice((0.01, 0.02, 0.1))
    together, most_late = dice.choice((1, 1, 5)), dice.choice((0.0, 0.005, 0.05, 0.3))
    until, due = source.now + 120.0, source.now
    source.heap(dice.uniform(0.0, 0.4))
    while due < until:
        if dice.random() < 0.002:
            due += dice.choice((0.3, 12.0))
        if dice.random() < 0.002:
            source.heap(dice.uniform(0.0, 0.4))
        if dice.random() < 0.01:
            source.quiet = not source.quiet
        source.now = max(source.now, due + dice.uniform(0.0, most_late) ** 2)
        for _ in range(together):
            yield source, source.take(seconds)
        due += together * seconds


SEEDS = range(40)


def test_whatever_comes_a_source_keeps_its_reserve() -> None:
    cuts = 0
    for seed in SEEDS:
        for source, left_out in _played(seed):
            cuts += left_out > 0
            assert not left_out or source.found[-1] >= RESERVE + left_out - 1e-7, "Q1"
    assert cuts > 10 * len(SEEDS)


def test_where_the_source_was_low_in_the_last_while_nothing_is_left_out() -> None:
    cuts = 0
    for seed in SEEDS:
        found: deque[tuple[float, float]] = deque()
        for source, left_out in _played(seed):
            found.append((source.now, source.found[-1]))
            while found[0][0] < source.now - 1.5 * WHILE:
                found.popleft()
            if left_out:
                cuts += 1
                short, long = _stood(found, SHORT_WHILE), _stood(found, WHILE)
                assert long >= WORTH or (source.quiet and short >= STEP), "Q2"
    assert cuts > 10 * len(SEEDS)


def _stood(found: Sequence[tuple[float, float]], seconds: float) -> float:
    """How much more than the reserve was there through such a while, as of one of the looks that
    may have been the last: a span ago at most. A while is as long as its spans, or longer where
    nobody came as they ended."""
    moments = [then for then, _ in found]
    queued = [waits for _, waits in found]
    now, shortest = moments[-1], seconds - SPAN_SECONDS
    began = bisect_left(moments, now - seconds - 1e-9)
    lows = (
        min(queued[max(began, bisect_left(moments, look - shortest)) : bisect_right(moments, look)])
        for look in set(moments[bisect_left(moments, now - SPAN_SECONDS - 1e-9) :])
    )
    return max(lows) - RESERVE + 1e-9


@pytest.mark.parametrize(("quiet", "a_while"), [(False, WHILE), (True, SHORT_WHILE)])
def test_in_a_while_no_more_is_left_out_than_stood_there(quiet: bool, a_while: float) -> None:
    """Also where that does not help: what the source tells here stays as it is."""
    dice = random.Random(1)
    for _ in SEEDS:
        queue, stands = StandingQueue(), dice.uniform(0.0, 0.5)
        seconds = dice.choice((0.01, 0.02, 0.1))
        moments = [number * seconds for number in range(round(60 / seconds))]
        cuts = {now: queue.surplus(seconds, stands, now, lambda: quiet) for now in moments}
        cuts = {now: part for now, part in cuts.items() if part}
        assert bool(cuts) == (stands >= RESERVE + (STEP if quiet else WORTH))
        for now in cuts:
            within = [
                part for then, part in cuts.items() if 0 <= then - now < a_while - SPAN_SECONDS
            ]
            assert sum(within) <= stands, "Q3"
