"""Who reads from a session: in which turns, for whom, and what happens to the lanes meanwhile."""

from __future__ import annotations

import errno
import gc
import inspect
import os
import selectors
from contextlib import closing
from functools import partial

import pytest

import session_kit
from app_kit import descriptors, interrupted
from ringroom import messages as m
from ringroom.errors import (
    BusyError,
    ClosedError,
    StartupError,
    WireError,
)
from ringroom.events import Event, EventKind, Kind
from ringroom.faces.receiving import take_item
from ringroom.frames import AudioFrame, DataFrame
from ringroom.lanes.memory import open_counter
from ringroom.lanes.statistics import Count
from ringroom.sessions import inbox as inboxes
from ringroom.sessions.inbox import MAX_LOOSE_EVENTS, Arrival, InboundLane, Inbox
from ringroom.testing import faults
from session_kit import ALL, Far, collected_in, everything, forget, readable, send

far = session_kit.far


def test_each_lane_in_its_turn(far: Far) -> None:
    writers = [far.open(who, number) for number, who in enumerate("ab", 1)]
    inbox = far.session.incoming.open_inbox((Kind.AUDIO,), None)
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
    inbox = far.session.incoming.open_inbox((Kind.AUDIO,), None)
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
    inbox = far.session.incoming.open_inbox((Kind.AUDIO,), None)
    assert take_item(far.session, inbox) is None
    send(ann)
    send(ann)
    assert take_item(far.session, inbox) is not None
    send(far.open("ben", 2, heard=False))
    found = []
    for _ in range(5):
        send(ann)
        item = take_item(far.session, inbox)
        assert isinstance(item, AudioFrame)
        found.append(item.participant)
    assert "ben" in found


@pytest.mark.parametrize("before", [0, 1, 3])
def test_ctrl_c_while_something_is_taken_keeps_no_lane_from_its_turns(
    far: Far, before: int
) -> None:
    """What comes behind it waited until even more came."""
    for moment in range(1, 100):
        mailbox = far.open_mailbox(Kind.DATA, moment)
        inbox = far.session.incoming.open_inbox((Kind.DATA,), None)
        for number in range(6):
            mailbox.send_nowait(DataFrame(str(number).encode()), 0)
        assert readable(inbox.fileno())
        inbox.note(inbox.selector.select(0))
        arrivals = [inbox.receive_nowait() for _ in range(before)]

        def one(inbox: Inbox = inbox, arrivals: list[Arrival | None] = arrivals) -> None:
            arrivals.append(inbox.receive_nowait())

        was = interrupted(one, moment, inboxes)
        found = [arrival.item for arrival in arrivals] + everything(inbox)
        numbers = [int(item.payload) for item in found]
        assert numbers in ([*range(6)], [*range(before), *range(before + 1, 6)]), moment
        far.tell(m.LaneEnding(lane=moment))
        assert everything(inbox) == []
        assert m.LaneDone(lane=moment) in far.heard(), moment
        inbox.close()
        if not was:
            return
    raise AssertionError("it had no end")


def test_a_thousand_that_end_at_once_do_not_fill_the_stack(far: Far) -> None:
    inbox = far.session.incoming.open_inbox((Kind.AUDIO,), None)
    depths: list[int] = []
    before = far.session.incoming.finish_lane

    def finish(lane: InboundLane) -> None:
        depths.append(len(inspect.stack(0)))
        before(lane)

    far.session.incoming.finish_lane = finish  # type: ignore[method-assign]
    for number in range(1, 5):
        far.open(f"who{number}", number)
        far.link.send(m.LaneEnding(lane=number))
    far.session.pump()
    assert inbox.receive_nowait() is None
    assert len(depths) == 4
    assert len(set(depths)) == 1


def test_events_of_a_track_for_another_reader(far: Far) -> None:
    writer = far.open("a", 1)
    sounds = far.session.incoming.open_inbox((Kind.AUDIO,), None)
    events = far.session.incoming.open_inbox((Kind.EVENT,), None)
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
    inbox = far.session.incoming.open_inbox((Kind.AUDIO, Kind.DATA), frozenset("b"))
    found = everything(inbox)
    assert sorted(type(item).__name__ for item in found) == ["AudioFrame", "DataFrame", "DataFrame"]
    assert {item.participant for item in found} == {"b"}
    assert words.row.get(Count.DONE) == 4


def test_a_held_lane_waits_alone(far: Far) -> None:
    writers = [far.open(who, number) for number, who in enumerate("ab", 1)]
    inbox = far.session.incoming.open_inbox((Kind.AUDIO,), None)
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


def test_who_waits_on_the_selector_hands_in_what_it_found(far: Far) -> None:
    """A lane that another thread holds in between has no turn."""
    writers = [far.open(name, number) for number, name in enumerate("ab", 1)]
    inbox = far.session.incoming.open_inbox((Kind.AUDIO,), None)
    assert everything(inbox) == []
    send(writers[0])
    held = inbox.receive_nowait()
    assert held is not None
    assert held.lane is not None
    assert inbox.receive_nowait() is None
    for writer in writers:
        send(writer)
    found = inbox.selector.select(0)
    inbox.hold(held.lane)
    inbox.note(found)
    assert not inbox.woken
    assert [item.participant for item in everything(inbox)] == ["b"]
    inbox.release(held.lane)
    assert [item.participant for item in everything(inbox)] == ["a"]


def test_what_another_thread_took_off_the_link_is_told(far: Far) -> None:
    """It may be what we wait for."""
    inbox = far.session.incoming.open_inbox((Kind.AUDIO,), None)
    assert inbox.receive_nowait() is None
    assert not inbox.woken
    far.tell(m.RowFree(row=1))  # and takes it
    assert inbox.receive_nowait() is None
    assert inbox.woken


def test_what_is_watched_beside_the_link_is_told(far: Far) -> None:
    inbox = far.session.incoming.open_inbox((Kind.AUDIO,), None)
    assert inbox.receive_nowait() is None
    with closing(open_counter()) as counter:
        inbox.watch(counter.fileno())
        assert inbox.receive_nowait() is None
        assert not inbox.woken
        counter.add(1)
        assert inbox.receive_nowait() is None
        assert inbox.woken
        counter.take()
        inbox.close()


def test_one_reader_for_each_kind(far: Far) -> None:
    before = descriptors()
    inbox = far.session.incoming.open_inbox((Kind.AUDIO,), None)
    with pytest.raises(BusyError, match="already receives audio"):
        far.session.incoming.open_inbox(ALL, None)
    inbox.close()
    inbox.close()
    assert descriptors() == before, "also while somebody still holds it"
    assert inbox.fileno() == -1
    with pytest.raises(ClosedError):
        inbox.receive_nowait()
    far.session.incoming.open_inbox(ALL, None).close()
    assert not far.session.incoming.inboxes


def test_who_is_forgotten_does_not_make_another_deaf(far: Far) -> None:
    """It is collected as the lane is shown to one reader after the other, itself the first."""
    forget(far.session.incoming.open_inbox((Kind.DATA,), None))
    inbox = far.session.incoming.open_inbox((Kind.AUDIO,), None)
    with collected_in(Inbox.add):
        writer = far.open("a", 1)
    assert far.session.incoming.inboxes == (inbox,)
    send(writer)
    assert len(everything(inbox)) == 1


def test_garbage_in_a_lane_ends_the_lane(far: Far) -> None:
    writer = far.open("a", 1)
    good = far.open("b", 2)
    inbox = far.session.incoming.open_inbox((Kind.AUDIO,), None)
    writer.send_parts(b"\xff" * 64, b"")
    send(good)
    with pytest.raises(WireError):
        everything(inbox)
    assert [item.participant for item in everything(inbox)] == ["b"]
    assert far.heard() == [m.LaneDone(lane=1)]
    assert [track.participant for track in far.session.incoming.tracks] == ["b"]


def test_who_reads_events_late_is_told_how_many_he_has_missed(far: Far) -> None:
    for number in range(MAX_LOOSE_EVENTS + 3):
        event = Event(kind=EventKind.CONNECTION_LOST, reason=str(number))
        far.session.incoming.tell_of_connection(event)
    inbox = far.session.incoming.open_inbox({Kind.EVENT}, None)
    told = []
    while (arrival := inbox.receive_nowait()) is not None:
        assert isinstance(arrival.item, Event)
        told.append((arrival.item.kind, arrival.item.reason))
    assert told[:2] == [
        (EventKind.EVENTS_LOST, "3 not read in time"),
        (EventKind.CONNECTION_LOST, "3"),
    ]
    assert len(told) == MAX_LOOSE_EVENTS + 1


def test_a_listener_that_is_collected_as_all_are_told_takes_no_other_along(far: Far) -> None:
    """Whatever the collector comes upon: each allocation of the call has its turn."""
    listeners = far.session.listeners
    told: list[int] = []
    for number in range(25):  # so many make a tuple grow
        listeners.add(partial(told.append, number))

    class Receiver:
        def __init__(self) -> None:
            self.itself = self
            listeners.add(_listener)

        def __del__(self) -> None:
            listeners.discard(_listener)

    thresholds = gc.get_threshold()
    collected_within = 0
    gc.collect()
    gc.disable()
    try:
        for allocations in range(40):
            Receiver()
            told.clear()
            gc.set_threshold(gc.get_count()[0] + allocations, 1_000, 1_000)
            gc.enable()
            far.session.notify()
            gc.disable()
            collected_within += len(listeners) == 25
            gc.collect(1)  # it is young; all that other tests have left takes a second each time
            assert told == list(range(25))
    finally:
        gc.set_threshold(*thresholds)
        gc.enable()
    assert collected_within


def _listener() -> None:
    """A listener."""


def test_a_reader_that_is_closed_as_all_are_told_takes_no_other_along(far: Far) -> None:
    """By the collector, say."""
    told: list[str] = []
    inboxes: list[Inbox] = []
    far.session.listeners.add(lambda: inboxes[0].close())
    inboxes.append(far.session.incoming.open_inbox((Kind.AUDIO,), None))
    far.session.listeners.add(lambda: told.append("after it"))
    far.session.notify()
    assert told == ["after it"]


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_reader_who_may_watch_nothing_more_learns_why(
    far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = descriptors()
    with monkeypatch.context() as patched:
        patched.setattr(selectors.DefaultSelector, "register", full)
        with pytest.raises(StartupError, match="max_user_watches"):
            far.session.incoming.open_inbox((Kind.AUDIO,), None)
    assert descriptors() == before
    inbox = far.session.incoming.open_inbox((Kind.AUDIO,), None)
    with monkeypatch.context() as patched:
        patched.setattr(selectors.DefaultSelector, "register", full)
        far.open("a", 1)
    with pytest.raises(StartupError, match="max_user_watches"):
        take_item(far.session, inbox)
    assert inbox.closed


@pytest.mark.parametrize("left", [0, 1])
def test_a_reader_for_which_no_descriptors_are_left_leaves_nothing_and_keeps_no_kind(
    far: Far, left: int
) -> None:
    before = descriptors()
    spares = [os.dup(0)]
    with faults.descriptors_exhausted():
        for fd in spares[:left]:
            os.close(fd)
        with pytest.raises(StartupError, match="ulimit -n") as refused:
            far.session.incoming.open_inbox((Kind.AUDIO,), None)
    for fd in spares[left:]:
        os.close(fd)
    # Its frames keep what they had, so nothing of it is collected.
    assert descriptors() == before
    del refused
    far.session.incoming.open_inbox((Kind.AUDIO,), None).close()
