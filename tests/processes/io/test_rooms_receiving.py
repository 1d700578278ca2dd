"""Who receives what, and what waits for those who do not read."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from io_kit import ANN, CAMERA, MIC, run, turns, until
from rooms_kit import BOB, ROWS, hear, texts, there, track

from ringroom import messages as m
from ringroom.dtmf import DtmfFrame
from ringroom.errors import StartupError
from ringroom.events import Event, EventKind, Participant, TrackInfo
from ringroom.frames import DataFrame, FileFrame, TextFrame
from ringroom.lanes.live import MAX_OWED
from ringroom.lanes.memory import Segment
from ringroom.processes.io.inbound_lanes import MAX_UNREAD_ENDED


def test_a_worker_in_a_place_stays_when_the_one_before_it_goes() -> None:
    async def main() -> None:
        async with there() as t:
            t.connect(readers=1)
            old = t.attach(0)
            await t.joined()
            new = t.attach(0)
            await turns()
            old.link.close()
            await turns(100)
            t.sink.data(DataFrame(b"1", participant="ann"))
            await until(lambda: texts(new.items()) == [b"1"])
            assert texts(t.items()) == []

    run(main())


def test_messages_go_where_the_tracks_of_their_sender_go() -> None:
    async def main() -> None:
        async with there() as t:
            t.connect(readers=2)
            workers = [t.attach(place) for place in range(2)]
            await t.joined()
            for who in ("ann", "bob"):
                hear(t.sink.open_track(track(f"T{who}", who), Participant(identity=who)), 1)
            # Who names no sender goes to worker 0, however busy it is.
            t.sink.open_track(track("T9"), ANN)
            for who in ("bob", "ann", "bob", ""):
                t.sink.data(DataFrame(who.encode() or b"nobody", participant=who))
            got = [[i.payload for i in w.items() if isinstance(i, DataFrame)] for w in workers]
            assert got == [[b"ann", b"nobody"], [b"bob", b"bob"]]

    run(main())


@pytest.mark.parametrize(("route", "places"), [("participant", [4, 0]), ("track", [2, 2])])
def test_tracks_of_one_participant(route: str, places: list[int]) -> None:
    async def main() -> None:
        async with there() as t:
            t.connect(2, route)
            workers = [t.attach(place) for place in range(2)]
            await t.joined()
            for number in range(4):
                t.sink.open_track(track(f"T{number}"), ANN)
            await until(lambda: sum(len(w.of(m.LaneOpened)) for w in workers) == 4)
            assert [len(w.of(m.LaneOpened)) for w in workers] == places

    run(main())


def test_places_are_given_by_what_is_open_now() -> None:
    async def main() -> None:
        async with there() as t:
            t.connect(readers=2)
            workers = [t.attach(place) for place in range(2)]
            await t.joined()
            first = [t.sink.open_track(track(f"A{n}"), ANN) for n in range(3)]
            t.sink.open_track(track("B", "bob"), BOB)
            for one in first:
                one.close()
            t.sink.open_track(track("C", "cy"), Participant(identity="cy"))
            await until(lambda: sum(len(w.of(m.LaneOpened)) for w in workers) == 5)
            assert [len(w.of(m.LaneOpened)) for w in workers] == [4, 1]

    run(main())


def test_only_who_is_asked_for_is_received() -> None:
    async def main() -> None:
        async with there(participants=("ann",)) as t:
            t.connect()
            await t.joined()
            assert t.sink.wants(MIC, ANN)
            assert not t.sink.wants(track("T9", "bob"), BOB)
            for who in ("bob", "ann"):
                t.sink.data(DataFrame(who.encode(), participant=who))
            await until(lambda: texts(t.items()) == [b"ann"])

    run(main())


def test_only_tracks_of_the_sources_asked_for_are_received() -> None:
    async def main() -> None:
        async with there(tracks=("microphone", "camera")) as t:
            t.connect()
            await t.joined()
            for one, source, wanted in (
                (MIC, "microphone", True),
                (CAMERA, "camera", True),
                (MIC, "screen_share_audio", False),
                (CAMERA, "screen_share", False),
                (MIC, "unknown", False),
            ):
                named = replace(one, sid=source, source=source)
                assert t.sink.wants(named, ANN) is wanted, named
                assert (source in t.sink._admission._owner_of) is wanted, "others take no place"
            shared = replace(CAMERA, source="screen_share")
            t.sink.event(Event(kind=EventKind.TRACK_PUBLISHED, participant=ANN, track=shared))
            t.sink.data(DataFrame(b"heard", participant="ann"))
            # That the others are there is told, and messages have no track.
            await until(lambda: texts(t.items()) == [EventKind.TRACK_PUBLISHED, b"heard"])

    run(main())


ASKED: list[TrackInfo] = []


def asked_and_wanted(one: TrackInfo) -> bool:
    """It travels by its name, so that it is this one that is asked."""
    ASKED.append(one)
    return True


def test_a_function_is_asked_about_tracks_of_kinds_and_people_that_are_received() -> None:
    async def main() -> None:
        async with there(kinds=("audio",), participants=("ann",), tracks=asked_and_wanted) as t:
            t.connect()
            await t.joined()
            assert not t.sink.wants(track("T9", "bob"), BOB)
            assert not t.sink.wants(CAMERA, ANN)
            assert ASKED == []
            for _ in range(2):
                assert t.sink.wants(MIC, ANN)
            assert ASKED == [MIC]
            long = replace(MIC, sid="T5", name="n" * 5_000)
            assert t.sink.wants(long, ANN)
            assert ASKED[1] == replace(long, name="n" * 1_024), "as it is told in events"
            t.session.parted("lost")
            assert t.sink.wants(MIC, ANN)
            assert ASKED[2:] == [MIC], "also of a track whose publication was never told"

    ASKED.clear()
    run(main())


def test_texts_of_topics_that_nobody_asked_for_are_left_out() -> None:
    async def main() -> None:
        async with there(kinds=("data",), text_topics=("wanted",)) as t:
            t.connect()
            await t.joined()
            for topic in ("other", "wanted"):
                t.sink.data(TextFrame(topic.encode(), topic, "ann"))
                t.sink.data(DataFrame(b"message", topic, "ann"))
            await until(lambda: texts(t.items()) == [b"message", b"wanted", b"message"])

    run(main())


@pytest.mark.parametrize("dtmf", [True, False])
def test_digits_come_where_they_are_asked_for(dtmf: bool) -> None:
    async def main() -> None:
        async with there(kinds=("data",), dtmf=dtmf) as t:
            t.connect()
            await t.joined()
            t.sink.data(DtmfFrame("5", participant="ann"))
            t.sink.data(DataFrame(b"message", participant="ann"))
            await until(lambda: texts(t.items()) == [b"5"] * dtmf + [b"message"])

    run(main())


def test_files_of_topics_that_nobody_asked_for_are_left_out() -> None:
    async def main() -> None:
        async with there(kinds=("data",), file_topics=("wanted",)) as t:
            t.connect()
            await t.joined()
            for topic in ("other", "wanted"):
                t.sink.data(FileFrame(topic.encode(), topic, "ann"))
                t.sink.data(TextFrame(b"text", topic, "ann"))
                t.sink.data(DataFrame(b"message", topic, "ann"))
            await until(lambda: texts(t.items()) == [b"message", b"wanted", b"message"])

    run(main())


@pytest.mark.parametrize(
    ("kind", "topics"),
    [(EventKind.TEXT_FAILED, "text_topics"), (EventKind.FILE_FAILED, "file_topics")],
)
def test_what_did_not_come_whole_is_counted_at_its_senders_reader(
    kind: EventKind, topics: str
) -> None:
    def failed(who: str, kind: EventKind = kind) -> Event:
        return Event(kind=kind, participant=Participant(identity=who), reason="x")

    (other,) = {EventKind.TEXT_FAILED, EventKind.FILE_FAILED} - {kind}

    async def main() -> None:
        kinds = {"kinds": ("data", "event"), topics: ("t",)}
        async with there(participants=("ann", "bob"), **kinds) as t:
            t.connect(readers=2)
            workers = [t.attach(place) for place in range(2)]
            await t.joined()
            for who in ("ann", "bob"):
                t.sink.data(DataFrame(who.encode(), participant=who))
            for who in ("bob", "eve", "bob"):
                t.sink.event(failed(who))
                t.sink.event(failed(who, other))
            told: list[list[str]] = [[], []]

            def all_told() -> bool:
                for one, names in zip(workers, told, strict=True):
                    events = [item for item in one.items() if isinstance(item, Event)]
                    found = [e for e in events if e.kind in (kind, other)]
                    names += [e.participant.identity for e in found if e.participant]
                return told == [["bob", "bob"], ["bob", "bob"]]

            await until(all_told)
            counts = [
                t.table.row(lane.row).snapshot()
                for one in workers
                for lane in one.of(m.LaneOpened)
                if lane.kind == "data"
            ]
            assert [(one.sent, one.dropped_full) for one in counts] == [(1, 0), (3, 2)]

    run(main())


def test_a_function_decides_about_messages_as_it_does_about_tracks() -> None:
    """By what is known of the sender when the message comes; also in the room that is joined
    next."""

    def wanted(who: Participant) -> bool:
        return who.attributes.get("role") == "speaker" or who.identity == "early"

    def said(kind: EventKind, who: str, role: str) -> Event:
        return Event(kind=kind, participant=Participant(identity=who, attributes={"role": role}))

    async def main() -> None:
        async with there(participants=wanted, kinds=("data",)) as t:
            t.connect()
            await t.joined()
            t.sink.event(said(EventKind.PARTICIPANT_JOINED, "ann", "speaker"))
            t.sink.event(said(EventKind.PARTICIPANT_JOINED, "bob", "guest"))
            for who in ("ann", "bob", "early", "late"):
                t.sink.data(DataFrame(who.encode(), participant=who))
            t.sink.event(said(EventKind.PARTICIPANT_CHANGED, "ann", "guest"))
            t.sink.event(said(EventKind.PARTICIPANT_CHANGED, "bob", "speaker"))
            for who in ("ann", "bob"):
                t.sink.data(DataFrame(b"now " + who.encode(), participant=who))
            t.sink.event(said(EventKind.PARTICIPANT_LEFT, "bob", "speaker"))
            t.sink.data(DataFrame(b"not there", participant="bob"))
            await until(lambda: texts(t.items()) == [b"ann", b"early", b"now bob"])

    run(main())


def test_nothing_is_sent_to_a_kind_that_was_not_asked_for() -> None:
    async def main() -> None:
        async with there(kinds=("audio",)) as t:
            t.connect()
            await t.joined()
            t.sink.data(DataFrame(b"1", participant="ann"))
            t.sink.event(Event(kind=EventKind.CONNECTION_LOST))
            await turns()
            assert t.of(m.LaneOpened) == []

    run(main())


def test_a_drained_lane_gives_its_row_to_the_next() -> None:
    async def main() -> None:
        async with there() as t:
            t.connect()
            await t.joined()
            rows = set()
            for number in range(3 * ROWS):
                one = t.sink.open_track(track(f"T{number}"), ANN)
                hear(one, number)
                one.close()
                (opened,) = await until(lambda: t.of(m.LaneOpened))
                rows.add(opened.row)
                t.readers.pop(opened.lane).close()
                t.link.send(m.LaneDone(lane=opened.lane))
                (retired,) = await until(lambda: t.of(m.LaneRetired))
                assert t.table.row(retired.row).snapshot().in_flight == 0
                assert t.table.row(retired.row).snapshot().lost == 1
                t.link.send(m.RowFree(row=retired.row))
                t.messages.clear()
                await turns(3)
            assert len(rows) < 5

    run(main())


def test_where_there_is_no_memory_nothing_else_is_lost(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each try gives back what it took, and the provider is not told by an error."""

    def refuse(*_: object, **__: object) -> None:
        raise StartupError("no memory")

    async def main() -> None:
        async with there() as t:
            t.connect()
            await t.joined()
            with monkeypatch.context() as patched:
                patched.setattr(Segment, "create", refuse)
                one = t.sink.open_track(MIC, ANN)
                for number in range(3 * ROWS):
                    hear(one, number)
                    t.sink.data(DataFrame(b"lost", participant="ann"))
                await turns()
            hear(one, 1)
            t.sink.data(DataFrame(b"found", participant="ann"))
            await until(lambda: t.of(m.LaneOpened)[1:])
            assert {one.kind for one in t.of(m.LaneOpened)} == {"audio", "data"}
            assert texts(t.items()) == [None, b"found"]

    run(main())
    assert "of data nothing is received: no memory" in caplog.text


def test_events_that_had_no_room_are_written_as_soon_as_there_is() -> None:
    """Also when no frame follows: the track may be muted for long."""

    async def main() -> None:
        async with there(max_age=60.0) as t:
            t.connect()
            await t.joined()
            one = t.sink.open_track(MIC, ANN)
            (opened,) = await until(lambda: t.of(m.LaneOpened))
            row = t.table.row(opened.row)
            while not row.snapshot().dropped_full:
                hear(one, 1)
            for number in range(MAX_OWED):
                one.muted(bool(number % 2))
            one.close()
            reader = t.readers[opened.lane]
            kinds: list[EventKind] = []

            def all_here() -> bool:
                item = reader.receive_nowait()
                if isinstance(item, Event):
                    kinds.append(item.kind)
                return len(kinds) == MAX_OWED

            await until(all_here)

    run(main())


def test_a_source_that_can_be_held_back_waits_for_tracks_that_nobody_reads() -> None:
    """A reader gives up what has ended and is not read, beyond a number of its own."""

    async def main() -> None:
        async with there() as t:
            t.connect()
            await t.joined()
            for number in range(MAX_UNREAD_ENDED):
                one = t.sink.open_patient_track(track(f"T{number}"), ANN)
                hear(one, number)
                one.close()
            await t.session.caught_up()
            for sid in ("last but one", "last"):
                t.sink.open_patient_track(track(sid), ANN).close()
            waiting = asyncio.ensure_future(t.session.caught_up())
            for opened in t.of(m.LaneOpened)[:2]:
                await turns(50)
                assert not waiting.done()
                t.readers.pop(opened.lane).close()
                t.link.send(m.LaneDone(lane=opened.lane))
            await until(waiting.done)

    run(main())


def test_a_source_that_can_be_held_back_waits_for_workers_as_well() -> None:
    async def main() -> None:
        async with there() as t:
            worker = t.attach(0)
            t.connect(1)
            await t.joined()
            for number in range(MAX_UNREAD_ENDED + 1):
                t.sink.open_patient_track(track(f"T{number}"), ANN).close()
            waiting = asyncio.ensure_future(t.session.caught_up())
            await turns(50)
            assert not waiting.done()
            opened = next(one for one in worker.of(m.LaneOpened) if one.kind == "audio")
            worker.link.send(m.LaneDone(lane=opened.lane))
            await until(waiting.done)

    run(main())
