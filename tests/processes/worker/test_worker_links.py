"""A worker's links while their sockets are full: the rest is sent as the far end reads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from worker_kit import Bench, frames_of, send, sound

from app_kit import Call
from ringroom import messages as m
from ringroom.link import Link
from ringroom.processes.worker.context import WorkerContext

LONG = m.WorkerFailed(error="x" * 1_000_000)


def session_link(bench: Bench) -> tuple[Link, Link]:
    assert bench.worker.session is not None
    return bench.worker.session.link, bench.link


def control_link(bench: Bench) -> tuple[Link, Link]:
    return bench.worker.control, bench.control


both = pytest.mark.parametrize("ends", [session_link, control_link])
Ends = Callable[[Bench], tuple[Link, Link]]


@both
def test_a_worker_that_waits_sends_it(bench: Bench, ends: Ends) -> None:
    near, far = ends(bench)
    bench.work()
    near.send(LONG)
    while near.backlog:
        assert Call(partial(bench.worker._wait, 60.0)).result(), "nothing for `_pump`"
        while far.receive_nowait() not in (None, LONG):
            pass
        bench.worker._pump()


@both
def test_a_worker_that_is_busy_sends_it(bench: Bench, ends: Ends) -> None:
    near, far = ends(bench)
    writer = bench.open("A")
    bench.work()
    send(writer, *range(40))
    left: list[int] = []

    def answer(_: object) -> None:
        if not left:
            near.send(LONG)
        while far.receive_nowait() not in (None, LONG):
            pass
        left.append(near.backlog)
        if len(left) == 40:
            bench.control.send(m.Stop(drain=0.0))

    bench.processor.answer = answer
    Call(bench.worker._loop).result()
    assert len(frames_of(bench)) == 40
    assert left[0] == 1
    assert left[-1] == 0


def test_a_reply_from_another_thread_wakes_it_to_send_the_rest(bench: Bench) -> None:
    near, _ = session_link(bench)
    bench.work()
    bench.worker._wait(0)  # what the opening has left
    waiting = Call(bench.worker._wait, 60)
    with bench.worker.lock:
        near.send(LONG)
    WorkerContext(bench.worker).send(sound(1, 0.02, "x"))
    waiting.result()
