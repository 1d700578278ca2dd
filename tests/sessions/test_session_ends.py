"""A session's link and its ends: who is woken, what is still heard, and which error it is."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import Any

import pytest

import session_kit
from ringroom import messages as m
from ringroom.errors import (
    ClosedError,
    LostProcessError,
    RoomError,
    StartupError,
)
from ringroom.events import Kind
from ringroom.lanes.memory import Segment
from ringroom.lanes.statistics import SLOTS
from ringroom.link import Link, open_links
from ringroom.options import SessionOptions
from ringroom.sessions.session import Session
from ringroom.testing import faults
from session_kit import Far, everything, send

far = session_kit.far
BROKEN = m.error_to_json(RoomError("it broke", reason="wire"))


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


@pytest.mark.parametrize("step", ["_keep_descriptors", "_next"])
def test_what_is_said_as_ctrl_c_comes_is_heard_and_told(
    far: Far, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """It is off the socket then, and nobody says it again: a track would never be ready."""
    request = far.session.requests.new()
    far.link.send(m.Reply(request=request, value=0.5))
    does, told = getattr(Link, step), list[int]()
    far.session.listeners.add(lambda: told.append(1))

    def interrupted(*given: object) -> object:
        monkeypatch.undo()
        result = does(*given)
        signal.raise_signal(signal.SIGINT)
        return result

    monkeypatch.setattr(Link, step, interrupted)
    with pytest.raises(KeyboardInterrupt):
        far.session.pump()
    assert told, "another thread may wait for it"
    assert far.session.requests.take(request) == 0.5


def test_what_the_socket_does_not_take_wakes_who_waits_and_each_look_sends_more(far: Far) -> None:
    told: list[int] = []
    far.session.listeners.add(lambda: told.append(1))
    far.session.send(m.RowFree(row=1))
    assert not told
    long = m.WorkerFailed(error="x" * 1_000_000)
    far.session.send(long)
    assert told
    looks = 0
    while (received := far.link.receive_nowait()) is None or received[0] != long:
        far.session.pump()
        looks += 1
    assert looks
    assert far.session.link.patience() is None


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
    assert far.session.end is not None
    assert far.session.end.error is None


def test_what_was_said_before_a_death_is_heard_though_a_send_has_noticed_it(far: Far) -> None:
    far.open("a", 1, heard=False)
    far.link.send(m.Ended(reason="room closed", error={}))
    far.link.close()
    far.session.send(m.LaneDone(lane=5))
    assert far.session.pump()
    assert [track.participant for track in far.session.incoming.tracks] == ["a"]
    assert far.session.end is not None
    assert far.session.end.reason == "room closed"


def test_descriptors_beside_a_message_that_takes_none_are_closed(far: Far) -> None:
    reading, writing = os.pipe()
    far.link.send(m.PlayoutReady(lane=1), (writing,))
    os.close(writing)
    far.session.pump()
    assert os.read(reading, 1) == b"", "nobody holds the other end"
    os.close(reading)


@pytest.mark.parametrize(
    ("wrong", "count"),
    [({}, 2), ({"row": SLOTS}, 3), ({"participant": {"identity": 5}}, 3)],
    ids=["too few descriptors", "no such row", "no participant"],
)
def test_a_lane_that_is_none_leaves_no_descriptors(
    far: Far, wrong: dict[str, Any], count: int
) -> None:
    opened = m.LaneOpened(
        lane=1, row=0, kind="audio", live=True, track={}, participant={}, follows=0
    )
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    far.link.send(opened.replace(**wrong), (writing,) * count)
    os.close(writing)
    assert far.session.pump()
    assert far.session.end is not None
    assert os.read(reading, 1) == b"", "nobody holds the other end"
    os.close(reading)


def test_an_error_is_raised_anew_for_each_call(far: Far) -> None:
    """One that is raised again and again would keep the frames of every call."""
    far.tell(m.Ended(reason="disconnected", error=BROKEN))
    errors = []
    for _ in range(2):
        with pytest.raises(RoomError) as caught:
            far.session.check_unfailed()
        errors.append(caught.value)
    assert errors[0] is not errors[1]


def test_what_was_sent_while_the_link_was_full_goes_out(far: Far) -> None:
    for request in range(2_000):
        far.session.send(m.Flush(request=request, lane=1, sequence=0))
    assert far.session.link.backlog
    heard: list[m.Message] = []
    while far.session.link.backlog:
        heard += far.heard()
        far.session.pump()
    heard += far.heard()
    assert [message.request for message in heard if isinstance(message, m.Flush)] == [*range(2_000)]


def test_the_ends(far: Far) -> None:
    far.session.check_unfailed()
    woken: list[int] = []
    far.session.listeners.add(lambda: woken.append(1))
    far.tell(m.Ended(reason="room closed", error={}))
    assert woken
    assert far.session.end is not None
    assert far.session.end.reason == "room closed"
    far.session.check_unfailed()
    far.tell(m.Ended(reason="other", error=BROKEN))
    assert far.session.end.error is None
    far.session.close()
    with pytest.raises(ClosedError):
        far.session.check_unfailed()
    assert not far.session.pump()


def test_a_loss_is_an_error(far: Far) -> None:
    far.tell(m.Ended(reason="disconnected", error=BROKEN))
    with pytest.raises(RoomError, match="it broke") as caught:
        far.session.check_unfailed()
    assert caught.value.reason == "wire"


def test_the_other_sides_death_and_what_was_under_way(far: Far) -> None:
    writer = far.open("a", 1)
    send(writer)
    far.link.close()
    assert far.session.pump()
    with pytest.raises(LostProcessError, match="the I/O process died"):
        far.session.check_unfailed()
    far.session.send(m.Leave())  # noted, not raised
    far.session.close()
    (lane,) = far.session.statistics()
    assert (lane.counts.sent, lane.counts.lost, lane.counts.in_flight) == (1, 1, 0)


def test_an_end_that_was_asked_for_is_no_loss(far: Far) -> None:
    far.session.leave()
    assert [type(message) for message in far.heard()] == [m.Leave]
    far.link.close()
    far.session.pump()
    assert far.session.end is not None
    assert (far.session.end.reason, far.session.end.error) == ("closed", None)


@pytest.mark.parametrize("what", ["descriptors", "memory"])
def test_a_lane_that_cannot_be_taken_over_ends_the_session_and_is_told_to_all(
    far: Far, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """It would go on deaf for that track, also when there is room again."""

    def refuses(_: Segment) -> None:
        raise StartupError("no memory for it")

    send(far.open("a", 1))
    inbox = far.session.incoming.open_inbox((Kind.AUDIO,), None)
    far.open("b", 2, heard=False)
    far.session.outlive_links()
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
            far.session.check_unfailed()
    assert not far.session.interrupted, "the I/O process lives"
    with pytest.raises(ClosedError):
        far.heard()
