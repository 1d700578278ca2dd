"""Joining, over a room that behaves as the SDK's does: in time, too late, given up, refused."""

from __future__ import annotations

import asyncio

import pytest
from livekit import rtc
from livekit.rtc.room import ConnectError

import native_kit  # noqa: F401  (the native library's threads are no test's)
from ringroom.checks import MAX_FILE_BYTES, MAX_TEXT_BYTES
from ringroom.errors import ClosedError, RoomError
from ringroom.events import EventKind, Kind
from ringroom.frames import DataFrame
from ringroom.options import SessionOptions
from ringroom.providers.livekit import connection, joins
from ringroom.providers.livekit.connection import LiveKitProvider
from ringroom.rpc import MAX_CALL_BYTES
from sdk_kit import (
    TOKEN,
    VOICE,
    Publication,
    Room,
    Sink,
    provider,
    run,
    someone,
    turns,
)


def test_joining_tells_who_is_there(room: Room) -> None:
    async def scenario() -> None:
        sink, voice = Sink(), Publication("TR_1")
        room.remote_participants["ann"] = someone("ann", voice)
        app = provider()
        joined = await app.connect(sink, SessionOptions(connect_timeout=7))  # type: ignore[arg-type]
        assert (joined.room, joined.identity) == ("voice-room", "app")
        url, token, options = room.connected
        assert (url, token) == ("ws://host", TOKEN)
        assert options.auto_subscribe is False
        assert options.connect_timeout == 7
        assert options.single_peer_connection is True
        assert options.encryption.key_provider_options.shared_key == b"key"
        assert sink.kinds() == [
            EventKind.CONNECTED,
            EventKind.PARTICIPANT_JOINED,
            EventKind.TRACK_PUBLISHED,
        ]
        assert voice.asked == 1
        with pytest.raises(RoomError, match="used once"):
            await app.connect(sink, SessionOptions())  # type: ignore[arg-type]
        await asyncio.gather(app.close(), app.close())
        await app.close()
        assert room.disconnects == 1
        assert not sink.log, "no end is told for a close of our own"
        with pytest.raises(ClosedError):
            await app.send_data(DataFrame(b"x"))
        with pytest.raises(ClosedError):
            await app.connect(sink, SessionOptions())  # type: ignore[arg-type]

    run(scenario())


@pytest.mark.parametrize("kinds", [("video",), ("audio", "video")])
def test_who_sees_has_a_connection_for_each_direction(room: Room, kinds: tuple[str, ...]) -> None:
    async def scenario() -> None:
        app = provider()
        await app.connect(Sink(), SessionOptions(kinds=kinds))  # type: ignore[arg-type]
        assert room.connected[2].single_peer_connection is False
        await app.close()

    run(scenario())


@pytest.mark.skipif(
    not hasattr(rtc, "DataStreamOptions"), reason="this SDK has no limit for streams of others"
)
def test_streams_that_nobody_reads_are_not_kept(room: Room) -> None:
    async def scenario() -> None:
        app = provider()
        await app.connect(Sink(), SessionOptions())  # type: ignore[arg-type]
        assert room.connected[2].data_stream.max_payload_byte_length == MAX_CALL_BYTES
        assert room.text_handlers == {}
        await app.close()

    run(scenario())


@pytest.mark.skipif(
    not hasattr(rtc, "DataStreamOptions"), reason="this SDK has no limit for streams of others"
)
def test_texts_that_are_read_are_kept_up_to_our_limit(room: Room) -> None:
    async def scenario() -> None:
        app = provider()
        options = SessionOptions(kinds=(Kind.DATA,), text_topics=("a", "b"))
        await app.connect(Sink(), options)  # type: ignore[arg-type]
        assert room.connected[2].data_stream.max_payload_byte_length == MAX_TEXT_BYTES
        assert [*room.text_handlers] == ["a", "b"]
        await app.close()

    run(scenario())


@pytest.mark.skipif(
    not hasattr(rtc, "DataStreamOptions"), reason="this SDK has no limit for streams of others"
)
def test_files_that_are_read_are_kept_up_to_our_limit(room: Room) -> None:
    async def scenario() -> None:
        app = provider()
        options = SessionOptions(kinds=(Kind.DATA,), text_topics=("a",), file_topics=("b", "c"))
        await app.connect(Sink(), options)  # type: ignore[arg-type]
        assert room.connected[2].data_stream.max_payload_byte_length == MAX_FILE_BYTES
        assert ([*room.text_handlers], [*room.byte_handlers]) == (["a"], ["b", "c"])
        await app.close()

    run(scenario())


@pytest.mark.skipif(
    not hasattr(rtc, "DataStreamOptions"), reason="this SDK has no limit for streams of others"
)
def test_calls_that_are_too_long_are_told_so(room: Room) -> None:
    """Those that are much too long the SDK itself refuses."""

    async def scenario() -> None:
        app = provider()
        options = SessionOptions(kinds=(Kind.DATA,), rpc_methods=("a",))
        await app.connect(Sink(), options)  # type: ignore[arg-type]
        assert room.connected[2].data_stream.max_payload_byte_length == 4 * MAX_CALL_BYTES
        await app.close()

    run(scenario())


def test_an_sdk_without_a_limit_for_streams(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(connection.sdk_room, "DataStreamOptions", raising=False)

    async def scenario() -> None:
        app = provider()
        await app.connect(Sink(), SessionOptions())  # type: ignore[arg-type]
        assert getattr(room.connected[2], "data_stream", None) is None
        await app.close()

    run(scenario())


@pytest.mark.parametrize("fails", [False, True])
def test_the_way_through_the_sdk_ends_with_the_connection(room: Room, fails: bool) -> None:
    from ringroom.providers.livekit import native

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        app = provider()
        if fails:
            room.failure = ConnectError("engine: signal failure: refused")
            with pytest.raises(RoomError):
                await app.connect(Sink(), SessionOptions())  # type: ignore[arg-type]
        else:
            await app.connect(Sink(), SessionOptions())  # type: ignore[arg-type]
            assert loop in native._exchanges
            await app.close()
        assert loop not in native._exchanges
        await app.close()

    run(scenario())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"engine: signal failure: client error: 401 Unauthorized - invalid token: {TOKEN}", "una"),
        ("engine: signal failure: client error: 403 Forbidden - ", "unauthorized"),
        ("engine: signal failure: client error: 400 Bad Request - identity length", "unauthorized"),
        ("engine: signal failure: transport connection error: refused (os error 111)", "unr"),
        ("engine: signal failure: client error: 404 Not Found - 404 page not found\n", "unr"),
        ("engine: connection error: wait_pc_connection timed out", "timeout"),
    ],
)
def test_why_joining_failed(room: Room, text: str, reason: str) -> None:
    async def scenario() -> None:
        room.failure = ConnectError(text)
        app = provider()
        with pytest.raises(RoomError) as caught:
            await app.connect(Sink(), SessionOptions())  # type: ignore[arg-type]
        assert caught.value.reason.startswith(reason)
        assert str(caught.value).startswith("livekit: ")
        assert TOKEN not in str(caught.value)
        assert caught.value.__cause__ is None
        with pytest.raises(RoomError):
            await app.publish(VOICE)
        await app.close()

    run(scenario())


def test_a_room_joined_too_late_is_left(room: Room) -> None:
    async def scenario() -> None:
        room.wait = asyncio.get_running_loop().create_future()
        sink, app = Sink(), provider()
        with pytest.raises(RoomError) as caught:
            await app.connect(sink, SessionOptions(connect_timeout=0.1))  # type: ignore[arg-type]
        assert caught.value.reason == "timeout"
        room.wait.set_result(None)
        await turns()
        assert room.disconnects == 1, "nobody would ever leave it"
        assert not sink.events
        await app.close()

    run(scenario())


def test_closed_while_joining(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SETTLE_SECONDS", 30)

    async def scenario() -> None:
        room.wait = asyncio.get_running_loop().create_future()
        app = provider()
        joining = asyncio.create_task(app.connect(Sink(), SessionOptions()))  # type: ignore[arg-type]
        await turns()
        closing = asyncio.create_task(app.close())
        await turns()
        room.wait.set_result(None)
        with pytest.raises((RoomError, ClosedError)):
            await joining
        await closing
        assert room.disconnects == 1
        assert not room.alive

    run(scenario())


@pytest.mark.parametrize("cut", [True, False], ids=["cancelled", "too late"])
def test_a_join_that_is_given_up_is_carried_on_and_left(room: Room, cut: bool) -> None:
    """The SDK must not be cancelled there. Whoever joins next as the same waits for it."""

    async def scenario() -> None:
        room.wait = asyncio.get_running_loop().create_future()
        first, options = provider(), SessionOptions(connect_timeout=0.1)
        joining = asyncio.create_task(first.connect(Sink(), options))  # type: ignore[arg-type]
        await turns()
        if cut:
            joining.cancel()
        with pytest.raises((RoomError, asyncio.CancelledError)):
            await joining
        closing = asyncio.create_task(first.close())
        with pytest.raises(RoomError) as caught:
            await provider().connect(Sink(), options)  # type: ignore[arg-type]
        assert caught.value.reason == "timeout"
        assert room.asked == 1, "two joins of one identity put each other out"
        await closing
        assert not room.panics
        other = LiveKitProvider(url="ws://host", token="somebody else's")
        aside = asyncio.create_task(other.connect(Sink(), SessionOptions()))  # type: ignore[arg-type]
        second = provider()
        waiting = asyncio.create_task(second.connect(Sink(), SessionOptions()))  # type: ignore[arg-type]
        await turns()
        assert room.asked == 2, "another identity has nothing to wait for"
        room.wait.set_result(None)
        await waiting
        assert room.disconnects >= 1, "the first one is still in the room"
        assert not room.panics
        await aside
        await asyncio.gather(second.close(), other.close())

    run(scenario())


def test_a_loop_that_ends_under_a_join_leaves_no_subscription(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[Room] = []
    monkeypatch.setattr(connection, "_stop_listening", stopped.append)

    async def scenario() -> None:
        room.wait = asyncio.get_running_loop().create_future()
        app = provider()
        with pytest.raises(RoomError):
            await app.connect(Sink(), SessionOptions(connect_timeout=0.1))  # type: ignore[arg-type]
        await app.close()
        assert joins.under_way()

    asyncio.run(scenario())
    assert stopped == [room]


def test_closed_while_it_waits_for_its_turn_to_join(room: Room) -> None:
    async def scenario() -> None:
        room.wait = asyncio.get_running_loop().create_future()
        first, second = provider(), provider()
        with pytest.raises(RoomError):
            await first.connect(Sink(), SessionOptions(connect_timeout=0.1))  # type: ignore[arg-type]
        await first.close()
        joining = asyncio.create_task(second.connect(Sink(), SessionOptions()))  # type: ignore[arg-type]
        await turns()
        await second.close()
        room.wait.set_result(None)
        with pytest.raises(ClosedError):
            await joining
        assert room.asked == 1

    run(scenario())
