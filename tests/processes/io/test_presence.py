"""Who is in the room: what is told when it is lost."""

from __future__ import annotations

import pytest

from ringroom.events import Event, EventKind, Kind, Participant, TrackInfo
from ringroom.processes.io import presence
from ringroom.processes.io.presence import Presence

ANN = Participant(identity="ann", sid="P1", name="Ann", metadata="much", attributes={"a": "b"})
BEN = Participant(identity="ben")
MIC = TrackInfo(sid="T1", name="mic", kind=Kind.AUDIO, participant="ann")
CAMERA = TrackInfo(sid="T2", name="camera", kind=Kind.VIDEO, participant="ben")


def noted(*events: Event) -> Presence:
    made = Presence()
    for event in events:
        made.note(event)
    return made


def joined(who: Participant) -> Event:
    return Event(kind=EventKind.PARTICIPANT_JOINED, participant=who)


def published(track: TrackInfo, who: Participant) -> Event:
    return Event(kind=EventKind.TRACK_PUBLISHED, track=track, participant=who)


def farewell(made: Presence) -> list[tuple[str, str]]:
    return [
        (str(event.kind), event.track.sid if event.track else event.participant.identity)  # type: ignore[union-attr]
        for event in made.farewell("lost", 7)
    ]


def test_tracks_go_first_then_people_and_all_of_them_once() -> None:
    made = noted(joined(ANN), published(MIC, ANN), joined(BEN), published(CAMERA, BEN))
    assert farewell(made) == [
        ("track_unpublished", "T1"),
        ("track_unpublished", "T2"),
        ("participant_left", "ann"),
        ("participant_left", "ben"),
    ]
    assert farewell(made) == []


OURS = TrackInfo(sid="T3", name="voice", kind=Kind.AUDIO, participant="app")


@pytest.mark.parametrize("after", ["nothing", "unmuted", "unpublished"])
def test_a_track_of_ours_that_was_muted_is_so_no_more(after: str) -> None:
    made = noted(Event(kind=EventKind.PUBLISH_MUTED, track=OURS), joined(ANN))
    if after == "unmuted":
        made.note(Event(kind=EventKind.PUBLISH_UNMUTED, track=OURS))
    elif after == "unpublished":
        made.unpublished("voice")
    expected = [("publish_unmuted", "T3")] if after == "nothing" else []
    assert farewell(made) == [("participant_left", "ann"), *expected]
    assert farewell(made) == []


def test_a_farewell_says_who_when_and_why_and_keeps_no_metadata() -> None:
    changed = Event(kind=EventKind.PARTICIPANT_CHANGED, participant=ANN)
    track, person = noted(joined(ANN), changed, published(MIC, ANN)).farewell("lost", 7)
    plain = Participant(identity="ann", sid="P1", name="Ann")
    assert (track.track, track.participant, track.reason, track.received_ns) == (
        MIC,
        plain,
        "lost",
        7,
    )
    assert (person.participant, person.reason, person.received_ns) == (plain, "lost", 7)


def test_who_has_left_is_not_told_again_nor_what_was_unpublished() -> None:
    made = noted(
        joined(ANN),
        published(MIC, ANN),
        joined(BEN),
        published(CAMERA, BEN),
        Event(kind=EventKind.PARTICIPANT_LEFT, participant=ANN),
        Event(kind=EventKind.TRACK_UNPUBLISHED, track=CAMERA, participant=BEN),
        Event(kind=EventKind.CONNECTION_BACK),
        Event(kind=EventKind.TRACK_FAILED, track=MIC, participant=ANN),
    )
    assert farewell(made) == [("participant_left", "ben")]


def test_remotes_cannot_grow_it_beyond_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "MAX_NOTED", 3)
    many = [Participant(identity=f"p{number}") for number in range(9)]
    tracks = [TrackInfo(sid=f"T{n}", name="", kind=Kind.AUDIO, participant="p0") for n in range(9)]
    made = noted(*map(joined, many), *(published(track, many[0]) for track in tracks))
    assert len(farewell(made)) == 6


def somebody(kind: EventKind, identity: str, metadata: str = "") -> Event:
    return Event(kind=kind, participant=Participant(identity=identity, metadata=metadata))


def told(made: Presence) -> dict[str, str]:
    return {who.identity: who.metadata for who in made.people}


def test_who_is_there_is_remembered_as_they_are_now() -> None:
    made = Presence()
    made.note(somebody(EventKind.PARTICIPANT_JOINED, "ann"))
    made.note(somebody(EventKind.PARTICIPANT_JOINED, "bob"))
    made.note(somebody(EventKind.PARTICIPANT_CHANGED, "ann", "new"))
    made.note(somebody(EventKind.PARTICIPANT_LEFT, "bob"))
    made.note(somebody(EventKind.PARTICIPANT_LEFT, "carl"))
    made.note(somebody(EventKind.TRACK_PUBLISHED, "dora"))
    made.note(Event(kind=EventKind.CONNECTION_LOST))
    assert told(made) == {"ann": "new"}


def test_people_are_remembered_within_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "MAX_NOTED", 3)
    monkeypatch.setattr(presence, "MAX_TEXT", 10)
    made = Presence()
    for identity in "abcd":
        made.note(somebody(EventKind.PARTICIPANT_JOINED, identity, "1234"))
    assert told(made) == {"a": "1234", "b": "1234", "c": ""}
    made.note(somebody(EventKind.PARTICIPANT_LEFT, "a"))
    made.note(somebody(EventKind.PARTICIPANT_CHANGED, "b", "12345"))
    made.note(somebody(EventKind.PARTICIPANT_CHANGED, "c", "12345"))
    made.note(somebody(EventKind.PARTICIPANT_JOINED, "d", "1"))
    assert told(made) == {"b": "12345", "c": "12345", "d": ""}
