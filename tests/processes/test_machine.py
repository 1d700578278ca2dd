"""The real machine: what waits, and who starts what."""

from __future__ import annotations

import contextlib
import threading
import time

from ringroom.lanes.memory import open_counter
from ringroom.processes.machine import MACHINE


def test_its_time_is_the_one_that_all_processes_share() -> None:
    before = time.monotonic_ns()
    between = MACHINE.now_ns()
    assert before <= between <= time.monotonic_ns()
    assert before / 1e9 <= MACHINE.now() <= time.monotonic()


def test_a_wait_tells_what_is_readable() -> None:
    with contextlib.closing(open_counter()) as one, contextlib.closing(open_counter()) as other:
        other.add(1)
        assert MACHINE.wait((one.fileno(), -1, other.fileno()), None) == [other.fileno()]
        other.take()
        assert MACHINE.wait((one.fileno(), other.fileno()), 0.001) == []
        assert MACHINE.wait((one.fileno(),), -1.0) == []


def test_a_thread_wakes_who_waits_on_a_condition() -> None:
    changed, names = MACHINE.condition(), []

    def run() -> None:
        with changed:
            names.append(threading.current_thread().name)
            changed.notify_all()

    thread = MACHINE.start_thread("other", run)
    with changed:
        assert changed.wait_for(lambda: names, 30) == ["other"]
    thread.join()


def test_a_coroutine_has_a_loop_of_its_own() -> None:
    async def answer() -> int:
        return 42

    assert MACHINE.run(answer()) == 42
