"""Drains and flushes of an outgoing track.

Law: each request is answered once, and sent = done + dropped + lost + in flight."""

from __future__ import annotations

import pytest
from io_kit import run, turns, until
from playout_kit import FRAME, MS, bench, send

from ringroom.lanes.statistics import Count


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


def test_a_flush_leaves_what_was_sent_after_it_alone_also_in_the_lane_that_follows() -> None:
    """Whose numbers begin anew."""

    async def main() -> None:
        async with bench(free=False) as b:
            first = b.open()
            send(first, 0, 1, 2, 3)
            b.start()
            await until(lambda: b.source.offered == 1)
            b.playout.flush(7, 3, b.answer)
            second, reader = b.lane()
            b.playout.replace(reader)
            send(second, 4, 5)
            b.source.free = True
            await until(lambda: b.answers)
            assert b.answers == [(7, 3 * FRAME)]
            await until(lambda: b.source.values == [0, 3, 4, 5])
            assert b.row(0).snapshot().dropped_flushed == 2
            assert b.row(1).snapshot().dropped_flushed == 0

    run(main())


def test_a_drain_does_not_wait_for_the_lane_that_follows() -> None:
    """Its numbers begin anew."""

    async def main() -> None:
        async with bench(free=False) as b:
            first = b.open()
            send(first, 0, 1)
            b.start()
            await until(lambda: b.source.offered == 1)
            b.playout.drain(7, 2, b.answer)
            second, reader = b.lane()
            b.playout.replace(reader)
            send(second, 2, 3, 4)
            for offered in (2, 3):
                b.source.step()
                await until(lambda offered=offered: b.source.offered == offered)
            b.source.waiting = 0.0
            b.source.step()
            await until(lambda: b.source.offered == 4)
            b.source.waiting = 0.0
            await until(lambda: b.answers == [(7, 0.0)])

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
