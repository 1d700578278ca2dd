"""Calls (RPC) in one LiveKit room.

Facts about the SDK (livekit 1.1.21 to 1.2.1) that it rests on: a method can be registered once the
room is joined, and is so in the turn of the loop in which joining ends; it runs each call on a
task, which it cancels at the caller's deadline (since 1.2) and before it disconnects; whatever is
raised there but its own error it logs with all its frames; between SDKs that know each other as new
enough payloads and answers travel as text streams, under the limit that is set for those, and
whoever calls with a longer one is told of an error of the application.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from functools import partial

from livekit import rtc

from ringroom.errors import RpcError
from ringroom.providers.livekit.mapping import scrubbed
from ringroom.providers.provider import Sink
from ringroom.rpc import MAX_CALL_BYTES

__all__ = ["STREAMED_CALL_BYTES", "Rpc"]

_log = logging.getLogger("ringroom.livekit")

# Of the text stream of a call: what is too long for one, but not by far, its caller is told so.
STREAMED_CALL_BYTES = 4 * MAX_CALL_BYTES


class Rpc:
    """``sink`` is asked for the answers."""

    def __init__(self, room: rtc.Room, sink: Sink) -> None:
        self._room = room
        self._sink = sink

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
            raise rtc.RpcError._built_in(rtc.RpcError.ErrorCode.APPLICATION_ERROR) from None
