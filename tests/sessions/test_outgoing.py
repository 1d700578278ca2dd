"""The writing side, against a link and lanes that the test reads."""

from __future__ import annotations

import signal
from collections.abc import Callable

import numpy as np
import pytest
from outgoing_kit import LIVE, Bench, push

from app_kit import RATE, noise, same, sound
from ringroom import messages as m
from ringroom.checks import MAX_FILE_BYTES
from ringroom.errors import BusyError, ConfigurationError, RoomError, StartupError, WouldBlock
from ringroom.events import Kind, TrackInfo
from ringroom.frames import AudioFrame, DataFrame, FileFrame, Item, VideoFrame
from ringroom.lanes.memory import Segment
from ringroom.lanes.statistics import Count, RowPool, StatisticsTable
from ringroom.options import PublishOptions
from ringroom.sessions.outgoing_lane import OutgoingLane
from ringroom.sessions.session import Session
from ringroom.testing import faults, sources

SHARED = "screen_share_audio"


def test_the_first_frame_opens_the_track_in_its_form(bench: Bench) -> None:
    push(bench, AudioFrame(noise(0.02, channels=2, rate=48_000), 48_000))
    push(bench, AudioFrame(noise(0.02, rate=8_000), 8_000))
    (opened,) = bench.received()
    assert isinstance(opened, m.PlayoutOpen)
    assert (opened.name, opened.sample_rate, opened.channels) == ("audio", 48_000, 2)
    item = bench.readers[0].receive_nowait()
    assert isinstance(item, AudioFrame)
    assert (item.sample_rate, item.channels) == (48_000, 2)


def test_a_track_keeps_the_options_of_its_first_frame(bench: Bench) -> None:
    """Given again, or left out, they are the same; others are told, and change nothing."""
    wide = PublishOptions(audio_bitrate=96_000)
    lane = bench.outgoing.lane_for(sound(0.02), wide)
    for same_options in (None, wide, PublishOptions(audio_bitrate=96_000)):
        assert bench.outgoing.lane_for(sound(0.02), same_options, LIVE) is lane
    other = r"track 'audio' .*\(audio_bitrate is 96000, not None, dtx is False, not True\)"
    with pytest.raises(ConfigurationError, match=other):
        bench.outgoing.lane_for(sound(0.02), PublishOptions(dtx=True))
    assert bench.outgoing.lane_for(sound(0.02)) is lane
    bench.outgoing.end(lane)
    assert bench.outgoing.lane_for(sound(0.02), LIVE) is not lane


def test_a_track_that_failed_begins_with_other_options(bench: Bench) -> None:
    lane = bench.outgoing.lane_for(sound(0.02))
    bench.received()
    refused = m.error_to_json(RoomError("no", reason="publish_refused"))
    bench.tell(m.PlayoutFailed(lane=lane.number, error=refused))
    with pytest.raises(RoomError, match="no"):
        bench.outgoing.lane_for(sound(0.02), LIVE)
    assert bench.outgoing.lane_for(sound(0.02), LIVE) is not lane


def test_a_track_that_goes_on_in_another_room_keeps_its_options(bench: Bench) -> None:
    lane = bench.outgoing.lane_for(sound(0.02), LIVE)
    bench.outgoing.restart(RowPool(bench.table, 4, 4))
    assert bench.outgoing.lane_for(sound(0.02), PublishOptions(mode="live")) is lane
    with pytest.raises(ConfigurationError, match=r"\(mode is 'live', not 'speech'\)"):
        bench.outgoing.lane_for(sound(0.02), PublishOptions())


def test_a_source_that_was_inherited_is_no_other_option(bench: Bench) -> None:
    share = TrackInfo(sid="T", name="x", kind=Kind.AUDIO, participant="ann", source=SHARED)
    frame = sound(0.02).replace(track=share)
    lane = bench.outgoing.lane_for(frame, LIVE)
    for options in (LIVE, PublishOptions(mode="live", source=SHARED)):
        assert bench.outgoing.lane_for(frame, options) is lane
    with pytest.raises(ConfigurationError, match=f"source is '{SHARED}', not 'microphone'"):
        bench.outgoing.lane_for(frame, PublishOptions(mode="live", source="microphone"))


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
    assert lane.forget_unsent() == pytest.approx(30 - written / 10)
    assert bench.outgoing.push_unsent(lane)
    assert lane.sequence == written


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
    request = bench.outgoing.flush(lane)
    assert lane.tail() == []
    bench.tell(m.Reply(request=request, value=0.0))
    push(bench, sound(0.02, rate=48_000))
    assert len(lane.tail()) == 1


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


def messages_of(bench: Bench) -> list[Item]:
    """What was written, from one lane after the other."""
    bench.received()
    items = (reader.receive_nowait for reader in bench.readers)
    return [item for receive in items for item in iter(receive, None)]


def test_a_file_that_is_too_large_gets_a_lane_in_which_all_goes_on(bench: Bench) -> None:
    frames = [
        DataFrame(b"before"),
        FileFrame(bytes(1 << 20)),
        DataFrame(b"between"),
        FileFrame(bytes(3 << 20)),
        FileFrame(bytes(2 << 20)),
        DataFrame(b"after"),
    ]
    numbers = []
    for frame in frames:
        push(bench, frame)
        numbers.append(bench.outgoing.lane_for(DataFrame(b"")).number)
    assert numbers == [1, 2, 2, 3, 3, 3]
    told = bench.received()
    assert [one.lane for one in told if isinstance(one, m.PlayoutOpen)] == [1, 2, 3]
    assert not [one for one in told if isinstance(one, m.PlayoutClose)], "its messages go on"
    assert [one.payload for one in messages_of(bench) if isinstance(one, DataFrame)] == [
        frame.payload for frame in frames
    ]


def test_a_lane_is_no_larger_than_the_largest_file_needs(bench: Bench) -> None:
    for mib in (5, 6):
        lane = bench.outgoing.lane_for(FileFrame(bytes(mib << 20)))
    assert lane.writer is not None
    assert lane.writer.capacity < 4 * (MAX_FILE_BYTES + 10_000)
    assert bench.outgoing.lane_for(FileFrame(bytes(MAX_FILE_BYTES), name="n" * 1_024)) is lane


def test_the_longest_text_needs_no_other_lane(bench: Bench) -> None:
    push(bench, DataFrame(b"x"))
    push(bench, FileFrame(bytes(200_000), name="small"))
    assert bench.outgoing.lane_for(DataFrame(b"")).number == 1


def test_a_file_while_the_room_is_away_waits_for_a_lane_that_takes_it(bench: Bench) -> None:
    """And what was in the one before is lost, counted."""
    push(bench, DataFrame(b"lost"))
    row = bench.outgoing.lane_for(DataFrame(b"")).row
    assert row is not None
    file = FileFrame(bytes(1 << 20))
    bench.session.interrupted = True
    lane = bench.outgoing.lane_for(file)
    with pytest.raises(WouldBlock):
        bench.outgoing.push_nowait(lane, file)
    bench.session.interrupted = False
    bench.outgoing.restart(RowPool(bench.table, 4, 4))
    push(bench, file)
    assert bench.outgoing.lane_for(DataFrame(b"")) is lane
    (got,) = messages_of(bench)[-1:]
    assert isinstance(got, FileFrame)
    assert got.payload == file.payload


def test_where_no_lane_for_a_file_can_be_had_messages_go_on(bench: Bench) -> None:
    push(bench, DataFrame(b"before"))
    with faults.segments_refused(), pytest.raises(StartupError):
        bench.outgoing.lane_for(FileFrame(bytes(1 << 20)))
    push(bench, DataFrame(b"after"))
    lane = bench.outgoing.lane_for(DataFrame(b""))
    assert lane.writer is not None
    assert lane.writer.capacity < 2 << 20, "of the size that messages have"
    push(bench, FileFrame(bytes(1 << 20)))
    found = [len(one.payload) for one in messages_of(bench) if isinstance(one, DataFrame)]
    assert found == [6, 5, 1 << 20]


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
        assert lane.played() == pytest.approx(0.1)
        bench.outgoing.push_nowait(lane, sound(0.1))
        assert lane.row is not None
        assert lane.row.snapshot().sent == 1
        lane.row.add(Count.PLAYED, RATE // 10)
        assert lane.played() == pytest.approx(0.2)
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


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize(
    ("owner", "step", "begun"),
    [(OutgoingLane, "form", 0), (OutgoingLane, "begin", 0), (Session, "send", 1)],
    ids=["form", "begin", "send"],
)
@pytest.mark.parametrize(
    "frame",
    [sound(0.02), DataFrame(b"x"), sources.picture(0, 64, 64)],
    ids=["sound", "message", "picture"],
)
def test_a_track_whose_beginning_was_interrupted_goes_on(
    monkeypatch: pytest.MonkeyPatch,
    frame: AudioFrame | DataFrame | VideoFrame,
    owner: type[OutgoingLane | Session],
    step: str,
    begun: int,
    before: bool,
) -> None:
    """By what no signal's handler has raised (`MemoryError`), as `sendmsg` returns, say. The row of
    a lane that was asked for counts still."""
    bench = Bench()
    does = getattr(owner, step)

    def interrupted(self: object, *given: object) -> object:
        monkeypatch.undo()
        if not before:
            does(self, *given)
        raise KeyboardInterrupt

    try:
        monkeypatch.setattr(owner, step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            bench.outgoing.lane_for(frame)
        first = bench.received()
        opened = [one for one in first if isinstance(one, m.PlayoutOpen)]
        assert len(opened) == (0 if before else begun)
        for one in opened:
            assert m.PlayoutClose(lane=one.lane) in first, "nobody else ends it"
        lane = bench.outgoing.lane_for(frame)
        (again,) = bench.received()
        assert isinstance(again, m.PlayoutOpen)
        for one in opened:
            assert one.lane != again.lane
            assert one.row != again.row
            bench.tell(m.RowFree(row=one.row))
        assert bench.outgoing.lane_for(frame) is lane
        assert bench.outgoing.push_nowait(lane, frame)
        assert lane.row is not None
        assert (lane.row.index, lane.row.snapshot().sent) == (again.row, 1)
    finally:
        bench.close()


@pytest.mark.parametrize("step", [RowPool.acquire, Segment.create])
def test_ctrl_c_as_a_track_begins_comes_once_it_has_begun(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, step: Callable[..., object]
) -> None:
    """Between two steps it would leave a row, or a descriptor, that nobody knows of."""
    owner = RowPool if step is RowPool.acquire else Segment

    def interrupted(*given: object) -> object:
        monkeypatch.undo()
        made = step(*given)
        signal.raise_signal(signal.SIGINT)
        return made

    monkeypatch.setattr(owner, step.__name__, interrupted)
    with pytest.raises(KeyboardInterrupt):
        bench.outgoing.lane_for(sound(0.02))
    lane = bench.outgoing.lane_for(sound(0.02))
    (opened,) = bench.received()
    assert isinstance(opened, m.PlayoutOpen)
    assert lane.row is not None
    assert (opened.lane, opened.row) == (lane.number, lane.row.index)
    assert opened.row == 0, "no row is lost"
    assert bench.outgoing.push_nowait(lane, sound(0.02))


@pytest.mark.parametrize("where", ["_drop", "close", "_ask"])
@pytest.mark.parametrize("before", [True, False])
def test_a_track_whose_end_was_interrupted_can_be_ended(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, where: str, before: bool
) -> None:
    push(bench, sound(0.02))
    lane = bench.outgoing.find("audio")
    assert lane is not None
    owner = lane if where == "close" else bench.outgoing
    step = getattr(owner, where)

    def interrupted(*given: object) -> None:
        if not before:
            step(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(owner, where, interrupted)
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
    assert over.played() == pytest.approx(0.1)
    assert other.played() == pytest.approx(1.0)
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
        patched.setattr(lane, "close", _interrupt)
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
