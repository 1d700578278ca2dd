"""Whose turn it is under a `VirtualClock`, and what time it is then.

Roles that live wait here for a descriptor, a moment, or to be told. Which of those that can go on
does is the clock's choice; time passes only when none can. Nothing here runs a role.
"""

from __future__ import annotations

import hashlib
import select
from collections.abc import Callable, Sequence
from typing import TypeAlias

from ringroom.testing.virtual.roles import Role, Stuck, where_it_waits

__all__ = ["Turns"]

_Choose: TypeAlias = Callable[[Sequence[Role]], Role]
"""Chooses one of the roles that can go on."""

_BEGINNING_NS = 1_000_000_000_000
# Virtual time that is left once the end has begun.
_ENDING_SECONDS = 60.0


class Turns:
    """``test`` is the role that is told when none can go on, or the ``limit`` in seconds of virtual
    time has come."""

    def __init__(self, test: Role, limit: float, keep_trace: bool) -> None:
        self.now_ns = _BEGINNING_NS
        self.count = 0
        self.living: list[Role] = [test]
        self.trace: list[str] = []
        """Which role went on at which nanosecond, and why, if the trace is kept."""
        self._test = test
        self._end_ns = _BEGINNING_NS + round(limit * 1e9)
        self._keep = keep_trace
        self._hash = hashlib.sha256()
        self._poll = select.poll()
        self._watched: dict[int, int] = {}

    @property
    def fingerprint(self) -> str:
        """A hash of the trace so far."""
        return self._hash.hexdigest()

    def end_soon(self) -> int:
        """A minute is left from here on, whatever the limit was; when it is over."""
        self._end_ns = self.now_ns + round(_ENDING_SECONDS * 1e9)
        return self._end_ns

    def remove(self, role: Role) -> None:
        """The role has ended, or is dead: it gets no turn any more."""
        self.living.remove(role)
        if role.waits:
            self._unwatch(role)

    def wait(self, role: Role, seconds: float | None, fds: tuple[int, ...]) -> None:
        """From here on the role waits, until its next turn."""
        role.fds = fds
        role.until_ns = None if seconds is None else self.now_ns + _whole_ns(seconds)
        role.readable = []
        role.waits = True
        for fd in fds:
            count = self._watched.get(fd, 0)
            if not count:
                self._poll.register(fd, select.POLLIN)
            self._watched[fd] = count + 1

    def next(self, choose: _Choose) -> Role:
        """The role that goes on; time passes until one can."""
        while True:
            ready = self._ready()
            if ready:
                return self._go_on(choose(ready))
            moment = self._first_moment()
            if moment is None or moment > self._end_ns:
                return self._go_on(self._give_up(moment))
            self.now_ns = max(self.now_ns, moment)

    def _ready(self) -> list[Role]:
        readable = [fd for fd, _ in self._poll.poll(0)]
        now = self.now_ns
        found = []
        for role in self.living:
            if role.frozen_ns > now:
                continue
            if readable and role.fds:
                role.readable = [fd for fd in readable if fd in role.fds]
                if role.readable:
                    found.append(role)
                    continue
            if role.told or (role.until_ns is not None and role.until_ns <= now):
                found.append(role)
        return found

    def _first_moment(self) -> int | None:
        moments = []
        for role in self.living:
            if role.frozen_ns > self.now_ns:
                moments.append(role.frozen_ns)
            elif role.until_ns is not None:
                moments.append(role.until_ns)
        return min(moments, default=None)

    def _go_on(self, role: Role) -> Role:
        self.count += 1
        role.turn = self.count
        why = "told" if role.told else "readable" if role.readable else "time"
        role.told = False
        if role.waits:
            self._unwatch(role)
        self.record(f"{self.now_ns - _BEGINNING_NS} {role.name} {why}")
        return role

    def _unwatch(self, role: Role) -> None:
        role.waits, role.until_ns = False, None
        for fd in role.fds:
            self._watched[fd] -= 1
            if not self._watched[fd]:
                del self._watched[fd]
                self._poll.unregister(fd)
        role.fds = ()

    def record(self, line: str) -> None:
        """Add to the trace."""
        self._hash.update(line.encode() + b"\n")
        if self._keep:
            self.trace.append(line)

    def _give_up(self, moment: int | None) -> Role:
        """No role can go on: the test is told."""
        what = "nobody can go on" if moment is None else "its limit of virtual time has come"
        lines = [f"  {role.name} {where_it_waits(role, self.now_ns)}" for role in self.living]
        # The test has time to close what is open.
        self._end_ns = max(self._end_ns, self.now_ns + round(_ENDING_SECONDS * 1e9))
        self._test.error = Stuck(f"{what}:\n" + "\n".join(lines))
        return self._test


def _whole_ns(seconds: float) -> int:
    """Seconds in nanoseconds, rounded up, so that what is waited for has come."""
    return max(0, -int(-seconds * 1e9 // 1))
