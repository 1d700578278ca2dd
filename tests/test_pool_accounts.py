"""Every frame is accounted for, also when a pool stops in the middle of a conversation."""

from __future__ import annotations

import time

import ringroom
from ringroom.testing import FakeRoom


def slow(frame: ringroom.AudioFrame) -> ringroom.AudioFrame:
    time.sleep(0.005)
    return frame


def test_a_pool_that_stops_in_mid_sentence_accounts_for_every_frame() -> None:
    with FakeRoom() as room, ringroom.Pool(slow, "fake", room=room, workers=2) as pool:
        for identity in ("ann", "bob"):
            room.join(identity).publish_audio().tone(seconds=20)
        room.wait_for_audio("ann/mic", 0.5)
        pool.drain()
        statistics = pool.stats()
    assert statistics.received.sent > 20
    assert [lane.counts.in_flight for lane in statistics.lanes] == [0] * len(statistics.lanes)
