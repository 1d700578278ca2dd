"""A short run with everything that can happen in it, and each law broken once."""

from __future__ import annotations

import itertools
import os
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import ringroom
from app_kit import until
from ringroom.errors import ConfigurationError, WireError
from ringroom.frames import AudioFrame, DataFrame
from ringroom.sender import Sender
from ringroom.testing.application import Recording, Taken
from ringroom.testing.belongings import belongings
from ringroom.testing.chaos import Gauge, Holdings, Plan, Recovery, Report, happenings, plan, run
from ringroom.testing.chaos import __main__ as command
from ringroom.testing.chaos.ears import OWN_TRACK, Ears, numbered
from ringroom.testing.chaos.fake_stage import FakeStage
from ringroom.testing.chaos.gauges import grown, left_behind, memory_grown
from ringroom.testing.participants import FakeParticipant
from ringroom.testing.simulation.laws import Broken

RATE = 16_000


@pytest.mark.once
@pytest.mark.timeout(300)
def test_a_run_in_which_everything_happens() -> None:
    said: list[str] = []
    story = (
        plan.Reform(after=0, person=0, sample_rate=48_000, channels=2, size=(320, 240)),
        plan.Mute(after=0, person=1, seconds=0.05),
        plan.Leave(after=0, person=2, seconds=0.05, vanish=False),
        plan.Leave(after=0, person=1, seconds=0.05, vanish=True),
        plan.Flood(after=0, person=0, count=100),
        plan.NotReading(after=0, seconds=0.05),
        plan.Late(after=0, seconds=0.05, by=0.02),
        plan.Burst(after=0, seconds=0.1, of=0.05),
        plan.Refuse(after=0, person=2, seconds=0.05),
        plan.Freeze(after=0, target="worker 0", seconds=0.05),
        plan.Freeze(after=0, target="io", seconds=0.05),
        plan.Lose(after=0, seconds=0.05, resume=False),
        plan.Kill(after=0, targets=("worker 0",), number=9),
        plan.Kill(after=0, targets=("io",), number=9),
        plan.Stick(after=0.1, place=0, gil=True),
    )
    report = run(Plan(tracks=3, places=1, spares=0), story, tell=said.append)
    assert report.ok, report
    assert sorted(report.kills.values()) == [1, 1]
    assert sum(report.happenings.values()) == len(story) - 2
    assert report.statistics is not None
    assert report.statistics.received.done > 0
    assert report.statistics.received.in_flight == report.statistics.sent.in_flight == 0
    assert report.answers >= 3
    # At the start, in the middle and at the end: a call each way, a mute and an unmute.
    assert report.calls >= 6
    assert report.mutes >= 6
    assert [*report.gauges] == ["start", "middle", "end"]
    text = str(report)
    for part in ("I/O process killed", "worker killed", "1 Flood", "all laws were kept"):
        assert part in text


# What is planned.


def taken(count: int, asked: Plan, stage: str = plan.FAKE) -> list[plan.Happening]:
    return list(itertools.islice(happenings(asked, stage), count))


@pytest.mark.parametrize("stage", [plan.FAKE, plan.LIVEKIT])
def test_one_seed_is_one_story_and_all_kinds_come(stage: str) -> None:
    first = taken(500, Plan(seed=7), stage)
    assert first == taken(500, Plan(seed=7), stage)
    assert first != taken(500, Plan(seed=8), stage)
    everywhere = {plan.Kill, plan.Freeze, plan.Stick, plan.Leave, plan.Flood}
    kinds = {type(one) for one in first}
    assert kinds == everywhere if stage == plan.LIVEKIT else kinds > everywhere
    targets = {t for one in first if isinstance(one, plan.Kill) for t in one.targets}
    assert targets == {"worker 0", "worker 1", "io", "spare", "standby"}
    # As code they make the same again.
    for one in first[:50]:
        assert eval(repr(one), vars(plan)) == one
    assert 300 < sum(one.after for one in first) < 700


def test_kills_that_are_counted_are_all_there_is() -> None:
    found = taken(99, Plan(worker_kills=5, io_kills=3, places=1))
    assert len(found) == 8
    assert sum(one.targets == ("io",) for one in found if isinstance(one, plan.Kill)) == 3
    assert sum(one.targets == ("worker 0",) for one in found if isinstance(one, plan.Kill)) == 5
    assert taken(1, Plan(every=0)) == []


@pytest.mark.parametrize(
    "wrong", [{"tracks": 0}, {"seconds": 0}, {"spares": -1}, {"every": float("nan")}], ids=str
)
def test_a_plan_that_is_none(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ConfigurationError, match=f"{name} is"):
        Plan(**wrong)


# The laws, each broken once.


def heard(*parts: np.ndarray, track: str = "p0/mic") -> Taken:
    sound = np.concatenate(parts) if parts else np.zeros((0, 1), np.int16)
    frames = [
        AudioFrame.received(sound[at : at + 160], RATE, track, (at, at))
        for at in range(0, len(sound), 160)
    ]
    recording = Recording(track=track, sample_rate=RATE, channels=1, frames=tuple(frames))
    return Taken(sounds=(recording,), messages=())


def pieces(first: int, count: int = 1) -> np.ndarray:
    return numbered(first, count, RATE, 1)


def test_what_is_heard_in_order_is_no_news() -> None:
    ears = Ears()
    silence = np.zeros((160, 1), np.int16)
    ears.hear(heard(pieces(1, 3), silence, pieces(5)))
    # Where one piece ends and the next begins in the middle of a step, neither is seen.
    half = np.concatenate((pieces(6)[:80], pieces(7)[:80]))
    ears.hear(heard(half, pieces(7)))
    # Nor is one that rings: what a resampler makes of sound that begins at once.
    ringing = pieces(6)[:160]
    ringing[[40, 119]] = pieces(8)[0]
    ears.hear(heard(ringing, pieces(7)[:160]))
    ears.hear(heard(pieces(7_999, 3), track="p1/mic"))
    assert {name: track.last for name, track in ears.tracks.items()} == {"p0/mic": 7, "p1/mic": 1}


def test_sound_that_comes_late_or_twice_breaks_a_law() -> None:
    with pytest.raises(Broken, match="order: sound 2 of 'p0/mic' is heard after 3"):
        Ears().hear(heard(pieces(3), pieces(2)))
    with pytest.raises(Broken, match="nothing twice: sound 3"):
        Ears().hear(heard(pieces(3), pieces(3)))


def answer(who: str, number: int) -> DataFrame:
    return DataFrame(f"{who} {number}".encode(), "answer")


def test_answers_that_come_late_or_twice_break_a_law() -> None:
    ears = Ears()
    ears.hear_messages([answer("ann", 1), answer("bob", 1), answer("ann", 4), DataFrame(b"x", "y")])
    assert ears.answers == {"ann": 4, "bob": 1}
    with pytest.raises(Broken, match="nothing twice: the answer to message 4 of ann"):
        ears.hear_messages([answer("ann", 4)])
    with pytest.raises(Broken, match="order: the answer to message 0 of bob comes after 1"):
        ears.hear_messages([answer("bob", 0)])


def test_what_is_heard_of_a_muted_track_breaks_a_law() -> None:
    ears = Ears()
    # Sound is stamped in steps of 160 ns, from 0 on.
    ears.muting.begin("p0/mic", True, -1.0)
    ears.hear(heard(pieces(1)))
    ears.muting.done("p0/mic", True, -0.5)
    with pytest.raises(Broken, match=r"muting: .p0/mic. was heard 0\.500 s after"):
        ears.hear(heard(pieces(2)))


HELD = Holdings(descriptors=50, threads=5, memory=100 << 20)
GAUGE = Gauge(application=HELD, io=HELD, workers=HELD, children=4)


def test_what_has_grown_is_told() -> None:
    assert grown(GAUGE, GAUGE) == memory_grown(GAUGE, GAUGE) == ""
    assert grown(GAUGE, replace(GAUGE, children=5)) == "5 children, 4 at first"
    more = replace(GAUGE, io=replace(HELD, descriptors=59, threads=8, memory=200 << 20))
    assert grown(GAUGE, more) == "io: 59 descriptors, 50 at first; io: 8 threads, 5 at first"
    assert memory_grown(GAUGE, more) == "io: 200 MiB at the end, 100 in the middle"


def test_what_is_left_behind_is_told() -> None:
    before = belongings()
    reading, writing = os.pipe()
    try:
        assert f"descriptor {reading} (pipe:" in left_behind(before, 0.2)
    finally:
        os.close(reading)
        os.close(writing)
    assert left_behind(before, 10.0) == ""


@pytest.mark.timeout(300)
@pytest.mark.once
def test_an_order_that_is_broken_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def hear(self: Ears, taken: Taken) -> None:
        raise Broken("order", "on purpose")

    monkeypatch.setattr(Ears, "hear", hear)
    report = run(Plan(tracks=1, places=1, spares=0, standby=False), ())
    assert (report.law, report.text) == ("order", "on purpose")


@pytest.mark.timeout(300)
@pytest.mark.once
def test_a_send_of_the_application_that_fails_for_good_ends_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent = itertools.count()
    right = Sender.send

    def send(self: Sender, frame: Any, **options: Any) -> None:
        if next(sent) >= 60:
            raise WireError("on purpose")
        right(self, frame, **options)

    monkeypatch.setattr(Sender, "send", send)
    report = run(
        Plan(tracks=1, places=1, spares=0, standby=False),
        (plan.Mute(after=5.0, person=0, seconds=0.05),),
    )
    assert (report.law, report.text) == ("errors", "speaker: WireError: on purpose")


@pytest.mark.timeout(300)
@pytest.mark.once
@pytest.mark.parametrize(
    ("owner", "name", "does", "law", "text"),
    [
        (Sender, "mute", None, "muting", f"'{OWN_TRACK}' was heard"),
        (Sender, "mute", WireError("put in"), "errors", "mute: WireError: put in"),
        (Sender, "call", "7 with somebody else", "calls", "'7 with somebody else' for Call"),
        (FakeParticipant, "call", "7 with somebody else", "calls", "'7 with somebody else'"),
    ],
    ids=["unmuted", "mute", "our call", "their call"],
)
def test_what_is_wrong_with_calls_and_muting_ends_the_run(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str, does: Any, law: str, text: str
) -> None:
    def wrong(*_: Any, **__: Any) -> Any:
        if isinstance(does, Exception):
            raise does
        return does

    monkeypatch.setattr(owner, name, wrong)
    report = run(Plan(tracks=1, places=1, spares=0, standby=False), ())
    assert report.law == law
    assert text in report.text


def test_a_run_rests_only_while_the_applications_own_track_is_heard() -> None:
    with (
        FakeStage(Plan(tracks=1), pytest.fail) as stage,
        ringroom.transport(**stage.options(), io="thread") as t,
    ):

        def is_heard(number: int) -> bool:
            stage.tick(time.monotonic())
            return OWN_TRACK in stage.ears.tracks and stage.ears.tracks[OWN_TRACK].last == number

        def is_all_but_our_track_at_rest() -> bool:
            there = stage._room.applications.values()
            people = all(person.is_heard for person in stage._people)
            return people and not any(one.behind for one in there)

        stage.begin()
        t.send(AudioFrame(pieces(0), RATE, track=OWN_TRACK))
        until(lambda: is_heard(0), "our own track being heard")
        stage.rest()
        until(is_all_but_our_track_at_rest, "the rest of all others")
        assert not stage.rested
        t.send(AudioFrame(pieces(1), RATE, track=OWN_TRACK))
        until(lambda: is_heard(1), "our own track being heard again")
        until(lambda: stage.rested, "the rest")
        stage.close_room()


# The command.


def test_the_command_says_what_was_broken_and_how_to_see_it_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Plan] = []
    report = Report(title="seed 5", law="leak", text="9 children, 4 at first")
    report.recoveries.append(Recovery(kind="worker killed", seconds=0.25))
    report.kills["worker killed"] = 2
    report.last.append("Kill(...)")

    def pretend(made: Plan, **options: Any) -> Report:
        asked.append(made)
        return report

    monkeypatch.setattr(command, "run", pretend)
    monkeypatch.setattr(command, "_move_standard_error", lambda path: None)
    words = ["--workers", "2", "--io", "1", "--tracks", "4", "--spares", "2", "--no-standby"]
    assert command.main([*words, "--seed", "5"]) == 1
    expected = Plan(seed=5, worker_kills=2, io_kills=1, tracks=4, spares=2, standby=False)
    assert asked == [expected]
    out = capsys.readouterr().out
    assert "broken: leak: 9 children, 4 at first" in out
    assert "again: python -m ringroom.testing.chaos --workers 2" in out
    assert "worker killed  2      1         0.250  0.250  0.250" in out
    report.law = ""
    assert command.main(["--seed", "5"]) == 0
    assert "all laws were kept" in capsys.readouterr().out
    assert command.main(["--tracks", "0"]) == 2
    assert "tracks is 0" in capsys.readouterr().out
