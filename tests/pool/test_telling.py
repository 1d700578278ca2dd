"""What a pool tells: later than it happens, in order, and whatever its callbacks do."""

from __future__ import annotations

import logging

import pytest

from ringroom.events import Event, EventKind
from ringroom.notices import EVERY_NS
from ringroom.pool.options import PoolOptions
from ringroom.pool.telling import Telling
from ringroom.processor import WHERE, Problem


def problem(where: str = "process", count: int = 1) -> Problem:
    return Problem(worker=2, where=where, summary="it is bad", traceback="in work", count=count)


def test_what_happened_is_told_when_asked_for_in_order(caplog: pytest.LogCaptureFixture) -> None:
    told: list[object] = []
    telling = Telling(PoolOptions(on_event=told.append, on_error=told.append), lambda: 7)
    first, second = problem(), problem(count=2)
    telling.problem(first)
    telling.lost("worker 2 died")
    telling.replaced("worker 2 is another")
    telling.problem(second)
    assert told == []
    telling.tell_all()
    lost = Event(kind=EventKind.WORKER_LOST, reason="worker 2 died", received_ns=7)
    replaced = Event(kind=EventKind.WORKER_REPLACED, reason="worker 2 is another", received_ns=7)
    assert told == [first, lost, replaced, second]
    telling.tell_all()
    assert len(told) == 4, "once each"
    assert caplog.text.count("in work") == 1, "in full the first time only"
    assert "worker 2 died; what it was at is lost" in caplog.text
    assert (telling.deaths, telling.replacements) == (1, 1)
    assert telling.problems == dict.fromkeys(WHERE, 0) | {"process": 2}


def test_a_callback_that_raises_is_logged_and_the_others_are_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[Event] = []

    def listen(event: Event) -> None:
        told.append(event)
        if len(told) == 1:
            raise ValueError("not this one")

    telling = Telling(PoolOptions(on_event=listen), lambda: 0)
    telling.lost("a")
    telling.lost("b")
    telling.tell_all()
    assert [event.reason for event in told] == ["a", "b"]
    assert "not this one" in caplog.text


def test_callbacks_that_raise_again_and_again_do_not_fill_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(_: object) -> None:
        raise ValueError("not this one")

    now = [0]
    telling = Telling(PoolOptions(on_event=refuse, on_error=refuse), lambda: now[0])
    for _ in range(1_000):
        telling.event(EventKind.PARTICIPANT_CHANGED, "a")
    telling.problem(problem(count=2))
    telling.tell_all()
    raised = [f"a callback of the pool raised: {name}" for name in ("on_event", "on_error")]
    assert caplog.messages == raised, "each of them once"
    assert caplog.text.count("ValueError: not this one") == 2
    now[0] += EVERY_NS
    telling.event(EventKind.PARTICIPANT_CHANGED, "a")
    telling.tell_all()
    assert caplog.messages[2:] == [
        "a callback of the pool raised: on_event (999 more of this kind since it was last told)"
    ]


def test_a_callback_may_cause_more_to_be_told() -> None:
    told: list[str] = []

    def listen(event: Event) -> None:
        told.append(event.reason)
        if event.reason == "a":
            telling.event(EventKind.CONNECTION_LOST, "b")
            telling.tell_all()

    telling = Telling(PoolOptions(on_event=listen), lambda: 0)
    telling.event(EventKind.CONNECTION_LOST, "a")
    telling.tell_all()
    assert told == ["a", "b"]


def test_who_has_no_callbacks_has_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    telling = Telling(PoolOptions(), lambda: 0)
    telling.problem(problem(where="stuck", count=3))
    telling.replaced("worker 2 is another")
    telling.tell_all()
    assert "worker 2 is stuck: it is bad\nin work" in caplog.text
    assert "worker 2 is another" in caplog.text
