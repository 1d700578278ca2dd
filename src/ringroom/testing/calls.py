"""The calls (RPC) under way in a fake room: who waits for whose answer.

Free of I/O, sockets and threads; all of it runs under `Wire.changed`.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from ringroom.errors import RpcError
from ringroom.providers.fake.messages import Answered, Call
from ringroom.rpc import RpcAnswer, RpcCall

__all__ = ["ACKNOWLEDGED_WITHIN", "Answerer", "Calls", "answer_of", "as_message", "failed"]

log = logging.getLogger("ringroom")

# Seconds in which a caller's SDK is told that the call has arrived, or gives it up.
ACKNOWLEDGED_WITHIN = 7.0
Answerer: TypeAlias = Callable[[RpcCall], str | None]
"""What a participant of the test makes of a call: the answer; None: there is none for now."""


@dataclass(slots=True, eq=False)
class _Pending:
    """A call until its answer has come, or is not waited for any more."""

    caller: str
    callee: str
    ends: float
    tell: Callable[[RpcAnswer], None]


class Calls:
    """Those that have no answer yet. ``time`` is the room's clock."""

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self._numbers = itertools.count(1)
        self._pending: dict[int, _Pending] = {}

    def begin(
        self, caller: str, callee: str, seconds: float, tell: Callable[[RpcAnswer], None]
    ) -> int:
        """A call that is under way from now on, by its number; ``tell`` is called once at most."""
        now = self._time()
        for number in [number for number, one in self._pending.items() if one.ends < now]:
            del self._pending[number]
        number = next(self._numbers)
        self._pending[number] = _Pending(caller, callee, now + seconds, tell)
        return number

    def answered(self, callee: str, number: int, answer: RpcAnswer) -> None:
        """By that participant; what nobody waits for any more is left out."""
        pending = self._pending.get(number)
        if pending is not None and pending.callee == callee:
            del self._pending[number]
            pending.tell(answer)

    def gone(self, identity: str) -> None:
        """Somebody has left the room: their calls, and those to them, come to nothing."""
        for number, pending in tuple(self._pending.items()):
            if identity in (pending.caller, pending.callee):
                gone = RpcError.RECIPIENT_DISCONNECTED
                del self._pending[number]
                pending.tell(failed(gone if identity == pending.callee else RpcError.SEND_FAILED))

    def end(self, number: int) -> None:
        """The caller waits no more. Idempotent."""
        self._pending.pop(number, None)


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


def answer_of(methods: dict[str, Answerer], call: Call, caller: str) -> RpcAnswer | None:
    """What a participant with these methods answers; None: nothing for now."""
    function = methods.get(call.method)
    if function is None:
        return failed(RpcError.UNSUPPORTED_METHOD)
    came = RpcCall(call.payload, call.method, caller, timeout=call.timeout_ms / 1000)
    try:
        text = function(came)
        return None if text is None else came.answer(text)
    except RpcError as error:
        return came.refuse(str(error), code=error.code, data=error.data)
    except Exception:
        log.exception("fake: what answers %r raised", call.method)
        return failed(RpcError.APPLICATION_ERROR)


def as_message(request: int, answer: RpcAnswer) -> Answered:
    """What goes over the wire for the answer."""
    payload, detail = answer.payload, answer.detail
    return Answered(request=request, code=answer.code, detail=detail, payload=payload)
