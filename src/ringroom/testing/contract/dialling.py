"""Promises about the digits of telephones (DTMF), in both directions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ringroom.dtmf import DIGITS, DtmfFrame
from ringroom.errors import FrameError
from ringroom.events import EventKind
from ringroom.frames import DataFrame
from ringroom.testing.contract.hearing import collect, following
from ringroom.testing.contract.messaging import received
from ringroom.testing.contract.promise import expect, expect_error, promise
from ringroom.testing.contract.subject import Stage, Subject


def ann_presses(subject: Subject) -> list[Any]:
    """What we receive of the keys, all of which Ann presses."""
    with subject.opened(kinds=("data",), dtmf=True) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        stage.driver.press("ann", DIGITS)
        items, _ = collect(receiver, lambda got: len(got) == len(DIGITS), 2 * stage.patience)
        expect(items, "not one digit arrived")
        return items


def expect_digits(frames: Sequence[DataFrame]) -> None:
    """Break the promise unless these are all of the digits, once each, in order."""
    strangers = [one for one in frames if not isinstance(one, DtmfFrame)]
    expect(not strangers, "a digit arrived as a message")
    found = "".join(one.digit for one in frames if isinstance(one, DtmfFrame))
    expect(found == DIGITS, f"the digits {DIGITS} arrived as {found}")


def until_known(stage: Stage) -> None:
    """A room may drop digits on their way to somebody who has not been told of their sender."""
    stage.until(lambda: len(stage.driver.people()) > 1, "the others being told of us")


def in_turn(frames: Sequence[DataFrame]) -> list[str]:
    return [one.digit if isinstance(one, DtmfFrame) else "message" for one in frames]


@promise("dtmf_in")
def digits_arrive_in_order_and_once(subject: Subject) -> None:
    """Every key that is pressed arrives, once, in order, as its digit."""
    expect_digits(ann_presses(subject))


@promise("dtmf_in")
def a_digit_names_who_pressed_it(subject: Subject) -> None:
    """A received digit tells whose it is."""
    who = ann_presses(subject)[0].participant
    expect(who == "ann", f"'ann' pressed the key, it is said to be of {who!r}")


@promise("dtmf_in", "data_in")
def digits_arrive_in_order_with_messages(subject: Subject) -> None:
    """Keys and messages of one sender arrive in the order in which they were sent."""
    with subject.opened(kinds=("data",), dtmf=True) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        stage.driver.press("ann", "12")
        stage.driver.send_data("ann", b"between", "", ())
        stage.driver.press("ann", "#")
        items, _ = collect(receiver, lambda got: len(got) == 4, 2 * stage.patience)
        found = in_turn(items)
        expect(found == ["1", "2", "message", "#"], f"what arrived is {found}")


@promise("dtmf_in", "data_in")
def digits_come_to_those_who_ask_for_them(subject: Subject) -> None:
    """Who receives messages, and has not asked for digits, gets none."""
    with subject.opened(kinds=("data",)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        stage.driver.press("ann", "5")
        stage.driver.send_data("ann", b"message", "", ())
        got = following(receiver)
        expect(not isinstance(got, DtmfFrame), "a digit came, for which nobody has asked")


@promise("dtmf_out", "people")
def digits_of_ours_arrive_in_order_and_once(subject: Subject) -> None:
    """Every digit that we send is received, once, in order."""
    with subject.opened(kinds=()) as (transport, stage):
        until_known(stage)
        transport.send_dtmf(DIGITS, timeout=stage.patience)
        expect_digits(received(stage, DIGITS[-1].encode()))


@promise("dtmf_out", "data_out", "people")
def digits_of_ours_arrive_in_order_with_messages(subject: Subject) -> None:
    """Digits and messages that we send are received in the order in which we sent them."""
    with subject.opened(kinds=()) as (transport, stage):
        until_known(stage)
        transport.send_dtmf("12", timeout=stage.patience)
        transport.send_data(b"between", timeout=stage.patience)
        transport.send(DtmfFrame("#"), timeout=stage.patience)
        found = in_turn(received(stage, b"#"))
        expect(found == ["1", "2", "message", "#"], f"what was received is {found}")


@promise("dtmf_out", "people")
def what_is_no_digit_is_refused_before_any_is_sent(subject: Subject) -> None:
    """Something else among the digits raises `FrameError`, and none of them is received."""
    with subject.opened(kinds=()) as (transport, stage):
        until_known(stage)
        expect_error(FrameError, lambda: transport.send_dtmf("12x"), "sending the digits 12x")
        transport.send_dtmf("#", timeout=stage.patience)
        found = in_turn(received(stage, b"#"))
        expect(found == ["#"], f"of the digits 12x some were sent: {found} were received")


@promise("dtmf_out", "refusals", "events")
def a_refused_digit_is_told(subject: Subject) -> None:
    """A digit that the room refuses is told as an event, for sending does not wait for it."""
    with subject.opened(kinds=("event",)) as (transport, stage):
        stage.driver.refuse("data")
        receiver = transport.recv(timeout=stage.patience)
        transport.send_dtmf("5", timeout=stage.patience)

        def told(items: list[Any]) -> bool:
            return bool(items) and items[-1].kind is EventKind.DATA_FAILED

        events, _ = collect(receiver, told, 2 * stage.patience)
        expect(told(events), f"a refused digit was not told: {[str(one.kind) for one in events]}")
