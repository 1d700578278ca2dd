"""What is to be closed, and warns if it is collected open."""

from __future__ import annotations

import sys
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Self

__all__ = ["Closeable", "Forgettable", "join_unless_within"]


class Forgettable(ABC):
    """The base of what owns something that its finalizer closes, with a warning."""

    __slots__ = ()

    @abstractmethod
    def _close_forgotten(self) -> None:
        """Close it, on whichever thread the collector runs."""

    @abstractmethod
    def _left_open(self) -> str:
        """What the warning calls it; empty where nothing is to be closed, also where `__init__` has
        raised."""

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        if ending():  # what it would use may be gone
            return
        left_open = self._left_open()
        if left_open:
            try:
                self._close_forgotten()
            finally:
                # Last: where warnings are errors, nothing comes after it.
                warnings.warn(f"{left_open} never closed", ResourceWarning, 2)


class Closeable(Forgettable):
    """What owns something until `close`, which may be called on any thread; at the latest the end
    of a ``with`` block does."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Idempotent."""

    def _close_forgotten(self) -> None:
        self.close()


def join_unless_within(thread: threading.Thread, seconds: float) -> None:
    """Wait for the end of a thread of what is closed, unless we are on it: the collector, which
    closes what was forgotten, may run on any."""
    if thread is not threading.current_thread():
        thread.join(seconds)
