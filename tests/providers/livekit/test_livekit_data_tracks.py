"""The data tracks of others, over a room that behaves as the SDK's does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from livekit import rtc

import native_kit  # noqa: F401  (the native library's threads are no test's)
from loop_kit import VirtualLoop, run_virtual
from ringroom.events import EventKind, Kind
from ringroom.options import SessionOptions
from ringroom.providers.livekit import data_tracks
from sdk_kit import TOKEN, Ingest, RemoteData, Room, Sink, provider, run, someone, turns

JOINED, LEFT = EventKind.PARTICIPANT_JOINED, EventKind.PARTICIPANT_LEFT
PUBLISHED, UNPUBLISHED = EventKind.TRACK_PUBLISHED, EventKind.TRACK_UNPUBLISHED


async def connected(room: Room, sink: Sink, *people: str) -> Any:
    for who in people:
        room.remote_participants[who] = someone(who)
    app = provider()
    await app.connect(sink, SessionOptions())  # type: ignore[arg-type]
    sink.events.clear()
    return app


def appear(room: Room, who: str) -> None:
    room.remote_participants[who] = someone(who)
    room.emit("participant_connected", room.remote_participants[who])


def disappear(room: Room, who: str) -> None:
    room.emit("participant_disconnected", room.remote_participants.pop(who))


def test_a_track_is_told_read_and_ended(room: Room) -> None:
    async def scenario() -> None:
        sink = Sink()
        app = await connected(room, sink, "ann")
        room.emit("data_track_published", RemoteData("DTR_1"))
        (event,) = sink.events
        assert (event.kind, event.participant.identity) == (PUBLISHED, "ann")
        track = event.track
        assert (track.sid, track.name, track.kind) == ("DTR_1", "lidar", Kind.DATA_TRACK)
        assert (track.participant, track.source) == ("ann", "unknown")
        (ingest,) = Ingest.made
        assert (ingest.track, ingest.participant.identity) == (track, "ann")
        room.emit("data_track_unpublished", "DTR_1")
        await turns()
        assert sink.kinds() == [PUBLISHED, UNPUBLISHED]
        assert sink.log == [("DTR_1", "unpublished")]
        await app.close()

    run(scenario())


def test_a_track_of_somebody_who_is_not_told_yet_waits(room: Room) -> None:
    async def scenario() -> None:
        sink = Sink()
        app = await connected(room, sink)
        room.emit("data_track_published", RemoteData("DTR_1"))
        assert not sink.events
        assert not Ingest.made
        appear(room, "ann")
        assert sink.kinds() == [JOINED, PUBLISHED]
        assert len(Ingest.made) == 1
        room.emit("reconnected")
        assert len(Ingest.made) == 1, "it is being read"
        await app.close()

    run(scenario())


def test_what_nobody_wants_is_told_and_not_read(room: Room) -> None:
    async def scenario() -> None:
        sink = Sink()
        sink.wanted = False
        app = await connected(room, sink, "ann")
        room.emit("data_track_published", RemoteData("DTR_1"))
        assert sink.kinds() == [PUBLISHED]
        assert not Ingest.made
        room.emit("data_track_unpublished", "DTR_1")
        assert sink.kinds() == [PUBLISHED, UNPUBLISHED]
        await app.close()

    run(scenario())


def test_who_is_back_has_their_tracks_still(room: Room) -> None:
    """As in a full reconnection of ours, for which the SDK tells of no data track anew."""

    async def scenario() -> None:
        sink = Sink()
        app = await connected(room, sink, "ann", "bob")
        lidar, arm = RemoteData("DTR_1"), RemoteData("DTR_2", name="arm")
        for remote in (lidar, arm, RemoteData("DTR_3", "bob")):
            room.emit("data_track_published", remote)
        sink.events.clear()
        arm.alive = False
        disappear(room, "ann")
        await turns()
        assert sink.kinds() == [LEFT]
        assert sorted(sink.log) == [(s, "the participant left") for s in ("DTR_1", "DTR_2")]
        appear(room, "ann")
        told = [event.track and event.track.sid for event in sink.events]
        assert (sink.kinds(), told) == ([LEFT, JOINED, PUBLISHED], [None, None, "DTR_1"])
        assert [one.track.sid for one in Ingest.made[3:]] == ["DTR_1"]
        await app.close()

    run(scenario())


def test_a_track_whose_sid_has_changed_is_known_by_its_end(room: Room) -> None:
    """All are looked at, but not each time that somebody ends one that we know nothing of."""

    async def scenario(loop: VirtualLoop) -> None:
        sink = Sink()
        app = await connected(room, sink, "ann")
        lidar, arm = RemoteData("DTR_1"), RemoteData("DTR_2", name="arm")
        for remote in (lidar, arm):
            room.emit("data_track_published", remote)
        lidar.alive = False
        for number in range(100):
            room.emit("data_track_unpublished", f"DTR_9{number}")
        await _moment(loop, data_tracks.LOOK_SECONDS + 0.1)
        assert (lidar.asked, arm.asked) == (1, 1)
        assert [event.track.sid for event in sink.events[2:]] == ["DTR_1"]
        assert sink.log == [("DTR_1", "unpublished")]
        arm.alive = False
        room.emit("data_track_unpublished", "DTR_9")
        await _moment(loop, data_tracks.LOOK_SECONDS + 0.1)
        assert [event.track.sid for event in sink.events[3:]] == ["DTR_2"]
        await app.close()

    run_virtual(scenario)


def test_a_track_that_is_told_again_is_read_anew(room: Room) -> None:
    async def scenario() -> None:
        sink = Sink()
        app = await connected(room, sink, "ann")
        for _ in range(2):
            room.emit("data_track_published", RemoteData("DTR_1"))
        await turns()
        assert sink.log == [("DTR_1", "published again")]
        assert len(Ingest.made) == 2
        room.emit("data_track_unpublished", "DTR_1")
        await turns()
        assert sink.log[1:] == [("DTR_1", "unpublished")]
        await app.close()

    run(scenario())


def test_what_we_may_not_receive_is_told_once_and_read_when_we_may(room: Room) -> None:
    async def scenario() -> None:
        sink = Sink()
        app = await connected(room, sink, "ann")
        room.emit("data_track_published", RemoteData("DTR_1"))
        for allowed in (False, False, True):
            room.local_participant.permissions.can_subscribe = allowed
            room.emit("participant_permissions_changed", room.local_participant, None)
            await turns()
        assert sink.kinds() == [PUBLISHED, EventKind.TRACK_FAILED]
        assert "canSubscribe" in sink.events[1].reason
        assert [sid for sid, why in sink.log if "canSubscribe" in why] == ["DTR_1"]
        assert len(Ingest.made) == 2
        await app.close()

    run(scenario())


def test_a_subscription_that_is_refused_is_told(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        sink = Sink()
        app = await connected(room, sink, "ann")
        room.emit("data_track_published", RemoteData("DTR_1"))
        Ingest.made[0].over.set_exception(rtc.SubscribeDataTrackError(f"timed-out {TOKEN}"))
        await turns()
        (failed,) = (event for event in sink.events if event.kind is EventKind.TRACK_FAILED)
        assert "timed-out (token)" in failed.reason
        assert (failed.track.sid, failed.participant.identity) == ("DTR_1", "ann")
        assert len(Ingest.made) == 1
        room.emit("reconnected")
        assert len(Ingest.made) == 2, "it is tried again once the connection is back"
        Ingest.made[1].over.set_exception(ValueError("a defect"))
        await turns()
        assert sink.events[-1].reason == "ValueError"
        await app.close()

    run(scenario())
    assert "track 'lidar' is not received: the subscription was not answered" in caplog.text
    assert "a defect" in caplog.text


def test_a_stream_that_ends_while_its_track_goes_on_is_begun_again(room: Room) -> None:
    async def scenario(loop: VirtualLoop) -> None:
        sink = Sink()
        app = await connected(room, sink, "ann")
        lidar, arm = RemoteData("DTR_1"), RemoteData("DTR_2", name="arm")
        for remote in (lidar, arm):
            room.emit("data_track_published", remote)
        begun = loop.time()
        arm.alive = False  # which is told later
        for ingest in tuple(Ingest.made):
            ingest.over.set_result(None)
        while len(Ingest.made) == 2:
            await turns()
            await _moment(loop)
        assert loop.time() >= begun + data_tracks.AGAIN_SECONDS
        assert [one.track.sid for one in Ingest.made[2:]] == ["DTR_1"]
        Ingest.made[2].over.set_result(None)
        await turns()
        room.emit("data_track_unpublished", "DTR_1")
        await _moment(loop, 10 * data_tracks.AGAIN_SECONDS)
        assert len(Ingest.made) == 3, "it is no more"
        await app.close()

    run_virtual(scenario)


async def _moment(loop: VirtualLoop, seconds: float = 0.1) -> None:
    passed = loop.create_future()
    loop.call_later(seconds, passed.set_result, None)
    await passed


def test_no_more_are_known_than_a_bound(
    room: Room, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(data_tracks, "MAX_KNOWN", 2)

    async def scenario() -> None:
        sink = Sink()
        app = await connected(room, sink, "ann")
        for number in range(4):
            room.emit("data_track_published", RemoteData(f"DTR_{number}"))
        assert len(sink.events) == len(Ingest.made) == 2
        room.emit("data_track_unpublished", "DTR_0")
        room.emit("data_track_published", RemoteData("DTR_9"))
        assert len(Ingest.made) == 3
        await app.close()

    run(scenario())
    assert caplog.text.count("2 data tracks are known, no more are") == 1


def test_none_is_begun_while_all_end(room: Room) -> None:
    async def scenario() -> None:
        sink = Sink()
        app = await connected(room, sink, "ann")
        room.emit("data_track_published", RemoteData("DTR_1"))
        ending = asyncio.create_task(app._opened.roster.end_tracks("over"))
        await turns(1)
        room.emit("data_track_published", RemoteData("DTR_2"))
        await ending
        assert sink.log == [("DTR_1", "over")]
        assert len(Ingest.made) == 1
        await app.close()

    run(scenario())


def test_all_end_with_the_room(room: Room) -> None:
    async def scenario() -> None:
        sink = Sink()
        app = await connected(room, sink, "ann")
        room.emit("data_track_published", RemoteData("DTR_1"))
        room.emit("disconnected", rtc.DisconnectReason.ROOM_DELETED)
        await turns(30)
        assert sink.log == [("DTR_1", "room closed: it was deleted"), _ended(sink)]
        room.emit("data_track_published", RemoteData("DTR_2"))
        assert len(Ingest.made) == 1
        await app.close()

    run(scenario())


def _ended(sink: Sink) -> Any:
    return next(one for one in sink.log if one[0] == "ended")
