"""The pool's asyncio face.

A pool has a thread of its own, which tends the session and the workers; the loop only asks and
waits. What blocks, to load models, to finish and to close, runs on threads of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

from ringroom import pool
from ringroom.aio.sender import Sender
from ringroom.errors import ClosedError
from ringroom.faces.awaiting import LoopWaiter, end_of, start
from ringroom.faces.connection import Statistics
from ringroom.options import TransportConfig
from ringroom.pool.options import PoolOptions
from ringroom.processes.hosts import Where
from ringroom.processor import ProcessorLike
from ringroom.providers.provider import ProviderSpec

__all__ = ["Pool"]


class Pool(Sender):
    """As `ringroom.Pool`, in an ``async with`` block, whose end closes the pool at once (`drain`
    before it finishes what waits). For one event loop's thread: on another loop, every call that is
    awaited raises `BusyError`.

    ``on_event`` and ``on_error`` are called on the pool's own thread, and not on the loop's.
    """

    _noun = "pool"
    _for_threads = "ringroom.Pool"

    def __init__(
        self,
        processor: ProcessorLike,
        provider: str | ProviderSpec,
        config: TransportConfig | None = None,
        *,
        io: Where = "process",
        **options: Any,
    ) -> None:
        self._pool = pool.Pool(processor, provider, config, io=io, **options)
        super().__init__(self._pool._connection)
        self._starting: Future[None] | None = None
        self._closing: Future[None] | None = None

    @property
    def options(self) -> PoolOptions:
        """The options that the pool was made with."""
        return self._pool.options

    @property
    def pids(self) -> tuple[int, ...]:
        """As `ringroom.Pool.pids`."""
        return self._pool.pids

    @property
    def spares(self) -> int:
        """As `ringroom.Pool.spares`."""
        return self._pool.spares

    def stats(self) -> Statistics:
        """As `ringroom.Pool.stats`."""
        return self._pool.stats()

    async def open(self) -> Self:
        """Start the workers and join the room. Raises as entering a `ringroom.Pool` does. If
        cancelled, it first stops what it has started. A second cancellation returns at once, and
        the rest is stopped in the background."""
        self._check_process()
        if self._starting is not None or self._connection.closed:
            raise ClosedError(f"{self._connection.spec.name}: a pool runs once; make another")
        self._belong_here()
        try:
            self._starting = self._begin("ringroom-open", self._start)
            await end_of(self._starting)
            self._starting.result()
        except BaseException:
            await self.close()
            raise
        return self

    def _start(self) -> None:
        self._pool.__enter__()

    def _begin(self, name: str, run: Callable[[], None]) -> Future[None]:
        over: Future[None] = Future()
        start(self._connection.machine, name, run, over)
        return over

    async def wait(self) -> str:
        """As `ringroom.Pool.wait`; time limits with `asyncio.timeout`."""
        if not self._pool.is_over:
            if not self._connection.opened:
                self._check_open()
            self._check_loop()
            with LoopWaiter(self._connection) as waiter:
                while not self._pool.is_over:
                    await waiter.wait()
        return self._pool.wait(0)

    async def drain(self) -> None:
        """As `ringroom.Pool.drain`. If cancelled, it goes on in the background; `close` ends it."""
        if self._forked:
            return
        self._check_loop()
        over = self._begin("ringroom-drain", self._pool.drain)
        await end_of(over)
        over.result()

    async def close(self) -> None:
        """As `ringroom.Pool.close`. Calls that come meanwhile wait until it is done. If cancelled,
        it closes all the same before it raises `asyncio.CancelledError`; a second cancellation
        returns at once. Any loop may close a pool whose own loop is closed."""
        if self._forked:
            return
        if self._loop is not None and not self._loop.is_closed():
            self._check_loop()
        if self._closing is None:
            self._closing = self._begin("ringroom-close", self._pool.close)
        ends = [self._closing] if self._starting is None else [self._closing, self._starting]
        try:
            for over in ends:
                await end_of(over)
        except asyncio.CancelledError:
            for over in ends:
                await end_of(over)
            raise
        self._closing.result()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
        self._pool.__exit__(exc_type, exc, traceback)

    def _left_open(self) -> str:
        return ""  # the pool itself says so
