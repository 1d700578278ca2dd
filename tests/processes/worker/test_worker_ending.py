"""How a worker ends: what is handled still, in which order, and who says goodbye."""

from __future__ import annotations

import time

import pytest
from io_kit import RATE
from worker_kit import Bench, frames_of, send, sound

from app_kit import Call, until
from ringroom import messages as m
from ringroom.errors import ClosedError, StartupError
from ringroom.events import Kind
from ringroom.lanes.statistics import Count
from ringroom.link import open_links
from ringroom.options import SessionOptions
from ringroom.processes.worker.answering import Answering
from ringroom.processes.worker.context import WorkerContext
from ringroom.processes.worker.replies import ReplyTracks
from ringroom.processes.worker.worker import Worker
from ringroom.processor import Processor
from ringroom.testing import faults

SECOND = 1_000_000_000


def test_what_came_before_the_stop_is_handled_and_nothing_after_it(bench: Bench) -> None:
    writer = bench.open("A")
    send(writer, 1, 2)
    bench.control.send(m.Stop(drain=60.0))
    bench.worker._pump()
    assert writer.send(sound(3), time.monotonic_ns() + SECOND)
    assert writer.send(sound(4), time.monotonic_ns() + SECOND)
    bench.work()
    assert frames_of(bench) == [1, 2]
    assert writer.row.get(Count.TAKEN) == 3, "from the first that came later the lane is held"


def test_a_stop_without_time_handles_nothing_more(bench: Bench) -> None:
    writer = bench.open("A")
    bench.work()
    send(writer, *range(40))
    bench.control.send(m.Stop(drain=0.0))
    bench.worker._loop()
    assert frames_of(bench) == []


def test_a_stop_is_heard_between_two_frames_of_many_tracks(bench: Bench) -> None:
    """Not only once each of them had its turn: who stops it waits for it, and not for long."""
    for writer in [bench.open(f"T{number}") for number in range(16)]:
        send(writer, *range(5))

    def stop_after_twenty(_: object) -> None:
        if len(frames_of(bench)) == 20:
            bench.control.send(m.Stop(drain=0.0))

    bench.processor.answer = stop_after_twenty
    Call(bench.worker._loop).result()
    assert len(frames_of(bench)) == 20


def test_the_rooms_end_ends_the_loop_after_what_waits(bench: Bench) -> None:
    writer = bench.open("A")
    send(writer, 1, 2)
    bench.link.send(m.Ended(reason="closed", error={}))
    Call(bench.worker._loop).result()
    assert frames_of(bench) == [1, 2]


def test_what_waits_for_a_full_reply_track_is_handled_when_the_room_ends(bench: Bench) -> None:
    """Nobody makes room there any more."""
    bench.processor.answer = lambda frame: sound(1, 30.0)
    writer = bench.open("A")
    send(writer, 1, 2, 3)
    bench.work()
    assert frames_of(bench) == [1]
    bench.link.send(m.Ended(reason="closed", error={}))
    Call(bench.worker._loop).result()
    assert frames_of(bench) == [1, 2, 3]


def test_it_ends_in_order_tracks_backlog_playout(bench: Bench) -> None:
    """It is done only when all it has said is told to be played."""
    context = WorkerContext(bench.answering)
    bench.open("A")
    bench.work()
    context.send(sound(1, 5.0, "x"))
    bench.control.send(m.Stop(drain=60.0))
    bench.worker._pump()
    ending = Call(bench.worker.finish)
    samples = 0

    def drains() -> list[m.Drain]:
        nonlocal samples
        bench.listen()
        if "x" in bench.replies:
            samples += bench.take("x")
        return [one for one in bench.heard if isinstance(one, m.Drain)]

    (drain,) = until(drains)
    samples += bench.take("x")
    assert samples == 5 * RATE
    assert bench.processor.calls == ["open A", "close A", "stop"]
    assert not ending.over
    assert not any(isinstance(one, m.WorkerDone) for one in bench.told())
    bench.link.send(m.Reply(request=drain.request, value=0.0))
    ending.result()
    assert m.WorkerDone() in bench.told()


class Parting(Processor):
    """Says goodbye, wherever it is."""

    def start(self, context: WorkerContext) -> None:
        self.context = context

    def stop(self) -> None:
        self.context.send_data("bye")


def test_a_spare_that_never_had_a_place_says_goodbye_to_nobody() -> None:
    application, theirs = open_links()
    application.send(m.Stop(drain=0.0))
    Worker(Answering(theirs), Parting(), SessionOptions(kinds=(Kind.AUDIO,))).run()
    told = []
    while (received := application.receive_nowait()) is not None:
        told.append(type(received[0]))
        if told[-1] is m.WorkerDone:
            break
    assert told == [m.WorkerReady, m.WorkerDone]
    theirs.close()
    application.close()


def test_who_cannot_say_goodbye_though_it_has_a_place_has_a_problem(bench: Bench) -> None:
    def stop() -> None:
        raise ClosedError("the file was closed a moment ago")

    bench.processor.stop = stop  # type: ignore[method-assign]
    bench.control.send(m.Stop(drain=0.0))
    bench.worker._loop()
    bench.worker.finish()
    (problem,) = [message for message in bench.told() if isinstance(message, m.WorkerProblem)]
    assert (problem.where, problem.count) == ("stop", 1)
    assert "a moment ago" in problem.summary


def test_whether_it_is_through_is_asked_with_the_lock(bench: Bench) -> None:
    """Another thread of the processor may send at that moment."""
    asked: list[bool] = []

    class Asked(ReplyTracks):
        @property
        def holds(self) -> bool:
            asked.append(bench.answering.lock._is_owned())  # type: ignore[attr-defined]
            return super().holds

    assert bench.answering.replies is not None
    bench.answering.replies.__class__ = Asked
    bench.control.send(m.Stop(drain=60.0))
    bench.worker._loop()
    assert asked == [True]


def test_a_flush_in_stop_does_not_read_on(bench: Bench) -> None:
    """A source that was held is free again, and nobody takes its frames any more."""
    bench.processor.answer = lambda _: sound(1, 5.0)
    bench.processor.stop = WorkerContext(bench.answering).flush  # type: ignore[assignment]
    send(bench.open("A"), 1, 2)
    bench.work()
    bench.control.send(m.Stop(drain=0.0))
    bench.worker._loop()
    ending = Call(bench.worker.finish)

    def flushes() -> list[m.Flush]:
        bench.listen()
        return [one for one in bench.heard if isinstance(one, m.Flush)]

    (flush,) = until(flushes)
    bench.link.send(m.Reply(request=flush.request, value=0.0))
    ending.result()
    assert frames_of(bench) == [1]
    assert not [one for one in bench.told() if isinstance(one, m.WorkerProblem)]


def test_a_worker_that_would_be_deaf_for_a_track_dies_so_that_another_takes_its_place(
    bench: Bench,
) -> None:
    """To leave in good order would be to leave its tracks to nobody."""
    writer = bench.open("T1")
    bench.work()
    send(writer, 1)
    bench.open("T2")
    with faults.descriptors_exhausted(), pytest.raises(StartupError, match="no descriptors left"):
        bench.worker._loop()
    assert bench.processor.calls == ["open T1"], "its lanes are the next one's at once"
    assert bench.told() == []
