"""Who may subscribe to our tracks, as the server is told, over a room that behaves as the SDK's."""

from __future__ import annotations

from typing import Any

from livekit import rtc

from ringroom.options import SessionOptions
from ringroom.providers.provider import Subscribers
from sdk_kit import VOICE, Publication, Room, Sink, provider, run, someone

ANN = frozenset({"ann"})
BOB = frozenset({"bob"})
Named = dict[str, list[str] | None]
EVERYBODY = (True, {})


def said(room: Room) -> list[tuple[bool, Named]]:
    """What the server was told since it was asked last: whether everybody may, and who else which
    tracks, by sid; None: all."""
    log, room.local_participant.permitted = room.local_participant.permitted, []
    return [(everybody, _named(one)) for everybody, one in log]


def _named(permissions: list[rtc.ParticipantTrackPermission]) -> Named:
    return {
        one.participant_identity: None if one.allow_all else list(one.allowed_track_sids)
        for one in permissions
    }


def test_who_may_have_all_is_said_once_and_after_a_loss(room: Room) -> None:
    async def scenario() -> None:
        app = await joined(room)
        app.allow_subscribers(Subscribers(ANN))
        assert said(room) == [(False, {"ann": None})]
        published(room, "TR_1", "voice")
        room.emit("participant_connected", someone("bob"))
        assert said(room) == [], "the server knows it by the identity"
        room.emit("reconnecting")
        app.allow_subscribers(Subscribers(frozenset()))
        assert said(room) == [(False, {})]
        room.emit("reconnected")
        assert said(room) == [(False, {})], "it may not have been heard"
        app.allow_subscribers(Subscribers())
        assert said(room) == [EVERYBODY]
        room.emit("reconnected")
        assert said(room) == [], "as it is without us"
        await app.close()

    run(scenario())


def test_of_single_tracks_everybody_who_is_there_is_told(room: Room) -> None:
    async def scenario() -> None:
        room.remote_participants["bob"] = someone("bob")
        app = await joined(room)
        published(room, "TR_1", "voice")
        app.allow_subscribers(Subscribers(None, {"whisper": ANN}))
        assert said(room) == [(False, {"ann": None, "bob": ["TR_1"]})]
        published(room, "TR_2", "whisper")
        assert said(room)[-1] == (False, {"ann": None, "bob": ["TR_1"]})
        published(room, "TR_3", "slides")
        assert said(room)[-1] == (False, {"ann": None, "bob": ["TR_1", "TR_3"]})
        cid = room.remote_participants["cid"] = someone("cid")
        room.emit("participant_connected", cid)
        assert said(room)[-1][1]["cid"] == ["TR_1", "TR_3"]
        voice = room.local_participant.track_publications.pop("TR_1")
        voice.sid = "TR_4"
        room.local_participant.track_publications["TR_4"] = voice
        room.emit("local_track_republished", voice, "TR_1")
        assert said(room)[-1][1]["bob"] == ["TR_3", "TR_4"]
        await app.close()

    run(scenario())


def test_a_track_for_everybody_where_the_others_are_for_some(room: Room) -> None:
    async def scenario() -> None:
        room.remote_participants["bob"] = someone("bob")
        app = await joined(room)
        published(room, "TR_1", "voice")
        published(room, "TR_2", "music")
        app.allow_subscribers(Subscribers(ANN, {"music": None}))
        assert said(room) == [(False, {"ann": None, "bob": ["TR_2"]})]
        await app.close()

    run(scenario())


def test_a_track_of_ours_is_told_as_it_is_published(room: Room) -> None:
    """The SDK's own event of it may come before the SDK has kept the publication."""

    async def scenario() -> None:
        app = await joined(room)
        app.allow_subscribers(Subscribers(BOB, {"whisper": ANN}))
        local = room.local_participant
        local.answer = lambda: publication(room, "TR_1", "answer")
        playout = await app.publish(VOICE)
        assert said(room)[-1] == (False, {"ann": [], "bob": ["TR_1"]})
        await playout.close()
        await app.close()

    run(scenario())


async def joined(room: Room) -> Any:
    app = provider()
    await app.connect(Sink(), SessionOptions())  # type: ignore[arg-type]
    assert said(room) == []
    return app


def publication(room: Room, sid: str, name: str) -> Publication:
    made = room.local_participant.track_publications[sid] = Publication(sid, name=name)
    return made


def published(room: Room, sid: str, name: str) -> None:
    room.emit("local_track_published", publication(room, sid, name), None)
