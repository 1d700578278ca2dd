"""The calls (RPC) under way in a fake room: who waits for whose answer.

Free of I/O, sockets and threads; all of it runs under `Wire.changed`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from ringroom.errors import RpcError
from ringroom.providers.fake.messages import Answered, Call
from ringroom.rpc import RpcAnswer

__all__ = ["ACKNOWLEDGED_WITHIN", "Calls", "Pending", "failed"]

# Seconds in which a caller's SDK is told that the call has arrived, or gives it up.
ACKNOWLEDGED_WITHIN = 7.0


@dataclass(slots=True, eq=False)
class Pending:
    """A call until its answer has come, or is not waited for any more."""

    caller: str
    callee: str
    answer: RpcAnswer | None = None
    """Once it is there; an error too."""


class Calls:
    """Those from the test's participants to applications."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._pending: dict[int, Pending] = {}

    def begin(self, caller: str, callee: str, method: str, payload: str, seconds: float) -> Call:
        """A call that goes to the application now."""
        number = next(self._numbers)
        self._pending[number] = Pending(caller, callee)
        return Call(
            request=number,
            participant=caller,
            method=method,
            timeout_ms=round(seconds * 1000),
            payload=payload.encode(),
        )

    def pending(self, number: int) -> Pending:
        return self._pending[number]

    def answered(self, callee: str, message: Answered) -> None:
        """By that application; what nobody waits for any more is left out."""
        pending = self._pending.get(message.request)
        if pending is not None and pending.callee == callee and pending.answer is None:
            pending.answer = RpcAnswer(message.payload, code=message.code, detail=message.detail)

    def gone(self, identity: str) -> None:
        """Somebody has left the room: their calls, and those to them, come to nothing."""
        for pending in self._pending.values():
            if identity in (pending.caller, pending.callee) and pending.answer is None:
                gone = RpcError.RECIPIENT_DISCONNECTED
                code = gone if identity == pending.callee else RpcError.SEND_FAILED
                pending.answer = failed(code)

    def end(self, number: int) -> None:
        """The caller waits no more."""
        del self._pending[number]


_TEXTS = {
    RpcError.UNSUPPORTED_METHOD: "Method not supported at destination",
    RpcError.RECIPIENT_NOT_FOUND: "Recipient not found",
    RpcError.APPLICATION_ERROR: "Application error in method handler",
    RpcError.CONNECTION_TIMEOUT: "Connection timeout",
    RpcError.RESPONSE_TIMEOUT: "Response timeout",
    RpcError.RECIPIENT_DISCONNECTED: "Recipient disconnected",
    RpcError.SEND_FAILED: "Failed to send",
}


def failed(code: int) -> RpcAnswer:
    """What a caller gets for an answer by one of LiveKit's own codes, in its SDKs' words."""
    return RpcAnswer(_TEXTS[code].encode(), code=code)
