"""Who is in the room, told to whoever asks: at once, or when the room is back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from io_kit import Outside, run, turns, until
from rooms_kit import Played, there

from ringroom import messages as m
from ringroom.events import Event, EventKind, Participant
from ringroom.lanes.records import participant_from_json
from ringroom.message_codec import encode
from ringroom.messages import MAX_MESSAGE_BYTES
from ringroom.options import Reconnect
from ringroom.processes.io import presence
from ringroom.processes.io.admission import MAX_METADATA, bounded
from ringroom.processes.io.roll_call import RollCall, parts

SOON = Reconnect(backoff=0.01, longest=0.02)
ANN = Participant(identity="ann", metadata="m", kind="agent")
BEN = Participant(identity="ben", kind="standard")


def ask(end: Any, number: int, *, waits: bool = True) -> None:
    end.link.send(m.AskPeople(request=number, waits=waits))


def come(outside: Outside, *people: Participant) -> None:
    for who in people:
        outside.sink.event(Event(kind=EventKind.PARTICIPANT_JOINED, participant=who))


def happens(outside: Outside, kind: EventKind, who: Participant | None = None) -> None:
    outside.sink.event(Event(kind=kind, participant=who))


async def answers(end: Any, count: int) -> list[tuple[int, list[str] | None]]:
    """The requests that were answered, and who was told; None: the room is away."""
    await until(lambda: len([one for one in end.of(m.People) if one.last]) >= count)
    found: list[tuple[int, list[str] | None]] = []
    told: list[str] = []
    for part in end.of(m.People):
        told += part.people
        if part.last:
            found.append((part.request, None if part.away else told))
            told = []
    return found


def test_whoever_asks_is_told_as_it_is_now() -> None:
    async def main() -> None:
        async with there(kinds=()) as t:
            worker = t.attach(0)
            t.connect(1)
            await t.joined()
            ask(t, 1)
            assert await answers(t, 1) == [(1, [])]
            come(t.outside, ANN, BEN)
            ask(worker, 7, waits=False)
            assert await answers(worker, 1) == [(7, ["ann", "ben"])]
            [part] = worker.of(m.People)
            assert participant_from_json(part.people["ann"]) == ANN
            happens(t.outside, EventKind.PARTICIPANT_LEFT, ANN)
            happens(t.outside, EventKind.PARTICIPANT_CHANGED, Participant(identity="ben", name="B"))
            ask(t, 2)
            assert await answers(t, 2) == [(1, []), (2, ["ben"])]
            assert t.of(m.People)[-1].people["ben"]["name"] == "B"
            assert len(worker.of(m.People)) == 1, "each is told for itself"

    run(main())


def test_before_the_room_is_joined_the_application_waits_and_a_worker_is_told_so() -> None:
    async def main() -> None:
        async with there() as t:
            worker = t.attach(0)
            ask(t, 1)
            ask(worker, 1, waits=False)
            assert await answers(worker, 1) == [(1, None)]
            assert not t.of(m.People)
            t.connect(1)
            await t.joined()
            assert await answers(t, 1) == [(1, [])]

    run(main())


@pytest.mark.parametrize("again", [True, False], ids=["it heals", "another stay"])
def test_while_the_room_is_away(again: bool) -> None:
    """Who is there when it is back is told, in the turn of the loop in which the provider says
    so."""

    async def main() -> None:
        async with there(reconnect=SOON) as t:
            worker = t.attach(0)
            t.connect(1)
            await t.joined()
            come(t.outside, ANN)
            happens(t.outside, EventKind.CONNECTION_LOST)
            for number in (1, 2, 3):
                ask(t, number)
            ask(worker, 1, waits=False)
            assert await answers(worker, 1) == [(1, None)]
            await turns()
            assert not t.of(m.People)
            if again:
                happens(t.outside, EventKind.CONNECTION_BACK)
                come(t.outside, BEN)
                assert await answers(t, 1) == [(3, ["ann", "ben"])]
            else:
                second = Outside()
                Played.ready.append(second)
                t.outside.sink.ended("lost", error="for good")
                await until(lambda: len(t.of(m.Connected)) == 2)
                assert await answers(t, 1) == [(3, [])]
            ask(worker, 2, waits=False)
            assert (await answers(worker, 2))[1][1] is not None

    run(main())


def test_after_the_end_nobody_is_told() -> None:
    async def main() -> None:
        async with there() as t:
            worker = t.attach(0)
            t.connect(1)
            await t.joined()
            t.outside.sink.ended("closed")
            ask(t, 1)
            ask(worker, 1, waits=False)
            assert await answers(worker, 1) == [(1, None)]
            assert [type(one) for one in worker.of(m.Ended, m.People)] == [m.Ended, m.People]
            assert not t.of(m.People)

    run(main())


def test_a_long_list_leaves_the_loop_to_others() -> None:
    """Between two of its parts the loop has a turn; who asks meanwhile is told as of then."""
    people = [Participant(identity=str(number), metadata="m" * 60_000) for number in range(9)]

    async def main() -> None:
        told: list[m.Message] = []
        roll = RollCall(lambda: tuple(people))
        roll.joined()
        roll.ask(m.AskPeople(request=1, waits=True), told.append)
        for _ in range(100):
            if len(told) == 2:
                break
            before = len(told)
            await asyncio.sleep(0)
            assert len(told) <= before + 1
        roll.ask(m.AskPeople(request=2, waits=True), told.append)
        people.append(Participant(identity="late"))
        while not (isinstance(told[-1], m.People) and told[-1].request == 2 and told[-1].last):
            await asyncio.sleep(0)
        by_request: dict[int, list[str]] = {1: [], 2: []}
        for one in told:
            assert isinstance(one, m.People)
            by_request[one.request] += one.people
        assert by_request == {1: [str(n) for n in range(9)], 2: [*map(str, range(9)), "late"]}
        assert [one.request for one in told] == sorted(one.request for one in told)  # type: ignore[attr-defined]

    asyncio.run(main())


def test_what_is_under_way_as_the_session_ends_is_given_up() -> None:
    people = [Participant(identity=str(number), metadata="m" * 60_000) for number in range(9)]

    async def main() -> None:
        told: list[m.Message] = []
        roll = RollCall(lambda: tuple(people))
        roll.joined()
        roll.ask(m.AskPeople(request=1, waits=True), told.append)
        while not told:
            await asyncio.sleep(0)
        roll.close()
        count = len(told)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(told) == count
        assert roll._task is None

    asyncio.run(main())


# However much they tell of themselves.


def test_a_room_of_a_thousand_who_tell_much() -> None:
    """No part comes near the longest message, whatever is written into it, and all come."""
    worst = "\U0001f600"  # twelve bytes of JSON for one character
    much = bounded(
        Participant(
            identity="x" * 1_024,
            sid=worst * 256,
            name=worst * 256,
            metadata=worst * MAX_METADATA,
            attributes={"": worst * MAX_METADATA},
            kind=worst * 256,
        )
    )
    assert len(much.metadata) == MAX_METADATA
    noted = presence.Presence()
    for number in range(1_000):
        who = Participant(
            identity=str(number), metadata=much.metadata, attributes=much.attributes, name=much.name
        )
        noted.note(Event(kind=EventKind.PARTICIPANT_JOINED, participant=who))
    noted.note(Event(kind=EventKind.PARTICIPANT_JOINED, participant=much))
    found: list[str] = []
    lasts: list[bool] = []
    longest = 0
    for part, last in parts(noted.people):
        found += part
        lasts.append(last)
        message = m.People(request=1, people=part, last=last, away=False)
        longest = max(longest, len(encode(message)))
    assert found == [*map(str, range(1_000)), much.identity]
    assert lasts == [False] * (len(lasts) - 1) + [True]
    assert longest < MAX_MESSAGE_BYTES // 4


def test_ten_thousand_who_tell_nothing() -> None:
    people = [Participant(identity=f"p{number}") for number in range(presence.MAX_NOTED)]
    found = list(parts(people))
    assert [who for part, _ in found for who in part] == [who.identity for who in people]
    assert len(found) > 5
