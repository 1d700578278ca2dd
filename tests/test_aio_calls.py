"""The asyncio face calls, and is called, cancelled or not."""

from __future__ import annotations

import asyncio

import pytest

from aio_kit import cancelled, opened, soon, until
from recovery_kit import run
from ringroom.aio import Transport
from ringroom.errors import ClosedError, ConfigurationError, RoomError, RpcError
from ringroom.rpc import RpcCall
from ringroom.testing import FakeRoom, faults


def test_calls_are_awaited_and_answered(fake_room: FakeRoom) -> None:
    async def main() -> None:
        ann = fake_room.join("ann")
        ann.answer("reverse", lambda call: call.text[::-1])
        ann.answer("wait", lambda call: None)
        async with opened(fake_room, kinds=("data",), rpc_methods=("ask",)) as transport:
            calls = (transport.call("ann", "reverse", f"{n}!") for n in range(10))
            assert await soon(asyncio.gather(*calls)) == [f"!{n}" for n in range(10)]
            with pytest.raises(RpcError, match="Method not supported"):
                await soon(transport.call("ann", "other"))
            with pytest.raises(TimeoutError, match="no answer from 'ann' to the call 'wait'"):
                await soon(transport.call("ann", "wait", timeout=0.1))
            with pytest.raises(ConfigurationError, match="the name of a method is empty"):
                await transport.call("ann", "")
            waiting = asyncio.create_task(transport.call("ann", "wait"))
            under_way = transport._connection.session.calls._under_way
            await until(lambda: under_way)
            await cancelled(waiting)
            assert not under_way

            asking = asyncio.create_task(asyncio.to_thread(ann.call, "ask", "?"))
            came = await soon(anext(transport.recv()))
            assert isinstance(came, RpcCall)
            await soon(transport.send(came.answer("!")))
            assert await soon(asking) == "!"
        with pytest.raises(ClosedError):
            await transport.call("ann", "reverse")

    asyncio.run(main())


def test_the_io_process_dies_while_we_call(fake_room: FakeRoom) -> None:
    async def scenario(transport: Transport) -> None:
        bob = fake_room.join("bob")
        bob.answer("wait", lambda call: None)
        bob.answer("reverse", lambda call: call.text[::-1])
        waiting = asyncio.create_task(transport.call("bob", "wait"))
        await until(lambda: transport._connection.session.calls._under_way)
        assert transport.io_pid is not None
        await asyncio.to_thread(faults.killed, transport.io_pid)
        with pytest.raises(RoomError, match="the I/O process died while 'bob' was called"):
            await waiting
        assert await transport.call("bob", "reverse", "ab", timeout=30) == "ba"

    run(scenario, fake_room)
