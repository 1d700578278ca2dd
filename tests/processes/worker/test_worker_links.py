"""A worker's links while their sockets are full: the rest is sent as the far end reads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from worker_kit import LONG, Bench, frames_of, send

from app_kit import Call
from ringroom import messages as m
from ringroom.link import Link


def session_link(bench: Bench) -> tuple[Link, Link]:
    assert bench.answering.seat is not None
    return bench.answering.seat.session.link, bench.link


def control_link(bench: Bench) -> tuple[Link, Link]:
    return bench.answering.control, bench.control


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
