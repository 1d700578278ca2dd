"""A worker in this process: the test writes its lanes, reads its replies, and turns its loop."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from io_kit import ANN, RATE

from app_kit import Call, until
from ringroom import messages as m
from ringroom.errors import ClosedError, ConfigurationError, FrameError, StartupError
from ringroom.frames import AudioFrame, Kind, TrackInfo
from ringroom.lanes.lane import LaneDescriptors, ring_capacity
from ringroom.lanes.live import LiveWriter
from ringroom.lanes.records import participant_to_json, track_to_json
from ringroom.lanes.reliable import ReliableReader
from ringroom.lanes.statistics import Count, RowPool, StatisticsTable
from ringroom.link import open_links
from ringroom.options import SessionOptions
from ringroom.processes.context import WorkerContext
from ringroom.processes.worker import MAX_UNHEARD, Worker
from ringroom.processor import Processor
from ringroom.testing import faults

SECOND = 1_000_000_000


def sound(value: int, seconds: float = 0.02, track: str | None = None) -> AudioFrame:
    return AudioFrame(np.full(int(RATE * seconds), value, np.int16), RATE, track=track)


class Scripted(Processor):
    """Does what the test says with each frame, and remembers what was called."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.answer: Callable[[AudioFrame], Any] = lambda _: None

    def open(self, track: TrackInfo) -> None:
        self.calls.append(f"open {track.sid}")

    def process(self, frame: Any) -> Any:
        self.calls.append(int(frame.samples[0, 0]))
        return self.answer(frame)

    def close(self, track: TrackInfo) -> None:
        self.calls.append(f"close {track.sid}")

    def stop(self) -> None:
        self.calls.append("stop")


class Bench:
    """The worker, and the far ends of its two links."""

    def __init__(self) -> None:
        self.control, theirs = open_links()
        self.link, session = open_links()
        self.table = StatisticsTable.create()
        self.rows = RowPool(self.table, 0, 50)
        self.processor = Scripted()
        options = SessionOptions(kinds=(Kind.AUDIO,), max_age=60)
        self.worker = Worker(theirs, self.processor, options)
        self.writers: list[LiveWriter] = []
        self.replies: dict[str, ReliableReader] = {}
        self.heard: list[m.Message] = []
        start = m.Start(place=3, rows_first=100, rows_count=20)
        self.control.send(start, (session.fileno(), self.table.fd))
        session.close()
        self.link.send(m.Attached(rows=[], tracks=[]))
        self.worker._pump()

    def open(self, sid: str, name: str = "", number: int = 0) -> LiveWriter:
        track = TrackInfo(sid=sid, name=name or sid, kind=Kind.AUDIO, participant="ann")
        row = self.rows.acquire()
        writer = LiveWriter(ring_capacity(2_000, 50), row)
        self.writers.append(writer)
        opened = m.LaneOpened(
            lane=number or len(self.writers),
            row=row.index,
            kind="audio",
            live=True,
            track=track_to_json(track),
            participant=participant_to_json(ANN),
            follows=0,
        )
        self.link.send(opened, writer.descriptors().flat())
        return writer

    def work(self) -> None:
        """Until nothing is to be done."""
        self.worker._pump()
        while self.worker._step():
            self.worker._pump()

    def listen(self) -> list[m.Message]:
        """What the worker has told its session since the last call."""
        new = []
        while (received := self.link.receive_nowait()) is not None:
            message, descriptors = received
            new.append(message)
            if isinstance(message, m.PlayoutOpen) and not message.live:
                handles = LaneDescriptors.from_flat(descriptors)
                row = self.table.row(message.row)
                self.replies[message.name] = ReliableReader(handles, row)
            else:
                for fd in descriptors:
                    os.close(fd)
        self.heard += new
        return new

    def take(self, name: str) -> int:
        """Read all that the reply track holds now; how many samples."""
        self.listen()
        samples = 0
        while (frame := self.replies[name].receive_nowait()) is not None:
            assert isinstance(frame, AudioFrame)
            samples += len(frame.samples)
        return samples

    def told(self) -> list[m.Message]:
        """What the worker has told the application."""
        found = []
        while (received := self.control.receive_nowait()) is not None:
            found.append(received[0])
        return found

    def close(self) -> None:
        worker = self.worker
        if worker.outgoing is not None and worker.session is not None:
            worker.outgoing.close()
            worker.session.close()
        if worker._table is not None:
            worker._table.close()
        worker._wake.close()
        worker._backlog.clear()  # rows that are held keep the table mapped
        worker.control.close()
        for end in (*self.writers, *self.replies.values()):
            end.close()
        self.writers.clear()
        self.replies.clear()
        self.listen_to_the_end()
        self.link.close()
        self.control.close()
        self.table.close()

    def listen_to_the_end(self) -> None:
        with contextlib.suppress(Exception):
            self.listen()
        for reader in self.replies.values():
            reader.close()
        self.replies.clear()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def send(writer: LiveWriter, *values: int) -> None:
    for value in values:
        assert writer.send(sound(value), time.monotonic_ns())


def frames_of(bench: Bench) -> list[int]:
    return [call for call in bench.processor.calls if isinstance(call, int)]


def test_a_full_reply_track_holds_its_source_until_it_has_room_and_no_other(bench: Bench) -> None:
    bench.processor.answer = lambda frame: sound(7, 5.0) if frame.track.sid == "A" else None
    alice, bob = bench.open("A"), bench.open("B")
    send(alice, 1, 2)
    send(bob, 10, 11)
    bench.work()
    assert frames_of(bench) == [1, 10, 11]
    send(bob, 12)
    bench.work()
    assert frames_of(bench) == [1, 10, 11, 12]
    samples, turns = 0, 0
    while 2 not in frames_of(bench):
        samples += bench.take("ann/A")
        bench.work()
        turns += 1
        assert turns < 50, "the source is still held when all is sent"
    assert samples <= 5 * RATE
    assert alice.row.get(Count.DONE) == 2


def test_a_source_is_held_as_long_as_any_of_its_replies_waits(bench: Bench) -> None:
    bench.processor.answer = lambda frame: (
        [sound(1, 6.0, "x"), sound(1, 9.0, "y")] if frame.samples[0, 0] == 1 else None
    )
    source = bench.open("A")
    send(source, 1, 2)
    bench.work()
    for _ in range(10):
        bench.take("x")
        bench.work()
    assert frames_of(bench) == [1], "y is still behind"
    for _ in range(20):
        bench.take("y")
        bench.work()
    assert frames_of(bench) == [1, 2]


def test_a_full_track_does_not_keep_another_from_what_waits_there(bench: Bench) -> None:
    bench.processor.answer = lambda _: [sound(1, 6.0, "x"), sound(1, 3.0, "y")]
    send(bench.open("A"), 1)
    bench.work()
    samples = 0
    for _ in range(20):
        samples += bench.take("y")
        bench.work()
    assert samples == 3 * RATE
    assert bench.take("x") < 6 * RATE


def test_a_flush_forgets_what_waits_and_gives_the_source_free(bench: Bench) -> None:
    bench.processor.answer = lambda frame: sound(1, 5.0) if frame.samples[0, 0] == 1 else None
    send(bench.open("A"), 1, 2)
    bench.work()
    assert bench.worker.outgoing is not None
    lane = bench.worker.outgoing.find("ann/A")
    assert lane is not None
    waiting = bench.worker.forget_backlog(lane)
    bench.work()
    assert frames_of(bench) == [1, 2]
    taken = sum(bench.take("ann/A") for _ in range(3))
    assert waiting == pytest.approx(5.0 - taken / RATE)
    assert bench.worker.forget_backlog(lane) == 0.0


def test_the_loop_wakes_for_room_and_for_replies_from_another_thread(bench: Bench) -> None:
    context = WorkerContext(bench.worker)
    bench.work()
    bench.worker._wait(0)  # what the opening has left
    waiting = Call(bench.worker._wait, 60)
    context.send(sound(1, 5.0, "x"))
    waiting.result()
    bench.work()
    bench.worker._wait(0)
    poller = select.poll()
    poller.register(bench.worker._wake.fileno(), select.POLLIN)
    assert poller.poll(0) == [], "a wake-up that was seen wakes no more"
    waiting = Call(bench.worker._wait, 60)
    bench.take("x")
    waiting.result()


def test_what_raises_is_counted_done_and_told_once_in_full(bench: Bench) -> None:
    def fails(frame: AudioFrame) -> None:
        raise ValueError(f"not {frame.samples[0, 0]}")

    bench.processor.answer = fails
    writer = bench.open("A")
    send(writer, 1, 2, 3)
    bench.work()
    problems = [one for one in bench.told() if isinstance(one, m.Problem)]
    assert [(one.count, one.where, one.place) for one in problems] == [
        (1, "process", 3),
        (2, "process", 3),
        (3, "process", 3),
    ]
    assert [bool(one.traceback) for one in problems] == [True, False, False]
    counts = writer.row.snapshot()
    assert (counts.done, counts.problems, counts.in_flight) == (3, 3, 0)


def test_problems_that_nobody_hears_are_counted_and_not_kept(bench: Bench) -> None:
    def fails(frame: AudioFrame) -> None:
        raise ValueError("something else") if frame.samples[0, 0] else KeyError("again")

    bench.processor.answer = fails
    writer = bench.open("A")
    for _ in range(MAX_UNHEARD // 10 + 60):
        send(writer, *[0] * 20)
        bench.work()
    kept = bench.worker.control.backlog
    assert kept == MAX_UNHEARD
    send(writer, 1)
    bench.work()
    assert bench.worker.control.backlog == kept + 1, "the first of its kind"
    problems = []
    while bench.worker.control.backlog:
        problems += bench.told()
        bench.worker._pump()
    send(writer, 0)
    bench.work()
    problems += bench.told()
    counts = [one.count for one in problems if isinstance(one, m.Problem)]
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
    told = [one.summary for one in bench.told() if isinstance(one, m.Problem)]
    assert told == ["BusyError: somebody else sends it"]
    assert frames_of(bench) == [1, 2], "its source is held no longer"


def ends_of(messages: list[m.Message]) -> int:
    return sum(isinstance(message, m.PlayoutClose) for message in messages)


def test_a_reply_track_ends_after_all_is_sent(bench: Bench) -> None:
    bench.processor.answer = lambda frame: sound(1, 5.0, "ann/A")
    context = WorkerContext(bench.worker)
    writer = bench.open("A", number=4)
    bench.work()
    context.send(sound(1, 5.0, "ann/A"))
    bench.link.send(m.LaneEnding(lane=4))
    bench.work()
    assert bench.processor.calls == ["open A", "close A"]
    samples = 0
    while not ends_of(bench.listen()):
        samples += bench.take("ann/A")
        assert not ends_of(bench.heard) or samples
        bench.work()
        if ends_of(bench.heard):
            break
    samples += bench.take("ann/A")
    assert samples == 5 * RATE
    assert writer.row.get(Count.SENT) == 0


def test_a_reply_track_whose_source_is_back_goes_on(bench: Bench) -> None:
    context = WorkerContext(bench.worker)
    bench.open("A", "mic", number=4)
    bench.work()
    context.send(sound(1, 5.0, "ann/mic"))
    bench.link.send(m.LaneEnding(lane=4))
    bench.work()
    bench.processor.answer = lambda frame: sound(2)
    send(bench.open("B", "mic", number=5), 1)
    bench.work()
    samples = 0
    for _ in range(20):
        samples += bench.take("ann/mic")
        bench.work()
    assert samples == 5 * RATE + 320
    assert ends_of(bench.heard) == 0


def test_a_reply_track_ends_with_the_last_track_that_it_answers(bench: Bench) -> None:
    bench.processor.answer = lambda frame: sound(1)
    for number, sid in enumerate("AB", 4):
        send(bench.open(sid, "mic", number=number), 1)
    bench.work()
    bench.link.send(m.LaneEnding(lane=4))
    bench.work()
    assert ends_of(bench.listen()) == 0
    bench.link.send(m.LaneEnding(lane=5))
    bench.work()
    assert ends_of(bench.listen()) == 1


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


def test_the_rooms_end_ends_the_loop_after_what_waits(bench: Bench) -> None:
    writer = bench.open("A")
    send(writer, 1, 2)
    bench.link.send(m.Ended(reason="closed", error=""))
    Call(bench.worker._loop).result()
    assert frames_of(bench) == [1, 2]


def test_what_waits_for_a_full_reply_track_is_handled_when_the_room_ends(bench: Bench) -> None:
    """Nobody makes room there any more."""
    bench.processor.answer = lambda frame: sound(1, 30.0)
    writer = bench.open("A")
    send(writer, 1, 2, 3)
    bench.work()
    assert frames_of(bench) == [1]
    bench.link.send(m.Ended(reason="closed", error=""))
    Call(bench.worker._loop).result()
    assert frames_of(bench) == [1, 2, 3]


def test_a_live_reply_that_is_cut_is_told_once_with_the_cure(bench: Bench) -> None:
    context = WorkerContext(bench.worker)
    context.send(sound(1, 30.0, "x"), mode="live")
    context.send(sound(1, 30.0, "x"), mode="live")
    problems = [one for one in bench.told() if isinstance(one, m.Problem)]
    assert [one.count for one in problems] == [1, 2]
    assert "mode='speech'" in problems[0].summary


def test_it_ends_in_order_tracks_backlog_playout(bench: Bench) -> None:
    """It is done only when all it has said is told to be played."""
    context = WorkerContext(bench.worker)
    bench.open("A")
    bench.work()
    context.send(sound(1, 5.0, "x"))
    bench.control.send(m.Stop(drain=60.0))
    bench.worker._pump()
    ending = Call(bench.worker._finish)
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
    assert m.WorkerDone(place=3) in bench.told()


class Parting(Processor):
    """Says goodbye, wherever it is."""

    def start(self, context: WorkerContext) -> None:
        self.context = context

    def stop(self) -> None:
        self.context.send_data("bye")


def test_a_spare_that_never_had_a_place_says_goodbye_to_nobody() -> None:
    application, theirs = open_links()
    application.send(m.Stop(drain=0.0))
    Worker(theirs, Parting(), SessionOptions(kinds=(Kind.AUDIO,))).run()
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
    bench.worker._finish()
    (problem,) = [message for message in bench.told() if isinstance(message, m.Problem)]
    assert (problem.where, problem.count) == ("stop", 1)
    assert "a moment ago" in problem.summary


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
    problems = [one for one in bench.told() if isinstance(one, m.Problem)]
    assert [one.where for one in problems] == ["process"]
    assert problems[0].summary.startswith(kind.__name__)
    assert "in fail" in problems[0].traceback
    assert len(problems[0].traceback) < 30_000


def test_a_context_takes_names_of_tracks(bench: Bench) -> None:
    context = WorkerContext(bench.worker)
    for call in (context.flush, context.played):
        for name in (5, b"x", ["a"], "a\0b"):
            with pytest.raises(FrameError, match="the track name"):
                call(name)  # type: ignore[arg-type]
    for nothing in (None, 5, "x"):
        with pytest.raises(FrameError, match="cannot send a"):
            context.send(nothing)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="mode is 'fast'"):
        context.send(sound(1), mode="fast")  # type: ignore[arg-type]


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
