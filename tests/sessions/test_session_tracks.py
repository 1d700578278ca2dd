"""The life of a track in a session: its lanes one after the other, and what is told of them."""

from __future__ import annotations

import pytest

import session_kit
from app_kit import same
from ringroom import messages as m
from ringroom.events import EventKind, Kind
from ringroom.frames import AudioFrame
from ringroom.sessions.incoming import MAX_UNREAD_ENDED
from session_kit import ALL, Far, everything, readable, send

far = session_kit.far


def test_a_life_in_order_and_a_lane_that_follows(far: Far) -> None:
    first = far.open("a", 1)
    inbox = far.session.incoming.open_inbox(ALL, None)
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
    assert far.session.incoming.tracks == []
    assert everything(inbox) == []


@pytest.mark.parametrize("sid", ["T", "another"])
def test_a_track_that_is_back_before_its_end_was_read_ends_first(far: Far, sid: str) -> None:
    """A reconnect ends a track and opens it again, in a lane that follows none; or it is published
    anew, with another sid."""
    first = far.open("a", 1, sid="T")
    inbox = far.session.incoming.open_inbox(ALL, None)
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
    events = far.session.incoming.open_inbox({Kind.EVENT}, None)
    send(far.open("a", 1, sid="T"), 1)
    far.tell(m.LaneEnding(lane=1))
    far.open("a", 2, sid="another")
    assert everything(events) == [EventKind.TRACK_STARTED, EventKind.TRACK_STARTED]


def test_two_tracks_of_one_name_do_not_wait_for_each_other(far: Far) -> None:
    inbox = far.session.incoming.open_inbox(ALL, None)
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
    found = everything(far.session.incoming.open_inbox(ALL, None))
    sounds = [item for item in found if isinstance(item, AudioFrame)]
    assert all(same(got.samples, sent.samples) for got, sent in zip(sounds, frames, strict=True))
    assert found.count(EventKind.TRACK_STARTED) == found.count(EventKind.TRACK_ENDED) == 3


def test_who_comes_later_reads_the_lanes_of_a_track_in_order(far: Far) -> None:
    lane = far.open("a", 1)
    first = [send(lane, seed) for seed in range(3)]
    second = send(far.open("a", 2, follows=1), 9)
    inbox = far.session.incoming.open_inbox((Kind.AUDIO,), None)
    for sent in (*first, second):
        arrival = inbox.receive_nowait()
        assert arrival is not None
        assert same(arrival.item.samples, sent.samples)


def test_a_track_that_ended_without_a_sound_is_told_to_who_comes_later(far: Far) -> None:
    far.open("a", 1)
    far.tell(m.LaneEnding(lane=1))
    inbox = far.session.incoming.open_inbox(ALL, None)
    assert everything(inbox) == [EventKind.TRACK_STARTED, EventKind.TRACK_ENDED]


def test_a_lane_that_ends_while_it_sleeps_wakes_its_reader(far: Far) -> None:
    far.open("a", 1)
    inbox = far.session.incoming.open_inbox(ALL, None)
    everything(inbox)
    assert everything(inbox) == []
    assert not readable(inbox.fileno())
    far.tell(m.LaneEnding(lane=1))
    assert readable(inbox.fileno())
    assert everything(inbox) == [EventKind.TRACK_ENDED]


def test_a_lane_that_follows_wakes_the_reader_of_the_one_before(far: Far) -> None:
    far.open("a", 1)
    inbox = far.session.incoming.open_inbox((Kind.AUDIO,), None)
    everything(inbox)
    far.open("a", 2, follows=1)
    assert readable(inbox.fileno())
    everything(inbox)
    assert m.LaneDone(lane=1) in far.heard()


def test_tracks_that_end_and_that_nobody_reads_are_given_up_the_oldest_first(far: Far) -> None:
    events = far.session.incoming.open_inbox((Kind.EVENT,), None)
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
    heard = everything(far.session.incoming.open_inbox((Kind.AUDIO,), None))
    assert len(heard) == MAX_UNREAD_ENDED


def test_frames_and_an_end_wait_for_who_comes_later(far: Far) -> None:
    writer = far.open("a", 1)
    send(writer)
    far.tell(m.LaneEnding(lane=1))
    inbox = far.session.incoming.open_inbox(ALL, None)
    found = everything(inbox)
    assert [found[0], found[2]] == [EventKind.TRACK_STARTED, EventKind.TRACK_ENDED]


def test_counts_of_successive_lanes_are_one(far: Far) -> None:
    first = far.open("a", 1)
    inbox = far.session.incoming.open_inbox((Kind.AUDIO,), None)
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
