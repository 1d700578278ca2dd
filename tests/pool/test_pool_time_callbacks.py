"""Pools in virtual time: what the application is told, what its callbacks may do, and that nothing
of a pool or a track that is over stays behind."""

from __future__ import annotations

import sys
from typing import Any, ClassVar

import pool_time_kit
import pytest
from pool_time_kit import NOBODY, Sleeps, Talks, pieces, running

import processors_kit as kit
from app_kit import RATE, sound
from ringroom.errors import ClosedError, LostProcessError
from ringroom.events import Event, EventKind
from ringroom.pool.staff import Staff
from ringroom.processes.worker.answering import Answering
from ringroom.processor import Problem
from ringroom.testing import FakeRoom
from ringroom.testing.virtual import VirtualClock

clock = pool_time_kit.clock
room = pool_time_kit.room


def test_who_is_stuck_is_told_though_the_track_speaks_on_and_its_ring_is_full(
    clock: VirtualClock, room: FakeRoom
) -> None:
    problems: list[tuple[float, Problem]] = []
    options = {"max_age": 0.2, "stuck_after": 5.0}
    mic = room.join("ann").publish_audio("mic", sample_rate=RATE)

    def tell(problem: Problem) -> None:
        problems.append((clock.now(), problem))

    with running(clock, room, Sleeps, on_error=tell, **options) as pool:
        mic.wait_for_subscriber()
        began = clock.now()
        mic.speak(pieces(1), realtime=False)
        mic.tone(440, seconds=20, wait=True)
        assert pool.stats().received.dropped_full
        ((when, problem),) = problems
        assert problem.where == "stuck"
        assert when - began == pytest.approx(5.0, abs=1.0)


def test_who_had_no_time_for_a_place_has_no_problem_with_its_end(
    clock: VirtualClock, room: FakeRoom
) -> None:
    problems: list[Problem] = []
    with running(clock, room, kit.Teller, spares=1, on_error=problems.append):
        clock.sleep(3.0)
        clock.freeze("ringroom-io", 1.0)
        clock.kill("ringroom-worker-0")
        clock.sleep(0.1)
    assert not problems


@pytest.mark.parametrize("kinds", [["audio"], {"audio"}, frozenset({"audio", "event"})])
def test_who_listens_to_events_gets_them_whatever_holds_the_kinds(
    clock: VirtualClock, room: FakeRoom, kinds: Any
) -> None:
    events: list[EventKind] = []

    def note(event: Event) -> None:
        events.append(event.kind)

    with running(clock, room, kit.quieter, kinds=kinds, on_event=note) as pool:
        room.join("ann")
        clock.sleep(1.0)
        assert set(pool._connection.options.kinds) == {"audio", "event"}
    assert EventKind.PARTICIPANT_JOINED in events


def test_closing_does_not_wait_for_ever_for_a_callback(clock: VirtualClock, room: FakeRoom) -> None:
    """It may wait for whoever is closing."""
    with running(clock, room, kit.quieter, on_event=lambda _: clock.sleep(1_000.0)):
        clock.sleep(0.1)
        began = clock.now()
    assert clock.now() - began < 10.0
    clock.sleep(1_000.0)  # it comes back to a pool that is closed
    assert set(clock.roles) <= NOBODY


def test_a_close_that_is_interrupted_leaves_nothing_behind(
    clock: VirtualClock, room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: Staff, seconds: float | None) -> None:
        raise KeyboardInterrupt

    with running(clock, room, kit.Echo, workers=2) as pool:
        clock.sleep(0.1)
        with monkeypatch.context() as patched:
            patched.setattr(Staff, "turn", interrupt)
            with pytest.raises(KeyboardInterrupt):
                pool.close()
        assert set(clock.roles) <= NOBODY
        with pytest.raises(ClosedError):
            pool.send(sound(0.1))


def test_the_death_that_ends_the_pool_is_told_before_who_waits_hears_of_it(
    clock: VirtualClock, room: FakeRoom
) -> None:
    events: list[EventKind] = []

    def note(event: Event) -> None:
        events.append(event.kind)

    with running(clock, room, kit.Echo, restarts=0, on_event=note) as pool:
        clock.sleep(0.1)
        clock.kill("ringroom-io")
        with pytest.raises(LostProcessError):
            pool.wait(10.0)
        assert events[-1] is EventKind.CONNECTION_LOST


class TalksLive(Talks):
    """Sends more at once than a live track takes."""

    mode: ClassVar[Any] = "live"
    answering: ClassVar[list[Answering]] = []

    def start(self, context: Any) -> None:
        self.answering.append(context._answering)


def test_of_tracks_that_have_ended_nothing_is_kept(clock: VirtualClock, room: FakeRoom) -> None:
    TalksLive.answering.clear()
    problems: list[Problem] = []
    with running(clock, room, TalksLive, on_error=problems.append):
        for name in ("ann", "bob"):
            who = room.join(name)
            mic = who.publish_audio("mic", sample_rate=RATE)
            mic.wait_for_subscriber()
            mic.speak(pieces(1), realtime=False)
            clock.sleep(0.1)
            who.leave()
            clock.sleep(5.0)
        (answering,) = TalksLive.answering
        assert answering.replies is not None
        assert not len(answering.problems)
        assert not answering.replies.end_requests
        assert not answering.replies.session.requests.answers
    assert [problem.count for problem in problems] == [1, 1]


def test_a_callback_that_exits_ends_the_pool_for_who_waits(
    clock: VirtualClock, room: FakeRoom, caplog: pytest.LogCaptureFixture
) -> None:
    exits = running(clock, room, kit.Echo, on_event=lambda _: sys.exit(3))
    with exits as pool, pytest.raises(SystemExit, match="3"):
        pool.wait(10.0)
    caplog.clear()  # a record keeps the frames of its error
