"""Calls of ours (RPC) in the I/O role: a task for each, until it has ended or its time is over.

A call that is made while the room is away waits for the next room. A call that is under way when
the room is lost ends with an error: nobody knows whether it was carried out, and it is not
repeated.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from ringroom import messages as m
from ringroom.errors import RingroomError, RpcError
from ringroom.processes.io.outbound import is_gone
from ringroom.processes.io.provider_errors import as_ours
from ringroom.providers.provider import Provider
from ringroom.sessions.calls import lost

__all__ = ["OwnCalls"]

log = logging.getLogger("ringroom.io")

Send = Callable[[m.Message], None]


class CallingRoom(Protocol):
    """What is needed of the room."""

    async def joined_provider(self) -> Provider: ...


class OwnCalls:
    """See the module's docstring."""

    def __init__(self, room: CallingRoom) -> None:
        self._room = room
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way: set[asyncio.Task[None]] = set()
        """The tasks whose calls the provider has: the loss of the room ends them."""

    def begin(self, message: m.PerformCall, send: Send) -> None:
        """Begin a call; ``send`` reaches the caller."""
        task = asyncio.get_running_loop().create_task(self._serve(message, send))
        for kept in (self._tasks, self._under_way):
            task.add_done_callback(kept.discard)
        self._tasks.add(task)

    async def _serve(self, message: m.PerformCall, send: Send) -> None:
        payload = ""
        failed: RingroomError | None = None
        try:
            async with asyncio.timeout(message.seconds):
                payload = await self._perform(message)
        except TimeoutError:
            failed = RpcError("Response timeout", code=RpcError.RESPONSE_TIMEOUT)
        except asyncio.CancelledError:
            failed = _lost(message)
        except Exception as error:
            if not isinstance(error, RingroomError):
                log.exception("the provider failed to call")
            failed = _lost(message) if is_gone(error) else as_ours(error)
        fields = {} if failed is None else m.error_to_json(failed)
        send(m.CallEnded(request=message.request, payload=payload, error=fields))

    async def _perform(self, message: m.PerformCall) -> str:
        loop = asyncio.get_running_loop()
        ends = loop.time() + message.seconds
        provider = await self._room.joined_provider()
        task = asyncio.current_task()
        assert task is not None
        self._under_way.add(task)
        seconds = ends - loop.time()
        return await provider.call(message.to, message.method, message.payload, seconds)

    def parted(self) -> None:
        """We are out of the room: the calls that the provider has end."""
        for task in self._under_way:
            task.cancel()

    def close(self) -> None:
        """We leave: all calls end."""
        for task in self._tasks:
            task.cancel()


def _lost(message: m.PerformCall) -> RingroomError:
    return lost(message.method, message.to, "the connection was lost")
