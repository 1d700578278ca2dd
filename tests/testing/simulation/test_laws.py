"""Each law is broken once."""

from __future__ import annotations

import numpy as np
import pytest

from ringroom.events import Event, EventKind, Kind, TrackInfo
from ringroom.frames import AudioFrame, DataFrame
from ringroom.lanes.statistics import LaneCounts
from ringroom.sessions.accounts import LaneStatistics
from ringroom.testing.simulation.laws import (
    Broken,
    Ledger,
    check_heard,
    check_lanes,
    check_people,
    is_recovery,
)


def lane(kind: Kind = Kind.AUDIO, **counts: int) -> LaneStatistics:
    return LaneStatistics(
        direction="in",
        kind=kind,
        track="mic",
        participant="ann",
        place=0,
        counts=LaneCounts(**counts),
    )


def test_lanes_that_add_up() -> None:
    check_lanes([lane(sent=5, taken=3, done=2, dropped_full=1, lost=1, oldest_ns=200_000_000)])
    check_lanes([lane(sent=5, taken=4, done=3, dropped_stale=1, lost=1)], over=True)
    # In the middle of everything: what is taken may not be done, what is full is not taken.
    check_lanes([lane(sent=9, taken=4, done=3, dropped_full=5)])


@pytest.mark.parametrize(
    ("law", "counts"),
    [
        ("conservation", {"sent": 3, "taken": 3, "done": 3, "lost": 1}),
        ("conservation", {"sent": 3, "taken": 2, "done": 3}),
        ("conservation", {"sent": 3, "taken": 4, "done": 3}),
        ("conservation", {"sent": 3, "taken": 3, "done": 2, "dropped_full": 1}),
        ("age", {"sent": 3, "oldest_ns": 200_000_001}),
    ],
)
def test_lanes_that_do_not(law: str, counts: dict[str, int]) -> None:
    with pytest.raises(Broken) as broken:
        check_lanes([lane(**counts)])
    assert broken.value.law == law


def test_a_message_does_not_grow_too_old() -> None:
    check_lanes([lane(Kind.DATA, sent=3, dropped_full=1)])
    with pytest.raises(Broken, match="conservation: a message"):
        check_lanes([lane(Kind.DATA, sent=3, dropped_stale=1)])
    # But a call to us does, that was not read in its caller's time.
    check_lanes([lane(Kind.DATA, sent=3, dropped_stale=1)], expired=1)
    with pytest.raises(Broken, match="conservation: a message"):
        check_lanes([lane(Kind.DATA, sent=3, dropped_stale=1)] * 2, expired=1)


def test_at_the_end_nothing_is_under_way() -> None:
    with pytest.raises(Broken, match="conservation: 1 are in flight at the end"):
        check_lanes([lane(sent=1)], over=True)


def test_who_is_listed_has_come() -> None:
    came = {"ann", "ben", "cy"}
    for right in ([], ["ben"], ["ann", "ben", "cy"]):
        check_people(right, came)
    for wrong in (["app"], ["ben", "ann"], ["ann", "ann"], ["ann", "dan"]):
        with pytest.raises(Broken, match="people: listed are"):
            check_people(wrong, came)


def test_frames_and_messages_have_an_order() -> None:
    track = TrackInfo(sid="TR_1", name="mic", kind=Kind.AUDIO, participant="ann")
    ledger = Ledger()

    def frame(received_ns: int, sequence: int) -> AudioFrame:
        stamp = (sequence, received_ns)
        return AudioFrame.received(np.zeros((1, 1), np.int16), 16_000, track, stamp)

    def message(number: int) -> DataFrame:
        return DataFrame(str(number).encode(), participant="ann")

    # Several at once; and a lane that is made anew, later.
    for stamp in ((10, 0), (10, 2), (20, 0)):
        ledger.frame(frame(*stamp))
    ledger.message(message(0))
    ledger.message(message(2))
    assert not ledger.broken
    for stamp in ((20, 0), (10, 5)):
        ledger.frame(frame(*stamp))
        assert str(ledger.broken.pop()) == f"order: frame {stamp} of ann/mic after (20, 0)"
        ledger.frame(frame(20, 0))
        ledger.broken.clear()
    for again in (2, 1):
        ledger.message(message(again))
        assert str(ledger.broken.pop()) == f"order: message {again} of ann after 2"
        ledger.message(message(2))
        ledger.broken.clear()


def test_only_another_process_is_a_recovery() -> None:
    worker = Event(kind=EventKind.WORKER_REPLACED, reason="worker 0")
    ours = Event(kind=EventKind.CONNECTION_BACK, reason="another I/O process has joined the room")
    rooms = Event(kind=EventKind.CONNECTION_BACK)
    assert [is_recovery(event) for event in (worker, ours, rooms)] == [True, True, False]


def test_sound_is_heard_in_order() -> None:
    check_heard([(1, 160), (1, 160), (2, 320), (5, 10)], 320)
    with pytest.raises(Broken, match="order: sound 1 is heard after 2"):
        check_heard([(2, 160), (1, 160)], 320)


@pytest.mark.parametrize("number", [0, 1])
def test_no_sound_is_heard_twice(number: int) -> None:
    once = [(number, 160), (number, 160)]
    check_heard([*once, (2, 320)], 320)
    with pytest.raises(Broken, match=f"order: of sound {number} more is heard than the 320"):
        check_heard([*once, *once], 320)
