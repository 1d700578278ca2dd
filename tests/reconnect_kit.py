"""What the tests of joining anew share: policies, and the events of a transport."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import ringroom
from app_kit import PATIENCE, check_law, opened, until
from ringroom.events import Event, EventKind
from ringroom.options import Reconnect
from ringroom.testing import FakeRoom

ALL = ("audio", "data", "event")
# Quick, and never given up by a busy machine.
SOON = Reconnect(retries=1_000, backoff=0.02, longest=0.1, deadline=600.0)
BRIEF = Reconnect(retries=2, backoff=0.02, longest=0.02)


class Told:
    """The events of a transport, read on a thread."""

    def __init__(self, transport: Any) -> None:
        self.events: list[Event] = []
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._read, args=(transport,), daemon=True)
        self._thread.start()

    def _read(self, transport: Any) -> None:
        try:
            self.events.extend(iter(transport.recv(kinds=("event",))))
        except (ringroom.RingroomError, StopIteration) as error:
            self.error = error

    def kinds(self) -> list[str]:
        return [str(event.kind) for event in list(self.events)]

    def wait(self, kind: EventKind, count: int = 1) -> Event:
        until(lambda: self.kinds().count(kind) >= count, f"{count} x {kind}, not {self.kinds()}")
        return [event for event in self.events if event.kind is kind][count - 1]

    def join(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


@contextlib.contextmanager
def listening(room: FakeRoom, **options: Any) -> Iterator[tuple[Any, Told]]:
    """A transport in the room, and its events."""
    with opened(room, **{"kinds": ALL, "reconnect": SOON, **options}) as transport:
        told = Told(transport)
        yield transport, told
        check_law(transport)
        transport.close()
        told.join()


# A test module takes it by assignment: ruff takes a fixture that is imported for unused.
@pytest.fixture(params=["thread", "process"])
def io(request: pytest.FixtureRequest) -> str:
    return str(request.param)
