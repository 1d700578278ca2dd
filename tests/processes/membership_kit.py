"""Being in the room, in virtual time: the test is the provider and the room session."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, ClassVar

from ringroom.errors import RingroomError, RoomError
from ringroom.frames import DataFrame
from ringroom.notices import Notices
from ringroom.options import Reconnect, SessionOptions
from ringroom.processes.io.membership import Membership
from ringroom.providers.provider import Joined, OutgoingTrack, Playout, Provider, ProviderSpec, Sink
from ringroom.testing import VirtualClock

POLICY = Reconnect(retries=4, backoff=1.0, longest=4.0, jitter=0.0, deadline=60.0)
THERE = Joined(room="room", identity="us")


class Stay(Provider):
    """One stay: ``connect`` does what the script says."""

    def __init__(self, connect: Callable[[], Awaitable[Joined]]) -> None:
        self._connect = connect
        self.closes = 0
        self.close_takes = 0.0
        self.close_raises = False

    async def connect(self, sink: Sink, options: SessionOptions) -> Joined:
        return await self._connect()

    async def publish(self, track: OutgoingTrack) -> Playout:
        raise NotImplementedError

    async def send_data(self, frame: DataFrame) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        self.closes += 1
        if self.closes > 1:
            return
        await asyncio.sleep(self.close_takes)
        if self.close_raises:
            raise RuntimeError("it does not want to go")


@dataclass(frozen=True, kw_only=True)
class Script(ProviderSpec):
    """Each `open` gives the next stay of the test that runs."""

    name: ClassVar[str] = "script"
    script: ClassVar[list[Any]] = []
    opened: ClassVar[list[Any]] = []
    number: int = 0

    def open(self, descriptors: tuple[int, ...]) -> Provider:
        stay = self.script.pop(0) if self.script else Stay(refusing())
        self.opened.append((self.number, stay))
        if isinstance(stay, Exception):
            raise stay
        provider: Provider = stay
        return provider


def joining(after: float = 0.0) -> Callable[[], Awaitable[Joined]]:
    async def connect() -> Joined:
        await asyncio.sleep(after)
        return THERE

    return connect


def refusing(reason: str = "unreachable", text: str = "nobody") -> Callable[[], Awaitable[Joined]]:
    async def connect() -> Joined:
        raise RoomError(text, reason=reason)

    return connect


class Scene:
    """The room session that is told, and what it was told, with the time."""

    def __init__(self, clock: VirtualClock, policy: Reconnect, **options: Any) -> None:
        self.clock = clock
        self.begin = clock.now()
        self.notices = Notices(logging.getLogger("ringroom.io"), clock.now_ns)
        self.told: list[tuple[Any, ...]] = []
        self.error: RingroomError | None = None
        self.options = SessionOptions(reconnect=policy, **options)
        self.membership = Membership(self, clock.now_ns)  # type: ignore[arg-type]
        self.staying: asyncio.Task[None] | None = None

    def _tell(self, *what: Any) -> None:
        self.told.append((round(self.clock.now() - self.begin, 6), *what))

    def joined(self, joined: Joined) -> None:
        self._tell("joined")

    def refused(self, error: RingroomError) -> None:
        self._tell("refused", str(error))

    def parted(self, reason: str) -> None:
        self._tell("parted", reason)

    def over(self, reason: str, error: RingroomError | None) -> None:
        self._tell("over", reason)
        self.error = error

    async def start(self, spec: ProviderSpec | None = None) -> None:
        """In the room, if the first stay's connect takes no time."""
        self.membership.open(spec or Script(), self.options, ())
        self.staying = asyncio.create_task(self.membership.stay())
        for _ in range(10):
            await asyncio.sleep(0)

    def at(self, seconds: float, call: Callable[..., Any], *arguments: Any) -> None:
        asyncio.get_running_loop().call_later(seconds, call, *arguments)

    def ends(self, seconds: float, error: str = "the wire broke", reason: str = "wire") -> None:
        self.at(seconds, self.membership.ended, reason, error)

    async def close(self) -> None:
        if self.staying is not None:
            self.staying.cancel()
            await asyncio.wait([self.staying])
        await self.membership.close()


def play(
    script: list[Any],
    test: Callable[[Scene], Coroutine[Any, Any, None]],
    policy: Reconnect = POLICY,
    **options: Any,
) -> Scene:
    """The scene, played to the end of ``test``."""
    with VirtualClock() as clock:
        Script.script[:], Script.opened[:] = script, []
        scenes: list[Scene] = []

        async def main() -> None:
            scene = Scene(clock, policy, **options)
            scenes.append(scene)
            try:
                await test(scene)
            finally:
                await scene.close()

        clock.run(main())
        return scenes[0]


def closes() -> list[int]:
    return [stay.closes for _, stay in Script.opened]


def reason_of(error: RingroomError | None) -> str:
    assert isinstance(error, RoomError)
    return error.reason
