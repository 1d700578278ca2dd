"""What `played` tells of an outgoing track, by the cells that its playout writes.

Law: it never tells more than was played, between any two stores too."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from io_kit import RATE, Source, run, until
from playout_kit import FRAME, MS, Bench, bench, send

from ringroom.frames import Kind
from ringroom.lanes.statistics import Count, RowPool
from ringroom.link import open_links
from ringroom.options import PublishOptions, SessionOptions
from ringroom.resampling import TrackResampler
from ringroom.sessions.outgoing import Outgoing, OutgoingLane
from ringroom.sessions.session import Session

BEYOND_RECALL = 0.005


class Keeps(Source):
    """It plays on what is beyond recall."""

    def clear(self) -> float:
        seconds = super().clear()
        self.waiting = min(seconds, BEYOND_RECALL)
        return seconds - self.waiting

    def pass_by(self, b: Bench, seconds: float) -> None:
        b.now += round(seconds * 1_000 * MS)
        self.waiting = max(0.0, self.waiting - seconds)

    @property
    def played(self) -> float:
        """With all that was cleared."""
        return sum(self.lengths) / RATE - self.waiting


class Sender:
    """Who asks, with the lane of the bench's first writer."""

    def __init__(self, b: Bench) -> None:
        ours, self.link = open_links()
        self.session = Session(ours, b.table, SessionOptions(), b.clock)
        self.outgoing = Outgoing(self.session, RowPool(b.table, 100, 1))
        self.writer = b.writers[0]
        self.lane = self.new_lane()

    def new_lane(self) -> OutgoingLane:
        """As of who has never asked."""
        lane = OutgoingLane("reply", Kind.AUDIO, PublishOptions())
        lane.writer = self.writer
        lane.unsent.resampler = TrackResampler(RATE, 1)
        return lane

    def played(self) -> float:
        return self.outgoing.played(self.lane)


@contextlib.contextmanager
def sender(b: Bench) -> Iterator[Sender]:
    made = Sender(b)
    try:
        yield made
    finally:
        made.session.close()
        made.link.close()


def test_what_a_flush_cannot_take_back_is_not_played_before_it_is() -> None:
    async def main() -> None:
        async with bench() as b:
            source = b.source = b.outside.source = Keeps()
            writer = b.open()
            with sender(b) as s:
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
