"""What waits at the source of a live track for nothing; free of clocks.

Live sound comes as fast as it plays. So what has once come in a heap (while the track was being
published, or after a worker stood still) waits before all that follows, and would for good: the
sender has no pause in which it plays out. How much that is shows in the least that waited over a
while: whoever came latest in that while needed no more. It is the standing queue that CoDel looks
for in a network's buffers (RFC 8289, section 4), and as there it is dropped, here at most once in
such a while; a sender that stands still now and then keeps what it needs for that.

  I1  a frame is left out only if its length and `RESERVE` wait before it
  I2  where in the last while less than `RESERVE` and `WORTH` waited once, no frame is
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
        self._before = deque([0.0] * (SPANS - 1), maxlen=SPANS - 1)
        """Of those before it; when the track began nothing stood."""
        self._surplus = 0.0

    def leaves_out(self, seconds: float, queued: float) -> bool:
        """Whether a frame of that length is left out, in seconds, which finds so much before it. To
        be asked after `note`, of frames that nothing waits behind: the others are a heap's."""
        if seconds > min(self._surplus, queued - RESERVE):
            return False
        self._surplus -= seconds
        return True

    def note(self, queued: float, now: float) -> None:
        """A frame finds so many seconds of sound before it. To be told of each: in a heap the first
        finds what stands, the others the heap."""
        if self._ends is None:
            self._ends = now + SPAN_SECONDS
        self._least = min(self._least, queued)
        if now < self._ends:
            return
        surplus = min(self._least, *self._before) - RESERVE
        self._surplus = surplus if surplus >= WORTH else 0.0
        self._before.append(self._least)
        self._ends, self._least = now + SPAN_SECONDS, math.inf
