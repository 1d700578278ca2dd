"""Who speaks, worked out of sound in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import numpy as np
import pytest

from loop_kit import VirtualLoop, run_virtual
from ringroom.processes.io import speakers
from ringroom.processes.io.speakers import EVERY, LOUD, MAX_SPEAKERS, Meter, Speakers

RATE, FRAME = 16_000, 320


def frame(level: float) -> memoryview:
    """20 ms of that RMS."""
    wave = np.resize([level, -level], FRAME)
    return memoryview(np.rint(wave).astype(np.int16)).cast("B")


class Table:
    """Speakers, and what was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []
        self.speakers = Speakers(self.told.append)
        self.meters: dict[str, Meter] = {}

    def sit(self, *people: str) -> None:
        for who in people:
            self.meters[who] = self.speakers.meter(who, who)

    async def hears(self, seconds: float, **levels: float) -> None:
        for _ in range(round(seconds / 0.02)):
            for who, level in levels.items():
                self.meters[who].hear(frame(level), RATE)
            await asyncio.sleep(0.02)


def at_a_table(scenario: Callable[[Table], Coroutine[object, object, None]]) -> None:
    async def seated(_: VirtualLoop) -> None:
        table = Table()
        await scenario(table)
        table.speakers.close()
        assert len(asyncio.all_tasks()) == 1

    run_virtual(seated)


def test_who_begins_and_who_falls_silent() -> None:
    async def scenario(table: Table) -> None:
        table.sit("ann", "bob")
        await table.hears(1.0, ann=3_000, bob=5)
        assert table.told == [("ann",)]
        await table.hears(1.0, bob=3_000)
        assert table.told[1:] == [("ann", "bob"), ("bob",)]
        await table.hears(1.3)
        assert table.told[3:] == [()]

    at_a_table(scenario)


def test_the_loudest_comes_first() -> None:
    async def scenario(table: Table) -> None:
        table.sit("ann", "bob", "cid")
        await table.hears(1.0, ann=1_000, bob=9_000, cid=3_000)
        assert table.told == [("bob", "cid", "ann")]
        await table.hears(1.0, ann=20_000, bob=9_000, cid=3_000)
        assert table.told[1:] == [("ann", "bob", "cid")]

    at_a_table(scenario)


def test_who_is_hardly_louder_does_not_change_places() -> None:
    async def scenario(table: Table) -> None:
        table.sit("bob")
        await table.hears(1.0, bob=3_000)
        table.sit("ann")
        for louder in (3_100, 2_900):
            await table.hears(1.0, ann=louder, bob=3_000)
        assert table.told == [("bob",), ("bob", "ann")]

    at_a_table(scenario)


@pytest.mark.parametrize(("level", "told"), [(LOUD * 1.05, [("ann",)]), (LOUD * 0.95, [])])
def test_what_is_loud_enough(level: float, told: list[tuple[str, ...]]) -> None:
    async def scenario(table: Table) -> None:
        table.sit("ann")
        await table.hears(1.0, ann=level)
        assert table.told == told

    at_a_table(scenario)


def test_a_cough_is_no_speech_and_a_pause_no_silence() -> None:
    async def scenario(table: Table) -> None:
        table.sit("ann")
        await table.hears(0.1, ann=9_000)
        await table.hears(1.1, ann=5)
        assert not table.told
        for _ in range(4):
            await table.hears(0.5, ann=9_000)
            await table.hears(0.3, ann=5)
        assert table.told == [("ann",)]

    at_a_table(scenario)


def test_a_track_that_is_over_is_not_waited_for() -> None:
    async def scenario(table: Table) -> None:
        table.sit("ann")
        await table.hears(1.0, ann=3_000)
        table.speakers.forget("ann")
        table.speakers.forget("ann")
        await asyncio.sleep(EVERY)
        assert table.told == [("ann",), ()]
        assert table.speakers._timer is None, "an empty room is not looked at"
        table.sit("ann")
        await table.hears(0.9, ann=3_000)
        assert table.told[2:] == [("ann",)]

    at_a_table(scenario)


def test_who_has_two_tracks_is_one() -> None:
    async def scenario(table: Table) -> None:
        table.sit("bob")
        table.meters["mic"] = table.speakers.meter("mic", "ann")
        table.meters["guitar"] = table.speakers.meter("guitar", "ann")
        await table.hears(1.0, mic=50, guitar=9_000, bob=3_000)
        assert table.told == [("ann", "bob")]

    at_a_table(scenario)


def test_when_all_is_over_nobody_speaks() -> None:
    async def scenario(table: Table) -> None:
        table.sit("ann")
        await table.hears(1.0, ann=3_000)
        table.speakers.end()
        table.speakers.end()
        assert table.told == [("ann",), ()]
        await asyncio.sleep(2 * EVERY)
        assert len(table.told) == 2

    at_a_table(scenario)


def test_of_many_the_loudest_are_told() -> None:
    async def scenario(table: Table) -> None:
        people = [f"p{number}" for number in range(MAX_SPEAKERS + 5)]
        table.sit(*people)
        await table.hears(1.0, **dict.fromkeys(people, 1_000.0) | {people[-1]: 9_000.0})
        assert [len(told) for told in table.told] == [MAX_SPEAKERS]
        assert table.told[0][0] == people[-1]

    at_a_table(scenario)


def test_frames_of_any_length_and_of_two_channels() -> None:
    meter, long = Meter(), memoryview(np.full(2 * RATE, 3_000, np.int16)).cast("B")
    meter.hear(long, 2 * RATE)
    assert meter.seconds == pytest.approx(1.0)
    assert meter.energy == pytest.approx(3_000.0**2, rel=1e-3)
    meter.hear(frame(0), RATE)
    assert meter.seconds == pytest.approx(1.0)
    assert speakers.SHARE * EVERY < 0.2, "ten frames of 20 ms are enough"
