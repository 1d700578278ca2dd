"""Who and what is received, and what is told of messages without a sender."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
from io_kit import ANN, CAMERA, MIC

from ringroom.dtmf import DtmfFrame
from ringroom.events import Event, EventKind, Kind, Participant, TrackInfo
from ringroom.frames import DataFrame, FileFrame, TextFrame
from ringroom.notices import EVERY_NS, Notices
from ringroom.options import Participants, SessionOptions, Tracks
from ringroom.processes.io import choice
from ringroom.processes.io.choice import Choice
from ringroom.rpc import RpcCall

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


VOICE = replace(MIC, source="microphone")
SCREEN = replace(CAMERA, sid="T3", name="screen", source="screen_share")


class Asked:
    """A function of a track, and what it was asked about."""

    def __init__(self) -> None:
        self.sids: list[str] = []

    def __call__(self, track: TrackInfo) -> bool:
        self.sids.append(track.sid)
        return track.name == "mic"


def choosing(tracks: Tracks, notices: Notices | None = None) -> Choice:
    options = SessionOptions(kinds=BOTH, tracks=tracks)
    return Choice(options, notices or Notices(logging.getLogger("ringroom.io")))


@pytest.mark.parametrize(
    "wanted", [frozenset({"microphone", "camera"}), lambda track: track.source != "screen_share"]
)
def test_sources_and_a_function_that_says_the_same_are_one(wanted: Tracks) -> None:
    chosen = choosing(wanted)
    camera = replace(CAMERA, source="camera")
    assert [chosen.takes(track) for track in (VOICE, camera, SCREEN)] == [True, True, False]


def test_a_source_that_is_not_known_is_chosen_as_such() -> None:
    chosen = choosing(frozenset({"unknown"}))
    assert chosen.takes(replace(MIC, source="unknown"))
    assert not chosen.takes(VOICE)


def test_every_track_is_received_where_none_was_chosen() -> None:
    assert all(choosing(None).takes(track) for track in (VOICE, SCREEN))


def test_which_tracks_are_received_is_nothing_to_messages() -> None:
    chosen = choosing(lambda track: False)
    assert chosen.wants(ANN)
    assert chosen.hears("ann")
    assert chosen.hears("")


def test_which_messages_are_received_and_which_lost_ones_are_told() -> None:
    def taken(options: SessionOptions) -> list[bool]:
        chosen = Choice(options, Notices(logging.getLogger()))
        messages = (
            DataFrame(b"x", participant="ann"),
            DataFrame(b"x", participant="bob"),
            TextFrame(b"x", "chat", "ann"),
            FileFrame(b"x", "chat", "ann"),
            DtmfFrame("1", participant="ann"),
            RpcCall(b"", "method", "ann"),
        )
        failed = [EventKind.TEXT_FAILED, EventKind.FILE_FAILED]
        return [
            *map(chosen.takes_message, messages),
            *(chosen.takes_failed(what, who) for what in failed for who in ("ann", "bob")),
        ]

    plain = SessionOptions(kinds=BOTH, participants=("ann",))
    assert taken(plain) == [True] + 9 * [False]
    texts = replace(plain, text_topics=("chat",))
    assert taken(texts) == [True, False, True, *3 * [False], True, *3 * [False]]
    files = replace(plain, file_topics=("chat",))
    assert taken(files) == [True, False, False, True, *4 * [False], True, False]
    assert taken(replace(plain, dtmf=True))[4]


OVER = Event(kind=EventKind.TRACK_UNPUBLISHED, participant=ANN, track=VOICE)
GONE = Event(kind=EventKind.PARTICIPANT_LEFT, participant=ANN)


@pytest.mark.parametrize("event", [OVER, replace(OVER, participant=None), GONE])
def test_a_function_is_asked_once_about_a_publication(event: Event) -> None:
    asked = Asked()
    chosen = choosing(asked)
    for _ in range(3):
        assert chosen.takes(VOICE)
        assert not chosen.takes(SCREEN)
        chosen.note(Event(kind=EventKind.TRACK_ENDED, participant=ANN, track=VOICE))
        chosen.note(told(EventKind.PARTICIPANT_CHANGED, "ann", ""))
        chosen.note(told(EventKind.PARTICIPANT_LEFT, "bob", ""))
    assert asked.sids == ["T1", "T3"]
    chosen.note(event)
    assert chosen.takes(VOICE)
    assert asked.sids == ["T1", "T3", "T1"]


def test_a_function_is_asked_anew_in_the_next_room() -> None:
    asked = Asked()
    chosen = choosing(asked)
    for _ in range(2):
        assert chosen.takes(VOICE)
        chosen.forget_tracks()
    assert asked.sids == ["T1", "T1"]


def test_a_function_that_raises_says_no_and_is_told_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0
    notices = Notices(logging.getLogger("ringroom.io"), lambda: now)
    chosen = choosing(lambda track: 1 / 0 > 1, notices)
    assert not any(chosen.takes(track) for track in (VOICE, SCREEN, VOICE))
    assert notices.counts == {"tracks=": 2}, "not again about the same publication"
    assert caplog.text.count("tracks=: the predicate raised for 'ann/mic'") == 1
    assert "ZeroDivisionError" in caplog.text


def test_what_is_said_of_tracks_beyond_the_limit_is_not_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(choice, "MAX_JUDGED", 1)
    asked = Asked()
    chosen = choosing(asked)
    for _ in range(2):
        assert chosen.takes(VOICE)
        assert not chosen.takes(SCREEN)
    assert asked.sids == ["T1", "T3", "T3"]
