"""What waits at the source of a live track for nothing; free of clocks.

Live sound comes as fast as it plays. So what has once come in a heap (while the track was being
published, or after a worker stood still) waits before all that follows, and would for good: the
sender has no pause in which it plays out. How much that is shows in the least that waited over a
while: whoever came latest in that while needed no more. It is the standing queue that CoDel looks
for in a network's buffers (RFC 8289, section 4), and as there it is dropped.

Where nobody speaks a piece less is not heard, so there a short while is enough. Who runs dry after
such a cut is one who stands still now and then, and keeps what it needs for that: with it the long
while counts there too.

A frame that is longer than what stands loses a part of it, in whole steps: sound that is no whole
number of steps would leave a rest in the source that waits for the next.

  I1  of a frame only so much is left out that `RESERVE` still waits before the rest of it
  I2  and only if `RESERVE` and `WORTH` waited before each frame of a while, up to a look, and
      `RESERVE` and what is left out before each since; of a short while only if it is quiet, but
      then for `STEP`
  I3  in a while no more is left out than stood there at its beginning
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

__all__ = ["StandingQueue"]

# In which a source takes sound from its queue, in seconds; and what it keeps, for it to go on.
RESERVE = STEP = 0.01
# Less than the usual frame more is not worth a cut that may be heard.
WORTH = 0.02
# A while is so many spans of so many seconds; looked at as each ends. The long one is longer than
# most sentences: a cut in one is for sound that goes on and on.
SPAN_SECONDS = 0.5
SHORT_SPANS, LONG_SPANS = 4, 16
# 0.03 s are three steps, whatever the quotient of the two floats is.
_ROUNDING = 1e-6


class StandingQueue:
    """Of one track, as long as it is published."""

    def __init__(self) -> None:
        self._span_ends: float | None = None
        self._least = math.inf
        """That waited, in the span that lasts."""
        # As if nothing stood before; the spans before, the latest last.
        self._before = deque([0.0] * (LONG_SPANS - 1), maxlen=LONG_SPANS - 1)
        self._short = self._long = 0.0
        """What has stood through the while, up to the last look."""
        self._cut_until = -math.inf
        """Who runs dry before that does so for want of what was left out."""
        self._stands_still = False

    def surplus(
        self, seconds: float, queued: float, now: float, is_quiet: Callable[[], bool]
    ) -> float:
        """How much of a frame of that length, which finds so much before it, is to be left out. To
        be asked of each frame; all times in seconds."""
        if self._span_ends is None:
            self._span_ends = now + SPAN_SECONDS
        self._least = min(self._least, queued)
        if queued <= 0.0 and now < self._cut_until:
            self._stands_still = True
        if now >= self._span_ends:
            self._look()
            self._span_ends = now + SPAN_SECONDS
        # Who comes late after the look needs it.
        most = max(queued - RESERVE, 0.0)
        self._short, self._long = min(self._short, most), min(self._long, most)
        loud, quiet = _part(seconds, self._long), _part(seconds, self._short)
        if quiet > loud and is_quiet():
            self._leave_out(quiet)
            self._cut_until = now + LONG_SPANS * SPAN_SECONDS
            return quiet
        if loud:
            self._leave_out(loud)
        return loud

    def _look(self) -> None:
        spans = [*self._before, self._least]
        short = LONG_SPANS if self._stands_still else SHORT_SPANS
        self._short = _worth(min(spans[-short:]), STEP)
        self._long = _worth(min(spans), WORTH)
        self._before.append(self._least)
        self._least = math.inf

    def _leave_out(self, seconds: float) -> None:
        """It counts as if it had never stood there."""
        self._short -= seconds
        self._long -= seconds
        for index in range(len(self._before)):
            self._before[index] -= seconds


def _worth(stands: float, worth: float) -> float:
    return stands - RESERVE if stands >= RESERVE + worth else 0.0


def _part(seconds: float, stands: float) -> float:
    """Of a frame: all, or some steps."""
    if seconds <= stands:
        return seconds
    return max(int(stands / STEP + _ROUNDING), 0) * STEP
