"""Pools in virtual time: what takes long, and what happens at the same moment."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pytest

import processors_kit as kit
from app_kit import RATE, check_law, sound
from ringroom import link
from ringroom import pool as pool_module
from ringroom.connection import Connection, Prepared
from ringroom.errors import ClosedError, LostProcessError, StartupError
from ringroom.frames import AudioFrame, Event, EventKind, TrackInfo
from ringroom.pool import Pool
from ringroom.processes import crew
from ringroom.processes.worker import Worker
from ringroom.processor import Problem, Processor
from ringroom.testing import FakeRoom
from ringroom.testing.virtual import VirtualClock

NOBODY = {"test", "fake room room", "ringroom-io"}
"""Who may be there without a pool: the I/O role is the clock's."""


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    with VirtualClock(limit=3_600.0) as clock:
        yield clock


@pytest.fixture
def room(clock: VirtualClock) -> Iterator[FakeRoom]:
    with FakeRoom(clock=clock) as room:
        yield room


@contextlib.contextmanager
def running(clock: VirtualClock, room: FakeRoom, processor: Any, **options: Any) -> Iterator[Pool]:
    options = {"max_age": 60.0, "workers": 1, "spares": 0, "standby": False, **options}
    with Pool(processor, "fake", room=room, io=clock.io, **options) as pool:
        yield pool


def pieces(count: int, value: int = 5) -> Any:
    """So many frames of 20 ms, all of that value."""
    return np.full(count * RATE // 50, value, np.int16)


class Sleeps(Processor):
    """Takes a minute for a frame of the value 5."""

    def start(self, context: Any) -> None:
        self.clock = context._worker.machine

    def process(self, frame: AudioFrame) -> None:
        if frame.samples[0, 0] == 5:
            self.clock.sleep(60.0)


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


class Bye(Processor):
    """Answers nothing but the end of a track, with two seconds."""

    def close(self, track: TrackInfo) -> AudioFrame:
        return AudioFrame(np.full(2 * RATE, 1_000, np.int16), RATE)


def test_a_drain_plays_out_the_answer_to_a_track_that_has_ended_before(
    clock: VirtualClock, room: FakeRoom
) -> None:
    ann = room.join("ann")
    mic = ann.publish_audio("mic", sample_rate=RATE)
    with running(clock, room, Bye, drain_timeout=30.0) as pool:
        mic.wait_for_subscriber()
        ann.leave()
        clock.sleep(0.3)
        pool.drain()
        assert room.heard("ann/mic").duration == pytest.approx(2.0)
    assert pool.stats().sent.lost == 0


def test_a_drain_waits_for_no_answer_that_has_been_played(
    clock: VirtualClock, room: FakeRoom
) -> None:
    ann = room.join("ann")
    mic = ann.publish_audio("mic", sample_rate=RATE)
    with running(clock, room, kit.Echo, drain_timeout=30.0) as pool:
        mic.wait_for_subscriber()
        mic.tone(440, seconds=0.2, wait=True)
        clock.sleep(1.0)
        ann.leave()
        clock.sleep(1.0)
        began = clock.now()
        pool.drain()
        assert clock.now() - began < 1.0


class Longer(Processor):
    """Answers each frame with a second."""

    def process(self, frame: AudioFrame) -> AudioFrame:
        return AudioFrame(np.full(RATE, 1_000, np.int16), RATE)


def test_a_drain_handles_what_a_full_track_holds_up_and_waits_without_turning(
    clock: VirtualClock, room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    before = Worker._wait

    def wait(worker: Worker, seconds: float | None = None) -> bool:
        waits.append(clock.now())
        assert waits.count(clock.now()) < 100, "it does not wait"
        return before(worker, seconds)

    monkeypatch.setattr(Worker, "_wait", wait)
    mic = room.join("ann").publish_audio("mic", sample_rate=RATE)
    with running(clock, room, Longer, drain_timeout=60.0) as pool:
        mic.wait_for_subscriber()
        mic.speak(pieces(8), realtime=False)
        clock.sleep(0.5)
        pool.drain()
        assert room.heard("ann/mic").duration == pytest.approx(8.0)
        received = pool.stats().received
        assert (received.sent, received.done) == (8, 8)
    check_law(pool)


def test_a_drain_waits_for_what_a_dead_worker_has_left(clock: VirtualClock, room: FakeRoom) -> None:
    """The next one has its place, and does not know yet what waits there."""
    mic = room.join("ann").publish_audio("mic", sample_rate=RATE)
    with running(clock, room, Sleeps, spares=1, drain_timeout=30.0) as pool:
        mic.wait_for_subscriber()
        clock.sleep(3.0)
        mic.speak(np.concatenate([pieces(1), pieces(3, value=1)]), realtime=False)
        clock.sleep(0.1)
        clock.freeze("ringroom-io", 1.0)
        clock.kill("ringroom-worker-0")
        clock.sleep(0.1)
        pool.drain()
    received = pool.stats().received
    assert (received.sent, received.done, received.lost) == (4, 3, 1)


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


class Busy(Processor):
    """Takes longer than the frame lasts; tells which tracks have ended."""

    ended: ClassVar[list[tuple[str, float]]] = []

    def start(self, context: Any) -> None:
        self.clock = context._worker.machine

    def process(self, frame: AudioFrame) -> None:
        self.clock.sleep(0.03)

    def close(self, track: TrackInfo) -> None:
        self.ended.append((track.participant, self.clock.now()))


def test_a_busy_worker_is_told_that_a_track_has_not_come_again(
    clock: VirtualClock, room: FakeRoom
) -> None:
    Busy.ended.clear()
    joined: list[float] = []

    def note(event: Event) -> None:
        if event.kind is EventKind.CONNECTION_BACK:
            joined.append(clock.now())

    ann, bob = room.join("ann"), room.join("bob")
    mics = [who.publish_audio("mic", sample_rate=RATE) for who in (ann, bob)]
    with running(clock, room, Busy, on_event=note, max_age=0.5) as pool:
        for mic in mics:
            mic.wait_for_subscriber()
        clock.sleep(2.0)
        with room.faults.hanging_connect():
            clock.kill("ringroom-io")
            clock.sleep(0.5)
            ann.leave()
        while not joined:
            clock.sleep(0.01)
        mics[1].tone(440, seconds=20, wait=True)
        ((who, when),) = Busy.ended
        assert who == "ann"
        assert when - joined[0] == pytest.approx(5.0, abs=0.2)
        assert pool.stats().received.dropped_stale


def test_a_worker_and_the_io_process_die_at_once(clock: VirtualClock, room: FakeRoom) -> None:
    """The next worker gets its place of an I/O process that is dead already, and then of another:
    what was under way is settled all the same."""
    mic = room.join("ann").publish_audio("mic", sample_rate=RATE)
    with running(clock, room, Sleeps, spares=1) as pool:
        mic.wait_for_subscriber()
        clock.sleep(3.0)
        mic.speak(pieces(1), realtime=False)
        clock.sleep(0.1)
        assert pool.stats().received.in_flight == 1
        clock.kill("ringroom-io")
        clock.kill("ringroom-worker-0")
        clock.sleep(5.0)
        assert not pool._unsettled
        received = pool.stats().received
        assert (received.sent, received.lost, received.in_flight) == (1, 1, 0)
        mic.wait_for_subscriber()
        mic.speak(pieces(1, value=1), realtime=False)
        clock.sleep(1.0)
        assert pool.stats().received.done == 1


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


@pytest.mark.parametrize(
    ("refused", "after"), [("crew", 0), ("pool", 0), ("message", 0), ("message", 1)]
)
def test_descriptors_run_out_while_a_worker_is_replaced(
    clock: VirtualClock,
    room: FakeRoom,
    monkeypatch: pytest.MonkeyPatch,
    refused: str,
    after: int,
) -> None:
    """Of the links to a worker, or of what is sent with a message to it: another try follows."""
    used = iter(range(1_000))

    def refuse_once(before: Any, where: str) -> Any:
        def call(*arguments: Any) -> Any:
            bare = where == "message" and not any(arguments[2:])  # it has no descriptors
            wanted = where == refused and not bare
            if wanted and clock.role().name == "ringroom-pool" and next(used) == after:
                raise StartupError("no descriptors left")
            return before(*arguments)

        return call

    events: list[EventKind] = []

    def note(event: Event) -> None:
        events.append(event.kind)

    mic = room.join("ann").publish_audio("mic", sample_rate=RATE)
    with running(clock, room, Sleeps, spares=1, on_event=note) as pool:
        mic.wait_for_subscriber()
        clock.sleep(3.0)
        monkeypatch.setattr(crew, "open_links", refuse_once(crew.open_links, "crew"))
        monkeypatch.setattr(pool_module, "open_links", refuse_once(link.open_links, "pool"))
        monkeypatch.setattr(link.Link, "send", refuse_once(link.Link.send, "message"))
        clock.kill("ringroom-worker-0")
        clock.sleep(3.0)
        assert next(used) > after
        mic.speak(pieces(1, value=1), realtime=False)
        clock.sleep(1.0)
        assert pool.stats().received.done == 1
        with pytest.raises(TimeoutError):
            pool.wait(0.1)
    assert EventKind.WORKER_REPLACED in events


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
    def interrupt(_: Pool, seconds: float | None) -> None:
        raise KeyboardInterrupt

    with running(clock, room, kit.Echo, workers=2) as pool:
        clock.sleep(0.1)
        with monkeypatch.context() as patched:
            patched.setattr(Pool, "_turn", interrupt)
            with pytest.raises(KeyboardInterrupt):
                pool.close()
        assert set(clock.roles) <= NOBODY
        with pytest.raises(ClosedError):
            pool.send(sound(0.1))


def test_a_pool_without_a_thread_is_closed(
    clock: VirtualClock, room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = clock.start_thread

    def start(name: str, run: Any) -> Any:
        if name == "ringroom-pool":
            raise RuntimeError("can't start new thread")
        return before(name, run)

    monkeypatch.setattr(clock, "start_thread", start)
    pool = Pool(kit.Echo, "fake", room=room, io=clock.io)
    with pytest.raises(RuntimeError), pool:
        pass
    assert set(clock.roles) <= NOBODY


def refuse(monkeypatch: pytest.MonkeyPatch, number: int) -> list[int]:
    """The pool does not get the link of that number from now on; how many it has asked for."""
    asked: list[int] = []

    def open_links() -> Any:
        asked.append(1)
        if len(asked) == number:
            raise StartupError("no descriptors left")
        return link.open_links()

    monkeypatch.setattr(pool_module, "open_links", open_links)
    return asked


def test_links_run_out_at_the_beginning(
    clock: VirtualClock, room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, 2)
    pool = Pool(kit.Echo, "fake", room=room, io=clock.io)
    with pytest.raises(StartupError), pool:
        pass
    assert set(clock.roles) <= NOBODY
    gc.collect()  # a link that nobody has closed warns


def test_links_run_out_while_the_room_is_joined_again(
    clock: VirtualClock, room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared: list[Prepared] = []
    before = Connection.prepare

    def prepare(connection: Connection) -> Prepared:
        prepared.append(before(connection))
        return prepared[-1]

    mic = room.join("ann").publish_audio("mic", sample_rate=RATE)
    with running(clock, room, Sleeps, workers=2) as pool:
        mic.wait_for_subscriber()
        monkeypatch.setattr(Connection, "prepare", prepare)
        asked = refuse(monkeypatch, 2)
        clock.kill("ringroom-io")
        clock.sleep(5.0)
        assert len(asked) == 4
        assert [one.link.closed for one in prepared] == [True, False]
        mic.wait_for_subscriber()
        mic.speak(pieces(1, value=1), realtime=False)
        clock.sleep(1.0)
        assert pool.stats().received.done == 1
    gc.collect()  # a link that nobody has closed warns


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


def test_a_session_that_the_machine_refuses_leaves_no_link(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StartupError("no descriptors left")

    host = clock.io.start()
    with monkeypatch.context() as patched:
        patched.setattr(link.Link, "send", refuse)
        with pytest.raises(StartupError):
            host.open_session()
    gc.collect()  # a link that nobody has closed warns


class Talks(Processor):
    """Answers each frame with a minute."""

    def process(self, frame: AudioFrame) -> AudioFrame:
        return AudioFrame(np.full(60 * RATE, 1_000, np.int16), RATE)


def test_who_takes_a_place_in_a_room_that_is_over_is_told(
    clock: VirtualClock, room: FakeRoom
) -> None:
    mic = room.join("ann").publish_audio("mic", sample_rate=RATE)
    with running(clock, room, Talks, spares=1, drain_timeout=30.0) as pool:
        mic.wait_for_subscriber()
        clock.sleep(3.0)
        clock.freeze("ringroom-worker-0", 60.0)
        clock.freeze("ringroom-pool", 1.0)
        mic.speak(pieces(2), realtime=False)
        clock.sleep(0.1)
        clock.kill("ringroom-worker-0")
        room.close_room()
        assert pool.wait(10.0) == "room closed"
        began = clock.now()
        pool.drain()
        assert clock.now() - began < 1.0
    received = pool.stats().received
    assert (received.sent, received.done) == (2, 2)


class TalksLive(Talks):
    """Sends more at once than a live track takes."""

    mode: ClassVar[Any] = "live"
    workers: ClassVar[list[Worker]] = []

    def start(self, context: Any) -> None:
        self.workers.append(context._worker)


def test_of_tracks_that_have_ended_nothing_is_kept(clock: VirtualClock, room: FakeRoom) -> None:
    TalksLive.workers.clear()
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
        (worker,) = TalksLive.workers
        assert not worker._problems
        assert not worker._ending
        assert worker.session is not None
        assert not worker.session.replies
    assert [problem.count for problem in problems] == [1, 1]


def test_a_callback_that_exits_ends_the_pool_for_who_waits(
    clock: VirtualClock, room: FakeRoom, caplog: pytest.LogCaptureFixture
) -> None:
    exits = running(clock, room, kit.Echo, on_event=lambda _: sys.exit(3))
    with exits as pool, pytest.raises(SystemExit, match="3"):
        pool.wait(10.0)
    caplog.clear()  # a record keeps the frames of its error


class StartsOnce(Processor):
    """The first one starts, and no other."""

    started: ClassVar[list[Any]] = []

    def start(self, context: Any) -> None:
        self.started.append(context)
        if len(self.started) > 1:
            raise OSError("no second model")


# A process ends by `SystemExit`; here it is a thread.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_spare_that_does_not_start_is_said(
    clock: VirtualClock, room: FakeRoom, caplog: pytest.LogCaptureFixture
) -> None:
    StartsOnce.started.clear()
    with running(clock, room, StartsOnce, spares=1, restarts=1) as pool:
        clock.sleep(5.0)
        assert pool.spares == 0
    said = [record.getMessage() for record in caplog.records if record.name == "ringroom"]
    assert said
    assert all("a spare worker did not start" in text for text in said)
    assert "no second model" in said[0]
