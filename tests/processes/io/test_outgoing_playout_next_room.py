"""An outgoing track as the room is lost, and another is joined."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from io_kit import Outside, Source, run, turns, until
from playout_kit import bench, send

from ringroom.errors import RoomError
from ringroom.frames import AudioFrame, VideoFrame
from ringroom.lanes.statistics import Count
from ringroom.providers.provider import OutgoingTrack, Playout


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


def test_a_source_that_fails_to_close_hides_no_cancellation(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(Source):
        def __init__(self, error: Exception) -> None:
            super().__init__(free=False)
            self.error = error

        async def close(self) -> None:
            raise self.error

    async def main(error: Exception) -> None:
        async with bench(free=False) as b:
            b.source = b.outside.source = Broken(error)
            send(b.open(), 1)
            b.start()
            await until(lambda: b.source.offered == 1)
            b.task.cancel()
            await asyncio.wait([b.task])
            assert b.task.cancelled()

    run(main(RoomError("it is gone", reason="disconnected")))
    assert not caplog.messages
    run(main(ValueError("nobody thought of that")))
    assert caplog.messages == ["track 'reply': not closed: ValueError: nobody thought of that"]


def test_what_waits_in_the_lane_as_the_room_is_lost_is_not_taken_from_it() -> None:
    """Also where the source takes frame after frame at once, as it is empty now."""

    class Cleared(Source):
        def clear(self) -> float:
            self.free = True
            return super().clear()

    async def main() -> None:
        async with bench(free=False) as b:
            b.source = b.outside.source = Cleared(free=False)
            send(b.open(), 1, 2, 3)
            b.start()
            await until(lambda: b.source.offered == 1)
            b.playout.interrupt()
            assert await b.task is False
            assert b.source.offered == 1
            b.source = b.outside.source = Source()
            b.start()
            await until(lambda: b.source.values == [2, 3])

    run(main())


@pytest.mark.parametrize("obeys", [True, False])
def test_what_was_closed_by_force_counts_nothing_twice(obeys: bool) -> None:
    """A source that does not let go at once; `bench` looks that nothing is in flight."""

    class Slow(Source):
        async def play(self, frame: AudioFrame | VideoFrame) -> None:
            self.offered += 1
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                await turns(5)
                if obeys:
                    raise

    async def main() -> None:
        async with bench(free=False) as b:
            b.source = b.outside.source = Slow(free=False)
            send(b.open(), 1, 2)
            b.start()
            await until(lambda: b.source.offered == 1)
            b.task.cancel()
            await turns(1)
            b.playout.close()
            await asyncio.wait([b.task])
            assert b.task.cancelled()
            counts = b.row().snapshot()
            assert (counts.sent, counts.done, counts.lost) == (2, 0, 2)

    run(main())


def test_a_loss_that_comes_after_it_was_closed_by_force_is_the_end() -> None:
    """Its lanes are buried: nothing waits in them for the next room."""

    class Stubborn(Outside):
        free = False

        async def publish(self, track: OutgoingTrack) -> Playout:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            await until(lambda: self.free)
            raise RoomError("it is gone", reason="disconnected")

    async def main() -> None:
        async with bench() as b:
            outside = b.outside = Stubborn()
            send(b.open(), 1)
            b.start()
            await turns()
            b.task.cancel()
            await turns()
            b.playout.close()
            outside.free = True
            assert await b.task is True

    run(main())
