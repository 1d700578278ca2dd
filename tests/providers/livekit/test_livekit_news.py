"""The room's news, over a room that behaves as the SDK's does: people, tracks, messages."""

from __future__ import annotations

import pytest
from livekit import rtc

import native_kit  # noqa: F401  (the native library's threads are no test's)
from ringroom.dtmf import DtmfFrame
from ringroom.events import EventKind, RoomInfo
from ringroom.options import SessionOptions
from sdk_kit import Ingest, Publication, Room, Sink, provider, run, someone, turns


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


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (rtc.ParticipantKind.PARTICIPANT_KIND_STANDARD, "standard"),
        (rtc.ParticipantKind.PARTICIPANT_KIND_INGRESS, "ingress"),
        (rtc.ParticipantKind.PARTICIPANT_KIND_EGRESS, "egress"),
        (rtc.ParticipantKind.PARTICIPANT_KIND_SIP, "sip"),
        (rtc.ParticipantKind.PARTICIPANT_KIND_AGENT, "agent"),
        (5, "unknown"),
        (99, "unknown"),
    ],
)
def test_somebody_is_told_by_their_kind(room: Room, kind: int, told: str) -> None:
    async def scenario() -> None:
        sink, app = Sink(), provider()
        await app.connect(sink, SessionOptions())  # type: ignore[arg-type]
        room.emit("participant_connected", someone("ann", kind=kind))
        participant = sink.events[-1].participant
        assert participant is not None
        assert participant.kind == told
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


def test_a_handler_that_fails_is_told(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        sink, app = Sink(), provider()
        await app.connect(sink, SessionOptions())  # type: ignore[arg-type]
        room.emit("data_received", None)
        assert "data_received was not handled" in caplog.text
        Ingest.made.clear()
        room.emit("track_subscribed", object(), Publication("TR_1"), someone("ann"))
        Ingest.made[0].over.set_exception(ValueError("sink"))
        await turns()
        assert sink.events[-1].kind is EventKind.TRACK_FAILED
        assert "track TR_1 failed" in caplog.text
        await app.close()

    run(scenario())


def test_a_subscription_that_cannot_be_read_does_not_hide_the_earlier_one(
    room: Room, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
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
        assert "track_subscribed was not handled" in caplog.text
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
        await app.close()

    run(scenario())
    assert caplog.text.count("is left out") == 1
    assert "was not handled" not in caplog.text


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
        assert not app._opened.roster._broken  # type: ignore[union-attr]
        await app.close()

    run(scenario())
    assert caplog.text.count("decryption failed") == 1


def test_digits_come_as_they_are_pressed(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    """LiveKit SIP has letters in small; what other clients make up is left out."""

    async def scenario() -> None:
        sink, app = Sink(), provider()
        await app.connect(sink, SessionOptions())  # type: ignore[arg-type]
        ann = someone("ann")
        for digit in ("5", "#", "a", "D", "", "x", "12", "ß", "x" * 100_000):
            room.emit("sip_dtmf_received", rtc.SipDTMF(code=99, digit=digit, participant=ann))
        room.emit("sip_dtmf_received", rtc.SipDTMF(code=0, digit="0", participant=None))
        assert all(isinstance(one, DtmfFrame) for one in sink.messages)
        told = [(one.payload, one.participant) for one in sink.messages]
        assert told == [*((digit.encode(), "ann") for digit in "5#AD"), (b"0", "")]
        assert sink.messages[0].received_ns > 0
        await app.close()

    run(scenario())
    assert caplog.text.count("a digit of 'ann' is left out") == 1
    assert len(caplog.text) < 1_000


def test_the_room_itself_is_told_and_what_it_is_changed_to(room: Room) -> None:
    """The SDK tells in two ways, of one thing or of several, and of much that is nothing to us."""

    async def scenario() -> None:
        sink, app = Sink(), provider()
        room.metadata = "first"
        await app.connect(sink, SessionOptions())  # type: ignore[arg-type]
        assert sink.kinds() == [EventKind.CONNECTED]
        assert sink.events[0].room == RoomInfo(name="voice-room", sid="RM_1", metadata="first")
        room.emit("room_updated")  # another number of participants, say
        room.metadata = "second"
        room.emit("room_metadata_changed", "first", "second")
        room.emit("room_updated")
        room.metadata = "third"
        room.emit("room_updated")
        room.emit("reconnecting")
        room.metadata, room.known_sid = "fourth", "RM_2"  # of which nobody tells
        room.emit("reconnected")
        assert sink.kinds()[1:] == [
            EventKind.ROOM_CHANGED,
            EventKind.ROOM_CHANGED,
            EventKind.CONNECTION_LOST,
            EventKind.CONNECTION_BACK,
            EventKind.ROOM_CHANGED,
        ]
        told = [event.room for event in sink.events if event.kind is EventKind.ROOM_CHANGED]
        assert [one.metadata for one in told if one] == ["second", "third", "fourth"]
        assert told[-1] is not None
        assert told[-1].sid == "RM_2"
        await app.close()

    run(scenario())


def test_a_sid_of_the_room_that_has_not_come_is_not_waited_for(room: Room) -> None:
    async def scenario() -> None:
        sink, app = Sink(), provider()
        room.known_sid = None
        await app.connect(sink, SessionOptions())  # type: ignore[arg-type]
        assert sink.events[0].room == RoomInfo(name="voice-room")
        room.known_sid = "RM_1"
        room.emit("room_updated")
        assert sink.events[-1].room == RoomInfo(name="voice-room", sid="RM_1")
        await app.close()

    run(scenario())


def test_the_quality_of_a_connection_is_told_when_it_is_another(room: Room) -> None:
    async def scenario() -> None:
        sink, app = Sink(), provider()
        await app.connect(sink, SessionOptions())  # type: ignore[arg-type]
        ann, us, quality = someone("ann"), room.local_participant, rtc.ConnectionQuality
        room.emit("participant_connected", ann)
        for who, how in (
            (ann, quality.QUALITY_GOOD),
            (us, quality.QUALITY_EXCELLENT),
            (ann, quality.QUALITY_GOOD),  # of which the SDK tells again with those of others
            (ann, quality.QUALITY_POOR),
            (None, quality.QUALITY_POOR),  # somebody has gone
            (ann, -1),
            (ann, 99),
            (ann, quality.QUALITY_LOST),
        ):
            room.emit("connection_quality_changed", who, how)
        assert qualities(sink) == [
            ("ann", "good"),
            ("app", "excellent"),
            ("ann", "poor"),
            ("ann", "lost"),
        ]
        assert sink.events[-1].participant is not None
        assert sink.events[-1].participant.name == "Ann"
        await app.close()

    run(scenario())


def test_qualities_are_told_again_of_who_comes_again_and_after_a_loss(room: Room) -> None:
    async def scenario() -> None:
        sink, app = Sink(), provider()
        await app.connect(sink, SessionOptions())  # type: ignore[arg-type]
        ann, good = someone("ann"), rtc.ConnectionQuality.QUALITY_GOOD
        room.emit("participant_connected", ann)
        room.emit("connection_quality_changed", ann, good)
        room.emit("participant_disconnected", ann)
        room.emit("participant_connected", ann)
        room.emit("connection_quality_changed", ann, good)
        room.emit("reconnecting")
        room.emit("reconnected")
        room.emit("connection_quality_changed", ann, good)
        assert qualities(sink) == [("ann", "good")] * 3
        await app.close()

    run(scenario())


def qualities(sink: Sink) -> list[tuple[str, str]]:
    told = [one for one in sink.events if one.kind is EventKind.CONNECTION_QUALITY]
    return [(one.participant.identity, one.quality) for one in told if one.participant]
