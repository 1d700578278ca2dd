"""What the roles of a `VirtualClock` wait on, in place of what threads wait on.

None of it holds a real lock while its role waits: of all roles one runs at a time.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import selectors
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from ringroom.testing.virtual.roles import Role

if TYPE_CHECKING:
    from ringroom.testing.virtual.clock import VirtualClock

__all__ = ["Lock", "Loop", "News", "RoleThread"]

T = TypeVar("T")


class RoleThread(threading.Thread):
    """The thread of a role: to wait for its end is to wait in virtual time."""

    def __init__(self, clock: VirtualClock, role: Role, body: Callable[[], None]) -> None:
        super().__init__(target=body, name=role.name, daemon=True)
        self._clock = clock
        self._role = role

    def join(self, timeout: float | None = None) -> None:
        self._clock.join(self._role, timeout)
        if self._role.ended:
            super().join()

    def is_alive(self) -> bool:
        return self._role.lives


class Lock:
    """A lock that a role may hold while others have their turns: those that want it wait."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._owner: Role | None = None
        self._depth = 0
        self._waiting: list[Role] = []

    def __enter__(self) -> bool:
        me = self._clock.role()
        while self._owner not in (None, me):
            self._waiting.append(me)
            self._clock.pause(me, None)
        self._owner = me
        self._depth += 1
        return True

    def __exit__(self, *exc: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._owner = None
            waiting, self._waiting = self._waiting, []
            for role in waiting:
                role.told = True


class News(threading.Condition):
    """A condition. Its lock is taken for granted: nobody else runs."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock
        self._waiting: list[Role] = []

    def __enter__(self) -> bool:
        self._clock.role()
        return True

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    def wait(self, timeout: float | None = None) -> bool:
        me = self._clock.role()
        self._waiting.append(me)
        self._clock.pause(me, timeout)
        if me not in self._waiting:
            return True
        self._waiting.remove(me)
        return False

    def wait_for(self, predicate: Callable[[], T], timeout: float | None = None) -> T:
        end = None if timeout is None else self._clock.now() + timeout
        while not (result := predicate()):
            left = None if end is None else end - self._clock.now()
            if left is not None and left <= 0:
                break
            self.wait(left)
        return result

    def notify(self, n: int = 1) -> None:
        woken, self._waiting = self._waiting[:n], self._waiting[n:]
        for role in woken:
            role.told = True

    def notify_all(self) -> None:
        self.notify(len(self._waiting))


class _Selector(selectors.DefaultSelector):
    """Waits as a role does. A look that does not wait gives no other role a turn."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > 0:
            self._clock.wait((self.fileno(),), timeout)
        return super().select(0)

    def numbers(self) -> list[int]:
        """The descriptors that are watched."""
        return [key.fd for key in self.get_map().values()]


class _Executor(concurrent.futures.Executor):
    """Each call is a role."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock

    def submit(
        self, fn: Callable[..., T], /, *args: Any, **kwargs: Any
    ) -> concurrent.futures.Future[T]:
        future: concurrent.futures.Future[T] = concurrent.futures.Future()

        def run() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except Exception as error:  # noqa: BLE001 (raised again by who waits for the future)
                future.set_exception(error)

        self._clock.start_thread("executor", run)
        return future


class Loop(asyncio.SelectorEventLoop):
    """An event loop in virtual time."""

    def __init__(self, clock: VirtualClock) -> None:
        self.waits_on = _Selector(clock)
        super().__init__(self.waits_on)
        self._virtual = clock
        self._executor = _Executor(clock)

    def time(self) -> float:
        return self._virtual.now()

    def run_in_executor(  # type: ignore[override]  # (typeshed writes it as a TypeVarTuple)
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        return super().run_in_executor(executor or self._executor, func, *args)

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Nothing to shut down: its calls are roles, which the clock ends."""
