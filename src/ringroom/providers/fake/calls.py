"""The calls that come in to one connection of the provider ``fake``: a task for each."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from ringroom.errors import RoomError, RpcError
from ringroom.providers.fake.messages import Answered, Call
from ringroom.providers.provider import Sink

__all__ = ["IncomingCalls"]


class IncomingCalls:
    """``send`` sends to the room; it raises `RoomError` once that is gone."""

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
