"""Outages: rooms that heal, come and go or are over, and providers that are given up."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from membership_kit import THERE, Scene, Script, Stay, closes, joining, play

from ringroom.errors import RoomError
from ringroom.providers.provider import Joined


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


def next_room_closes(scene: Scene) -> None:
    """The one that is joined next, while it is."""

    async def closed() -> Joined:
        scene.membership.ended("room closed", "")
        raise RoomError("it is closed", reason="unreachable")

    Script.script.append(Stay(closed))


def test_a_room_that_is_over_while_it_is_joined_anew_is_over() -> None:
    async def test(scene: Scene) -> None:
        next_room_closes(scene)
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


def test_nothing_is_joined_anew_once_it_is_closed() -> None:
    """Also by a stay that does not let itself be cancelled: nobody would be there to leave."""

    class Stubborn(Stay):
        async def close(self) -> None:
            self.closes += 1
            while not may_go.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await may_go.wait()

    async def test(scene: Scene) -> None:
        await scene.start()
        scene.ends(0.0)
        await asyncio.sleep(0.5)
        assert scene.staying is not None
        for _ in range(2):
            scene.staying.cancel()
            await asyncio.sleep(0)
        closing = asyncio.create_task(scene.membership.close())
        await asyncio.sleep(0.5)
        may_go.set()
        await closing
        await asyncio.sleep(100.0)
        assert scene.staying.done()

    may_go = asyncio.Event()
    scene = play([Stubborn(joining()), Stay(joining())], test, close_timeout=10.0)
    assert [what for _, what, *_ in scene.told] == ["joined", "parted"]
    assert closes() == [2]


def test_a_room_that_ends_while_it_is_joined_is_over_and_not_refused_too() -> None:
    async def test(scene: Scene) -> None:
        next_room_closes(scene)
        await scene.start()
        assert scene.staying is not None
        await scene.staying

    scene = play([], test)
    assert scene.told == [(0.0, "over", "room closed")]


def test_a_room_that_ends_while_it_is_joined_has_been_joined_if_the_provider_says_so() -> None:
    """A recording may be over before its `connect` has returned."""

    async def test(scene: Scene) -> None:
        async def closed() -> Joined:
            scene.membership.ended("room closed", "")
            return THERE

        Script.script.append(Stay(closed))
        await scene.start()
        assert scene.staying is not None
        await scene.staying

    scene = play([], test)
    assert scene.told == [(0.0, "over", "room closed"), (0.0, "joined")]
