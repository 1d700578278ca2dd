"""Waiting on a thread for a change of a session, until a deadline."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Self, TypeAlias

from ringroom.errors import StartupError
from ringroom.lanes.memory import open_counter
from ringroom.option_checks import check_timeout
from ringroom.processes.machine import Machine
from ringroom.sessions.session import Session

__all__ = ["Deadline", "Wait", "Waiter", "always_waiting", "shortest"]

Wait: TypeAlias = Callable[[Iterable[int], float | None], object]
"""Waits until a descriptor is readable or the session changed, or for so many seconds."""

# How often a thread looks that nothing can wake.
LOOK_SECONDS = 0.05


def shortest(*limits: float | None) -> float | None:
    """The shortest of some time limits, in seconds; None where none is one."""
    return min((limit for limit in limits if limit is not None), default=None)


class Waiter:
    """Waits for a change of the session without losing one between a look and the wait. The lock
    is the one under which the session is used. Raises `StartupError` when no descriptors are left.
    """

    _listens = False

    def __init__(
        self, machine: Machine, lock: AbstractContextManager[bool], session: Session
    ) -> None:
        self._machine = machine
        self._lock = lock
        self._session = session
        self._counter = open_counter()
        # The session does not refer to the waiter: one that Ctrl-C has kept from its end falls out.
        self._wake = partial(self._counter.add, 1)
        self._listeners = session.listeners

    def __enter__(self) -> Self:
        with self._lock:
            self._listens = True
            self._listeners.add(self._wake)
        return self

    def wait(self, fds: Iterable[int], seconds: float | None) -> bool:
        """Wait until a descriptor is readable or the session changed. Returns False when the time
        is up. While the link keeps something that its socket has not taken, the wait is short and
        returns True: `Session.pump` sends more of it."""
        changed = self._counter.fileno()
        flush = self._session.link.patience()
        short = flush is not None and (seconds is None or flush < seconds)
        ready = self._machine.wait((changed, *fds), flush if short else seconds)
        if changed in ready:
            self._counter.take()
        return short or bool(ready)

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            self._listeners.discard(self._wake)
            self._listens = False
            self._counter.close()

    def __del__(self) -> None:
        # Ctrl-C came before its `with` block had begun, or as it ended.
        if self._listens:
            self._listeners.discard(self._wake)
        if (counter := getattr(self, "_counter", None)) is not None:
            counter.close()


@contextlib.contextmanager
def always_waiting(
    machine: Machine, lock: AbstractContextManager[bool], session: Session
) -> Iterator[Wait]:
    """What waits as a `Waiter` does, also where no descriptor is left for one: then it looks every
    0.05 s."""
    try:
        waiter = Waiter(machine, lock, session)
    except StartupError:
        yield partial(_wait_for_a_moment, machine)
        return
    with waiter:
        yield waiter.wait


def _wait_for_a_moment(machine: Machine, fds: Iterable[int], seconds: float | None) -> None:
    machine.wait(fds, shortest(LOOK_SECONDS, seconds))


class Deadline:
    """A time limit that several waits share; None waits for ever. Raises `ConfigurationError` for
    an invalid one."""

    __slots__ = ("_end", "_machine", "_seconds", "_what")

    def __init__(self, machine: Machine, seconds: float | None, what: str) -> None:
        seconds = check_timeout(seconds)
        self._machine = machine
        self._end = None if seconds is None else machine.now() + seconds
        self._seconds = seconds
        self._what = what

    def remaining(self) -> float | None:
        return None if self._end is None else max(0.0, self._end - self._machine.now())

    def expired(self) -> TimeoutError:
        return TimeoutError(f"{self._what} within {self._seconds} s")
