"""The asyncio face changes what the others are told of us, cancelled or not."""

from __future__ import annotations

import asyncio

import pytest

from aio_kit import cancelled, opened, soon, until
from recovery_kit import run
from ringroom.aio import Transport
from ringroom.errors import ClosedError, ConfigurationError, RoomError
from ringroom.testing import FakeRoom, faults


def told(room: FakeRoom) -> dict[str, str] | None:
    found = [one for one in room.participants if one.identity == "app"]
    return dict(found[0].attributes) if found else None


def test_it_is_awaited(fake_room: FakeRoom) -> None:
    async def main() -> None:
        async with opened(fake_room) as transport:
            await soon(transport.set_profile(attributes={"a": "1"}))
            assert told(fake_room) == {"a": "1"}
            with pytest.raises(ConfigurationError, match="nothing to set"):
                await transport.set_profile()
            with fake_room.faults.profile_refused(), pytest.raises(RoomError, match="refuses"):
                await soon(transport.set_profile(attributes={"a": "2"}))
            assert told(fake_room) == {"a": "1"}
            fake_room.lose_connection()
            late = asyncio.create_task(transport.set_profile(attributes={"a": "3"}))
            await until(lambda: transport._connection.session.profile._unanswered)
            await cancelled(late)
            fake_room.restore_connection()
            await until(lambda: told(fake_room) == {"a": "3"})
        with pytest.raises(ClosedError):
            await transport.set_profile(name="late")

    asyncio.run(main())


def test_it_outlives_the_io_process(fake_room: FakeRoom) -> None:
    async def scenario(transport: Transport) -> None:
        await transport.set_profile(attributes={"a": "1"})
        assert transport.io_pid is not None
        await asyncio.to_thread(faults.killed, transport.io_pid)
        await transport.set_profile(attributes={"b": "2"})
        assert told(fake_room) == {"a": "1", "b": "2"}

    run(scenario, fake_room)
