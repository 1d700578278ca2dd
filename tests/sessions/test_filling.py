"""Pictures that are filled where their reader finds them, against lanes that the test reads."""

from __future__ import annotations

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outgoing_kit import LIVE, Bench

from ringroom import messages as m
from ringroom.errors import BusyError, FrameError, RoomError, WouldBlock
from ringroom.frames import VideoFrame
from ringroom.lanes.statistics import RowPool
from ringroom.sessions.filling import Filling, blank
from ringroom.testing import sources

WIDTH, HEIGHT = 64, 48


def begin(bench: Bench, track: str | None = None, **options: object) -> Filling:
    form = blank(WIDTH, HEIGHT, track)
    return Filling(bench.outgoing.lane_for(form, **options), form)  # type: ignore[arg-type]


def fill(filling: Filling, number: int) -> None:
    filling.frame.data[:] = sources.picture(number, WIDTH, HEIGHT).data


def show(bench: Bench, number: int) -> None:
    frame = sources.picture(number, WIDTH, HEIGHT)
    bench.outgoing.send_nowait(bench.outgoing.lane_for(frame), frame)


def seen(bench: Bench) -> list[VideoFrame]:
    """The pictures that the tracks have taken since the last look."""
    bench.received()
    items = [item for reader in bench.readers for item in iter(reader.receive_nowait, None)]
    return [item for item in items if isinstance(item, VideoFrame)]


def numbers(bench: Bench) -> list[int]:
    return [sources.picture_number(frame) for frame in seen(bench)]


def fail(bench: Bench, filling: Filling) -> None:
    assert filling.lane is not None
    error = m.error_to_json(RoomError("no", reason="publish_refused"))
    bench.tell(m.PlayoutFailed(lane=filling.lane.number, error=error))


def test_what_was_filled_is_sent_as_it_lies(bench: Bench) -> None:
    filling = begin(bench)
    fill(filling, 3)
    assert numbers(bench) == [], "not before its end"
    filling.frame.rotation, filling.frame.timestamp_us = 90, 7
    assert filling.is_in_place
    bench.now += 5
    assert bench.outgoing.send_filled(filling)
    filling.end()
    (frame,) = seen(bench)
    assert sources.picture_number(frame) == 3
    assert (frame.rotation, frame.timestamp_us, frame.sequence) == (90, 7, 0)
    assert frame.received_ns == bench.now, "its age begins when it is sent"


def test_the_track_belongs_to_the_picture_until_its_end(bench: Bench) -> None:
    filling = begin(bench, "a")
    for name in ("a", "b"):
        frame = sources.picture(1, WIDTH, HEIGHT)
        frame.track = name
        if name == "b":
            bench.outgoing.lane_for(frame)
            continue
        with pytest.raises(BusyError, match="a picture of track 'a' is being filled"):
            bench.outgoing.lane_for(frame)
    filling.end()
    filling.end()
    begin(bench, "a")


def test_a_picture_that_was_forgotten_frees_its_track(bench: Bench) -> None:
    filling = begin(bench)
    del filling
    gc.collect()
    show(bench, 1)
    assert numbers(bench) == [1]


def test_after_its_end_the_frame_is_no_picture_any_more(bench: Bench) -> None:
    """Its memory is the reader's then (I2)."""
    filling = begin(bench)
    data, frame = filling.frame.data, filling.frame
    bench.outgoing.send_filled(filling)
    filling.end()
    with pytest.raises(ValueError, match="read-only"):
        data[:] = 1
    with pytest.raises(FrameError, match="no picture of its size"):
        bench.outgoing.lane_for(frame)


def test_without_room_a_picture_has_memory_of_its_own(bench: Bench) -> None:
    sent = 0
    while (filling := begin(bench)).is_in_place:
        fill(filling, sent)
        assert bench.outgoing.send_filled(filling)
        filling.end()
        sent += 1
    fill(filling, sent)
    assert not bench.outgoing.send_filled(filling)
    copied = filling.copied()
    filling.end()
    lane = bench.outgoing.lane_for(copied)
    with pytest.raises(WouldBlock):
        bench.outgoing.send_nowait(lane, copied)
    assert numbers(bench) == [*range(sent)]
    bench.outgoing.send_nowait(lane, copied)
    assert numbers(bench) == [sent]


def test_a_picture_does_not_overtake_what_waits(bench: Bench) -> None:
    filling = begin(bench)
    fill(filling, 2)
    assert filling.lane is not None
    filling.lane.unsent.put(sources.picture(1, WIDTH, HEIGHT))
    assert not bench.outgoing.send_filled(filling)
    copied = filling.copied()
    filling.end()
    later = begin(bench)
    assert not later.is_in_place, "nor one that is begun while something waits"
    later.end()
    bench.outgoing.write_unsent(filling.lane)
    bench.outgoing.send_nowait(filling.lane, copied)
    assert numbers(bench) == [1, 2]


@pytest.mark.parametrize("options", [{}, {"publish": LIVE}])
def test_a_track_that_goes_on_in_another_lane_gets_a_copy(
    bench: Bench, options: dict[str, object]
) -> None:
    filling = begin(bench, **options)
    fill(filling, 4)
    bench.outgoing.restart(RowPool(bench.table, 4, 4))
    assert not bench.outgoing.send_filled(filling)
    copied = filling.copied()
    filling.end()
    assert sources.picture_number(copied) == 4
    assert copied.data.flags.writeable


def test_a_track_that_has_ended_meanwhile_is_begun_anew(bench: Bench) -> None:
    """As by any picture: a processor's thread may fill one while what it answers ends."""
    filling = begin(bench)
    fill(filling, 4)
    assert filling.lane is not None
    bench.outgoing.end(filling.lane)
    assert not bench.outgoing.send_filled(filling)
    copied = filling.copied()
    filling.end()
    bench.outgoing.send_nowait(bench.outgoing.lane_for(copied), copied)
    assert numbers(bench) == [4]


def test_while_the_room_is_away_nothing_is_sent_into_a_ring_that_is_not_read(bench: Bench) -> None:
    filling = begin(bench)
    bench.session.interrupted = True
    assert not bench.outgoing.send_filled(filling)


def test_a_track_that_failed_says_so_at_the_end(bench: Bench) -> None:
    filling = begin(bench)
    fail(bench, filling)
    with pytest.raises(RoomError, match="no"):
        bench.outgoing.send_filled(filling)
    filling.end()
    show(bench, 5)
    assert numbers(bench)[-1:] == [5]


def test_other_data_is_sent_as_any_picture(bench: Bench) -> None:
    filling = begin(bench)
    other = sources.picture(6, WIDTH, HEIGHT).data
    filling.frame.data = other
    assert not bench.outgoing.send_filled(filling)
    assert filling.copied().data is other


def test_a_picture_on_another_track_is_sent_as_any(bench: Bench) -> None:
    filling = begin(bench, "a")
    filling.frame.track = "b"
    assert not bench.outgoing.send_filled(filling)
    assert filling.copied().track == "b"


def test_a_picture_that_was_spoiled_is_refused(bench: Bench) -> None:
    filling = begin(bench)
    filling.frame.rotation = 45
    with pytest.raises(FrameError, match="rotation"):
        bench.outgoing.send_filled(filling)
    filling.frame.rotation = 0
    filling.frame.width = 32
    with pytest.raises(FrameError, match="no picture of its size"):
        bench.outgoing.send_filled(filling)


def test_where_nobody_receives_it_a_picture_can_be_filled(bench: Bench) -> None:
    filling = Filling(None, blank(WIDTH, HEIGHT, None))
    fill(filling, 1)
    assert not bench.outgoing.send_filled(filling)
    assert sources.picture_number(filling.copied()) == 1
    filling.end()


@pytest.mark.parametrize("size", [(1, 48), (64, 0), (64.0, 48), (10**6, 48)])
def test_a_picture_needs_a_size(size: tuple[int, int]) -> None:
    with pytest.raises(FrameError, match=r"the (width|height) is"):
        blank(*size, None)


@given(st.lists(st.sampled_from(["fill", "send", "give up", "read"]), max_size=40))
def test_any_interleaving_gives_all_that_was_sent_in_order(steps: list[str]) -> None:
    """Filled in place or copied, for want of room or not (I11)."""
    bench = Bench()
    try:
        sent, got = 0, []
        for step in steps:
            if step == "read":
                got += numbers(bench)
                continue
            if step == "send":
                try:
                    show(bench, sent)
                except WouldBlock:
                    continue
                sent += 1
                continue
            filling = begin(bench)
            fill(filling, sent if step == "fill" else 99)
            if step == "fill":
                sent += bench.outgoing.send_filled(filling)
            filling.end()
        assert got + numbers(bench) == [*range(sent)]
    finally:
        bench.close()
