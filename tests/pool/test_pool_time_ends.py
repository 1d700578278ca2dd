"""Pools in virtual time: who sends when the pool has ended by itself is told, and how it closes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import pool_time_kit
import pytest
from pool_time_kit import NOBODY, made, running

import processors_kit as kit
from app_kit import descriptors, interrupted, sound
from ringroom import client
from ringroom.errors import ClosedError, LostProcessError
from ringroom.events import Event, EventKind
from ringroom.faces import connection
from ringroom.faces.mending import Mending
from ringroom.link import open_links
from ringroom.pool import Pool, staff, watch
from ringroom.pool import pool as pool_module
from ringroom.processes.supervision.crew import Crew
from ringroom.processor import Processor
from ringroom.providers.fake import Fake
from ringroom.sessions.inbox import Inbox
from ringroom.testing import FakeRoom
from ringroom.testing.virtual import VirtualClock

clock = pool_time_kit.clock
room = pool_time_kit.room
MAX_MOMENTS = 200

CALLS: dict[str, Callable[[Pool], Any]] = {
    "send": lambda pool: pool.send(sound(0.1), timeout=60.0),
    "send_nowait": lambda pool: pool.send_nowait(sound(0.1)),
    "wait_playout": lambda pool: pool.wait_playout(timeout=60.0),
    "unpublish": lambda pool: pool.unpublish(timeout=60.0),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("died", ["ringroom-io", "ringroom-worker-0"])
def test_who_sends_is_told_why_a_pool_was_given_up(
    clock: VirtualClock,
    room: FakeRoom,
    caplog: pytest.LogCaptureFixture,
    died: str,
    call: Callable[[Pool], Any],
) -> None:
    with running(clock, room, kit.Echo, restarts=0) as pool:
        pool.send(sound(0.1))
        clock.kill(died)
        with pytest.raises(LostProcessError) as why:
            pool.wait(60.0)
        assert pool.ended == "failed"
        with pytest.raises(LostProcessError) as told:
            call(pool)
        assert str(told.value) == str(why.value)
    caplog.clear()  # a record keeps the frames of its error


def _left(clock: VirtualClock, room: FakeRoom, error: Exception | None = None) -> None:
    with running(clock, room, kit.Echo, restarts=0) as pool:
        clock.kill("ringroom-worker-0")
        clock.sleep(60.0)
        assert pool.ended == "failed"
        if error is not None:
            raise error


def test_who_leaves_a_pool_that_was_given_up_is_told(clock: VirtualClock, room: FakeRoom) -> None:
    with pytest.raises(LostProcessError, match="worker 0 was killed"):
        _left(clock, room)


def test_an_error_of_ones_own_comes_before_that(clock: VirtualClock, room: FakeRoom) -> None:
    with pytest.raises(KeyError):
        _left(clock, room, KeyError("ours"))


def test_who_was_told_as_he_sent_is_not_told_again(clock: VirtualClock, room: FakeRoom) -> None:
    with running(clock, room, kit.Echo, restarts=0) as pool:
        clock.kill("ringroom-worker-0")
        clock.sleep(60.0)
        with pytest.raises(LostProcessError):
            pool.send(sound(0.1))


def test_who_waits_to_send_as_the_pool_is_given_up_is_told(
    clock: VirtualClock, room: FakeRoom
) -> None:
    with running(clock, room, kit.Echo, restarts=0) as pool:
        clock.start_thread("killer", lambda: (clock.sleep(1.0), clock.kill("ringroom-io")))
        with pytest.raises(LostProcessError):
            pool.send(sound(600.0), timeout=60.0)


def test_who_sends_is_told_that_a_callback_has_ended_the_pool(
    clock: VirtualClock, room: FakeRoom, caplog: pytest.LogCaptureFixture
) -> None:
    with running(clock, room, kit.Echo, on_event=lambda _: sys.exit(3)) as pool:
        with pytest.raises(SystemExit):
            pool.wait(60.0)
        with pytest.raises(ClosedError, match=r"the pool has ended: SystemExit\(3\)"):
            pool.send(sound(0.1), timeout=60.0)
    caplog.clear()


@pytest.mark.parametrize("told", [False, True], ids=["", "on_event"])
def test_who_sends_after_the_rooms_end_is_told(
    clock: VirtualClock, room: FakeRoom, told: bool
) -> None:
    events: list[Event] = []
    with running(clock, room, kit.Echo, on_event=events.append if told else None) as pool:
        clock.sleep(0.1)
        room.close_room("over and out")
        assert pool.wait(60.0) == "over and out"
        assert bool(events) == told
        for send in (pool.send, pool.send_nowait):
            with pytest.raises(ClosedError, match="over and out"):
                send(sound(0.1))


def test_what_reads_events_is_closed_while_nobody_looks(
    clock: VirtualClock, room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A supervision that comes late out of a callback looks under the connection's lock."""
    held: list[bool] = []
    close = Inbox.close

    def noted(inbox: Inbox) -> None:
        if inbox is pool._watch._inbox and not inbox.closed:
            held.append(pool._connection.lock._owner is clock.role())  # type: ignore[attr-defined]
        close(inbox)

    monkeypatch.setattr(Inbox, "close", noted)
    with running(clock, room, kit.Echo, on_event=lambda _: clock.sleep(1_000.0)) as pool:
        clock.sleep(0.1)
    assert held == [True]
    clock.sleep(1_000.0)


class Loads(Processor):
    """Takes a minute to start."""

    def start(self, context: Any) -> None:
        context._answering.machine.sleep(60.0)


def nobody_is_left(clock: VirtualClock, room: FakeRoom) -> None:
    clock.sleep(1.0)
    assert set(clock.roles) <= NOBODY
    assert not room.participants


def test_a_pool_that_is_closed_while_its_workers_start_does_not_start(
    clock: VirtualClock, room: FakeRoom
) -> None:
    pool = made(clock, room, Loads, workers=2)
    clock.start_thread("closer", lambda: (clock.sleep(5.0), pool.close()))
    began = clock.now()
    with pytest.raises(ClosedError, match="closed as it started"):
        pool.__enter__()
    assert clock.now() - began < 20.0
    nobody_is_left(clock, room)


def test_a_pool_that_is_closed_while_a_token_is_minted_leaves_the_room(
    clock: VirtualClock, room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    handover = Fake.handover

    def mint(spec: Fake) -> Any:
        clock.sleep(5.0)
        return handover(spec)

    monkeypatch.setattr(Fake, "handover", mint)
    pool = made(clock, room, kit.Echo)
    clock.start_thread("closer", lambda: (clock.sleep(2.0), pool.close()))
    with pytest.raises(ClosedError):
        pool.__enter__()
    nobody_is_left(clock, room)


def test_a_signal_handler_that_closes_a_pool_between_two_workers_leaves_nobody(
    clock: VirtualClock, room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_worker = clock.io.start_worker

    def interrupted(place: int, *arguments: Any) -> Any:
        if place == 1:
            pool.close()
        return start_worker(place, *arguments)

    monkeypatch.setattr(clock.io, "start_worker", interrupted)
    pool = made(clock, room, kit.Echo, workers=3)
    with pytest.raises(ClosedError, match="closed as it started"):
        pool.__enter__()
    nobody_is_left(clock, room)


# Closing.


def test_a_close_that_was_interrupted_can_be_repeated(clock: VirtualClock, room: FakeRoom) -> None:
    for moment in range(1, MAX_MOMENTS):
        pool = made(clock, room, kit.Echo).__enter__()
        modules = (client, connection, pool_module, staff, watch)
        done = not interrupted(pool.close, moment, *modules)
        pool.close()
        nobody_is_left(clock, room)
        if done:
            break
    assert 5 < moment < MAX_MOMENTS


@pytest.mark.parametrize("step", ["Crew.close", "Mending.close", "Pool._leave"])
def test_whatever_step_of_a_close_is_interrupted_the_others_are_done(
    clock: VirtualClock, room: FakeRoom, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def interrupt(_: Any) -> None:
        raise KeyboardInterrupt

    name, method = step.split(".")
    of = {"Crew": Crew, "Mending": Mending, "Pool": Pool}[name]
    with running(clock, room, kit.Echo) as pool:
        # Of a place that nobody has taken yet.
        pool._staff._places._links[0], far = open_links()
        link = pool._staff._places._links[0]
        far.close()
        with monkeypatch.context() as patched:
            patched.setattr(of, method, interrupt)
            with pytest.raises(KeyboardInterrupt):
                pool.close()
        assert pool._connection.session.closed
        assert link.closed
        nobody_is_left(clock, room)


def test_a_pool_that_is_closed_opens_no_links_for_another_io_process(
    clock: VirtualClock, room: FakeRoom
) -> None:
    """The supervision thread was so long about it that whoever closed had not waited for it."""
    with running(clock, room, kit.Echo) as pool:
        pass
    before = descriptors()
    ours, far = open_links()
    prepared = connection.Prepared(ours, b"", (os.dup(0),))
    with pytest.raises(ClosedError):
        pool._watch._reopen(prepared)
    far.close()
    assert (ours.closed, pool._staff._places._links) == (True, {})
    assert descriptors() == before


def test_whoever_closes_comes_back_to_what_is_closed(clock: VirtualClock, room: FakeRoom) -> None:
    with running(clock, room, kit.Echo, on_event=lambda _: clock.sleep(1_000.0)) as pool:
        clock.sleep(0.1)
        closer = clock.start_thread("closer", pool.close)
        clock.sleep(1.0)  # it waits for the callback
    assert pool._connection.session.closed
    closer.join()
    clock.sleep(1_000.0)
    nobody_is_left(clock, room)


def test_a_callback_that_closes_does_not_wait_for_who_waits_for_it(
    clock: VirtualClock, room: FakeRoom
) -> None:
    def close(event: Event) -> None:
        if event.kind is EventKind.CONNECTED:
            clock.sleep(1.0)
            pool.close()

    with running(clock, room, kit.Echo, on_event=close) as pool:
        clock.sleep(0.1)
        began = clock.now()
    assert clock.now() - began < 1.0
    nobody_is_left(clock, room)
