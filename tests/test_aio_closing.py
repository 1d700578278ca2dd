"""The asyncio face is closed, left or forgotten: who waits wakes, and nothing stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
import warnings
from typing import Any

import pytest

import ringroom
from aio_kit import opened, soon, until
from app_kit import (
    PATIENCE,
    check_law,
    descriptors,
    interrupted,
    leaves_late,
    sound,
)
from ringroom.aio import client
from ringroom.errors import (
    BusyError,
    ClosedError,
)
from ringroom.faces.connection import Connection
from ringroom.testing import FakeRoom, VirtualClock

MAX_MOMENTS = 200


@pytest.mark.parametrize("io", ["thread", "process"])
def test_close_wakes_everybody(fake_room: FakeRoom, io: str) -> None:
    async def main() -> None:
        async with opened(fake_room, kinds=("audio", "data"), io=io) as transport:
            tasks = [
                asyncio.create_task(anext(transport.recv(kinds=("audio",)))),  # type: ignore[arg-type]
                asyncio.create_task(anext(transport.recv(kinds=("data",)))),  # type: ignore[arg-type]
                asyncio.create_task(transport.send(sound(20.0))),
            ]
            await until(lambda: transport.stats().sent.sent > 10)
            tasks.append(asyncio.create_task(transport.wait_playout()))
            await asyncio.sleep(0.01)
            await asyncio.gather(transport.close(), transport.close())
            for task in tasks:
                with pytest.raises(ClosedError, match="fake: transport is closed"):
                    await soon(task)
            with pytest.raises(ClosedError, match="fake: transport is closed"):
                await transport.send(sound(0.02))
            with pytest.raises(ClosedError, match="fake: transport is closed"):
                transport.recv()
            await transport.close()
        check_law(transport)

    asyncio.run(main())


@pytest.mark.parametrize("steps", range(1, 9))
def test_a_close_that_is_cancelled_as_the_loop_ends_still_closes(
    fake_room: FakeRoom, steps: int
) -> None:
    async def main() -> None:
        transport = await ringroom.aio.transport("fake", room=fake_room, io="thread").open()
        closing = asyncio.ensure_future(transport.close())
        for _ in range(steps):
            await asyncio.sleep(0)
        closing.cancel()
        # The loop ends in the very step that follows.

    asyncio.run(main())
    fake_room.wait_for_app_gone()


def test_who_waits_need_not_wait_for_the_leaving(
    fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = leaves_late(monkeypatch)

    async def main() -> None:
        async with opened(fake_room, close_timeout=50) as transport:
            waiting = asyncio.ensure_future(anext(transport.recv()))
            await until(lambda: len(transport._connection.session.listeners) >= 3)
            closing = asyncio.ensure_future(transport.close())
            with pytest.raises(ClosedError, match="transport is closed"):
                await soon(waiting)
            assert not closing.done()
            gate.set()
            await soon(closing)

    asyncio.run(main())


@pytest.mark.parametrize("given_up", [False, True])
def test_who_closes_meanwhile_waits_for_the_end_too(
    fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch, given_up: bool
) -> None:
    gate, close = threading.Event(), Connection.close

    def late(connection: Connection) -> None:
        assert gate.wait(60)
        close(connection)

    monkeypatch.setattr(Connection, "close", late)

    async def main() -> None:
        transport = await ringroom.aio.transport("fake", room=fake_room, io="thread").open()
        first = asyncio.create_task(transport.close())
        await asyncio.sleep(0)
        second = asyncio.create_task(transport.close())  # while the first still leaves
        await asyncio.sleep(0)
        assert not first.done()
        assert not second.done()
        if given_up:
            first.cancel()
        session = transport._connection.session
        await until(lambda: session.link.closed or given_up)
        assert not second.done()
        gate.set()
        await soon(second)
        assert session.closed
        await asyncio.wait([first])

    asyncio.run(main())


def test_a_cancelled_close_still_closes(
    fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = leaves_late(monkeypatch)  # or its thread may be done before the cancellation

    async def main() -> None:
        async with opened(fake_room, close_timeout=50) as transport:
            closing = asyncio.create_task(transport.close())
            await asyncio.sleep(0)
            closing.cancel()
            gate.set()
            with pytest.raises(asyncio.CancelledError):
                await soon(closing)
            # Here: at the block's end it is closed again.
            await until(lambda: transport._connection.session.closed)
            await until(lambda: not fake_room.participants)

    asyncio.run(main())


def test_a_cancelled_close_does_not_wait_for_the_leaving(
    fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = leaves_late(monkeypatch)

    async def main() -> None:
        async with opened(fake_room, close_timeout=50) as transport:
            session = transport._connection.session
            closing = asyncio.create_task(transport.close())
            await asyncio.sleep(0.05)
            assert not session.closed
            closing.cancel()
            await until(lambda: session.closed)
            assert not closing.done(), "it waits for the rest"
            gate.set()
            await asyncio.wait([closing])
            assert closing.cancelled()

    asyncio.run(main())


def test_a_close_that_was_interrupted_can_be_repeated(fake_room: FakeRoom) -> None:
    for moment in range(1, MAX_MOMENTS):
        loop = asyncio.new_event_loop()
        transport = ringroom.aio.transport("fake", room=fake_room, io="thread")
        loop.run_until_complete(transport.open())
        close = lambda: loop.run_until_complete(transport.close())  # noqa: B023, E731
        done = not interrupted(close, moment, client)
        loop.run_until_complete(soon(transport.close()))
        assert transport._connection.session.closed
        loop.close()
        if done:
            break
    assert 5 < moment < MAX_MOMENTS


def test_leaving_by_an_exception_does_not_play_out(
    fake_room: FakeRoom, virtual_clock: VirtualClock
) -> None:
    async def speak_and_raise(transport: ringroom.aio.Transport) -> None:
        async with transport:
            await transport.send(sound(1.5))
            raise KeyError

    async def main() -> None:
        transport = ringroom.aio.transport("fake", room=fake_room, io=virtual_clock.io)
        with pytest.raises(KeyError):
            await speak_and_raise(transport)
        assert transport.stats().sent.lost > 0
        check_law(transport)

    virtual_clock.run(main())


def test_forgotten_transports_say_so(fake_room: FakeRoom) -> None:
    async def main() -> None:
        await ringroom.aio.transport("fake", room=fake_room, io="thread").open()

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        asyncio.run(main())  # the loop watches the transport: it is collected after it
        gc.collect()
        until_gone = time.monotonic() + PATIENCE
        while not told and time.monotonic() < until_gone:
            gc.collect()
    assert any("ransport never closed" in str(warning.message) for warning in told)
    fake_room.wait_for_app_gone()


def test_many_cycles_leave_nothing(fake_room: FakeRoom) -> None:
    from ringroom.processes.hosts import IOThread

    async def main() -> None:
        with IOThread() as shared:

            async def cycle() -> None:
                async with ringroom.aio.transport("fake", room=fake_room, io=shared) as transport:
                    await transport.send_data(b"x")

            await cycle()
            # The role lets go of the last of a session after it has said goodbye.
            await until(lambda: not fake_room.participants)
            before = descriptors()
            for _ in range(40):
                await cycle()
            # Not equal: what the first cycle still held may go meanwhile.
            await until(lambda: descriptors() <= before)

    asyncio.run(main())


def test_once_its_loop_is_closed_a_transport_can_only_be_closed(fake_room: FakeRoom) -> None:
    made = ringroom.aio.transport("fake", room=fake_room, io="thread")
    asyncio.run(made.open())
    receiver = made.recv()
    for call in (made.flush, made.wait_playout, lambda: made.send(sound(0.1)), receiver.__anext__):
        with pytest.raises(BusyError, match="another event loop, which is closed"):
            asyncio.run(soon(call()))
    assert made.ended is None
    asyncio.run(made.close())
    fake_room.wait_for_app_gone()
    for call in (made.flush, receiver.__anext__):
        with pytest.raises(ClosedError, match="transport is closed"):
            asyncio.run(soon(call()))


def test_another_loop_closes_a_transport_without_delay() -> None:
    with VirtualClock() as clock, FakeRoom(clock=clock) as room:
        transport = ringroom.aio.transport("fake", room=room, io=clock.io)
        clock.run(transport.open())
        began = clock.now()
        clock.run(transport.close())
        assert clock.now() - began < 1


def test_another_loop_closes_what_a_task_still_waits_for(fake_room: FakeRoom) -> None:
    loop = asyncio.new_event_loop()
    transport = ringroom.aio.transport("fake", room=fake_room, io="thread")

    async def begin() -> asyncio.Task[Any]:
        await transport.open()
        receiving = loop.create_task(anext(transport.recv()))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        return receiving

    receiving = loop.run_until_complete(begin())
    loop.close()
    asyncio.run(transport.close())
    fake_room.wait_for_app_gone()
    assert transport._connection.session.closed
    receiving._log_destroy_pending = False  # type: ignore[attr-defined]


def test_another_loop_closes_what_an_interrupted_close_has_left_open(
    fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, leave = threading.Event(), client.leave

    def later(*given: Any) -> None:
        assert gate.wait(PATIENCE)
        leave(*given)

    monkeypatch.setattr(client, "leave", later)  # it might be over before the interrupt comes
    loop = asyncio.new_event_loop()
    transport = ringroom.aio.transport("fake", room=fake_room, io="thread")
    loop.run_until_complete(transport.open())

    def interrupt() -> None:
        raise KeyboardInterrupt

    closing = loop.create_task(transport.close())
    loop.call_soon(interrupt)  # as Ctrl-C does, where nobody makes a cancellation of it
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(closing)
    assert not closing.done()
    gate.set()
    loop.close()
    asyncio.run(soon(transport.close()))
    assert transport._connection.session.closed
    fake_room.wait_for_app_gone()
    closing._log_destroy_pending = False  # type: ignore[attr-defined]
    with contextlib.suppress(RuntimeError):  # it has no loop any more
        closing.get_coro().close()  # type: ignore[union-attr]
