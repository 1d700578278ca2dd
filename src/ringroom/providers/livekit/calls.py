"""Requests to the SDK that outlive an impatient caller.

The SDK's native side carries a request on when the coroutine that made it is cancelled, and its
answer (a joined room, a published track) then belongs to nobody. Owns those answers: each is
undone when it comes.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from ringroom.errors import RoomError
from ringroom.providers.livekit.mapping import scrub

__all__ = ["Calls"]

_log = logging.getLogger("ringroom.livekit")
_Answer = TypeVar("_Answer")
Undo = Callable[[_Answer], Awaitable[None]]


class Calls:
    """The requests of one connection that are under way."""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Task[Any]] = set()

    async def run(
        self,
        request: Coroutine[Any, Any, _Answer],
        timeout: float,
        *,
        gone: asyncio.Future[None] | None = None,
        undo: Undo[_Answer] | None = None,
        excused: Callable[[], Coroutine[Any, Any, bool]] | None = None,
    ) -> _Answer:
        """The request's answer. ``excused`` is asked when the time is over: it begins anew if there
        was a reason not to answer.

        Raises what the request raises, `TimeoutError`, or `ConnectionError` once ``gone`` is
        done (some requests are never answered then). After these two, or if the caller is
        cancelled, the request is carried on and what it achieves is undone. ``undo`` raises
        `RoomError` if that went with the room; whatever else it raises is logged.
        """
        task = self._keep(request)
        waited: set[asyncio.Future[Any]] = {task} if gone is None else {task, gone}
        try:
            while not await _first_of(waited, timeout):
                if excused is None or not await _is_excused(waited, excused):
                    break
        except asyncio.CancelledError:
            self._leave(task, undo)
            raise
        if task.done():
            return task.result()
        self._leave(task, undo)
        if gone is not None and gone.done():
            raise ConnectionError("the connection ended")
        raise TimeoutError

    def begin(self, request: Coroutine[Any, Any, _Answer]) -> asyncio.Task[_Answer]:
        """A request whose answer nobody waits for."""
        task = self._keep(request)
        self._leave(task, None)
        return task

    def _keep(self, work: Coroutine[Any, Any, _Answer]) -> asyncio.Task[_Answer]:
        task = asyncio.ensure_future(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    def _leave(self, task: asyncio.Task[_Answer], undo: Undo[_Answer] | None) -> None:
        self._keep(_undone(task, undo))

    async def answered(self, timeout: float = math.inf) -> bool:
        """Wait for all that is under way; whether nothing is left."""
        deadline = time.monotonic() + timeout
        # In rounds: an answer that comes now may still have to be undone.
        while self._under_way and (left := deadline - time.monotonic()) > 0:
            limit = None if left == math.inf else left
            await asyncio.wait(set(self._under_way), timeout=limit)
            await asyncio.sleep(0)
        return not self._under_way

    async def settle(self, timeout: float) -> None:
        """Wait for all that is under way, then cancel it."""
        await self.answered(timeout)
        rest = set(self._under_way)
        for task in rest:
            task.cancel()
        if rest:
            _log.warning("livekit: %d requests to the SDK were not answered in time", len(rest))
            await asyncio.wait(rest, timeout=1.0)


async def _first_of(
    waited: set[asyncio.Future[Any]], timeout: float | None = None
) -> set[asyncio.Future[Any]]:
    """Those that are done, once one is; none when the time is over."""
    done, _ = await asyncio.wait(waited, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    return done


async def _is_excused(
    waited: set[asyncio.Future[Any]], excused: Callable[[], Coroutine[Any, Any, bool]]
) -> bool:
    """Whether there was a reason; also if what is waited for comes while that is asked."""
    asking = asyncio.ensure_future(excused())
    try:
        return asking not in await _first_of({*waited, asking}) or asking.result()
    finally:
        asking.cancel()
        await asyncio.wait({asking})


async def _undone(task: asyncio.Task[_Answer], undo: Undo[_Answer] | None) -> None:
    try:
        answer = await task
    except Exception as error:  # noqa: BLE001  (nobody waits for it any more)
        _log.debug("livekit: a request that was given up ended with %s", type(error).__name__)
        return
    if undo is None:
        return
    try:
        await undo(answer)
    except RoomError:
        pass  # it went with the room
    except Exception as error:  # noqa: BLE001  (whatever the SDK raises: nobody is above)
        why = f"{type(error).__name__}: {scrub(str(error))}"
        _log.warning("livekit: what came too late was not undone: %s", why)
