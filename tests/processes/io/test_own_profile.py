"""What the others are told of us: one change after the other, and again in each further room."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from io_kit import Outside, run, turns, until
from rooms_kit import Played, there

from ringroom import messages as m
from ringroom.errors import RoomError
from ringroom.events import Event, EventKind
from ringroom.options import Reconnect
from ringroom.processes.io.own_profile import OwnProfile
from ringroom.profile import Profile

ONE = Profile(name="one", attributes={"a": "1"})
TWO = Profile(attributes={"a": "", "b": "2"})
BOTH = Profile(name="one", attributes={"a": "", "b": "2"})
SOON = Reconnect(backoff=0.01, longest=0.02)


def ask(end: Any, number: int, change: Profile, *, awaited: bool = True) -> None:
    end.link.send(m.SetProfile(request=number, awaited=awaited, profile=change.to_json()))


async def answers(end: Any, count: int) -> list[tuple[int, str]]:
    found = await until(lambda: len(got := end.of(m.ProfileSet)) >= count and got)
    return [(one.request, one.error.get("reason", "")) for one in found]


async def failures(end: Any, count: int = 1) -> list[str]:
    kept: list[str] = []

    def there() -> bool:
        events = [item for item in end.items() if isinstance(item, Event)]
        kept.extend(one.reason for one in events if one.kind is EventKind.PROFILE_FAILED)
        return len(kept) >= count

    await until(there)
    return kept


def test_one_after_the_other_whoever_asks() -> None:
    async def main() -> None:
        async with there() as t:
            worker = t.attach(0)
            ask(t, 1, ONE)  # before we are in the room
            t.connect(1)
            await t.joined()
            assert await answers(t, 1) == [(1, "")]
            t.outside.settles.clear()
            ask(t, 2, ONE)
            ask(t, 3, TWO)
            await until(lambda: len(t.outside.profiles) == 2)
            ask(worker, 1, ONE, awaited=False)
            await turns()
            assert t.outside.profiles == [ONE, ONE], "the third waits for the second"
            t.outside.settles.set()
            assert await answers(t, 3) == [(1, ""), (2, ""), (3, "")]
            assert await answers(worker, 1) == [(1, "")]
            assert t.outside.profiles == [ONE, ONE, TWO, ONE]
            known = [one.profile for one in t.of(m.ProfileKnown)]
            assert known == [ONE.to_json(), BOTH.to_json(), BOTH.followed_by(ONE).to_json()]
            assert not worker.of(m.ProfileKnown)

    run(main())


def test_what_nobody_awaits_and_has_to_wait_is_done_as_one() -> None:
    """A processor asks as often as it likes, and the room may be slow, or away."""

    def number(of: int) -> Profile:
        return Profile(attributes={"n": str(of)})

    async def main() -> None:
        async with there() as t:
            worker, other = t.attach(0), t.attach(1)
            t.connect(2)
            await t.joined()
            t.outside.settles.clear()
            ask(worker, 1, ONE, awaited=False)
            await until(lambda: t.outside.profiles)
            for one in range(2, 60):
                ask(worker, one, number(one), awaited=False)
            await turns()
            ask(other, 1, TWO, awaited=False)
            await turns()
            ask(t, 1, ONE)
            await turns()
            ask(worker, 60, number(60), awaited=False)
            ask(worker, 61, number(61), awaited=False)
            await turns()
            t.outside.settles.set()
            assert await answers(worker, 3) == [(1, ""), (59, ""), (61, "")]
            assert await answers(other, 1) == [(1, "")]
            assert t.outside.profiles == [ONE, number(59).followed_by(TWO), ONE, number(61)]

    run(main())


def test_the_application_knows_it_before_who_has_asked_is_answered() -> None:
    """Else what was set would be lost if the I/O process died in between."""

    async def main() -> None:
        async with there() as t:
            t.connect()
            await t.joined()
            told: list[m.Message] = []
            profile = OwnProfile(t.session, told.append)
            profile.joined()
            asked = m.SetProfile(request=1, awaited=True, profile=ONE.to_json())
            profile.ask(asked, told.append)
            await until(lambda: len(told) == 2)
            assert [type(one) for one in told] == [m.ProfileKnown, m.ProfileSet]

    run(main())


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (RoomError("no", reason="profile_refused"), "profile_refused"),
        (ValueError("it does not like it"), "failed"),
    ],
)
def test_a_refusal_is_an_answer_or_an_event(
    refusal: Exception, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with there() as t:
            t.connect()
            await t.joined()
            t.outside.refuses = refusal
            ask(t, 1, ONE)
            assert await answers(t, 1) == [(1, reason)]
            ask(t, 2, ONE, awaited=False)
            (why,) = await failures(t)
            assert str(refusal) in why
            assert await answers(t, 2) == [(1, reason), (2, reason)]
            assert not t.of(m.ProfileKnown)
            t.outside.refuses = None
            ask(t, 3, TWO)
            await answers(t, 3)
            assert t.of(m.ProfileKnown)[-1].profile == TWO.to_json(), "what was refused is not kept"

    run(main())
    assert caplog.text.count("what is told of us was not changed") == 1


def test_what_has_no_room_beside_the_rest_is_not_asked() -> None:
    async def main() -> None:
        async with there() as t:
            t.connect()
            await t.joined()
            for number, key in enumerate("ab", 1):
                ask(t, number, Profile(attributes={key: "x" * 40_000}))
            await answers(t, 2)
            assert [one.error.get("type") for one in t.of(m.ProfileSet)] == [
                None,
                "ConfigurationError",
            ]
            assert len(t.outside.profiles) == 1

    run(main())


def test_in_the_next_room_it_is_told_again() -> None:
    async def main() -> None:
        async with there(reconnect=SOON) as t:
            t.connect()
            await t.joined()
            ask(t, 1, ONE)
            ask(t, 2, TWO)
            await answers(t, 2)
            t.outside.settles.clear()
            ask(t, 3, Profile(metadata="third"))  # under way as the room is lost
            await until(lambda: len(t.outside.profiles) == 3)
            second = Outside()
            Played.ready.append(second)
            t.session.ended("gone", error="gone")
            ask(t, 4, Profile(metadata="fourth"))
            await answers(t, 4)
            third, fourth = Profile(metadata="third"), Profile(metadata="fourth")
            assert second.profiles == [BOTH, third, fourth]
            assert len(t.of(m.ProfileKnown)) == 4, "what is told again is known"

    run(main())


def test_what_is_told_again_and_refused_is_an_event_and_told_in_the_room_after_that() -> None:
    async def main() -> None:
        async with there(reconnect=SOON) as t:
            t.connect()
            await t.joined()
            ask(t, 1, ONE)
            await answers(t, 1)
            for refusal in (RoomError("not here", reason="profile_refused"), None):
                outside = Outside()
                outside.refuses = refusal
                Played.ready.append(outside)
                t.session.ended("gone", error="gone")
                await until(lambda one=outside: one.profiles)
                assert outside.profiles == [ONE]
                if refusal is not None:
                    assert await failures(t) == ["not here"]

    run(main())


def test_a_room_that_is_lost_while_it_is_told_again() -> None:
    async def main() -> None:
        async with there(reconnect=SOON) as t:
            t.connect()
            await t.joined()
            ask(t, 1, ONE)
            await answers(t, 1)
            second, third = Outside(), Outside()
            second.settles.clear()
            Played.ready.append(second)
            t.session.ended("gone", error="gone")
            await until(lambda: second.profiles)
            Played.ready.append(third)
            t.session.ended("gone", error="gone")
            ask(t, 2, TWO)
            await answers(t, 2)
            assert third.profiles == [ONE, TWO]

    run(main())


def test_a_provider_that_finds_the_room_gone_is_asked_again_with_the_next() -> None:
    """It may find that before the room says so."""

    async def main() -> None:
        async with there(reconnect=SOON) as t:
            t.connect()
            await t.joined()
            t.outside.refuses = RoomError("gone", reason="disconnected")
            ask(t, 1, ONE)
            await until(lambda: t.outside.profiles)
            await turns()
            assert not t.of(m.ProfileSet)
            second = Outside()
            Played.ready.append(second)
            t.session.ended("gone", error="gone")
            assert await answers(t, 1) == [(1, "")]
            assert second.profiles == [ONE]

    run(main())


@pytest.mark.parametrize("how", ["leave", "over"])
def test_at_the_end_nothing_is_asked_any_more(how: str) -> None:
    async def main() -> None:
        async with there() as t:
            t.connect()
            await t.joined()
            t.outside.settles.clear()
            ask(t, 1, ONE)
            await until(lambda: t.outside.profiles)
            if how == "leave":
                t.session.leave()
            else:
                t.session.ended("closed")
            t.outside.settles.set()
            t.session.profile.ask(
                m.SetProfile(request=2, awaited=True, profile=TWO.to_json()), lambda _: None
            )
            await turns()
            assert t.outside.profiles == [ONE]
            assert not t.of(m.ProfileSet)
            assert not [one for one in asyncio.all_tasks() if "_serve" in repr(one.get_coro())]

    run(main())
