"""The crew, with children and a clock that the test plays: what follows what they say and do."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from ringroom import messages as m
from ringroom.errors import ClosedError, LostProcessError, StartupError
from ringroom.link import Link, open_links
from ringroom.processes.machine import Machine
from ringroom.processes.supervision.crew import Crew, CrewCalls, Progress
from ringroom.processes.supervision.supervisor import STANDBY_AFTER, STOP_GRACE, Care
from ringroom.processor import Problem


class Clock(Machine):
    """Seconds that pass when told to."""

    time = 100.0

    def now(self) -> float:
        return self.time


@dataclass
class Paper:
    """A child that does what the test does for it, at its end of the link."""

    link: Link
    pid: int = field(default_factory=os.getpid)
    exitcode: int | None = None
    pidfd: int | None = None
    voice: Any = None
    killed: int = 0
    closed: bool = False
    interrupted: bool = False
    """Whoever waits for its end next is."""
    heard: list[m.Message] = field(default_factory=list)

    def say(self, message: m.Message) -> None:
        self.link.send(message)

    def listen(self) -> list[m.Message]:
        try:
            while (received := self.link.receive_nowait()) is not None:
                self.heard.append(received[0])
                for fd in received[1]:
                    os.close(fd)
        except ClosedError:
            pass
        return self.heard

    def dies(self, code: int = 1) -> None:
        self.exitcode = code
        self.link.close()

    def join(self, timeout: float | None = None) -> None:
        """It is dead, or will not be."""
        interrupted, self.interrupted = self.interrupted, False
        if interrupted:
            raise KeyboardInterrupt

    def kill(self) -> None:
        self.killed += 1
        self.dies(-9)

    def close(self) -> None:
        self.closed = True
        self.link.close()


class Scene:
    """A crew, its host, and the pool that it belongs to."""

    def __init__(self, **care: Any) -> None:
        self.machine = Clock()
        self.children: list[Paper] = []
        self.refuses: list[StartupError] = []
        self.interrupts = False
        """Whoever starts a child is interrupted, before he keeps it."""
        self.problems: list[Problem] = []
        self.lost: list[str] = []
        self.replaced: list[str] = []
        self.settled: list[tuple[int, int | None]] = []
        self.progress = Progress()
        calls = CrewCalls(
            seat=self.seat,
            settled=lambda place, generation: self.settled.append((place, generation)),
            progress=lambda place: self.progress,
            problem=self.problems.append,
            lost=self.lost.append,
            replaced=self.replaced.append,
        )
        self.crew = Crew(self, b"", Care(**care), calls)  # type: ignore[arg-type]

    def start_worker(self, place: int, control: Link, blob: bytes) -> Paper:
        if self.refuses:
            raise self.refuses.pop()
        self.children.append(Paper(Link.attach(os.dup(control.fileno()))))
        if self.interrupts:
            signal.raise_signal(signal.SIGINT)
        return self.children[-1]

    def seat(self, place: int) -> tuple[m.Start, tuple[int, ...], Link]:
        ours, theirs = open_links()
        ours.close()
        start = m.Start(place=place, rows_first=0, rows_count=1)
        return start, (theirs.fileno(),), theirs

    def turn(self, seconds: float = 0.0) -> None:
        self.machine.time += seconds
        self.crew.turn(self.crew.fds)

    def work(self) -> None:
        """All that were started are ready, and have places as far as there are any."""
        self.crew.start()
        for child in self.children:
            child.say(m.WorkerReady())
        self.turn()
        assert self.crew.ready
        self.crew.seat()
        self.turn()


@pytest.fixture
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    made = Scene(**request.param)
    yield made
    made.crew.close()
    assert made.crew.over
    for child in made.children:
        child.close()


def care(**options: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("scene", [{"places": 1} | options], indirect=True)


@care(restarts=3)
def test_who_does_not_start_and_does_not_end_is_killed(scene: Scene) -> None:
    """A thread of the user's keeps it alive, say."""
    scene.crew.start()
    scene.children[0].say(m.WorkerFailed(error="no model"))
    scene.turn()
    assert scene.crew.failure is None, "it may still end by itself"
    scene.turn(STOP_GRACE)
    assert scene.children[0].killed == 1
    scene.turn()
    assert isinstance(scene.crew.failure, StartupError)
    assert str(scene.crew.failure) == "worker 0 did not start:\nno model"


@care(places=2)
def test_who_is_interrupted_as_he_has_started_a_child_knows_it(scene: Scene) -> None:
    scene.interrupts = True
    with pytest.raises(KeyboardInterrupt):
        scene.crew.start()
    scene.crew.close()
    assert [child.killed for child in scene.children] == [1]


@care(restarts=1)
def test_a_child_that_the_machine_refuses_is_tried_again_and_given_up(scene: Scene) -> None:
    scene.work()
    scene.refuses = [StartupError("no descriptors left") for _ in range(5)]
    scene.machine.time += 10.0
    scene.children[0].dies()
    scene.turn()
    while scene.crew.failure is None:
        patience = scene.crew.patience()
        assert patience is not None
        scene.turn(patience)
    assert str(scene.crew.failure) == "no descriptors left"
    assert len(scene.refuses) == 3, "another once, and no more"


@care(restarts=3, start_timeout=5.0)
def test_who_is_stopped_as_it_starts_is_told_nothing_of_its_time(scene: Scene) -> None:
    scene.crew.start()
    scene.crew.stop(0.0)
    assert scene.children[0].killed == 1
    scene.turn()
    assert scene.crew.over
    assert scene.crew._last.error is None


@care(restarts=3, start_timeout=5.0)
def test_who_takes_too_long_to_start_is_told_so(scene: Scene) -> None:
    scene.crew.start()
    scene.turn(5.0)
    scene.turn()
    assert "longer than start_timeout=5.0 s" in str(scene.crew.failure)


@care(restarts=3, stuck_after=1.0)
def test_each_time_that_somebody_is_stuck_counts(scene: Scene) -> None:
    scene.work()
    for count in (1, 2):
        scene.progress = Progress(count=count, within=True)
        scene.turn(1.0)
        assert len(scene.problems) == count - 1
        scene.turn(1.0)
        assert scene.problems[-1].count == count
    assert [problem.where for problem in scene.problems] == ["stuck", "stuck"]


@care(restarts=3, stuck_after=1.0, restart_stuck=True)
def test_who_is_killed_for_being_stuck_is_told_so(scene: Scene) -> None:
    scene.work()
    scene.progress = Progress(count=1, within=True)
    scene.turn(1.0)
    scene.turn(1.0)
    scene.turn()
    scene.turn()
    assert scene.children[0].killed == 1
    assert scene.lost == [
        "worker 0 was killed by restart_stuck: it has been on one frame for 1 s or longer"
    ]


@care(restarts=3, stuck_after=1.0)
def test_who_goes_on_and_is_killed_by_somebody_else_was_not_stuck(scene: Scene) -> None:
    scene.work()
    scene.progress = Progress(count=1, within=True)
    scene.turn(1.0)
    scene.turn(1.0)
    scene.progress = Progress(count=2)
    scene.turn(1.0)
    scene.children[0].kill()
    scene.turn()
    assert "killed by signal 9" in scene.lost[0]


@care(restarts=3)
def test_who_is_killed_for_not_ending_is_told_once(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.work()
    scene.crew.stop(5.0)
    scene.turn(5.0)
    assert not caplog.messages
    scene.turn(STOP_GRACE)
    scene.turn()
    assert scene.crew.over
    assert caplog.messages == [
        "worker 0 did not end within 7 s of being told to, and was killed: "
        "Processor.stop, a frame or a thread took longer"
    ]
    assert scene.lost == []


@care(restarts=3, spares=1)
def test_a_spare_takes_the_place_of_who_dies_once_its_counts_are_final(scene: Scene) -> None:
    scene.work()
    scene.turn(STANDBY_AFTER)
    first, spare = scene.children
    spare.say(m.WorkerReady())
    scene.turn()
    assert scene.crew.spares == 1
    first.dies()
    scene.turn()
    assert scene.settled == [(0, None)]
    assert scene.lost == ["worker 0 exited with code 1"]
    assert scene.replaced == ["worker 0 goes on in another process"]
    assert [type(message) for message in spare.listen()] == [m.Start]
    assert scene.crew.occupied == {0}


@care(restarts=3, spares=1)
def test_who_is_dead_is_buried_though_another_process_holds_its_link(scene: Scene) -> None:
    """As a program does that user code has started: the process itself tells of its death."""
    scene.work()
    child = scene.children[0]
    child.pidfd = 1_000  # of the test's paper
    assert scene.crew.fds[-1] == child.pidfd
    scene.crew.turn(scene.crew.fds[:-1])
    assert scene.crew.occupied == {0}
    child.exitcode = 1
    scene.crew.turn([child.pidfd])
    assert scene.crew.occupied == set()
    assert scene.lost == ["worker 0 exited with code 1"]


@care(restarts=0)
def test_why_it_was_given_up_says_how_the_worker_ended(scene: Scene) -> None:
    scene.work()
    scene.children[0].dies(3)
    scene.turn()
    assert isinstance(scene.crew.failure, LostProcessError)
    assert str(scene.crew.failure) == "worker 0 exited with code 3"


@care(places=2, restarts=3)
def test_another_io_process_is_told_to_those_in_its_places_only(scene: Scene) -> None:
    scene.work()
    scene.crew.rejoin([1])
    counts = [sum(isinstance(one, m.Start) for one in c.listen()) for c in scene.children]
    assert counts == [1, 2]
    scene.children[1].say(m.Rejoined(place=1, generation=7))
    scene.turn()
    assert scene.settled == [(1, 7)]


@care(places=2, restarts=3)
def test_what_is_no_message_ends_who_sent_it_and_nobody_else(scene: Scene) -> None:
    """User code that writes to a number which it had closed, say."""
    scene.work()
    first, second = scene.children
    os.write(first.link.fileno(), b"GET / HTTP/1.0\r\n\r\n")
    scene.turn()
    assert (first.killed, first.closed, second.killed) == (1, True, 0)
    assert scene.settled == [(0, None)]
    (lost,) = scene.lost
    assert lost.startswith("worker 0 was killed, for what it sent is no message of ours: a message")
    assert scene.crew.occupied == {1}
    assert scene.crew.failure is None


@care(places=3, restarts=3)
def test_who_is_interrupted_as_he_closes_leaves_nobody_behind(scene: Scene) -> None:
    scene.work()
    scene.children[1].interrupted = True
    with pytest.raises(KeyboardInterrupt):
        scene.crew.close()
    assert [child.killed for child in scene.children] == [1, 1, 1]
    assert [child.closed for child in scene.children] == [True, True, True]
    assert scene.crew.over


@pytest.mark.parametrize("code", [1, None], ids=["dead", "dying"])
@care(restarts=3)
def test_who_is_interrupted_as_he_buries_somebody_has_buried_him(
    scene: Scene, code: int | None
) -> None:
    scene.work()
    (child,) = scene.children
    child.exitcode, child.interrupted = code, True
    child.link.close()
    with pytest.raises(KeyboardInterrupt):
        scene.turn()
    assert (child.exitcode, child.closed) == (code or -9, True)
    assert scene.settled == [(0, None)]
