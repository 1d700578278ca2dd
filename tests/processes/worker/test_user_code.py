"""What becomes of what a processor returns and raises."""

from __future__ import annotations

from collections.abc import Iterator

from io_kit import RATE
from worker_kit import Bench, send, sound

from ringroom import messages as m
from ringroom.frames import AudioFrame


def test_what_raises_is_counted_done_and_told_once_in_full(bench: Bench) -> None:
    def fails(frame: AudioFrame) -> None:
        raise ValueError(f"not {frame.samples[0, 0]}")

    bench.processor.answer = fails
    writer = bench.open("A")
    send(writer, 1, 2, 3)
    bench.work()
    problems = [one for one in bench.told() if isinstance(one, m.WorkerProblem)]
    assert [(one.count, one.where, one.place) for one in problems] == [
        (1, "process", 3),
        (2, "process", 3),
        (3, "process", 3),
    ]
    assert [bool(one.traceback) for one in problems] == [True, False, False]
    counts = writer.row.snapshot()
    assert (counts.done, counts.problems, counts.in_flight) == (3, 3, 0)


def test_what_a_generator_makes_is_sent_as_it_comes(bench: Bench) -> None:
    def speaks() -> Iterator[AudioFrame]:
        yield sound(1, 0.02, "x")
        assert bench.take("x") == RATE // 50, "it has gone out already"
        raise KeyError("the rest")

    bench.processor.answer = lambda _: speaks()
    writer = bench.open("A")
    send(writer, 1)
    bench.work()
    (told,) = [one for one in bench.told() if isinstance(one, m.WorkerProblem)]
    assert told.summary == "KeyError: 'the rest'"
    assert writer.row.snapshot().problems == 1


def test_a_generator_that_is_long_at_it_goes_on_as_its_track_has_room(bench: Bench) -> None:
    samples = 0

    def speaks() -> Iterator[AudioFrame]:
        nonlocal samples
        for _ in range(5):
            yield sound(1, 4.0, "x")
            samples += bench.take("x")

    bench.processor.answer = lambda _: speaks()
    send(bench.open("A"), 1)
    bench.work()
    assert samples > 5 * 1.5 * RATE, "about as much as the track holds, each time"
