"""What a pool tells of its workers: to the log, and to the application's callbacks.

What happens is noted where locks are held. The application is called back later, by the thread that
calls `Telling.tell_all`: a callback may take its time, call the pool, or raise.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from ringroom.events import Event, EventKind
from ringroom.notices import Notices
from ringroom.pool.options import PoolOptions
from ringroom.processor import WHERE, Problem

__all__ = ["Telling"]

log = logging.getLogger("ringroom")
T = TypeVar("T")


class Telling:
    """See the module's docstring. Any thread may call it."""

    def __init__(self, options: PoolOptions, clock: Callable[[], int]) -> None:
        self._options = options
        self._clock = clock
        self._notices = Notices(log, clock)
        self._waiting: deque[Callable[[], None]] = deque()
        self.deaths = 0
        self.replacements = 0
        self.problems = Counter(dict.fromkeys(WHERE, 0))
        """How many there were, by where."""

    def problem(self, problem: Problem) -> None:
        """User code raised, or is stuck."""
        self.problems[problem.where] += 1
        self._waiting.append(partial(self._tell_problem, problem))

    def lost(self, text: str) -> None:
        """A worker has died."""
        self.deaths += 1
        log.error("%s; what it was at is lost", text)
        self.event(EventKind.WORKER_LOST, text)

    def replaced(self, text: str) -> None:
        """Another worker has its place."""
        self.replacements += 1
        log.warning("%s", text)
        self.event(EventKind.WORKER_REPLACED, text)

    def event(self, kind: EventKind, text: str) -> None:
        """Something has happened to the pool itself, now."""
        event = Event(kind=kind, reason=text, received_ns=self._clock())
        if self._options.on_event is not None:
            self._waiting.append(partial(self.tell_event, event))

    def tell_all(self) -> None:
        """Call back for all that was noted until now."""
        while (tell := self._next()) is not None:
            tell()

    def _next(self) -> Callable[[], None] | None:
        try:
            return self._waiting.popleft()
        except IndexError:  # none, or another thread has been quicker
            return None

    def tell_event(self, event: Event) -> None:
        """Call back at once, if there is a callback for events."""
        if self._options.on_event is not None:
            self._call_back("on_event", self._options.on_event, event)

    def _tell_problem(self, problem: Problem) -> None:
        if problem.where == "stuck":
            log.error(
                "worker %s is stuck: %s\n%s", problem.worker, problem.summary, problem.traceback
            )
        elif problem.count == 1:
            log.error(
                "worker %s: %s failed (said once, counted from now on)\n%s",
                problem.worker,
                problem.where,
                problem.traceback or problem.summary,
            )
        if self._options.on_error is not None:
            self._call_back("on_error", self._options.on_error, problem)

    def _call_back(self, name: str, function: Callable[[T], None], value: T) -> None:
        try:
            function(value)
        except Exception:  # noqa: BLE001 (told, once a minute: remotes cause as many calls as they like)
            self._notices.tell(name, f"a callback of the pool raised: {name}", traceback=True)
