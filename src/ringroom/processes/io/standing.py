"""Which sound of a live track only stands in its source's queue, and is left out. Free of clocks.

Live sound comes as fast as it plays. What once came in a heap (while the track was being published,
or after a worker stood still) stays in the queue: all that follows waits behind it, and the sender
makes no pause in which the queue would play out. How much stands there for nothing shows in the
least that was queued when a frame came, over a while, for even the latest frame of that while
needed no more. Such a standing queue is what CoDel looks for in a network's buffers (RFC 8289,
section 4). There it is dropped, and so it is here.

There is a long while and a short one. What has stood through the long while is left out wherever
the sound is. What has stood through the short while is left out only where the sound is quiet, for
there it is not heard. If the source runs dry soon after such a cut, the sender stands still now and
then, and needs what it had in the queue: from then on the short while is as long as the long one.

Of a frame that is longer than what stands, a part is left out, in whole steps: the source would
keep a rest that is no whole step until the next frame.

  Q1  before what is left of a frame `RESERVE` still waits
  Q2  what is left out had waited, besides `RESERVE`, before each frame of a while up to a look, and
      before each frame since. At the look it was `WORTH` or more for the long while, `STEP` or more
      for the short one
  Q3  in a while no more is left out than stood there at its beginning
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

__all__ = ["StandingQueue"]

# Seconds. A source takes sound from its queue in steps, and keeps one to go on with.
RESERVE = STEP = 0.01
# Less than a usual frame is not worth a cut that may be heard.
WORTH = 0.02
# A while is a number of spans; there is a look as each span ends. The long while is longer than
# most sentences: a sentence is cut only where the sound goes on and on.
SPAN_SECONDS = 0.5
SHORT_SPANS, LONG_SPANS = 4, 16
# 0.03 s are three steps, whatever the quotient of the two floats is.
_ROUNDING = 1e-6


class StandingQueue:
    """What stands before one track's frames, as long as the track is published."""

    def __init__(self) -> None:
        self._span_ends: float | None = None
        self._least = math.inf
        """The least that waited before a frame, in this span."""
        # The same of the spans before, the latest last; as if nothing had stood in them.
        self._before = deque([0.0] * (LONG_SPANS - 1), maxlen=LONG_SPANS - 1)
        self._short = self._long = 0.0
        """What has stood through the while up to the last look, and waited before each frame since.
        """
        self._cut_until = -math.inf
        """A source that runs dry before that moment misses what was left out."""
        self._stands_still = False
        """Whether the sender was seen to stand still now and then."""

    def surplus(
        self, seconds: float, queued: float, now: float, is_quiet: Callable[[], bool]
    ) -> float:
        """How much is to be left out of a frame that lasts ``seconds``, before which ``queued``
        waits. To be asked for each frame; all in seconds."""
        if self._span_ends is None:
            self._span_ends = now + SPAN_SECONDS
        self._least = min(self._least, queued)
        if queued <= 0.0 and now < self._cut_until:
            self._stands_still = True
        if now >= self._span_ends:
            self._look()
            self._span_ends = now + SPAN_SECONDS
        # A frame that came late since the look needed what it found.
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
        """As if it had never stood there."""
        self._short -= seconds
        self._long -= seconds
        for index in range(len(self._before)):
            self._before[index] -= seconds


def _worth(stands: float, worth: float) -> float:
    return stands - RESERVE if stands >= RESERVE + worth else 0.0


def _part(seconds: float, stands: float) -> float:
    """How much of a frame of that length stands: all, or some steps."""
    if seconds <= stands:
        return seconds
    return max(int(stands / STEP + _ROUNDING), 0) * STEP
