"""Texts that a pool and its workers write while the others read them."""

from __future__ import annotations

from typing import Any

import processors_kit as kit
from app_kit import check_law, until
from pool_kit import running
from ringroom.events import Event, EventKind
from ringroom.testing import FakeRoom, faults
from ringroom.text_out import UNFINISHED

LONG = 30.0


def failures(events: list[Event]) -> list[str]:
    return [event.reason for event in events if event.kind is EventKind.DATA_FAILED]


def written(ann: Any, topic: str) -> Any:
    """The newest text of that topic."""
    return next((one for one in reversed(ann.texts) if one.topic == topic), None)


def test_a_processor_writes_without_waiting(fake_room: FakeRoom) -> None:
    ann, bob = fake_room.join("ann"), fake_room.join("bob")
    with running(fake_room, kit.Scribe) as pool:
        fake_room.wait_for_app()
        ann.send_data(b"write")
        [whole] = fake_room.wait_for_data("t", timeout=LONG)
        assert (whole.payload, whole.to) == (b"half and half", ("ann",))
        assert written(ann, "t").pieces == ("half", " and half")
        assert written(ann, "t").whole
        assert bob.texts == []
        ann.send_data(b"finish")
        fake_room.wait_for_data("t", count=2, timeout=LONG)
        assert written(ann, "t").whole
        assert written(ann, "t").attributes == {"final": "true"}
        # More than a lane takes at once: the worker keeps it.
        ann.send_data(b"much")
        fake_room.wait_for_data("t", count=3, timeout=LONG)
        assert len(written(ann, "t").text) == 13 + 180_000
        until(lambda: pool.stats().sent.in_flight == 0)
    check_law(pool)


def test_a_pool_writes_as_a_transport_does(fake_room: FakeRoom) -> None:
    ann = fake_room.join("ann")
    with running(fake_room, kit.Scribe) as pool:
        with pool.open_text(topic="pool", timeout=LONG) as text:
            text.write("from ")
            text.write("the pool")
            text.finish({"final": "true"})
        fake_room.wait_for_data("pool", timeout=LONG)
        assert written(ann, "pool").attributes == {"final": "true"}
        assert written(ann, "pool").pieces == ("from ", "the pool")


def test_a_processor_that_raises_leaves_its_text_unfinished(fake_room: FakeRoom) -> None:
    ann = fake_room.join("ann")
    problems: list[Any] = []
    with running(fake_room, kit.Scribe, on_error=problems.append) as pool:
        fake_room.wait_for_app()
        ann.send_data(b"raise")
        fake_room.wait_until(lambda: ann.texts and ann.texts[0].ended, timeout=LONG)
        assert (ann.texts[0].text, ann.texts[0].reason) == ("half", UNFINISHED)
        until(lambda: problems, timeout=LONG)
        assert "in the middle" in problems[0].summary
    check_law(pool)


def test_a_worker_that_dies_leaves_its_texts_unfinished(fake_room: FakeRoom) -> None:
    """What it has written still goes out, then they are closed; the next one begins anew."""
    ann = fake_room.join("ann")
    events: list[Event] = []
    with running(fake_room, kit.Scribe, on_event=events.append) as pool:
        fake_room.wait_for_app()
        ann.send_data(b"hold")
        fake_room.wait_until(lambda: written(ann, "held"), timeout=LONG)
        ann.send_data(b"die")
        fake_room.wait_until(
            lambda: len(ann.texts) == 2 and all(one.ended for one in ann.texts), timeout=LONG
        )
        assert [(one.text, one.reason) for one in ann.texts] == [("half", UNFINISHED)] * 2
        until(lambda: len(failures(events)) == 2, timeout=LONG)
        assert sorted(failures(events)) == [
            "a text ('held') is unfinished: its sender has not ended it",
            "a text ('t') is unfinished: its sender has not ended it",
        ]
        ann.send_data(b"write")
        fake_room.wait_for_data("t", timeout=LONG)
        assert written(ann, "t").whole
    check_law(pool)


def test_a_text_that_is_left_open_ends_with_its_worker(fake_room: FakeRoom) -> None:
    ann = fake_room.join("ann")
    with running(fake_room, kit.Scribe) as pool:
        fake_room.wait_for_app()
        ann.send_data(b"hold")
        fake_room.wait_until(lambda: written(ann, "held"), timeout=LONG)
        pool.close()
        fake_room.wait_until(lambda: ann.texts[0].ended, timeout=LONG)
        assert not ann.texts[0].whole
    check_law(pool)


def test_a_text_of_a_worker_does_not_outlive_the_io_process(fake_room: FakeRoom) -> None:
    ann = fake_room.join("ann")
    events: list[Event] = []
    options: dict[str, Any] = {"io": "process", "on_event": events.append}
    with running(fake_room, kit.Scribe, **options) as pool:
        fake_room.wait_for_app()
        ann.send_data(b"hold")
        fake_room.wait_until(lambda: written(ann, "held"), timeout=LONG)
        faults.killed(pool.io_pid)
        fake_room.wait_until(lambda: written(ann, "held").ended, timeout=LONG)
        assert not written(ann, "held").whole
        back = EventKind.CONNECTION_BACK
        until(lambda: back in [event.kind for event in events], timeout=LONG)
        ann.send_data(b"write")
        fake_room.wait_for_data("t", timeout=LONG)
        assert written(ann, "t").whole
    check_law(pool)
