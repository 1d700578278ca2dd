"""Mailboxes, whose writer cannot wait, with readers that are slow.

Law: what is posted is in the lane, in order, or waits, or is counted as dropped."""

from __future__ import annotations

import contextlib
import logging
import select
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from io_kit import RATE, duplicate, no_more_watched, run, turns, until, watched

from ringroom.events import Event, EventKind
from ringroom.frames import AudioFrame, DataFrame, FileFrame, TextFrame
from ringroom.lanes.lane import ring_for
from ringroom.lanes.reliable import ReliableReader, ReliableWriter
from ringroom.lanes.statistics import Count, StatisticsTable
from ringroom.notices import Notices
from ringroom.processes.io import mailbox as mailboxes
from ringroom.processes.io.mailbox import Mailbox


@contextlib.asynccontextmanager
async def mailbox() -> AsyncIterator[Any]:
    with contextlib.closing(StatisticsTable.create()) as table:
        row = table.row(0)
        writer = ReliableWriter(ring_for(1_000, 8), row)
        box = Mailbox(writer, lambda: 77, Notices(logging.getLogger("ringroom.io")))
        reader = ReliableReader(duplicate(writer.descriptors()), row)
        try:
            yield box, reader, row
        finally:
            box.close()
            box.close()
            reader.close()
            assert row.snapshot().in_flight == 0, "what was not taken is lost, counted"


def message(number: int, nbytes: int = 900) -> DataFrame:
    return DataFrame(number.to_bytes(4, "big") + bytes(nbytes), "topic", "ann")


def number_of(item: Any) -> int:
    assert isinstance(item, DataFrame)
    return int.from_bytes(item.payload[:4], "big")


async def take(reader: ReliableReader, count: int, row: Any) -> list[Any]:
    found: list[Any] = []

    def more() -> bool:
        item = reader.receive_nowait()
        if item is not None:
            found.append(item)
            if isinstance(item, DataFrame):
                row.add(Count.DONE)
        return len(found) == count

    await until(more)
    return found


def test_what_has_no_room_waits_and_nothing_overtakes_it() -> None:
    async def main() -> None:
        async with mailbox() as (box, reader, row):
            for number in range(50):
                box.post(message(number))
                # A small one would find the room that a large one does not.
                box.post(message(1_000 + number, 0))
            assert not box.emptied.is_set()
            items = await take(reader, 100, row)
            wanted = [n for number in range(50) for n in (number, 1_000 + number)]
            assert [number_of(item) for item in items] == wanted
            assert {item.received_ns for item in items} == {77}
            await until(box.emptied.is_set)
            assert watched(box.writer.freed_fileno()) == 0
            box.post(message(5))
            assert number_of((await take(reader, 1, row))[0]) == 5
            counts = row.snapshot()
            assert (counts.sent, counts.dropped) == (101, 0)

    run(main())


def test_who_comes_when_there_is_room_again_still_waits_for_its_turn() -> None:
    async def main() -> None:
        async with mailbox() as (box, reader, row):
            number = 0
            while box.emptied.is_set():
                box.post(message(number))
                number += 1
            found = []
            while (item := reader.receive_nowait()) is not None:
                row.add(Count.DONE)
                found.append(item)
            box.post(message(number))  # the loop has not yet seen that there is room
            found += await take(reader, number + 1 - len(found), row)
            assert [number_of(item) for item in found] == [*range(number + 1)]

    run(main())


def test_beyond_the_bound_it_is_dropped_counted_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailboxes, "MAX_BACKLOG_BYTES", 20_000)

    async def main() -> None:
        async with mailbox() as (box, reader, row):
            first = 0
            for turn in range(3):  # each time as much has room, and only the new losses are told
                before = row.snapshot().dropped_full
                for number in range(60):
                    box.post(message(number))
                box.post(Event(kind=EventKind.PARTICIPANT_JOINED))
                dropped = row.snapshot().dropped_full - before
                assert dropped > 20
                first = first or dropped
                # But for the end of the ring, which falls somewhere else.
                assert abs(dropped - first) <= 5, "as much has room as the first time"
                items = await take(reader, 61 - dropped, row)
                *kept, told = items
                assert [number_of(item) for item in kept] == list(range(60 - dropped))
                assert told.kind is EventKind.EVENTS_LOST
                assert told.reason == f"{dropped + 1} not read in time"
                assert row.snapshot().sent == 60 * (turn + 1)
                assert box.emptied.is_set()

    run(main())


def test_who_waits_for_room_sleeps_until_there_is_more() -> None:
    """The credit that was not enough is taken, or the loop would turn for nothing."""

    async def main() -> None:
        async with mailbox() as (box, reader, row):
            for number in range(20):
                box.post(message(number, 10))
            while box.emptied.is_set():
                box.post(message(99))
            await turns()
            await take(reader, 1, row)
            reader.give_back()
            await turns()
            assert not box.emptied.is_set()
            poller = select.poll()
            poller.register(box.writer.freed_fileno(), select.POLLIN)
            assert poller.poll(0) == []

    run(main())


def test_what_cannot_wait_is_dropped_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with mailbox() as (box, reader, row):
            number = 0
            with no_more_watched():
                while not box.post(message(number)):
                    number += 1
                assert box.emptied.is_set()
                assert (row.snapshot().sent, row.snapshot().dropped_full) == (number + 1, 1)
                await take(reader, number, row)
                reader.give_back()
            box.post(message(number))
            told, last = await take(reader, 2, row)
            assert (told.kind, told.reason) == (EventKind.EVENTS_LOST, "1 not read in time")
            assert number_of(last) == number

    run(main())
    assert caplog.text.count("max_user_watches") == 1


def test_what_no_record_takes_is_left_out_counted_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Also where it has waited for its turn; what comes after it arrives."""
    large = DataFrame(b"", to=("i" * 900,) * 20)

    async def main() -> None:
        async with mailbox() as (box, reader, row):
            box.post(large)
            box.post(Event(kind=EventKind.CONNECTION_LOST, reason="r" * 20_000))
            number = 0
            while box.emptied.is_set():
                box.post(message(number))
                number += 1
            box.post(large)
            box.post(message(number))
            items = await take(reader, number + 1, row)
            assert [number_of(item) for item in items] == [*range(number + 1)]
            await until(box.emptied.is_set)
            assert row.snapshot().dropped_full == 2

    run(main())
    assert "left out: " in caplog.text


def test_closing_wakes_who_waits_for_the_mailbox() -> None:
    async def main() -> None:
        async with mailbox() as (box, _, row):
            while box.emptied.is_set():
                box.post(message(1))
            sent = row.snapshot().sent
            box.close()
            assert box.emptied.is_set()
            assert row.snapshot().lost == sent

    run(main())


def test_sound_waits_with_its_size() -> None:
    """What a backlog holds is measured by what it keeps in memory."""
    frame = AudioFrame(np.zeros(1_000, np.int16), RATE)
    assert mailboxes._held_bytes(frame) > 2_000
    assert mailboxes._held_bytes(message(1, 5_000)) > 5_000
    assert mailboxes._held_bytes(DataFrame(b"", topic="t" * 1_000)) > 1_000, "most of a flood"
    text = TextFrame(b"x" * 100, attributes={"name": "v" * 5_000})
    assert mailboxes._held_bytes(text) > 5_100
    assert mailboxes._held_bytes(FileFrame(bytes(1_000))) > 1_000


# Files.


class Following:
    """A mailbox that goes on in larger lanes, and what reads them one after the other."""

    def __init__(self, table: StatisticsTable) -> None:
        self._table = table
        self.readers: list[ReliableReader] = []
        self._writers: list[ReliableWriter] = []
        self.refuses = False
        self.box = Mailbox(
            self._open(1_000), lambda: 77, Notices(logging.getLogger("ringroom.io")), self._follow
        )

    def _follow(self, nbytes: int) -> ReliableWriter | None:
        return None if self.refuses else self._open(nbytes)

    def _open(self, nbytes: int) -> ReliableWriter:
        row = self._table.row(len(self.readers))
        writer = ReliableWriter(ring_for(nbytes, 4), row)
        self._writers.append(writer)
        self.readers.append(ReliableReader(duplicate(writer.descriptors()), row))
        return writer

    def close(self) -> None:
        self.box.close()
        for end in (*self._writers, *self.readers):
            end.close()

    async def take(self, count: int) -> list[Any]:
        """Those of a lane before those of the next."""
        found: list[Any] = []

        def more() -> bool:
            for reader in self.readers:
                while (item := reader.receive_nowait()) is not None:
                    found.append(item)
            return len(found) >= count

        await until(more)
        return found


@contextlib.asynccontextmanager
async def following() -> AsyncIterator[Following]:
    with contextlib.closing(StatisticsTable.create()) as table:
        one = Following(table)
        try:
            yield one
        finally:
            one.close()


def file(number: int, nbytes: int) -> FileFrame:
    return FileFrame(number.to_bytes(4, "big") + bytes(nbytes), "topic", "ann")


def test_what_is_too_large_goes_on_in_another_lane_and_so_does_what_follows() -> None:
    async def main() -> None:
        async with following() as one:
            for number, nbytes in enumerate((10, 20_000, 10, 5_000, 40_000, 10)):
                assert one.box.post(file(number, nbytes)) == 0
            assert len(one.readers) == 3, "what fits a lane that is there gets no other"
            items = await one.take(6)
            assert [(number_of(item), item.sequence) for item in items] == [
                (number, number) for number in range(6)
            ]

    run(main())


def test_what_waits_for_room_goes_before_the_larger_lane() -> None:
    async def main() -> None:
        async with following() as one:
            number = 0
            while one.box.emptied.is_set():
                one.box.post(message(number))
                number += 1
            for more in range(20):
                one.box.post(file(number + more, 50_000 if more == 3 else 30_000))
            assert len(one.readers) == 1, "nothing overtakes what waits"
            old = one.box.writer.freed_fileno()
            items = await one.take(number + 20)
            assert [number_of(item) for item in items] == [*range(number + 20)]
            await until(one.box.emptied.is_set)
            assert watched(old) == 0
            assert watched(one.box.writer.freed_fileno()) == 0

    run(main())


def test_a_file_for_which_there_is_no_lane_is_left_out_counted_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        async with following() as one:
            one.refuses = True
            one.box.post(file(0, 20_000))
            one.box.post(message(1))
            assert [number_of(item) for item in await one.take(1)] == [1]
            assert one.box.writer.row.snapshot().dropped_full == 1
            one.refuses = False
            one.box.post(file(2, 20_000))
            assert [number_of(item) for item in await one.take(1)] == [2]

    run(main())
    assert "left out: " in caplog.text


def test_where_the_larger_lane_cannot_be_watched_what_waits_is_dropped_counted() -> None:
    """Nobody would write it once there is room."""

    async def main() -> None:
        async with following() as one:
            number = 0
            while one.box.emptied.is_set():
                one.box.post(message(number))
                number += 1
            one.box.post(file(number, 20_000))
            one.box.post(message(number + 1))
            reader = one.readers[0]
            while reader.receive_nowait() is not None:
                pass
            with no_more_watched():
                one.box.drain()
            assert one.box.emptied.is_set()
            found = [item for item in await one.take(2) if isinstance(item, FileFrame | Event)]
            assert [type(item) for item in found] == [FileFrame, Event]
            assert found[1].reason == "1 not read in time"
            assert one.box._backlog_bytes == 0
            one.box.post(message(5))
            assert [number_of(item) for item in await one.take(1)] == [5]

    run(main())
