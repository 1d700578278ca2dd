"""What remote participants may make us hold."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ringroom.events import Event, EventKind, Kind, Participant, TrackInfo
from ringroom.processes.io import admission
from ringroom.processes.io.admission import (
    MAX_TRACKS,
    MAX_TRACKS_OF_ONE,
    Admission,
    bounded,
    bounded_event,
    bounded_track,
)


def track(sid: str, who: str = "ann") -> TrackInfo:
    return TrackInfo(sid=sid, name="mic", kind=Kind.AUDIO, participant=who)


def test_so_many_tracks_of_one_participant() -> None:
    table = Admission()
    for number in range(MAX_TRACKS_OF_ONE):
        assert table.refusal(track(f"T{number}")) == ""
    assert "'ann' has 64 tracks already" in table.refusal(track("one more"))
    assert table.refusal(track("T3")) == "", "it was admitted before"
    assert table.refusal(track("B", "bob")) == ""
    table.forget("T3")
    table.forget("T3")
    assert table.refusal(track("one more")) == ""


def test_so_many_tracks_in_all() -> None:
    table = Admission()
    for number in range(MAX_TRACKS):
        assert table.refusal(track(f"T{number}", f"p{number}")) == ""
    assert "1000 tracks are received" in table.refusal(track("more", "late"))
    table.forget_participant("p7")
    table.forget_participant("nobody")
    assert table.refusal(track("more", "late")) == ""


def test_names_that_no_server_gives() -> None:
    table = Admission()
    assert table.refusal(track("x" * 1_025))
    assert table.refusal(track("T", "é" * 513))
    assert table.refusal(track("T", "\ud800" * 400))


@given(st.lists(st.tuples(st.sampled_from("waf"), st.integers(0, 5), st.integers(0, 2))))
def test_what_came_and_went_is_forgotten(steps: list[tuple[str, int, int]]) -> None:
    table, model = Admission(), dict[str, str]()
    for step, number, who in steps:
        sid, identity = f"T{number}", f"p{who}"
        if step == "w":
            table.refusal(track(sid, identity))
            model.setdefault(sid, identity)
        elif step == "a":
            table.forget(sid)
            model.pop(sid, None)
        else:
            table.forget_participant(identity)
            model = {s: w for s, w in model.items() if w != identity}
        assert table._owner_of == model
        assert dict(table._count) == {w: [*model.values()].count(w) for w in set(model.values())}


def test_texts_of_any_size_are_bounded() -> None:
    honest = Participant(identity="ann", name="Ann", metadata="{}", attributes={"a": "b"})
    assert bounded(honest) is honest
    assert bounded_track(track("T")) == track("T")
    big = "é" * 100_000
    person = bounded(
        Participant(identity=big, sid=big, name=big, metadata=big, attributes={big: ""}, kind=big)
    )
    cut = (person.identity, person.sid, person.name, person.kind)
    assert {len(text.encode()) for text in cut} == {1_024}
    assert (person.metadata, person.attributes) == ("", {})
    kept = bounded(replace(honest, metadata="x" * admission.MAX_METADATA, name="n" * 300))
    assert (len(kept.metadata), len(kept.name)) == (admission.MAX_METADATA, 300)
    event = Event(kind=EventKind.CONNECTED, participant=person, track=track(big), reason=big)
    assert len(repr(bounded_event(event))) < 20_000
    small = Event(kind=EventKind.CONNECTED, participant=honest)
    assert bounded_event(small) is small
