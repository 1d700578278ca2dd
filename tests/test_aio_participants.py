"""The asyncio face asks who is in the room, cancelled or not."""

from __future__ import annotations

import asyncio

import pytest

from aio_kit import cancelled, opened, soon, until
from recovery_kit import run
from ringroom.aio import Transport
from ringroom.errors import ClosedError
from ringroom.testing import FakeRoom, faults


async def there(transport: Transport) -> list[str]:
    return [who.identity for who in await soon(transport.participants())]


def test_it_is_awaited(fake_room: FakeRoom) -> None:
    fake_room.join("cy")
    fake_room.join("ann", kind="agent")

    async def main() -> None:
        async with opened(fake_room, kinds=("event",)) as transport:
            assert await there(transport) == ["ann", "cy"]
            events = transport.recv()
            fake_room.lose_connection()
            async for event in events:
                if event.kind == "connection_lost":
                    break
            late = asyncio.create_task(transport.participants())
            waiting = asyncio.create_task(transport.participants())
            calls = transport._connection.session.roll
            await until(lambda: len(calls._unanswered) == 2)
            await cancelled(late)
            fake_room.restore_connection()
            assert [who.identity for who in await soon(waiting)] == ["ann", "cy"]
            assert not calls._unanswered
            assert not calls._answers
        with pytest.raises(ClosedError):
            await transport.participants()

    asyncio.run(main())


def test_the_next_io_process_is_asked_again(fake_room: FakeRoom) -> None:
    fake_room.join("ann")

    async def scenario(transport: Transport) -> None:
        assert [who.identity for who in await transport.participants()] == ["ann"]
        assert transport.io_pid is not None
        await asyncio.to_thread(faults.killed, transport.io_pid)
        assert [who.identity for who in await transport.participants()] == ["ann"]

    run(scenario, fake_room)
