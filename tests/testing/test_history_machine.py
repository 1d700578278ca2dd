"""Random histories of a room against a model, and that a failure is a test that can be pasted."""

from __future__ import annotations

import traceback
from typing import Any, ClassVar

import pytest
from history_model import Forgetful, Model, Unworried
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from ringroom.testing import histories as h

# As many pictures as any ring of theirs takes, however small the ones before were.
MOST_PICTURES = 2


class History(RuleBasedStateMachine):
    """After every step the laws hold; whenever the application reads, it hears what it must."""

    model_type: ClassVar[type[Model]] = Model

    def __init__(self) -> None:
        super().__init__()
        self.model = self.model_type()
        self.script = h.Script().__enter__()
        self.failed = False

    def play(self, *steps: h.Step) -> None:
        self.failed = True
        for step in steps:
            self.script.play(step)
        self.failed = False

    def take(self, step: h.Step) -> None:
        if isinstance(step, h.Show) and self.model.waiting(step.track) >= MOST_PICTURES:
            return
        self.model.apply(step)
        if not isinstance(step, h.Read):
            self.play(step)
            return
        self.play(
            self.model.read(),
            h.Check(f"app.counts() == {self.model.counts}"),
            h.Check(f"app.people == {self.model.people or 'set()'}"),
        )

    def teardown(self) -> None:
        try:
            if not self.failed:
                self.take(h.Read())
        finally:
            self.script.__exit__()


class RoomHistory(History):
    """Anything that is possible."""

    @rule(data=st.data())
    def something(self, data: Any) -> None:
        self.take(data.draw(st.one_of(self.model.cast.steps())))

    @rule(data=st.data())
    def a_fault(self, data: Any) -> None:
        self.take(data.draw(st.one_of(self.model.cast.faults())))

    @rule()
    def read(self) -> None:
        self.take(h.Read())


class OneSpeaker(History):
    """A small world, in which a failure shrinks within seconds."""

    mic = h.Track(owner="alice", name="mic")

    @initialize()
    def publish(self) -> None:
        self.take(h.Join("alice"))
        self.take(h.Publish(self.mic))

    @rule(pieces=st.integers(1, 3))
    def speak(self, pieces: int) -> None:
        self.take(h.Speak(self.mic, pieces, self.model.cast.next_number()))

    @rule()
    def mute(self) -> None:
        muted = self.model.cast.muted
        self.take(h.Unmute(self.mic) if muted else h.Mute(self.mic))

    @rule()
    def lose(self) -> None:
        self.take(h.Return() if self.model.cast.lost else h.Lose())

    @rule()
    def wait(self) -> None:
        self.take(h.Wait(0.05))


RoomHistory.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestRoomHistory = pytest.mark.once(RoomHistory.TestCase)


def pasted(error: BaseException) -> str:
    """The test that the error carries."""
    notes = [note for note in error.__notes__ if note.startswith("As a test:")]
    return notes[-1].partition("\n\n")[2]


def failing_line(script: str) -> str:
    """Runs the script as it was printed; the line in which it fails."""
    names: dict[str, Any] = {}
    exec(compile(script, "<pasted>", "exec"), names)
    with pytest.raises(AssertionError) as failed:
        names["test_history"]()
    frames = [f for f in traceback.extract_tb(failed.value.__traceback__) if "pasted" in f.filename]
    return script.splitlines()[frames[-1].lineno - 1].strip()  # type: ignore[operator]


@pytest.mark.once
@pytest.mark.parametrize(
    ("wrong", "says", "steps"),
    [(Forgetful, "alice_mic.mute()", 5), (Unworried, "lost = room.faults.connection_lost()", 5)],
)
def test_a_failure_is_a_test_that_can_be_pasted(wrong: Any, says: str, steps: int) -> None:
    broken = type("Broken", (OneSpeaker,), {"model_type": wrong})
    with pytest.raises(AssertionError) as failed:
        run_state_machine_as_test(
            broken,
            settings=settings(
                RoomHistory.TestCase.settings,
                max_examples=100,
                stateful_step_count=6,
                database=None,
                derandomize=True,
                print_blob=False,
                phases=(Phase.generate, Phase.shrink),
            ),
        )
    script = pasted(failed.value)
    assert says in script
    # It is as short as one would write it.
    body = script.partition(" as app:\n")[2].splitlines()
    assert len(body) <= steps + 1, script
    assert failing_line(script) == body[-1].strip(), "it fails where it failed before"
    assert body[-1].strip().startswith("assert app.read() == {'alice/mic': [")


def test_a_history_by_hand() -> None:
    mic = h.Track(owner="alice", name="mic")
    with h.Script() as script:
        for step in (
            h.Join("alice"),
            h.Publish(mic),
            h.Speak(mic, 2, 7),
            h.Read({"alice/mic": [7, 7]}),
        ):
            script.play(step)
    text = str(script)
    assert 'alice_mic = alice.publish_audio("mic", sample_rate=16000)' in text
    names: dict[str, Any] = {}
    exec(compile(text, "<pasted>", "exec"), names)
    names["test_history"]()
