"""Every frame is accounted for, also when a pool stops in the middle of a conversation."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import ringroom
from ringroom.testing import FakeRoom
from ringroom.testing.simulation.laws import check_counts


class Marking(ringroom.Processor):
    """Slow; leaves a mark for each frame."""

    def __init__(self, marks: Path) -> None:
        self._marks = marks

    def process(self, frame: Any) -> Any:
        time.sleep(0.005)
        with self._marks.open("ab") as marks:
            os.write(marks.fileno(), b".")
        return frame


def test_a_pool_that_stops_in_mid_sentence_accounts_for_every_frame(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    with FakeRoom() as room, ringroom.Pool(Marking(marks), "fake", room=room, workers=2) as pool:
        for identity in ("ann", "bob"):
            room.join(identity).publish_audio().tone(seconds=20)
        room.wait_for_audio("ann/mic", 0.5, timeout=15)
        pool.drain()
        statistics = pool.stats()
    check_counts(statistics.lanes, over=True)
    received, sent = statistics.received, statistics.sent
    processed = marks.stat().st_size
    assert received.done == processed > 20
    # Each was answered, and the answers were played out.
    assert (sent.sent, sent.done, sent.problems) == (processed, processed, 0)
    # What came while the pool stopped nobody took.
    assert received.lost == received.sent - received.dropped - processed
