"""A call that waits for another that is closing."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from app_kit import interrupted
from ringroom.faces import closing as module
from ringroom.faces.closing import Closing
from ringroom.processes.machine import MACHINE
from ringroom.testing.virtual import VirtualClock


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    with VirtualClock(limit=600.0) as clock:
        yield clock


def never() -> None:
    pytest.fail("closed twice")


def begun(clock: VirtualClock, failure: BaseException | None = None) -> Closing:
    """Somebody has been closing for a second, and needs four more."""
    closing = Closing(clock)

    def close() -> None:
        clock.sleep(5.0)
        if failure is not None:
            raise failure

    def run() -> None:
        try:
            closing.run(close, 60.0)
        except KeyboardInterrupt:
            assert failure is not None

    clock.start_thread("first", run)
    clock.sleep(1.0)
    return closing


def test_whoever_comes_meanwhile_waits_until_it_is_closed(clock: VirtualClock) -> None:
    closing = begun(clock)
    began = clock.now()
    others = [clock.start_thread("other", lambda: closing.run(never, 60.0)) for _ in range(3)]
    closing.run(never, 60.0)
    assert clock.now() - began == pytest.approx(4.0)
    for other in others:
        other.join()
    closing.run(never, 60.0)
    assert clock.now() - began == pytest.approx(4.0)


def test_nobody_waits_for_ever(clock: VirtualClock) -> None:
    closing = begun(clock)
    began = clock.now()
    closing.run(never, 2.0)
    closing.run(never, 0.0)
    assert clock.now() - began == pytest.approx(2.0)
    clock.sleep(5.0)


def test_whoever_waits_closes_what_somebody_else_was_interrupted_in(clock: VirtualClock) -> None:
    closing = begun(clock, KeyboardInterrupt())
    began = clock.now()
    times: list[float] = []
    closing.run(lambda: times.append(clock.now()), 60.0)
    closing.run(never, 60.0)
    assert times == [pytest.approx(began + 4.0)]


def test_a_signal_handler_does_not_wait_for_what_it_has_interrupted(clock: VirtualClock) -> None:
    closing = Closing(clock)
    began = clock.now()
    closing.run(lambda: closing.run(never, 60.0), 60.0)
    closing.run(never, 60.0)
    assert clock.now() == began


def test_whenever_it_is_interrupted_it_can_be_run_again() -> None:
    for moment in range(1, 50):
        closed: list[bool] = []
        closing = Closing(MACHINE)

        def close(closed: list[bool] = closed) -> None:
            closed.append(True)

        done = not interrupted(partial(closing.run, close, 0.0), moment, module)
        closing.run(close, 0.0)
        assert closed
        if done:
            break
    assert 5 < moment < 50
