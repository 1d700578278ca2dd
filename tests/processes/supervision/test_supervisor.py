"""The supervisor against a world of processes that do what they like.

The machine keeps its own books (who lives, who sits where, who died when) from the orders alone,
and holds S1 to S5 against them; it knows nothing of the tables.
"""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ringroom.processes.supervision.supervisor import (
    BACKOFF_MOST,
    STANDBY_AFTER,
    STOP_GRACE,
    Care,
    Life,
    Order,
    Record,
    Supervisor,
)
from ringroom.processes.supervision.tables import Action, ChildHappening, ChildState, PlaceState

A, H = Action, ChildHappening
DYING = {Action.KILL}


class World(RuleBasedStateMachine):
    """Children that start, fail, get stuck and die in any order, and time that passes."""

    @initialize(
        places=st.integers(1, 3),
        spares=st.integers(0, 2),
        restarts=st.integers(0, 4),
        stuck=st.sampled_from([None, 1.0]),
        restart=st.booleans(),
        at_work=st.booleans(),
    )
    def open(
        self,
        places: int,
        spares: int,
        restarts: int,
        stuck: float | None,
        restart: bool,
        at_work: bool,
    ) -> None:
        self.care = Care(
            places=places,
            spares=spares,
            restarts=restarts,
            window=10.0,
            start_timeout=5.0,
            stuck_after=stuck,
            restart_stuck=restart,
        )
        self.supervisor = Supervisor(self.care)
        self.now = 100.0
        self.living: set[int] = set()
        self.warm: set[int] = set()
        self.seats: dict[int, int] = {}  # place -> child
        self.ever: set[int] = set()  # places that somebody had
        self.left: set[int] = set()
        self.deaths: dict[int, list[float]] = defaultdict(list)
        self.vacant_since: dict[int, float] = {}
        self.stopped_at: float | None = None
        self.told_to_stop: Counter[int] = Counter()
        self.spoken: Counter[Action] = Counter()
        self.failed = False
        self.seating = False
        self.obey(self.supervisor.begin(self.now))
        if at_work:
            for child in sorted(self.living):
                self.warm.add(child)
                self.happens(child, H.READY)
            self.work_begins()

    def obey(self, orders: list[Order]) -> None:
        for order in orders:
            self.spoken[order.action] += 1
            assert order.action in (A.SPAWN, A.TELL_LOST, A.FAIL, A.BURY) or (
                order.child in self.living
            ), f"{order} for the dead"
            match order.action:
                case A.SPAWN:
                    assert self.stopped_at is None, "S5"
                    assert not self.failed
                    assert order.child not in self.living
                    self.living.add(order.child)
                case A.SEND_START:
                    assert self.stopped_at is None, "S5"
                    assert order.place not in self.seats, "S1"
                    assert order.child not in self.seats.values(), "S1"
                    assert order.child in self.warm, "only who is ready is seated"
                    self.warm.discard(order.child)
                    self.seats[order.place] = order.child
                    self.vacant_since.pop(order.place, None)
                    self.replaced = order.place in self.ever
                    self.ever.add(order.place)
                case A.TELL_REPLACED:
                    assert self.replaced
                    assert self.seats[order.place] == order.child
                case A.TELL_LOST:
                    assert order.place in self.vacant_since
                case A.FAIL:
                    assert not self.failed, "it fails once"
                    self.failed = True
                case A.SEND_STOP:
                    self.told_to_stop[order.child] += 1
                case _:
                    pass

    def happens(self, child: int, happening: ChildHappening) -> None:
        self.obey(self.supervisor.on(child, happening, self.now))

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.2, 1.0, 4.0, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.obey(self.supervisor.tick(self.now))

    @precondition(lambda self: self.supervisor.due() is not None)
    @rule()
    def it_is_time(self) -> None:
        self.now = max(self.now, self.supervisor.due())
        self.obey(self.supervisor.tick(self.now))

    @precondition(lambda self: self.living)
    @rule(data=st.data())
    def gets_ready(self, data: st.DataObject) -> None:
        child = data.draw(st.sampled_from(sorted(self.living)))
        if (
            child not in self.seats.values()
            and self.supervisor.children[child].state is ChildState.STARTING
        ):
            self.warm.add(child)
        self.happens(child, H.READY)

    @precondition(lambda self: not self.seating and self.supervisor.warm >= self.care.places)
    @rule()
    def work_begins(self) -> None:
        self.seating = True
        self.obey(self.supervisor.seat(self.now))

    @precondition(lambda self: self.living)
    @rule(data=st.data())
    def dies(self, data: st.DataObject) -> None:
        child = data.draw(st.sampled_from(sorted(self.living)))
        self.living.discard(child)
        self.warm.discard(child)
        place = next((place for place, sits in self.seats.items() if sits == child), None)
        if place is not None:
            del self.seats[place]
            if place not in self.left and self.stopped_at is None and not self.failed:
                self.deaths[place].append(self.now)
                self.vacant_since[place] = self.now
        before = self.failed
        self.happens(child, H.EXITED)
        recent = [t for t in self.deaths.get(place, ()) if t > self.now - self.care.window]
        if place in self.vacant_since and not before:
            assert self.failed or len(recent) <= self.care.restarts, "S4"

    @precondition(lambda self: self.living)
    @rule(data=st.data(), what=st.sampled_from([H.FAILED, H.MOVING, H.DONE, H.STILL]))
    def says(self, data: st.DataObject, what: ChildHappening) -> None:
        child = data.draw(st.sampled_from(sorted(self.living)))
        # Who is being killed is lost, whatever it still says.
        if what is H.DONE and self.supervisor.children[child].state is not ChildState.ENDING:
            self.left |= {place for place, sits in self.seats.items() if sits == child}
        self.happens(child, what)

    @precondition(lambda self: self.living)
    @rule(data=st.data(), progress=st.integers(0, 1), within=st.booleans())
    def is_looked_at(self, data: st.DataObject, progress: int, within: bool) -> None:
        child = data.draw(st.sampled_from(sorted(self.living)))
        self.obey(self.supervisor.observe(child, progress, within, self.now))

    @precondition(lambda self: self.spoken[A.SPAWN] > 2)
    @rule(drain=st.sampled_from([0.0, 1.0]))
    def stop(self, drain: float) -> None:
        self.stopped_at = self.now
        self.vacant_since.clear()
        self.obey(self.supervisor.stop(drain, self.now))

    @invariant()
    def books_agree(self) -> None:
        assert set(self.supervisor.children) == self.living
        assert self.supervisor.failed == self.failed
        if not self.failed and self.stopped_at is None:
            assert self.supervisor.filled == len(self.seats.keys() - self.left)
            assert self.supervisor.vacant == len(self.vacant_since)

    @invariant()
    def nobody_is_forgotten(self) -> None:
        """S2, S3: a vacancy is filled by who is warm, or somebody is on the way."""
        if self.failed or self.stopped_at is not None:
            return
        for place, since in self.vacant_since.items():
            waits = self.supervisor.posts[place].state is PlaceState.WAITING
            if not waits:
                assert not self.warm, "somebody is warm, and a place is vacant"
            starting = any(
                child.state in (ChildState.STARTING, ChildState.WARM)
                for child in self.supervisor.children.values()
            )
            assert starting or waits or self.supervisor.due() is not None, "nobody will come"
            assert self.supervisor.posts[place].until - since <= BACKOFF_MOST, "S3"

    @invariant()
    def who_must_die_has_a_deadline(self) -> None:
        for child in self.supervisor.children.values():
            if child.state in (ChildState.STARTING, ChildState.STOPPING, ChildState.ENDING):
                assert child.deadline is not None

    def teardown(self) -> None:
        """Whatever was: stopped, it ends, and says no more."""
        if not hasattr(self, "supervisor"):
            return
        self.stop(0.0)
        killed: set[int] = set()
        for _ in range(4):
            self.now += STOP_GRACE
            orders = self.supervisor.tick(self.now)
            self.obey(orders)
            killed |= {order.child for order in orders if order.action is A.KILL}
        assert killed >= self.living, "somebody is left alive"
        for child in sorted(self.living):
            self.living.discard(child)
            self.happens(child, H.EXITED)
        assert self.supervisor.due() is None
        self.now += 1000
        assert self.supervisor.tick(self.now) == [], "S5"


World.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestSupervisor = World.TestCase


def started(care: Care) -> Supervisor:
    supervisor = Supervisor(care)
    for order in supervisor.begin(0.0):
        supervisor.on(order.child, H.READY, 0.0)
    supervisor.seat(0.0)
    supervisor.tick(STANDBY_AFTER)
    return supervisor


def actions(orders: list[Order]) -> list[str]:
    return [order.action.value for order in orders]


def test_a_warm_spare_takes_the_place_at_once() -> None:
    supervisor = started(Care(places=2, spares=1, restarts=3))
    supervisor.on(3, H.READY, 0.0)
    orders = supervisor.on(1, H.EXITED, 5.0)
    assert actions(orders) == ["bury", "tell lost", "send start", "tell replaced", "spawn"]
    assert orders[2] == Order(A.SEND_START, 3, 0)


def test_another_thread_may_count_the_warm_while_children_come_and_go() -> None:
    supervisor = Supervisor(Care(places=1))
    supervisor.begin(0.0)
    supervisor.on(1, H.READY, 0.1)

    class Looked:
        """As it is looked at, another is begun elsewhere."""

        @property
        def state(self) -> ChildState:
            supervisor.children[3] = Life(3)
            return ChildState.STARTING

    supervisor.children[2] = Looked()  # type: ignore[assignment]
    assert supervisor.warm == 1


def test_spares_are_started_once_the_work_has_settled() -> None:
    supervisor = Supervisor(Care(places=1, spares=1, restarts=3))
    supervisor.begin(0.0)
    supervisor.on(1, H.READY, 3.0)
    assert actions(supervisor.seat(3.0)) == ["send start"]
    assert supervisor.due() == 3.0 + STANDBY_AFTER
    assert supervisor.tick(2.9 + STANDBY_AFTER) == []
    assert actions(supervisor.tick(3.0 + STANDBY_AFTER)) == ["spawn"]


def test_who_dies_before_that_is_replaced_at_once() -> None:
    supervisor = Supervisor(Care(places=1, spares=1, restarts=3))
    supervisor.begin(0.0)
    supervisor.on(1, H.READY, 0.0)
    supervisor.seat(0.0)
    assert actions(supervisor.on(1, H.EXITED, 0.5)) == ["bury", "tell lost", "spawn", "spawn"]


def test_without_a_spare_somebody_is_started() -> None:
    supervisor = started(Care(places=1, restarts=3))
    assert actions(supervisor.on(1, H.EXITED, 5.0)) == ["bury", "tell lost", "spawn"]
    assert actions(supervisor.on(2, H.READY, 6.0)) == ["send start", "tell replaced"]


def test_dying_at_once_backs_off_and_gives_up() -> None:
    care = Care(places=1, spares=1, restarts=5, window=100.0)
    supervisor = started(care)
    now, child, waits = 1.0, 1, []
    supervisor.posts[0].record.soon = 0
    supervisor.children[1].seated_since = now
    for _ in range(care.restarts):
        supervisor.on(child + 1, H.READY, now)
        orders = supervisor.on(child, H.EXITED, now)
        began = now
        while A.SEND_START not in [order.action for order in orders]:
            assert (supervisor.filled, supervisor.vacant) == (0, 1)
            due = supervisor.due()
            assert due is not None
            now = max(now, due)
            orders = supervisor.tick(now)
        assert (supervisor.filled, supervisor.vacant) == (1, 0)
        waits.append(round(now - began, 6))
        child += 1
    assert waits == [0.0, 0.1, 0.2, 0.4, 0.8]
    assert actions(supervisor.on(child, H.EXITED, now)) == ["bury", "tell lost", "fail"]
    assert (supervisor.filled, supervisor.vacant) == (0, 0)


def test_the_wait_has_a_bound_and_a_long_life_ends_it() -> None:
    record = Record(Care(places=1, restarts=100))
    waits = [record.died(float(number), 0.0) for number in range(2_000)]
    assert waits == sorted(waits)
    assert waits[-1] == BACKOFF_MOST
    assert record.died(2_000.0, 1.0) == 0.0
    assert record.died(2_000.0, 0.0) == 0.0


def test_spares_that_die_again_and_again_are_left_alone_until_one_is_wanted() -> None:
    supervisor = started(Care(places=1, spares=1, restarts=1, window=10.0))
    supervisor.on(2, H.EXITED, 1.0)
    assert actions(supervisor.on(3, H.EXITED, 1.0)) == ["bury"]
    assert supervisor.tick(5.0) == []
    assert supervisor.due() == 11.0
    # Wanted: one more is started, and if that dies too the pool has no worker for the place.
    assert "spawn" in actions(supervisor.on(1, H.EXITED, 6.0))
    assert "fail" in actions(supervisor.on(4, H.EXITED, 6.0))


def test_spares_that_die_at_once_are_started_slower_and_slower() -> None:
    supervisor = started(Care(places=1, spares=1, restarts=9, window=100.0))
    starts, now = [], 2.0
    for child in range(2, 6):
        supervisor.on(child, H.READY, now)
        orders = supervisor.on(child, H.EXITED, now)
        if "spawn" not in actions(orders):
            due = supervisor.due()
            assert due is not None
            now = due
            assert actions(supervisor.tick(now)) == ["spawn"]
        starts.append(round(now, 6))
    assert starts == [2.0, 2.1, 2.3, 2.7]


def test_a_failure_is_told_once() -> None:
    supervisor = Supervisor(Care(places=2, restarts=0))
    for order in supervisor.begin(0.0):
        supervisor.on(order.child, H.READY, 0.0)
    supervisor.seat(0.0)
    assert actions(supervisor.on(1, H.EXITED, 5.0)) == ["bury", "tell lost", "fail"]
    assert actions(supervisor.on(2, H.EXITED, 5.0)) == ["bury"]


def test_however_many_spares_have_died_few_are_remembered() -> None:
    supervisor = started(Care(places=1, spares=1, restarts=1, window=10.0))
    now = 100.0
    for _ in range(100):
        supervisor.tick(now)
        for child in tuple(supervisor.children.values()):
            if child.place is None:
                supervisor.on(child.number, ChildHappening.EXITED, now)
        now += 20.0
    assert len(supervisor._bench.deaths) <= 2
    assert not supervisor.failed


def test_until_work_begins_every_death_fails() -> None:
    supervisor = Supervisor(Care(places=2, restarts=5))
    supervisor.begin(0.0)
    supervisor.on(1, H.READY, 0.0)
    assert actions(supervisor.on(1, H.EXITED, 0.0)) == ["bury", "fail"]


def test_a_start_has_a_deadline() -> None:
    supervisor = Supervisor(Care(places=1, start_timeout=3.0))
    supervisor.begin(0.0)
    assert supervisor.due() == 3.0
    assert actions(supervisor.tick(3.0)) == ["kill"]
    assert actions(supervisor.on(1, H.EXITED, 3.1)) == ["bury", "fail"]


@pytest.mark.parametrize("restart", [False, True])
def test_who_is_stuck_is_reported_and_restarted_if_so_asked(restart: bool) -> None:
    supervisor = started(Care(places=1, restarts=3, stuck_after=1.0, restart_stuck=restart))
    assert supervisor.observe(1, 5, True, 10.0) == []
    assert supervisor.observe(1, 6, True, 10.9) == []  # busy, and it goes on
    assert supervisor.observe(1, 6, True, 11.8) == []
    assert actions(supervisor.observe(1, 6, True, 11.9)) == ["report stuck"]
    assert supervisor.observe(1, 6, True, 12.5) == []
    if restart:
        # Whoever takes its place is started while it still dies.
        assert actions(supervisor.tick(12.5)) == ["kill", "spawn"]
        assert supervisor.observe(1, 7, False, 12.6) == []
    else:
        assert supervisor.tick(20.0) == []
        assert actions(supervisor.observe(1, 7, False, 20.0)) == ["report moving"]


def test_who_is_being_killed_is_lost_whatever_it_still_says() -> None:
    supervisor = started(Care(places=1, restarts=3, stuck_after=1.0, restart_stuck=True))
    supervisor.observe(1, 5, True, 10.0)
    supervisor.observe(1, 5, True, 11.0)
    assert actions(supervisor.tick(11.0)) == ["kill", "spawn"]
    assert supervisor.on(1, H.DONE, 11.1) == []
    assert "tell lost" in actions(supervisor.on(1, H.EXITED, 11.2))


def test_who_waits_for_work_is_not_stuck() -> None:
    supervisor = started(Care(places=1, stuck_after=1.0))
    for now in (1.0, 50.0, 100.0):
        assert supervisor.observe(1, 5, False, now) == []
    assert supervisor.observe(1, 5, True, 100.5) == []


def test_who_has_done_all_may_go() -> None:
    supervisor = started(Care(places=1, spares=1, restarts=3))
    assert supervisor.on(1, H.DONE, 1.0) == []
    assert actions(supervisor.on(1, H.EXITED, 1.0)) == ["bury"]
