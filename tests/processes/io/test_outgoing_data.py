"""Outgoing messages: in order, each sent, refused or lost, and a drain waits for its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from io_kit import Outside, duplicate, run, turns, until
from playout_kit import RING

from ringroom.dtmf import DtmfFrame
from ringroom.errors import RingroomError, RoomError, WireError
from ringroom.frames import DataFrame, FileFrame, TextFrame
from ringroom.lanes.reliable import ReliableReader, ReliableWriter
from ringroom.lanes.statistics import Count, StatisticsTable
from ringroom.processes.io.outgoing_data import OutgoingData
from ringroom.rpc import RpcAnswer, RpcCall

CALL = RpcCall(b"", "greet", "ann", number=1)


@contextlib.asynccontextmanager
async def messages() -> AsyncIterator[Any]:
    with contextlib.closing(StatisticsTable.create()) as table:
        row = table.row(0)
        with contextlib.closing(ReliableWriter(RING, row)) as writer:
            failed: list[RingroomError] = []
            retired: list[int] = []
            reader = ReliableReader(duplicate(writer.descriptors()), row)
            data = OutgoingData(reader, failed.append, retired.append, answered)
            try:
                yield writer, data, failed, row
            finally:
                data.close()
                data.close()
                assert row.snapshot().in_flight == 0
                assert retired == [row.index]


def answered(answer: RpcAnswer) -> None:
    if answer.number != CALL.number:
        raise RoomError("not open", reason="data_refused")


def nothing() -> None:
    """It is not asked here when messages can go out."""


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
            running = asyncio.ensure_future(data.run(first, nothing))
            await until(lambda: row.snapshot().taken == 2)
            data.interrupt()
            data.interrupt()
            assert await running is False
            assert [str(error) for error in failed] == [
                "the room was lost while a message was sent"
            ]
            second = Slow()
            data.drain(1, 2, lambda number, _: answers.append(number))
            running = asyncio.ensure_future(data.run(second, nothing))
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
            assert await data.run(outside, nothing) is False
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
            task = asyncio.ensure_future(data.run(outside, nothing))
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


def test_texts_files_digits_and_messages_go_to_the_provider_by_ways_of_their_own() -> None:
    class Told(Outside):
        order: list[str] = []  # noqa: RUF012

        async def send_data(self, frame: DataFrame) -> None:
            self.order.append("data")

        async def send_text(self, frame: TextFrame) -> None:
            self.order.append("text")

        async def send_file(self, frame: FileFrame) -> None:
            self.order.append("file")

        async def send_dtmf(self, frame: DtmfFrame) -> None:
            self.order.append(frame.digit)

    async def main() -> None:
        async with messages() as (writer, data, failed, row):
            text, file = TextFrame(b"b"), FileFrame(b"c")
            for frame in (DataFrame(b"a"), text, file, DtmfFrame("#"), DataFrame(b"d")):
                writer.send_nowait(frame, 1)
            outside = Told()
            task = asyncio.ensure_future(data.run(outside, nothing))
            await until(lambda: row.get(Count.DONE) == 5)
            assert (outside.order, failed) == (["data", "text", "file", "#", "data"], [])
            task.cancel()
            await asyncio.wait([task])

    run(main())


def test_answers_go_to_their_calls_and_one_that_nobody_waits_for_is_told() -> None:
    async def main() -> None:
        async with messages() as (writer, data, failed, row):
            outside = Outside()
            task = asyncio.ensure_future(data.run(outside, nothing))
            for frame in (CALL.answer("a"), replace(CALL, number=2).answer("b"), DataFrame(b"c")):
                writer.send_nowait(frame, 1)
            await until(lambda: row.get(Count.DONE) == 3)
            assert outside.sent == [b"c"]
            assert [str(error) for error in failed] == ["not open"]
            assert row.get(Count.PROBLEMS) == 1
            task.cancel()
            await asyncio.wait([task])

    run(main())


def test_a_message_that_is_refused_is_told_and_the_next_goes_out() -> None:
    async def main() -> None:
        async with messages() as (writer, data, failed, row):
            outside = Outside()
            outside.refuses = RoomError("too much", reason="data_refused")
            post(writer, b"a")
            task = asyncio.ensure_future(data.run(outside, nothing))
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
            assert writer._push(b"\xff" * 40, b"")
            writer._publish(40)
            with pytest.raises(WireError):
                await data.run(Outside(), nothing)
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


def test_a_message_that_fails_after_the_sending_was_closed_counts_nowhere() -> None:
    """Its row may serve another lane."""

    class Late(Outside):
        waiting = free = False

        async def send_data(self, frame: DataFrame) -> None:
            self.waiting = True
            await until(lambda: self.free)
            await super().send_data(frame)

    async def main() -> None:
        async with messages() as (writer, data, failed, row):
            outside = Late()
            outside.refuses = RoomError("too much", reason="data_refused")
            post(writer, b"a")
            running = asyncio.ensure_future(data.run(outside, nothing))
            await until(lambda: outside.waiting)
            data.close()
            outside.free = True
            await until(running.done)
            counts = row.snapshot()
            assert (counts.lost, counts.problems, failed) == (1, 0, [])

    run(main())


def test_a_lane_that_follows_is_read_after_the_one_before_and_what_is_asked_of_it_waits() -> None:
    """As when a file is too large for that one."""

    class Counts(Outside):
        async def send_data(self, frame: DataFrame) -> None:
            assert not answers, "answered before all had gone out"
            await super().send_data(frame)

    answers: list[int] = []

    async def main() -> None:
        retired: list[int] = []
        with contextlib.closing(StatisticsTable.create()) as table:
            writers = [ReliableWriter(RING, table.row(number)) for number in range(2)]
            readers = [ReliableReader(duplicate(one.descriptors()), one.row) for one in writers]
            data = OutgoingData(readers[0], lambda error: None, retired.append, answered)
            outside = Counts()
            post(writers[0], b"1", b"2", b"3")
            data.replace(readers[1])
            post(writers[1], b"4")
            data.drain(7, 1, lambda number, seconds: answers.append(number))
            task = asyncio.ensure_future(data.run(outside, nothing))
            await until(lambda: answers == [7])
            assert outside.sent == [b"1", b"2", b"3", b"4"]
            assert retired == [0]
            post(writers[1], b"5")
            data.finish()
            answers.clear()
            assert await task
            assert outside.sent[-1] == b"5"
            data.close()
            for writer in writers:
                writer.close()
            assert retired == [0, 1]
            assert sum(table.row(number).get(Count.DONE) for number in range(2)) == 5

    run(main())
