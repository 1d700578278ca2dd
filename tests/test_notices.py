"""Trouble that repeats is told once a minute."""

from __future__ import annotations

import logging

import pytest

from ringroom.notices import EVERY_NS, LostFrames, Notices

LOG = logging.getLogger("ringroom.test")


class Clock:
    def __init__(self) -> None:
        self.now = 5

    def __call__(self) -> int:
        return self.now


def test_at_once_and_then_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    notices = Notices(LOG, clock)
    for _ in range(1000):
        notices.tell("data", "a message is left out")
    notices.tell("lane", "no lane")
    assert caplog.messages == ["a message is left out", "no lane"]
    clock.now += EVERY_NS - 1
    notices.tell("data", "again")
    clock.now += 1
    notices.tell("data", "again")
    assert caplog.messages[2:] == ["again (1000 more of this kind since it was last told)"]
    assert notices.counts == {"data": 1002, "lane": 1}
    clock.now += EVERY_NS
    notices.tell("data", "later")
    assert caplog.messages[-1] == "later"


def test_lost_frames_are_told_by_track_and_cause(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    lost = LostFrames(LOG, clock)
    lost.note("ann/mic", "too old", 3)
    assert "3 frames were dropped: 3 of 'ann/mic' too old. Their reader" in caplog.text
    for number in range(100):
        lost.note(f"p{number}/mic", "too old", 2)
        lost.note("ann/mic", "for want of room", 5)
    assert len(caplog.messages) == 1
    clock.now += EVERY_NS
    lost.note("ann/mic", "too old", 1)
    told = caplog.messages[1]
    assert told.startswith("701 frames were dropped: 500 of 'ann/mic' for want of room, 2 of")
    assert told.count(" of '") == 5
    assert "193 of other tracks" in told
    assert len(lost._lost) == 0, "what was told is forgotten"
