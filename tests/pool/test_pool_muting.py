"""A pool and its workers mute each other's tracks, and what is muted stays so."""

from __future__ import annotations

from typing import Any

import pytest

import ringroom
from app_kit import PATIENCE, microphone, say, until
from pool_kit import running
from ringroom.errors import ClosedError, FrameError
from ringroom.events import Event, EventKind, TrackInfo
from ringroom.frames import DataFrame
from ringroom.testing import FakeRoom, faults
from ringroom.testing.participants import FakeParticipant

LONG = 30.0


class Obeys(ringroom.Processor):
    """Says again what is said to it; a message has it mute and unmute."""

    kinds = ("audio", "data")

    def start(self, context: ringroom.Context) -> None:
        self.context = context
        with pytest.raises(ClosedError, match="not connected"):
            context.mute()

    def process(self, frame: Any) -> Any:
        if not isinstance(frame, DataFrame):
            return frame
        what, _, name = frame.payload.decode().partition(" ")
        try:
            getattr(self.context, what)(name)
        except FrameError as error:
            what = str(error)
        self.context.send_data(what, topic="done")
        return None


class Shy(ringroom.Processor):
    """Mutes what it is about to answer."""

    def start(self, context: ringroom.Context) -> None:
        self.context = context

    def open(self, track: TrackInfo) -> None:
        self.context.mute(track)

    def process(self, frame: Any) -> Any:
        return frame


class Told:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def until(self, kind: EventKind, count: int = 1) -> None:
        until(lambda: sum(one.kind is kind for one in self.events) == count, str(kind), LONG)


def ask(room: FakeRoom, who: FakeParticipant, text: str) -> None:
    """Have the worker that hears somebody do it."""
    done = len(room.application.messages)
    who.send_data(text)
    assert (
        room.wait_for_data("done", done + 1, timeout=LONG)[-1].payload == text.split()[0].encode()
    )


def until_muted(room: FakeRoom, *names: str) -> None:
    def so() -> bool:
        return bool(room.application.tracks) and room.application.muted == {*names}

    until(so, "so much being muted", LONG)


def test_whoever_mutes_it_a_track_is_muted(fake_room: FakeRoom) -> None:
    """Each participant's tracks, and messages, go to a worker of their own."""
    with running(fake_room, Obeys, workers=2) as pool:
        people = [fake_room.join(who) for who in ("ann", "ben")]
        for person in people:
            mic = person.publish_audio("mic", 16_000)
            mic.wait_for_subscriber()
            say(mic, 0.1)
            fake_room.wait_for_audio(f"{person.identity}/mic", seconds=0.1)
        ann, ben = people
        assert pool.stats().received.sent
        pool.mute("ann/mic", timeout=LONG)
        until_muted(fake_room, "ann/mic")
        ask(fake_room, ann, "unmute ann/mic")
        ask(fake_room, ann, "mute ben/mic")
        until_muted(fake_room, "ben/mic")
        ask(fake_room, ben, "mute ann/mic")
        until_muted(fake_room, "ann/mic", "ben/mic")
        pool.unmute("ben/mic", timeout=LONG)
        until_muted(fake_room, "ann/mic")
        ben.send_data("mute ")
        says = fake_room.wait_for_data("done", 4, timeout=LONG)[-1]
        assert b"the track name is empty" in says.payload


def test_it_outlives_a_worker_and_the_io_process(fake_room: FakeRoom) -> None:
    told = Told()
    ann = fake_room.join("ann")
    mic = ann.publish_audio("mic", 16_000)
    with running(fake_room, Obeys, io="process", on_event=told) as pool:
        mic.wait_for_subscriber()
        say(mic, 0.1)
        fake_room.wait_for_audio("ann/mic", seconds=0.1)
        ask(fake_room, ann, "mute ann/mic")
        until_muted(fake_room, "ann/mic")
        faults.killed(pool.pids[0])
        told.until(EventKind.WORKER_REPLACED)
        say(mic, 0.1)
        faults.killed(pool.io_pid)
        faults.killed(pool.pids[0])
        told.until(EventKind.CONNECTION_BACK)
        told.until(EventKind.WORKER_REPLACED, 2)
        mic.wait_for_subscriber()
        say(mic, 0.1)
        until_muted(fake_room, "ann/mic")
        assert fake_room.heard("ann/mic").duration == pytest.approx(0.1)
        pool.unmute("ann/mic", timeout=LONG)
        say(mic, 0.1)
        fake_room.wait_for_audio("ann/mic", seconds=0.2, timeout=LONG)


def test_it_outlives_a_track_that_it_answers(fake_room: FakeRoom) -> None:
    """The answer ends with the track, by itself; the next one to that name is muted too."""
    ann = fake_room.join("ann")
    with running(fake_room, Obeys) as pool:
        for spoken in (0.1, 0.1):
            mic = ann.publish_audio("mic", 16_000)
            mic.wait_for_subscriber()
            say(mic, spoken)
            until(lambda: "ann/mic" in fake_room.application.tracks, timeout=LONG)
            pool.mute("ann/mic", timeout=LONG)
            mic.unpublish()
            until(lambda: not fake_room.application.tracks, timeout=LONG)
        assert fake_room.heard("ann/mic").duration < 0.11


def test_a_processor_mutes_what_it_has_not_begun(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room, "ann")
    with running(fake_room, Shy) as pool:
        mic.wait_for_subscriber()
        say(mic, 0.1)
        until_muted(fake_room, "ann/mic")
        until(lambda: pool.stats().sent.done == 5, timeout=PATIENCE)
        assert fake_room.heard("ann/mic").duration == 0
