"""A session in the I/O role: the test is its provider, its application and its workers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, ClassVar

import dill
import numpy as np
import pytest
from io_kit import ANN, MIC, RATE, Outside, Source, run, sound, turns, until

from ringroom import messages as m
from ringroom.errors import RoomError, StartupError
from ringroom.frames import DataFrame, Event, EventKind, Kind, Participant, TrackInfo
from ringroom.lanes.lane import LaneDescriptors
from ringroom.lanes.live import MAX_OWED, LiveReader
from ringroom.lanes.memory import Segment
from ringroom.lanes.reliable import ReliableReader, ReliableWriter
from ringroom.lanes.statistics import StatisticsTable
from ringroom.link import Link, open_links
from ringroom.options import SessionOptions
from ringroom.processes.captures import MAX_UNREAD_ENDED
from ringroom.processes.rooms import RoomSession
from ringroom.providers.provider import Provider, ProviderSpec

ALL = (Kind.AUDIO, Kind.VIDEO, Kind.DATA, Kind.EVENT)
BOB = Participant(identity="bob")
ROWS = 100


@dataclass(frozen=True, kw_only=True)
class Played(ProviderSpec):
    """The provider that the test has laid ready."""

    name: ClassVar[str] = "played"
    ready: ClassVar[list[Any]] = []

    def open(self, descriptors: tuple[int, ...]) -> Provider:
        made = self.ready[-1]
        if isinstance(made, Exception):
            raise made
        provider: Provider = made
        return provider


class End:
    """The far end of a link to the session: the application's, or a worker's."""

    def __init__(self, link: Link, table: StatisticsTable) -> None:
        self.link = link
        self.table = table
        self.messages: list[m.Message] = []
        self.readers: dict[int, Any] = {}
        self.writers: dict[int, ReliableWriter] = {}

    def listen(self) -> None:
        with contextlib.suppress(Exception):
            while (received := self.link.receive_nowait()) is not None:
                message, descriptors = received
                self.messages.append(message)
                if isinstance(message, m.LaneOpened):
                    self.readers[message.lane] = self._reader(message, descriptors)

    def _reader(self, message: m.LaneOpened, descriptors: tuple[int, ...]) -> Any:
        handles, row = LaneDescriptors.from_flat(descriptors), self.table.row(message.row)
        if not message.live:
            return ReliableReader(handles, row)
        return LiveReader(handles, row, None, max_age_ns=10**12, clock=lambda: 0)

    def of(self, *kinds: type[m.Message]) -> list[Any]:
        self.listen()
        return [message for message in self.messages if isinstance(message, kinds)]

    def items(self) -> list[Any]:
        """All that lies in its lanes."""
        self.listen()
        found = []
        for reader in self.readers.values():
            while (item := reader.receive_nowait()) is not None:
                found.append(item)
        return found

    def open(
        self,
        lane: int,
        name: str = "voice",
        row: int | None = None,
        publish: dict[str, Any] | None = None,
        descriptors: tuple[int, ...] | None = None,
    ) -> ReliableWriter:
        index = ROWS + lane if row is None else row
        writer = self.writers[lane] = ReliableWriter(1 << 16, self.table.row(index))
        opened = m.PlayoutOpen(
            lane=lane,
            row=index,
            name=name,
            kind="audio",
            live=False,
            publish=publish or {},
            sample_rate=RATE,
            channels=1,
        )
        self.link.send(opened, descriptors or writer.descriptors().flat())
        return writer

    def close(self) -> None:
        for end in (*self.readers.values(), *self.writers.values()):
            end.close()
        self.readers.clear()
        self.writers.clear()
        self.link.close()


class There(End):
    """The application's end, and the session itself."""

    def __init__(self, outside: Any, options: SessionOptions) -> None:
        ours, theirs = open_links()
        super().__init__(ours, StatisticsTable.create())
        self.outside = outside
        self.options = options
        self.ends: list[End] = []
        self.session = RoomSession(theirs, lambda: 5)

    def connect(self, readers: int = 0, route: str = "participant", *fds: int) -> None:
        Played.ready.append(self.outside)
        message = m.Connect(
            blob=dill.dumps((Played(), self.options)),
            rows_first=0,
            rows_count=ROWS,
            readers=readers,
            route=route,
            provider_descriptors=len(fds),
            places={},
        )
        self.link.send(message, (self.table.fd, *fds))

    async def joined(self) -> None:
        await until(lambda: self.of(m.Connected))

    def attach(self, place: int) -> End:
        ours, theirs = open_links()
        self.link.send(m.Attach(place=place), (theirs.fileno(),))
        theirs.close()
        self.ends.append(End(ours, self.table))
        return self.ends[-1]

    @property
    def sink(self) -> RoomSession:
        return self.session


@contextlib.asynccontextmanager
async def there(outside: Any = None, **options: Any) -> AsyncIterator[Any]:
    made = There(outside or Outside(), SessionOptions(**({"kinds": ALL} | options)))
    try:
        yield made
    finally:
        made.session.leave()
        async with asyncio.timeout(20):
            await made.session.done.wait()
        for end in (*made.ends, made):
            end.close()
        made.ends.clear()
        made.table.close()
        Played.ready.clear()


def track(sid: str, who: str = "ann") -> TrackInfo:
    return TrackInfo(sid=sid, name="mic", kind=Kind.AUDIO, participant=who)


def hear(sink: Any, value: int) -> None:
    sink.audio(memoryview(np.full(320, value, np.int16)), RATE, 1)


def texts(items: list[Any]) -> list[Any]:
    return [i.kind if isinstance(i, Event) else getattr(i, "payload", None) for i in items]


# Who sends what.


@pytest.mark.parametrize(
    ("others", "done", "ends"),
    [
        ([], 1, True),
        ([track("T2", "bob")], 2, True),
        ([track("T2")], 1, False),
        ([track("T2")], 0, False),
    ],
    ids=["alone", "another ends after it", "one more is answered", "nothing has ended"],
)
def test_a_reply_that_a_dead_worker_was_about_to_end(
    others: list[TrackInfo], done: int, ends: bool
) -> None:
    """Nobody else knows of the tracks that it answered."""

    async def main() -> None:
        async with there() as t:
            worker = t.attach(0)
            t.connect(1)
            await t.joined()
            sinks = [t.sink.open_track(one, ANN) for one in (track("T1"), *others)]
            worker.open(1, "ann/mic")
            await until(lambda: worker.of(m.PlayoutReady))
            lanes = [one.lane for one in worker.of(m.LaneOpened) if one.kind == "audio"]
            for sink, lane in list(zip(sinks, lanes, strict=True))[:done]:
                sink.close()
                worker.link.send(m.LaneDone(lane=lane))
            worker.link.close()
            heir = t.attach(0)
            await until(lambda: heir.of(m.Attached))
            if ends:
                await until(lambda: t.outside.source.closes)
                return
            assert heir.of(m.Attached)[0].tracks == ["ann/mic"]
            heir.link.send(m.PlayoutClose(lane=1))  # a number of its own, for no track yet
            heir.link.send(m.Flush(request=1, lane=1, sequence=0))
            await until(lambda: heir.of(m.Reply))
            await turns()
            assert not t.outside.source.closes
            heir.link.send(m.TrackClose(name="ann/mic"))
            await until(lambda: t.outside.source.closes)

    run(main())


def test_a_track_has_one_writer_until_it_has_ended() -> None:
    async def main() -> None:
        async with there() as t:
            t.connect(readers=1)
            worker = t.attach(0)
            await t.joined()
            t.open(1)
            await until(lambda: t.of(m.PlayoutReady))
            worker.open(1, row=150)
            (failed,) = await until(lambda: worker.of(m.PlayoutFailed))
            assert failed.error["type"] == "BusyError"
            # The row of the lane that was refused is given back through the application.
            await until(lambda: m.LaneRetired(row=150) in t.of(m.LaneRetired))
            t.link.send(m.RowFree(row=150))
            await until(lambda: worker.of(m.RowFree) == [m.RowFree(row=150)])
            t.link.send(m.PlayoutClose(lane=1))
            await until(lambda: t.outside.source.closes)
            await until(lambda: m.LaneRetired(row=ROWS + 1) in t.of(m.LaneRetired))
            worker.open(2, row=150)
            await until(lambda: worker.of(m.PlayoutReady) == [m.PlayoutReady(lane=2)])
            t.open(3)
            await until(lambda: t.of(m.PlayoutFailed))

    run(main())


def test_a_track_that_cannot_be_opened_is_refused_and_its_row_comes_back() -> None:
    """Who sends on it is told; it once waited for ever."""

    async def main() -> None:
        async with there() as t:
            t.connect(readers=1)
            worker = t.attach(0)
            await t.joined()
            with open(os.devnull, "rb") as no_lane:
                descriptors = (no_lane.fileno(),) * len(t.open(9, "other").descriptors().flat())
                worker.open(1, row=150, publish={"mode": "loud"})
                worker.open(2, row=151, publish={"volume": 11})
                worker.open(3, row=152, descriptors=descriptors)
                await until(lambda: worker.of(m.PlayoutFailed)[2:])
            failed = worker.of(m.PlayoutFailed)
            assert [one.lane for one in failed] == [1, 2, 3]
            assert [one.error["type"] for one in failed[:2]] == ["FrameError"] * 2
            assert "mode is 'loud'" in failed[0].error["text"]
            rows = [m.LaneRetired(row=row) for row in (150, 151, 152)]
            await until(lambda: [one for one in t.of(m.LaneRetired) if one in rows] == rows)
            t.link.send(m.RowFree(row=151))
            await until(lambda: worker.of(m.RowFree) == [m.RowFree(row=151)])
            worker.open(4, row=153)
            await until(lambda: worker.of(m.PlayoutReady) == [m.PlayoutReady(lane=4)])

    run(main())


def test_who_was_refused_cannot_give_the_track_free() -> None:
    async def main() -> None:
        async with there() as t:
            t.connect(readers=2)
            workers = [t.attach(place) for place in range(2)]
            await t.joined()
            t.open(1)
            await until(lambda: t.of(m.PlayoutReady))
            for worker in workers:
                worker.open(1, row=150 + workers.index(worker))
                await until(lambda worker=worker: worker.of(m.PlayoutFailed))
                worker.link.close()
            await turns(100)
            t.open(2, "voice")
            await until(lambda: t.of(m.PlayoutReady)[1:] == [m.PlayoutReady(lane=2)])

    run(main())


def test_who_comes_next_ends_the_track_that_nobody_has_ended() -> None:
    """Not the one before it of the same name, which ends already."""

    async def main() -> None:
        async with there() as t:
            worker = t.attach(0)
            t.connect(1)
            await t.joined()
            first = t.outside.source
            worker.open(1, "ann/mic").send_nowait(sound(1), 0)
            await until(lambda: first.values)
            worker.link.send(m.PlayoutClose(lane=1))
            following = t.outside.source = Source()
            worker.open(2, "ann/mic").send_nowait(sound(2), 0)
            await turns()
            worker.link.close()
            heir = t.attach(0)
            await until(lambda: heir.of(m.Attached))
            assert heir.of(m.Attached)[0].tracks == ["ann/mic"]
            heir.link.send(m.TrackClose(name="ann/mic"))
            await turns()
            first.waiting = 0.0
            await until(lambda: following.values == [2])
            following.waiting = 0.0
            await until(lambda: following.closes)
            assert first.closes == 1

    run(main())


def test_a_track_that_only_plays_out_ends_with_the_room() -> None:
    """There is nothing of it to publish in the next one."""

    async def main() -> None:
        async with there() as t:
            t.connect()
            await t.joined()
            source = t.outside.source
            t.open(1).send_nowait(sound(1), 5)
            await until(lambda: source.values == [1])
            t.link.send(m.PlayoutClose(lane=1))
            t.link.send(m.Drain(request=1, lane=1, sequence=1))
            looks = source.looks
            await until(lambda: source.looks > looks)
            following = Outside()
            Played.ready.append(following)
            t.sink.ended("connection lost", error="the network is gone")
            await until(lambda: t.of(m.Reply))
            assert source.closes == 1
            await until(lambda: following.sink)
            await turns()
            assert following.sources == []

    run(main())


def test_a_track_of_the_same_name_begins_when_the_one_before_has_played_out() -> None:
    async def main() -> None:
        async with there() as t:
            t.connect()
            await t.joined()
            source = t.outside.source
            t.open(1).send_nowait(sound(1), 5)
            await until(lambda: source.values == [1])
            t.link.send(m.PlayoutClose(lane=1))
            t.open(2).send_nowait(sound(2), 5)
            following = t.outside.source = Source()
            looks = source.looks
            await until(lambda: source.looks > looks + 2)
            assert t.of(m.PlayoutReady) == [m.PlayoutReady(lane=1)]
            assert following.values == []
            source.waiting = 0.0
            await until(lambda: following.values == [2])
            assert (source.closes, following.closes) == (1, 0)
            assert t.of(m.PlayoutReady)[1:] == [m.PlayoutReady(lane=2)]
            # It owns the name as the first one did.
            worker = t.attach(0)
            worker.open(1, row=160)
            await until(lambda: worker.of(m.PlayoutFailed))

    run(main())


def test_of_several_tracks_of_one_name_each_waits_for_the_last_before_it() -> None:
    async def main() -> None:
        async with there() as t:
            t.connect()
            await t.joined()
            sources = [t.outside.source, Source(), Source()]
            for number in (1, 2, 3):
                t.open(number).send_nowait(sound(number), 5)
                t.link.send(m.PlayoutClose(lane=number))
            await until(lambda: sources[0].values == [1])
            t.outside.source = sources[1]
            sources[0].waiting = 0.0
            await until(lambda: sources[1].values == [2])
            t.outside.source = sources[2]
            await turns()
            assert t.of(m.PlayoutReady) == [m.PlayoutReady(lane=1), m.PlayoutReady(lane=2)]
            sources[1].waiting = 0.0
            await until(lambda: sources[2].values == [3])
            sources[2].waiting = 0.0
            await until(lambda: sources[2].closes)

    run(main())


def test_a_larger_lane_goes_on_with_its_track_and_both_rows_come_back() -> None:
    async def main() -> None:
        async with there() as t:
            t.connect()
            await t.joined()
            t.open(1).send_nowait(sound(1), 5)
            await until(lambda: t.of(m.PlayoutReady))
            t.open(2).send_nowait(sound(2), 5)
            await until(lambda: t.of(m.PlayoutReady)[1:] == [m.PlayoutReady(lane=2)])
            await until(lambda: t.outside.source.values == [1, 2])
            t.outside.source.waiting = 0.0
            t.link.send(m.Drain(request=7, lane=2, sequence=1))
            await until(lambda: t.of(m.Reply) == [m.Reply(request=7, value=0.0)])
            assert len(t.outside.sources) == 1
            t.link.send(m.PlayoutClose(lane=2))
            rows = [m.LaneRetired(row=ROWS + lane) for lane in (1, 2)]
            await until(lambda: sorted(t.of(m.LaneRetired), key=lambda one: one.row) == rows)

    run(main())


def test_requests_for_a_track_that_is_not_there_are_answered() -> None:
    async def main() -> None:
        async with there() as t:
            t.connect()
            await t.joined()
            t.link.send(m.Drain(request=1, lane=9, sequence=0))
            t.link.send(m.Flush(request=2, lane=9, sequence=0))
            await until(lambda: len(t.of(m.Reply)) == 2)

    run(main())


def test_a_track_that_is_refused_is_told_and_gives_its_name_back() -> None:
    async def main() -> None:
        async with there() as t:
            t.connect()
            await t.joined()
            t.outside.refuses = RoomError("not here", reason="publish_refused")
            t.open(1)
            (failed,) = await until(lambda: t.of(m.PlayoutFailed))
            assert failed.error == {
                "type": "RoomError",
                "text": "not here",
                "reason": "publish_refused",
            }
            await until(lambda: EventKind.PUBLISH_FAILED in texts(t.items()))
            t.outside.refuses = None
            worker = t.attach(0)
            worker.open(1, row=150)
            await until(lambda: worker.of(m.PlayoutReady))

    run(main())


# Who receives what.


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


def test_a_session_that_fails_ends(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with there() as t:
            t.connect()
            await t.joined()

            async def fail() -> None:
                raise ValueError("nobody thought of that")

            t.session._spawn(fail())
            async with asyncio.timeout(20):
                await t.session.done.wait()

    run(main())
    assert "nobody thought of that" in caplog.text


# The end.


def test_the_rooms_end_closes_the_tracks_first_and_is_told_once_to_all() -> None:
    async def main() -> None:
        async with there() as t:
            t.connect(readers=1)
            worker = t.attach(0)
            await t.joined()
            hear(t.sink.open_track(MIC, ANN), 1)
            t.sink.ended("closed")
            t.sink.ended("again")
            for end in (worker, t):
                await until(lambda end=end: end.of(m.Ended))
                assert end.of(m.Ended) == [m.Ended(reason="closed", error="")]
                assert texts(end.items()).count(EventKind.DISCONNECTED) == 1
            order = [type(message) for message in worker.of(m.LaneEnding, m.Ended)]
            assert order == [m.LaneEnding, m.Ended]
            # What tells of the end lies in its lane before the end is told.
            events = [one.kind == Kind.EVENT for one in worker.of(m.LaneOpened, m.Ended)[:-1]]
            assert True in events

    run(main())


def test_a_provider_that_cannot_be_opened_leaves_no_descriptor() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        with ours:
            async with there(RoomError("no SDK", reason="unreachable")) as t:
                with theirs:
                    t.connect(0, "participant", theirs.fileno())
                (failed,) = await until(lambda: t.of(m.Failed))
                assert failed.error["text"] == "no SDK"
                assert ours.recv(1) == b"", "nobody holds the other end"

    run(main())


def test_a_provider_is_closed_once_also_while_it_connects() -> None:
    async def main() -> None:
        outside = Outside()
        outside.connects.clear()
        async with there(outside, close_timeout=60.0) as t:
            t.connect()
            await until(lambda: outside.sink)
            t.link.send(m.Leave())
            t.link.send(m.Leave())
            await until(t.session.done.is_set)
            assert outside.closes == 1
            assert t.of(m.Connected, m.Failed) == []

    run(main())


def test_a_provider_that_goes_on_connecting_is_closed_all_the_same() -> None:
    class Stubborn(Outside):
        async def connect(self, sink: Any, options: SessionOptions) -> Any:
            self.sink = sink
            while not self.closes:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.01)
            raise RoomError("closed")

    async def main() -> None:
        outside = Stubborn()
        loop, ahead = asyncio.get_running_loop(), 0.0
        now = loop.time
        loop.time = lambda: now() + ahead  # type: ignore[method-assign]
        async with there(outside, close_timeout=40.0) as t:
            t.connect()
            await until(lambda: outside.sink)
            t.link.send(m.Leave())
            await until(lambda: t.session._closing)
            await turns()
            assert outside.closes == 0, "it has half of the time for letting go"
            ahead = 21.0
            await until(t.session.done.is_set)
            assert outside.closes == 1

    run(main())


def test_leaving_counts_what_was_not_taken_and_tells_it_before_the_link_ends() -> None:
    async def main() -> None:
        async with there() as t:
            t.connect()
            await t.joined()
            hear(t.sink.open_track(MIC, ANN), 1)
            hear(t.sink.open_patient_track(track("T7"), ANN), 1)
            t.sink.data(DataFrame(b"1", participant="ann"))
            t.open(5, row=ROWS + 5).send_nowait(sound(1), 5)
            t.outside.source.free = False
            await until(lambda: t.of(m.PlayoutReady))
            t.link.send(m.Leave())
            await until(t.session.done.is_set)
            assert t.outside.closes == 1
            listed = {one.row for one in t.of(m.LaneListed)}
            assert len(listed) == 4
            assert {one.row for one in t.of(m.LaneRetired)} == listed
            for index in listed:
                counts = t.table.row(index).snapshot()
                assert (counts.sent, counts.in_flight) == (1, 0)
            t.sink.ended("after we left")
            assert t.of(m.Ended) == []

    run(main())


def test_a_worker_that_goes_as_the_session_leaves_is_buried_first() -> None:
    async def main() -> None:
        async with there() as t:
            t.connect(readers=1)
            worker = t.attach(0)
            await t.joined()
            hear(t.sink.open_track(MIC, ANN), 1)
            (opened,) = await until(lambda: worker.of(m.LaneOpened))
            worker.link.close()
            t.link.send(m.Leave())
            await until(t.session.done.is_set)
            assert m.LaneRetired(row=opened.row) in t.of(m.LaneRetired)
            assert t.table.row(opened.row).snapshot().lost == 1

    run(main())
