"""Who is received, and what is told of messages without a sender."""

from __future__ import annotations

import logging

import pytest
from io_kit import ANN

from ringroom.frames import Event, EventKind, Kind, Participant
from ringroom.notices import EVERY_NS, Notices
from ringroom.options import Participants, SessionOptions
from ringroom.processes.io import choice
from ringroom.processes.io.choice import Choice

BOTH = (Kind.AUDIO, Kind.DATA)


def told(kind: EventKind, who: str, metadata: str) -> Event:
    return Event(kind=kind, participant=Participant(identity=who, metadata=metadata))


@pytest.mark.parametrize("wanted", [frozenset({"ann"}), lambda who: who.identity == "ann"])
def test_identities_and_a_function_that_says_the_same_are_one(wanted: Participants) -> None:
    chosen = Choice(SessionOptions(kinds=BOTH, participants=wanted), Notices(logging.getLogger()))
    assert chosen.wants(ANN)
    assert not chosen.wants(Participant(identity="bob"))
    assert [chosen.hears(who) for who in ("ann", "bob", "")] == [True, False, False]


def test_everybody_is_heard_where_nobody_was_chosen() -> None:
    chosen = Choice(SessionOptions(kinds=BOTH), Notices(logging.getLogger()))
    assert chosen.wants(ANN)
    assert chosen.hears("bob")
    assert chosen.hears("")


def test_messages_without_a_sender_are_counted_and_told_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0
    notices = Notices(logging.getLogger("ringroom.io"), lambda: now)
    chosen = Choice(SessionOptions(kinds=BOTH, participants=frozenset({"ann"})), notices)
    for _ in range(3):
        assert not chosen.hears("")
    assert not chosen.hears("bob")
    assert notices.counts == {"nameless": 3}
    assert caplog.text.count("a message that names no sender was left out") == 1
    now = EVERY_NS
    chosen.hears("")
    assert "(2 more of this kind since it was last told)" in caplog.text


def test_nothing_is_told_where_no_messages_are_received() -> None:
    notices = Notices(logging.getLogger())
    chosen = Choice(SessionOptions(participants=frozenset({"ann"})), notices)
    chosen.hears("")
    assert not notices.counts


def test_those_beyond_the_limit_are_judged_by_their_identity(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(choice, "MAX_JUDGED", 2)
    options = SessionOptions(kinds=BOTH, participants=lambda who: who.metadata == "in")
    chosen = Choice(options, Notices(logging.getLogger()))
    for who in ("a", "b", "c"):
        chosen.note(told(EventKind.PARTICIPANT_JOINED, who, "in"))
    assert [chosen.hears(who) for who in "abc"] == [True, True, False]
    chosen.note(told(EventKind.PARTICIPANT_CHANGED, "b", ""))
    chosen.note(told(EventKind.PARTICIPANT_LEFT, "a", ""))
    chosen.note(told(EventKind.PARTICIPANT_JOINED, "c", "in"))
    assert [chosen.hears(who) for who in "abc"] == [False, False, True]
