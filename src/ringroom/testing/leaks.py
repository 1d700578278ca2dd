"""What is left behind: by a block of code, and by each of many visits.

    def test_nobody_leaves_anything_behind(fake_room):
        with ringroom.transport("fake", room=fake_room, io="thread") as t, Assistant(t):

            def visit(number):
                guest = fake_room.join(f"guest-{number}")
                guest.publish_audio().tone(seconds=0.1, realtime=False)
                fake_room.wait_for_data("bye", count=number + 1)
                guest.leave()

            leaks.check(visit)

What grows by less than one a visit is not reported, nor is memory of native code. Descriptors,
threads and children are found on Linux only.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Collection, Iterator

from ringroom.errors import ConfigurationError
from ringroom.testing.belongings import belongings
from ringroom.testing.census import (
    Census,
    found_by_id,
    held_by,
    is_of_the_library,
    left_out,
    one_of,
    whereabouts,
)

__all__ = ["Leaked", "Watch", "check", "nothing_left_behind"]

_LOOK_SECONDS = 0.02


class Leaked(AssertionError):
    """Something was left behind. The message names it, and what holds it."""


@contextlib.contextmanager
def nothing_left_behind(grace: float = 10.0) -> Iterator[None]:
    """Raises `Leaked` if there is a child, descriptor or thread more after the block than before.

    What goes away by itself within ``grace`` seconds is not a leak. An exception of the block
    itself goes through, and nothing is checked.
    """
    before = belongings()
    yield
    deadline = time.monotonic() + grace
    while belongings() - before:
        gc.collect()
        leaked = belongings() - before
        if leaked and time.monotonic() >= deadline:
            raise Leaked("left behind: " + ", ".join(sorted(leaked)))
        time.sleep(_LOOK_SECONDS)


class Watch:
    """Looks at this process after each of many visits, and tells what they leave behind.

    The first ``warm_up`` visits may fill caches. Then everything is counted, and again halfway
    through the next ``visits``; what has grown since both by one or more for each visit is a leak.
    ``allow``: parts of the names of what may grow, ``"my_app.Archive.calls"``.

    In a worker process, make one in a processor and call `visited` in its ``close``.
    """

    def __init__(self, *, warm_up: int = 3, visits: int = 10, allow: Collection[str] = ()) -> None:
        if warm_up < 0 or visits < 4:
            raise ConfigurationError(
                f"warm_up is {warm_up} and visits is {visits}, expected 0 or more and 4 or more"
            )
        self._warm_up, self._visits, self._allow = warm_up, visits, tuple(allow)
        self._marks: list[tuple[int, Census]] = []
        self._done = 0
        if warm_up == 0:
            self._mark()

    def visited(self) -> list[str]:
        """A visit is over. What has leaked so far, a line each; empty until there were enough."""
        self._done += 1
        if self._done in (self._warm_up, self._warm_up + self._visits // 2):
            self._mark()
        return self.leaks() if self._done >= self._warm_up + self._visits else []

    def leaks(self) -> list[str]:
        """What has grown since the warm-up, a line each."""
        now = Census.taken()
        lines = [*self._grown_containers(now), *self._grown_numbers(now)]
        wanted = sorted(line for line in lines if not any(part in line for part in self._allow))
        # What the standard library keeps follows from what the application keeps, if that is known.
        return [line for line in wanted if not is_of_the_library(line)] or wanted

    def _mark(self) -> None:
        self._marks.append((self._done, Census.taken()))

    def _grown_numbers(self, now: Census) -> Iterator[str]:
        since = [
            {
                name: (was, is_)
                for name, was, is_ in now.growth_since(census, max(1, self._done - done))
            }
            for done, census in self._marks
        ]
        for name, (was, is_) in since[0].items():
            if not all(name in grown for grown in since):
                continue
            known = f", {whereabouts(one_of(name))}" if name in now.classes else ""
            yield f"{name}: from {was} to {is_} of them{known}"

    def _grown_containers(self, now: Census) -> Iterator[str]:
        ids = set.intersection(
            *(
                now.containers_grown_since(census, max(1, self._done - done))
                for done, census in self._marks
            )
        )
        for container in found_by_id(ids):
            holder = held_by(container)
            if not left_out(holder):
                was, is_ = self._marks[0][1].sizes[id(container)], now.sizes[id(container)]
                kind = type(container).__name__
                name = holder or "held by nothing that has a name"
                yield f"{name} ({kind}): grew from {was} to {is_} entries"


def check(
    visit: Callable[[int], object],
    visits: int = 10,
    *,
    warm_up: int = 3,
    allow: Collection[str] = (),
    grace: float = 2.0,
) -> None:
    """Calls ``visit`` with 0, 1, ... and raises `Leaked` if something grows with each call: Python
    objects and containers, descriptors, threads and children of this process.

    ``visit`` returns when all that it began is over: wait for the application's last word of it.
    What goes away by itself within ``grace`` seconds of the last visit is not a leak. For
    ``allow`` see `Watch`. In an asyncio test: ``await asyncio.to_thread(leaks.check, visit)``.
    """
    watch = Watch(warm_up=warm_up, visits=visits, allow=allow)
    lines: list[str] = []
    for number in range(warm_up + visits):
        visit(number)
        lines = watch.visited()
    deadline = time.monotonic() + grace
    pause = _LOOK_SECONDS
    while lines and time.monotonic() < deadline:
        time.sleep(pause)  # longer each time: counting costs more than waiting
        pause *= 2
        lines = watch.leaks()
    if lines:
        raise Leaked("\n  ".join([f"left behind by each of {visits} visits:", *lines]))
