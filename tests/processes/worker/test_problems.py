"""What goes wrong in a worker: counted, told once in full, and survived where it can be."""

from __future__ import annotations

import time

import pytest
from worker_kit import Bench, frames_of, send, sound

from ringroom import messages as m
from ringroom.frames import AudioFrame
from ringroom.lanes.statistics import Count
from ringroom.processes.worker.problems import MAX_UNHEARD


def test_problems_that_nobody_hears_are_counted_and_not_kept(bench: Bench) -> None:
    def fails(frame: AudioFrame) -> None:
        raise ValueError("something else") if frame.samples[0, 0] else KeyError("again")

    bench.processor.answer = fails
    writer = bench.open("A")
    for _ in range(MAX_UNHEARD // 10 + 60):
        send(writer, *[0] * 20)
        bench.work()
    kept = bench.answering.control.backlog
    assert kept == MAX_UNHEARD
    send(writer, 1)
    bench.work()
    assert bench.answering.control.backlog == kept + 1, "the first of its kind"
    problems = []
    while bench.answering.control.backlog:
        problems += bench.told()
        bench.worker._pump()
    send(writer, 0)
    bench.work()
    problems += bench.told()
    counts = [one.count for one in problems if isinstance(one, m.WorkerProblem)]
    assert counts[-2:] == [1, writer.row.get(Count.PROBLEMS) - 1]
    assert len(counts) < counts[-1]


def test_a_reply_that_cannot_be_sent_is_told(bench: Bench) -> None:
    bench.processor.answer = lambda _: [sound(1, 5.0, "x")]
    send(bench.open("A"), 1, 2)
    bench.work()
    opened = next(one for one in bench.listen() if isinstance(one, m.PlayoutOpen))
    refused = {"type": "BusyError", "text": "somebody else sends it", "reason": ""}
    bench.link.send(m.PlayoutFailed(lane=opened.lane, error=refused))
    bench.processor.answer = lambda _: None
    bench.work()
    told = [one.summary for one in bench.told() if isinstance(one, m.WorkerProblem)]
    assert told == ["BusyError: somebody else sends it (30 frames that waited for 'x' go with it)"]
    assert frames_of(bench) == [1, 2], "its source is held no longer"


def test_a_reply_that_was_written_and_is_refused_is_told(bench: Bench) -> None:
    """Nothing waits, and nothing more is sent there, which would raise it."""
    bench.processor.answer = lambda _: sound(1, track="x")
    send(bench.open("A"), 1)
    bench.work()
    opened = next(one for one in bench.listen() if isinstance(one, m.PlayoutOpen))
    refused = {"type": "BusyError", "text": "somebody else sends it", "reason": ""}
    bench.link.send(m.PlayoutFailed(lane=opened.lane, error=refused))
    for _ in range(2):
        bench.work()
    told = [one for one in bench.told() if isinstance(one, m.WorkerProblem)]
    assert [(one.where, one.summary) for one in told] == [
        ("reply", "BusyError: somebody else sends it")
    ]


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Unspeakable, ""),
        (ValueError, "x" * 20_000_000),
        (ValueError, "\ud800"),
        (StopIteration, ""),
    ],
)
def test_an_exception_that_can_hardly_be_told(
    bench: Bench, kind: type[Exception], words: str
) -> None:
    """One without words raised once more, and one longer than a message left a deaf worker."""

    def fail(frame: AudioFrame) -> None:
        raise kind(words)

    bench.processor.answer = fail
    writer = bench.open("T1")
    writer.send(sound(1), time.monotonic_ns())
    bench.work()
    problems = [one for one in bench.told() if isinstance(one, m.WorkerProblem)]
    assert [one.where for one in problems] == ["process"]
    assert problems[0].summary.startswith(kind.__name__)
    assert "in fail" in problems[0].traceback
    assert len(problems[0].traceback) < 30_000
