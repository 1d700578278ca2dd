"""Joining anew: when it is tried, for how long, and what is not tried again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from membership_kit import (
    POLICY,
    THERE,
    Scene,
    Script,
    Stay,
    closes,
    joining,
    play,
    reason_of,
    refusing,
)

from ringroom.errors import ClosedError, RoomError
from ringroom.options import Reconnect
from ringroom.providers.provider import Joined, ProviderSpec


@dataclass(frozen=True, kw_only=True)
class Once(Script):
    joins_anew = False


@pytest.mark.parametrize("error", ["the wire broke", ""], ids=["a loss", "the room's end"])
def test_what_a_provider_says_after_it_was_refused_counts_no_more(error: str) -> None:
    """It was once taken for the loss of a room, whose joining nobody would try again."""

    async def test(scene: Scene) -> None:
        scene.at(1.0, scene.membership.lost)  # while it joins
        scene.at(3.0, lambda: told.append(scene.membership.hears))
        scene.ends(4.0, error)
        await scene.start()
        await asyncio.sleep(300.0)
        with pytest.raises(RoomError, match="nobody"):
            await scene.membership.provider()

    async def refused() -> Joined:
        await asyncio.sleep(2.0)
        raise RoomError("nobody", reason="unreachable")

    told: list[bool] = []
    scene = play([Stay(refused)], test)
    assert told == [False]
    assert scene.told == [(2.0, "refused", "nobody")]
    assert closes() == [1]


def test_what_a_provider_says_after_it_was_refused_later_counts_no_more() -> None:
    async def test(scene: Scene) -> None:
        await scene.start()
        scene.ends(0.0)
        scene.ends(1.5)  # it was refused half a second ago
        scene.ends(1.6, "", "closed")
        await asyncio.sleep(300.0)

    scene = play([Stay(joining()), Stay(refusing()), Stay(joining())], test)
    assert scene.told == [(0.0, "joined"), (0.0, "parted", "wire"), (3.0, "joined")]


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


def test_the_first_join_is_not_tried_again() -> None:
    async def test(scene: Scene) -> None:
        await scene.start()
        await asyncio.sleep(100.0)
        with pytest.raises(RoomError, match="nobody"):
            await scene.membership.provider()

    scene = play([], test)
    assert scene.told == [(0.0, "refused", "nobody")]
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


def test_a_provider_that_does_not_open_is_tried_again() -> None:
    async def test(scene: Scene) -> None:
        await scene.start()
        scene.ends(0.0)
        await asyncio.sleep(20.0)

    scene = play([Stay(joining()), ValueError("no SDK"), Stay(joining())], test)
    assert scene.told[-1] == (3.0, "joined")
