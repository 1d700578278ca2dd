"""Ctrl-C in the middle of a write, wherever Python looks for it: the track goes on, and the counts
are right."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from outgoing_kit import LIVE, Bench

from app_kit import interrupted
from ringroom import messages as m
from ringroom.errors import StartupError, WouldBlock
from ringroom.frames import AudioFrame, DataFrame, FileFrame, Item, TextFrame, VideoFrame
from ringroom.lanes import lane, live, memory, records, reliable, ring, statistics
from ringroom.lanes.statistics import Count, RowPool
from ringroom.sessions import outgoing, unsent
from ringroom.sessions.filling import blank
from ringroom.testing import sources

WRITING = (lane, live, memory, records, reliable, ring, statistics)
MAX_MOMENTS = 200
SIZE = (256, 192)


def say(bench: Bench, number: int) -> None:
    frame = DataFrame(str(number).encode())
    bench.outgoing.send_nowait(bench.outgoing.lane_for(frame), frame)


def write(bench: Bench, number: int) -> None:
    text = TextFrame(str(number).encode() + b" " * 100_000)
    bench.outgoing.send_nowait(bench.outgoing.lane_for(text), text)


def hand_in(bench: Bench, number: int) -> None:
    """Each is larger than the one before, and now and then a lane too small for it."""
    file = FileFrame(str(number).encode() + b" " * 100_000 * number)
    bench.outgoing.send_nowait(bench.outgoing.lane_for(file), file)


def speak(bench: Bench, number: int) -> None:
    frame = AudioFrame(np.full(1_600, number, np.int16), 16_000)
    bench.outgoing.send_nowait(bench.outgoing.lane_for(frame), frame)


def show(bench: Bench, number: int) -> None:
    frame = sources.picture(number, *SIZE)
    bench.outgoing.send_nowait(bench.outgoing.lane_for(frame), frame)


def fill(bench: Bench, number: int) -> None:
    form = blank(*SIZE, None)
    filling = bench.outgoing.fill(bench.outgoing.lane_for(form), form)
    try:
        filling.frame.data[:] = sources.picture(number, *SIZE).data
        whole = filling.copied()
        sent = bench.outgoing.send_filled(filling)
    finally:
        filling.end()
    if not sent:
        bench.outgoing.send_nowait(bench.outgoing.lane_for(whole), whole)


def number_of(item: Item) -> int:
    if isinstance(item, VideoFrame):
        return sources.picture_number(item)
    if isinstance(item, AudioFrame):
        return int(item.samples[0, 0])
    assert isinstance(item, DataFrame)
    return int(item.payload)


def taken(bench: Bench) -> list[int]:
    """From one lane after the other, as the I/O role does."""
    bench.received()
    found = []
    for reader in bench.readers:
        while (item := reader.receive_nowait()) is not None:
            reader.row.add(Count.DONE)
            found.append(number_of(item))
    return found


def send_all(bench: Bench, send: Callable[[Bench, int], None], numbers: range) -> list[int]:
    """What was taken of them: as soon as one has no room."""
    found: list[int] = []
    for number in numbers:
        try:
            send(bench, number)
        except WouldBlock:
            found += taken(bench)
            send(bench, number)
    return found + taken(bench)


@pytest.mark.parametrize(
    "send", [say, write, hand_in, speak, show, fill], ids=lambda send: send.__name__
)
@pytest.mark.parametrize("before", [1, 7])
def test_a_write_that_is_interrupted_anywhere_spoils_nothing(
    send: Callable[[Bench, int], None], before: int
) -> None:
    for moment in range(1, MAX_MOMENTS):
        bench = Bench()
        try:
            found = send_all(bench, send, range(before))
            was = interrupted(lambda bench=bench: send(bench, before), moment, *WRITING)
            found += send_all(bench, send, range(before + 1, before + 12))
            assert found in (
                [*range(before + 12)],
                [*range(before), *range(before + 1, before + 12)],
            ), moment
            for reader in bench.readers:
                assert reader.row.snapshot().in_flight in ((0, 1) if was else (0,)), moment
        finally:
            bench.close()
        if not was:
            break
    assert 10 < moment < MAX_MOMENTS - 1


def test_while_the_room_is_away_no_lane_begins_in_its_place() -> None:
    bench = Bench()
    try:
        frame = AudioFrame(np.zeros(160, np.int16), 16_000)
        outgoing = bench.outgoing
        outgoing.send_nowait(outgoing.lane_for(frame, LIVE), frame)
        bench.session.interrupted = True
        assert interrupted(
            lambda: outgoing.send_nowait(outgoing.lane_for(frame), frame), 5, *WRITING
        )
        opened = [one for one in bench.received() if isinstance(one, m.PlayoutOpen)]
        assert len(opened) == 1
        assert outgoing.lane_for(frame).writer is None
        bench.session.interrupted = False
        outgoing.restart(RowPool(bench.table, 4, 4))
        outgoing.send_nowait(outgoing.lane_for(frame), frame)
        assert outgoing.lane_for(frame).sequence == 1
    finally:
        bench.close()


@pytest.mark.parametrize("send", [say, speak], ids=lambda send: send.__name__)
def test_a_track_that_gets_no_lane_in_its_place_ends_as_its_sender_is_told(
    send: Callable[[Bench, int], None],
) -> None:
    """Else it would be published for ever: its sender does not know it any more."""
    bench = Bench(rows=1)
    try:
        send(bench, 0)
        assert interrupted(lambda: send(bench, 1), 5, *WRITING)
        with pytest.raises(StartupError, match="too many tracks"):
            send(bench, 2)
        opened, *rest = bench.received()
        assert isinstance(opened, m.PlayoutOpen)
        assert rest == [m.PlayoutClose(lane=opened.lane)]
        bench.tell(m.RowFree(row=0))
        send(bench, 3)
        assert taken(bench)[-1] == 3
    finally:
        bench.close()


def test_a_lane_in_its_place_is_told_to_calls_that_wait_for_room_in_the_one_before() -> None:
    bench = Bench()
    try:
        frame = AudioFrame(np.zeros(1_600, np.int16), 16_000)
        lane = bench.outgoing.lane_for(frame)
        lane.unsent.put(*[frame] * 100)
        with pytest.raises(WouldBlock):
            bench.outgoing.write_unsent(lane)
        told: list[int] = []
        bench.session.listeners.add(lambda: told.append(bench.outgoing.freed_fileno(lane)))
        assert interrupted(lambda: bench.outgoing.push_unsent(lane), 3, *WRITING)
        assert told == [bench.outgoing.freed_fileno(lane)]
    finally:
        bench.close()


def test_what_is_unsent_is_written_once_at_most() -> None:
    """As that which a wait for the playout has put there, whose rest the next call writes."""
    for moment in range(1, MAX_MOMENTS):
        bench = Bench()
        try:
            speak(bench, 0)
            lane = bench.outgoing.lane_for(AudioFrame(np.zeros(160, np.int16), 16_000))
            pieces = [AudioFrame(np.full(160, number, np.int16), 16_000) for number in (1, 2, 3)]
            lane.unsent.put(*pieces)
            was = interrupted(
                lambda bench=bench, lane=lane: bench.outgoing.push_unsent(lane),
                moment,
                outgoing,
                unsent,
                *WRITING,
            )
            bench.outgoing.write_unsent(lane)
            speak(bench, 4)
            assert taken(bench) in ([0, 1, 2, 3, 4], [0, 2, 3, 4]), moment
        finally:
            bench.close()
        if not was:
            break
    assert 10 < moment < MAX_MOMENTS - 1
