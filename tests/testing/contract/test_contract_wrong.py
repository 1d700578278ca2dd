"""Every promise can be broken: for each there is something wrong that it finds, and names.

A check that nothing can fail would be a defect of the contract.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
import wrong_calls
import wrong_core
import wrong_dtmf
import wrong_files
import wrong_inbound
import wrong_layers
import wrong_losing
import wrong_muting
import wrong_outbound
import wrong_own_profile
import wrong_people
import wrong_quality
import wrong_room
import wrong_sensing
import wrong_speaking
import wrong_subscribing
import wrong_texts
import wrong_tracks
import wrong_writing
from wrong_kit import EVERY, Twist, Wrong, WrongCore, found, with_patience

from ringroom.testing import contract

pytestmark = pytest.mark.once

BY_NAME = {promise.name: promise for promise in contract.PROMISES}
CASES = [(wrong, name) for wrong in EVERY for name in wrong.broken]


def case_id(case: tuple[type[Wrong], str]) -> str:
    return f"{case[0].__name__}-{case[1]}"


@pytest.fixture
def _tidied() -> Iterator[None]:
    """What is left behind on purpose goes after the test."""
    yield
    for transport in WrongCore.opened:
        transport._connection.closed = True
        transport._connection.close()
    WrongCore.opened.clear()
    for fd in wrong_outbound.LeaksADescriptor.leaked:
        os.close(fd)
    wrong_outbound.LeaksADescriptor.leaked.clear()
    wrong_core.KnowsItsGuests.guests.clear()


@pytest.mark.usefixtures("_tidied")
@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_what_is_wrong_is_found_and_named(case: tuple[type[Wrong], str]) -> None:
    wrong, name = case
    report = found(wrong.subject(), [BY_NAME[name]], wrong.broken[name])
    [outcome] = report.outcomes
    assert outcome.state == "broken", f"{wrong.__name__} was not noticed by {name}"
    assert re.search(wrong.broken[name], outcome.cause), outcome.cause
    assert name in str(report)
    assert outcome.promise.says in str(report)


PICTURES = "pictures_arrive_in_order_and_once"


def coded(subject: contract.Subject) -> contract.Subject:
    return replace(subject, capabilities=replace(subject.capabilities, exact_video=False))


@pytest.mark.usefixtures("_tidied")
@pytest.mark.parametrize(
    "wrong", [one for one in EVERY if PICTURES in one.broken], ids=lambda one: one.__name__
)
def test_what_is_wrong_is_found_where_pictures_pass_a_codec(wrong: type[Wrong]) -> None:
    cause = r"in the order|more than once"
    report = found(coded(wrong.subject()), [BY_NAME[PICTURES]], cause)
    [outcome] = report.outcomes
    assert outcome.state == "broken"
    assert re.search(cause, outcome.cause), outcome.cause


def test_what_is_right_is_kept_where_pictures_pass_a_codec() -> None:
    assert contract.check(coded(contract.fake_subject()), [BY_NAME[PICTURES]]).kept


@pytest.mark.parametrize("name", [PICTURES, "pictures_are_seen_in_order_and_once"])
def test_black_before_the_first_picture_is_not_wrong_where_pictures_pass_a_codec(name: str) -> None:
    subject = with_patience(wrong_inbound.ShowsBlackFirst.subject(), 5.0)
    report = contract.check(coded(subject), [BY_NAME[name]])
    assert report.kept, str(report)


@pytest.mark.parametrize(
    ("wrong", "name", "cause"),
    [
        (wrong_inbound.ShowsBlackBetween, PICTURES, "in the order"),
        (wrong_inbound.ShowsBlackBetween, "pictures_are_seen_in_order_and_once", "in the order"),
        (wrong_inbound.ShowsOnlyBlack, "pictures_are_seen_in_order_and_once", "nothing but black"),
    ],
)
def test_other_black_is_wrong_also_where_pictures_pass_a_codec(
    wrong: type[Wrong], name: str, cause: str
) -> None:
    report = found(coded(wrong.subject()), [BY_NAME[name]], cause)
    [outcome] = report.outcomes
    assert outcome.state == "broken"
    assert cause in outcome.cause


def test_every_promise_is_broken_by_something() -> None:
    broken = {name for _, name in CASES}
    assert broken <= BY_NAME.keys()
    assert not [name for name in BY_NAME if name not in broken]


def test_there_are_enough_promises_and_each_says_what_it_promises() -> None:
    assert len(BY_NAME) == len(contract.PROMISES) >= 60
    for promise in contract.PROMISES:
        assert promise.says.endswith("."), promise
        for need in promise.needs:
            assert isinstance(getattr(contract.FAKE, need), bool), need


def test_a_twist_that_does_nothing_is_right() -> None:
    chosen = [BY_NAME["sound_arrives_in_order"], BY_NAME["sound_is_heard_in_order"]]
    report = contract.check(with_patience(Twist.subject(), 5.0), chosen)
    assert report.ok, str(report)


assert wrong_inbound, wrong_people  # their classes are found by being defined
assert wrong_tracks, wrong_losing
assert wrong_own_profile, wrong_muting
assert wrong_calls
assert wrong_texts, wrong_writing
assert wrong_dtmf
assert wrong_room
assert wrong_quality
assert wrong_files
assert wrong_layers
assert wrong_speaking
assert wrong_subscribing
assert wrong_sensing
