"""What waits at the source of a live track for nothing; free of clocks.

Live sound comes as fast as it plays. So what has once come in a heap (while the track was being
published, or after a worker stood still) waits before all that follows, and would for good: the
sender has no pause in which it plays out. How much that is shows in the least that waited over a
while: whoever came latest in that while needed no more. It is the standing queue that CoDel looks
for in a network's buffers (RFC 8289, section 4), and as there it is dropped, here at most once in
such a while; a sender that stands still now and then keeps what it needs for that.

  I1  a frame is left out only if its length and `RESERVE` wait before it
  I2  and only if `RESERVE` and `WORTH` waited before each frame of a while, up to a look, and
      `RESERVE` and what is left out before each since
  I3  in a while no more is left out than stood there at its beginning
"""

from __future__ import annotations

import math
from collections import deque

__all__ = ["StandingQueue"]

# What a source keeps, in seconds: its own step. Less than the usual frame more is not worth a cut.
RESERVE, WORTH = 0.01, 0.02
# A while is so many spans of so many seconds; looked at as each ends. It is longer than most
# sentences: a cut is for sound that goes on and on.
SPANS, SPAN_SECONDS = 4, 2.0


class StandingQueue:
    """Of one track, as long as it is published."""

    def __init__(self) -> None:
        self._ends: float | None = None
        self._least = math.inf
        """Of the span that lasts."""
        self._before: deque[float] = deque(maxlen=SPANS - 1)
        """Of those before it."""
        self._surplus = 0.0
        self._begin()

    def _begin(self) -> None:
        """The while begins, as if nothing stood before."""
        self._before.extend([0.0] * (SPANS - 1))

    def leaves_out(self, seconds: float, queued: float, now: float) -> bool:
        """Whether a frame of that length, which finds so much before it, is left out. To be asked
        of each frame; all times in seconds."""
        if self._ends is None:
            self._ends = now + SPAN_SECONDS
        self._least = min(self._least, queued)
        if now >= self._ends:
            self._look()
            self._ends, self._least = now + SPAN_SECONDS, math.inf
        # Who comes late after the look needs it.
        self._surplus = min(self._surplus, max(queued - RESERVE, 0.0))
        if seconds > self._surplus:
            return False
        self._surplus -= seconds
        return True

    def _look(self) -> None:
        surplus = min(self._least, *self._before) - RESERVE
        self._before.append(self._least)
        if surplus >= WORTH:
            self._surplus = surplus
            self._begin()
