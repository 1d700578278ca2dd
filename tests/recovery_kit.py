"""What the tests of the recovery share: an I/O process that is killed, and what is told of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import ringroom
from app_kit import until
from ringroom.events import Event
from ringroom.testing import FakeRoom, faults
from ringroom.testing.simulation.laws import check_counts

LONG = 30.0
ALL = {"io": "process", "kinds": ("audio", "data", "event")}


class Events:
    """All events, taken on a thread of their own."""

    def __init__(self, transport: ringroom.Transport) -> None:
        self.all: list[Event] = []
        self._failure: Exception | None = None
        self._receiver = transport.recv(kinds=("event",))
        self._thread = threading.Thread(target=self._take)
        self._thread.start()

    def _take(self) -> None:
        try:
            for event in self._receiver:
                self.all.append(event)
        except ringroom.ClosedError:
            pass  # the test has closed it
        except Exception as error:  # noqa: BLE001 (raised again by `join`)
            self._failure = error

    @property
    def kinds(self) -> list[str]:
        return [str(event.kind) for event in list(self.all)]

    def back(self, times: int = 1) -> None:
        until(lambda: self.kinds.count("connection_back") == times, timeout=LONG)

    def join(self) -> None:
        self._thread.join(LONG)
        assert not self._thread.is_alive()
        if self._failure is not None:
            raise self._failure


def killed(transport: Any) -> int:
    """Its I/O process, by SIGKILL; the number that it had."""
    pid: int = transport.io_pid
    faults.killed(pid)
    return pid


def settled(transport: ringroom.Transport) -> ringroom.Statistics:
    """The accounts after `close`: whatever was sent is done, dropped or lost."""
    stats = transport.stats()
    check_counts(stats.lanes, over=True)
    return stats


def until_kind(items: Any, kind: str) -> None:
    for item in items:
        if isinstance(item, Event) and item.kind == kind:
            return
    raise AssertionError(f"no {kind}")


def run(scenario: Callable[[ringroom.aio.Transport], Any], room: FakeRoom, **options: Any) -> Any:
    options = {"io": "process", "max_age": 20.0, **options}

    async def main() -> ringroom.aio.Transport:
        async with ringroom.aio.transport("fake", room=room, **options) as transport:
            async with asyncio.timeout(2 * LONG):
                await scenario(transport)
        return transport

    return asyncio.run(main())
