"""Being in the room, in virtual time: the test is the provider and the room session."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, ClassVar

import dill
import pytest

from ringroom import messages as m
from ringroom.errors import ClosedError, RingroomError, RoomError
from ringroom.frames import DataFrame
from ringroom.link import open_links
from ringroom.notices import Notices
from ringroom.options import Reconnect, SessionOptions
from ringroom.processes.membership import Membership
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


@dataclass(frozen=True, kw_only=True)
class Once(Script):
    joins_anew = False


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

    def unpickled(self, blob: bytes) -> ProviderSpec:
        spec, _ = dill.loads(blob)
        assert isinstance(spec, ProviderSpec)
        return spec

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


def test_what_is_lost_is_joined_anew_after_the_wait() -> None:
    async def test(scene: Scene) -> None:
        await scene.start()
        scene.ends(5.0)
        await asyncio.sleep(20.0)

    scene = play([Stay(joining()), Stay(joining(0.5))], test)
    assert scene.told == [(0.0, "joined"), (5.0, "parted", "wire"), (6.5, "joined")]
    assert closes() == [1, 1]


def test_tries_come_when_the_policy_says_and_each_provider_is_closed() -> None:
    async def test(scene: Scene) -> None:
        await scene.start()
        scene.ends(0.0)
        await asyncio.sleep(100.0)

    script = [Stay(joining()), *(Stay(refusing()) for _ in range(3)), Stay(joining())]
    scene = play(script, test)
    assert scene.told == [(0.0, "joined"), (0.0, "parted", "wire"), (11.0, "joined")]
    assert closes() == [1] * 5


def test_given_up_there_is_one_error_that_says_all() -> None:
    async def test(scene: Scene) -> None:
        await scene.start()
        scene.ends(0.0)
        await asyncio.sleep(100.0)
        scene.membership.ended("late", "it broke again")
        with pytest.raises(ClosedError, match="the room has ended: wire"):
            await scene.membership.provider()

    scene = play([Stay(joining())], test)
    assert scene.told[-1] == (11.0, "over", "wire")
    assert [what for _, what, *_ in scene.told].count("over") == 1
    assert str(scene.error) == ("the wire broke; tried to join anew 4 times, the last time: nobody")
    assert reason_of(scene.error) == "disconnected"
    assert closes() == [1] * 5


def test_a_refused_token_ends_it_at_once() -> None:
    async def test(scene: Scene) -> None:
        await scene.start()
        scene.ends(0.0)
        await asyncio.sleep(100.0)
        assert closes() == [1, 1, 1], "also of the one that was refused"

    refused = Stay(refusing("unauthorized", "the server refused the token: expired"))
    scene = play([Stay(joining()), Stay(refusing()), refused], test)
    assert scene.told[-1] == (3.0, "over", "wire")
    assert reason_of(scene.error) == "unauthorized"
    assert str(scene.error).startswith("the server refused the token: expired")
    assert "the wire broke" in str(scene.error)


@pytest.mark.parametrize(
    ("spec", "policy"),
    [(Script(), Reconnect(retries=0)), (Once(), POLICY)],
    ids=["the policy", "the provider"],
)
def test_what_is_not_to_be_joined_anew_is_over(spec: ProviderSpec, policy: Reconnect) -> None:
    async def test(scene: Scene) -> None:
        await scene.start(spec)
        scene.ends(1.0)
        await asyncio.sleep(100.0)

    scene = play([Stay(joining())], test, policy)
    assert scene.told == [(0.0, "joined"), (1.0, "over", "wire")]
    assert (str(scene.error), reason_of(scene.error)) == ("the wire broke", "disconnected")
    assert len(Script.opened) == 1


def test_a_room_that_ends_by_itself_is_over() -> None:
    async def test(scene: Scene) -> None:
        await scene.start()
        scene.ends(1.0, error="", reason="removed from the room")
        scene.ends(2.0)
        await asyncio.sleep(100.0)
        assert not scene.membership.hears

    scene = play([Stay(joining())], test)
    assert scene.told == [(0.0, "joined"), (1.0, "over", "removed from the room")]
    assert scene.error is None
    assert len(Script.opened) == 1


def test_the_first_join_is_not_tried_again() -> None:
    async def test(scene: Scene) -> None:
        await scene.start()
        await asyncio.sleep(100.0)
        with pytest.raises(RoomError, match="nobody"):
            await scene.membership.provider()

    scene = play([], test)
    assert scene.told == [(0.0, "refused", "nobody")]
    assert closes() == [1]


def test_a_provider_that_heals_in_time_is_left_alone() -> None:
    async def test(scene: Scene) -> None:
        await scene.start()
        for moment in (1.0, 2.0, 70.0):
            scene.at(moment, scene.membership.lost)
        scene.at(60.9, scene.membership.back)
        scene.at(129.0, scene.membership.back)
        await asyncio.sleep(300.0)

    scene = play([Stay(joining())], test)
    assert scene.told == [(0.0, "joined")]


def test_a_provider_that_does_not_heal_in_time_is_given_up() -> None:
    async def test(scene: Scene) -> None:
        await scene.start()
        scene.at(1.0, scene.membership.lost)
        scene.at(61.1, scene.membership.back)  # too late
        await asyncio.sleep(300.0)

    scene = play([Stay(joining()), Stay(joining())], test)
    assert scene.told[1:] == [
        (61.0, "parted", "connection lost"),
        (61.0, "over", "connection lost"),
    ]
    assert str(scene.error) == "script: the connection was lost, and not back within 60 s"
    assert closes() == [1]


def test_a_try_that_hangs_ends_with_the_deadline() -> None:
    async def test(scene: Scene) -> None:
        await scene.start()
        scene.ends(0.0)
        await asyncio.sleep(300.0)

    scene = play([Stay(joining()), Stay(joining(1e6))], test, connect_timeout=600.0)
    assert scene.told[-1] == (60.0, "over", "wire")
    assert str(scene.error).endswith("the last time: no answer in time")
    assert closes() == [1, 1]


def test_a_try_has_the_time_that_a_connect_has() -> None:
    async def test(scene: Scene) -> None:
        await scene.start()
        scene.ends(0.0)
        await asyncio.sleep(300.0)

    script = [Stay(joining()), Stay(joining(1e6)), Stay(joining())]
    scene = play(script, test, connect_timeout=5.0)
    # A second to try after, five and one that the provider has for its own words, two more.
    assert scene.told[-1] == (9.0, "joined")


def test_a_room_that_is_lost_while_it_is_joined_is_a_try_that_failed() -> None:
    async def test(scene: Scene) -> None:
        async def broken() -> Joined:
            scene.membership.ended("wire", "it broke while joining")
            return THERE

        Script.script.extend([Stay(broken), Stay(broken), Stay(joining())])
        await scene.start()
        scene.ends(0.0)
        await asyncio.sleep(300.0)

    scene = play([Stay(joining())], test)
    assert [told for told in scene.told if told[1] == "joined"] == [
        (0.0, "joined"),
        (7.0, "joined"),
    ]


def test_a_room_that_is_over_while_it_is_joined_anew_is_over() -> None:
    async def test(scene: Scene) -> None:
        async def closed() -> Joined:
            scene.membership.ended("room closed", "")
            raise RoomError("it is closed", reason="unreachable")

        Script.script.append(Stay(closed))
        await scene.start()
        scene.ends(0.0)
        await asyncio.sleep(300.0)

    scene = play([Stay(joining())], test)
    assert scene.told[-1] == (1.0, "over", "room closed")
    assert scene.error is None
    assert closes() == [1, 1]


def test_a_room_that_comes_and_goes_is_one_outage() -> None:
    async def test(scene: Scene) -> None:
        await scene.start()
        for moment in (0.0, 2.0, 5.0, 10.0, 16.0):
            scene.ends(moment)
        await asyncio.sleep(300.0)

    scene = play([Stay(joining()) for _ in range(9)], test)
    joins = [at for at, what, *_ in scene.told if what == "joined"]
    assert joins == [0.0, 1.0, 4.0, 9.0, 14.0]
    assert scene.told[-1] == (16.0, "over", "wire")


def test_a_try_without_an_answer_does_not_hide_why_the_one_before_failed() -> None:
    async def test(scene: Scene) -> None:
        await scene.start()
        scene.ends(0.0)
        await asyncio.sleep(1.5)
        assert not scene.membership.hears, "nothing counts that a provider says between two tries"
        await asyncio.sleep(100.0)

    policy = Reconnect(retries=4, backoff=1.0, longest=4.0, jitter=0.0, deadline=10.0)
    script = [Stay(joining()), Stay(refusing(text="no seat")), Stay(joining(after=10**6))]
    scene = play(script, test, policy, connect_timeout=100.0)
    assert scene.told[-1] == (10.0, "over", "wire")
    assert str(scene.error).endswith("the last time: no seat")


def test_whoever_waits_for_the_room_gets_the_next_one() -> None:
    async def test(scene: Scene) -> None:
        await scene.start()
        first = await scene.membership.provider()
        assert await scene.membership.provider() is first
        following = asyncio.create_task(scene.membership.provider(first))
        await asyncio.sleep(1.0)
        assert not following.done(), "the provider says that it is gone, and nobody knows yet"
        scene.membership.ended("wire", "the wire broke")
        anew = asyncio.create_task(scene.membership.provider())
        await asyncio.sleep(0.5)
        assert not anew.done()
        second = await anew
        assert second is not first
        assert await following is second

    play([Stay(joining()), Stay(joining())], test)


def test_what_a_provider_says_after_the_loss_is_not_heard() -> None:
    async def test(scene: Scene) -> None:
        hears = []
        await scene.start()
        for moment in (0.5, 1.5, 3.0):
            scene.at(moment, lambda: hears.append(scene.membership.hears))
        scene.ends(1.0)
        await asyncio.sleep(10.0)
        assert hears == [True, False, True]

    play([Stay(joining()), Stay(joining())], test)


@pytest.mark.parametrize("raises", [True, False])
def test_a_provider_that_does_not_want_to_go(raises: bool) -> None:
    async def test(scene: Scene) -> None:
        await scene.start()
        scene.ends(0.0)
        await asyncio.sleep(20.0)

    stay = Stay(joining())
    stay.close_raises, stay.close_takes = raises, 0.0 if raises else 1e6
    scene = play([stay, Stay(joining())], test, close_timeout=3.0)
    # The wait of a second is over before who takes his time has gone.
    assert scene.told[-1] == (1.0 if raises else 3.0, "joined")


def test_a_provider_that_does_not_open_is_tried_again() -> None:
    async def test(scene: Scene) -> None:
        await scene.start()
        scene.ends(0.0)
        await asyncio.sleep(20.0)

    scene = play([Stay(joining()), ValueError("no SDK"), Stay(joining())], test)
    assert scene.told[-1] == (3.0, "joined")


# Fresh hand-overs.


class Application:
    """The far end of the link for renewals."""

    def __init__(self, scene: Scene) -> None:
        self.link, theirs = open_links()
        scene.membership.renew_over(os.dup(theirs.fileno()))
        theirs.close()
        self.asked: list[int] = []

    def look(self) -> None:
        while (received := self.link.receive_nowait()) is not None:
            message, _ = received
            assert isinstance(message, m.Renew)
            self.asked.append(message.request)

    def renew(self, request: int, number: int, *descriptors: int) -> None:
        blob = dill.dumps((Script(number=number), SessionOptions()))
        self.link.send(m.Renewed(request=request, blob=blob), descriptors)


def test_each_try_asks_for_a_fresh_hand_over() -> None:
    async def test(scene: Scene) -> None:
        app = Application(scene)
        await scene.start()
        scene.ends(0.0)
        refused = m.error_to_json(RoomError("no token today", reason="timeout"))
        await asyncio.sleep(1.1)
        app.look()
        app.link.send(m.NotRenewed(request=1, error=refused))
        await asyncio.sleep(2.1)
        app.look()
        app.renew(1, 71)  # late, for the first
        app.renew(2, 72)
        await asyncio.sleep(1.0)
        assert app.asked == [1, 2]
        app.link.close()

    scene = play([Stay(joining()), Stay(joining())], test)
    assert [number for number, _ in Script.opened] == [0, 72]
    assert scene.told[-1][1] == "joined"


def test_a_provider_that_does_not_open_anew_leaves_no_descriptor() -> None:
    async def test(scene: Scene) -> None:
        app = Application(scene)
        await scene.start()
        scene.ends(0.0)
        await asyncio.sleep(1.1)
        reading, writing = os.pipe()
        app.renew(1, 1, writing)
        os.close(writing)
        await asyncio.sleep(0.5)
        assert len(Script.opened) == 2
        os.set_blocking(reading, False)
        assert os.read(reading, 1) == b"", "the hand-over's descriptor is closed"
        os.close(reading)
        app.link.close()

    play([Stay(joining()), RoomError("it cannot be opened", reason="unreachable")], test)


def test_an_application_that_hands_nothing_over_in_time_or_is_gone() -> None:
    async def test(scene: Scene) -> None:
        app = Application(scene)
        await scene.start()
        scene.ends(0.0)
        await asyncio.sleep(20.0)
        app.look()
        assert app.asked == [1, 2]
        app.link.close()
        await asyncio.sleep(30.0)

    scene = play([Stay(joining())], test, connect_timeout=10.0)
    assert str(scene.error).endswith("the application hands nothing over any more")
    assert len(Script.opened) == 1
