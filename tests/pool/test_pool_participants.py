"""A pool and its workers ask who is in the room."""

from __future__ import annotations

from typing import Any

import pytest

import ringroom
from app_kit import microphone, say, until
from pool_kit import running, told
from ringroom.errors import ClosedError
from ringroom.events import Event, EventKind
from ringroom.testing import FakeRoom, faults

LONG = 30.0


class Asks(ringroom.Processor):
    """Says who is there at each frame."""

    def start(self, context: ringroom.Context) -> None:
        self.context = context
        with pytest.raises(ClosedError, match="not connected yet"):
            context.participants()

    def process(self, frame: Any) -> None:
        people = [f"{who.identity} {who.kind}" for who in self.context.participants()]
        self.context.send_data(", ".join(people), topic="there")


@pytest.mark.parametrize("io", ["thread", "process"])
def test_workers_and_the_application_are_told(fake_room: FakeRoom, io: str) -> None:
    mic = microphone(fake_room, "ann")
    fake_room.join("Bot", kind="agent")
    with running(fake_room, Asks, io=io) as pool:
        assert [who.identity for who in pool.participants(timeout=LONG)] == ["Bot", "ann"]
        mic.wait_for_subscriber()
        say(mic, 0.02)
        assert told(fake_room, "there") == ["Bot agent, ann standard"]
    with pytest.raises(ClosedError, match="pool is closed"):
        pool.participants()


def test_whoever_takes_the_place_of_one_that_died_asks_on(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room, "ann")
    events: list[Event] = []

    def count(kind: EventKind) -> int:
        return sum(event.kind is kind for event in list(events))

    options = {"io": "process", "on_event": events.append}
    with running(fake_room, Asks, **options) as pool:
        mic.wait_for_subscriber()
        say(mic, 0.02)
        told(fake_room, "there", 1)
        faults.killed(pool.pids[0])
        until(lambda: count(EventKind.WORKER_REPLACED) == 1, timeout=LONG)
        say(mic, 0.02)
        told(fake_room, "there", 2)
        faults.killed(pool.io_pid)
        assert [who.identity for who in pool.participants(timeout=LONG)] == ["ann"]
        until(lambda: count(EventKind.CONNECTION_BACK) == 1, timeout=LONG)
        mic.wait_for_subscriber()
        say(mic, 0.02)
        assert told(fake_room, "there", 3)[-1] == "ann standard"
