"""What people and devices of a fake room need of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ringroom.testing.state import RoomState
from ringroom.testing.wire import Wire

__all__ = ["Floor"]


class Floor(Protocol):
    """See the module's docstring."""

    wire: Wire
    state: RoomState

    def wait_until(self, condition: Callable[[], Any], what: str, timeout: float) -> Any:
        """The first true value of ``condition``. Raises `DeadlinePassed`."""
