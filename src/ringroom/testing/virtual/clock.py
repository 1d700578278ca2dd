"""Virtual time: all roles of a call in one process, one at a time, and the same every time.

A *role* is a thread that belongs to a `VirtualClock`: the test, the fake room, the I/O role, a
worker, a pool's supervision. Exactly one runs; it hands over when it waits, and only then. When
all wait, time jumps to the first moment that somebody waits for, so ten minutes of a call take
seconds. Descriptors, memory and sockets are real: with one role at a time they are deterministic.
Whose turn it is, and what time it is then, is in `turns.py`; here roles begin, hand over and end.

Invariants
  V1  only the role that runs touches the clock's state, so nothing here needs a lock
  V2  time passes only when no role can go on
  V3  who goes on next depends on nothing but what the roles did before (and a seed, if there is
      one): no hash, no address, no real time enters the choice

A role that is killed never runs again before the clock is closed: what it had not done is not
done. The other ends of its links see it gone. At the very end it is let run, finds every link
closed, and leaves.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from ringroom.processes.hosts import IOHost
from ringroom.processes.machine import Machine
from ringroom.sessions.inbox import Found
from ringroom.testing.virtual.hosts import VirtualHost
from ringroom.testing.virtual.links import LinkRegister, end_links
from ringroom.testing.virtual.roles import Role, Stuck
from ringroom.testing.virtual.turns import Turns
from ringroom.testing.virtual.waits import Lock, Loop, News, RoleThread

__all__ = ["VirtualClock", "sleep"]

T = TypeVar("T")
# An abandoned role that catches everything and waits again is given up after so many turns.
_MOST_TURNS = 1_000
# Roles that would not run in the application's process.
_APART = ("ringroom-io", "fake room")
_here = threading.local()


class _Abandoned(BaseException):
    """Unwinds a role that is still there when the clock is closed."""


class VirtualClock(Machine):
    """A machine of virtual time, for one test. A context manager; the thread that makes it is the
    role ``test``.

    ``FakeRoom(clock=clock)`` lives in its time, ``io=clock.io`` makes a transport or a pool do so,
    `run` an asyncio application. A thread that uses any of them must be made by `start_thread`.
    ``limit`` bounds the virtual seconds: a call that goes on for ever ends with `Stuck`.
    """

    def __init__(self, limit: float = 86_400.0, *, keep_trace: bool = False) -> None:
        self._test = Role("test", 0, "test")
        self._turns = Turns(self._test, limit, keep_trace)
        self._roles = [self._test]
        self._by_thread: dict[int, Role] = {}
        self._links = LinkRegister(self._owner)
        self._host: IOHost | None = None
        self._closing = False
        self._closed = False
        self._goes_here(self._test)
        self._links.install()

    # What a role gets: a `Machine`.

    def now_ns(self) -> int:
        return self._turns.now_ns

    def now(self) -> float:
        return self._turns.now_ns / 1e9

    def wait(self, fds: Iterable[int], seconds: float | None) -> list[int]:
        me = self.role()
        self.pause(me, seconds, tuple(fd for fd in fds if fd >= 0))
        return me.readable

    def select(self, selector: selectors.DefaultSelector, seconds: float | None) -> Found:
        if seconds is None or seconds > 0:
            self.wait((selector.fileno(),), seconds)
        return selector.select(0)

    def condition(self) -> threading.Condition:
        return News(self)

    def lock(self) -> Lock:
        return Lock(self)

    def start_thread(self, name: str, run: Callable[[], object]) -> threading.Thread:
        """A role of this process, which has its first turn when somebody waits. Raises
        `RuntimeError` on an event loop in real time: that waits without letting the role go on."""
        _check_loop()
        process = name if name.startswith(_APART) else self.role().process
        return self._start(name, process, run).thread

    def start_process(self, name: str, run: Callable[[], object]) -> Role:
        """A role that stands for a process of its own."""
        return self._start(name, name, run)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run the coroutine on an event loop in virtual time, on this thread: ``asyncio.run`` of
        this clock. What it gives to threads (`asyncio.to_thread`) runs as a role of its own."""
        me = self.role()

        def make() -> asyncio.AbstractEventLoop:
            loop = Loop(self)
            me.loop = loop
            return loop

        with asyncio.Runner(loop_factory=make) as runner:
            return runner.run(coroutine)

    # What a test gets.

    @property
    def io(self) -> IOHost:
        """Where transports and pools of this clock run: ``transport("fake", io=clock.io)``."""
        if self._host is None:
            self._host = VirtualHost(self)
        return self._host

    def sleep(self, seconds: float) -> None:
        """Let that much virtual time pass for this role."""
        self.pause(self.role(), seconds)

    @property
    def trace(self) -> list[str]:
        """Which role went on at which nanosecond, and why, if the trace is kept."""
        return self._turns.trace

    @property
    def fingerprint(self) -> str:
        """A hash of the trace so far: the same history has the same one."""
        return self._turns.fingerprint

    @property
    def roles(self) -> list[str]:
        """The names of those that live, in the order in which they came."""
        return [role.name for role in self._turns.living]

    def freeze(self, name: str, seconds: float) -> None:
        """The role stands still for that long, as a process that is stopped. `LookupError`."""
        self._find(name).frozen_ns = self._turns.now_ns + round(seconds * 1e9)

    def kill(self, name: str) -> None:
        """The role dies as by SIGKILL: it does nothing any more. Raises `LookupError`."""
        self.bring_down(self._find(name))

    # How it works.

    def _owner(self) -> Role | None:
        return self._by_thread.get(threading.get_ident())

    def role(self) -> Role:
        """The role of this thread. Raises `RuntimeError` if it has none."""
        role = self._by_thread.get(threading.get_ident())
        if role is None and self._closed:
            return self._test  # a role that comes late finds none to wait for
        if role is None:
            raise RuntimeError(
                f"thread {threading.current_thread().name!r} is no role of this VirtualClock; "
                "start it with the clock's start_thread, and give the clock to the room "
                "(clock=clock) and its io to transports and pools (io=clock.io)"
            )
        return role

    def _find(self, name: str) -> Role:
        for role in self._turns.living:
            if role.name == name and role is not self._test:
                return role
        raise LookupError(f"no role {name!r}; there are {', '.join(self.roles)}")

    def _goes_here(self, role: Role) -> None:
        """This thread is the role's."""
        self._by_thread[threading.get_ident()] = role
        _here.clock = self

    def _start(self, name: str, process: str, run: Callable[[], object]) -> Role:
        if self._closed:
            raise RuntimeError("the VirtualClock is closed")
        role = Role(name, len(self._roles), process)
        role.told = True
        self._roles.append(role)
        self._turns.living.append(role)

        def body() -> None:
            role.gate.acquire()
            self._goes_here(role)
            try:
                run()
            except _Abandoned:
                pass
            except BaseException as error:
                role.failure = error
                raise
            finally:
                self._leave(role)

        role.thread = RoleThread(self, role, body)
        role.thread.start()
        return role

    def _leave(self, role: Role) -> None:
        """The role's function has returned; it hands over for the last time."""
        role.ended = True
        if not role.dead:
            self._turns.remove(role)
        del self._by_thread[threading.get_ident()]
        self._tell_joined(role)
        self._next(role).gate.release()

    def _tell_joined(self, role: Role) -> None:
        for other in self._roles:
            if other.joins is role:
                other.told = True

    def join(self, role: Role, seconds: float | None) -> None:
        """Wait for the role's end."""
        me = self.role()
        if role.lives:
            me.joins = role
            self.pause(me, seconds)
            me.joins = None

    def pause(self, me: Role, seconds: float | None, fds: tuple[int, ...] = ()) -> None:
        """Hand over until a descriptor is readable, or ``me`` is told, or its time is up."""
        if self._closed:
            raise RuntimeError("the VirtualClock is closed")
        self._turns.wait(me, seconds, fds)
        chosen = self._next(me)
        if chosen is not me:
            chosen.gate.release()
            me.gate.acquire()
        if me.error is not None:
            error = me.error
            if not isinstance(error, _Abandoned):
                me.error = None
            raise error

    def _next(self, me: Role) -> Role:
        """The role that goes on after ``me``."""
        self._before_choice(me)
        return self._turns.next(self._choose)

    def _before_choice(self, me: Role) -> None:
        """A simulation intervenes here."""

    def _choose(self, ready: Sequence[Role]) -> Role:
        """The role whose last turn is longest ago."""
        return min(ready, key=_last_turn)

    def bring_down(self, role: Role) -> None:
        """The role is dead from here on; the other ends of its links see its end."""
        role.dead = True
        self._turns.remove(role)
        end_links(role, self._links.of(role))
        self._tell_joined(role)

    # The end.

    def close(self) -> None:
        """Ends what is left, the dead included. Raises `RuntimeError` for roles that do not end,
        by name. Idempotent."""
        if self._closed or self._closing:
            return
        self._closing = True
        try:
            if self._host is not None:
                self._host.close()
            self._let_the_dead_leave()
            left = self._all_but_the_test()
            end_ns = self._turns.end_soon()
            while left and self.now_ns() < end_ns:
                try:
                    self.sleep(min(1.0, (end_ns - self.now_ns()) / 1e9))
                except Stuck:
                    break
                left = self._all_but_the_test()
            self._abandon(left)
        finally:
            self._closed = True
            self._links.uninstall()
            del self._by_thread[threading.get_ident()]
            _here.clock = None
        if left:
            names = ", ".join(role.name for role in left)
            raise RuntimeError(f"never ended: {names}; close the room and the transports")

    def _all_but_the_test(self) -> list[Role]:
        return [role for role in self._roles[1:] if not role.ended]

    def _let_the_dead_leave(self) -> None:
        for role in self._roles:
            if role.dead and not role.ended:
                role.dead, role.told, role.frozen_ns = False, True, 0
                self._turns.living.append(role)

    def _abandon(self, roles: Iterable[Role]) -> None:
        for role in roles:
            role.error, role.told, role.frozen_ns = _Abandoned(), True, 0
            for _ in range(_MOST_TURNS):
                if role.ended:
                    break
                self._turns.end_soon()
                self.sleep(1.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except RuntimeError:
            if exc is None:
                raise


def _check_loop() -> None:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return
    if not isinstance(loop, Loop):
        raise RuntimeError(
            "this event loop runs in real time, so nothing in virtual time would go on while it "
            "waits; use clock.run(main()) in place of asyncio.run(main())"
        )


def sleep(seconds: float) -> None:
    """Virtual time in a role of a `VirtualClock`, real time elsewhere: for processors that stand
    for work, in both kinds of test."""
    clock: VirtualClock | None = getattr(_here, "clock", None)
    if clock is None:
        time.sleep(seconds)
    else:
        clock.sleep(seconds)


def _last_turn(role: Role) -> int:
    return role.turn
