"""Who speaks, as a session in the I/O role tells its readers."""

from __future__ import annotations

from typing import Any

from io_kit import ANN, run, until
from rooms_kit import hear, there, track

from ringroom.events import Event, EventKind

LOUD = 9_000


def speakers(end: Any) -> list[tuple[str, ...]]:
    events = [one for one in end.items() if isinstance(one, Event)]
    return [one.speakers for one in events if one.kind is EventKind.ACTIVE_SPEAKERS]


def test_a_worker_that_takes_the_place_of_a_dead_one_is_told_who_speaks() -> None:
    async def main() -> None:
        async with there(active_speakers=True) as t:
            t.connect(readers=1)
            old = t.attach(0)
            await t.joined()
            mic = t.sink.open_track(track("T1"), ANN)
            told: list[tuple[str, ...]] = []

            def speaks() -> bool:
                hear(mic, LOUD)
                told.extend(speakers(old))
                return bool(told)

            await until(speaks)
            assert told == [("ann",)]
            old.link.close()
            new = t.attach(0)
            told.clear()
            await until(lambda: told.extend(speakers(new)) or told)
            assert told[0] == ("ann",)

    run(main())


def test_of_a_recording_nobody_is_told_what_was_so_then() -> None:
    async def main() -> None:
        async with there() as t:
            t.connect()
            await t.joined()
            t.sink.event(Event(kind=EventKind.ACTIVE_SPEAKERS, speakers=("ann",)))
            t.sink.event(Event(kind=EventKind.PARTICIPANT_JOINED, participant=ANN))
            kinds: list[EventKind] = []

            def told() -> bool:
                kinds.extend(one.kind for one in t.items() if isinstance(one, Event))
                return EventKind.PARTICIPANT_JOINED in kinds

            await until(told)
            assert EventKind.ACTIVE_SPEAKERS not in kinds

    run(main())
