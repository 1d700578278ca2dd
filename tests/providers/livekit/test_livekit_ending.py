"""How the room ends, and what is told of it, over a room that behaves as the SDK's does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from livekit import rtc

import native_kit  # noqa: F401  (the native library's threads are no test's)
from loop_kit import VirtualLoop, run_virtual
from ringroom.errors import RoomError
from ringroom.frames import DataFrame
from ringroom.options import SessionOptions
from ringroom.providers.livekit import connection, joins, mapping, native
from ringroom.providers.livekit.line import Line
from ringroom.providers.livekit.roster import Roster
from ringroom.providers.provider import Playout
from sdk_kit import (
    TOKEN,
    VOICE,
    Ingest,
    Publication,
    Room,
    Sink,
    provider,
    run,
    someone,
    turns,
)

REASONS = {
    "ROOM_DELETED": "",
    "ROOM_CLOSED": "",
    "PARTICIPANT_REMOVED": "",
    "DUPLICATE_IDENTITY": "",
    "SERVER_SHUTDOWN": "server shutdown",
    "SIGNAL_CLOSE": "signal close",
    "JOIN_FAILURE": "join failure",
    "CONNECTION_TIMEOUT": "connection timeout",
    "MEDIA_FAILURE": "media failure",
    "STATE_MISMATCH": "state mismatch",
    "CLIENT_INITIATED": "client initiated",
    "UNKNOWN_REASON": "unknown reason",
}


@pytest.mark.parametrize(("name", "word"), REASONS.items())
def test_how_the_room_ended(name: str, word: str) -> None:
    reason, error = mapping.end_of_room(rtc.DisconnectReason.Value(name))
    assert reason
    assert error == (f"livekit: connection to the room was lost: {word}" if word else "")


def test_a_reason_of_a_newer_sdk() -> None:
    assert mapping.end_of_room(99) == (
        "reason 99",
        "livekit: connection to the room was lost: reason 99",
    )


def test_tracks_end_before_the_room(room: Room) -> None:
    async def scenario() -> None:
        sink, app = Sink(), provider()
        await app.connect(sink, SessionOptions())  # type: ignore[arg-type]
        voice = Publication("TR_1", muted=True)
        room.emit("track_subscribed", object(), voice, someone("ann", voice))
        assert Ingest.made[0].muted is True
        playout = await app.publish(VOICE)
        room.emit("disconnected", rtc.DisconnectReason.ROOM_DELETED)
        room.emit("disconnected", rtc.DisconnectReason.UNKNOWN_REASON)
        await turns()
        reason = "room closed: it was deleted"
        assert sink.log == [("TR_1", reason), ("ended", reason, "")]
        for refused in (app.publish(VOICE), app.send_data(DataFrame(b"x"))):
            with pytest.raises(RoomError) as caught:
                await refused
            assert caught.value.reason == "disconnected"
        await playout.close()
        await app.close()
        assert len(sink.log) == 2

    run(scenario())


def test_the_end_is_told_though_its_tracks_could_not_be_ended(
    room: Room, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(self: Roster, reason: str) -> None:
        raise RuntimeError("no end")

    async def scenario() -> None:
        sink, app = Sink(), provider()
        await app.connect(sink, SessionOptions())  # type: ignore[arg-type]
        with monkeypatch.context() as patched:
            patched.setattr(Roster, "end_tracks", broken)
            room.emit("disconnected", rtc.DisconnectReason.ROOM_DELETED)
            await turns()
        assert sink.log == [("ended", "room closed: it was deleted", "")]
        await app.close()

    run(scenario())
    assert "RuntimeError: no end" in caplog.text


def test_an_end_that_our_close_overtakes_is_not_told(room: Room) -> None:
    async def scenario() -> None:
        sink, app = Sink(), provider()
        await app.connect(sink, SessionOptions())  # type: ignore[arg-type]
        room.emit("disconnected", rtc.DisconnectReason.ROOM_DELETED)
        await app.close()
        assert not sink.log

    run(scenario())


def test_a_connection_that_has_ended_is_not_lost_after_that() -> None:
    """The SDK may have the loss still to tell: who waited for its end would do so for ever."""

    async def scenario() -> None:
        line = Line()
        line.set(True)
        line.end()
        line.set(False)
        assert (line.lost, line.losses) == (False, 0)
        async with asyncio.timeout(5):
            with pytest.raises(RoomError, match="has ended"):
                await line.up()

    run(scenario())


@pytest.mark.parametrize("ends", ["by itself", "by our close"])
def test_a_track_that_comes_while_the_others_end_is_not_begun(
    room: Room, ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would end it."""
    late, ann = Publication("TR_2"), someone("ann")

    async def ended(self: Ingest, reason: str) -> None:
        room.emit("track_published", late, ann)
        room.emit("track_subscribed", object(), late, ann)
        await end(self, reason)

    end = Ingest.end
    monkeypatch.setattr(Ingest, "end", ended)

    async def scenario() -> None:
        app = provider()
        await app.connect(Sink(), SessionOptions())  # type: ignore[arg-type]
        room.emit("track_subscribed", object(), Publication("TR_1"), ann)
        if ends == "by itself":
            room.emit("disconnected", rtc.DisconnectReason.ROOM_DELETED)
            await turns()
        await app.close()
        assert [one.track.sid for one in Ingest.made if not one.over.done()] == []
        assert late.asked == 0

    run(scenario())


def test_tracks_end_also_if_ours_take_all_the_time_that_a_close_has(room: Room) -> None:
    async def scenario() -> None:
        app = provider()
        await app.connect(Sink(), SessionOptions(close_timeout=0.1))  # type: ignore[arg-type]
        room.emit("track_subscribed", object(), Publication("TR_1"), someone("ann"))
        playout = await app.publish(VOICE)
        playout.close = asyncio.Event().wait  # type: ignore[method-assign, assignment]
        await app.close()
        await turns()
        assert [one.over.done() for one in Ingest.made] == [True]

    run(scenario())


@pytest.mark.parametrize("ended", [True, False])
def test_a_close_that_waits_no_longer_for_the_tracks_hears_nothing_more(
    room: Room, ended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slowly(self: Ingest, reason: str) -> None:
        await may_end.wait()
        if not self.over.done():
            self.over.set_result(None)

    monkeypatch.setattr(Ingest, "end", slowly)
    may_end = asyncio.Event()

    async def scenario() -> None:
        sink, app = Sink(), provider()
        await app.connect(sink, SessionOptions(close_timeout=0.1))  # type: ignore[arg-type]
        room.emit("track_subscribed", object(), Publication("TR_1"), someone("ann"))
        if ended:
            room.emit("disconnected", rtc.DisconnectReason.ROOM_DELETED)
            await turns()
        await app.close()
        told = len(sink.events)
        room.emit("participant_connected", someone("ben"))
        assert len(sink.events) == told
        may_end.set()
        if app._ending is not None:
            await app._ending  # raises what it raises
        await turns()
        assert not sink.log

    run(scenario())


def tell_when_closed(playout: Playout, log: list[Any]) -> None:
    close = playout.close

    async def closed() -> None:
        await close()
        log.append("outbound")

    playout.close = closed  # type: ignore[method-assign]


def test_a_close_waits_for_what_tells_of_the_end(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slowly(self: Ingest, reason: str) -> None:
        await may_end.wait()
        log.append("inbound")
        self.over.set_result(None)

    monkeypatch.setattr(Ingest, "end", slowly)
    may_end, log = asyncio.Event(), room.local_participant.log

    async def scenario() -> None:
        app = provider()
        await app.connect(Sink(), SessionOptions())  # type: ignore[arg-type]
        room.emit("track_subscribed", object(), Publication("TR_1"), someone("ann"))
        tell_when_closed(await app.publish(VOICE), log)
        room.emit("disconnected", rtc.DisconnectReason.ROOM_DELETED)
        await turns()
        closing = asyncio.create_task(app.close())
        await turns()
        assert log == ["published"]
        may_end.set()
        await closing
        assert log[:3] == ["published", "inbound", "outbound"]

    run(scenario())


def test_a_close_ends_all_tracks_before_it_leaves_the_room(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The native library logs an error for a capture that is cut off."""
    log, leave = room.local_participant.log, room.disconnect

    async def disconnect() -> None:
        log.append("left")
        await leave()

    monkeypatch.setattr(room, "disconnect", disconnect)

    async def scenario() -> None:
        sink, app = Sink(), provider()
        sink.log = log
        await app.connect(sink, SessionOptions())  # type: ignore[arg-type]
        room.emit("track_subscribed", object(), Publication("TR_1"), someone("ann"))
        tell_when_closed(await app.publish(VOICE), log)
        await app.close()
        assert log == ["published", "outbound", ("TR_1", "closed"), "left"]

    run(scenario())


def test_a_room_that_the_sdk_cannot_leave_is_given_back_all_the_same(
    room: Room, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stopped: list[Room] = []
    monkeypatch.setattr(connection, "_stop_listening", stopped.append)

    async def disconnect() -> None:
        raise Exception(f"engine is closed: {TOKEN}")

    monkeypatch.setattr(room, "disconnect", disconnect)

    async def scenario() -> None:
        app = provider()
        await app.connect(Sink(), SessionOptions())  # type: ignore[arg-type]
        for _ in range(2):
            await app.close()
        assert app._opened is None
        assert asyncio.get_running_loop() not in native._exchanges

    run(scenario())
    assert stopped == [room]
    first, second = caplog.messages
    assert first.startswith("livekit: leaving the room failed\nTraceback")
    assert first.endswith("Exception: engine is closed: (token)\n")
    assert second.startswith("livekit: a room was not left\nTraceback")
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("joins_late", [False, True])
def test_a_room_is_left_though_its_tracks_do_not_end(
    room: Room, joins_late: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def end_tracks(self: Roster, reason: str) -> None:
        raise KeyError("a defect of ours")

    monkeypatch.setattr(Roster, "end_tracks", end_tracks)

    async def scenario() -> None:
        app = provider()
        room.wait = asyncio.get_running_loop().create_future()
        options = SessionOptions(connect_timeout=0.1 if joins_late else 30)
        joining = asyncio.create_task(app.connect(Sink(), options))  # type: ignore[arg-type]
        if joins_late:
            with pytest.raises(RoomError, match="joining took longer"):
                await joining
        else:
            await turns()
            room.wait.set_result(None)
            await joining
        await app.close()
        if joins_late:
            room.wait.set_result(None)
            await asyncio.wait(joins.under_way())
        assert room.disconnects >= 1
        assert not room.alive

    run(scenario())
    (text,) = caplog.messages
    assert text.startswith("livekit: leaving the room failed\nTraceback")
    assert text.endswith("KeyError: 'a defect of ours'\n")


def test_a_close_ends_a_message_that_waits_and_leaves_no_watch_behind(room: Room) -> None:
    """The loop may be another's, and go on: what a timer holds, it holds until then."""

    async def scenario(loop: VirtualLoop) -> None:
        app = provider()
        await app.connect(Sink(), SessionOptions())  # type: ignore[arg-type]
        local = room.local_participant
        local.unanswered = loop.create_future()
        sending = asyncio.create_task(app.send_data(DataFrame(b"x")))
        await turns()
        assert local.log, "the SDK has it"
        begun = loop.time()
        closing = asyncio.create_task(app.close())
        with pytest.raises(RoomError, match="has ended") as caught:
            await sending
        assert caught.value.reason == "disconnected"
        assert loop.time() == begun
        local.unanswered.set_result(None)
        await closing
        assert [timer for timer in loop._scheduled if not timer.cancelled()] == []  # type: ignore[attr-defined]

    run_virtual(scenario)
