"""Messages over an asyncio socket, with a bound on what waits to be sent."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import Self

from ringroom.errors import RoomError, WireError
from ringroom.providers.fake import messages, wire

__all__ = ["MessageStream"]

_READ_BYTES = 1 << 18
# A room that does not read for this long is gone for all practical purposes: media is lost then,
# as it is on a real network, instead of growing in memory.
_MAX_UNSENT = 1 << 26


class MessageStream:
    """One connection; one task receives."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = wire.Decoder()
        self._received: deque[messages.Message] = deque()
        self._error: WireError | None = None

    @classmethod
    async def open(cls, connection: socket.socket) -> Self:
        """Takes the socket over."""
        connection.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=connection, limit=_READ_BYTES)
        return cls(reader, writer)

    async def receive(self) -> messages.Message | None:
        """The next message, None at the end of the stream. Raises `WireError`."""
        while not self._received:
            if self._error is not None:
                raise self._error
            try:
                data = await self._reader.read(_READ_BYTES)
            except ConnectionError:
                return None
            if not data:
                return None
            try:
                self._received.extend(self._decoder.feed(data))
            except WireError as error:
                # The messages before it still count.
                self._error = error
        return self._received.popleft()

    def put_back(self, message: messages.Message) -> None:
        """Have it received again, as the next one."""
        self._received.appendleft(message)

    def send(self, message: messages.Message) -> None:
        """Queues the message. Raises `WireError` for one that is too large."""
        data = wire.encode(message)
        media = isinstance(message, messages.Audio | messages.Video | messages.Reading)
        if media and self._writer.transport.get_write_buffer_size() > _MAX_UNSENT:
            return
        if not self._writer.transport.is_closing():
            self._writer.write(data)

    async def drain(self) -> None:
        """Waits until the connection takes more. Raises `RoomError` when it broke."""
        try:
            await self._writer.drain()
        except ConnectionError:
            raise RoomError("fake: the room hung up", reason="disconnected") from None

    def hang_up(self) -> None:
        """Closes the socket once what waits is sent; `close` still has to be awaited."""
        self._writer.close()

    async def close(self, deadline: float) -> None:
        """Sends what waits, for at most ``deadline`` seconds, and closes the socket."""
        self._writer.close()
        closing = asyncio.ensure_future(self._writer.wait_closed())
        try:
            await asyncio.wait([closing], timeout=deadline)
        finally:
            if not closing.done():  # one that has just sent the rest of what waited takes no abort
                self._writer.transport.abort()
        await asyncio.wait([closing])
        if not isinstance(error := closing.exception(), ConnectionError | None):
            raise error
