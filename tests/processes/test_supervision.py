"""What a pool does about its workers: every state, every happening."""

from __future__ import annotations

import itertools

import pytest

from ringroom.processes.supervision import TABLE, Action, Happening, State, WorkerLife

ALL = list(itertools.product(State, Happening))
KNOWN = {
    ("starting", "ready"): ("ready", []),
    ("starting", "stop"): ("stopping", ["send stop"]),
    ("starting", "failed"): ("failed", ["fail pool"]),
    ("starting", "exited"): ("failed", ["fail pool"]),
    ("ready", "begin"): ("running", ["send start"]),
    ("ready", "stop"): ("stopping", ["send stop"]),
    ("ready", "exited"): ("failed", ["fail pool"]),
    ("running", "stop"): ("stopping", ["send stop"]),
    ("running", "exited"): ("failed", ["fail pool"]),
    ("stopping", "exited"): ("ended", []),
}


@pytest.mark.parametrize(("state", "happening"), ALL)
def test_every_happening_in_every_state(state: State, happening: Happening) -> None:
    life = WorkerLife(state)
    actions = life.on(happening)
    following, expected = KNOWN.get((state.value, happening.value), (state.value, []))
    assert (life.state, list(actions)) == (following, expected)
    assert len(life.history) == ((state, happening) in TABLE)
    assert life.over == (life.state in ("ended", "failed"))


def test_a_life_is_over_once() -> None:
    for first, *rest in itertools.product(Happening, repeat=4):
        life = WorkerLife()
        told = [action for happening in (first, *rest) for action in life.on(happening)]
        assert told.count(Action.FAIL_POOL) <= 1
        assert told.count(Action.SEND_STOP) <= 1
        assert not (Action.FAIL_POOL in told and Action.SEND_STOP in told)


def test_death_is_never_missed() -> None:
    for state in State:
        life = WorkerLife(state)
        life.on(Happening.EXITED)
        assert life.over
