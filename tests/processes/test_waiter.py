"""Waiting on a thread for a change of a session."""

from __future__ import annotations

import contextlib
import threading
import warnings
from typing import cast

import pytest

from app_kit import descriptors
from ringroom.errors import ConfigurationError
from ringroom.lanes.memory import open_counter
from ringroom.processes.machine import MACHINE
from ringroom.processes.waiting import Deadline, Waiter, shortest
from ringroom.sessions.inbox import Listeners
from ringroom.sessions.session import Session


class Stub:
    """What a waiter needs of a session."""

    def __init__(self) -> None:
        self.listeners = Listeners()
        self.link = self
        self.keeps: float | None = None

    def patience(self) -> float | None:
        return self.keeps

    def notify(self) -> None:
        for listener in self.listeners:
            listener()


class InterruptedLock:
    """Ctrl-C comes as it is taken for the n-th time."""

    def __init__(self, nth: int) -> None:
        self._left = nth

    def __enter__(self) -> bool:
        self._left -= 1
        if not self._left:
            raise KeyboardInterrupt
        return True

    def __exit__(self, *exc: object) -> None:
        pass


def waiter(session: Stub) -> Waiter:
    return Waiter(MACHINE, threading.RLock(), cast(Session, session))


def test_a_change_between_a_look_and_the_wait_is_not_lost() -> None:
    session = Stub()
    with waiter(session) as waiting:
        session.notify()
        assert waiting.wait((), 10.0)
        assert not waiting.wait((), 0.0), "it was told of once"
    assert len(session.listeners) == 0


def test_one_whose_block_ctrl_c_keeps_from_beginning_leaves_nothing_to_be_warned_of() -> None:
    before = descriptors()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        waiter(Stub())
    assert not told
    assert descriptors() == before


def test_a_descriptor_wakes_it_and_one_that_is_closed_does_not() -> None:
    with contextlib.closing(open_counter()) as counter, waiter(Stub()) as waiting:
        assert not waiting.wait((counter.fileno(), -1), 0.0)
        counter.add(1)
        assert waiting.wait((counter.fileno(), -1), 10.0)


def test_a_wait_is_short_while_the_link_keeps_something_and_is_not_expired_for_that() -> None:
    session = Stub()
    with waiter(session) as waiting:
        session.keeps = 0.001
        assert waiting.wait((), 60.0)
        assert waiting.wait((), None)
        assert not waiting.wait((), 0.0)


def test_several_wait_for_one_session() -> None:
    session = Stub()
    with waiter(session) as one, waiter(session) as other:
        session.notify()
        assert one.wait((), 0.0)
        assert other.wait((), 0.0)


@pytest.mark.filterwarnings("ignore:EventCounter never closed:ResourceWarning")
@pytest.mark.parametrize("nth", [1, 2], ids=["as it begins", "as it ends"])
def test_one_that_is_interrupted_leaves_nothing_behind(nth: int) -> None:
    opened, session = descriptors(), Stub()
    waiting = Waiter(MACHINE, InterruptedLock(nth), cast(Session, session))
    with pytest.raises(KeyboardInterrupt) as interrupt, waiting:
        pass
    del waiting, interrupt
    assert len(session.listeners) == 0
    assert descriptors() == opened


def test_a_deadline_is_none_or_a_number_of_seconds() -> None:
    assert Deadline(MACHINE, None, "nothing").remaining() is None
    assert Deadline(MACHINE, -1, "nothing").remaining() == 0.0
    limit = Deadline(MACHINE, 60, "nothing came")
    assert 0.0 < (limit.remaining() or 0.0) <= 60.0
    assert str(limit.expired()) == "nothing came within 60 s"
    with pytest.raises(ConfigurationError, match="timeout"):
        Deadline(MACHINE, "soon", "nothing")  # type: ignore[arg-type]


def test_of_several_limits_the_shortest_counts() -> None:
    assert shortest(None, 2.0, 0.5, None) == 0.5
    assert shortest(0.0, None) == 0.0
    assert shortest(None, None) is None
