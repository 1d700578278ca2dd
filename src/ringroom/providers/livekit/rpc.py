"""Calls (RPC) in one LiveKit room.

Facts about the SDK (livekit 1.1.21 to 1.2.1) that it rests on: a method can be registered once the
room is joined, and is so in the turn of the loop in which joining ends; it runs each call on a
task, which it cancels at the caller's deadline (since 1.2) and before it disconnects; whatever is
raised there but its own error it logs with all its frames; between SDKs that know each other as new
enough payloads and answers travel as text streams, under the limit that is set for those, and
whoever calls with a longer one is told of an error of the application; it does not tell when an
answer is out, and leaving the room overtakes one: its caller then waits for all of its time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from functools import partial
from typing import Any

from livekit import rtc

from ringroom.errors import RpcError
from ringroom.providers.livekit.line import Line
from ringroom.providers.livekit.mapping import scrubbed
from ringroom.providers.provider import Sink
from ringroom.rpc import MAX_CALL_BYTES

__all__ = ["STREAMED_CALL_BYTES", "Rpc"]

_log = logging.getLogger("ringroom.livekit")

# What the SDK takes of a call's time for the way there: whom we call is told of the rest.
ON_THE_WAY_SECONDS = 7.0
# Of the text stream of a call: what is too long for one, but not by far, its caller is told so.
STREAMED_CALL_BYTES = 4 * MAX_CALL_BYTES
# An answer that was given to the SDK is on its way by then.
LAST_SECONDS = 0.1


class Rpc:
    """``sink`` is asked for the answers to calls of others."""

    def __init__(self, room: rtc.Room, sink: Sink, line: Line) -> None:
        self._room = room
        self._sink = sink
        self._line = line
        self._loop = asyncio.get_running_loop()
        self._answered = -LAST_SECONDS
        """When the last call was."""

    async def call(self, to: str, method: str, payload: str, seconds: float) -> str:
        """Raises `RpcError`, and `RoomError` (disconnected) once the room is gone."""
        await self._line.up()
        if not self._room.local_participant.permissions.can_publish_data:
            # The server drops such a call without a word.
            raise RpcError(
                "livekit: calls are not allowed (canPublishData)", code=RpcError.SEND_FAILED
            )
        if to not in self._room.remote_participants:
            raise RpcError("Recipient not found", code=RpcError.RECIPIENT_NOT_FOUND)
        request = self._room.local_participant.perform_rpc(
            destination_identity=to,
            method=method,
            payload=payload,
            response_timeout=seconds + ON_THE_WAY_SECONDS,
        )
        calling = asyncio.ensure_future(request)
        waited: set[asyncio.Future[Any]] = {calling, self._line.gone}
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if not calling.done() or calling.exception() is not None:
                self._line.check()  # first: of its end the SDK says that it is the recipient's
            return calling.result()
        except rtc.RpcError as error:
            raise RpcError(error.message, code=int(error.code), data=error.data or "") from None
        finally:
            calling.cancel()
            await asyncio.wait({calling})

    def listen(self, methods: Collection[str]) -> None:
        """Take calls of these methods; the room is joined."""
        for method in methods:
            self._room.local_participant.register_rpc_method(method, partial(self._take, method))

    async def _take(self, method: str, call: rtc.RpcInvocationData) -> str:
        try:
            return await self._sink.call(
                method, call.payload, call.caller_identity, call.response_timeout
            )
        except RpcError as error:
            raise rtc.RpcError(error.code, str(error), error.data) from None
        except Exception as error:  # noqa: BLE001  (the SDK would log what the call has brought)
            _log.error("livekit: a call of %r was not answered\n%s", method, scrubbed(error))
            failed = "Application error in method handler"
            raise rtc.RpcError(RpcError.APPLICATION_ERROR, failed) from None
        finally:
            self._answered = self._loop.time()

    async def answers_out(self) -> None:
        """Until what callers were told last is on its way, before we leave."""
        if (left := self._answered + LAST_SECONDS - self._loop.time()) > 0:
            await asyncio.sleep(left)
