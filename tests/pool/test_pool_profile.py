"""A pool and its workers change what the others are told of the one participant that they are."""

from __future__ import annotations

from typing import Any

import pytest

import ringroom
from app_kit import Call, microphone, say, until
from pool_kit import running
from ringroom.errors import ClosedError
from ringroom.events import Event, EventKind
from ringroom.frames import AudioFrame
from ringroom.testing import FakeRoom, faults

LONG = 30.0


class Counts(ringroom.Processor):
    """Sets an attribute at each frame: by its worker's place how many there were."""

    def start(self, context: ringroom.Context) -> None:
        self.context = context
        self.frames = 0

    def process(self, frame: Any) -> None:
        assert isinstance(frame, AudioFrame)
        self.frames += 1
        self.context.set_profile(attributes={f"worker{self.context.worker}": str(self.frames)})


class Early(ringroom.Processor):
    def start(self, context: ringroom.Context) -> None:
        with pytest.raises(ClosedError):
            context.set_profile(name="early")

    def process(self, frame: Any) -> None: ...


def told(room: FakeRoom) -> dict[str, str] | None:
    found = [one for one in room.participants if one.identity == "app"]
    return dict(found[0].attributes) if found else None


@pytest.mark.parametrize("io", ["thread", "process"])
def test_workers_and_the_application_set_parts_of_one_profile(fake_room: FakeRoom, io: str) -> None:
    with running(fake_room, Counts, io=io, workers=2) as pool:
        pool.set_profile(attributes={"pool": "here"}, timeout=LONG)
        mics = [microphone(fake_room, who) for who in ("ann", "ben")]
        for mic in mics:
            mic.wait_for_subscriber()
            say(mic, 0.1)
        wanted = {"pool": "here", "worker0": "5", "worker1": "5"}
        until(lambda: told(fake_room) == wanted, timeout=LONG)
    with pytest.raises(ClosedError, match="pool is closed"):
        pool.set_profile(name="late")


def test_in_start_there_is_no_room_yet(fake_room: FakeRoom) -> None:
    with running(fake_room, Early):
        pass


def test_what_a_worker_sets_outlives_the_io_process_and_the_worker(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room, "ann")
    events: list[Event] = []

    def count(kind: EventKind) -> int:
        return sum(event.kind is kind for event in events)

    options = {"io": "process", "on_event": events.append}
    with running(fake_room, Counts, **options) as pool:
        mic.wait_for_subscriber()
        say(mic, 0.1)
        pool.set_profile(attributes={"pool": "here"}, timeout=LONG)
        wanted = {"pool": "here", "worker0": "5"}
        until(lambda: told(fake_room) == wanted, timeout=LONG)
        faults.killed(pool.pids[0])
        until(lambda: count(EventKind.WORKER_REPLACED) == 1, timeout=LONG)
        assert told(fake_room) == wanted
        faults.killed(pool.io_pid)
        until(lambda: count(EventKind.CONNECTION_BACK) == 1, timeout=LONG)
        until(lambda: told(fake_room) == wanted, timeout=LONG)
        pool.set_profile(attributes={"pool": ""}, timeout=LONG)
        assert told(fake_room) == {"worker0": "5"}


def test_what_a_worker_asks_for_while_there_is_no_io_process_is_done_later(
    fake_room: FakeRoom,
) -> None:
    mic = microphone(fake_room, "ann")
    events: list[Event] = []
    with running(fake_room, Counts, io="process", on_event=events.append) as pool:
        mic.wait_for_subscriber()
        with faults.frozen(pool.pids[0]):
            say(mic, 0.1)
            until(lambda: pool.stats().received.sent == 5, timeout=LONG)
            faults.killed(pool.io_pid)
        waiting = Call(pool.set_profile, attributes={"pool": "here"}, timeout=LONG)
        waiting.result(LONG)
        until(lambda: (told(fake_room) or {}).keys() == {"pool", "worker0"}, timeout=LONG)


def test_a_refusal_of_what_a_worker_sets_is_an_event(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room, "ann")
    events: list[Event] = []
    with (
        running(fake_room, Counts, on_event=events.append),
        fake_room.faults.profile_refused(),
    ):
        mic.wait_for_subscriber()
        say(mic, 0.02)
        failed = EventKind.PROFILE_FAILED
        until(lambda: [one.reason for one in events if one.kind is failed], timeout=LONG)
        assert told(fake_room) == {}
