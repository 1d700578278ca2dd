"""The calls (RPC) of one connection of the provider ``fake``, in both directions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from ringroom.errors import RoomError, RpcError
from ringroom.providers.fake.messages import Answered, Call
from ringroom.providers.provider import Sink
from ringroom.rpc import RpcAnswer

__all__ = ["IncomingCalls", "OwnCalls"]


class IncomingCalls:
    """Those of others, with a task for each. ``send`` sends to the room; it raises `RoomError` once
    that is gone."""

    def __init__(self, sink: Sink, send: Callable[[Answered], None]) -> None:
        self._sink = sink
        self._send = send
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, call: Call) -> None:
        task = asyncio.create_task(self._serve(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, call: Call) -> None:
        seconds = call.timeout_ms / 1000
        code, detail = 0, ""
        try:
            text = await self._sink.call(
                call.method, call.payload.decode(), call.participant, seconds
            )
        except RpcError as error:
            text, code, detail = str(error), error.code, error.data
        answer = Answered(request=call.request, code=code, detail=detail, payload=text.encode())
        with contextlib.suppress(RoomError):
            self._send(answer)

    async def end(self) -> None:
        """No answer is sent any more. Idempotent."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


class OwnCalls:
    """Those of ours. ``send`` sends to the room; it raises `RoomError` once that is gone."""

    def __init__(self, send: Callable[[Call], None]) -> None:
        self._send = send
        self._answers: dict[int, asyncio.Future[RpcAnswer]] = {}

    async def make(self, call: Call) -> str:
        """The answer. Raises the `RpcError` that it ended with, and `RoomError` once the room is
        gone."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[RpcAnswer] = loop.create_future()
        self._answers[call.request] = answer
        try:
            self._send(call)
            return (await answer).result()
        finally:
            del self._answers[call.request]

    def answered(self, message: Answered) -> None:
        call = self._answers.get(message.request)
        if call is not None and not call.done():
            answer = RpcAnswer(message.payload, code=message.code, detail=message.detail)
            call.set_result(answer)

    def end(self, reason: str) -> None:
        """The room is gone."""
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(
                    RoomError(f"fake: the connection ended ({reason})", reason="disconnected")
                )
