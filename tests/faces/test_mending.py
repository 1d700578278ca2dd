"""What is done when the I/O process has died, step by step: the connection is of paper, time and
threads go on when the test says so."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ringroom.errors import ClosedError, LostProcessError, RingroomError, RoomError, StartupError
from ringroom.events import EventKind
from ringroom.faces import mending
from ringroom.faces.connection import Connection, Prepared
from ringroom.faces.mending import STANDBY_LOOK_SECONDS, Mending, MendingCalls
from ringroom.options import Reconnect, SessionOptions
from ringroom.processes.supervision.supervisor import STANDBY_AFTER, Care

LOST, BACK = EventKind.CONNECTION_LOST, EventKind.CONNECTION_BACK
REFUSED = RoomError("no", reason="unreachable")


class Paper:
    """A connection, its machine, and whoever is told; a `Mending` that has just begun."""

    def __init__(self, *, standby: bool = False, **policy: Any) -> None:
        self.time = 100.0
        self.threads: list[Callable[[], object]] = []
        self.no_thread: StartupError | None = None
        self.told: list[EventKind] = []
        self.done: list[str] = []
        self.refuses: RingroomError | None = None
        """What `prepare` raises, and what a standby is refused with."""
        self.closes: RingroomError | None = None
        """What reopening raises."""
        self.links: list[SimpleNamespace] = []
        self.refused: RingroomError | None = None
        """What the I/O process says of the room."""
        self.session = SimpleNamespace(
            interrupted=False, take_refusal=self._take_refusal, joined=object()
        )
        reconnect = Reconnect(jitter=0.0, **policy)
        connection = SimpleNamespace(
            machine=SimpleNamespace(
                now=lambda: self.time,
                now_ns=lambda: int(self.time * 1e9),
                start_thread=self._start_thread,
            ),
            lock=threading.RLock(),
            options=SessionOptions(reconnect=reconnect),
            session=self.session,
            host=SimpleNamespace(how_it_died=lambda: " (killed by signal 9)"),
            prepare=self._prepare,
            keep_standby=self._keep_standby,
        )
        calls = MendingCalls(
            reopen=self._reopen,
            rejoin=lambda: self.done.append("rejoin"),
            tell=lambda kind, _: self.told.append(kind),
            wake=lambda: self.done.append("wake"),
        )
        care = Care(places=1, restarts=reconnect.retries, window=reconnect.deadline)
        self.mending = Mending(cast(Connection, connection), care, calls, standby)
        self.mending.begin()

    def _start_thread(self, _: str, run: Callable[[], object]) -> None:
        if self.no_thread is not None:
            raise self.no_thread
        self.threads.append(run)

    def _prepare(self) -> Prepared:
        if self.refuses is not None:
            raise self.refuses
        link = SimpleNamespace(closed=False)
        link.close = lambda: setattr(link, "closed", True)
        self.links.append(link)
        return Prepared(link=cast(Any, link), blob=b"", descriptors=())

    def _reopen(self, _: Prepared) -> None:
        if self.closes is not None:
            raise self.closes
        self.done.append("reopen")
        self.session.interrupted = False

    def _take_refusal(self) -> RingroomError | None:
        error, self.refused = self.refused, None
        return error

    def _keep_standby(self) -> bool:
        self.done.append("standby")
        if self.refuses is not None:
            raise self.refuses
        return True

    def die(self) -> None:
        self.session.interrupted, self.session.joined = True, None
        self.mending.turn()

    def prepare(self) -> None:
        """The thread that was started does its work, and what it brings is used."""
        self.threads.pop()()
        self.mending.turn()

    def join(self) -> None:
        self.session.joined = object()
        self.mending.turn()

    def go_on(self, seconds: float) -> None:
        self.time += seconds
        self.mending.turn()

    def wait(self) -> float:
        """Until it has something to do; how long that was."""
        patience = self.mending.patience()
        assert patience is not None
        self.go_on(patience)
        return patience


def test_another_process_joins_and_everybody_is_told_once() -> None:
    paper = Paper()
    paper.mending.turn()
    assert (paper.threads, paper.mending.patience()) == ([], None)
    paper.die()
    paper.mending.turn()
    assert (len(paper.threads), paper.told) == (1, [LOST])
    paper.prepare()
    assert paper.done == ["wake", "reopen"]
    assert not paper.links[0].closed
    paper.mending.turn()
    paper.join()
    paper.mending.turn()
    assert paper.done == ["wake", "reopen", "rejoin"]
    assert paper.told == [LOST, BACK]
    paper.time += 60.0
    paper.die()
    assert paper.told == [LOST, BACK, LOST]


def test_a_standby_is_kept_while_the_room_is_joined() -> None:
    paper = Paper(standby=True)
    assert paper.wait() == STANDBY_AFTER
    assert paper.done == ["standby"]
    assert paper.wait() == STANDBY_LOOK_SECONDS
    assert paper.done == ["standby", "standby"]
    paper.die()
    paper.prepare()
    assert paper.mending.patience() is None, "who joins needs the cores for it"
    paper.go_on(60.0)
    assert paper.done.count("standby") == 2
    paper.join()
    assert paper.wait() == STANDBY_AFTER
    assert paper.done.count("standby") == 3


def test_processes_that_die_one_after_the_other_are_waited_for_longer_and_longer() -> None:
    paper = Paper(retries=5)
    paper.refuses = LostProcessError("it does not start")
    paper.time += 60.0
    paper.die()
    waits = []
    while paper.mending.failure is None:
        waits.append(0.0 if paper.threads else paper.wait())
        paper.prepare()
    assert waits == pytest.approx([0.0, 0.0, 0.1, 0.2, 0.4])
    assert paper.mending.failure is paper.refuses
    assert paper.told == [LOST]
    paper.go_on(1_000.0)
    assert not paper.threads


def test_the_deadline_is_that_of_the_outage_also_where_processes_die() -> None:
    paper = Paper(retries=1_000, deadline=30.0)
    paper.refuses = LostProcessError("it does not start")
    paper.time += 60.0
    paper.die()
    paper.time += 29.0
    paper.prepare()
    assert paper.mending.failure is None
    paper.time += 2.0
    paper.prepare()
    assert paper.mending.failure is paper.refuses


def test_who_is_not_let_in_tries_again_as_after_any_other_loss() -> None:
    paper = Paper(retries=3, backoff=1.0)
    paper.die()
    waits = []
    for _ in range(3):
        paper.prepare()
        paper.refused = REFUSED
        paper.mending.turn()
        waits.append(paper.wait())
    assert waits == [1.0, 2.0, 4.0]
    paper.prepare()
    paper.refused = REFUSED
    paper.mending.turn()
    assert paper.mending.failure is REFUSED
    assert paper.told == [LOST]


@pytest.mark.parametrize(
    "error", [RoomError("no", reason="unauthorized"), ClosedError("it is closed")]
)
def test_what_no_other_try_would_change_is_the_end(error: RingroomError) -> None:
    paper = Paper()
    paper.closes = error if isinstance(error, ClosedError) else None
    paper.die()
    paper.prepare()
    paper.refused = error if isinstance(error, RoomError) else None
    paper.mending.turn()
    assert paper.mending.failure is error
    assert (paper.mending.patience(), paper.threads) == (None, [])


def test_a_process_that_dies_while_it_joins_is_replaced() -> None:
    paper = Paper()
    paper.time += 60.0
    paper.die()
    paper.prepare()
    paper.die()
    assert len(paper.threads) == 1
    paper.session.joined = object()  # of the one before: nobody has joined yet
    paper.mending.turn()
    assert (paper.told, paper.done) == ([LOST], ["wake", "reopen"])
    paper.prepare()
    paper.join()
    assert paper.told == [LOST, BACK]


@pytest.mark.parametrize("ready", [False, True], ids=["under way", "ready"])
def test_what_is_under_way_at_the_end_is_given_up(ready: bool) -> None:
    paper = Paper()
    paper.die()
    (run,) = paper.threads
    if ready:
        run()
    paper.mending.close()
    if not ready:
        run()
    assert paper.links[0].closed
    paper.mending.turn()
    paper.mending.close()
    assert "reopen" not in paper.done


def test_whoever_closes_as_a_try_begins_finds_nothing_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On another thread, which does not wait for this one for ever."""
    attempt = mending._Attempt

    def overtaken() -> Any:
        paper.mending.close()
        return attempt()

    paper = Paper()
    with monkeypatch.context() as patched:
        patched.setattr(mending, "_Attempt", overtaken)
        paper.die()
    for run in paper.threads:
        run()
    assert [link.closed for link in paper.links] == [True] * len(paper.links)
    assert paper.mending._attempt is None


@pytest.mark.parametrize("error", [None, REFUSED], ids=["joins", "refused"])
def test_whoever_closes_while_a_try_is_used_ends_it(error: RingroomError | None) -> None:
    paper = Paper()
    paper.closes = error
    reopen = paper.mending._calls.reopen

    def overtaken(prepared: Prepared) -> None:
        paper.mending.close()
        reopen(prepared)

    paper.mending._calls = replace(paper.mending._calls, reopen=overtaken)
    paper.die()
    paper.prepare()
    paper.session.joined = object()
    for _ in range(3):
        paper.go_on(100.0)
    assert not paper.threads
    assert "rejoin" not in paper.done
    assert not paper.mending.is_up
    assert paper.mending.patience() is None


def test_a_token_function_that_exits_ends_its_thread_alone() -> None:
    paper = Paper(retries=1)
    paper.refuses = cast(Any, SystemExit("no token today"))
    paper.die()
    paper.prepare()
    assert isinstance(paper.mending.failure, LostProcessError)
    assert str(paper.mending.failure).endswith("no other came: no token today")


def test_where_no_thread_is_to_be_had_it_is_tried_again() -> None:
    paper = Paper()
    paper.no_thread = StartupError("no thread")
    paper.die()
    assert (paper.threads, paper.told) == ([], [LOST])
    paper.wait()
    paper.no_thread = None
    paper.wait()
    paper.prepare()
    paper.join()
    assert paper.told == [LOST, BACK]


def test_where_none_is_ever_to_be_had_it_is_given_up_by_that_error() -> None:
    paper = Paper(retries=3)
    paper.no_thread = StartupError("no thread")
    paper.die()
    tries = 0
    while paper.mending.failure is None:
        paper.wait()
        tries += 1
        assert tries < 10
    assert paper.mending.failure is paper.no_thread


def test_a_standby_that_was_refused_is_asked_for_again(caplog: pytest.LogCaptureFixture) -> None:
    paper = Paper(standby=True)
    paper.refuses = StartupError("no process")
    assert paper.wait() == STANDBY_AFTER
    for _ in range(3):
        assert paper.wait() == STANDBY_LOOK_SECONDS
    assert caplog.messages == ["no standby I/O process: no process"], "told once a minute"
    paper.refuses = None
    assert paper.wait() == STANDBY_LOOK_SECONDS
    assert paper.wait() == STANDBY_LOOK_SECONDS
    assert paper.done == ["standby"] * 6


def test_what_waits_for_another_process_as_the_interpreter_ends_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paper = Paper()
    monkeypatch.setattr(mending, "interpreter_is_ending", lambda: True)
    paper.mending.turn()
    assert paper.mending.failure is None, "the I/O process may live"
    paper.die()
    assert isinstance(paper.mending.failure, LostProcessError)
    assert (paper.told, paper.threads, paper.mending.patience()) == ([], [], None)
