"""The asyncio face is opened: once, refused, cancelled or closed meanwhile."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import selectors
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import ringroom
from aio_kit import cancelled, opened, soon, until
from app_kit import (
    PATIENCE,
    descriptors,
    sound,
)
from ringroom.errors import (
    ClosedError,
    ConfigurationError,
    RoomError,
    StartupError,
)
from ringroom.testing import FakeRoom


def test_errors_come_before_anything_is_started(fake_room: FakeRoom) -> None:
    before = descriptors(), threading.active_count()
    with pytest.raises(ConfigurationError):
        ringroom.aio.transport("fake", room=fake_room, kinds="audio")
    with pytest.raises(ConfigurationError, match="livekit: URL is required"):
        ringroom.aio.transport("livekit")
    transport = ringroom.aio.transport("fake", room=fake_room)
    for call in (transport.recv, transport.played):
        with pytest.raises(ClosedError, match="not connected; use `async with`"):
            call()
    with pytest.raises(ClosedError, match="not connected"):
        asyncio.run(transport.send(sound(0.02)))
    with pytest.raises(ClosedError, match="not connected"):
        assert transport.room
    assert transport.ended is None
    asyncio.run(transport.close())
    del transport
    gc.collect()
    assert (descriptors(), threading.active_count()) == before


def test_a_refused_connection(fake_room: FakeRoom) -> None:
    async def main() -> None:
        fake_room.refuse_connects()
        with pytest.raises(RoomError) as refused:
            await ringroom.aio.transport("fake", room=fake_room, io="thread").open()
        assert refused.value.reason == "unauthorized"

    asyncio.run(main())


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.1])
def test_cancelled_while_it_opens(fake_room: FakeRoom, delay: float) -> None:
    async def main() -> None:
        fake_room.refuse_connects("timeout")
        transport = ringroom.aio.transport("fake", room=fake_room)
        opening = asyncio.create_task(transport.open())
        await asyncio.sleep(delay)
        await cancelled(opening)
        with pytest.raises(ClosedError):
            transport.recv()

    asyncio.run(main())


class Minter:
    """A token function that takes its time."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.gate = threading.Event()
        self.error: Exception | None = None

    def __call__(self) -> str:
        self.asked.set()
        assert self.gate.wait(60)
        if self.error is not None:
            raise self.error
        return ""

    async def opening(self, room: FakeRoom) -> tuple[ringroom.aio.Transport, asyncio.Task[Any]]:
        """A transport on its way to be opened: a token is minted."""
        transport = ringroom.aio.transport("fake", room=room, token=self)
        opening = asyncio.create_task(transport.open())
        await until(self.asked.is_set)
        return transport, opening


def ended(transport: ringroom.aio.Transport) -> bool:
    return transport.io_pid is None and transport._connection.session.closed


def test_closed_while_it_opens(fake_room: FakeRoom) -> None:
    async def main() -> None:
        minter = Minter()
        transport, opening = await minter.opening(fake_room)
        closing = [asyncio.create_task(transport.close()) for _ in range(2)]
        await asyncio.sleep(0.01)
        assert not any(task.done() for task in closing)
        minter.gate.set()
        await soon(asyncio.gather(*closing))
        assert ended(transport)
        with pytest.raises(ClosedError, match="transport is closed"):
            await soon(opening)

    asyncio.run(main())


def test_cancelled_twice_while_it_opens(fake_room: FakeRoom) -> None:
    async def main() -> None:
        minter = Minter()
        transport, opening = await minter.opening(fake_room)
        opening.cancel()
        await asyncio.sleep(0.01)
        assert not opening.done()
        await cancelled(opening)
        minter.gate.set()
        await soon(transport.close())
        assert ended(transport)

    asyncio.run(main())


def test_cancelled_when_it_has_just_opened(fake_room: FakeRoom) -> None:
    async def main() -> None:
        minter = Minter()
        transport, opening = await minter.opening(fake_room)
        minter.gate.set()
        end = time.monotonic() + PATIENCE
        while not transport._connection.opened and time.monotonic() < end:
            time.sleep(0.002)  # the loop must not learn of it yet
        assert transport._connection.opened
        await cancelled(opening)
        assert ended(transport)
        assert transport._connection.session.end is not None  # the room was left

    asyncio.run(main())


def test_a_loop_that_ends_while_it_opens(fake_room: FakeRoom) -> None:
    made: list[ringroom.aio.Transport] = []

    async def main(minter: Minter) -> None:
        made.append((await minter.opening(fake_room))[0])
        # The thread goes on when the loop's end has cancelled all that is under way.
        watching = asyncio.create_task(asyncio.sleep(3600))
        watching.add_done_callback(lambda _: minter.gate.set())
        await asyncio.sleep(0)

    asyncio.run(main(Minter()))
    assert ended(made[0])


def test_cancelled_while_no_token_is_to_be_had(
    fake_room: FakeRoom, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        minter = Minter()
        minter.error = OSError("no token")
        transport, opening = await minter.opening(fake_room)
        opening.cancel()
        await asyncio.sleep(0.01)
        await cancelled(opening)
        minter.gate.set()
        await soon(transport.close())

    asyncio.run(main())
    gc.collect()
    assert not caplog.records


def test_opening_and_closing_need_nothing_of_the_loops_executor(fake_room: FakeRoom) -> None:
    async def main() -> None:
        gate = threading.Event()
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        blocking = asyncio.ensure_future(asyncio.to_thread(gate.wait, 60))
        try:
            transport = ringroom.aio.transport("fake", room=fake_room, io="thread")
            await soon(transport.open())
            await soon(transport.close())
            assert not blocking.done()
            assert ended(transport)
        finally:
            gate.set()
            await blocking

    asyncio.run(main())


def test_opened_once(fake_room: FakeRoom) -> None:
    async def main() -> None:
        async with opened(fake_room) as transport:
            with pytest.raises(ClosedError, match="opens once"):
                await transport.open()
            assert transport.room == fake_room.name
        with pytest.raises(ClosedError, match="opens once"):
            await transport.open()

    asyncio.run(main())


def test_a_loop_that_may_watch_nothing_more_is_told_so(
    fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    register = selectors.DefaultSelector.register

    def refuse(selector: Any, *arguments: Any) -> Any:
        if threading.current_thread() is threading.main_thread():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return register(selector, *arguments)

    async def main() -> None:
        monkeypatch.setattr(selectors.DefaultSelector, "register", refuse)
        with pytest.raises(StartupError, match="max_user_watches"):
            await ringroom.aio.transport("fake", room=fake_room, io="thread").open()
        monkeypatch.undo()
        await until(lambda: not any("ringroom" in one.name for one in threading.enumerate()))

    asyncio.run(main())
