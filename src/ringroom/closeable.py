"""What is to be closed, and warns if it is collected open."""

from __future__ import annotations

import sys
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable

__all__ = ["Closeable", "join_unless_within"]


class Closeable(ABC):
    """The base of what owns something until `close`: its finalizer closes it and warns."""

    __slots__ = ()

    @abstractmethod
    def close(self) -> None:
        """Idempotent."""

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
                self.close()
            finally:
                # Last: where warnings are errors, nothing comes after it.
                warnings.warn(f"{left_open} never closed", ResourceWarning, 2)


def join_unless_within(thread: threading.Thread, seconds: float) -> None:
    """Wait for the end of a thread of what is closed, unless we are on it: the collector, which
    closes what was forgotten, may run on any."""
    if thread is not threading.current_thread():
        thread.join(seconds)
