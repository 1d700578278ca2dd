"""A text of the application's while it is being written, at a fake room."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from ringroom.frames import TextFrame
from ringroom.pieces import ADD, END, TextPiece
from ringroom.providers.provider import TextWriter

__all__ = ["FakeTextWriter"]


class FakeTextWriter(TextWriter):
    """``send`` waits for the room's answer. ``number`` is the connection's own number of the text.
    The room itself ends what was being written when the connection was lost."""

    def __init__(
        self, send: Callable[[TextPiece], Awaitable[None]], number: int, beginning: TextFrame
    ) -> None:
        self._send = send
        self._number = number
        self._beginning = beginning

    async def begin(self) -> None:
        await self._send(TextPiece.first(self._beginning, self._number))

    async def write(self, text: str) -> None:
        await self._send(TextPiece(text.encode(), number=self._number, step=ADD))

    async def close(self, reason: str = "", attributes: Mapping[str, str] | None = None) -> None:
        last = attributes or {}
        await self._send(TextPiece(reason.encode(), number=self._number, step=END, attributes=last))
