"""The calls of others that we have not answered, in the I/O role.

A call is open from its arrival to its answer, or to the end of its caller's time, for as long as
the provider awaits `OpenCalls.take`; then nothing is kept of it. It goes to the reader that gets
the caller's messages. Whatever side of the session sends its answer, the first one counts.

What others can grow is bounded: so many calls are open, of one participant and in all.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ringroom.checks import MAX_IDENTITY_BYTES
from ringroom.errors import FrameError, RoomError, RpcError
from ringroom.options import SessionOptions
from ringroom.rpc import MAX_CALL_BYTES, MAX_SECONDS, RpcAnswer, RpcCall

__all__ = ["MAX_OPEN", "MAX_OPEN_OF_ONE", "OpenCalls"]

MAX_OPEN = 1_000
MAX_OPEN_OF_ONE = 64


class CallRoom(Protocol):
    """What is needed of the room."""

    options: SessionOptions
    clock: Callable[[], int]

    def pass_call(self, call: RpcCall) -> bool:
        """Give it to the reader of its caller's messages; whether there is room for it."""


@dataclass(slots=True, eq=False)
class _Open:
    of: tuple[str, str]
    """The method, and the caller."""
    answer: asyncio.Future[RpcAnswer]


class OpenCalls:
    """See the module's docstring."""

    def __init__(self, room: CallRoom) -> None:
        self._room = room
        # They differ from the numbers of an I/O process before this one, whose calls somebody may
        # still answer.
        self._numbers = itertools.count(room.clock())
        self._open: dict[int, _Open] = {}
        self._count: Counter[str] = Counter()
        self._closed = False

    async def take(self, method: str, payload: str, caller: str, seconds: float) -> str:
        """Pass a call on and await its answer. Raises the `RpcError` that the caller is told."""
        call: RpcCall | None = self._checked(method, payload, caller, seconds)
        assert call is not None
        number, seconds = call.number, call.timeout
        answer: asyncio.Future[RpcAnswer] = asyncio.get_running_loop().create_future()
        self._open[number] = _Open((method, caller), answer)
        self._count[caller] += 1
        try:
            if not self._room.pass_call(call):
                raise RpcError("Too busy: messages that were not read yet leave no room for a call")
            payload, call = "", None  # its text is not kept for as long as its caller waits
            async with asyncio.timeout(seconds):
                return (await answer).result()
        except TimeoutError:
            raise RpcError("Response timeout", code=RpcError.RESPONSE_TIMEOUT) from None
        finally:
            del self._open[number]
            self._count[caller] -= 1
            if not self._count[caller]:
                del self._count[caller]

    def _checked(self, method: str, payload: str, caller: str, seconds: float) -> RpcCall:
        if self._closed:
            raise _gone()
        if method not in self._room.options.rpc_methods:
            raise RpcError("Method not supported at destination", code=RpcError.UNSUPPORTED_METHOD)
        raw, who = (text.encode(errors="replace") for text in (payload, caller))
        if len(raw) > MAX_CALL_BYTES:
            raise RpcError("Request payload too large", code=RpcError.REQUEST_PAYLOAD_TOO_LARGE)
        if len(who) > MAX_IDENTITY_BYTES:
            raise RpcError("The caller's identity is longer than any server gives")
        if self._count[caller] >= MAX_OPEN_OF_ONE or len(self._open) >= MAX_OPEN:
            raise RpcError("Too busy: too many calls wait for their answers")
        time = min(max(seconds, 0.0), MAX_SECONDS)
        try:
            return RpcCall(raw, method, caller, number=next(self._numbers), timeout=time)
        except FrameError as error:
            raise RpcError(str(error)) from None

    def answer(self, answer: RpcAnswer) -> None:
        """Raises `RoomError` (data_refused) where that call is not open any more."""
        found = self._open.get(answer.number)
        if found is None or found.answer.done() or found.of != (answer.topic, *answer.to):
            who = ", ".join(answer.to)
            raise RoomError(
                f"call {answer.topic!r} of {who!r} is not open: it has its answer, or the caller's "
                "time was over",
                reason="data_refused",
            )
        found.answer.set_result(answer)

    def forget(self, caller: str) -> None:
        """The caller has left: nobody waits for the answers."""
        if caller in self._count:
            self._end([one for one in self._open.values() if one.of[1] == caller])

    def end_all(self) -> None:
        """We are out of the room: no caller hears of us."""
        self._end([*self._open.values()])

    def close(self) -> None:
        """We leave: those who wait are told, and no call is taken any more."""
        self._closed = True
        self.end_all()

    def _end(self, calls: list[_Open]) -> None:
        for one in calls:
            if not one.answer.done():
                one.answer.set_exception(_gone())


def _gone() -> RpcError:
    return RpcError("Recipient disconnected", code=RpcError.RECIPIENT_DISCONNECTED)
