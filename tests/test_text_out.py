"""A text that is written in a block: its pieces, its bounds, and what ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from ringroom.checks import MAX_TEXT_BYTES
from ringroom.errors import BusyError, ClosedError, FrameError
from ringroom.frames import TextFrame
from ringroom.pieces import ADD, BEGIN, END, TextPiece
from ringroom.text_out import (
    MAX_OPEN_TEXTS,
    UNFINISHED,
    AsyncTextOut,
    OpenTexts,
    TextOut,
    TextPieces,
)

BEGINNING = TextFrame(b"", "lk.transcription", to=("ann",), attributes={"a": "b"})


class Sender:
    """Keeps what was sent, and what was to be sent later; ``fails`` is raised by what is sent."""

    def __init__(self, texts: OpenTexts | None = None) -> None:
        self.texts = texts or OpenTexts()
        self.sent: list[TextPiece] = []
        self.later: list[TextPiece] = []
        self.fails: BaseException | None = None

    def send(self, piece: TextPiece) -> None:
        if self.fails is not None:
            raise self.fails
        self.sent.append(piece)

    async def send_async(self, piece: TextPiece) -> None:
        self.send(piece)

    def open(self) -> TextOut:
        return TextOut(TextPieces(self.texts, BEGINNING), self.send, self.later.append)

    def open_async(self) -> AsyncTextOut:
        return AsyncTextOut(TextPieces(self.texts, BEGINNING), self.send_async, self.later.append)


FINISH: Any = {"lk.transcription_final": "true"}
"""In the place of what is written: the text is finished with that."""


def write_sync(sender: Sender, *texts: Any, error: BaseException | None = None) -> None:
    with sender.open() as text:
        for one in texts:
            (text.finish if isinstance(one, dict) else text.write)(one)
        if error is not None:
            raise error


def write_async(sender: Sender, *texts: Any, error: BaseException | None = None) -> None:
    async def main() -> None:
        async with sender.open_async() as text:
            for one in texts:
                await (text.finish if isinstance(one, dict) else text.write)(one)
            if error is not None:
                raise error

    asyncio.run(main())


BOTH = pytest.mark.parametrize("write", [write_sync, write_async])
Write = Callable[..., None]


def steps(pieces: list[TextPiece]) -> list[tuple[str, str]]:
    return [(piece.step, piece.text) for piece in pieces]


@BOTH
def test_each_write_is_a_piece(write: Write) -> None:
    sender = Sender()
    write(sender, "Hé", "", "llo")
    assert steps(sender.sent) == [(BEGIN, ""), (ADD, "Hé"), (ADD, "llo"), (END, "")]
    assert sender.sent[0].beginning == BEGINNING
    assert len({piece.number for piece in sender.sent}) == 1
    write(sender, "more")
    assert len({piece.number for piece in sender.sent}) == 2, "another text has another number"
    assert sender.later == []


@BOTH
def test_a_block_that_raises_leaves_its_text_unfinished(write: Write) -> None:
    sender = Sender()
    with pytest.raises(ZeroDivisionError):
        write(sender, "half", error=ZeroDivisionError())
    assert steps(sender.sent) == [(BEGIN, ""), (ADD, "half")]
    assert steps(sender.later) == [(END, UNFINISHED)]


@BOTH
def test_a_finished_text_is_over_whatever_becomes_of_the_block(write: Write) -> None:
    sender = Sender()
    write(sender, "x", FINISH)
    assert steps(sender.sent) == [(BEGIN, ""), (ADD, "x"), (END, "")]
    assert sender.sent[-1].attributes == FINISH
    assert sender.sent[-1].number == sender.sent[0].number
    write(sender, {})
    assert (sender.sent[-1].step, sender.sent[-1].attributes) == (END, {})
    sender.sent.clear()
    for late in ("late", FINISH):
        with pytest.raises(ClosedError, match="nothing after finish"):
            write(sender, FINISH, late)
    with pytest.raises(ZeroDivisionError):
        write(sender, FINISH, error=ZeroDivisionError())
    assert steps(sender.sent) == 3 * [(BEGIN, ""), (END, "")]
    assert sender.later == []


@BOTH
def test_attributes_that_are_refused_leave_the_text_open(write: Write) -> None:
    """Those of the beginning count, but for such as are replaced: the others have them all."""
    sender = Sender()
    with pytest.raises(FrameError, match="12001 bytes together, at most 12000"):
        write(sender, {"c": "x" * 11_998})
    with pytest.raises(FrameError, match="attribute"):
        write(sender, {"c": 1})
    assert steps(sender.later) == 2 * [(END, UNFINISHED)]
    write(sender, {"c": "x" * 11_997})
    write(sender, {"a": "x" * 11_999})
    with sender.open() as text, pytest.raises(FrameError, match="expected a mapping"):
        text.finish("true")  # type: ignore[arg-type]
    assert sender.sent[-1].step == END


@BOTH
def test_a_text_has_a_bound_however_it_is_written(write: Write) -> None:
    sender = Sender()
    half = "é" * (MAX_TEXT_BYTES // 4)
    with pytest.raises(FrameError, match="200000 bytes of the text are written, 1 more are beyond"):
        write(sender, half, half, "x")
    assert sum(len(piece.payload) for piece in sender.sent) == MAX_TEXT_BYTES
    with pytest.raises(FrameError, match="piece of a text"):
        write(sender, "x" * (MAX_TEXT_BYTES + 1))
    with pytest.raises(FrameError, match="type bytes"):
        write(sender, b"x")
    with pytest.raises(FrameError, match="Unicode"):
        write(sender, "\ud800")


@BOTH
def test_what_was_not_taken_does_not_count(write: Write) -> None:
    pieces = TextPieces(OpenTexts(), BEGINNING)
    pieces.begin()
    assert pieces.add("x" * MAX_TEXT_BYTES) is not None, "its sender found no room for it"
    assert pieces.add("x" * MAX_TEXT_BYTES) is not None


def test_several_at_a_time_and_not_too_many() -> None:
    sender = Sender()
    opened = [sender.open() for _ in range(MAX_OPEN_TEXTS)]
    for one in opened:
        one.__enter__()
    with pytest.raises(BusyError, match="64 texts are being written; end one of them first"):
        sender.open().__enter__()
    opened[5].finish()
    opened[5].__exit__(None, None, None)
    sender.open().__enter__()
    assert len({piece.number for piece in sender.sent if piece.step == BEGIN}) == 65


@pytest.mark.parametrize(
    ("error", "ended"), [(TimeoutError("no room"), []), (KeyboardInterrupt(), [(END, UNFINISHED)])]
)
def test_a_text_that_does_not_begin_takes_no_place(error: BaseException, ended: Any) -> None:
    """Of what was interrupted nobody knows whether it is on its way."""
    sender = Sender()
    sender.fails = error
    for _ in range(MAX_OPEN_TEXTS + 1):
        with pytest.raises(type(error)):
            sender.open().__enter__()
    assert steps(sender.later[:1]) == ended

    async def main() -> None:
        with pytest.raises(type(error)):
            await sender.open_async().__aenter__()

    if not isinstance(error, KeyboardInterrupt):  # which asyncio does not leave to a task
        asyncio.run(main())


@BOTH
def test_an_end_that_was_not_taken_is_sent_later(write: Write) -> None:
    """It is no error of the block, so the text is whole."""
    sender = Sender()

    class Late(Sender):
        def send(self, piece: TextPiece) -> None:
            if piece.step == END:
                raise TimeoutError
            super().send(piece)

    sender = Late()
    with pytest.raises(TimeoutError):
        write(sender, "x")
    with pytest.raises(TimeoutError):
        write(sender, "x", FINISH)
    assert steps(sender.later) == 2 * [(END, "")]
    assert sender.later[1].attributes == FINISH


def test_a_text_is_written_in_its_block_alone() -> None:
    sender = Sender()
    text = sender.open()
    with pytest.raises(ClosedError, match="inside the `with` block"):
        text.write("too early")
    with pytest.raises(ClosedError, match="inside the `with` block"):
        text.finish()
    with text:
        text.write("x")
    with pytest.raises(ClosedError, match="inside the `with` block"):
        text.write("too late")
    with pytest.raises(ClosedError, match="entered once"):
        text.__enter__()
    assert steps(sender.sent) == [(BEGIN, ""), (ADD, "x"), (END, "")]
