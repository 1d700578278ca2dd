"""Texts that are being written, from their lane to the provider: each grows, ends and breaks off by
itself, in order with messages; what became of it is told once, and all pieces are counted."""

from __future__ import annotations

import asyncio

from io_kit import Outside, Written, run, until
from test_outgoing_data import messages, nothing

from ringroom.errors import RoomError
from ringroom.frames import DataFrame, TextFrame
from ringroom.lanes.reliable import ReliableWriter
from ringroom.pieces import ADD, END, TextPiece
from ringroom.text_out import UNFINISHED

NOT_ENDED = "a text ('t') is unfinished: its sender has not ended it"
LOST = "a text ('t') is unfinished: the connection was lost while it was being written"
OF_BEFORE = "a text ('t') is unfinished: the connection in which it was begun was lost"


def begin(writer: ReliableWriter, number: int = 1) -> None:
    beginning = TextFrame(b"", "t", to=("ann",), attributes={"a": "b"})
    writer.send_nowait(TextPiece.first(beginning, number), 1)


def add(writer: ReliableWriter, text: str, number: int = 1) -> None:
    writer.send_nowait(TextPiece(text.encode(), "t", number=number, step=ADD), 1)


def end(writer: ReliableWriter, reason: str = "", number: int = 1, **attributes: str) -> None:
    last = TextPiece(reason.encode(), "t", number=number, step=END, attributes=attributes)
    writer.send_nowait(last, 1)


def test_texts_grow_in_order_with_messages() -> None:
    order: list[str] = []

    class Told(Outside):
        async def send_data(self, frame: DataFrame) -> None:
            order.append(frame.payload.decode())

        async def open_text(self, beginning: TextFrame) -> Written:
            number = len(self.written) + 1
            text = await super().open_text(beginning)
            assert isinstance(text, Written)
            write = text.write

            async def told(piece: str) -> None:
                order.append(f"{number} {piece}")
                await write(piece)

            text.write = told  # type: ignore[method-assign]
            return text

    async def main() -> None:
        async with messages() as (writer, data, failed, row):
            outside = Told()
            begin(writer, 1)
            add(writer, "a", 1)
            writer.send_nowait(DataFrame(b"between"), 1)
            begin(writer, 2)
            add(writer, "b", 2)
            add(writer, "c", 1)
            end(writer, number=1, final="true")
            end(writer, "why", number=2)
            data.finish()
            assert await data.run(outside, nothing) is True
            assert order == ["1 a", "between", "2 b", "1 c"]
            first, second = outside.written
            assert first.beginning == TextFrame(b"", "t", to=("ann",), attributes={"a": "b"})
            assert (first.ended, second.ended) == ("", "why")
            assert (first.last, second.last) == ({"final": "true"}, {})
            assert failed == []
            assert (row.snapshot().done, row.snapshot().lost) == (8, 0)

    run(main())


def test_a_text_that_its_sender_has_not_ended_is_broken_off() -> None:
    """A worker that dies leaves some; what stands in its lane still goes out."""

    async def main() -> None:
        async with messages() as (writer, data, failed, row):
            outside = Outside()
            for number in (1, 2):
                begin(writer, number)
                add(writer, "half", number)
            data.finish()
            assert await data.run(outside, nothing) is True
            assert [text.pieces for text in outside.written] == [["half"], ["half"]]
            assert [text.ended for text in outside.written] == [UNFINISHED, UNFINISHED]
            assert [str(error) for error in failed] == [NOT_ENDED, NOT_ENDED]
            assert row.snapshot().done == 4

    run(main())


def test_what_cannot_be_broken_off_is_told_too() -> None:
    async def main() -> None:
        async with messages() as (writer, data, failed, _):
            outside = Outside()
            begin(writer)
            running = asyncio.ensure_future(data.run(outside, nothing))
            await until(lambda: outside.written)
            outside.written[0].refuses = RuntimeError("broken")
            data.finish()
            assert await running is True
            [error] = failed
            assert str(error) == (
                f"{NOT_ENDED}, and the others were not told: RuntimeError: broken"
            )

    run(main())


def test_what_is_broken_off_as_the_room_is_lost_is_told_once() -> None:
    async def main() -> None:
        async with messages() as (writer, data, failed, _):
            outside = Outside()
            begin(writer, 1)
            begin(writer, 2)
            running = asyncio.ensure_future(data.run(outside, nothing))
            await until(lambda: len(outside.written) == 2)
            outside.written[1].hangs = True
            data.finish()
            await until(lambda: failed)
            data.interrupt()
            assert await running is False
            assert await data.run(Outside(), nothing) is True
            assert [str(error) for error in failed] == [NOT_ENDED, LOST]

    run(main())


def test_a_text_is_lost_with_its_room() -> None:
    """At once, also if nothing of it is under way; and what is still written to it."""

    async def main() -> None:
        async with messages() as (writer, data, failed, row):
            first, second = Outside(), Outside()
            begin(writer)
            add(writer, "half")
            running = asyncio.ensure_future(data.run(first, nothing))
            await until(lambda: row.snapshot().done == 2)
            data.interrupt()
            assert await running is False
            assert [str(error) for error in failed] == [LOST]
            add(writer, "and half")
            end(writer)
            begin(writer, 2)
            add(writer, "another", 2)
            end(writer, number=2)
            data.finish()
            assert await data.run(second, nothing) is True
            assert [text.pieces for text in second.written] == [["another"]]
            assert len(failed) == 1, "it is told once"
            assert (row.snapshot().done, row.snapshot().lost) == (5, 2)
            assert data._texts._over == set(), "nothing is kept of it"

    run(main())


def test_a_piece_under_way_as_the_room_is_lost_is_lost() -> None:
    async def main() -> None:
        async with messages() as (writer, data, failed, row):
            outside = Outside()
            begin(writer)
            running = asyncio.ensure_future(data.run(outside, nothing))
            await until(lambda: outside.written)
            outside.written[0].hangs = True
            add(writer, "half")
            await until(lambda: row.snapshot().taken == 2)
            data.interrupt()
            assert await running is False
            end(writer)
            data.finish()
            assert await data.run(Outside(), nothing) is True
            assert [str(error) for error in failed] == [
                "the room was lost while a message was sent"
            ]
            assert (row.snapshot().done, row.snapshot().lost) == (1, 2)

    run(main())


def test_a_text_of_an_io_process_before_is_told_once() -> None:
    async def main() -> None:
        async with messages() as (writer, data, failed, row):
            add(writer, "and half")
            add(writer, "and more")
            end(writer)
            end(writer, UNFINISHED, number=2)  # its sender knows that it is unfinished
            data.finish()
            assert await data.run(Outside(), nothing) is True
            assert [str(error) for error in failed] == [OF_BEFORE]
            assert row.snapshot().lost == 4
            assert data._texts._over == set()

    run(main())


def test_an_end_that_is_sent_again_is_told_to_nobody() -> None:
    """A sender whom Ctrl-C has interrupted does not know whether it was sent."""

    async def main() -> None:
        async with messages() as (writer, data, failed, row):
            outside = Outside()
            begin(writer)
            add(writer, "whole")
            for _ in range(2):
                end(writer)
            end(writer, UNFINISHED)
            data.finish()
            assert await data.run(outside, nothing) is True
            assert [text.ended for text in outside.written] == [""]
            assert failed == []
            assert (row.snapshot().done, row.snapshot().lost) == (5, 0)

    run(main())


def test_a_text_that_is_refused_is_over() -> None:
    """As it begins, or in the middle: what follows is lost, and not told again."""

    async def main() -> None:
        async with messages() as (writer, data, failed, row):
            outside = Outside()
            outside.refuses = RoomError("not here", reason="data_refused")
            begin(writer, 1)
            add(writer, "x", 1)
            end(writer, number=1)
            running = asyncio.ensure_future(data.run(outside, nothing))
            await until(lambda: row.snapshot().taken == 3)
            outside.refuses = None
            begin(writer, 2)
            await until(lambda: outside.written)
            outside.written[0].refuses = RoomError("no more", reason="data_refused")
            add(writer, "x", 2)
            add(writer, "y", 2)
            end(writer, number=2)
            data.finish()
            assert await running is True
            assert [str(error) for error in failed] == ["not here", "no more"]
            counts = row.snapshot()
            assert (counts.done, counts.problems, counts.lost) == (3, 2, 4)
            assert data._texts._over == set()

    run(main())
