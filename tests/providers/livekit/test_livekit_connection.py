"""Joining, publishing, sending and leaving, over a room that behaves as the SDK's does."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

rtc = pytest.importorskip("livekit.rtc")

from livekit.rtc.participant import PublishDataError, PublishTrackError  # noqa: E402
from livekit.rtc.room import ConnectError  # noqa: E402

import native_kit  # noqa: E402, F401  (the native library's threads are no test's)
from ringroom.errors import ClosedError, RoomError  # noqa: E402
from ringroom.frames import DataFrame, EventKind, Kind  # noqa: E402
from ringroom.options import PublishOptions, SessionOptions  # noqa: E402
from ringroom.providers.livekit import connection, joins, mapping  # noqa: E402
from ringroom.providers.livekit.calls import Calls  # noqa: E402
from ringroom.providers.livekit.connection import LiveKitProvider  # noqa: E402
from ringroom.providers.provider import OutgoingTrack  # noqa: E402
from sdk_kit import (  # noqa: E402
    TOKEN,
    VOICE,
    Ingest,
    Publication,
    Room,
    Sink,
    provider,
    raising,
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
        assert room.connected[2].data_stream.max_payload_byte_length == 1
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


def test_closed_while_joining(room: Room) -> None:
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


def test_an_end_that_our_close_overtakes_is_not_told(room: Room) -> None:
    async def scenario() -> None:
        sink, app = Sink(), provider()
        await app.connect(sink, SessionOptions())  # type: ignore[arg-type]
        room.emit("disconnected", rtc.DisconnectReason.ROOM_DELETED)
        await app.close()
        assert not sink.log

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


def test_tracks_come_go_and_come_back(room: Room) -> None:
    async def scenario() -> None:
        sink, app = Sink(), provider()
        await app.connect(sink, SessionOptions())  # type: ignore[arg-type]
        one, two = Publication("TR_1"), Publication("TR_2", name="second")
        ann = someone("ann", one, two)
        room.remote_participants["ann"] = ann
        room.emit("participant_connected", ann)
        room.emit("track_published", one, ann)
        assert sink.kinds().count(EventKind.TRACK_PUBLISHED) == 2
        for publication in (one, two):
            room.emit("track_subscribed", object(), publication, ann)
        room.emit("track_muted", ann, two)
        assert [i.muted for i in Ingest.made] == [False, True]
        room.emit("track_unsubscribed", object(), one, ann)
        room.emit("track_subscribed", object(), one, ann)
        assert Ingest.made[2].after is Ingest.made[0]
        await turns()
        assert sink.log == [("TR_1", "unsubscribed")]
        room.emit("track_unpublished", one, ann)
        room.emit("track_unpublished", one, ann)
        await turns()
        assert sink.log[1:] == [("TR_1", "unpublished")]
        assert sink.kinds().count(EventKind.TRACK_UNPUBLISHED) == 1
        room.emit("participant_disconnected", ann)
        await turns()
        assert sink.log[2:] == [("TR_2", "the participant left")]
        assert sink.kinds()[-1] is EventKind.PARTICIPANT_LEFT
        await app.close()

    run(scenario())


def test_what_is_not_wanted_is_not_subscribed(room: Room) -> None:
    async def scenario() -> None:
        sink, app = Sink(), provider()
        sink.wanted = False
        await app.connect(sink, SessionOptions())  # type: ignore[arg-type]
        voice = Publication("TR_1")
        room.emit("track_published", voice, someone("ann", voice))
        room.emit("track_published", Publication("TR_2", kind=0), someone("ann"))
        assert voice.asked == 0
        assert sink.kinds() == [EventKind.CONNECTED, EventKind.TRACK_PUBLISHED]
        await app.close()

    run(scenario())


def test_reconnection_takes_up_what_it_missed(room: Room) -> None:
    async def scenario() -> None:
        sink, app = Sink(), provider()
        await app.connect(sink, SessionOptions())  # type: ignore[arg-type]
        room.emit("reconnecting")
        voice = Publication("TR_1")
        room.remote_participants["ann"] = someone("ann", voice)
        room.emit("reconnected")
        assert sink.kinds() == [
            EventKind.CONNECTED,
            EventKind.CONNECTION_LOST,
            EventKind.CONNECTION_BACK,
            EventKind.PARTICIPANT_JOINED,
            EventKind.TRACK_PUBLISHED,
        ]
        assert voice.asked == 1
        await app.close()

    run(scenario())


def test_the_rooms_other_news(room: Room) -> None:
    async def scenario() -> None:
        sink, app = Sink(), provider()
        await app.connect(sink, SessionOptions())  # type: ignore[arg-type]
        ann = someone("ann")
        room.emit("participant_name_changed", ann, "old", "new")
        room.emit("participant_connected", ann)
        ann.attributes = {"mood": "good"}
        room.emit("participant_attributes_changed", {"mood": "good"}, ann)
        room.emit("participant_metadata_changed", ann, "old", "new")
        room.emit("track_subscription_failed", ann, "TR_9", "no permission")
        for state in ("OK", "DECRYPTION_FAILED", "DECRYPTION_FAILED"):
            room.emit("e2ee_state_changed", ann, rtc.EncryptionState.Value(state))
        assert sink.kinds()[2:] == [
            EventKind.PARTICIPANT_CHANGED,
            EventKind.PARTICIPANT_CHANGED,
            EventKind.TRACK_FAILED,
            EventKind.TRACK_FAILED,
        ]
        assert dict(sink.events[2].participant.attributes) == {"mood": "good"}  # type: ignore[union-attr]
        packet = rtc.DataPacket(data=b"x", kind=1, participant=ann, topic="t")
        room.emit("data_received", packet)
        room.emit("data_received", rtc.DataPacket(data=b"y", kind=0, participant=None))
        found = [(m.payload, m.topic, m.participant, m.reliable) for m in sink.messages]
        assert found == [(b"x", "t", "ann", True), (b"y", "", "", False)]
        await app.close()
        room.emit("data_received", packet)
        assert len(sink.messages) == 2

    run(scenario())


def test_a_handler_that_fails_is_counted(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        sink, app = Sink(), provider()
        await app.connect(sink, SessionOptions())  # type: ignore[arg-type]
        room.emit("data_received", None)
        assert app.failures == 1
        Ingest.made.clear()
        room.emit("track_subscribed", object(), Publication("TR_1"), someone("ann"))
        Ingest.made[0].over.set_exception(ValueError("sink"))
        await turns()
        assert sink.events[-1].kind is EventKind.TRACK_FAILED
        assert app.failures == 2
        await app.close()

    run(scenario())
    assert "data_received was not handled" in caplog.text


def test_a_subscription_that_cannot_be_read_does_not_hide_the_earlier_one(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("the native library gives no stream")

    async def scenario() -> None:
        sink, app = Sink(), provider()
        await app.connect(sink, SessionOptions())  # type: ignore[arg-type]
        one, ann = Publication("TR_1"), someone("ann")
        room.emit("track_subscribed", object(), one, ann)
        monkeypatch.setattr(Ingest, "start", fails)
        room.emit("track_subscribed", object(), one, ann)
        room.emit("track_subscribed", object(), Publication("TR_2"), ann)
        assert app.failures == 2
        await app.close()
        assert sink.log == [("TR_1", "closed")]

    run(scenario())


def test_messages_that_nobody_could_send_are_left_out_and_told_once(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        sink, app = Sink(), provider()
        await app.connect(sink, SessionOptions())  # type: ignore[arg-type]
        ann, nobody = someone("ann"), someone("x" * 2_000)
        for fields in (
            {"data": bytes(70_000), "participant": ann},
            {"data": b"x", "participant": ann, "topic": "t" * 2_000},
            {"data": b"x", "participant": ann, "topic": "\ud800"},
            {"data": b"x", "participant": nobody},
            {"data": None, "participant": None},
        ) * 100:
            room.emit("data_received", rtc.DataPacket(kind=1, **fields))
        room.emit("data_received", rtc.DataPacket(data=b"last", kind=1, participant=ann))
        assert [message.payload for message in sink.messages] == [b"last"]
        assert app.failures == 0
        await app.close()

    run(scenario())
    assert caplog.text.count("is left out") == 1


def test_encryption_that_fails_is_forgotten_with_the_participant(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        sink, app = Sink(), provider()
        await app.connect(sink, SessionOptions())  # type: ignore[arg-type]
        failed = rtc.EncryptionState.Value("DECRYPTION_FAILED")
        for number in range(50):
            guest = someone(f"guest-{number}")
            room.emit("participant_connected", guest)
            for _ in range(3):
                room.emit("e2ee_state_changed", guest, failed)
            room.emit("participant_disconnected", guest)
        assert sink.kinds().count(EventKind.TRACK_FAILED) == 50
        assert not app._roster._broken  # type: ignore[union-attr]
        await app.close()

    run(scenario())
    assert caplog.text.count("decryption failed") == 1


def test_what_the_sdk_raises_beside_its_own_errors_holds_no_token(room: Room) -> None:
    async def scenario() -> None:
        room.failure = ValueError(f"no URL: ws://host?access_token={TOKEN}")
        app = provider()
        with pytest.raises(RoomError, match="ValueError") as caught:
            await app.connect(Sink(), SessionOptions())  # type: ignore[arg-type]
        assert TOKEN not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
        await app.close()

    run(scenario())


def test_publishing(room: Room) -> None:
    async def scenario() -> None:
        app = provider()
        with pytest.raises(RoomError, match="not connected"):
            await app.publish(VOICE)
        await app.connect(Sink(), SessionOptions(connect_timeout=0.1))  # type: ignore[arg-type]
        local = room.local_participant
        playout = await app.publish(VOICE)
        await playout.close()
        await playout.close()
        assert local.log == ["published", "unpublished TR_own"]
        local.permissions.can_publish_sources = [rtc.TrackSource.SOURCE_CAMERA]
        with pytest.raises(RoomError, match="source microphone") as caught:
            await app.publish(VOICE)
        assert caught.value.reason == "publish_refused"
        local.permissions.can_publish_sources = []
        dot = replace(VOICE, kind=Kind.VIDEO, width=640, height=3)
        with pytest.raises(RoomError, match="640x3, and WebRTC takes sides of 4") as caught:
            await app.publish(dot)
        assert caught.value.reason == "publish_refused"
        local.permissions.can_publish = False
        with pytest.raises(RoomError, match="canPublish"):
            await app.publish(VOICE)
        local.permissions.can_publish = True
        local.answer = raising(PublishTrackError(f"no {TOKEN}"))
        with pytest.raises(RoomError, match=r"answer.*no .token.") as caught:
            await app.publish(VOICE)
        assert caught.value.reason == "publish_refused"
        await app.close()

    run(scenario())


def test_a_track_published_too_late_is_taken_back(room: Room) -> None:
    async def scenario() -> None:
        app = provider()
        await app.connect(Sink(), SessionOptions(connect_timeout=0.1))  # type: ignore[arg-type]
        local = room.local_participant
        local.wait = asyncio.get_running_loop().create_future()
        with pytest.raises(RoomError, match="did not answer"):
            await app.publish(VOICE)
        local.wait.set_result(None)
        await turns()
        assert local.log == ["published", "unpublished TR_own"]
        local.wait = asyncio.get_running_loop().create_future()
        publishing = asyncio.create_task(app.publish(VOICE))
        await turns()
        room.emit("disconnected", rtc.DisconnectReason.UNKNOWN_REASON)
        with pytest.raises(RoomError, match="ended") as caught:
            await publishing
        # Nobody has refused it: it waits for the next room.
        assert caught.value.reason == "disconnected"
        local.wait.set_result(None)
        await app.close()

    run(scenario())


def test_a_track_that_is_begun_while_the_connection_is_lost_waits_for_it(room: Room) -> None:
    async def scenario() -> None:
        app = provider()
        await app.connect(Sink(), SessionOptions(connect_timeout=0.1))  # type: ignore[arg-type]
        room.emit("reconnecting")
        publishing = asyncio.create_task(app.publish(VOICE))
        await asyncio.wait({publishing}, timeout=0.2)
        assert not publishing.done()
        assert not room.local_participant.log
        room.emit("reconnected")
        await publishing
        assert room.local_participant.log == ["published"]
        await app.close()

    run(scenario())


@pytest.mark.parametrize("failure", [None, PublishTrackError("engine: closed")])
def test_a_track_that_a_loss_overtakes_is_asked_for_again(
    room: Room, failure: Exception | None
) -> None:
    """The SDK answers such a request with an error, or never."""

    async def scenario() -> None:
        app = provider()
        await app.connect(Sink(), SessionOptions(connect_timeout=0.1))  # type: ignore[arg-type]
        local = room.local_participant
        first = local.wait = asyncio.get_running_loop().create_future()
        publishing = asyncio.create_task(app.publish(VOICE))
        await turns()
        room.emit("reconnecting")
        local.wait = None
        if failure is not None:
            first.set_exception(failure)
        await asyncio.wait({publishing}, timeout=0.2)
        room.emit("reconnected")
        playout = await publishing
        assert local.log == ["published"]
        if failure is None:
            first.set_result(None)
            await turns()
            assert local.log == ["published", "published", "unpublished TR_own"], "it came twice"
        await playout.close()
        await app.close()

    run(scenario())


def test_sending_data(room: Room) -> None:
    async def scenario() -> None:
        app = provider()
        await app.connect(Sink(), SessionOptions())  # type: ignore[arg-type]
        local = room.local_participant
        await app.send_data(DataFrame(b"x", topic="t", reliable=False, to=("ann",)))
        fields = {"reliable": False, "destination_identities": ["ann"], "topic": "t"}
        assert local.log == [(b"x", fields)]
        local.answer = raising(PublishDataError("too large"))
        with pytest.raises(RoomError, match="too large") as caught:
            await app.send_data(DataFrame(b"x"))
        assert caught.value.reason == "data_refused"
        local.permissions.can_publish_data = False
        with pytest.raises(RoomError, match="canPublishData"):
            await app.send_data(DataFrame(b"x"))
        await app.close()

    run(scenario())


def test_a_message_under_way_as_the_room_ends_is_refused_by_nobody(room: Room) -> None:
    """Else the next ones, which wait for the next room, would be offered to this one."""

    async def scenario() -> None:
        app = provider()
        await app.connect(Sink(), SessionOptions())  # type: ignore[arg-type]
        room.local_participant.unanswered = asyncio.get_running_loop().create_future()
        sending = asyncio.create_task(app.send_data(DataFrame(b"x")))
        await turns()
        room.emit("disconnected", rtc.DisconnectReason.UNKNOWN_REASON)
        with pytest.raises(RoomError) as caught:
            await sending
        assert caught.value.reason == "disconnected"
        room.local_participant.unanswered.set_result(None)
        await app.close()

    run(scenario())


def test_calls_are_carried_on_and_undone() -> None:
    async def scenario() -> None:
        calls, undone = Calls(), []

        async def undo(answer: str) -> None:
            undone.append(answer)

        async def answered(answer: asyncio.Future[str]) -> str:
            return await answer

        loop = asyncio.get_running_loop()
        late, cut = loop.create_future(), loop.create_future()
        with pytest.raises(TimeoutError):
            await calls.run(answered(late), 0.0, undo=undo)
        waiting = asyncio.create_task(calls.run(answered(cut), 5.0, undo=undo))
        await turns()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        late.set_result("late")
        cut.set_result("cut")
        await calls.settle(1.0)
        assert undone == ["late", "cut"]
        broken = loop.create_future()
        with pytest.raises(TimeoutError):
            await calls.run(answered(broken), 0.0, undo=undo)
        broken.set_exception(ConnectError("late failure"))
        never = loop.create_future()
        gone = loop.create_future()
        gone.set_result(None)
        with pytest.raises(ConnectionError):
            await calls.run(answered(never), 5.0, gone=gone, undo=undo)
        await calls.settle(0.0)
        assert never.cancelled()
        assert undone == ["late", "cut"]

    run(scenario())


def test_tokens_stay_out_of_the_sdks_log(caplog: pytest.LogCaptureFixture) -> None:
    mapping.scrub_logs()
    mapping.scrub_logs()
    sdk = logging.getLogger("livekit")
    assert sum(type(f).__name__ == "_Scrubber" for f in sdk.filters) == 1
    with caplog.at_level(logging.DEBUG, logger="livekit"):
        sdk.warning("%s - %s", "refused", f"invalid token: {TOKEN}, expired")
        sdk.warning("wss://host/rtc?access_token=secret-value&auto=1")
        sdk.warning("plain %d", 5)
    assert caplog.messages == [
        "refused - invalid token: (token), expired",
        "wss://host/rtc?access_token=(token)&auto=1",
        "plain 5",
    ]


def test_publish_options() -> None:
    ours = PublishOptions(dtx=True, red=False, audio_bitrate=32_000, source="screen_share_audio")
    theirs = mapping.publish_options(
        OutgoingTrack(name="a", kind=Kind.AUDIO, options=ours, sample_rate=16_000, channels=1)
    )
    assert (theirs.dtx, theirs.red, theirs.audio_encoding.max_bitrate) == (True, False, 32_000)
    assert theirs.source == rtc.TrackSource.SOURCE_SCREENSHARE_AUDIO
    assert not mapping.publish_options(VOICE).HasField("audio_encoding")
    assert mapping.publish_options(VOICE).source == rtc.TrackSource.SOURCE_MICROPHONE
    ours = PublishOptions(video_codec="av1", simulcast=True, video_fps=15)
    theirs = mapping.publish_options(
        OutgoingTrack(name="v", kind=Kind.VIDEO, options=ours, width=1280, height=720)
    )
    assert (theirs.video_codec, theirs.simulcast) == (rtc.VideoCodec.AV1, True)
    assert theirs.source == rtc.TrackSource.SOURCE_CAMERA
    assert theirs.video_encoding.max_framerate == 15
    assert 1_100_000 < theirs.video_encoding.max_bitrate < 1_300_000


@pytest.mark.parametrize(
    "text",
    [
        "livekit_ffi::room_apis::server - Attempted to drop unknown FFI handle: 9",
        'failed to negotiate the publisher: Rtc("Called in wrong state: closed")',
        "livekit_rpc::server - Failed to read RPC v2 request stream: PayloadTooLarge",
        "livekit_data_stream::incoming::manager - Stream 'a b' already open",
        "livekit_data_stream::incoming::manager - Invalid header: UnknownType",
    ],
)
def test_what_the_sdk_says_that_nobody_can_act_on_is_for_debugging(text: str) -> None:
    scrubber = mapping._Scrubber()
    record = logging.LogRecord("livekit", logging.ERROR, "", 0, text, (), None)
    assert not scrubber.filter(record)
    for news in ("the track is gone", "signal_client - Invalid header value"):
        other = logging.LogRecord("livekit", logging.ERROR, "", 0, news, (), None)
        assert scrubber.filter(other)
        assert other.levelno == logging.ERROR
