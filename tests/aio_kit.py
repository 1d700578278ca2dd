"""What the tests of the asyncio face share: a transport, and waits with a deadline."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import numpy as np
import pytest

import ringroom
from app_kit import (
    PATIENCE,
)
from ringroom.testing import FakeRoom, VirtualClock


@contextlib.asynccontextmanager
async def opened(room: FakeRoom, **options: Any) -> AsyncIterator[ringroom.aio.Transport]:
    options = {"io": "thread", "max_age": 20.0, **options}
    transport = ringroom.aio.transport("fake", room=room, **options)
    await transport.open()
    try:
        yield transport
    finally:
        await transport.close()


async def until(condition: Callable[[], Any], what: str = "the condition") -> Any:
    async with asyncio.timeout(PATIENCE):
        while not (value := condition()):
            await asyncio.sleep(0.002)
    assert value, what
    return value


async def soon(awaitable: Any) -> Any:
    async with asyncio.timeout(PATIENCE):
        return await awaitable


async def take(receiver: Any, samples: int) -> Any:
    parts = []
    while sum(map(len, parts)) < samples:
        parts.append((await soon(anext(receiver))).samples)
    return np.concatenate(parts)


def readers() -> int:
    selector = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
    return len(selector.get_map())


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)


async def stopped_in_time(clock: VirtualClock, work: Coroutine[Any, Any, None]) -> None:
    """It never waits for long, and can be stopped after a second all the same."""
    began = clock.now()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(work, 1.0)
    assert clock.now() - began < 1.1
