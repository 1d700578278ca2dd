"""What an outgoing track plays: in order and counted, until it is finished."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from io_kit import run, turns, until, watched
from playout_kit import FRAME, MS, bench, send

from ringroom.events import Event, EventKind
from ringroom.frames import DataTrackFrame
from ringroom.lanes.statistics import Count


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


def test_a_finished_track_is_over_when_nothing_waits_in_its_lane() -> None:
    async def main() -> None:
        async with bench() as b:
            writer = b.open()
            b.start()
            await until(lambda: b.ready)
            b.playout.interrupt()
            assert await b.task is False, "its writer may go on"
            send(writer, 1)
            b.playout.finish()
            b.outside.publishes.clear()
            b.start()
            await turns()
            b.playout.interrupt()
            assert await b.task is False, "one waits"
            b.outside.publishes.set()
            b.start()
            await until(lambda: b.source.values == [1])
            b.playout.interrupt()
            assert await b.task is True

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


@pytest.mark.parametrize(
    ("live", "loudest", "gone_at"), [(True, 329, 400), (True, 328, 100), (False, 0, None)]
)
def test_what_stands_before_the_sound_of_a_live_track_is_left_out_and_counted(
    live: bool, loudest: int, gone_at: int | None
) -> None:
    """Sooner where nobody speaks."""

    async def main() -> None:
        async with bench() as b:
            writer = b.open(live=live)
            b.start()
            await until(lambda: b.ready == 1)
            b.source.waiting = 0.165
            row, left_out = b.row(), []
            for number in range(420):
                send(writer, (-1) ** number * loudest, now=b.now)
                if number == 402:
                    b.playout.drain(7, number + 1, b.answer)
                await until(lambda: row.snapshot().in_flight == 0)
                if row.get(Count.DROPPED_STALE) > len(left_out):
                    left_out.append(number)
                b.now += 20 * MS
                b.source.waiting -= FRAME
            assert left_out == ([] if gone_at is None else [*range(gone_at, gone_at + 7)])
            assert len(b.source.values) == 420 - len(left_out)
            shortened = [] if gone_at is None else [(gone_at + 7, 160)]
            lengths = enumerate(b.source.lengths, len(left_out))
            assert [(n, length) for n, length in lengths if length != 320] == shortened
            assert row.get(Count.PLAYED) == sum(b.source.lengths)
            b.source.waiting = 0.0
            await until(lambda: b.answers == [(7, 0.0)])

    run(main())


def test_in_the_next_room_what_stands_there_is_measured_anew() -> None:
    async def main() -> None:
        async with bench() as b:
            writer = b.open(live=True)
            for room in range(2):
                b.start()
                await until(lambda room=room: b.ready == room + 1)
                b.source.waiting = 0.5
                for number in range(4):
                    send(writer, number, now=b.now)
                    await until(lambda: b.row().snapshot().in_flight == 0)
                    b.now += 2_000 * MS
                assert b.source.values == [0, 1, 2, 3] * (room + 1)
                b.playout.interrupt()
                assert not await b.task

    run(main())


def test_live_sound_that_always_comes_in_heaps_is_played_whole() -> None:
    async def main() -> None:
        async with bench() as b:
            writer = b.open(live=True)
            b.start()
            await until(lambda: b.ready == 1)
            for _ in range(100):
                send(writer, 1, 2, 3, 4, 5, now=b.now)
                await until(lambda: b.row().snapshot().in_flight == 0)
                b.now += 100 * MS
                b.source.waiting -= 5 * FRAME
            assert b.source.values == [1, 2, 3, 4, 5] * 100

    run(main())


def readings(writer: Any, *values: int, now: int = 10**9) -> None:
    for value in values:
        assert writer.send(DataTrackFrame(bytes([value])), now)


def test_a_reading_that_its_source_does_not_take_in_time_is_dropped_as_too_old() -> None:
    """Its age counts from when it was sent, and what is taken late is no older than that."""

    async def main() -> None:
        async with bench(free=False) as b:
            writer = b.open(live=True)
            b.now += 60 * MS
            readings(writer, 1)
            begun = asyncio.get_running_loop().time()
            b.start()
            await until(lambda: b.row().get(Count.DROPPED_STALE) == 1)
            waited = asyncio.get_running_loop().time() - begun
            assert waited >= 0.039, "100 ms is the greatest age, 60 of which are over"
            assert (b.source.offered, b.source.values) == (1, [])
            b.source.step()
            readings(writer, 2, now=b.now)
            await until(lambda: b.row().get(Count.DONE) == 1)
            assert b.source.values == [2]
            b.playout.finish()
            await b.task

    run(main())


def test_a_reading_that_is_at_its_limit_is_offered_without_a_wait() -> None:
    async def main() -> None:
        async with bench() as b:
            writer = b.open(live=True)
            b.now += 100 * MS
            readings(writer, 1)
            b.start()
            await until(lambda: b.row().get(Count.DONE) == 1)
            assert b.source.values == [1]
            b.source.refuses = True
            readings(writer, 2, now=b.now)
            await until(lambda: b.row().get(Count.DONE) == 2)
            assert b.row().get(Count.PROBLEMS) == 1

    run(main())


def test_a_source_that_takes_its_own_time_out_is_a_problem(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What it raises is not taken for the frame's own limit."""

    async def main() -> None:
        async with bench() as b:

            async def play(frame: object) -> None:
                raise TimeoutError("the source's own")

            b.source.play = play  # type: ignore[method-assign]
            writer = b.open(live=True)
            readings(writer, 1)
            b.start()
            await until(lambda: b.row().get(Count.DONE) == 1)
            assert b.row().get(Count.PROBLEMS) == 1
            assert b.row().get(Count.DROPPED_STALE) == 0

    run(main())
    assert "the source's own" in caplog.text


def test_a_reading_under_way_as_the_room_is_lost_is_lost() -> None:
    async def main() -> None:
        async with bench(free=False) as b:
            writer = b.open(live=True)
            readings(writer, 1, now=10**12)  # never too old
            b.start()
            await until(lambda: b.source.offered == 1)
            b.playout.interrupt()
            assert await b.task is False
            assert b.row().get(Count.LOST) == 1

    run(main())
