"""What `played` tells of an outgoing track, by the cells that its playout writes.

Law: it never tells more than was played, between any two stores too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from io_kit import RATE, Source, run, until
from playout_kit import FRAME, MS, Bench, bench, send

from ringroom.events import Kind
from ringroom.frames import AudioFrame, VideoFrame
from ringroom.lanes.statistics import Cell, Count, Row
from ringroom.options import PublishOptions
from ringroom.resampling import TrackResampler
from ringroom.sessions.outgoing_lane import OutgoingLane

BEYOND_RECALL = 0.005


class Keeps(Source):
    """It plays on what is beyond recall, and counts what it waits with among what it clears."""

    under_way = 0.0
    played = 0.0

    async def play(self, frame: AudioFrame | VideoFrame) -> None:
        assert isinstance(frame, AudioFrame)
        self.under_way = frame.duration
        await super().play(frame)
        if not self.under_way:  # it was cleared meanwhile
            self.waiting -= frame.duration
        self.under_way = 0.0

    def clear(self) -> float:
        seconds, under_way, self.under_way = super().clear(), self.under_way, 0.0
        self.waiting = min(seconds, BEYOND_RECALL)
        return seconds - self.waiting + under_way

    def pass_by(self, b: Bench, seconds: float) -> None:
        b.now += round(seconds * 1_000 * MS)
        played = min(seconds, self.waiting)
        self.played += played
        self.waiting -= played


class Sender:
    """Who asks, with the lane of the bench's first writer."""

    def __init__(self, b: Bench) -> None:
        self.writer = b.writers[0]
        self.clock = b.clock
        self.lane = self.new_lane()

    def new_lane(self) -> OutgoingLane:
        """As of who has never asked."""
        lane = OutgoingLane("reply", Kind.AUDIO, PublishOptions(), self.clock)
        lane.writer = self.writer
        lane.unsent.resampler = TrackResampler(RATE, 1)
        return lane

    def played(self) -> float:
        return self.lane.played()


class Watched(Row):
    """Whoever asks does so after every store."""

    __slots__ = ("look",)

    def __init__(self, cells: memoryview, look: Callable[[], None]) -> None:
        super().__init__(cells, 0)
        self.look = look

    def add(self, count: Cell, amount: int = 1) -> None:
        super().add(count, amount)
        self.look()

    def set(self, count: Cell, value: int) -> None:
        super().set(count, value)
        self.look()


def test_what_a_flush_cannot_take_back_is_not_played_before_it_is() -> None:
    async def main() -> None:
        async with bench() as b:
            source = b.source = b.outside.source = Keeps()
            writer = b.open()
            s = Sender(b)
            send(writer, 0, 1)
            b.start()
            await until(lambda: b.row().get(Count.DONE) == 2)
            source.pass_by(b, 0.01)
            b.playout.flush(1, 2, b.answer)
            await until(lambda: b.answers)
            assert b.answers == [(1, 0.025)]
            assert s.played() == pytest.approx(0.01)
            send(writer, 2)
            await until(lambda: b.row().get(Count.DONE) == 3)
            assert s.played() == pytest.approx(0.01), "nothing is taken back"
            source.pass_by(b, BEYOND_RECALL + FRAME)
            assert s.played() == pytest.approx(0.01 + BEYOND_RECALL + FRAME)

    run(main())


def watch(b: Bench, s: Sender, source: Keeps) -> list[tuple[float, float, float]]:
    """What is told after every store, also to who asks for the first time, and the truth."""
    told: list[tuple[float, float, float]] = []

    def look() -> None:
        told.append((s.new_lane().played(), s.played(), source.played))

    (reader,) = b.playout._readers
    reader.row = Watched(b.row()._cells, look)
    return told


@pytest.mark.parametrize("how", ["flush", "interrupt", "cancel"])
def test_no_store_tells_more_than_was_played_or_less_than_before(how: str) -> None:
    async def main() -> None:
        async with bench(free=False) as b:
            source = b.source = b.outside.source = Keeps(free=False)
            writer = b.open()
            s = Sender(b)
            told = watch(b, s, source)
            send(writer, 0, 1, 2, 3)
            b.start()
            for offered in (1, 2, 3):
                await until(lambda offered=offered: source.offered == offered)
                source.pass_by(b, FRAME / 3)
                source.step()
            await until(lambda: source.offered == 4)
            source.pass_by(b, FRAME / 3)
            if how == "flush":
                b.playout.flush(1, 4, b.answer)
                source.step()
                await until(lambda: b.answers)
            elif how == "interrupt":
                b.playout.interrupt()
                await b.task
            else:
                b.task.cancel()
                await asyncio.wait([b.task])
            source.pass_by(b, 1.0)
            assert s.played() == pytest.approx(source.played, abs=1e-4)
            assert len(told) > 10
            for fresh, kept, truth in told:
                assert max(fresh, kept) <= truth + 1e-4, "samples are whole ones"
            kept_ones = [kept for _, kept, _ in told]
            assert kept_ones == sorted(kept_ones)

    run(main())
