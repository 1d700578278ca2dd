"""Each law is broken once."""

from __future__ import annotations

import numpy as np
import pytest

from ringroom.accounts import LaneStatistics
from ringroom.frames import AudioFrame, DataFrame, Kind, TrackInfo
from ringroom.lanes.statistics import LaneCounts
from ringroom.testing.simulation.laws import Broken, Ledger, check_heard, check_lanes


def lane(**counts: int) -> LaneStatistics:
    return LaneStatistics(
        direction="in",
        kind=Kind.AUDIO,
        track="mic",
        participant="ann",
        place=0,
        counts=LaneCounts(**counts),
    )


def test_lanes_that_add_up() -> None:
    check_lanes([lane(sent=5, taken=3, done=2, dropped_full=1, lost=1, oldest_ns=200_000_000)])
    check_lanes([lane(sent=5, taken=4, done=3, dropped_stale=1, lost=1)], over=True)


@pytest.mark.parametrize(
    ("law", "counts"),
    [
        ("conservation", {"sent": 3, "taken": 3, "done": 3, "lost": 1}),
        ("conservation", {"sent": 3, "taken": 2, "done": 3}),
        ("conservation", {"sent": 3, "taken": 4, "done": 3}),
        ("age", {"sent": 3, "oldest_ns": 200_000_001}),
    ],
)
def test_lanes_that_do_not(law: str, counts: dict[str, int]) -> None:
    with pytest.raises(Broken) as broken:
        check_lanes([lane(**counts)])
    assert broken.value.law == law


def test_at_the_end_nothing_is_under_way() -> None:
    with pytest.raises(Broken, match="conservation: 1 are in flight at the end"):
        check_lanes([lane(sent=1)], over=True)


def test_frames_and_messages_have_an_order() -> None:
    track = TrackInfo(sid="TR_1", name="mic", kind=Kind.AUDIO, participant="ann")
    ledger = Ledger()

    def frame(sequence: int) -> AudioFrame:
        return AudioFrame.received(np.zeros((1, 1), np.int16), 16_000, track, (sequence, 0))

    def message(number: int) -> DataFrame:
        return DataFrame(str(number).encode(), participant="ann")

    for pool, number in ((1, 0), (1, 2), (2, 0)):
        ledger.frame(pool, frame(number))
        ledger.message(pool, message(number))
    for again in (2, 1):
        with pytest.raises(Broken, match=f"order: frame {again} of ann/mic after 2"):
            ledger.frame(1, frame(again))
        with pytest.raises(Broken, match=f"order: message {again} of ann after 2"):
            ledger.message(1, message(again))


def test_sound_is_heard_in_order() -> None:
    check_heard([1, 1, 2, 5])
    with pytest.raises(Broken, match="order: sound 1 is heard after 2"):
        check_heard([2, 1])
