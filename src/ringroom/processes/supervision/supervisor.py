"""Which children are alive and which are replaced: runs the two `tables` for all of a pool.

Free of I/O; `now` is handed in, and the owner of the processes (`crew`) carries the orders out.

Invariants
  S1  a place has at most one living child, and a child at most one place
  S2  a place whose child died gets another, or the supervision fails, or was stopped
  S3  the second child in a row that dies soon after it was seated makes its place wait, and each
      further one makes it wait longer, up to a bound
  S4  more than `restarts` deaths at one place within `window` fail the supervision
  S5  after a stop nothing is started and nobody is seated; after the last death nothing is ordered
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ringroom.processes.supervision.tables import (
    CHILD,
    PLACE,
    Action,
    ChildHappening,
    ChildState,
    Ignored,
    PlaceHappening,
    PlaceState,
)

# A child that dies sooner than this after it was seated died of what it met there, or of itself.
QUICK_SECONDS = 0.25
BACKOFF_FIRST, BACKOFF_MOST = 0.1, 1.0
# A spare, and a standby, is started so many seconds after the work has begun: a beginning needs the
# cores for itself, and a short call needs neither.
STANDBY_AFTER = 1.0
# Seconds that a child has for ending once it was told to, beside what it may drain.
STOP_GRACE = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Care:
    """How many children there are, and what is done for them; seconds."""

    places: int
    spares: int = 0
    restarts: int = 0
    window: float = 60.0
    start_timeout: float = 60.0
    stuck_after: float | None = None
    restart_stuck: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """An action, the child it is about, and that child's place; None if it has none."""

    action: Action
    child: int
    place: int | None = None


@dataclass(slots=True)
class Life:
    """A child's life."""

    number: int
    state: ChildState = ChildState.STARTING
    place: int | None = None
    deadline: float | None = None
    """The moment from which the child is `LATE`."""
    warm_since: float | None = None
    seated_since: float = 0.0
    progress: int | None = None
    moved: float = 0.0


@dataclass(slots=True)
class Record:
    """Deaths at one place, or of children that had none: how long to wait, when to give up."""

    care: Care
    deaths: deque[float] = field(default_factory=deque)
    soon: int = 0
    """How many in a row died soon after they were seated."""

    def died(self, now: float, lived: float) -> float:
        """Another death; the seconds to wait before the next try (S3)."""
        self.deaths.append(now)
        self.soon = self.soon + 1 if lived < QUICK_SECONDS else 0
        if self.soon < 2:
            return 0.0
        return float(min(BACKOFF_MOST, BACKOFF_FIRST * 2 ** min(self.soon - 2, 16)))

    def too_often(self, now: float) -> bool:
        """Whether it is time to give up (S4)."""
        while self.deaths and self.deaths[0] <= now - self.care.window:
            self.deaths.popleft()
        return len(self.deaths) > self.care.restarts


@dataclass(slots=True)
class Post:
    """A place's life."""

    record: Record
    state: PlaceState = PlaceState.EMPTY
    until: float = 0.0
    """The end of its waiting."""

    def on(self, happening: PlaceHappening) -> tuple[Action, ...]:
        """Apply what happened; the actions it asks for."""
        cell = PLACE[self.state][happening]
        if isinstance(cell, Ignored):
            return ()
        self.state, actions = cell
        return actions


class Supervisor:
    """Runs the tables for some places and the children that serve them. Every method that takes
    ``now`` gives what is to be done, in order."""

    def __init__(self, care: Care) -> None:
        self.care = care
        self.children: dict[int, Life] = {}
        """The children that are not gone."""
        self.posts = [Post(Record(care)) for _ in range(care.places)]
        self.failed = False
        self.stopping = False
        self._seating = False
        self._bench = Record(care)
        self._spawn_at = 0.0
        self._settled_at = 0.0
        self._numbers = 0
        self._orders: list[Order] = []

    def begin(self, now: float) -> list[Order]:
        """Start a child for each place. Until `seat`, a death fails everything."""
        self._spawn_missing(now)
        return self._given()

    def seat(self, now: float) -> list[Order]:
        """From here on, seat children that are warm, and keep spares once `STANDBY_AFTER` has
        passed."""
        self._seating, self._settled_at = True, now + STANDBY_AFTER
        self._settle(now)
        return self._given()

    @property
    def warm(self) -> int:
        """Children that are ready and have no place. Any thread may ask, at any moment."""
        return sum(child.state is ChildState.WARM for child in tuple(self.children.values()))

    @property
    def filled(self) -> int:
        """Places that have a child. Any thread may ask, at any moment."""
        return sum(post.state is PlaceState.FILLED for post in self.posts)

    @property
    def vacant(self) -> int:
        """Places whose child has died, and that wait for another. Any thread may ask."""
        return sum(post.state in (PlaceState.VACANT, PlaceState.WAITING) for post in self.posts)

    def on(self, number: int, happening: ChildHappening, now: float) -> list[Order]:
        """Something happened to a child."""
        child = self.children.get(number)
        if child is not None:
            self._apply(child, happening, now)
            self._settle(now)
        return self._given()

    def observe(self, number: int, progress: int, within: bool, now: float) -> list[Order]:
        """What a child has done so far (any number that changes with it), and whether it is within
        something that it has begun."""
        child = self.children.get(number)
        limit = self.care.stuck_after
        if child is None or limit is None:
            return self._given()
        if progress != child.progress or not within:
            child.progress, child.moved = progress, now
            self._apply(child, ChildHappening.MOVING, now)
        elif now - child.moved >= limit:
            self._apply(child, ChildHappening.STILL, now)
        return self._given()

    def tick(self, now: float) -> list[Order]:
        """Time has passed."""
        for child in tuple(self.children.values()):
            if child.deadline is not None and child.deadline <= now:
                self._apply(child, ChildHappening.LATE, now)
        for place, post in enumerate(self.posts):
            if post.state is PlaceState.WAITING and post.until <= now:
                self._apply_to_place(place, PlaceHappening.TIME)
        self._settle(now)
        return self._given()

    def due(self) -> float | None:
        """The moment at which `tick` has something to do; None while only news of a child does."""
        times = [child.deadline for child in self.children.values() if child.deadline is not None]
        times += [post.until for post in self.posts if post.state is PlaceState.WAITING]
        if self._seating and not (self.stopping or self.failed) and self._missing > 0:
            times.append(self._next_spawn())
        return min(times, default=None)

    def stop(self, drain: float, now: float) -> list[Order]:
        """All children are to end within that many seconds and `STOP_GRACE`. May be said again."""
        self.stopping = True
        for place in range(len(self.posts)):
            self._apply_to_place(place, PlaceHappening.STOP)
        for child in tuple(self.children.values()):
            self._apply(child, ChildHappening.STOP, now)
            if child.state is ChildState.STOPPING:
                child.deadline = now + drain + STOP_GRACE
        return self._given()

    def _given(self) -> list[Order]:
        orders, self._orders = self._orders, []
        return orders

    def _apply(self, child: Life, happening: ChildHappening, now: float) -> None:
        cell = CHILD[child.state][happening]
        if isinstance(cell, Ignored):
            return
        before, (child.state, actions) = child.state, cell
        if child.state is not before or happening is ChildHappening.LATE:
            child.deadline = self._deadline(child.state, now)
        if child.state is ChildState.WARM:
            child.warm_since = now
        for action in actions:
            self._orders.append(Order(action, child.number, child.place))
        if happening is ChildHappening.DONE and child.place is not None:
            self._apply_to_place(child.place, PlaceHappening.LEFT)
        if child.state is ChildState.GONE:
            self._bury(child, now)

    def _deadline(self, state: ChildState, now: float) -> float | None:
        if state is ChildState.STUCK:
            return now if self.care.restart_stuck else None
        return now + STOP_GRACE if state in (ChildState.STOPPING, ChildState.ENDING) else None

    def _bury(self, child: Life, now: float) -> None:
        del self.children[child.number]
        if self.stopping or self.failed:
            return
        if child.place is not None:
            record = self.posts[child.place].record
            wait = record.died(now, now - child.seated_since)
            self.posts[child.place].until = now + wait
            how = PlaceHappening.DIED_SOON if wait else PlaceHappening.DIED
            if record.too_often(now):
                how = PlaceHappening.DIED_TOO_OFTEN
            self._apply_to_place(child.place, how, child.number)
            return
        lived = 0.0 if child.warm_since is None else now - child.warm_since
        self._spawn_at = now + self._bench.died(now, lived)
        too_often = self._bench.too_often(now)  # always: it also forgets
        if not self._seating or (self.vacant and too_often):
            self._fail(child.number)

    def _apply_to_place(
        self, place: int, happening: PlaceHappening, child: int | None = None
    ) -> None:
        for action in self.posts[place].on(happening):
            assert child is not None  # only what a child does asks for any
            if action is Action.FAIL:
                self._fail(child, place)
            else:
                self._orders.append(Order(action, child, place))

    def _fail(self, child: int, place: int | None = None) -> None:
        self.failed = True
        self._orders.append(Order(Action.FAIL, child, place))

    def _settle(self, now: float) -> None:
        """Seat warm children where a place has none, and start those that are missing."""
        if self.stopping or self.failed or not self._seating:
            return
        for place, post in enumerate(self.posts):
            if post.state not in (PlaceState.EMPTY, PlaceState.VACANT):
                continue
            child = next((c for c in self.children.values() if c.state is ChildState.WARM), None)
            if child is None:
                break
            child.place, child.seated_since, child.moved = place, now, now
            self._apply(child, ChildHappening.SEAT, now)
            self._apply_to_place(place, PlaceHappening.FILL, child.number)
        if self._next_spawn() <= now:
            self._spawn_missing(now)

    @property
    def _missing(self) -> int:
        leaving = (ChildState.STOPPING, ChildState.ENDING)
        there = sum(child.state not in leaving for child in self.children.values())
        spares = self.care.spares if self._seating else 0
        places = sum(post.state is not PlaceState.OVER for post in self.posts)
        return places + spares - there

    def _next_spawn(self) -> float:
        """Spares have time, and those that die again and again are not tried for a while, unless a
        place wants one."""
        if self.vacant:
            return self._spawn_at
        deaths = self._bench.deaths
        if len(deaths) > self.care.restarts:
            return deaths[-1 - self.care.restarts] + self.care.window
        return max(self._spawn_at, self._settled_at)

    def _spawn_missing(self, now: float) -> None:
        for _ in range(self._missing):
            self._numbers += 1
            deadline = now + self.care.start_timeout
            self.children[self._numbers] = Life(self._numbers, deadline=deadline)
            self._orders.append(Order(Action.SPAWN, self._numbers))
