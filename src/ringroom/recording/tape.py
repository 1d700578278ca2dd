"""What waits to be written: the one thing that a recorder and its thread share.

Law: each entry that was put is at last either recorded or missed, and counted as one of them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass

from ringroom.frames import Frame, Item
from ringroom.lanes import records
from ringroom.recording import format as layout

__all__ = ["Encoded", "Tape", "encoded"]

log = logging.getLogger("ringroom")

_ENTRY_BYTES = 256  # what a small record costs beside its bytes


@dataclass(frozen=True, slots=True)
class Encoded:
    """A record, and what its channel and its log time are made of."""

    source: layout.Source
    monotonic_ns: int
    sequence: int
    record: bytes

    @property
    def cost(self) -> int:
        return len(self.record) + _ENTRY_BYTES


def encoded(item: Item) -> Encoded:
    """A copy of the item, as it is written. For what is no item it raises anything."""
    sequence = item.sequence if isinstance(item, Frame) else 0
    head, body = records.encode(item, (sequence, item.received_ns))
    record = b"".join((head, body))
    # Some events, and frames that were made and not received, carry no time.
    when = item.received_ns or time.monotonic_ns()
    return Encoded(layout.source_of(item), when, sequence, record)


class Tape:
    """A bounded queue and the counts."""

    def __init__(self, name: str, limit: int) -> None:
        self.closing = False
        self.recorded = 0
        self.missed = 0
        self.problem = ""
        self._name = name
        self._limit = limit
        self._bytes = 0
        self._broken = ""
        """Why nothing can be written any more."""
        self._waiting: deque[Encoded] = deque()
        self._changed = threading.Condition()

    def put(self, entry: Encoded) -> None:
        with self._changed:
            if self._broken:
                problem = self._broken
            elif self.closing:
                problem = self.problem or "the recorder is closed"
            elif self._bytes and self._bytes + entry.cost > self._limit:
                problem = f"the disk is behind by {self._bytes >> 20} MiB"
            else:
                self._bytes += entry.cost
                self._waiting.append(entry)
                self._changed.notify()
                return
        self.miss(problem)

    def miss(self, problem: str, count: int = 1) -> None:
        with self._changed:
            first, self.missed = not self.problem, self.missed + count
            self.problem = self.problem or problem
        if first:
            log.warning("%s: the recording is not complete: %s", self._name, problem)

    def take(self, seconds: float | None) -> Encoded | None:
        """The next entry; None when none came in time, or none will come."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self.closing, seconds)
            return self._waiting.popleft() if self._waiting else None

    def written(self, entry: Encoded) -> None:
        with self._changed:
            self._bytes -= entry.cost

    def reached_the_file(self, count: int) -> None:
        with self._changed:
            self.recorded += count

    def broke(self, problem: str, count: int) -> None:
        """Nothing can be written any more; ``count`` entries were under way."""
        with self._changed:
            self._broken = problem
            count += len(self._waiting)
            self._waiting.clear()
            self._bytes = 0
        self.miss(problem, count)

    def close(self) -> None:
        with self._changed:
            self.closing = True
            self._changed.notify()
