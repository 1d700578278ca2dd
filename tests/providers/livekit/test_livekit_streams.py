"""Texts and files of others: whole, in the order in which their sender began them, and bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from livekit import rtc
from livekit.rtc.data_stream import StreamError

import native_kit  # noqa: F401  (the native library's threads are no test's)
from loop_kit import VirtualLoop, run_virtual
from ringroom.checks import MAX_FILE_BYTES, MAX_TEXT_BYTES
from ringroom.events import EventKind, Kind
from ringroom.frames import FileFrame, TextFrame
from ringroom.options import SessionOptions
from ringroom.providers.livekit import connection, streams
from ringroom.providers.livekit.connection import LiveKitProvider
from sdk_kit import TOKEN, Room, Sink, provider, run, someone, turns

CHAT = SessionOptions(kinds=(Kind.DATA, Kind.EVENT), text_topics=("lk.chat",))
PHOTOS = SessionOptions(kinds=(Kind.DATA, Kind.EVENT), file_topics=("photos",))


class Reader:
    """The SDK's, which the test fills. ``size`` is 0 for a text that is written in pieces."""

    opened: list[Reader] = []  # noqa: RUF012

    def __init__(self, size: int = 1, **attributes: str) -> None:
        self.info = SimpleNamespace(topic="lk.chat", size=size, attributes=attributes or None)
        self.closes = 0
        self._pieces: asyncio.Queue[str | bytes | Exception | None] = asyncio.Queue()
        self.opened.append(self)

    def says(self, *pieces: str | bytes | Exception | None) -> None:
        """None is the end."""
        for piece in pieces:
            self._pieces.put_nowait(piece)

    def __aiter__(self) -> Reader:
        return self

    async def __anext__(self) -> str | bytes:
        piece = None if self.closes else await self._pieces.get()
        if isinstance(piece, Exception):
            raise piece
        if piece is None:
            raise StopAsyncIteration
        return piece

    def close(self) -> None:
        self.closes += 1
        self._pieces.put_nowait(None)


@pytest.fixture(autouse=True)
def all_are_closed() -> Iterator[None]:
    """A reader of the SDK that is not closed looks at every native event for ever."""
    Reader.opened.clear()
    yield
    assert all(reader.closes for reader in Reader.opened)


def photo(size: int = 1, name: str = "a.jpg", **attributes: str) -> Reader:
    """That of a file."""
    reader = Reader(size, **attributes)
    reader.info.topic, reader.info.name, reader.info.mime_type = "photos", name, "image/jpeg"
    return reader


async def joined_for_photos(room: Room) -> tuple[LiveKitProvider, Sink, Any]:
    sink, app = Sink(), provider()
    await app.connect(sink, PHOTOS)  # type: ignore[arg-type]
    return app, sink, room.byte_handlers["photos"]


async def joined(room: Room) -> tuple[LiveKitProvider, Sink, Any]:
    """Somebody who receives texts of the topic lk.chat, and what begins one."""
    sink, app = Sink(), provider()
    await app.connect(sink, CHAT)  # type: ignore[arg-type]
    return app, sink, room.text_handlers["lk.chat"]


def said(sink: Sink) -> list[str]:
    return [frame.text for frame in sink.messages if isinstance(frame, TextFrame)]


def failures(sink: Sink, kind: EventKind = EventKind.TEXT_FAILED) -> list[str]:
    return [event.reason for event in sink.events if event.kind is kind]


def test_a_text_arrives_whole_with_what_is_known_of_it(room: Room) -> None:
    async def scenario() -> None:
        app, sink, begin = await joined(room)
        reader = Reader(id="1")
        begin(reader, "ann")
        reader.says("grü", "ße")
        await turns()
        assert sink.messages == []
        reader.info.attributes["late"] = "2"  # such come with the end
        reader.says(None)
        await turns()
        [frame] = sink.messages
        assert isinstance(frame, TextFrame)
        assert (frame.text, frame.topic, frame.participant) == ("grüße", "lk.chat", "ann")
        assert frame.attributes == {"id": "1", "late": "2"}
        assert frame.received_ns > 0
        await app.close()

    run(scenario())


def test_texts_of_one_sender_arrive_in_the_order_in_which_they_began(room: Room) -> None:
    """A native task fills each, and the shorter one is through first."""

    async def scenario() -> None:
        app, sink, begin = await joined(room)
        long, short, other = Reader(), Reader(), Reader()
        begin(long, "ann")
        begin(short, "ann")
        begin(other, "bob")
        short.says("short", None)
        other.says("other", None)
        await turns()
        assert said(sink) == ["other"], "another sender's is not held up"
        long.says("long", None)
        await turns()
        assert said(sink) == ["other", "long", "short"]
        await app.close()

    run(scenario())


def test_a_text_that_is_written_while_somebody_speaks_holds_up_nothing(room: Room) -> None:
    async def scenario() -> None:
        app, sink, begin = await joined(room)
        slow, first, second = Reader(size=0), Reader(), Reader()
        for reader in (slow, first, second):
            begin(reader, "ann")
        slow.says("and ")
        second.says("second", None)
        await turns()
        assert said(sink) == []
        first.says("first", None)
        await turns()
        slow.says("so on", None)
        await turns()
        assert said(sink) == ["first", "second", "and so on"]
        await app.close()

    run(scenario())


def test_a_text_that_breaks_off_is_told_in_its_place(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        app, sink, begin = await joined(room)
        room.emit("participant_connected", someone("ann"))
        broken, whole = Reader(), Reader()
        begin(broken, "ann")
        begin(whole, "ann")
        whole.says("whole", None)
        broken.says("half", StreamError(f"stream closed abnormally: {TOKEN}"))
        await turns()
        assert said(sink) == ["whole"]
        assert failures(sink) == [
            "a text ('lk.chat') is left out: stream closed abnormally: (token)"
        ]
        [event] = [event for event in sink.events if event.kind is EventKind.TEXT_FAILED]
        assert event.participant is not None
        assert (event.participant.identity, event.participant.name) == ("ann", "Ann")
        await app.close()

    run(scenario())
    assert "was not handled" not in caplog.text


def test_what_none_of_ours_could_send_is_left_out(room: Room) -> None:
    async def scenario() -> None:
        app, sink, begin = await joined(room)
        endless, loaded, last = Reader(size=0), Reader(a="v" * 20_000), Reader()
        for reader in (endless, loaded, last):
            begin(reader, "ann")
        endless.says(*["x" * 1_000] * (MAX_TEXT_BYTES // 1_000), "x", "x")
        loaded.says("x", None)
        last.says("x" * MAX_TEXT_BYTES, None)
        await turns()
        assert said(sink) == ["x" * MAX_TEXT_BYTES]
        assert failures(sink) == [
            f"a text ('lk.chat') is left out: it has more than {MAX_TEXT_BYTES} bytes",
            "a text ('lk.chat') is left out: the attribute has 20000 bytes, at most 12000 are "
            "allowed",
        ]
        await app.close()

    run(scenario())


def test_who_ends_no_text_does_not_take_the_room_of_others(room: Room) -> None:
    async def scenario() -> None:
        app, sink, begin = await joined(room)
        for _ in range(100):
            begin(endless := Reader(size=0), "eve")
            endless.says("x" * MAX_TEXT_BYTES)
        await turns()
        assert "more than 2 MiB of its sender are under way" in failures(sink)[0]
        begin(whole := Reader(), "ann")
        whole.says("x" * MAX_TEXT_BYTES, None)
        await turns()
        assert [len(text) for text in said(sink)] == [MAX_TEXT_BYTES]
        await app.close()

    run(scenario())


def test_what_comes_as_its_text_is_broken_off_takes_no_room(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        app, sink, begin = await joined(room)
        begin(reader := Reader(size=0), "nobody we were told of")
        await turns()
        monkeypatch.setattr(streams, "STILL_SECONDS", 0.0)
        reader.says("it is on its way to the task that reads")
        read = app._opened.texts  # type: ignore[union-attr]
        read._look()
        await turns()
        assert "its sender is not in the room" in failures(sink)[0]
        assert read._bytes == 0
        await app.close()

    run(scenario())


def test_what_others_can_grow_is_bounded(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    few = replace(streams.TEXTS, most_of_one=3, most=4, bytes_in_all=1_000)
    monkeypatch.setattr(connection, "TEXTS", few)

    async def scenario() -> None:
        app, sink, begin = await joined(room)
        eves = [Reader(size=0) for _ in range(4)]
        for reader in eves:
            begin(reader, "eve")
        anns = [Reader(), Reader()]
        for reader in anns:
            begin(reader, "ann")
        assert failures(sink) == ["a text ('lk.chat') is left out: too many are under way"] * 2
        assert [reader.closes for reader in (*eves, *anns)] == [0, 0, 0, 1, 0, 1]
        for reader in eves[:3]:
            reader.says("x" * 400)
        await turns()
        assert "more than 0 MiB of texts are under way" in failures(sink)[2]
        again = Reader()
        begin(again, "eve")
        again.says("x", None)
        anns[0].says("whole", None)
        await turns()
        assert said(sink) == ["x", "whole"]
        eves[0].says("y" * 100, None)
        await turns()
        assert said(sink)[2:] == ["x" * 400 + "y" * 100], "what is over takes no room"
        eves[1].says("z" * 100, None)
        waits, behind = Reader(), Reader()
        for reader in (waits, behind):
            begin(reader, "bob")
        behind.says("x" * 900, None)
        await turns()
        late = Reader()
        begin(late, "ann")
        late.says("x" * 101, None)
        await turns()
        assert "MiB of texts are under way" in failures(sink)[3], "what waits is there still"
        waits.says(None)
        await turns()
        assert [len(text) for text in said(sink)[-3:]] == [500, 0, 900]
        await app.close()

    run(scenario())


def test_all_that_came_while_our_loop_stood_still_is_read(room: Room) -> None:
    """Each is begun before any is read."""

    async def scenario() -> None:
        app, sink, begin = await joined(room)
        texts = [str(number) for number in range(2_000)]
        for number, text in enumerate(texts):
            begin(reader := Reader(size=number % 2), "ann")
            reader.says(text, None)
        await turns()
        assert failures(sink) == []
        assert said(sink) == texts
        read = app._opened.texts  # type: ignore[union-attr]
        assert (read._open, read._count, read._bytes) == ({}, 0, 0)
        await app.close()

    run(scenario())


def test_each_reader_is_filled_by_the_path_until_it_is_over(room: Room) -> None:
    async def scenario() -> None:
        filled: list[Any] = []

        def fill(reader: Any, on: bool) -> None:
            (filled.append if on else filled.remove)(reader)

        app, _, begin = await joined(room)
        app._opened.texts._fill = fill  # type: ignore[union-attr]
        whole, broken, left = Reader(), Reader(), Reader()
        for reader in (whole, broken, left):
            begin(reader, "ann")
        assert filled == [whole, broken, left]
        whole.says("x", None)
        broken.says(StreamError("no"))
        await turns()
        assert filled == [left]
        await app.close()
        assert filled == []

    run(scenario())


def test_a_text_that_stands_still_holds_up_nothing_for_long(room: Room) -> None:
    async def scenario(loop: VirtualLoop) -> None:
        app, sink, begin = await joined(room)
        room.remote_participants["ann"] = someone("ann")
        still, next_one = Reader(), Reader()
        begin(still, "ann")
        still.says("and ")
        await asyncio.sleep(3)
        begin(next_one, "ann")
        next_one.says("next", None)
        await asyncio.sleep(1)
        assert said(sink) == []
        await asyncio.sleep(2 * streams.STILL_SECONDS)
        assert said(sink) == ["next"]
        await asyncio.sleep(600)
        still.says("so on", None)
        await turns()
        assert said(sink) == ["next", "and so on"], "its sender is there, and takes time"
        await asyncio.sleep(2 * streams.STILL_SECONDS)
        assert app._opened is not None
        assert app._opened.texts._watch is None, "nothing is looked after any more"
        await app.close()

    run_virtual(scenario)


def test_what_a_sender_has_begun_that_we_were_never_told_of_does_not_stay(room: Room) -> None:
    """The SDK never ends it."""

    async def scenario(loop: VirtualLoop) -> None:
        app, sink, begin = await joined(room)
        gone, begins = Reader(size=0), Reader(size=0)
        begin(gone, "eve")
        begin(begins, "ann")  # she is not known either, yet
        for _ in range(3):
            begins.says("la ")
            await asyncio.sleep(0.6 * streams.STILL_SECONDS)
        assert failures(sink) == ["a text ('lk.chat') is left out: its sender is not in the room"]
        assert gone.closes
        begins.says(None)
        await turns()
        assert said(sink) == ["la la la "]
        half = Reader(size=0)
        begin(half, "ann")
        await app.close()

    run_virtual(scenario)


def test_what_has_not_come_whole_when_the_room_is_lost_is_told_before_that(room: Room) -> None:
    async def scenario() -> None:
        app, sink, begin = await joined(room)
        half, whole = Reader(), Reader()
        begin(half, "ann")
        begin(whole, "ann")
        half.says("half")
        whole.says("whole", None)
        await turns()
        room.emit("disconnected", rtc.DisconnectReason.UNKNOWN_REASON)
        await turns()
        assert said(sink) == ["whole"]
        assert failures(sink) == ["a text ('lk.chat') is left out: unknown reason"]
        late = Reader()
        begin(late, "ann")
        late.says("late", None)
        await turns()
        assert said(sink) == ["whole"]
        await app.close()

    run(scenario())


def test_leaving_ends_the_reading_and_tells_nothing(room: Room) -> None:
    async def scenario() -> None:
        app, sink, begin = await joined(room)
        half = Reader()
        begin(half, "ann")
        half.says("half")
        await turns()
        await app.close()
        assert (said(sink), failures(sink)) == ([], [])

    run(scenario())


def test_a_sink_that_raises_is_told(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        app, _, begin = await joined(room)

        def raises(_: Any) -> None:
            raise RuntimeError("no")

        app._opened.texts._on_frame = app._opened.roster.guarded("text", raises)  # type: ignore[union-attr]
        reader = Reader()
        begin(reader, "ann")
        reader.says("x", None)
        await turns()
        await app.close()

    run(scenario())
    assert "the room's event text was not handled" in caplog.text


def test_a_file_arrives_whole_with_what_is_known_of_it(room: Room) -> None:
    async def scenario() -> None:
        app, sink, begin = await joined_for_photos(room)
        reader = photo(size=5, id="1")
        begin(reader, "ann")
        reader.says(b"\xff\xd8", b"\x00\x00\xd9")
        await turns()
        assert sink.messages == []
        reader.says(None)
        await turns()
        [frame] = sink.messages
        assert isinstance(frame, FileFrame)
        assert (frame.payload, frame.topic) == (b"\xff\xd8\x00\x00\xd9", "photos")
        assert (frame.name, frame.mime_type, frame.participant) == ("a.jpg", "image/jpeg", "ann")
        assert frame.attributes == {"id": "1"}
        assert frame.received_ns > 0
        await app.close()

    run(scenario())


def test_files_of_one_sender_arrive_in_the_order_in_which_they_began(room: Room) -> None:
    async def scenario() -> None:
        app, sink, begin = await joined_for_photos(room)
        long, short = photo(), photo()
        begin(long, "ann")
        begin(short, "ann")
        short.says(b"short", None)
        await turns()
        assert sink.messages == []
        long.says(b"long", None)
        await turns()
        assert [frame.payload for frame in sink.messages] == [b"long", b"short"]
        await app.close()

    run(scenario())


def test_texts_do_not_wait_for_files_nor_take_their_room(room: Room) -> None:
    async def scenario() -> None:
        both = replace(PHOTOS, text_topics=("lk.chat",))
        sink, app = Sink(), provider()
        await app.connect(sink, both)  # type: ignore[arg-type]
        half, text = photo(), Reader()
        room.byte_handlers["photos"](half, "ann")
        half.says(bytes(MAX_FILE_BYTES))
        await turns()
        room.text_handlers["lk.chat"](text, "ann")
        text.says("x" * MAX_TEXT_BYTES, None)
        await turns()
        assert [len(text) for text in said(sink)] == [MAX_TEXT_BYTES]
        room.emit("disconnected", rtc.DisconnectReason.UNKNOWN_REASON)
        await turns()
        assert failures(sink, EventKind.FILE_FAILED) == [
            "a file ('photos') is left out: unknown reason"
        ]
        assert failures(sink) == []
        await app.close()

    run(scenario())


def test_a_file_that_none_of_ours_could_send_is_left_out(room: Room) -> None:
    async def scenario() -> None:
        app, sink, begin = await joined_for_photos(room)
        room.emit("participant_connected", someone("ann"))
        endless, named, broken, last = photo(), photo(name="x" * 1_025), photo(), photo()
        for reader in (endless, named, broken, last):
            begin(reader, "ann")
        endless.says(bytes(MAX_FILE_BYTES), b"x")
        named.says(b"x", None)
        broken.says(b"half", StreamError("stream closed abnormally"))
        last.says(bytes(MAX_FILE_BYTES), None)
        await turns()
        assert [len(frame.payload) for frame in sink.messages] == [MAX_FILE_BYTES]
        assert failures(sink, EventKind.FILE_FAILED) == [
            f"a file ('photos') is left out: it has more than {MAX_FILE_BYTES} bytes",
            "a file ('photos') is left out: the file's name has 1025 bytes, at most 1024 are "
            "allowed",
            "a file ('photos') is left out: stream closed abnormally",
        ]
        told = [event for event in sink.events if event.kind is EventKind.FILE_FAILED]
        assert {event.participant.identity for event in told if event.participant} == {"ann"}
        await app.close()

    run(scenario())


def test_who_ends_no_file_does_not_take_the_room_of_others(room: Room) -> None:
    async def scenario() -> None:
        app, sink, begin = await joined_for_photos(room)
        for _ in range(3):
            begin(endless := photo(), "eve")
            endless.says(bytes(MAX_FILE_BYTES))
        await turns()
        begin(whole := photo(), "ann")
        whole.says(bytes(MAX_FILE_BYTES), None)
        await turns()
        assert [frame.participant for frame in sink.messages] == ["ann"]
        for _ in range(streams.FILES.most_of_one):
            begin(photo(), "eve")
        await app._opened.files.end("over")  # type: ignore[union-attr]
        told = failures(sink, EventKind.FILE_FAILED)
        assert "too many are under way" in told[0]
        assert any("more than 16 MiB of its sender are under way" in why for why in told)
        await app.close()

    run(scenario())
