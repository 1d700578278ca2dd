"""The I/O role: sessions as the control link asks for them, until that link ends.

It runs in a process of its own (`run_process`) or on a thread of the application (`serve` on a
loop of its own). The end of the control link, by close or by the application's death, ends it.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import time
from collections.abc import Callable
from importlib import import_module

from ringroom import messages as m
from ringroom.errors import StartupError
from ringroom.link import Link, close_descriptors
from ringroom.processes import footprint
from ringroom.processes.io.loop_link import LoopLink
from ringroom.processes.io.rooms import RoomSession
from ringroom.processes.machine import Machine, ProcessMachine
from ringroom.processes.standard_error import Lines
from ringroom.providers.provider import Provider
from ringroom.system import (
    STANDARD_ERROR,
    hold_standard_descriptors,
    raise_descriptor_limit,
)

log = logging.getLogger("ringroom.io")


class _Server:
    def __init__(
        self, control: Link, clock: Callable[[], int], freeze_garbage: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._freeze_garbage = freeze_garbage
        self._ended = asyncio.Event()
        self._sessions: dict[RoomSession, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._control = LoopLink(control, self._on_message, self._ended.set)

    def _on_message(self, message: m.Message, descriptors: tuple[int, ...]) -> None:
        if not isinstance(message, m.NewSession):
            log.error("the control link takes no %s", type(message).__name__)
            close_descriptors(descriptors)
            return
        try:
            session = RoomSession(Link.attach(descriptors[0]), self._clock)
        except StartupError as error:  # its link is closed, which tells the application
            log.error("a session cannot begin: %s", error)
            return
        self._sessions[session] = None
        task = asyncio.get_running_loop().create_task(self._watch(session))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch(self, session: RoomSession) -> None:
        joining = asyncio.ensure_future(session.joined_provider())
        joining.add_done_callback(self._joined)
        await session.done.wait()
        joining.cancel()
        self._sessions.pop(session, None)

    def _joined(self, joining: asyncio.Future[Provider]) -> None:
        if not joining.cancelled() and joining.exception() is None:
            self._freeze_garbage()

    async def run(self) -> None:
        await self._ended.wait()
        for session in tuple(self._sessions):
            session.leave()
        await asyncio.gather(*self._tasks)


async def serve(
    control: Link,
    clock: Callable[[], int] = time.monotonic_ns,
    freeze_garbage: Callable[[], None] = lambda: None,
) -> None:
    """Serve until the control link ends, then close every session. ``freeze_garbage`` is called
    when a room is joined."""
    await _Server(control, clock, freeze_garbage).run()


async def _serve_within(control: Link, machine: Machine, max_memory: int) -> None:
    watching = asyncio.create_task(footprint.watch(max_memory))
    try:
        await serve(control, machine.now_ns, machine.freeze_garbage)
    finally:
        watching.cancel()


def run_process(control_fd: int, preload: str, max_memory: int) -> None:
    """The main function of an I/O process, which may have to wait for its turn."""
    hold_standard_descriptors()
    raise_descriptor_limit()
    faulthandler.enable(STANDARD_ERROR)  # for a crash of the SDK's native part
    # The event loop logs: it must not wait until somebody takes a line.
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s", handlers=[Lines()])
    machine = ProcessMachine()
    if preload:
        try:
            import_module(preload)
            machine.freeze_garbage()
        except Exception:
            log.exception("%s was not imported ahead", preload)
    asyncio.run(_serve_within(Link.attach(control_fd), machine, max_memory))
    # The SDK's native threads may outlive its own shutdown; nothing of ours is left to clean up.
    logging.shutdown()
    os._exit(0)
