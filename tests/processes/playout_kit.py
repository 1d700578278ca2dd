"""One outgoing track, from its lane to a source that the test plays, and what it is asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from io_kit import REPLY, Outside, Source, duplicate, sound

from ringroom.lanes.live import LiveReader, LiveWriter
from ringroom.lanes.reliable import ReliableReader, ReliableWriter
from ringroom.lanes.ring import Geometry
from ringroom.lanes.statistics import Row, StatisticsTable
from ringroom.processes.io.outgoing_playout import OutgoingPlayout

MS = 1_000_000
RING = Geometry(1 << 16)
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
    retired: list[int] = field(default_factory=list)
    ready: int = 0
    playout: Any = None
    task: Any = None

    def clock(self) -> int:
        return self.now

    def lane(self, *, live: bool = False) -> tuple[Any, Any]:
        row = self.table.row(len(self.writers))
        writer: Any = (LiveWriter if live else ReliableWriter)(RING, row)
        self.writers.append(writer)
        handles = duplicate(writer.descriptors())
        if live:
            age = 100 * MS
            return writer, LiveReader(handles, row, "reply", max_age_ns=age, clock=self.clock)
        return writer, ReliableReader(handles, row, "reply")

    def open(self, *, live: bool = False) -> Any:
        writer, reader = self.lane(live=live)
        self.playout = OutgoingPlayout(REPLY, reader, self.clock, self.retired.append)
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
            assert made.retired == [*range(len(made.writers))], "each once, in their order"
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
