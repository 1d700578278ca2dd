"""When a room that was lost is joined again, and when it is given up. Free of I/O: the caller gives
the time and the random numbers.

An *outage* begins with a loss. It ends when the room has been joined again and has held for
`Reconnect.longest`: a connection that comes and goes is one outage, whose tries and deadline go on.
Otherwise it would be joined anew for ever, without a wait that grows.
"""

from __future__ import annotations

from collections.abc import Callable

from ringroom.options import Reconnect

__all__ = ["Retries"]

# 2 ** 40 times the shortest wait is longer than any.
_MOST_DOUBLINGS = 40


class Retries:
    """One connection's outages. ``random`` gives numbers from 0 up to 1."""

    def __init__(self, policy: Reconnect, random: Callable[[], float]) -> None:
        self.policy = policy
        self.tries = 0
        """Tries of this outage so far."""
        self._random = random
        self._until: float | None = None
        self._joined: float | None = None

    def lost(self, now: float) -> float:
        """Note that the connection is lost. Returns the moment at which the outage's deadline
        passes. Idempotent until `joined`."""
        held = None if self._joined is None else now - self._joined
        self._joined = None
        if self._until is None or (held is not None and held >= self.policy.longest):
            self._until = now + self.policy.deadline
            self.tries = 0
        return self._until

    def joined(self, now: float) -> None:
        """The connection is there again."""
        self._joined = now

    def next(self, now: float) -> float | None:
        """Seconds to wait before the next try, which is counted now; None: the room is given up,
        since the tries are used up, or the deadline would come first."""
        until = self.lost(now)
        if self.tries >= self.policy.retries:
            return None
        longest = self.policy.backoff * 2.0 ** min(self.tries, _MOST_DOUBLINGS)
        wait = min(longest, self.policy.longest) * (1 - self.policy.jitter * self._random())
        if now + wait >= until:
            return None
        self.tries += 1
        return wait
