"""Calls and muting in simulated calls, and that the simulation finds what is wrong with them."""

from __future__ import annotations

from unittest import mock

import pytest
from finding_kit import CALM, finds

from ringroom import messages as m
from ringroom.processes.io.muting import Muting
from ringroom.processes.io.open_calls import OpenCalls
from ringroom.providers.fake.playout import AudioPlayout, PublishedTrack
from ringroom.rpc import RpcAnswer
from ringroom.sender import Sender
from ringroom.sessions.calls import OwnCalls
from ringroom.sessions.mute_changes import MuteChanges
from ringroom.testing.simulation import (
    CallThem,
    CallUs,
    Freeze,
    Kill,
    Lose,
    Mute,
    Settle,
    Story,
    run,
)
from ringroom.testing.simulation.call_laws import OF_GUESTS, OF_US
from ringroom.testing.simulation.story import Happening

LONG = 3.0


def story(seconds: float, *happenings: Happening) -> Story:
    return Story(CALM, seconds, tuple(sorted(happenings, key=lambda one: one.at)))


def asked(at: float, wanted: str = "answer", seconds: float = LONG) -> tuple[CallThem, CallUs]:
    """A call in each direction."""
    them = CallThem(at=at, seat=0, wanted=wanted, seconds=seconds)
    return them, CallUs(at=at, seat=0, wanted=wanted, seconds=seconds)


# What may happen to them.


def test_whatever_is_wanted_both_sides_get_their_own() -> None:
    wanted = [CallThem(at=1.0, seat=0, wanted=one, seconds=0.5) for one in {*OF_GUESTS}]
    theirs = [CallUs(at=1.1, seat=1, wanted=one, seconds=0.5) for one in {*OF_US}]
    outcome = run(story(3.0, *wanted, *theirs, Settle(at=2.0)))
    assert (outcome.law, outcome.text) == ("", "")
    # Beside these: one that was asked back, and two for each seat at the end.
    assert outcome.calls == len(wanted) + len(theirs) + 1 + 2 * Story.SEATS
    assert outcome.mutes == 3, "by a worker, and at the end"


@pytest.mark.parametrize(
    "fault",
    [
        Kill(at=2.0, role="ringroom-io", points=2),
        Kill(at=2.0, role="ringroom-worker-0", points=0),
        Lose(at=2.0, seconds=0.5, resume=True),
        Lose(at=2.0, seconds=0.5, resume=False),
        Freeze(at=2.0, role="ringroom-io", seconds=0.5),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_calls_and_mutes_beside_a_fault(fault: Happening) -> None:
    moments = (1.98, 2.0, 2.02, 2.1, 2.4)
    calls = [call for at in moments for call in asked(at)]
    mutes = (Mute(at=1.99, muted=True), Mute(at=3.5, muted=False), Mute(at=4.2, muted=True))
    outcome = run(story(5.0, *calls, *mutes, fault, Settle(at=5.0)))
    assert (outcome.law, outcome.text) == ("", "")
    assert outcome.mutes == len(mutes) + 1


def muted_in_vain() -> list[Story]:
    """The I/O role stands still as sound of the muted track plays, until that is unmuted."""
    frozen = Freeze(at=2.07, role="ringroom-io", seconds=1.0)
    return [story(5.0, Mute(at=2.05, muted=True), frozen, Mute(at=2.55, muted=False))]


def test_what_played_while_it_was_muted_is_not_heard_later() -> None:
    """The simulation found it."""
    (found,) = muted_in_vain()
    outcome = run(found)
    assert (outcome.law, outcome.text) == ("", "")


# That it finds what is wrong with calls.


def test_it_finds_an_answer_to_somebody_else() -> None:
    answer = OpenCalls.answer

    def misled(calls: OpenCalls, found: RpcAnswer) -> None:
        other = next(iter(calls._open))
        calls._open[found.number], calls._open[other] = (
            calls._open[other],
            calls._open[found.number],
        )
        answer(calls, found)

    unanswered = CallUs(at=1.0, seat=0, wanted="nothing", seconds=LONG)
    told = story(4.0, unanswered, CallUs(at=1.5, seat=0, wanted="answer", seconds=LONG))
    finds("calls", mock.patch.object(OpenCalls, "answer", misled), [told], "with guest0")


def test_it_finds_a_call_that_is_not_answered() -> None:
    lost = mock.patch.object(OpenCalls, "answer", return_value=None)
    finds("calls", lost, [story(3.0, *asked(1.0, seconds=0.5))], "RpcError 1502")


def test_it_finds_an_answer_of_ours_that_does_not_arrive() -> None:
    lost = mock.patch.object(OwnCalls, "ended", return_value=None)
    finds("calls", lost, [story(3.0, *asked(1.0, seconds=0.5))], "TimeoutError")


def test_it_finds_a_call_that_is_made_again() -> None:
    def again(calls: OwnCalls, why: str) -> None:
        for number, call in calls._under_way.items():
            fields = {"to": call.to, "method": call.method, "payload": call.payload}
            calls._send(m.PerformCall(request=number, seconds=call.timeout, **fields))

    died = Kill(at=2.0, role="ringroom-io", points=0)
    calls = [CallThem(at=1.9, seat=0, wanted="nothing", seconds=LONG)]
    made = mock.patch.object(OwnCalls, "lose", again)
    finds("calls", made, [story(5.0, *calls, died)], "has reached two")


def test_it_finds_a_caller_that_is_told_too_late() -> None:
    def late(sender: Sender, to: str, method: str, payload: str = "", *, timeout: float) -> str:
        return call(sender, to, method, payload, timeout=timeout + 1.0)

    call = Sender.call
    unanswered = CallThem(at=1.0, seat=0, wanted="nothing", seconds=0.5)
    finds("calls", mock.patch.object(Sender, "call", late), [story(4.0, unanswered)], "have passed")


def test_it_finds_a_caller_that_is_told_too_early() -> None:
    def early(sender: Sender, to: str, method: str, payload: str = "", *, timeout: float) -> str:
        return call(sender, to, method, payload, timeout=timeout - 0.1)

    call = Sender.call
    unanswered = CallThem(at=1.0, seat=0, wanted="nothing", seconds=0.5)
    finds("calls", mock.patch.object(Sender, "call", early), [story(4.0, unanswered)], "after 0.4")


def test_it_finds_that_a_call_is_given_up_without_a_loss() -> None:
    def give_up(calls: OwnCalls, message: m.CallEnded) -> None:
        calls.lose("the weather changed")

    given_up = mock.patch.object(OwnCalls, "ended", give_up)
    finds("calls", given_up, [story(3.0, *asked(1.0))], "RoomError disconnected")


# And with muting.


def test_it_finds_that_a_muted_track_is_heard() -> None:
    lied = mock.patch.object(Muting, "_set", return_value=None)
    finds("muting", lied, [story(4.0, Mute(at=1.5, muted=True))], "was heard")


def test_it_finds_that_what_played_while_it_was_muted_is_heard_later() -> None:
    late = mock.patch.object(AudioPlayout, "mute", PublishedTrack.mute)
    finds("muting", late, muted_in_vain(), "was heard")


def test_it_finds_that_the_far_end_is_not_told() -> None:
    def silent(playout: AudioPlayout, muted: bool) -> None:
        playout._muted = muted

    told = story(4.0, Mute(at=1.5, muted=True), Settle(at=3.0))
    finds("muting", mock.patch.object(AudioPlayout, "mute", silent), [told], "is not muted for")


def test_it_finds_that_the_next_io_process_forgets_what_is_muted() -> None:
    forgotten = mock.patch.object(MuteChanges, "ask_again", return_value=None)
    died = Kill(at=2.0, role="ringroom-io", points=0)
    finds("muting", forgotten, [story(6.0, Mute(at=1.5, muted=True), died)], "was heard")


def test_it_finds_that_a_track_is_not_unmuted() -> None:
    before = Muting._set

    def mutes_alone(muting: Muting, track: str, muted: bool) -> object:
        return before(muting, track, muted) if muted else None

    told = story(4.0, Mute(at=1.5, muted=True), Settle(at=3.0))
    finds("muting", mock.patch.object(Muting, "_set", mutes_alone), [told], "is not heard")
