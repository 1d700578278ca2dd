"""Waiting in a task of an event loop, as `waiting` does on a thread."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from typing import Self, TypeVar

from ringroom.errors import StartupError
from ringroom.faces.connection import Connection
from ringroom.faces.recovery import Recovery
from ringroom.processes.machine import Machine
from ringroom.system import unwatched, why

T = TypeVar("T")

# A reader or a sender that never waits, since there is always an item or always room, lets others
# have the loop once it had it for so long.
SHARE_SECONDS = 0.01


def runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the loop is the one that runs on this thread."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def waker(wake: Callable[[], None]) -> Callable[[], None]:
    """A function for any thread, which has ``wake`` called on the loop that runs here now, and
    wakes that loop if it sleeps. Once the loop is closed, the function does nothing."""
    loop = asyncio.get_running_loop()

    def call() -> None:
        if runs_here(loop):
            wake()
        else:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(wake)

    return call


class LoopWaiter:
    """Waits for a change of the session without losing one between a look and the wait."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._changed = asyncio.Event()
        self._wake = waker(self._changed.set)

    def __enter__(self) -> Self:
        with self._connection.lock:
            self._connection.session.listeners.add(self._wake)
        return self

    async def wait(self, fd: int = -1) -> None:
        """Wait until the descriptor (-1: none) is readable or the session changed. A cancellation
        loses nothing. Raises `StartupError` when no descriptors are left, or this one cannot be
        watched."""
        with _watched(fd, self._changed.set):
            await self._changed.wait()
        self._changed.clear()

    def __exit__(self, *exc: object) -> None:
        with self._connection.lock:
            self._connection.session.listeners.discard(self._wake)


class LoopShare:
    """How long a reader or a sender has had the loop for itself. A separate object because the loop
    holds it until its next round; otherwise a dropped reader would not be collected at once."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._since: float | None = None

    def begin(self) -> None:
        """An item is given or taken: the time from here to the loop's next round counts."""
        if self._since is None:
            self._since = self._now()
            asyncio.get_running_loop().call_soon(self._end)

    def _end(self) -> None:
        self._since = None

    async def wait(self) -> None:
        """Let other tasks have the loop, if it is their turn."""
        if self._since is not None and self._now() - self._since >= SHARE_SECONDS:
            await asyncio.sleep(0)


class RecoveryTask:
    """As `RecoveryThread`, for a face that one event loop's thread uses: a task of the loop that
    runs here now, while there is something to do."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        with connection.lock:
            self._recovery = Recovery(connection, waker(self._notify))
            connection.session.listeners.add(self._look)

    def _notify(self) -> None:
        with self._connection.lock:
            self._connection.session.notify()

    def _look(self) -> None:
        """Called under the connection's lock, as all listeners are. While the loop runs, no other
        thread handles the link, so none finds its end."""
        due = self._recovery.is_due and not self._closing
        if due and self._task is None and not self._loop.is_closed():
            self._task = self._loop.create_task(self._run())

    async def _run(self) -> None:
        try:
            with LoopWaiter(self._connection) as waiter:
                while self._recovery.turn():
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self._recovery.patience()):
                            await waiter.wait()
        finally:
            with self._connection.lock:
                self._task = None
                self._look()

    def close(self) -> None:
        """Idempotent: gives up what is under way. Any thread may call it once the loop is
        closed."""
        self._closing = True
        if self._task is not None and not self._loop.is_closed():
            self._task.cancel()  # the task waits, and will do nothing any more
        self._recovery.close()


def start(machine: Machine, name: str, run: Callable[[], None], over: Future[None]) -> None:
    """Run what blocks on a thread of its own, for the application may have filled the loop's
    executor with calls that take long. ``over`` belongs to no loop, and is done in any case: if no
    thread can be started, the calling thread runs it."""

    def body() -> None:
        try:
            run()
        except BaseException as error:  # noqa: BLE001 (the future has it)
            over.set_exception(error)
        else:
            over.set_result(None)

    try:
        machine.start_thread(name, body)
    except StartupError:
        body()


async def on_thread(machine: Machine, name: str, run: Callable[[], T]) -> T:
    """What it returns, or raises, on a thread of its own. A cancellation ends the wait alone."""
    found: list[T] = []
    over: Future[None] = Future()
    start(machine, name, lambda: found.append(run()), over)
    await end_of(over)
    over.result()
    return found[0]


async def end_of(over: Future[None]) -> None:
    """Wait until it is done, by whatever outcome. A cancellation ends the wait alone."""
    done = asyncio.Event()
    wake = waker(done.set)
    over.add_done_callback(lambda _: wake())
    await done.wait()


@contextlib.asynccontextmanager
async def within(seconds: float, what: str) -> AsyncIterator[None]:
    """A time limit, whose `TimeoutError` says what did not come."""
    try:
        async with asyncio.timeout(seconds) as limit:
            yield
    except TimeoutError:
        if limit.expired():
            raise TimeoutError(f"{what} within {seconds} s") from None
        raise


@contextlib.contextmanager
def _watched(fd: int, wake: Callable[[], None]) -> Iterator[None]:
    """Have the loop call ``wake`` when the descriptor is readable. It watches a duplicate: a loop
    calls one function for each number, and several tasks may wait for one descriptor; and nobody
    else can close the duplicate while the loop watches it."""
    if fd < 0:
        yield
        return
    loop = asyncio.get_running_loop()
    try:
        own = os.dup(fd)
    except OSError as error:
        raise StartupError(f"nothing to wait on: {why(error)}") from error
    try:
        try:
            loop.add_reader(own, wake)
        except OSError as error:
            raise unwatched(error) from error
        try:
            yield
        finally:
            loop.remove_reader(own)
    finally:
        os.close(own)
