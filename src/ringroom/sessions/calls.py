"""Calls of ours (RPC), from one end of a session, until they have ended.

None is made twice. When the I/O process dies, what has become of those that were under way nobody
can tell, and each ends with an error that says so.
"""

from __future__ import annotations

from collections.abc import Callable

from ringroom import messages as m
from ringroom.errors import RingroomError, RoomError, RpcError
from ringroom.rpc import OutgoingCall
from ringroom.sessions.requests import Outcomes

__all__ = ["OwnCalls"]


class OwnCalls:
    """``send`` sends over the session's link. Not thread-safe."""

    def __init__(self, send: Callable[[m.Message], None]) -> None:
        self._send = send
        self._number = 0
        self._under_way: dict[int, OutgoingCall] = {}
        self._ended: Outcomes[str] = Outcomes()
        """Those that have not been taken yet."""

    def begin(self, call: OutgoingCall, seconds: float) -> int:
        """Make the call, which has so many seconds left; its number, which is to be taken or
        forgotten."""
        self._number += 1
        self._under_way[self._number] = call
        message = m.PerformCall(
            request=self._number,
            to=call.to,
            method=call.method,
            payload=call.payload,
            seconds=seconds,
        )
        self._send(message)
        return self._number

    def ended(self, message: m.CallEnded) -> None:
        """The I/O role tells how."""
        call = self._under_way.pop(message.request, None)
        if call is None:
            return
        if not message.error:
            self._ended[message.request] = message.payload
            return
        error: Exception = m.error_from_json(message.error)
        if isinstance(error, RpcError) and error.code == RpcError.RESPONSE_TIMEOUT:
            error = call.expired()
        self._ended[message.request] = error

    def lose(self, why: str) -> None:
        """The I/O process is gone: those that are under way have ended."""
        for number, call in self._under_way.items():
            self._ended[number] = lost(call.method, call.to, why)
        self._under_way.clear()

    def take(self, number: int) -> str | None:
        """The answer; None until the call has ended. Raises the error that it ended with."""
        return self._ended.take(number)

    def forget(self, number: int) -> None:
        """No caller waits for it any more, whether it has ended or not."""
        self._under_way.pop(number, None)
        self._ended.pop(number, None)


def lost(method: str, to: str, why: str) -> RingroomError:
    """What a call ends with when nobody can tell what has become of it."""
    return RoomError(
        f"{why} while {to!r} was called ({method!r}): whether the call was carried out is not "
        "known, and it is not repeated",
        reason="disconnected",
    )
