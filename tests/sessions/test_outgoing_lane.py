"""One track of ours through all its lanes: what it has played, and how its rings are made."""

from __future__ import annotations

import pytest
from outgoing_kit import Bench, push

from app_kit import sound
from ringroom.checks import MAX_DATA_TRACK_BYTES
from ringroom.events import Kind
from ringroom.frames import DataTrackFrame
from ringroom.lanes.statistics import Count, RowPool, StatisticsTable
from ringroom.link import open_links
from ringroom.options import PublishOptions
from ringroom.sessions.outgoing import Outgoing
from ringroom.sessions.outgoing_lane import OutgoingLane


def test_played_is_what_was_accepted_less_what_waits(bench: Bench) -> None:
    push(bench, sound(0.02))
    lane = bench.outgoing.lane_for(sound(0.02))
    assert lane.row is not None
    assert lane.played() == 0.0
    lane.row.add(Count.PLAYED, 16_000)
    lane.row.set(Count.PLAYED_UNTIL_NS, bench.now + 250_000_000)
    assert lane.played() == pytest.approx(0.75)
    lane.row.add(Count.CLEARED, 2_400)  # a flush, half of it written
    assert lane.played() == pytest.approx(0.75), "it never falls"
    lane.row.set(Count.PLAYED_UNTIL_NS, bench.now + 100_000_000)
    assert lane.played() == pytest.approx(0.75)
    bench.now += 10**9
    assert lane.played() == pytest.approx(0.85)


def test_what_the_source_had_left_when_the_io_process_died_is_never_played(bench: Bench) -> None:
    bench.session.outlive_links()
    lane = bench.outgoing.lane_for(sound(0.1))
    assert lane.row is not None
    lane.row.add(Count.PLAYED, 3_200)
    lane.row.set(Count.PLAYED_UNTIL_NS, bench.now + 150_000_000)
    bench.received()
    bench.link.close()
    bench.session.pump()
    bench.now += 10**9
    assert lane.played() == pytest.approx(0.05)
    ours, bench.link = open_links()
    table = StatisticsTable.create()
    bench.session.restart(ours, table)
    bench.now += 10**9
    bench.outgoing.restart(RowPool(table, 10, 4))
    assert lane.played() == pytest.approx(0.05)
    lane.row.add(Count.PLAYED, 1_600)
    lane.row.set(Count.PLAYED_UNTIL_NS, bench.now + 100_000_000)
    bench.now += 75_000_000
    assert lane.played() == pytest.approx(0.125), "and the next counts by the clock"
    bench.received()
    table.close()


def test_a_death_that_was_told_before_the_link_has_ended(bench: Bench) -> None:
    """As a worker is told: by the application, which has another link for it."""
    lane = bench.outgoing.lane_for(sound(0.1))
    assert lane.row is not None
    lane.row.add(Count.PLAYED, 3_200)
    lane.row.set(Count.PLAYED_UNTIL_NS, bench.now + 150_000_000)
    bench.received()
    bench.link.close()
    ours, bench.link = open_links()
    table = StatisticsTable.create()
    bench.session.restart(ours, table)
    bench.now += 10**9
    bench.outgoing.restart(RowPool(table, 10, 4))
    assert lane.played() == pytest.approx(0.05)
    bench.received()
    table.close()


def test_a_loss_before_there_were_tracks_stops_no_clock(bench: Bench) -> None:
    ours, link = open_links()
    bench.session.restart(ours, bench.table)
    bench.link.close()
    bench.link = link
    bench.outgoing = Outgoing(bench.session, RowPool(bench.table, 0, 4))
    lane = bench.outgoing.lane_for(sound(0.1))
    assert lane.row is not None
    bench.now += 10**9
    lane.row.add(Count.PLAYED, 1_600)
    lane.row.set(Count.PLAYED_UNTIL_NS, bench.now)
    assert lane.played() == pytest.approx(0.1)
    bench.received()


def test_a_data_track_is_live_whatever_its_options_say_and_its_ring_grows() -> None:
    lane = OutgoingLane("lidar", Kind.DATA_TRACK, PublishOptions(mode="speech"), lambda: 0)
    frame = DataTrackFrame(b"x")
    lane.form(frame)
    assert lane.opened is not None
    assert (lane.opened.live, lane.opened.kind) == (True, "data_track")
    for size, fits in ((1 << 17, True), ((1 << 17) + 1, False)):
        assert lane.takes(DataTrackFrame(bytes(size))) is fits
    lane.form(DataTrackFrame(bytes(200_000)))
    assert lane.takes(DataTrackFrame(bytes(1 << 18)))
    lane.form(DataTrackFrame(bytes(MAX_DATA_TRACK_BYTES)))
    assert lane.takes(DataTrackFrame(bytes(MAX_DATA_TRACK_BYTES)))
