"""A session goes on with another I/O process after the first one has died."""

from __future__ import annotations

import contextlib
import select
from collections.abc import Iterator
from typing import Any

import pytest

import session_kit
from app_kit import same
from ringroom import messages as m
from ringroom.errors import LostProcessError, RingroomError, RoomError
from ringroom.events import EventKind, Kind
from ringroom.lanes.statistics import Count, RowPool, StatisticsTable
from ringroom.link import open_links
from ringroom.sessions.inbox import Inbox
from ringroom.sessions.incoming import RETURN_SECONDS
from session_kit import Far, collected_in, everything, forget, send

far = session_kit.far


@pytest.fixture
def another(far: Far) -> Iterator[Far]:
    """The far side of the session after its first one has died, with a table of its own."""
    ours, theirs = open_links()
    table = StatisticsTable.create()
    second = Far(theirs, table, far.session, RowPool(table, 0, 100), [])

    def die() -> None:
        far.session.outlive_links()
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


JOINED = m.Connected(room="r", identity="i")


def nothing_more_returns(another: Far) -> None:
    """The room is joined, and the time in which tracks come again has passed."""
    another.tell(JOINED)
    clock = another.session.clock
    another.session.clock = lambda: clock() + int(RETURN_SECONDS * 1e9)
    another.session.pump()
    another.session.clock = clock


def test_a_link_that_ends_interrupts_who_survives(far: Far) -> None:
    far.session.outlive_links()
    changes: list[int] = []
    far.session.listeners.add(lambda: changes.append(1))
    far.link.close()
    far.session.pump()
    far.session.send(m.Leave())
    assert (far.session.interrupted, far.session.end) == (True, None)
    far.session.check_unfailed()
    assert changes


def standing(far: Far) -> tuple[bool, int, int]:
    session = far.session
    return session.in_room, session.connection_losses, session.io_deaths


def test_whether_we_are_in_the_room_and_how_often_we_were_not_any_more(
    far: Far, another: Any
) -> None:
    assert standing(far) == (False, 0, 0), "before it is joined"
    far.tell(m.Away(away=True))
    far.tell(m.Away(away=False))
    assert standing(far) == (False, 0, 0), "the first join has its own troubles"
    far.tell(JOINED)
    assert standing(far) == (True, 0, 0)
    far.tell(m.Away(away=True))
    assert standing(far) == (False, 1, 0)
    far.tell(m.Away(away=False))
    assert standing(far) == (True, 1, 0)
    far.tell(m.Away(away=True))
    another.die()
    assert standing(far) == (False, 2, 1), "the same outage"
    another.tell(JOINED)
    assert standing(far) == (True, 2, 1)
    far.session.close()
    assert standing(far) == (False, 2, 1)


@pytest.mark.parametrize("how", ["ended", "left", "died"])
def test_an_end_is_no_loss_of_the_connection_but_a_death_is_one(far: Far, how: str) -> None:
    far.tell(JOINED)
    if how == "ended":
        far.tell(m.Ended(reason="closed", error={}))
    elif how == "left":
        far.session.leave()
    far.link.close()
    far.session.pump()
    assert standing(far) == (False, how == "died", how == "died")


def test_tracks_that_come_again_go_on_and_the_others_end(far: Far, another: Any) -> None:
    inbox = far.session.incoming.open_inbox((Kind.AUDIO, Kind.EVENT), None)
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
    nothing_more_returns(another)
    assert everything(inbox) == [EventKind.TRACK_ENDED]
    nothing_more_returns(another)
    assert everything(inbox) == []
    another.open("a", 1)
    assert everything(inbox) == [EventKind.TRACK_STARTED]


@pytest.mark.parametrize("joined", [JOINED, m.Attached(rows=[], tracks=[])], ids=["", "worker"])
def test_what_has_not_come_again_has_ended_some_time_after_the_room_was_joined(
    far: Far, another: Any, joined: m.Message
) -> None:
    session, now = far.session, 10**9
    session.clock = lambda: now
    inbox = session.incoming.open_inbox((Kind.AUDIO, Kind.EVENT), None)
    far.open("a", 1)
    assert everything(inbox) == [EventKind.TRACK_STARTED]
    another.die()
    now += 10**11
    assert not session.pump()
    assert session.incoming.patience() is None, "nobody has joined yet"
    another.tell(joined)
    assert session.incoming.patience() == RETURN_SECONDS
    now += 10**9
    assert session.incoming.patience() == RETURN_SECONDS - 1
    assert not session.pump()
    now += 10**10
    assert session.incoming.patience() == 0.0
    woken: list[int] = []
    session.listeners.add(lambda: woken.append(1))
    assert session.pump()
    assert woken
    assert session.incoming.patience() is None
    assert everything(inbox) == [EventKind.TRACK_ENDED]


@pytest.mark.parametrize("how", ["found", "told"])
def test_who_has_died_again_is_not_waited_for(far: Far, another: Any, how: str) -> None:
    """A limit that has passed would be looked at without a pause, and the tracks may still come."""
    session, now = far.session, 10**9
    session.clock = lambda: now
    inbox = session.incoming.open_inbox((Kind.AUDIO, Kind.EVENT), None)
    far.open("a", 1)
    another.die()
    another.tell(JOINED)
    ours, theirs = open_links()
    with contextlib.closing(theirs):
        if how == "found":
            another.link.close()
            session.pump()
            assert session.interrupted
        else:
            session.restart(ours, another.table)
        assert session.incoming.patience() is None
        now += 10**11
        session.pump()
        assert everything(inbox) == [EventKind.TRACK_STARTED]
        ours.close()


def test_where_nothing_is_away_nothing_is_waited_for(far: Far, another: Any) -> None:
    far.session.incoming.open_inbox((Kind.AUDIO, Kind.EVENT), None)
    far.open_mailbox(Kind.DATA, 1)
    another.die()
    another.tell(JOINED)
    assert far.session.incoming.patience() is None


@pytest.mark.parametrize("sid", ["T", "another"])
@pytest.mark.parametrize("larger", [False, True], ids=["", "in a larger lane"])
def test_a_track_that_had_not_begun_begins_and_the_one_before_has_ended(
    far: Far, another: Any, sid: str, larger: bool
) -> None:
    """It was published anew, and the sound of before was not heard yet."""
    inbox = far.session.incoming.open_inbox((Kind.AUDIO, Kind.EVENT), None)
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
    nothing_more_returns(another)
    assert everything(inbox) == []


def test_a_track_that_had_not_begun_and_has_ended_is_not_told(far: Far, another: Any) -> None:
    inbox = far.session.incoming.open_inbox((Kind.AUDIO, Kind.EVENT), None)
    for number, sid in enumerate(("T", "another"), 1):
        send(far.open("a", number, sid=sid))
        far.tell(m.LaneEnding(lane=number))
    assert inbox.receive_nowait().item.kind is EventKind.TRACK_STARTED
    another.die()
    nothing_more_returns(another)
    assert everything(inbox) == [EventKind.TRACK_ENDED]


@pytest.mark.parametrize("ended", [False, True])
def test_a_track_in_two_lanes_goes_on_or_ends_once(far: Far, another: Any, ended: bool) -> None:
    inbox = far.session.incoming.open_inbox((Kind.AUDIO, Kind.EVENT), None)
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
    nothing_more_returns(another)
    assert everything(inbox) == []


def test_a_lane_of_before_does_not_stand_for_one_of_the_same_number(far: Far, another: Any) -> None:
    inbox = far.session.incoming.open_inbox((Kind.AUDIO,), None)
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
    inbox = far.session.incoming.open_inbox((Kind.AUDIO,), None)
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
        row=row.index,
        direction="in",
        track="mic",
        kind="audio",
        participant="b",
        place=m.APPLICATION,
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


def test_when_no_other_link_will_come_the_session_ends_by_what_is_given(far: Far) -> None:
    final: list[RingroomError] = []
    far.session.outlive_links(lambda: final[0] if final else None)
    final.append(LostProcessError("no other comes"))
    far.link.close()
    far.session.pump()
    assert not far.session.interrupted
    with pytest.raises(LostProcessError, match="no other comes"):
        far.session.check_unfailed()


def test_of_however_many_that_died_what_is_kept_does_not_grow(far: Far) -> None:
    session = far.session
    session.outlive_links()
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
        assert not session._accounts._before
        assert len(session._accounts._retired) == 1
        session.close()


def test_a_refusal_by_one_that_died_since_is_none_of_the_next(far: Far, another: Any) -> None:
    another.die()
    error = RoomError("full", reason="unauthorized")
    another.tell(m.Failed(error=m.error_to_json(error)))
    ours, theirs = open_links()
    with contextlib.closing(theirs):
        far.session.restart(ours, another.table)
        assert far.session.take_refusal() is None


def test_whoever_waits_for_an_answer_of_the_dead_gets_one(far: Far, another: Any) -> None:
    request = far.session.requests.new()
    another.die()
    assert far.session.requests.answers == {request: 0.0}
    assert not far.session.requests.unanswered
    following = far.session.requests.new()
    another.tell(m.Reply(request=following, value=1.5))
    assert far.session.requests.answers[following] == 1.5


def test_a_room_that_is_not_joined_again_is_refused_not_over(far: Far, another: Any) -> None:
    another.die()
    error = RoomError("full", reason="unauthorized")
    another.tell(m.Failed(error=m.error_to_json(error)))
    assert far.session.end is None
    assert str(far.session.take_refusal()) == "full"
    assert far.session.take_refusal() is None, "once"


def test_what_the_dead_one_said_is_of_no_meaning_for_the_next(far: Far, another: Any) -> None:
    session = far.session
    inboxes = [session.incoming.open_inbox((kind,), None) for kind in (Kind.AUDIO, Kind.EVENT)]
    far.open("a", 1)
    far.tell(JOINED)
    far.tell(m.PlayoutReady(lane=4))
    far.tell(m.RowFree(row=77))
    far.tell(m.Attached(rows=[], tracks=["voice"]))
    another.die()
    assert (session.joined, session.attached) == (None, None)
    assert session.last_joined is not None
    assert (session.news.tracks, session.news.rows) == ({}, [])
    for inbox in inboxes:
        while inbox.receive_nowait() is not None:
            pass
        another.link.send(m.LaneEnding(lane=99))
        assert select.select([inbox.fileno()], [], [], 20.0)[0], "it waits on the new link"
        session.pump()
        inbox.receive_nowait()


def test_who_is_forgotten_does_not_keep_another_from_the_new_link(far: Far, another: Any) -> None:
    forget(far.session.incoming.open_inbox((Kind.DATA,), None))
    inbox = far.session.incoming.open_inbox((Kind.AUDIO,), None)
    with collected_in(Inbox.relink):
        another.die()
    assert everything(inbox) == []
    another.link.send(m.LaneEnding(lane=99))
    assert select.select([inbox.fileno()], [], [], 20.0)[0], "it waits on the new link"
