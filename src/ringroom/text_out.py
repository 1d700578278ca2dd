"""A text while it is being written: what `open_text` of a transport, a pool and a `Context` gives.

What is the same for all of them is in `TextPieces`, which neither waits nor sends.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self
from weakref import WeakSet

from ringroom.checks import MAX_TEXT_BYTES, as_attributes, check_text
from ringroom.errors import BusyError, ClosedError, FrameError, RingroomError
from ringroom.frames import TextFrame
from ringroom.pieces import ADD, END, TextPiece

__all__ = ["MAX_OPEN_TEXTS", "UNFINISHED", "AsyncTextOut", "OpenTexts", "TextOut", "TextPieces"]

MAX_OPEN_TEXTS = 64
UNFINISHED = "the text is unfinished"
"""What the others are told of a text that breaks off."""


class OpenTexts:
    """The texts that one sender is writing: no two have the same number, and they are bounded. One
    that nobody holds any more, for Ctrl-C came as it began, is none."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._open: WeakSet[TextPieces] = WeakSet()

    @property
    def count(self) -> int:
        return len(self._open)

    def enter(self, text: TextPieces) -> int:
        """The number of a text that begins. Raises `BusyError` for one too many."""
        if self.count >= MAX_OPEN_TEXTS:
            raise BusyError(f"{MAX_OPEN_TEXTS} texts are being written; end one of them first")
        self._open.add(text)
        return next(self._numbers)

    def leave(self, text: TextPieces) -> None:
        """It has ended. Idempotent."""
        self._open.discard(text)


class TextPieces:
    """One text, from its beginning to its end. Whoever sends a piece may be interrupted anywhere:
    the last ones are made first, and then told to be on their way."""

    def __init__(self, texts: OpenTexts, beginning: TextFrame) -> None:
        self._texts = texts
        self._beginning = beginning
        self._number = 0
        self.open = False
        self._bytes = 0

    def begin(self) -> TextPiece:
        """Its first piece. Raises `BusyError`, and `ClosedError` the second time."""
        if self._number:
            raise ClosedError("a text is entered once; call open_text() for another")
        self._number = self._texts.enter(self)
        first = TextPiece.first(self._beginning, self._number)
        self.open = True
        return first

    def add(self, text: str) -> TextPiece | None:
        """The piece for what is written; None for nothing. Raises `FrameError` and `ClosedError`.
        Once it is on its way call `added`."""
        payload = check_text("piece of a text", text, MAX_TEXT_BYTES).encode()
        self._check_open()
        if self._bytes + len(payload) > MAX_TEXT_BYTES:
            raise FrameError(
                f"{self._bytes} bytes of the text are written, {len(payload)} more are beyond the "
                f"{MAX_TEXT_BYTES} that a text may have; go on in another"
            )
        if not payload:
            return None
        return TextPiece(payload, self._beginning.topic, number=self._number, step=ADD)

    def added(self, piece: TextPiece) -> None:
        """The piece is on its way."""
        self._bytes += len(piece.payload)

    def finish(self, attributes: Mapping[str, str] | None) -> TextPiece:
        """The last piece of a whole text. Raises `FrameError` and `ClosedError`."""
        given = as_attributes({} if attributes is None else attributes)
        as_attributes({**self._beginning.attributes, **given})  # together they have a bound
        self._check_open()
        return self.last(attributes=given)

    def ended(self) -> None:
        """Its last piece is on its way: nothing more may be written."""
        self._texts.leave(self)
        self.open = False

    def last(self, reason: str = "", attributes: Mapping[str, str] | None = None) -> TextPiece:
        """Its last piece. Once it is on its way call `ended`."""
        return TextPiece(
            reason.encode(),
            self._beginning.topic,
            number=self._number,
            step=END,
            attributes=attributes or {},
        )

    def _check_open(self) -> None:
        if not self.open:
            raise ClosedError(
                "the text is not open; write it inside the `with` block of open_text(), and "
                "nothing after finish()"
            )


def _unbegun(
    text: TextPieces, error: BaseException, send_later: Callable[[TextPiece], None]
) -> None:
    """The beginning was not sent, or an interrupt came a moment later."""
    if isinstance(error, RingroomError | TimeoutError):
        text.ended()
    else:
        _break_off(text, send_later)


def _break_off(text: TextPieces, send_later: Callable[[TextPiece], None]) -> None:
    send_later(text.last(UNFINISHED))
    text.ended()


class TextOut:
    """A text that is written in a ``with`` block, which ends it; see `Transport.open_text`."""

    def __init__(
        self,
        pieces: TextPieces,
        send: Callable[[TextPiece], None],
        send_later: Callable[[TextPiece], None],
    ) -> None:
        self._pieces = pieces
        self._send = send
        self._send_later = send_later
        """Sends without waiting, and does not raise: now, or as soon as something is sent again."""

    def __enter__(self) -> Self:
        first = self._pieces.begin()
        try:
            self._send(first)
        except BaseException as error:
            _unbegun(self._pieces, error, self._send_later)
            raise
        return self

    def write(self, text: str) -> None:
        """Add to the text; it is on its way at once. Waits and raises as `send_text` does,
        `FrameError` for more than 200,000 bytes altogether, and `ClosedError` outside of the
        block and after `finish`."""
        piece = self._pieces.add(text)
        if piece is not None:
            self._send(piece)
            self._pieces.added(piece)

    def finish(self, attributes: Mapping[str, str] | None = None) -> None:
        """End the text here, whole; the end of the block, also by an error, does nothing more. The
        attributes are added to those that it began with, of which they replace those of the same
        name: a reader has them once it has come to the end. Waits and raises as `send_text` does
        (after a `TimeoutError` the end goes out with the next message), `FrameError` for
        attributes of more than 12,000 bytes altogether, and `ClosedError` outside of the block or
        the second time."""
        self._end(self._pieces.finish(attributes))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._pieces.open:
            return
        if kind is None:
            self._end(self._pieces.last())
        else:
            _break_off(self._pieces, self._send_later)

    def _end(self, last: TextPiece) -> None:
        try:
            self._pieces.ended()
            self._send(last)
        except BaseException:
            self._send_later(last)
            raise


class AsyncTextOut:
    """A text that is written in an ``async with`` block; see `ringroom.aio.Transport.open_text`."""

    def __init__(
        self,
        pieces: TextPieces,
        send: Callable[[TextPiece], Awaitable[None]],
        send_later: Callable[[TextPiece], None],
    ) -> None:
        self._pieces = pieces
        self._send = send
        self._send_later = send_later
        """As that of a `TextOut`."""

    async def __aenter__(self) -> Self:
        first = self._pieces.begin()
        try:
            await self._send(first)
        except BaseException as error:
            _unbegun(self._pieces, error, self._send_later)
            raise
        return self

    async def write(self, text: str) -> None:
        """As `TextOut.write`. If cancelled, it may be written or not."""
        piece = self._pieces.add(text)
        if piece is not None:
            await self._send(piece)
            self._pieces.added(piece)

    async def finish(self, attributes: Mapping[str, str] | None = None) -> None:
        """As `TextOut.finish`. If cancelled, the text is finished all the same."""
        await self._end(self._pieces.finish(attributes))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._pieces.open:
            return
        if kind is None:
            await self._end(self._pieces.last())
        else:
            _break_off(self._pieces, self._send_later)

    async def _end(self, last: TextPiece) -> None:
        try:
            self._pieces.ended()
            await self._send(last)
        except BaseException:
            self._send_later(last)
            raise
