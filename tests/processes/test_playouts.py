"""One outgoing track, from its lane to a source that the test plays.

Law: each request is answered once, and sent = done + dropped + lost + in flight."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from io_kit import REPLY, Outside, Source, duplicate, run, sound, turns, until, watched

from ringroom.errors import RingroomError, RoomError
from ringroom.frames import AudioFrame, DataFrame, Event, EventKind, VideoFrame
from ringroom.lanes.live import LiveReader, LiveWriter
from ringroom.lanes.reliable import ReliableReader, ReliableWriter
from ringroom.lanes.statistics import Count, Row, StatisticsTable
from ringroom.processes.playouts import OutgoingData, OutgoingPlayout

MS = 1_000_000
CAPACITY = 1 << 16
FRAME = 0.02


@dataclass
class Bench:
    """A playout, the lanes to it, and the answers that it gave."""

    table: StatisticsTable
    source: Source
    outside: Outside
    now: int = 10**9
    answers: list[tuple[int, float]] = field(default_factory=list)
    writers: list[Any] = field(default_factory=list)
    ready: int = 0
    playout: Any = None
    task: Any = None

    def clock(self) -> int:
        return self.now

    def lane(self, *, live: bool = False) -> tuple[Any, Any]:
        row = self.table.row(len(self.writers))
        writer: Any = (LiveWriter if live else ReliableWriter)(CAPACITY, row)
        self.writers.append(writer)
        handles = duplicate(writer.descriptors())
        if live:
            age = 100 * MS
            return writer, LiveReader(handles, row, "reply", max_age_ns=age, clock=self.clock)
        return writer, ReliableReader(handles, row, "reply")

    def open(self, *, live: bool = False) -> Any:
        writer, reader = self.lane(live=live)
        self.playout = OutgoingPlayout(REPLY, reader, self.clock)
        return writer

    def start(self) -> None:
        self.task = asyncio.ensure_future(self.playout.run(self.outside, self.on_ready))

    def on_ready(self) -> None:
        self.ready += 1

    def answer(self, number: int, seconds: float) -> None:
        self.answers.append((number, round(seconds, 6)))

    def row(self, index: int = 0) -> Row:
        return self.table.row(index)

    async def end(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])
        if self.playout is not None:
            self.playout.close()
            self.playout.close()


@contextlib.asynccontextmanager
async def bench(*, free: bool = True) -> AsyncIterator[Bench]:
    with contextlib.closing(StatisticsTable.create()) as table:
        source = Source(free=free)
        made = Bench(table, source, Outside(source))
        try:
            yield made
        finally:
            await made.end()
            for writer in made.writers:
                writer.close()
            made.writers.clear()
            for index in range(2):
                counts = table.row(index).snapshot()
                assert counts.in_flight == 0, "what was not played is lost, counted"


def send(writer: Any, *values: int, now: int = 10**9) -> None:
    for value in values:
        if isinstance(writer, LiveWriter):
            assert writer.send(sound(value), now)
        else:
            writer.send_nowait(sound(value), now)


def test_frames_are_played_in_order_and_counted() -> None:
    async def main() -> None:
        async with bench() as b:
            writer = b.open()
            send(writer, 1, 2)
            b.start()
            await until(lambda: b.source.values == [1, 2])
            send(writer, 3)
            await until(lambda: b.row().get(Count.DONE) == 3)
            assert b.source.values == [1, 2, 3]
            assert b.ready == 1
            assert b.row().get(Count.PLAYED) == 3 * 320
            assert b.row().get(Count.PLAYED_UNTIL_NS) == b.now + 60 * MS

    run(main())


def test_a_drain_is_answered_when_what_was_sent_before_it_is_played_and_not_earlier() -> None:
    async def main() -> None:
        async with bench(free=False) as b:
            writer = b.open()
            send(writer, 0, 1, 2, 3)
            b.playout.drain(7, 2, b.answer)
            b.start()
            await until(lambda: b.source.offered == 1)
            b.source.step()
            await until(lambda: b.source.offered == 2)
            b.source.waiting = 0.0  # what it took is played, but that is only the first
            await turns()
            assert b.answers == []
            b.source.step()
            # Both are taken, one still plays, and the next waits behind them.
            await until(lambda: b.source.offered == 3)
            looks = b.source.looks
            await until(lambda: b.source.looks > looks + 2)
            assert b.answers == []
            b.source.waiting = 0.0
            await until(lambda: b.answers == [(7, 0.0)])
            assert b.source.values == [0, 1]

    run(main())


def test_a_drain_of_a_live_track_counts_by_numbers_and_not_by_frames() -> None:
    """Frames that went stale leave their numbers out."""

    async def main() -> None:
        async with bench(free=False) as b:
            writer = b.open(live=True)
            send(writer, 0, 1, 2)
            b.now += 200 * MS
            send(writer, 3, 4, now=b.now)
            b.playout.drain(1, 4, b.answer)
            b.start()
            await until(lambda: b.source.offered == 1)
            b.source.step()
            await until(lambda: b.source.offered == 2)
            b.source.waiting = 0.0
            await until(lambda: b.answers)
            assert b.source.values == [3]
            assert b.row().snapshot().dropped_stale == 3

    run(main())


def test_a_flush_cuts_what_was_sent_before_it_and_nothing_else() -> None:
    async def main() -> None:
        async with bench(free=False) as b:
            writer = b.open()
            send(writer, 0, 1, 2, 3, 4)
            b.start()
            await until(lambda: b.source.offered == 1)
            b.source.step()
            await until(lambda: b.source.offered == 2)
            b.now += 3 * MS
            b.playout.flush(9, 4, b.answer)
            assert b.source.waiting == 0.0, "what is queued is thrown away at once"
            assert b.row().get(Count.PLAYED_UNTIL_NS) == b.now
            b.source.free = True
            await until(lambda: b.source.values == [0, 1, 4])
            # Frame 0 was queued, 1 under way, 2 and 3 still in the lane.
            assert b.answers == [(9, 4 * FRAME)]
            counts = b.row().snapshot()
            assert (counts.done, counts.dropped_flushed) == (3, 2)
            assert b.row().get(Count.CLEARED) == 2 * 320
            assert b.source.waiting == pytest.approx(FRAME)

    run(main())


def test_a_flush_leaves_what_was_sent_after_it_alone() -> None:
    async def main() -> None:
        async with bench(free=False) as b:
            writer = b.open()
            send(writer, 0, 1)
            b.start()
            await until(lambda: b.source.offered == 1)
            b.playout.flush(1, 0, b.answer)
            b.source.step()
            await until(lambda: b.answers)
            assert b.answers == [(1, 0.0)]
            assert b.source.waiting == pytest.approx(FRAME)
            b.source.step()
            await until(lambda: b.source.values == [0, 1])

    run(main())


def test_a_flush_before_the_track_is_published() -> None:
    async def main() -> None:
        async with bench() as b:
            b.outside.publishes.clear()
            writer = b.open()
            send(writer, 0, 1, 2)
            b.start()
            b.playout.flush(3, 2, b.answer)
            await turns()
            b.outside.publishes.set()
            await until(lambda: b.source.values == [2])
            assert b.answers == [(3, 2 * FRAME)]

    run(main())


def test_a_flush_of_the_lane_that_follows_cuts_all_that_is_in_the_one_before() -> None:
    """Also what has a higher number there: numbers begin anew."""

    async def main() -> None:
        async with bench(free=False) as b:
            first = b.open()
            send(first, 0, 1, 2, 3)
            b.start()
            await until(lambda: b.source.offered == 1)
            second, reader = b.lane()
            b.playout.replace(reader)
            send(second, 4, 5)
            b.playout.flush(7, 1, b.answer)
            b.source.free = True
            await until(lambda: b.source.values == [0, 5])
            assert b.answers == [(7, 5 * FRAME)]
            assert b.row(0).snapshot().dropped_flushed == 3
            assert b.row(1).snapshot().dropped_flushed == 1

    run(main())


def test_what_follows_begins_when_the_lane_before_is_played() -> None:
    async def main() -> None:
        async with bench(free=False) as b:
            first = b.open()
            fd = b.playout._readers[0].fileno()
            send(first, 0, 1, 2)
            b.start()
            await until(lambda: b.source.offered == 1)
            second, reader = b.lane()
            b.playout.replace(reader)
            send(second, 3, 4)
            # Numbers begin anew: the second frame of the first lane is not what is asked for.
            b.playout.drain(5, 2, b.answer)
            for offered in (2, 3, 4):
                b.source.step()
                await until(lambda offered=offered: b.source.offered == offered)
                b.source.waiting = 0.0
                await turns()
                assert b.answers == []
            b.source.step()
            await until(lambda: b.source.offered == 5)
            assert b.answers == []
            b.source.step()
            await until(lambda: b.source.values == [0, 1, 2, 3, 4])
            b.source.waiting = 0.0
            await until(lambda: b.answers == [(5, 0.0)])
            assert b.row(0).get(Count.DONE) == 3
            assert b.row(1).get(Count.DONE) == 2
            assert reader.fileno() >= 0
            assert watched(fd) == 0, "its number may belong to somebody else at once"

    run(main())


def test_a_frame_that_the_source_refuses_is_a_problem_and_the_track_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        async with bench() as b:
            b.source.refuses = True
            writer = b.open()
            send(writer, 0, 1)
            b.start()
            await until(lambda: b.row().get(Count.DONE) == 2)
            b.source.refuses = False
            send(writer, 2)
            await until(lambda: b.row().get(Count.DONE) == 3)
            assert b.source.values == [2]
            assert b.row().get(Count.PROBLEMS) == 2
            assert b.row().get(Count.PLAYED) == 320
            assert b.row().get(Count.PLAYED_UNTIL_NS) == b.now + 20 * MS

    run(main())
    assert [record.message for record in caplog.records] == [
        "track 'reply': not played: ValueError: it does not like the sound"
    ]


def test_sound_that_the_source_refuses_was_not_played_and_nobody_waits_for_it() -> None:
    """Its one fate is done, with a problem: it is neither lost nor dropped."""

    async def main() -> None:
        async with bench(free=False) as b:
            writer = b.open()
            send(writer, 0, 1, 2)
            b.start()
            await until(lambda: b.source.offered == 1)
            b.source.step()
            await until(lambda: b.source.offered == 2)
            b.source.refuses = True
            b.playout.drain(1, 2, b.answer)
            b.playout.flush(2, 3, b.answer)
            b.source.step()
            await until(lambda: len(b.answers) == 2)
            # The first was queued, the last still in the lane; of the refused one nothing was.
            assert sorted(b.answers) == [(1, 0.0), (2, 2 * FRAME)]
            row = b.row()
            counts = row.snapshot()
            assert (counts.sent, counts.done, counts.dropped_flushed) == (3, 2, 1)
            assert (counts.problems, counts.in_flight) == (1, 0)
            assert row.get(Count.PLAYED) == row.get(Count.CLEARED) == 320
            b.source.refuses, b.source.free = False, True
            send(writer, 3)
            await until(lambda: row.get(Count.DONE) == 3)
            assert row.get(Count.PLAYED) - row.get(Count.CLEARED) == 320

    run(main())


def test_events_of_a_live_track_are_no_frames() -> None:
    async def main() -> None:
        async with bench() as b:
            writer = b.open(live=True)
            writer.event(Event(kind=EventKind.TRACK_MUTED))
            send(writer, 4)
            b.start()
            await until(lambda: b.source.values == [4])

    run(main())


def test_a_track_that_is_finished_plays_out_first_and_is_closed_once() -> None:
    async def main() -> None:
        async with bench() as b:
            writer = b.open()
            send(writer, 0, 1)
            b.start()
            await until(lambda: b.source.values == [0, 1])
            assert not b.playout.closing
            b.playout.finish()
            assert b.playout.closing
            looks = b.source.looks
            await until(lambda: b.source.looks > looks + 2)
            assert not b.task.done()
            assert b.source.closes == 0
            b.source.waiting = 0.0
            await b.task
            assert b.source.closes == 1

    run(main())


def test_a_flush_of_a_track_that_is_finished_is_answered_at_once() -> None:
    async def main() -> None:
        async with bench() as b:
            writer = b.open()
            send(writer, 0, 1)
            b.start()
            await until(lambda: b.source.values == [0, 1])
            b.source.waiting = 1_000.0
            b.playout.finish()
            looks = b.source.looks
            await until(lambda: b.source.looks > looks)
            b.playout.flush(1, 2, b.answer)
            await b.task
            assert b.answers == [(1, 1_000.0)]

    run(main())


def test_a_finished_track_is_over_when_nothing_waits_in_its_lane() -> None:
    async def main() -> None:
        async with bench() as b:
            writer = b.open()
            b.start()
            await until(lambda: b.ready)
            b.playout.interrupt()
            assert await b.task is False
            assert not b.playout.is_over(), "its writer may go on"
            send(writer, 1)
            b.playout.finish()
            assert not b.playout.is_over(), "one waits"
            b.start()
            await until(lambda: b.source.values == [1])
            b.playout.interrupt()
            assert await b.task is False
            assert b.playout.is_over()

    run(main())


@pytest.mark.parametrize("published", [True, False])
def test_every_request_is_answered_once_when_the_track_ends(published: bool) -> None:
    """Also those that wait for sound that is never played."""

    async def main() -> None:
        async with bench(free=False) as b:
            writer = b.open()
            send(writer, 0, 1, 2)
            if not published:
                b.outside.publishes.clear()
            b.start()
            b.playout.drain(1, 1, b.answer)
            b.playout.drain(2, 3, b.answer)
            if published:
                await until(lambda: b.source.offered == 1)
                b.source.step()
                looks = b.source.looks
                await until(lambda: b.source.offered == 2 and b.source.looks > looks + 2)
            b.playout.flush(3, 3, b.answer)
            await b.end()
            await turns()
            looks = b.source.looks
            assert sorted(number for number, _ in b.answers) == [1, 2, 3]
            counts = b.row().snapshot()
            # A track that is not published yet is flushed at once.
            assert (counts.lost, counts.dropped_flushed) == ((2, 0) if published else (0, 3))
            assert b.source.closes == published
            await turns()
            assert b.source.looks == looks, "nobody waits for it any more"

    run(main())


def test_a_drain_that_comes_with_the_end_is_answered() -> None:
    """The track ends before anybody has begun to wait for what is played."""

    async def main() -> None:
        async with bench() as b:
            b.open()
            b.start()
            await until(lambda: b.ready)
            b.playout.drain(1, 0, b.answer)
            b.playout.finish()
            await b.task
            await until(lambda: b.answers == [(1, 0.0)])

    run(main())


def test_a_drain_that_waits_as_the_track_is_finished_is_answered() -> None:
    async def main() -> None:
        async with bench() as b:
            send(b.open(), 0)
            b.start()
            await until(lambda: b.source.values == [0])
            b.playout.drain(1, 1, b.answer)
            await until(lambda: b.source.looks > 3)
            b.playout.finish()
            b.source.waiting = 0.0
            await b.task
            await until(lambda: b.answers == [(1, 0.0)])

    run(main())


# Messages.


# The room is lost, and another is joined.


def test_the_next_room_gets_what_waits_and_not_what_was_under_way() -> None:
    async def main() -> None:
        async with bench(free=False) as b:
            writer = b.open()
            send(writer, 1, 2, 3)
            b.start()
            await until(lambda: b.source.offered == 1)
            b.source.step()
            await until(lambda: b.source.offered == 2)
            b.playout.interrupt()
            assert await b.task is False
            assert (b.source.closes, b.source.values) == (1, [1])
            send(writer, 4)
            b.source = b.outside.source = Source()
            b.start()
            await until(lambda: b.source.values == [3, 4])
            assert b.ready == 2
            counts = b.row().snapshot()
            assert (counts.sent, counts.done, counts.lost, counts.problems) == (4, 3, 1, 0)

    run(main())


def test_what_the_source_did_not_play_is_taken_from_what_was_played() -> None:
    """Also of the frame for which it still waits, which the source counts among what it clears."""

    class Waits(Source):
        under_way = 0.02

        def clear(self) -> float:
            under_way, self.under_way = self.under_way, 0.0
            return super().clear() + under_way

    async def main() -> None:
        async with bench(free=False) as b:
            b.source = b.outside.source = Waits(free=False)
            writer = b.open()
            send(writer, 1, 2)
            b.start()
            await until(lambda: b.source.offered == 1)
            b.source.step()
            await until(lambda: b.source.offered == 2)
            b.playout.interrupt()
            await b.task
            row = b.row()
            assert row.get(Count.PLAYED) == row.get(Count.CLEARED) == 2 * 320
            assert row.get(Count.PLAYED_UNTIL_NS) == b.now

    run(main())


@pytest.mark.parametrize("where", ["publish", "play"])
def test_a_provider_that_is_gone_is_offered_nothing_more(where: str) -> None:
    gone = RoomError("it is gone", reason="disconnected")

    class Gone(Source):
        async def play(self, frame: AudioFrame) -> None:
            self.offered += 1
            raise gone

    async def main() -> None:
        async with bench() as b:
            b.source = b.outside.source = Gone()
            b.outside.refuses = gone if where == "publish" else None
            writer = b.open()
            send(writer, 1, 2, 3)
            b.start()
            assert await b.task is False
            b.outside.refuses = None
            b.source = b.outside.source = Source()
            b.start()
            await until(lambda: b.source.values == ([1, 2, 3] if where == "publish" else [2, 3]))
            assert b.row().snapshot().lost == (where == "play")
            assert b.row().snapshot().problems == 0

    run(main())


def test_a_track_that_may_be_published_no_more_ends() -> None:
    """What was under way is lost, counted; the rest is offered to nobody."""
    taken = RoomError("the right was taken away", reason="publish_refused")

    class Taken(Source):
        async def play(self, frame: AudioFrame | VideoFrame) -> None:
            if self.values:
                raise taken
            await super().play(frame)

    async def main() -> None:
        async with bench() as b:
            b.source = b.outside.source = Taken()
            send(b.open(), 1, 2, 3)
            b.start()
            with pytest.raises(RoomError) as told:
                await b.task
            assert told.value is taken
            assert b.source.values == [1]
            assert b.source.closes == 1
            b.playout.close()
            counts = b.row().snapshot()
            assert (counts.done, counts.lost, counts.problems) == (1, 2, 0)

    run(main())


def test_a_track_that_ends_while_nobody_plays_on_it_ends_all_the_same() -> None:
    taken = RoomError("the right was taken away", reason="publish_refused")

    async def main() -> None:
        async with bench() as b:
            writer = b.open()
            send(writer, 1)
            b.start()
            await until(lambda: b.source.values == [1])
            b.source.ended(taken)
            send(writer, 2)
            with pytest.raises(RoomError) as told:
                await b.task
            assert told.value is taken
            assert (b.source.values, b.source.closes) == ([1], 1)
            b.playout.close()
            counts = b.row().snapshot()
            assert (counts.done, counts.lost) == (1, 1)

    run(main())


def test_the_end_of_a_track_is_forgotten_in_the_next_room() -> None:
    async def main() -> None:
        async with bench() as b:
            writer = b.open()
            b.start()
            await until(lambda: b.ready)
            b.playout.interrupt()
            b.source.ended(RoomError("with the room", reason="disconnected"))
            assert await b.task is False
            send(writer, 1)
            b.start()
            await until(lambda: b.source.values == [1])

    run(main())


def test_what_is_asked_between_two_rooms() -> None:
    async def main() -> None:
        async with bench() as b:
            writer = b.open()
            b.start()
            await until(lambda: b.ready)
            b.playout.interrupt()
            b.playout.interrupt()
            assert await b.task is False
            send(writer, 1, 2)
            b.playout.flush(1, 2, b.answer)
            assert b.answers == [(1, 0.04)], "at once"
            send(writer, 3)
            b.playout.drain(2, 3, b.answer)
            await turns()
            assert len(b.answers) == 1
            b.start()
            await until(lambda: b.source.values == [3])
            b.source.waiting = 0.0
            await until(lambda: b.answers == [(1, 0.04), (2, 0.0)])

    run(main())


def test_a_flush_that_comes_as_the_room_is_lost_is_answered() -> None:
    async def main() -> None:
        async with bench(free=False) as b:
            writer = b.open()
            send(writer, 1, 2)
            b.start()
            await until(lambda: b.source.offered == 1)
            b.playout.interrupt()
            b.playout.flush(1, 2, b.answer)
            assert await b.task is False
            assert [number for number, _ in b.answers] == [1]
            assert b.row().snapshot().dropped_flushed == 1

    run(main())


def test_a_loss_that_comes_with_the_end_of_the_session_does_not_hide_it() -> None:
    async def main() -> None:
        async with bench(free=False) as b:
            send(b.open(), 1)
            b.start()
            await until(lambda: b.source.offered == 1)
            b.playout.interrupt()
            b.task.cancel()
            await asyncio.wait([b.task])
            assert b.task.cancelled()

    run(main())


def test_what_a_cancelled_track_has_not_played_is_not_counted_as_played() -> None:
    async def main() -> None:
        async with bench() as b:
            writer = b.open()
            send(writer, 1, 2)
            b.start()
            await until(lambda: b.row().get(Count.DONE) == 2)
            b.task.cancel()
            await asyncio.wait([b.task])
            assert b.row().get(Count.CLEARED) == b.row().get(Count.PLAYED) == 2 * 320

    run(main())


def test_who_waits_for_sound_that_will_not_play_is_told_as_the_room_is_lost() -> None:
    async def main() -> None:
        async with bench() as b:
            writer = b.open()
            send(writer, 1)
            b.start()
            await until(lambda: b.row().get(Count.DONE) == 1)
            b.source.waiting = b.playout._accepted = 10.0**6
            b.playout.drain(4, 1, b.answer)
            looks = b.source.looks
            await until(lambda: b.source.looks > looks)
            assert b.answers == []
            b.playout.interrupt()
            await until(lambda: b.answers == [(4, 0.0)])

    run(main())


def test_the_lane_before_is_given_back_though_nothing_has_come_in_the_next() -> None:
    async def main() -> None:
        async with bench() as b:
            writer = b.open()
            send(writer, 1)
            b.start()
            await until(lambda: b.row().get(Count.DONE) == 1)
            await turns()
            (before,) = b.playout._readers
            b.playout.replace(b.lane()[1])
            await until(lambda: before.fileno() < 0)

    run(main())


@contextlib.asynccontextmanager
async def messages() -> AsyncIterator[Any]:
    with contextlib.closing(StatisticsTable.create()) as table:
        row = table.row(0)
        with contextlib.closing(ReliableWriter(CAPACITY, row)) as writer:
            failed: list[RingroomError] = []
            data = OutgoingData(ReliableReader(duplicate(writer.descriptors()), row), failed.append)
            try:
                yield writer, data, failed, row
            finally:
                data.close()
                data.close()
                assert row.snapshot().in_flight == 0


def post(writer: ReliableWriter, *payloads: bytes) -> None:
    for payload in payloads:
        writer.send_nowait(DataFrame(payload), 1)


def test_messages_wait_for_the_next_room_and_the_one_under_way_is_told() -> None:
    class Hangs(Outside):
        async def send_data(self, frame: DataFrame) -> None:
            if not self.sent:
                await super().send_data(frame)
                return
            await asyncio.Event().wait()

    class Slow(Outside):
        waits, waiting = True, False

        async def send_data(self, frame: DataFrame) -> None:
            self.waiting = True
            await until(lambda: not self.waits)
            await super().send_data(frame)

    async def main() -> None:
        async with messages() as (writer, data, failed, row):
            answers: list[int] = []
            post(writer, b"a", b"b", b"c")
            first = Hangs()
            running = asyncio.ensure_future(data.run(first))
            await until(lambda: row.snapshot().taken == 2)
            data.interrupt()
            data.interrupt()
            assert await running is False
            assert [str(error) for error in failed] == [
                "the room was lost while a message was sent"
            ]
            second = Slow()
            data.drain(1, 2, lambda number, _: answers.append(number))
            running = asyncio.ensure_future(data.run(second))
            await until(lambda: second.waiting)
            assert answers == [1], "what is lost is not waited for"
            second.waits = False
            await until(lambda: second.sent == [b"c"])
            assert (first.sent, answers) == ([b"a"], [1])
            counts = row.snapshot()
            assert (counts.done, counts.lost) == (2, 1)
            running.cancel()
            await asyncio.wait([running])

    run(main())


def test_a_room_that_is_gone_gets_one_message_at_most() -> None:
    async def main() -> None:
        async with messages() as (writer, data, failed, row):
            post(writer, b"a", b"b")
            outside = Outside()
            outside.refuses = RoomError("it is gone", reason="disconnected")
            assert await data.run(outside) is False
            assert (len(failed), row.snapshot().taken) == (1, 1)

    run(main())


def test_messages_go_in_order_and_a_drain_waits_for_its_own() -> None:
    async def main() -> None:
        async with messages() as (writer, data, failed, row):
            outside = Outside()
            answers: list[tuple[int, int]] = []
            post(writer, b"a", b"b")
            for number in (1, 2, 3):
                data.drain(number, number, lambda n, _: answers.append((n, len(outside.sent))))
            task = asyncio.ensure_future(data.run(outside))
            await until(lambda: outside.sent == [b"a", b"b"])
            await until(lambda: len(answers) == 2)
            await turns()
            post(writer, b"c")
            await until(lambda: len(answers) == 3)
            # Each with as many messages sent as it asked for, no fewer and no more.
            assert answers == [(1, 1), (2, 2), (3, 3)]
            assert row.get(Count.DONE) == 3
            assert failed == []
            task.cancel()
            await asyncio.wait([task])

    run(main())


def test_a_message_that_is_refused_is_told_and_the_next_goes_out() -> None:
    async def main() -> None:
        async with messages() as (writer, data, failed, row):
            outside = Outside()
            outside.refuses = RoomError("too much", reason="data_refused")
            post(writer, b"a")
            task = asyncio.ensure_future(data.run(outside))
            await until(lambda: failed)
            outside.refuses = None
            post(writer, b"b")
            await until(lambda: outside.sent == [b"b"])
            await until(lambda: row.get(Count.DONE) == 2)
            assert row.get(Count.PROBLEMS) == 1
            assert [str(error) for error in failed] == ["too much"]
            task.cancel()
            await asyncio.wait([task])

    run(main())


def test_garbage_among_messages_is_told_and_ends_the_sending() -> None:
    async def main() -> None:
        async with messages() as (writer, data, failed, _):
            view = writer._room(40)
            assert view is not None
            view[:] = b"\xff" * 40
            writer._commit(40)
            await data.run(Outside())
            assert len(failed) == 1

    run(main())


def test_drains_are_answered_and_messages_lost_when_the_sending_ends() -> None:
    async def main() -> None:
        async with messages() as (writer, data, _, row):
            post(writer, b"a", b"b")
            answers: list[int] = []
            data.drain(4, 2, lambda number, _: answers.append(number))
            data.close()
            assert answers == [4]
            assert row.get(Count.LOST) == 2

    run(main())
