"""The schedule by which a lost room is joined again, to the moment."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from ringroom.options import Reconnect
from ringroom.processes.retries import Retries

PLAIN = Reconnect(retries=100, backoff=0.5, longest=8.0, jitter=0.0, deadline=1_000.0)


def waits(retries: Retries, now: float = 0.0, most: int = 1_000) -> list[float]:
    """All waits of an outage in which every try fails at once."""
    found: list[float] = []
    for _ in range(most):
        wait = retries.next(now)
        if wait is None:
            break
        found.append(wait)
        now += wait
    return found


def test_waits_double_up_to_the_longest() -> None:
    assert waits(Retries(PLAIN, lambda: 0.0), most=7) == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_a_wait_that_would_pass_all_numbers_is_the_longest() -> None:
    policy = Reconnect(retries=2_000, backoff=0.01, longest=0.01, jitter=0.0, deadline=1_000.0)
    assert waits(Retries(policy, lambda: 0.0), most=3_000) == [0.01] * 2_000


def test_jitter_takes_its_part_away_and_adds_nothing() -> None:
    policy = Reconnect(backoff=2.0, longest=100.0, jitter=0.25)
    dice = iter((0.0, 0.5, 0.999))
    assert waits(Retries(policy, lambda: next(dice)), most=3) == [2.0, 3.5, 8.0 * (1 - 0.24975)]


def test_tries_are_as_many_as_allowed() -> None:
    policy = Reconnect(retries=3, backoff=1.0, jitter=0.0)
    retries = Retries(policy, lambda: 0.0)
    assert waits(retries) == [1.0, 2.0, 4.0]
    assert retries.tries == 3
    assert Retries(Reconnect(retries=0), lambda: 0.0).next(0.0) is None


def test_no_try_begins_after_the_deadline() -> None:
    policy = Reconnect(retries=100, backoff=1.0, longest=4.0, jitter=0.0, deadline=15.0)
    # The next one would begin at 15, which is the deadline.
    assert waits(Retries(policy, lambda: 0.0)) == [1.0, 2.0, 4.0, 4.0]


def test_the_deadline_counts_from_the_loss_also_while_the_provider_tries() -> None:
    policy = Reconnect(backoff=1.0, jitter=0.0, deadline=10.0)
    retries = Retries(policy, lambda: 0.0)
    assert retries.lost(100.0) == 110.0
    assert retries.lost(105.0) == 110.0
    assert retries.next(108.5) == 1.0
    assert retries.next(109.5) is None


def test_an_outage_is_over_when_the_room_has_held() -> None:
    policy = Reconnect(backoff=1.0, longest=5.0, jitter=0.0, deadline=60.0)
    retries = Retries(policy, lambda: 0.0)
    assert [retries.next(0.0), retries.next(1.0)] == [1.0, 2.0]
    retries.joined(3.0)
    assert retries.lost(8.0) == 68.0
    assert retries.tries == 0
    assert retries.next(8.0) == 1.0


def test_a_room_that_is_lost_again_at_once_is_the_same_outage() -> None:
    policy = Reconnect(retries=3, backoff=1.0, longest=5.0, jitter=0.0, deadline=60.0)
    retries = Retries(policy, lambda: 0.0)
    assert [retries.next(0.0), retries.next(1.0)] == [1.0, 2.0]
    retries.joined(3.0)
    assert retries.lost(7.9) == 60.0
    assert retries.next(7.9) == 4.0
    retries.joined(12.0)
    assert retries.next(12.1) is None


@given(
    retries=st.integers(0, 60),
    backoff=st.floats(0.01, 10.0),
    factor=st.floats(1.0, 100.0),
    jitter=st.floats(0.0, 1.0),
    deadline=st.floats(0.1, 500.0),
    dice=st.lists(st.floats(0.0, 1.0, exclude_max=True), min_size=1, max_size=10),
)
def test_whatever_the_policy_it_is_kept(
    retries: int, backoff: float, factor: float, jitter: float, deadline: float, dice: list[float]
) -> None:
    policy = Reconnect(
        retries=retries,
        backoff=backoff,
        longest=backoff * factor,
        jitter=jitter,
        deadline=deadline,
    )
    roll = itertools.cycle(dice)
    found = waits(Retries(policy, lambda: next(roll)))
    assert len(found) <= retries
    assert sum(found) < deadline + 1e-6
    for number, wait in enumerate(found):
        full = min(backoff * 2**number, backoff * factor)
        assert full * (1 - jitter) - 1e-9 <= wait <= full + 1e-9
