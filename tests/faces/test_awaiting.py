"""Waiting in a task of an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import selectors
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, cast

import pytest

from ringroom.errors import StartupError
from ringroom.faces.awaiting import LoopWaiter, end_of, start, within
from ringroom.faces.connection import Connection
from ringroom.lanes.memory import open_counter
from ringroom.processes.machine import Machine
from ringroom.sessions.inbox import Listeners


class Session:
    def __init__(self) -> None:
        self.listeners = Listeners()


class Stub:
    """What a waiter needs of a connection."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.session = Session()

    def notify(self) -> None:
        for listener in tuple(self.session.listeners):
            listener()


def waiting(connection: Stub, fd: int = -1) -> asyncio.Task[None]:
    async def wait() -> None:
        with LoopWaiter(cast(Connection, connection)) as waiter:
            await waiter.wait(fd)

    return asyncio.create_task(wait())


async def soon(awaitable: Any) -> Any:
    async with asyncio.timeout(10):
        return await awaitable


def watched() -> int:
    return len(asyncio.get_running_loop()._selector.get_map())  # type: ignore[attr-defined]


def test_several_wait_for_one_descriptor_and_one_of_them_gives_up() -> None:
    async def main() -> None:
        connection, before = Stub(), watched()
        with contextlib.closing(open_counter()) as counter:
            tasks = [waiting(connection, counter.fileno()) for _ in range(3)]
            await asyncio.sleep(0)
            tasks[1].cancel()
            await asyncio.wait([tasks[1]])
            assert not tasks[0].done()
            counter.add(1)
            await soon(asyncio.gather(tasks[0], tasks[2]))
        assert (watched(), len(connection.session.listeners)) == (before, 0)

    asyncio.run(main())


def test_what_is_closed_meanwhile_leaves_its_number_to_others() -> None:
    async def main() -> None:
        connection, loop = Stub(), asyncio.get_running_loop()
        counter, another = open_counter(), open_counter()
        number, came = counter.fileno(), asyncio.Event()
        task = waiting(connection, number)
        await asyncio.sleep(0)
        counter.close()
        os.dup2(another.fileno(), number)
        try:
            loop.add_reader(number, came.set)
            connection.notify()
            await soon(task)
            another.add(1)
            await soon(came.wait())
            assert loop.remove_reader(number)
        finally:
            os.close(number)
            another.close()

    asyncio.run(main())


def test_a_change_between_two_waits_is_not_lost() -> None:
    async def main() -> None:
        connection = Stub()
        with LoopWaiter(cast(Connection, connection)) as waiter:
            connection.notify()
            await soon(waiter.wait())
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await waiter.wait()

    asyncio.run(main())


def test_a_time_limit_says_what_was_not_to_be_had() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError, match=r"^no answer within 0 s$"):
            async with within(0, "no answer"):
                await asyncio.Event().wait()

    asyncio.run(main())


def test_within_a_time_limit_the_time_limits_of_others_are_theirs() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError, match=r"^theirs$"):
            async with within(60, "no answer"):
                raise TimeoutError("theirs")

    asyncio.run(main())


def test_no_descriptors_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    async def main() -> None:
        connection = Stub()
        with contextlib.closing(open_counter()) as counter:
            monkeypatch.setattr(os, "dup", refuse)
            with pytest.raises(StartupError, match="no descriptors left"):
                await soon(waiting(connection, counter.fileno()))
        assert len(connection.session.listeners) == 0

    asyncio.run(main())


def test_no_descriptor_more_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def main() -> None:
        connection = Stub()
        with contextlib.closing(open_counter()) as counter:
            before = len(os.listdir("/proc/self/fd"))
            monkeypatch.setattr(selectors.DefaultSelector, "register", refuse)
            with pytest.raises(StartupError, match="max_user_watches"):
                await soon(waiting(connection, counter.fileno()))
            assert len(os.listdir("/proc/self/fd")) == before
        assert len(connection.session.listeners) == 0

    asyncio.run(main())


def test_a_change_on_another_thread_wakes_who_waits() -> None:
    async def main() -> None:
        connection = Stub()
        task = waiting(connection)
        await asyncio.sleep(0)
        await asyncio.to_thread(connection.notify)  # a loop in debug mode refuses what is unsafe
        await soon(task)

    asyncio.run(main(), debug=True)


def test_who_waits_on_a_loop_that_is_closed_disturbs_nobody() -> None:
    connection, loop = Stub(), asyncio.new_event_loop()

    async def begin() -> asyncio.Task[None]:
        task = waiting(connection)
        await asyncio.sleep(0)
        return task

    left = loop.run_until_complete(begin())
    loop.close()
    connection.notify()
    assert not left.done()
    left._log_destroy_pending = False  # type: ignore[attr-defined]


def on_no_thread(name: str, run: Callable[[], object]) -> threading.Thread:
    raise StartupError("no thread")


@pytest.mark.parametrize("threads", [True, False])
def test_what_blocks_is_done_once_it_has_ended_with_a_thread_or_without(
    monkeypatch: pytest.MonkeyPatch, threads: bool
) -> None:
    machine = Machine()
    if not threads:
        monkeypatch.setattr(machine, "start_thread", on_no_thread)

    async def main(run: Callable[[], None]) -> Future[None]:
        over: Future[None] = Future()
        start(machine, "test", run, over)
        await soon(end_of(over))
        return over

    ran: list[int] = []
    assert asyncio.run(main(lambda: ran.append(1))).exception() is None
    assert ran == [1]
    with pytest.raises(SystemExit):
        asyncio.run(main(sys.exit)).result()


def test_what_blocks_may_end_when_the_loop_that_waited_is_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main(over: Future[None]) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await end_of(over)

    over: Future[None] = Future()
    asyncio.run(main(over))
    over.set_result(None)
    asyncio.run(end_of(over))
    assert not caplog.records
