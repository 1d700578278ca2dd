"""A virtual clock that a seed leads: it says which role goes on, is held up, or dies right there.

A role can be interrupted where it waits and, with a small probability, at every *touch*: where it
adds to or takes from a counter, sends or receives over a link, or lets go of a lock. These are the
points at which it can meet another role at all.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from ringroom.lanes.memory import EventCounter
from ringroom.link import Link
from ringroom.testing.virtual.clock import VirtualClock
from ringroom.testing.virtual.roles import Role
from ringroom.testing.virtual.waits import Lock

__all__ = ["Schedule", "SeededClock"]

_LONGEST_DELAY_NS = 15_000_000


@dataclass(frozen=True)
class Schedule:
    """What the seed may do to the roles. All of it zero: they take turns as under a
    `VirtualClock`, but in a random order."""

    seed: int
    touches: float = 0.01
    """How probable it is that another role goes on at a touch."""
    delays: float = 0.002
    """How probable it is that a role is held up, for at most 15 ms, where it waits."""


class SeededClock(VirtualClock):
    """See the module's docstring. The role ``test`` is interrupted, but never held up or killed."""

    def __init__(
        self, schedule: Schedule, *, limit: float = 86_400.0, keep_trace: bool = False
    ) -> None:
        self.check: Callable[[], None] = _nothing
        """Called every so many turns; what it raises, the test's wait raises."""
        self._draw = random.Random(schedule.seed).random  # noqa: S311 (it must be repeatable)
        self._touches = schedule.touches
        self._delays = schedule.delays
        self._dooms: dict[Role, int] = {}
        self._patched = ExitStack()
        super().__init__(limit, keep_trace=keep_trace)
        if self._touches:
            self._watch_touches()

    def doom(self, name: str, points: int) -> None:
        """Have the role die after that many waiting points or touches. Raises `LookupError`."""
        self._dooms[self._find(name)] = points

    def lock(self) -> Lock:
        return _TouchedLock(self)

    def touch(self) -> None:
        """Another role may go on here."""
        if self._closing:
            return
        me = self._by_thread.get(threading.get_ident())
        if me is not None:
            me.told = True
            self.pause(me, None)

    def draws_touch(self) -> bool:
        """Draws whether this touch lets another role go on."""
        return self._draw() < self._touches

    def _before_choice(self, me: Role) -> None:
        if self._closing:
            return
        if not self._turns.count % _CHECK_TURNS:
            self._check()
        if me is self._test or not me.lives:
            return
        if me in self._dooms:
            self._dooms[me] -= 1
            if self._dooms[me] < 0:
                del self._dooms[me]
                self._turns.record(f"{me.name} dies")
                self.bring_down(me)
        elif self._delays and self._draw() < self._delays:
            until_ns = self.now_ns() + int(self._draw() * _LONGEST_DELAY_NS)
            me.frozen_ns = max(me.frozen_ns, until_ns)

    def _check(self) -> None:
        try:
            self.check()
        except AssertionError as error:
            self.check = _nothing
            self._test.error, self._test.told = error, True

    def _choose(self, ready: Sequence[Role]) -> Role:
        if len(ready) == 1:
            return ready[0]
        return ready[int(self._draw() * len(ready))]

    def _watch_touches(self) -> None:
        for owner, name in (
            (EventCounter, "add"),
            (EventCounter, "take"),
            (Link, "send"),
            (Link, "receive_nowait"),
        ):
            self._watch(owner, name)

    def _watch(self, owner: type[Any], name: str) -> None:
        before = getattr(owner, name)
        touch, draws = self.touch, self.draws_touch

        def touched(*args: Any) -> Any:
            # Afterwards: what it has told is there to be seen, what it has heard is not done yet.
            result = before(*args)
            if draws():
                touch()
            return result

        setattr(owner, name, touched)
        self._patched.callback(setattr, owner, name, before)

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._patched.close()


class _TouchedLock(Lock):
    """Letting go of it is a touch."""

    def __init__(self, clock: SeededClock) -> None:
        super().__init__(clock)
        self._seeded = clock

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        if not self._depth and self._seeded.draws_touch():
            self._seeded.touch()


_CHECK_TURNS = 64


def _nothing() -> None:
    return None
