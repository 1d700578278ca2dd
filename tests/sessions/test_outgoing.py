"""The writing side, against a link and lanes that the test reads."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app_kit import RATE, noise, same, sound
from ringroom import messages as m
from ringroom.errors import BusyError, FrameError, RoomError, StartupError, WouldBlock
from ringroom.frames import AudioFrame, DataFrame, Kind, Samples, TrackInfo, VideoFrame
from ringroom.lanes.lane import LaneDescriptors
from ringroom.lanes.memory import Segment
from ringroom.lanes.reliable import ReliableReader
from ringroom.lanes.statistics import Count, RowPool, StatisticsTable
from ringroom.link import open_links
from ringroom.options import PublishOptions, SessionOptions
from ringroom.resampling import TrackResampler
from ringroom.sessions.outgoing import Outgoing
from ringroom.sessions.session import Session
from ringroom.testing import faults, sources

LIVE = PublishOptions(mode="live")


class Bench:
    """An `Outgoing`, and the far end of its link."""

    def __init__(self, rows: int = 8) -> None:
        ours, self.link = open_links()
        self.table = StatisticsTable.create()
        self.now = 10**9
        self.session = Session(ours, self.table, SessionOptions(), lambda: self.now)
        self.outgoing = Outgoing(self.session, RowPool(self.table, 0, rows))
        self.readers: list[ReliableReader] = []

    def received(self) -> list[m.Message]:
        found = []
        while (received := self.link.receive_nowait()) is not None:
            message, descriptors = received
            found.append(message)
            if isinstance(message, m.PlayoutOpen) and not message.live:
                row = self.table.row(message.row)
                self.readers.append(ReliableReader(LaneDescriptors.from_flat(descriptors), row))
            else:
                for fd in descriptors:
                    os.close(fd)
        return found

    def tell(self, message: m.Message) -> None:
        self.link.send(message)
        self.session.pump()

    def close(self) -> None:
        self.outgoing.close()
        self.outgoing.close()
        self.session.close()
        for reader in self.readers:
            reader.close()
        self.readers.clear()  # pytest keeps the fixture's value a little longer
        self.link.close()
        self.table.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def push(bench: Bench, frame: AudioFrame | DataFrame) -> None:
    lane = bench.outgoing.lane_for(frame)
    lane.unsent.put(frame)
    bench.outgoing.write_unsent(lane)


def heard(bench: Bench) -> Samples:
    """All that the first track has taken since the last look, read."""
    bench.received()
    taken = iter(bench.readers[0].receive_nowait, None)
    parts = [frame.samples for frame in taken if isinstance(frame, AudioFrame)]
    return np.concatenate(parts or [np.empty((0, 1), np.int16)])[:, 0]


def test_the_first_frame_opens_the_track_in_its_form(bench: Bench) -> None:
    push(bench, AudioFrame(noise(0.02, channels=2, rate=48_000), 48_000))
    push(bench, AudioFrame(noise(0.02, rate=8_000), 8_000))
    (opened,) = bench.received()
    assert isinstance(opened, m.PlayoutOpen)
    assert (opened.name, opened.sample_rate, opened.channels) == ("audio", 48_000, 2)
    item = bench.readers[0].receive_nowait()
    assert isinstance(item, AudioFrame)
    assert (item.sample_rate, item.channels) == (48_000, 2)


def test_names(bench: Bench) -> None:
    track = TrackInfo(sid="TR", name="", kind=Kind.AUDIO, participant="alice")
    name = bench.outgoing.track_name
    assert name(sound(0.02)) == "audio"
    assert name(sound(0.02, track="x")) == "x"
    assert name(sound(0.02, track=track)) == "alice/TR"
    assert name(sources.picture(0, 64, 64)) == "video"
    assert name(DataFrame(b"x")) == ""
    with pytest.raises(FrameError, match="cannot send a str"):
        name("x")  # type: ignore[arg-type]


def test_long_sound_goes_in_pieces_and_nothing_is_missing(bench: Bench) -> None:
    frame = sound(0.55)
    push(bench, frame)
    bench.received()
    pieces = [piece.samples for piece in iter(bench.readers[0].receive_nowait, None)]  # type: ignore[union-attr]
    assert [len(samples) for samples in pieces] == [1_600] * 5 + [800]
    assert same(np.concatenate(pieces), frame.samples)


def test_unsent_goes_in_as_far_as_there_is_room(bench: Bench) -> None:
    frame = sound(30.0)
    lane = bench.outgoing.lane_for(frame)
    lane.unsent.put(frame)
    while (written := bench.outgoing.push_unsent(lane)) is not None:
        assert not written, "a piece at a time"
    written = lane.sequence
    assert written + len(lane.unsent) == 300
    with pytest.raises(WouldBlock):
        bench.outgoing.push_nowait(lane, sound(0.1))
    assert bench.outgoing.forget_unsent(lane) == pytest.approx(30 - written / 10)
    assert bench.outgoing.push_unsent(lane)
    assert lane.sequence == written


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [RATE, 48_000])
@pytest.mark.parametrize("seconds", [0.02, 0.1, 0.55, 1.9])
def test_of_what_is_refused_nothing_was_taken(
    bench: Bench, channels: int, rate: int, seconds: float
) -> None:
    """Neither by the lane nor by the resampler: tried again, each sample is heard once."""
    lane = bench.outgoing.lane_for(AudioFrame(noise(0.02, channels=channels), RATE))
    sent = [np.full(int(seconds * rate), level, np.int16) for level in range(1_000, 30_000, 1_000)]
    parts, refused = [], 0
    for samples in sent:
        while True:
            before = lane.sequence
            try:
                bench.outgoing.send_nowait(lane, AudioFrame(samples, rate))
                break
            except WouldBlock:
                refused += 1
                assert lane.sequence == before
                assert not lane.unsent
                if refused % 3 == 0:  # so that it is refused again and again
                    parts.append(heard(bench))
    lane.unsent.put(*bench.outgoing.tail(lane))
    bench.outgoing.write_unsent(lane)
    got = np.concatenate([*parts, heard(bench)])
    assert refused >= 3 or seconds < 0.1
    assert len(got) == pytest.approx(len(sent) * seconds * RATE, abs=1)
    expected = np.concatenate(sent)[:: rate // RATE]
    # The filter rounds off the steps from one frame to the next.
    assert np.mean(np.abs(got - expected[: len(got)].astype(int)) < 40) > 0.9


@pytest.mark.parametrize("kind", [Kind.DATA, Kind.VIDEO])
def test_a_message_or_a_picture_that_is_refused_is_tried_again_and_sent_once(
    bench: Bench, kind: Kind
) -> None:
    made = (
        [DataFrame(bytes([number]) * 60_000) for number in range(40)]
        if kind is Kind.DATA
        else [sources.picture(number, 640, 480) for number in range(40)]
    )
    lane = bench.outgoing.lane_for(made[0])
    bench.received()
    got: list[bytes] = []

    def drain() -> None:
        while (item := bench.readers[0].receive_nowait()) is not None:
            assert isinstance(item, (DataFrame, VideoFrame))
            got.append(item.payload if isinstance(item, DataFrame) else item.data.tobytes())

    refused = 0
    for frame in made:
        while True:
            before = lane.sequence
            try:
                bench.outgoing.send_nowait(lane, frame)
                break
            except WouldBlock:
                refused += 1
                assert lane.sequence == before
                assert not lane.unsent
                drain()
    drain()
    assert refused >= 2
    assert got == [
        frame.payload if isinstance(frame, DataFrame) else frame.data.tobytes() for frame in made
    ]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [RATE, 48_000])
def test_what_just_fits_is_taken_and_one_step_more_is_not_begun(
    bench: Bench, rate: int, channels: int
) -> None:
    """Records have headers: short pieces may be more header than sound."""
    form = AudioFrame(np.zeros((10, channels), np.int16), RATE)
    lane = bench.outgoing.lane_for(form)
    reference, sent, got = TrackResampler(RATE, channels), [], []
    spoken = noise(2.5, 1, channels, rate)
    bench.received()
    for taken in (0, 4, 9, 14):
        got += read(bench, taken)
        for samples in range(len(spoken), 0, -23):
            frame = AudioFrame(spoken[:samples], rate)
            before = lane.sequence
            try:
                bench.outgoing.send_nowait(lane, frame)
            except WouldBlock:
                assert lane.sequence == before
                assert not lane.unsent
            else:
                sent.append(reference.convert(frame))
    got += read(bench)
    assert close_to(got, sent)


_NOISE = noise(6.0, channels=2)
_RATES = st.sampled_from([8_000, 11_025, RATE, 44_100, 48_000])


@settings(max_examples=60, deadline=None)
@given(
    rate=_RATES,
    channels=st.integers(1, 2),
    steps=st.lists(
        st.tuples(
            _RATES,
            st.integers(1, 2),
            st.one_of(st.sampled_from([1, 3, 160, 800]), st.integers(1, 90_000)),
            st.integers(0, 12),
        ),
        min_size=20,
        max_size=40,
    ),
)
def test_what_does_not_wait_is_heard_whole_or_not_at_all(
    rate: int, channels: int, steps: list[tuple[int, int, int, int]]
) -> None:
    with contextlib.closing(Bench()) as bench:
        lane = bench.outgoing.lane_for(AudioFrame(np.zeros((10, channels), np.int16), rate))
        reference, sent, got = TrackResampler(rate, channels), [], []
        bench.received()
        for seed, (theirs, there, samples, taken) in enumerate(steps):
            frame = AudioFrame(_NOISE[seed : seed + samples, :there], theirs)
            before = lane.sequence
            try:
                bench.outgoing.send_nowait(lane, frame)
            except WouldBlock:
                assert lane.sequence == before
                assert not lane.unsent
            else:
                sent.append(reference.convert(frame))
            got += read(bench, taken)
        got += read(bench)
        assert close_to(got, sent)


def read(bench: Bench, most: int | None = None) -> list[Samples]:
    """So many pieces of the first track, or all that are there."""
    found = []
    for item in itertools.islice(iter(bench.readers[0].receive_nowait, None), most):
        assert isinstance(item, AudioFrame)
        found.append(item.samples.copy())
    return found


def close_to(got: list[Samples], sent: list[Samples]) -> bool:
    """Whether it is the same sound: soxr dithers what it rounds, so the last bit may differ."""
    none = np.empty((0, got[0].shape[1] if got else 1), np.int16)
    left, right = np.concatenate([none, *got]), np.concatenate(sent or [none])
    return len(left) == len(right) and bool(np.abs(left.astype(int) - right).max(initial=0) <= 4)


def test_what_waits_for_the_answer_to_a_flush_passes_no_resampler(bench: Bench) -> None:
    lane = bench.outgoing.lane_for(sound(0.02), LIVE)
    resampler = lane.unsent.resampler
    assert resampler is not None
    request = bench.outgoing.flush(lane)
    loud = AudioFrame(np.full(4_800, 20_000, np.int16), 48_000)
    for _ in range(3):
        with pytest.raises(WouldBlock, match="flush"):
            bench.outgoing.send_nowait(lane, loud)
    assert bench.outgoing.tail(lane) == []
    bench.tell(m.Reply(request=request, value=0.0))
    bench.outgoing.send_nowait(lane, loud)
    assert len(bench.outgoing.tail(lane)) == 1
    bench.received()


def test_more_than_a_track_holds_is_refused_and_all_that_it_holds_is_taken(bench: Bench) -> None:
    lane = bench.outgoing.lane_for(sound(0.02))
    for seconds in (2.0, 0.3, 2.0):  # wherever in the ring the last has ended
        with pytest.raises(WouldBlock, match=r"no room for 3\.00 s"):
            bench.outgoing.send_nowait(lane, sound(3.0))
        bench.outgoing.send_nowait(lane, sound(seconds, 1))
        assert same(heard(bench), noise(seconds, 1)[:, 0])


def test_what_a_wait_has_left_comes_before_what_does_not_wait(bench: Bench) -> None:
    lane = bench.outgoing.lane_for(sound(0.02))
    bench.outgoing.send_nowait(lane, sound(1.9))
    lane.unsent.put(sound(0.1, 1))  # as of a `wait_playout` that was given up
    with pytest.raises(WouldBlock):  # there is room for one of them
        bench.outgoing.send_nowait(lane, sound(0.1, 2, rate=48_000))
    assert bench.outgoing.tail(lane) == []
    assert same(heard(bench)[-1_600:], noise(0.1, 1)[:, 0])
    lane.unsent.put(sound(0.1, 1))
    bench.outgoing.send_nowait(lane, sound(0.1, 2))
    assert same(heard(bench), np.concatenate([noise(0.1, 1), noise(0.1, 2)])[:, 0])


def test_requests_are_numbered_and_name_the_place_in_the_track(bench: Bench) -> None:
    push(bench, sound(0.35))
    lane = bench.outgoing.lane_for(sound(0.02))
    numbers = [bench.outgoing.flush(lane), bench.outgoing.drain(lane)]
    _, flush, drain = bench.received()
    assert flush == m.Flush(request=numbers[0], lane=lane.number, sequence=4)
    assert drain == m.Drain(request=numbers[1], lane=lane.number, sequence=4)
    assert numbers[0] != numbers[1]


def test_what_is_sent_waits_for_the_answer_to_a_flush(bench: Bench) -> None:
    frame = AudioFrame(np.ones(160, np.int16), 16_000)
    lane = bench.outgoing.lane_for(frame)
    request = bench.outgoing.flush(lane)
    with pytest.raises(WouldBlock, match="flush"):
        bench.outgoing.push_nowait(lane, frame)
    bench.tell(m.Reply(request=request, value=0.0))
    assert bench.outgoing.push_nowait(lane, frame)


def test_a_flush_forgets_what_the_resampler_holds(bench: Bench) -> None:
    push(bench, sound(0.02))
    push(bench, sound(0.02, rate=48_000))
    lane = bench.outgoing.lane_for(sound(0.02))
    bench.outgoing.flush(lane)
    assert bench.outgoing.tail(lane) == []
    push(bench, sound(0.02, rate=48_000))
    assert len(bench.outgoing.tail(lane)) == 1


def test_news_of_a_track(bench: Bench) -> None:
    push(bench, sound(0.02))
    lane = bench.outgoing.lane_for(sound(0.02))
    assert not lane.ready
    bench.tell(m.PlayoutReady(lane=lane.number))
    bench.outgoing.refresh(lane)
    assert lane.ready
    error = m.error_to_json(BusyError("somebody"))
    bench.tell(m.PlayoutFailed(lane=lane.number, error=error))
    with pytest.raises(BusyError, match="somebody"):
        bench.outgoing.refresh(lane)
    with pytest.raises(BusyError, match="somebody"):
        bench.outgoing.refresh(lane)  # who still has it is told again
    again = bench.outgoing.lane_for(sound(0.02))
    assert again is not lane
    assert again.number != lane.number
    bench.tell(m.PlayoutFailed(lane=again.number, error=error))
    with pytest.raises(BusyError, match="somebody"):
        bench.outgoing.lane_for(sound(0.02))
    assert bench.outgoing.lane_for(sound(0.02)).number > again.number


def test_rows_run_out_and_come_back() -> None:
    bench = Bench(rows=2)
    try:
        push(bench, sound(0.02, track="a"))
        push(bench, sound(0.02, track="b"))
        with pytest.raises(StartupError, match="too many tracks"):
            push(bench, sound(0.02, track="c"))
        lane = bench.outgoing.find("a")
        assert lane is not None
        assert lane.row is not None
        bench.outgoing.end(lane)
        bench.tell(m.RowFree(row=lane.row.index))
        push(bench, sound(0.02, track="c"))
        assert [lane.name for lane in bench.outgoing.lanes] == ["b", "c"]
        bench.received()
    finally:
        bench.close()


def test_a_lane_that_cannot_be_made_takes_no_row_along(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(rows=1)

    def refuse(*_: object, **__: object) -> None:
        raise StartupError("no memory")

    try:
        with monkeypatch.context() as patched:
            patched.setattr(Segment, "create", refuse)
            for _ in range(3):
                with pytest.raises(StartupError, match="no memory"):
                    push(bench, sound(0.02, track="a"))
        push(bench, sound(0.02, track="a"))
        bench.received()
    finally:
        bench.close()


def test_which_track_is_meant(bench: Bench) -> None:
    assert bench.outgoing.find(None) is None
    push(bench, sound(0.02, track="x"))
    bench.outgoing.lane_for(sources.picture(0, 64, 64))
    found = bench.outgoing.find(None)
    assert found is not None
    assert found.name == "x"
    push(bench, sound(0.02))
    push(bench, DataFrame(b"x"))
    found = bench.outgoing.find(None)
    assert found is not None
    assert found.name == "audio"
    assert [lane.name for lane in bench.outgoing.named(None)] == ["x", "video", "audio", ""]
    assert bench.outgoing.named("no") == []
    bench.received()


def test_played_is_what_was_accepted_less_what_waits(bench: Bench) -> None:
    push(bench, sound(0.02))
    lane = bench.outgoing.lane_for(sound(0.02))
    assert lane.row is not None
    assert bench.outgoing.played(lane) == 0.0
    lane.row.add(Count.PLAYED, 16_000)
    lane.row.set(Count.PLAYED_UNTIL_NS, bench.now + 250_000_000)
    assert bench.outgoing.played(lane) == pytest.approx(0.75)
    bench.now += 10**9
    assert bench.outgoing.played(lane) == pytest.approx(1.0)
    lane.row.add(Count.CLEARED, 8_000)
    assert bench.outgoing.played(lane) == pytest.approx(0.5)


def test_a_live_track_never_blocks(bench: Bench) -> None:
    frame = sound(0.1)
    lane = bench.outgoing.lane_for(frame, LIVE)
    went_in = [bench.outgoing.push_nowait(lane, frame) for _ in range(100)]
    assert went_in[0]
    assert not went_in[-1]
    bench.received()


def test_a_picture_that_grows_gets_a_larger_lane(bench: Bench) -> None:
    lane = bench.outgoing.lane_for(sources.picture(0, 64, 64))
    first = lane.number
    for side in (640, 320, 64):
        assert bench.outgoing.lane_for(sources.picture(0, side, side)) is lane
        assert lane.number == first + 1
    opened = [message.width for message in bench.received() if isinstance(message, m.PlayoutOpen)]
    assert opened == [64, 640]


def test_a_lost_link_is_told(bench: Bench) -> None:
    bench.session.fail(StartupError("gone"))
    with pytest.raises(StartupError, match="gone"):
        bench.outgoing.lane_for(sound(0.02))
    assert bench.outgoing.lanes == []


def test_tracks_go_on_in_other_lanes(bench: Bench) -> None:
    """As after the death of the I/O process."""
    lane = bench.outgoing.lane_for(sound(0.1))
    live = bench.outgoing.lane_for(sound(0.1, track="live"), LIVE)
    for _ in range(3):
        bench.outgoing.push_nowait(lane, sound(0.1))
    row, old = lane.row, lane.number
    assert row is not None
    row.add(Count.TAKEN, 2)
    row.add(Count.DONE, 1)
    row.add(Count.PLAYED, RATE // 10)
    bench.received()
    table = StatisticsTable.create()
    try:
        bench.outgoing.restart(RowPool(table, 10, 4))
        assert row.snapshot().lost == 2
        opened = [message for message in bench.received() if isinstance(message, m.PlayoutOpen)]
        assert [(o.name, o.live, o.row) for o in opened] == [
            ("audio", False, 10),
            ("live", True, 11),
        ]
        assert lane.number != old
        assert not lane.ready
        assert bench.outgoing.freed_fileno(lane) != bench.outgoing.freed_fileno(live)
        assert bench.outgoing.played(lane) == pytest.approx(0.1)
        bench.outgoing.push_nowait(lane, sound(0.1))
        assert lane.row is not None
        assert lane.row.snapshot().sent == 1
        lane.row.add(Count.PLAYED, RATE // 10)
        assert bench.outgoing.played(lane) == pytest.approx(0.2)
    finally:
        bench.outgoing.close()
        table.close()


def test_a_picture_for_which_there_is_no_larger_lane_is_told_once(bench: Bench) -> None:
    small, large = sources.picture(0, 64, 64), sources.picture(0, 640, 480)
    bench.outgoing.lane_for(small, LIVE)
    with faults.segments_refused(), pytest.raises(StartupError):
        bench.outgoing.lane_for(large)
    for picture in (small, large, small):  # the track goes on, and grows
        lane = bench.outgoing.lane_for(picture)
        assert bench.outgoing.push_nowait(lane, picture)
    opened = [one for one in bench.received() if isinstance(one, m.PlayoutOpen)]
    assert [(one.live, one.width) for one in opened] == [(True, 64), (True, 64), (True, 640)]


@pytest.mark.parametrize("where", ["_drop", "_close_writer", "_ask"])
@pytest.mark.parametrize("before", [True, False])
def test_a_track_whose_end_was_interrupted_can_be_ended(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, where: str, before: bool
) -> None:
    push(bench, sound(0.02))
    lane = bench.outgoing.find("audio")
    assert lane is not None
    step = getattr(bench.outgoing, where)

    def interrupted(*given: object) -> None:
        if not before:
            step(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(bench.outgoing, where, interrupted)
        with pytest.raises(KeyboardInterrupt):
            bench.outgoing.end(lane)
    assert bench.outgoing.find("audio") is lane
    request = bench.outgoing.end(lane)
    told = bench.received()
    assert m.PlayoutClose(lane=lane.number) in told
    assert m.Drain(request=request, lane=lane.number, sequence=1) in told
    bench.tell(m.Reply(request=request, value=0.0))
    assert bench.outgoing.find("audio") is None
    assert lane.writer is not None
    assert lane.writer.freed_fileno() == -1, "its descriptors are closed"


@pytest.mark.parametrize("how", ["by the server", "by an end that was interrupted"])
def test_what_a_track_has_played_is_its_own_once_its_row_serves_another(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The row comes back, and nobody may have looked at the first track since."""
    push(bench, sound(0.1, track="a"))
    over = bench.outgoing.find("a")
    assert over is not None
    assert over.row is not None
    over.row.add(Count.PLAYED, RATE // 10)
    if how == "by the server":
        gone = RoomError("it is over", reason="publish_refused")
        bench.tell(m.PlayoutFailed(lane=over.number, error=m.error_to_json(gone)))
    else:
        with monkeypatch.context() as patched:
            patched.setattr(bench.outgoing, "_ask", _interrupt)
            with pytest.raises(KeyboardInterrupt):
                bench.outgoing.end(over)
    bench.tell(m.RowFree(row=over.row.index))
    push(bench, sound(0.1, track="b"))
    other = bench.outgoing.find("b")
    assert other is not None
    assert other.row is not None
    assert [one.row for one in bench.received() if isinstance(one, m.PlayoutOpen)] == [
        other.row.index
    ] * 2, "it is the same row"
    other.row.add(Count.PLAYED, RATE)
    assert bench.outgoing.find("a") is over
    assert bench.outgoing.played(over) == pytest.approx(0.1)
    assert bench.outgoing.played(other) == pytest.approx(1.0)
    assert over.writer is None
    if how == "by the server":
        with pytest.raises(RoomError, match="it is over"):
            bench.outgoing.lane_for(sound(0.1, track="a"))
        assert bench.outgoing.find("a") is None


def test_closing_closes_what_is_ending(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    push(bench, sound(0.02))
    lane = bench.outgoing.find("audio")
    assert lane is not None
    with monkeypatch.context() as patched:
        patched.setattr(bench.outgoing, "_close_writer", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            bench.outgoing.end(lane)
    bench.outgoing.close()
    assert lane.writer is not None
    assert lane.writer.freed_fileno() == -1
    bench.received()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("size", [(1440, 900), (198, 148), (202, 358), (1280, 720)])
def test_pictures_of_one_size_stay_in_one_lane(bench: Bench, size: tuple[int, int]) -> None:
    for number in range(5):
        push(bench, sources.picture(number, *size))
    opened = [message for message in bench.received() if isinstance(message, m.PlayoutOpen)]
    assert len(opened) == 1


def test_pictures_that_grow_with_each_get_few_lanes(bench: Bench) -> None:
    for side in range(64, 256, 2):
        bench.outgoing.lane_for(sources.picture(0, side, side))
    opened = [message for message in bench.received() if isinstance(message, m.PlayoutOpen)]
    assert [message.width for message in opened] == [64, 66, 92, 130, 182]
