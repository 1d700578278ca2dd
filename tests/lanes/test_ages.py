"""How old frames of a live lane were when they were taken: counted where no death can take it."""

from __future__ import annotations

from lane_kit import Clock, audio, live_lane

from ringroom.lanes.ring import Geometry
from ringroom.lanes.statistics import LaneCounts


def test_ages_of_taken_frames_are_counted_and_those_of_stale_ones_are_not() -> None:
    clock = Clock()
    writer, reader, row = live_lane(Geometry(1 << 16), clock)
    writer.send(audio(320), clock.now)
    clock.pass_ms(5)
    writer.send(audio(320), clock.now)
    clock.pass_ms(10)
    assert reader.receive_nowait() is not None
    assert reader.receive_nowait() is not None
    assert row.snapshot().waited_ns == 25_000_000
    assert row.snapshot().oldest_ns == 15_000_000
    writer.send(audio(320), clock.now)
    clock.pass_ms(1_000)
    assert reader.receive_nowait() is None
    assert row.snapshot().dropped_stale == 1
    assert row.snapshot().oldest_ns == 15_000_000
    reader.close()
    writer.close()


def test_the_oldest_of_two_lanes_is_the_older_one() -> None:
    total = LaneCounts(waited_ns=5, oldest_ns=4) + LaneCounts(waited_ns=3, oldest_ns=2)
    assert (total.waited_ns, total.oldest_ns) == (8, 4)
