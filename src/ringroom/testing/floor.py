"""What participants, playbacks and faults hold of a fake room, so that they do not keep a forgotten
one from its warning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ringroom.option_checks import check_timeout
from ringroom.processes.machine import Machine
from ringroom.testing.state import RoomState
from ringroom.testing.wire import Clock, Wire

__all__ = ["DeadlinePassed", "Floor"]

_Found = TypeVar("_Found")


class DeadlinePassed(AssertionError, TimeoutError):
    """What the test waited for did not come. The message shows what did."""


class Floor:
    """See the module's docstring."""

    def __init__(self, name: str, clock: Clock | Machine | None, kept_pictures: int) -> None:
        self.wire = Wire(name, clock)
        self.state = RoomState(name, self.wire.changed, self.wire.time, kept_pictures)

    def wait_until(
        self, condition: Callable[[], _Found | None], what: str, timeout: float
    ) -> _Found:
        """The first true value of ``condition``, which looks at the room alone."""
        check_timeout(timeout)
        return self.come(self.wire.wait_until(condition, timeout), what, timeout)

    def come(self, found: _Found | None, what: str, timeout: float) -> _Found:
        """What was waited for, if it has come."""
        if not found:
            raise DeadlinePassed(
                f"waited {timeout} s for {what}, which did not come\n  {self.summary()}"
            )
        return found

    def summary(self) -> str:
        with self.wire.changed:
            people = ", ".join(repr(identity) for identity in self.state.members) or "nobody"
            parts = [f"room {self.state.name!r}; in it: {people}"]
            parts.extend(app.summary() for app in self.state.applications.values())
            if not self.state.applications:
                parts.append("no application has joined")
        return "\n  ".join(parts)
