"""Half an hour of calls with faults in every run of the tests, and that the simulation finds what
is wrong."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from unittest import mock

import pytest
from finding_kit import CALM, finds
from lost_wakeup import a_pause, put_in, scenario

from ringroom.errors import WireError
from ringroom.faces.connection import Connection
from ringroom.lanes.lane import LaneWriter
from ringroom.lanes.live import LiveReader
from ringroom.lanes.statistics import Count, Row
from ringroom.sender import Sender
from ringroom.sessions.inbox import Arrival
from ringroom.testing import FakeRoom, Stuck
from ringroom.testing.simulation import (
    Freeze,
    Kill,
    Late,
    Lose,
    Schedule,
    SeededClock,
    Story,
    Turn,
    make_story,
    run,
    shrink,
    simulate,
)
from ringroom.testing.simulation.__main__ import main
from ringroom.testing.virtual.hosts import VirtualHost

# Forty calls of 45 seconds are half an hour.
SECONDS = 45.0
FIXED_SEEDS = range(1, 37)
# With each interpreter; the others once.
SEEDS_OF_EACH = (1,)
NEW_SEEDS = 4


def plays(seed: int) -> None:
    print(f"python -m ringroom.testing.simulation --seed {seed} --seconds {SECONDS:g}")
    outcome = simulate(seed, SECONDS)
    # Two people speak all the time. What is missing was stale, or under way at a death.
    assert outcome.frames > 0.5 * Story.SEATS * 50 * SECONDS
    assert outcome.messages > 0
    assert outcome.calls > 0
    assert outcome.mutes > 0


@pytest.mark.parametrize(
    "seed",
    [
        seed if seed in SEEDS_OF_EACH else pytest.param(seed, marks=pytest.mark.once)
        for seed in FIXED_SEEDS
    ],
)
def test_the_laws_hold(seed: int) -> None:
    plays(seed)


@pytest.mark.once
@pytest.mark.parametrize("number", range(NEW_SEEDS))
def test_the_laws_hold_for_a_new_seed(number: int) -> None:
    # Not from `random` itself: pytest-randomly gives that the same seed for every test.
    plays(random.SystemRandom().randrange(1 << 32))


def test_it_is_half_an_hour() -> None:
    assert (len(FIXED_SEEDS) + NEW_SEEDS) * SECONDS >= 30 * 60


def test_the_stories_hold_all_that_can_happen() -> None:
    stories = [make_story(seed, SECONDS) for seed in FIXED_SEEDS]
    kinds = {type(happening).__name__ for story in stories for happening in story.happenings}
    faults = {"Lose", "Late", "Bursts", "Freeze", "Kill"}
    assert kinds == {"Turn", "Say", "CallThem", "CallUs", "Mute", "Settle", *faults}
    killed = {one.role for story in stories for one in story.happenings if isinstance(one, Kill)}
    assert killed == {"ringroom-io", "ringroom-worker-0", "ringroom-worker-1"}


# One seed, one trace.


def fingerprint(seed: int) -> str:
    return run(make_story(seed, 8.0)).fingerprint


def test_one_seed_is_one_trace() -> None:
    assert fingerprint(3) == fingerprint(3) != fingerprint(4)


@pytest.mark.once
def test_it_is_so_in_every_process() -> None:
    command = [sys.executable, "-m", "ringroom.testing.simulation", "--seed=3", "--seconds=8"]
    for hash_seed in ("1", "2"):
        told = subprocess.run(
            command,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert f"trace {fingerprint(3)[:16]}" in told.stdout


def test_the_trace_tells_who_went_on_and_why() -> None:
    outcome = run(make_story(3, 1.0), keep_trace=True)
    assert len(outcome.trace) > 100
    times = [int(line.split()[0]) for line in outcome.trace]
    assert times == sorted(times)
    assert {line.split()[-1] for line in outcome.trace} == {"told", "readable", "time"}


# What dies and stands still.


@pytest.mark.parametrize("role", ["ringroom-io", "ringroom-worker-1"])
@pytest.mark.parametrize("points", range(8))
def test_a_death_at_any_point_is_survived(role: str, points: int) -> None:
    schedule = Schedule(seed=points, touches=0.2, delays=0.0)
    outcome = run(Story(schedule, 4.0, (Kill(at=1.0, role=role, points=points),)))
    assert (outcome.law, outcome.text) == ("", "")
    assert outcome.deaths == 1


def test_another_io_process_leaves_everybody_where_they_were() -> None:
    """The simulation found it: guest 1 went to the other worker, whose answers were refused, for
    the track that answers guest 1 was still the first one's."""
    happenings = (Turn(at=8.2, seat=0), Kill(at=11.04, role="ringroom-io", points=5))
    outcome = run(Story(Schedule(seed=7, touches=0.0, delays=0.0), 14.0, happenings))
    assert (outcome.law, outcome.text) == ("", "")


def test_a_room_that_closes_while_the_connection_is_lost_is_given_up() -> None:
    schedule = Schedule(seed=3485558698, touches=0.0, delays=0.0)
    outcome = run(Story(schedule, 1.0, (Lose(at=1.0, seconds=1.04, resume=True),)))
    assert not outcome.law, outcome.text


def test_who_stands_still_finds_what_is_not_stale() -> None:
    frozen = Freeze(at=1.0, role="ringroom-worker-0", seconds=1.5)
    whole, short = run(Story(CALM, 4.0)), run(Story(CALM, 4.0, (frozen,)))
    assert whole.law == short.law == ""
    # One of the two speakers' frames of 1.5 s, but for the 0.06 s that are kept.
    assert whole.frames - short.frames == pytest.approx(75, abs=5)


# That it finds what is wrong.


def killing() -> Iterator[Story]:
    """A worker dies while it is at the first frame for which it takes its time."""
    for points in range(4):
        for at in (2.22, 2.24, 2.26):
            yield Story(CALM, 4.0, (Kill(at=at, role="ringroom-worker-0", points=points),))


def done_twice(arrival: Arrival) -> None:
    arrival.lane.reader.row.add(Count.DONE, 2)


def test_it_finds_a_frame_that_is_counted_twice() -> None:
    finds("conservation", mock.patch.object(Arrival, "done", done_twice), [make_story(1, 12.0)])


def test_it_finds_a_frame_that_is_too_old() -> None:
    frozen = Freeze(at=1.0, role="ringroom-worker-0", seconds=0.5)
    receive = LiveReader.receive_nowait

    def patient(reader: LiveReader) -> object:
        reader._max_age_ns = 1 << 60
        return receive(reader)

    kept = mock.patch.object(LiveReader, "receive_nowait", patient)
    finds("age", kept, [Story(CALM, 3.0, (frozen,))])


def test_it_finds_that_what_the_dead_had_taken_comes_again() -> None:
    succeed = LaneWriter.succeed

    def forgetful(writer: LaneWriter) -> object:
        writer.row.set(Count.TAKEN, writer.row.get(Count.DONE))
        return succeed(writer)

    again = mock.patch.object(LaneWriter, "succeed", forgetful)
    finds("order", again, killing())


def test_it_finds_that_a_call_of_the_application_fails() -> None:
    failed = mock.patch.object(Sender, "flush", side_effect=WireError("put in"))
    finds("errors", failed, [Story(CALM, 6.0)], "speaker: WireError: put in")


@pytest.mark.once
def test_it_finds_that_what_was_refused_is_not_counted() -> None:
    """As it was before the simulation found it."""
    died = Kill(at=11.04, role="ringroom-io", points=5)
    anew = mock.patch.object(Connection, "_places", return_value={})
    with mock.patch.object(Row, "bury", autospec=True):
        story = Story(Schedule(7, 0.0, 0.0), 14.0, (Turn(at=8.2, seat=0), died))
        finds("conservation", anew, [story])


def lost_in(seed: int) -> bool:
    lost = []
    clock = SeededClock(Schedule(seed, touches=0.3, delays=0.3))

    def application() -> None:
        with FakeRoom(clock=clock) as room, VirtualHost(clock) as host:
            try:
                scenario(clock, host, room, a_pause(seed))
            except TimeoutError:
                lost.append(seed)

    with clock:
        clock.start_thread("application", application).join()
    return bool(lost)


@pytest.mark.once
def test_it_finds_a_lost_wake_up_that_was_put_in() -> None:
    assert not any(lost_in(seed) for seed in range(30))
    with put_in():
        assert any(lost_in(seed) for seed in range(600))


# What a failure looks like.


@pytest.mark.once
def test_a_failure_prints_the_seed_and_the_shortest_story(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with mock.patch.object(Arrival, "done", done_twice):
        assert main(["--seed=5", "--seconds=20"]) == 1
        told = capsys.readouterr().out
        assert "seed 5 breaks a law" in told
        assert "python -m ringroom.testing.simulation --seed 5 --seconds 20" in told
        begin = told.index("from ringroom.testing.simulation import *")
        code = told[begin : told.index("\n\n", told.index("print(run("))]
        assert "Kill" not in code
        exec(code, {})
    assert "conservation: " in capsys.readouterr().out


@pytest.mark.once
def test_shrinking_leaves_what_matters() -> None:
    story = make_story(4, 30.0)
    bad = Late(at=6.0, seconds=1.0, by=0.1)
    happenings = sorted((*story.happenings, bad), key=lambda one: one.at)
    before = FakeRoom.faults.fget
    assert before is not None

    def late_breaks(room: FakeRoom) -> object:
        faults = before(room)

        def late(seconds: float) -> object:
            raise Stuck("put in")

        faults.__dict__["late"] = late
        return faults

    with mock.patch.object(FakeRoom, "faults", property(late_breaks)):
        failed = run(Story(story.schedule, 30.0, tuple(happenings)))
        assert failed.law == "no deadlock"
        shrunk = shrink(failed).story
    assert len(shrunk.happenings) == 1
    assert isinstance(shrunk.happenings[0], Late)
    assert (shrunk.schedule.touches, shrunk.schedule.delays) == (0.0, 0.0)
    assert shrunk.seconds < 30.0


@pytest.mark.once
def test_by_hand_it_goes_on_as_long_as_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed=7", "--seconds=2", "--minutes=0.1"]) == 0
    told = capsys.readouterr().out
    assert [line.split(":")[0] for line in told.splitlines()[:3]] == ["seed 7", "seed 8", "seed 9"]
    assert "simulated hours per hour" in told
    assert main(["--seed=7", "--seconds=1", "--trace"]) == 0
    assert "ringroom-io" in capsys.readouterr().out
    assert main(["--seconds=1"]) == 0


def test_a_story_prints_as_code() -> None:
    story = make_story(2, 30.0)
    names: dict[str, object] = {}
    exec("from ringroom.testing.simulation import *", names)
    assert eval(str(story), names) == story
    assert any(isinstance(happening, Turn) for happening in story.happenings)
