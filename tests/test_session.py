"""One end of a connection, driven by hand-made lanes and messages."""

from __future__ import annotations

import contextlib
import inspect
import os
import select
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from app_kit import descriptors, same, sound
from ringroom import messages as m
from ringroom.errors import (
    BusyError,
    ClosedError,
    LostProcessError,
    RoomError,
    StartupError,
    WireError,
)
from ringroom.face import take_arrival
from ringroom.frames import AudioFrame, DataFrame, Event, EventKind, Kind, Participant, TrackInfo
from ringroom.inbox import InboundLane, Inbox
from ringroom.lanes.lane import ring_capacity
from ringroom.lanes.live import LiveWriter
from ringroom.lanes.memory import Segment
from ringroom.lanes.records import participant_to_json, track_to_json
from ringroom.lanes.reliable import ReliableWriter
from ringroom.lanes.statistics import Count, RowPool, StatisticsTable
from ringroom.link import Link, open_links
from ringroom.options import SessionOptions
from ringroom.session import MAX_UNREAD_ENDED, Session
from ringroom.testing import faults

ALL = (Kind.AUDIO, Kind.VIDEO, Kind.DATA, Kind.EVENT)


@dataclass
class Far:
    """The other side: it writes lanes and messages."""

    link: Link
    table: StatisticsTable
    session: Session
    rows: RowPool
    writers: list[Any]

    def open(
        self,
        who: str,
        number: int,
        follows: int = 0,
        row: Any = None,
        *,
        sid: str = "",
        heard: bool = True,
    ) -> LiveWriter:
        track = TrackInfo(sid=sid or f"T{number}", name="mic", kind=Kind.AUDIO, participant=who)
        row = row or self.rows.acquire()
        writer = LiveWriter(ring_capacity(2_000, 50), row)
        self.writers.append(writer)
        self.link.send(
            m.LaneListed(
                row=row.index, direction="in", track="mic", kind="audio", participant=who, place=-1
            )
        )
        self.link.send(
            m.LaneOpened(
                lane=number,
                row=row.index,
                kind="audio",
                live=True,
                track=track_to_json(track),
                participant=participant_to_json(Participant(identity=who)),
                follows=follows,
            ),
            writer.descriptors().flat(),
        )
        if heard:
            self.session.pump()
        return writer

    def open_mailbox(self, kind: Kind, number: int) -> ReliableWriter:
        row = self.rows.acquire()
        writer = ReliableWriter(1 << 16, row)
        self.writers.append(writer)
        self.link.send(
            m.LaneOpened(
                lane=number,
                row=row.index,
                kind=kind.value,
                live=False,
                track={},
                participant={},
                follows=0,
            ),
            writer.descriptors().flat(),
        )
        self.session.pump()
        return writer

    def tell(self, message: m.Message) -> None:
        self.link.send(message)
        self.session.pump()

    def heard(self) -> list[m.Message]:
        found = []
        while (received := self.link.receive_nowait()) is not None:
            found.append(received[0])
        return found


@pytest.fixture
def far() -> Iterator[Far]:
    ours, theirs = open_links()
    table = StatisticsTable.create()
    options = SessionOptions(kinds=ALL, max_age=60)
    session = Session(ours, table, options, time.monotonic_ns)
    far = Far(theirs, table, session, RowPool(table, 0, 100), [])
    yield far
    session.close()
    for writer in far.writers:
        writer.close()
    far.writers.clear()  # pytest keeps the fixture's value a little longer
    theirs.close()
    table.close()


def send(writer: LiveWriter, seed: int = 0) -> AudioFrame:
    frame = sound(0.02, seed)
    assert writer.send(frame, time.monotonic_ns())
    return frame


def everything(inbox: Inbox) -> list[Any]:
    found = []
    while (arrival := inbox.receive_nowait()) is not None:
        arrival.done()
        item = arrival.item
        found.append(item.kind if isinstance(item, Event) else item)
    return found


def readable(fd: int) -> bool:
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(0))


def test_each_lane_in_its_turn(far: Far) -> None:
    writers = [far.open(who, number) for number, who in enumerate("ab", 1)]
    inbox = far.session.open_inbox((Kind.AUDIO,), None)
    for writer in writers:
        for seed in range(3):
            send(writer, seed)
    frames = everything(inbox)
    assert [frame.participant for frame in frames] == ["a", "b"] * 3
    assert everything(inbox) == []
    assert not readable(inbox.fileno())
    send(writers[0])
    assert readable(inbox.fileno())
    assert len(everything(inbox)) == 1


def test_a_lane_that_never_runs_empty_leaves_the_others_their_turns(far: Far) -> None:
    """Its reader is slower than its source, so there is always one more."""
    ann, ben = far.open("ann", 1), far.open("ben", 2)
    inbox = far.session.open_inbox((Kind.AUDIO,), None)
    mailbox = far.open_mailbox(Kind.AUDIO, 3)
    assert everything(inbox) == []
    send(ann)
    for _ in range(5):
        send(ann)
        assert inbox.receive_nowait().item.participant == "ann"
    send(ben)
    mailbox.send_nowait(DataFrame(b"x"), 0)
    found = []
    for _ in range(4):
        send(ann)
        item = inbox.receive_nowait().item
        found.append(item.participant if isinstance(item, AudioFrame) else item.payload)
    assert found.index("ben") < 3, found
    assert found.index(b"x") < 3, found
    assert found.count("ann") == 2, found


def test_who_comes_while_frames_never_run_out_is_heard(far: Far) -> None:
    """A loop over `recv` that is slower than one of its tracks."""
    ann = far.open("ann", 1)
    inbox = far.session.open_inbox((Kind.AUDIO,), None)
    assert take_arrival(far.session, inbox) is None
    send(ann)
    send(ann)
    assert take_arrival(far.session, inbox) is not None
    send(far.open("ben", 2, heard=False))
    found = []
    for _ in range(5):
        send(ann)
        arrival = take_arrival(far.session, inbox)
        assert arrival is not None
        found.append(arrival.item.participant)
    assert "ben" in found


def test_a_life_in_order_and_a_lane_that_follows(far: Far) -> None:
    first = far.open("a", 1)
    inbox = far.session.open_inbox(ALL, None)
    send(first, 1)
    second = far.open("a", 2, follows=1)
    last = send(second, 2)
    send(first, 3)
    found = everything(inbox)
    assert found[0] is EventKind.TRACK_STARTED
    assert len(found) == 4
    assert same(found[-1].samples, last.samples)
    assert [type(message) for message in far.heard()] == [m.LaneDone]
    far.tell(m.LaneEnding(lane=2))
    assert everything(inbox) == [EventKind.TRACK_ENDED]
    assert far.session.tracks == []
    assert everything(inbox) == []


@pytest.mark.parametrize("sid", ["T", "another"])
def test_a_track_that_is_back_before_its_end_was_read_ends_first(far: Far, sid: str) -> None:
    """A reconnect ends a track and opens it again, in a lane that follows none; or it is published
    anew, with another sid."""
    first = far.open("a", 1, sid="T")
    inbox = far.session.open_inbox(ALL, None)
    send(first, 1)
    far.tell(m.LaneEnding(lane=1))
    last = send(far.open("a", 2, sid=sid), 2)
    found = everything(inbox)
    assert [found[0], found[2], found[3]] == [
        EventKind.TRACK_STARTED,
        EventKind.TRACK_ENDED,
        EventKind.TRACK_STARTED,
    ]
    assert same(found[4].samples, last.samples)
    far.tell(m.LaneEnding(lane=2))
    assert everything(inbox) == [EventKind.TRACK_ENDED]


def test_a_track_that_is_published_anew_waits_for_no_reader(far: Far) -> None:
    """Who reads events only hears of it at once."""
    events = far.session.open_inbox({Kind.EVENT}, None)
    send(far.open("a", 1, sid="T"), 1)
    far.tell(m.LaneEnding(lane=1))
    far.open("a", 2, sid="another")
    assert everything(events) == [EventKind.TRACK_STARTED, EventKind.TRACK_STARTED]


def test_two_tracks_of_one_name_do_not_wait_for_each_other(far: Far) -> None:
    inbox = far.session.open_inbox(ALL, None)
    far.open("a", 1, sid="T")
    second = send(far.open("a", 2, sid="another"), 2)
    found = everything(inbox)
    assert found[:2] == [EventKind.TRACK_STARTED, EventKind.TRACK_STARTED]
    assert same(found[2].samples, second.samples)


def test_three_beginnings_of_a_track_in_order(far: Far) -> None:
    frames = []
    for number in (1, 2, 3):
        frames.append(send(far.open("a", number, sid="T"), number))
        far.tell(m.LaneEnding(lane=number))
    found = everything(far.session.open_inbox(ALL, None))
    sounds = [item for item in found if isinstance(item, AudioFrame)]
    assert all(same(got.samples, sent.samples) for got, sent in zip(sounds, frames, strict=True))
    assert found.count(EventKind.TRACK_STARTED) == found.count(EventKind.TRACK_ENDED) == 3


def test_who_comes_later_reads_the_lanes_of_a_track_in_order(far: Far) -> None:
    lane = far.open("a", 1)
    first = [send(lane, seed) for seed in range(3)]
    second = send(far.open("a", 2, follows=1), 9)
    inbox = far.session.open_inbox((Kind.AUDIO,), None)
    for sent in (*first, second):
        arrival = inbox.receive_nowait()
        assert arrival is not None
        assert same(arrival.item.samples, sent.samples)


def test_a_track_that_ended_without_a_sound_is_told_to_who_comes_later(far: Far) -> None:
    far.open("a", 1)
    far.tell(m.LaneEnding(lane=1))
    inbox = far.session.open_inbox(ALL, None)
    assert everything(inbox) == [EventKind.TRACK_STARTED, EventKind.TRACK_ENDED]


def test_a_lane_that_ends_while_it_sleeps_wakes_its_reader(far: Far) -> None:
    far.open("a", 1)
    inbox = far.session.open_inbox(ALL, None)
    everything(inbox)
    assert everything(inbox) == []
    assert not readable(inbox.fileno())
    far.tell(m.LaneEnding(lane=1))
    assert readable(inbox.fileno())
    assert everything(inbox) == [EventKind.TRACK_ENDED]


def test_a_lane_that_follows_wakes_the_reader_of_the_one_before(far: Far) -> None:
    far.open("a", 1)
    inbox = far.session.open_inbox((Kind.AUDIO,), None)
    everything(inbox)
    far.open("a", 2, follows=1)
    assert readable(inbox.fileno())
    everything(inbox)
    assert m.LaneDone(lane=1) in far.heard()


def test_tracks_that_end_and_that_nobody_reads_are_given_up_the_oldest_first(far: Far) -> None:
    events = far.session.open_inbox((Kind.EVENT,), None)
    rows = []
    for number in range(1, MAX_UNREAD_ENDED + 4):
        writer = far.open("a", number)
        rows.append(writer.row)
        send(writer)
        writer.close()
        far.tell(m.LaneEnding(lane=number))
    assert far.heard() == [m.LaneDone(lane=number) for number in (1, 2, 3)]
    dropped = [row.snapshot().dropped_flushed for row in rows]
    assert dropped == [1, 1, 1] + [0] * MAX_UNREAD_ENDED
    found = everything(events)
    assert found.count(EventKind.TRACK_ENDED) == 3
    heard = everything(far.session.open_inbox((Kind.AUDIO,), None))
    assert len(heard) == MAX_UNREAD_ENDED


def test_a_thousand_that_end_at_once_do_not_fill_the_stack(far: Far) -> None:
    inbox = far.session.open_inbox((Kind.AUDIO,), None)
    depths: list[int] = []
    before = far.session.finish_lane

    def finish(lane: InboundLane) -> None:
        depths.append(len(inspect.stack(0)))
        before(lane)

    far.session.finish_lane = finish  # type: ignore[method-assign]
    for number in range(1, 5):
        far.open(f"who{number}", number)
        far.link.send(m.LaneEnding(lane=number))
    far.session.pump()
    assert inbox.receive_nowait() is None
    assert len(depths) == 4
    assert len(set(depths)) == 1


def test_every_listener_is_told_also_when_one_of_them_goes(far: Far) -> None:
    told: list[str] = []

    def leaves() -> None:
        told.append("leaves")
        far.session.listeners.discard(leaves)

    far.session.listeners.add(leaves)
    for name in "abc":
        far.session.listeners.add(lambda name=name: told.append(name))
    far.session.notify()
    assert sorted(told) == ["a", "b", "c", "leaves"]
    far.session.close()
    assert sorted(told) == ["a", "a", "b", "b", "c", "c", "leaves"], "who waits wakes"


def test_the_end_of_the_other_side_wakes_who_waits(far: Far) -> None:
    for asked in (True, False):
        ours, theirs = open_links()
        session = Session(ours, far.table, SessionOptions(), time.monotonic_ns)
        woken: list[int] = []
        if asked:
            session.leave()
        session.listeners.add(lambda woken=woken: woken.append(1))
        theirs.close()
        assert session.pump()
        assert woken
        session.close()


def test_a_leave_that_finds_nobody_wakes_who_waits(far: Far) -> None:
    woken: list[int] = []
    far.session.listeners.add(lambda: woken.append(1))
    far.link.close()
    far.session.leave()
    assert woken
    assert far.session.pump()
    assert far.session.ending is not None
    assert far.session.ending.error is None


def test_what_was_said_before_a_death_is_heard_though_a_send_has_noticed_it(far: Far) -> None:
    far.open("a", 1, heard=False)
    far.link.send(m.Ended(reason="room closed", error=""))
    far.link.close()
    far.session.send(m.LaneDone(lane=5))
    assert far.session.pump()
    assert [track.participant for track in far.session.tracks] == ["a"]
    assert far.session.ending is not None
    assert far.session.ending.reason == "room closed"


def test_descriptors_beside_a_message_that_takes_none_are_closed(far: Far) -> None:
    reading, writing = os.pipe()
    far.link.send(m.PlayoutReady(lane=1), (writing,))
    os.close(writing)
    far.session.pump()
    assert os.read(reading, 1) == b"", "nobody holds the other end"
    os.close(reading)


def test_an_error_is_raised_anew_for_each_call(far: Far) -> None:
    """One that is raised again and again would keep the frames of every call."""
    far.tell(m.Ended(reason="disconnected", error="it broke"))
    errors = []
    for _ in range(2):
        with pytest.raises(RoomError) as caught:
            far.session.check_open()
        errors.append(caught.value)
    assert errors[0] is not errors[1]


def test_what_was_sent_while_the_link_was_full_goes_out(far: Far) -> None:
    for request in range(10_000):
        far.session.send(m.Flush(request=request, lane=1, sequence=0))
    assert far.session.link.backlog
    heard: list[m.Message] = []
    while far.session.link.backlog:
        heard += far.heard()
        far.session.pump()
    heard += far.heard()
    assert [message.request for message in heard if isinstance(message, m.Flush)] == [
        *range(10_000)
    ]


def test_frames_and_an_end_wait_for_who_comes_later(far: Far) -> None:
    writer = far.open("a", 1)
    send(writer)
    far.tell(m.LaneEnding(lane=1))
    inbox = far.session.open_inbox(ALL, None)
    found = everything(inbox)
    assert [found[0], found[2]] == [EventKind.TRACK_STARTED, EventKind.TRACK_ENDED]


def test_events_of_a_track_for_another_reader(far: Far) -> None:
    writer = far.open("a", 1)
    sounds = far.session.open_inbox((Kind.AUDIO,), None)
    events = far.session.open_inbox((Kind.EVENT,), None)
    writer.event(Event(kind=EventKind.TRACK_MUTED))
    send(writer)
    assert len(everything(sounds)) == 1
    assert readable(events.fileno())
    assert everything(events) == [EventKind.TRACK_STARTED, EventKind.TRACK_MUTED]


def test_only_the_participants_that_are_asked_for(far: Far) -> None:
    for number, who in enumerate("ab", 1):
        send(far.open(who, number))
    words = far.open_mailbox(Kind.DATA, 3)
    for who in "abab":
        words.send_nowait(DataFrame(who.encode(), participant=who), 1)
    inbox = far.session.open_inbox((Kind.AUDIO, Kind.DATA), frozenset("b"))
    found = everything(inbox)
    assert sorted(type(item).__name__ for item in found) == ["AudioFrame", "DataFrame", "DataFrame"]
    assert {item.participant for item in found} == {"b"}
    assert words.row.get(Count.DONE) == 4


def test_a_held_lane_waits_alone(far: Far) -> None:
    writers = [far.open(who, number) for number, who in enumerate("ab", 1)]
    inbox = far.session.open_inbox((Kind.AUDIO,), None)
    for writer in writers:
        send(writer)
    arrival = inbox.receive_nowait()
    assert arrival is not None
    inbox.hold(arrival.lane)
    for writer in writers:
        send(writer)
    far.tell(m.LaneEnding(lane=1))
    assert {item.participant for item in everything(inbox)} == {"b"}
    assert far.heard() == []
    inbox.release(arrival.lane)
    assert [item.participant for item in everything(inbox)] == ["a"]
    assert [type(message) for message in far.heard()] == [m.LaneDone]
    inbox.release(arrival.lane)  # it is over
    assert everything(inbox) == []


def test_one_reader_for_each_kind(far: Far) -> None:
    before = descriptors()
    inbox = far.session.open_inbox((Kind.AUDIO,), None)
    with pytest.raises(BusyError, match="already receives audio"):
        far.session.open_inbox(ALL, None)
    inbox.close()
    inbox.close()
    assert descriptors() == before, "also while somebody still holds it"
    assert inbox.fileno() == -1
    with pytest.raises(ClosedError):
        inbox.receive_nowait()
    far.session.open_inbox(ALL, None).close()
    assert not far.session.has_inboxes


def test_garbage_in_a_lane_ends_the_lane(far: Far) -> None:
    writer = far.open("a", 1)
    good = far.open("b", 2)
    inbox = far.session.open_inbox((Kind.AUDIO,), None)
    writer.send_parts(b"\xff" * 64, b"")
    send(good)
    with pytest.raises(WireError):
        everything(inbox)
    assert [item.participant for item in everything(inbox)] == ["b"]
    assert far.heard() == [m.LaneDone(lane=1)]
    assert [track.participant for track in far.session.tracks] == ["b"]


def test_the_ends(far: Far) -> None:
    far.session.check_open()
    woken: list[int] = []
    far.session.listeners.add(lambda: woken.append(1))
    far.tell(m.Ended(reason="room closed", error=""))
    assert woken
    assert far.session.ending is not None
    assert far.session.ending.reason == "room closed"
    far.session.check_open()
    far.tell(m.Ended(reason="other", error="late"))
    assert far.session.ending.error is None
    far.session.close()
    with pytest.raises(ClosedError):
        far.session.check_open()
    assert not far.session.pump()


def test_a_loss_is_an_error(far: Far) -> None:
    far.tell(m.Ended(reason="disconnected", error="it broke"))
    with pytest.raises(RoomError, match="it broke"):
        far.session.check_open()


def test_the_other_sides_death_and_what_was_under_way(far: Far) -> None:
    writer = far.open("a", 1)
    send(writer)
    far.link.close()
    assert far.session.pump()
    with pytest.raises(LostProcessError, match="the I/O process died"):
        far.session.check_open()
    far.session.send(m.Leave())  # noted, not raised
    far.session.close()
    (lane,) = far.session.statistics()
    assert (lane.counts.sent, lane.counts.lost, lane.counts.in_flight) == (1, 1, 0)


def test_an_end_that_was_asked_for_is_no_loss(far: Far) -> None:
    far.session.leave()
    assert [type(message) for message in far.heard()] == [m.Leave]
    far.link.close()
    far.session.pump()
    assert far.session.ending is not None
    assert (far.session.ending.reason, far.session.ending.error) == ("closed", None)


@pytest.mark.parametrize("what", ["descriptors", "memory"])
def test_a_lane_that_cannot_be_taken_over_ends_the_session_and_is_told_to_all(
    far: Far, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """It would go on deaf for that track, also when there is room again."""

    def refuses(_: Segment) -> None:
        raise StartupError("no memory for it")

    send(far.open("a", 1))
    inbox = far.session.open_inbox((Kind.AUDIO,), None)
    far.open("b", 2, heard=False)
    far.session.survives = True
    told: list[int] = []
    far.session.listeners.add(lambda: told.append(1))
    with contextlib.ExitStack() as refused:
        if what == "descriptors":
            refused.enter_context(faults.descriptors_exhausted())
        else:
            monkeypatch.setattr(Segment, "map_private", refuses)
            monkeypatch.setattr(Segment, "map_shared", refuses)
        assert far.session.pump(), "whoever looks for himself is not the one who is told"
    monkeypatch.undo()
    assert told, "who waits wakes"
    assert len(everything(inbox)) == 1, "what is here is received"
    for _ in range(2):
        with pytest.raises(StartupError, match="ulimit -n" if what == "descriptors" else "memory"):
            far.session.check_open()
    assert not far.session.interrupted, "the I/O process lives"
    with pytest.raises(ClosedError):
        far.heard()


def test_counts_of_successive_lanes_are_one(far: Far) -> None:
    first = far.open("a", 1)
    inbox = far.session.open_inbox((Kind.AUDIO,), None)
    send(first)
    everything(inbox)
    far.tell(m.LaneRetired(row=first.row.index))
    assert m.RowFree(row=first.row.index) in far.heard()
    second = far.open("a", 2)
    send(second)
    everything(inbox)
    (lane,) = far.session.statistics()
    assert (lane.counts.sent, lane.counts.done, lane.participant) == (2, 2, "a")
    far.tell(m.LaneRetired(row=77))
    assert len(far.session.statistics()) == 1


# Another I/O process.


@pytest.fixture
def another(far: Far) -> Iterator[Far]:
    """The far side of the session after its first one has died, with a table of its own."""
    ours, theirs = open_links()
    table = StatisticsTable.create()
    second = Far(theirs, table, far.session, RowPool(table, 0, 100), [])

    def die() -> None:
        far.session.survives = True
        far.link.close()
        far.session.pump()
        assert far.session.interrupted
        far.session.restart(ours, table)

    second.die = die  # type: ignore[attr-defined]
    yield second
    for writer in second.writers:
        writer.close()
    second.writers.clear()
    far.session.close()
    theirs.close()
    table.close()


def test_a_link_that_ends_interrupts_who_survives(far: Far) -> None:
    far.session.survives = True
    changes: list[int] = []
    far.session.listeners.add(lambda: changes.append(1))
    far.link.close()
    far.session.pump()
    far.session.send(m.Leave())
    assert (far.session.interrupted, far.session.ending) == (True, None)
    far.session.check_open()
    assert changes


def test_tracks_that_come_again_go_on_and_the_others_end(far: Far, another: Any) -> None:
    inbox = far.session.open_inbox((Kind.AUDIO, Kind.EVENT), None)
    first = [far.open(who, number) for number, who in enumerate("abc", 1)]
    for writer in first:
        send(writer)
    far.tell(m.LaneEnding(lane=3))
    assert everything(inbox).count(EventKind.TRACK_STARTED) == 3
    another.die()
    # Numbers begin anew; the track is known by its sid.
    again = another.open("b", 2)
    frame = send(again, 5)
    found = everything(inbox)
    assert found[:1] == [EventKind.TRACK_RESUMED]
    assert same(found[1].samples, frame.samples)
    far.session.end_missing()
    assert everything(inbox) == [EventKind.TRACK_ENDED]
    far.session.end_missing()
    assert everything(inbox) == []
    another.open("a", 1)
    assert everything(inbox) == [EventKind.TRACK_STARTED]


@pytest.mark.parametrize("sid", ["T", "another"])
@pytest.mark.parametrize("larger", [False, True], ids=["", "in a larger lane"])
def test_a_track_that_had_not_begun_begins_and_the_one_before_has_ended(
    far: Far, another: Any, sid: str, larger: bool
) -> None:
    """It was published anew, and the sound of before was not heard yet."""
    inbox = far.session.open_inbox((Kind.AUDIO, Kind.EVENT), None)
    send(far.open("a", 1, sid="T"))
    far.tell(m.LaneEnding(lane=1))
    far.open("a", 2, sid=sid)
    if larger:
        far.open("a", 3, follows=2, sid=sid)
    assert inbox.receive_nowait().item.kind is EventKind.TRACK_STARTED
    another.die()
    assert everything(inbox) == [EventKind.TRACK_ENDED], "at once"
    frame = send(another.open("a", 1, sid=sid), 5)
    found = everything(inbox)
    assert found[0] is EventKind.TRACK_STARTED
    assert same(found[1].samples, frame.samples)
    far.session.end_missing()
    assert everything(inbox) == []


def test_a_track_that_had_not_begun_and_has_ended_is_not_told(far: Far, another: Any) -> None:
    inbox = far.session.open_inbox((Kind.AUDIO, Kind.EVENT), None)
    for number, sid in enumerate(("T", "another"), 1):
        send(far.open("a", number, sid=sid))
        far.tell(m.LaneEnding(lane=number))
    assert inbox.receive_nowait().item.kind is EventKind.TRACK_STARTED
    another.die()
    far.session.end_missing()
    assert everything(inbox) == [EventKind.TRACK_ENDED]


@pytest.mark.parametrize("ended", [False, True])
def test_a_track_in_two_lanes_goes_on_or_ends_once(far: Far, another: Any, ended: bool) -> None:
    inbox = far.session.open_inbox((Kind.AUDIO, Kind.EVENT), None)
    send(far.open("a", 1, sid="T"))
    send(far.open("a", 2, follows=1, sid="T"))
    if ended:
        far.tell(m.LaneEnding(lane=2))
    assert inbox.receive_nowait().item.kind is EventKind.TRACK_STARTED
    another.die()
    assert everything(inbox) == [EventKind.TRACK_ENDED] * ended
    another.open("a", 1, sid="T")
    again = EventKind.TRACK_STARTED if ended else EventKind.TRACK_RESUMED
    assert everything(inbox) == [again]
    far.session.end_missing()
    assert everything(inbox) == []


def test_a_lane_of_before_does_not_stand_for_one_of_the_same_number(far: Far, another: Any) -> None:
    inbox = far.session.open_inbox((Kind.AUDIO,), None)
    send(far.open("a", 1))
    arrival = inbox.receive_nowait()
    assert arrival is not None
    arrival.done()
    another.die()
    writer = another.open("b", 1)
    # As a worker does whose reply to it has no room.
    inbox.hold(arrival.lane)
    inbox.release(arrival.lane)
    frame = send(writer, 3)
    (found,) = everything(inbox)
    assert same(found.samples, frame.samples)


def test_the_law_holds_across_generations(far: Far, another: Any) -> None:
    inbox = far.session.open_inbox((Kind.AUDIO,), None)
    writer = far.open("a", 1)
    for seed in range(5):
        send(writer, seed)
    for _ in range(2):
        arrival = inbox.receive_nowait()
        assert arrival is not None
        arrival.done()
    # Of a worker's lanes nothing is buried before all have let go.
    row = far.rows.acquire()
    listing = m.LaneListed(
        row=row.index, direction="in", track="mic", kind="audio", participant="b", place=0
    )
    far.tell(listing)
    row.add(Count.SENT)
    another.die()
    for number, who in enumerate("ab", 1):
        send(another.open(who, number))
    counts = {lane.participant: lane.counts for lane in far.session.statistics()}
    assert (counts["a"].sent, counts["a"].done, counts["a"].lost) == (6, 2, 3)
    assert (counts["a"].in_flight, counts["b"].in_flight, counts["b"].lost) == (1, 2, 0)
    far.session.settle_past()
    far.session.settle_past()
    counts = {lane.participant: lane.counts for lane in far.session.statistics()}
    assert (counts["b"].sent, counts["b"].lost, counts["b"].in_flight) == (2, 1, 1)


def test_of_however_many_that_died_one_account_is_kept(far: Far) -> None:
    session = far.session
    session.survives = True
    with contextlib.ExitStack() as closing:
        for _ in range(5):
            ours, theirs = open_links()
            closing.callback(theirs.close)
            table = StatisticsTable.create()
            closing.callback(table.close)
            session.restart(ours, table)
            session.settle_past()
            table.row(0).add(Count.SENT)
            theirs.send(
                m.LaneListed(
                    row=0, direction="in", track="mic", kind="audio", participant="b", place=0
                )
            )
            session.pump()
        (lane,) = session.statistics()
        counts = lane.counts
        assert (counts.sent, counts.lost, counts.in_flight) == (5, 4, 1)
        assert len(session._past) == 1
        session.close()


def test_whoever_waits_for_an_answer_of_the_dead_gets_one(far: Far, another: Any) -> None:
    request = far.session.request()
    another.die()
    assert far.session.replies == {request: 0.0}
    assert not far.session.unanswered
    following = far.session.request()
    another.tell(m.Reply(request=following, value=1.5))
    assert far.session.replies[following] == 1.5


def test_a_room_that_is_not_joined_again_is_refused_not_over(far: Far, another: Any) -> None:
    another.die()
    error = RoomError("full", reason="unauthorized")
    another.tell(m.Failed(error=m.error_to_json(error)))
    assert far.session.ending is None
    assert str(far.session.refused) == "full"


def test_what_the_dead_one_said_is_of_no_meaning_for_the_next(far: Far, another: Any) -> None:
    session = far.session
    inboxes = [session.open_inbox((kind,), None) for kind in (Kind.AUDIO, Kind.EVENT)]
    far.open("a", 1)
    far.tell(m.Connected(room="r", identity="i", sid="s"))
    far.tell(m.PlayoutReady(lane=4))
    far.tell(m.RowFree(row=77))
    far.tell(m.Attached(rows=[], tracks=["voice"]))
    session.refused = RoomError("full", reason="unreachable")
    another.die()
    assert (session.joined, session.refused, session.attached) == (None, None, None)
    assert session.last_joined is not None
    assert (session.playout_news, session.freed_rows) == ({}, [])
    for inbox in inboxes:
        while inbox.receive_nowait() is not None:
            pass
        another.link.send(m.LaneEnding(lane=99))
        assert select.select([inbox.fileno()], [], [], 20.0)[0], "it waits on the new link"
        session.pump()
        inbox.receive_nowait()
