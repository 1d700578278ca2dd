"""The signalling of one client, message by message: a proxy that loses what it is told to lose.

For what a network does at the one moment that matters. Media goes its own way.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from livekit.protocol.rtc import SignalRequest

__all__ = ["Signals", "signals"]

HOST = "127.0.0.1"
_BINARY = 2


class Signals:
    """Between one client and its server, on the event loop that runs `signals`."""

    def __init__(self, server_url: str) -> None:
        self.url = ""
        """The server's, for the client."""
        self.lost = 0
        self._port = urlsplit(server_url).port
        self._wanted = ""

    def lose(self, request: str) -> None:
        """The next request of that kind ("add_track") is lost, and its connection with it."""
        self._wanted = request

    async def pass_on(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """One connection, from its beginning to its end."""
        server, to_server = await asyncio.open_connection(HOST, self._port)
        both = [
            asyncio.create_task(self._pass_requests(client, to_server)),
            asyncio.create_task(_pass_bytes(server, to_client)),
        ]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in both:
                one.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            for end in (to_client, to_server):
                end.close()
                with contextlib.suppress(OSError):
                    await end.wait_closed()

    async def _pass_requests(self, client: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        """Until one is to be lost, or the connection ends."""
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            to.write(await client.readuntil(b"\r\n\r\n"))
            while True:
                raw, binary = await _frame(client)
                if binary and self._wanted:
                    request = SignalRequest.FromString(binary).WhichOneof("message")
                    if request == self._wanted:
                        self._wanted = ""
                        self.lost += 1
                        return
                to.write(raw)
                await to.drain()


async def _frame(client: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """A WebSocket frame (RFC 6455, 5.2) as it came, and what it holds if that is binary."""
    raw = head = await client.readexactly(2)
    length = head[1] & 0x7F
    if length > 125:
        extended = await client.readexactly(2 if length == 126 else 8)
        raw, length = raw + extended, int.from_bytes(extended, "big")
    masked = await client.readexactly(4 + length)
    mask, body = masked[:4], masked[4:]
    clear = bytes(byte ^ key for byte, key in zip(body, itertools.cycle(mask), strict=False))
    return raw + masked, clear if head[0] & 0x0F == _BINARY else b""


async def _pass_bytes(one: asyncio.StreamReader, other: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await one.read(65_536):
            other.write(data)
            await other.drain()


@contextlib.asynccontextmanager
async def signals(server_url: str) -> AsyncIterator[Signals]:
    """A proxy to that server, until the block's end."""
    made = Signals(server_url)
    listening = await asyncio.start_server(made.pass_on, HOST, 0)
    made.url = f"ws://{HOST}:{listening.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        listening.close()
        await listening.wait_closed()
