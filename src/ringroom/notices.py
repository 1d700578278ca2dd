"""Trouble that repeats: told at once, and from then on once a minute with how often it happened.

Free of I/O but for the log. What a remote participant can cause a thousand times a second must
not fill a disk.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable

__all__ = ["LostFrames", "Notices"]

EVERY_NS = 60_000_000_000
# How many tracks one line names.
MAX_NAMED = 5


class Notices:
    """The notices of one owner. ``kind`` is one of a few words, never what a remote has chosen."""

    def __init__(self, log: logging.Logger, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._log = log
        self._clock = clock
        self._told: dict[str, int] = {}
        self.counts: Counter[str] = Counter()
        """How often each kind happened."""
        self._since: Counter[str] = Counter()

    def tell(self, kind: str, text: str, *, traceback: bool = False) -> None:
        """Log it, unless this kind was told within the last minute; count it always."""
        now = self._clock()
        self.counts[kind] += 1
        if kind in self._told and now - self._told[kind] < EVERY_NS:
            self._since[kind] += 1
            return
        self._told[kind] = now
        before = self._since.pop(kind, 0)
        more = f" ({before} more of this kind since it was last told)" if before else ""
        self._log.warning("%s%s", text, more, exc_info=traceback)


class LostFrames:
    """Frames that a session's readers do not get, told by track and cause."""

    def __init__(self, log: logging.Logger, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._log = log
        self._clock = clock
        self._told: int | None = None
        self._lost: Counter[tuple[str, str]] = Counter()
        self._others = 0

    def note(self, track: str, cause: str, count: int) -> None:
        """Note that ``count`` more frames of the track are lost for that cause."""
        if (track, cause) in self._lost or len(self._lost) < 2 * MAX_NAMED:
            self._lost[track, cause] += count
        else:
            self._others += count
        now = self._clock()
        if self._told is None or now - self._told >= EVERY_NS:
            self._told = now
            self._tell()

    def _tell(self) -> None:
        lost, self._lost = self._lost, Counter()
        others, self._others = self._others, 0
        named = lost.most_common(MAX_NAMED)
        parts = [f"{count} of {track!r} {cause}" for (track, cause), count in named]
        others += lost.total() - sum(count for _, count in named)
        if others:
            parts.append(f"{others} of other tracks")
        self._log.warning(
            "%d frames were dropped: %s. Their reader had died or stood still, or it is too slow: "
            "then give it less work or more workers; max_age= says how old a frame may get (told "
            "once a minute)",
            sum(count for _, count in named) + others,
            ", ".join(parts),
        )
