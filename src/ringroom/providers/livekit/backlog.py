"""Sound of one track between its sender and the native source: what waits here, and, by the clock,
what waits there.

To hand something over costs the same however long it is, and so does each time that the loop
wakes. So while the source has enough, sound waits here and goes in one piece, and waits end in
steps that tracks share; when the source runs low, sound goes at once. Here and there together no
more waits than would wait there, so nothing is heard later for it.

Invariants: sound leaves in the order in which it came, each sample once; no piece brings the
source above its size, but for the shortest piece. Times are seconds of one monotonic clock, given
as ``now``.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

__all__ = ["Backlog"]

# What a piece brings: a part of the queue, and so long at most. The source has the rest to live on.
PIECE_PART, PIECE_SECONDS = 0.5, 0.1
# Waits end in steps of so much of that.
STEP_PART = 0.4
SHORTEST_PIECE = 0.02


class Backlog:
    """``size``: seconds that wait, here and at the source, beyond which the sender is to wait."""

    def __init__(self, sample_rate: int, size: float) -> None:
        piece = min(size * PIECE_PART, PIECE_SECONDS)
        self._rate = sample_rate
        self._size = size
        self._low = size - piece
        self._step = piece * STEP_PART
        self._waiting: deque[NDArray[np.int16]] = deque()
        self._samples = 0
        self._plays_until = 0.0

    def add(self, samples: NDArray[np.int16]) -> None:
        """Kept as it is: the caller's memory must last."""
        if len(samples):
            self._waiting.append(samples)
            self._samples += len(samples)

    def at_source(self, now: float) -> float:
        """Seconds that the source has still to play."""
        return max(self._plays_until - now, 0.0)

    def queued(self, now: float) -> float:
        """Seconds that are not yet played."""
        return self.at_source(now) + self._samples / self._rate

    def until_room(self, now: float) -> float:
        """Seconds that the sender is to wait, 0 while there is room. Up to a step too long."""
        over = self.queued(now) - self._size
        return -(-(now + over) // self._step) * self._step - now if over > 0 else 0.0

    def until_due(self, now: float) -> float | None:
        """Seconds until a piece is to be handed over: 0 for at once, None if there is none. Up to a
        step too short."""
        if not self._waiting:
            return None
        ahead = self.at_source(now) - self._low
        return max((now + ahead) // self._step * self._step - now, 0.0)

    def take(self, now: float) -> NDArray[np.int16]:
        """The next piece, which counts as being at the source from now on."""
        room = round(max(self._size - self.at_source(now), SHORTEST_PIECE) * self._rate)
        parts = []
        while self._waiting and room:
            part = self._waiting.popleft()
            if len(part) > room:
                self._waiting.appendleft(part[room:])
                part = part[:room]
            parts.append(part)
            room -= len(part)
        piece = parts[0] if len(parts) == 1 else np.concatenate(parts)
        self._samples -= len(piece)
        self._plays_until = max(self._plays_until, now) + len(piece) / self._rate
        return piece

    def give_back(self, piece: NDArray[np.int16]) -> None:
        """The source has refused the piece that was taken last."""
        self._waiting.appendleft(piece)
        self._samples += len(piece)
        self._plays_until -= len(piece) / self._rate

    def clear(self, now: float) -> float:
        """Forget all of it; the seconds that were not played."""
        thrown = self.queued(now)
        self._waiting.clear()
        self._samples, self._plays_until = 0, 0.0
        return thrown
