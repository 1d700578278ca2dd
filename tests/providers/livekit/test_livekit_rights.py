"""What the server allows us and takes away, over a room that behaves as the SDK's does."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from livekit import rtc

import native_kit  # noqa: F401  (the native library's threads are no test's)
from loop_kit import VirtualLoop, run_virtual
from ringroom.errors import RoomError
from ringroom.events import EventKind
from ringroom.frames import AudioFrame
from ringroom.options import PublishOptions, SessionOptions
from sdk_kit import (
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


def test_a_track_that_we_may_not_receive_is_told_once(room: Room) -> None:
    async def scenario() -> None:
        sink, app = Sink(), provider()
        room.local_participant.permissions.can_subscribe = False
        voice = Publication("TR_1")
        ann = room.remote_participants["ann"] = someone("ann", voice)
        await app.connect(sink, SessionOptions())  # type: ignore[arg-type]
        for name in ("reconnecting", "reconnected"):
            room.emit(name)
        assert not voice.asked, "the server would never answer"
        failed = [event for event in sink.events if event.kind is EventKind.TRACK_FAILED]
        assert [(event.track.sid, event.participant.identity) for event in failed] == [
            ("TR_1", "ann")
        ]
        assert "canSubscribe" in failed[0].reason
        sink.wanted = False
        room.emit("track_published", Publication("TR_2"), ann)
        assert sink.kinds().count(EventKind.TRACK_FAILED) == 1, "nobody wants it"
        room.emit("track_unpublished", voice, ann)
        assert not app._opened.roster._denied  # type: ignore[union-attr]
        await app.close()

    run(scenario())


async def asked_for(room: Room, sink: Sink, **options: float) -> tuple[Any, Publication, Any]:
    """A provider that has asked for ann's voice, which the server does not answer."""
    app, voice = provider(), Publication("TR_1")
    ann = room.remote_participants["ann"] = someone("ann", voice)
    await app.connect(sink, SessionOptions(**options))  # type: ignore[arg-type]
    assert voice.asked == 1
    return app, voice, ann


def failures(sink: Sink) -> list[str]:
    failed = [event for event in sink.events if event.kind is EventKind.TRACK_FAILED]
    assert all(e.track.sid == "TR_1" and e.participant.identity == "ann" for e in failed)
    return [event.reason for event in failed]


def test_a_subscription_that_is_not_answered_is_told_and_may_still_be(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(_: VirtualLoop) -> None:
        sink = Sink()
        app, voice, ann = await asked_for(room, sink, connect_timeout=7)
        await asyncio.sleep(6.9)
        assert not failures(sink)
        await asyncio.sleep(0.2)
        (why,) = failures(sink)
        assert "not answered the subscription within 7 s" in why
        assert caplog.messages == [f"livekit: track 'voice' is not received: {why}"]
        await asyncio.sleep(100)
        assert len(failures(sink)) == 1
        room.emit("track_subscribed", object(), voice, ann)
        assert [ingest.track.sid for ingest in Ingest.made] == ["TR_1"]
        await app.close()

    run_virtual(scenario)


@pytest.mark.parametrize(
    "how", ["answered", "failed", "unpublished", "left", "forbidden", "closed"]
)
def test_a_subscription_whose_outcome_is_known_is_not_waited_for(room: Room, how: str) -> None:
    async def scenario(_: VirtualLoop) -> None:
        sink = Sink()
        app, voice, ann = await asked_for(room, sink, connect_timeout=7)
        if how == "answered":
            room.emit("track_subscribed", object(), voice, ann)
        elif how == "failed":
            room.emit("track_subscription_failed", ann, "TR_1", "no such codec")
        elif how == "unpublished":
            room.emit("track_unpublished", voice, ann)
        elif how == "left":
            room.emit("participant_disconnected", ann)
        elif how == "forbidden":
            local = room.local_participant
            local.permissions.can_subscribe = False
            room.emit("participant_permissions_changed", local, local.permissions)
        else:
            await app.close()
        await asyncio.sleep(100)
        expected = {"failed": "no such codec", "forbidden": "canSubscribe"}.get(how)
        assert len(failures(sink)) == (expected is not None)
        assert all(str(expected) in why for why in failures(sink))
        await app.close()

    run_virtual(scenario)


def test_a_subscription_is_asked_for_again_after_a_loss_and_has_its_time_again(room: Room) -> None:
    async def scenario(_: VirtualLoop) -> None:
        sink = Sink()
        app, voice, _ = await asked_for(room, sink, connect_timeout=7)
        await asyncio.sleep(5)
        room.emit("reconnecting")
        await asyncio.sleep(50)
        assert not failures(sink), "nothing is answered while the connection is lost"
        room.emit("reconnected")
        assert voice.asked == 2
        await asyncio.sleep(6.9)
        assert not failures(sink)
        await asyncio.sleep(0.2)
        assert len(failures(sink)) == 1
        await app.close()

    run_virtual(scenario)


def test_a_subscription_that_is_asked_for_in_a_loss_has_no_time_until_it_is_over(
    room: Room,
) -> None:
    """The SDK tells who is there before it tells that it is back, and forgets what is asked."""

    async def scenario(_: VirtualLoop) -> None:
        sink = Sink()
        app, voice, ann = await asked_for(room, sink, connect_timeout=7)
        room.emit("reconnecting")
        room.emit("participant_connected", ann)
        await asyncio.sleep(20)
        assert not failures(sink)
        room.emit("reconnected")
        await asyncio.sleep(6)
        room.emit("track_subscribed", object(), voice, ann)
        await asyncio.sleep(20)
        assert not failures(sink)
        await app.close()

    run_virtual(scenario)


def test_a_subscription_that_is_not_answered_is_told_once_whatever_else_changes(
    room: Room,
) -> None:
    async def scenario(_: VirtualLoop) -> None:
        sink = Sink()
        app, voice, ann = await asked_for(room, sink, connect_timeout=7)
        local = room.local_participant
        for _again in range(3):
            room.emit("participant_permissions_changed", local, local.permissions)
            await asyncio.sleep(5)
        await asyncio.sleep(8)
        assert len(failures(sink)) == 1, "in its time, though it was asked for again"
        room.emit("track_unpublished", voice, ann)
        room.emit("track_published", voice, ann)
        await asyncio.sleep(8)
        assert len(failures(sink)) == 2, "another publication"
        room.emit("track_subscribed", object(), voice, ann)
        room.emit("track_unsubscribed", object(), voice, ann)
        room.emit("participant_permissions_changed", local, local.permissions)
        await asyncio.sleep(8)
        assert len(failures(sink)) == 3, "another subscription"
        await app.close()

    run_virtual(scenario)


def test_after_the_end_of_the_room_no_subscription_is_waited_for(room: Room) -> None:
    async def scenario(loop: VirtualLoop) -> None:
        sink = Sink()
        app, _voice, ann = await asked_for(room, sink, connect_timeout=7)
        other = Publication("TR_2")
        room.emit("track_published", other, ann)
        room.emit("track_subscribed", object(), other, ann)
        (ingest,) = Ingest.made
        held = loop.create_future()

        async def end(reason: str) -> None:
            await held
            ingest.over.set_result(None)

        ingest.end = end  # type: ignore[method-assign]
        room.emit("disconnected", rtc.DisconnectReason.ROOM_DELETED)
        await asyncio.sleep(20)
        assert not failures(sink)
        held.set_result(None)
        await turns()
        assert sink.log[-1][0] == "ended"
        await app.close()

    run_virtual(scenario)


def test_a_sink_that_raises_as_a_subscription_is_late_is_told(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(_: VirtualLoop) -> None:
        sink = Sink()
        app, _voice, _ann = await asked_for(room, sink, connect_timeout=7)
        sink.event = None  # type: ignore[method-assign, assignment]
        await asyncio.sleep(8)
        assert "subscription was not handled" in caplog.text
        await app.close()

    run_virtual(scenario)


def test_rights_that_are_taken_away(room: Room) -> None:
    """The server ends what we may not have any more, and tells nothing but that."""

    async def scenario() -> None:
        sink, app = Sink(), provider()
        await app.connect(sink, SessionOptions())  # type: ignore[arg-type]
        local = room.local_participant
        answer = await app.publish(VOICE)
        screen = await app.publish(
            replace(VOICE, name="screen", options=PublishOptions(source="screen_share_audio"))
        )

        voice = Publication("TR_1")
        ann = room.remote_participants["ann"] = someone("ann", voice)
        room.emit("participant_connected", ann)
        room.emit("track_subscribed", object(), voice, ann)

        def change(**rights: Any) -> None:
            vars(local.permissions).update(rights)
            room.emit("participant_permissions_changed", local, local.permissions)

        room.emit("participant_permissions_changed", ann, SimpleNamespace(can_publish=False))
        change(can_publish_sources=[rtc.TrackSource.SOURCE_SCREENSHARE_AUDIO])
        with pytest.raises(RoomError, match=r"'answer' was ended by the server: .* micr") as caught:
            await answer.play(AudioFrame(bytes(640), 16_000))
        assert caught.value.reason == "publish_refused"
        playing = asyncio.ensure_future(screen.play(AudioFrame(bytes(64_000), 16_000)))
        await turns()
        change(can_publish=False, can_publish_sources=[])
        with pytest.raises(RoomError, match=r"'screen' was ended by the server: .*canPublish"):
            await playing
        assert screen.clear() == pytest.approx(2.0, abs=0.3), "what was not played"
        change(can_subscribe=False)
        await turns()
        assert sink.log == [("TR_1", "receiving tracks is not allowed (canSubscribe)")]
        asked, voice.subscribed = voice.asked, False
        change(can_subscribe=True)
        assert voice.asked == asked + 1
        await app.close()

    run(scenario())


def test_what_we_may_not_receive_for_a_while_ends_and_is_not_given_up(room: Room) -> None:
    """The server takes it up by itself. What is asked for meanwhile may overtake that."""

    async def scenario() -> None:
        sink, app = Sink(), provider()
        await app.connect(sink, SessionOptions())  # type: ignore[arg-type]
        local, voice = room.local_participant, Publication("TR_1", subscribed=True)
        ann = room.remote_participants["ann"] = someone("ann", voice)
        room.emit("track_subscribed", object(), voice, ann)
        for allowed in (False, True):
            local.permissions.can_subscribe = allowed
            room.emit("participant_permissions_changed", local, local.permissions)
        await turns()
        assert sink.log == [("TR_1", "receiving tracks is not allowed (canSubscribe)")]
        assert voice.asked == 0
        await app.close()

    run(scenario())


def test_what_waits_on_a_track_that_is_taken_away_is_not_played(room: Room) -> None:
    """Also if nobody waits for it, and though the source would play it to nobody."""

    async def scenario() -> None:
        app = provider()
        await app.connect(Sink(), SessionOptions())  # type: ignore[arg-type]
        answer = await app.publish(VOICE)
        await answer.play(AudioFrame(bytes(3200), 16_000))
        forbid(room)
        waiting = answer.queued()
        unplayed = answer.clear()
        assert (waiting, answer.clear()) == (0.0, 0.0)
        assert 0.0 < unplayed <= 0.1
        await app.close()

    run(scenario())


def test_a_track_that_is_taken_away_is_taken_back_at_once(room: Room) -> None:
    """Or the SDK would publish it again when it joins anew, and nobody would know."""

    async def scenario() -> None:
        app = provider()
        await app.connect(Sink(), SessionOptions())  # type: ignore[arg-type]
        local = room.local_participant
        answer = await app.publish(VOICE)
        told: list[RoomError] = []
        answer.on_ended(told.append)
        for _ in range(2):
            forbid(room)
            await turns()
            assert local.log == ["published", "unpublished TR_own"]
        assert [(error.reason, "canPublish" in str(error)) for error in told] == [
            ("publish_refused", True)
        ], "though nobody plays on it"
        await answer.close()
        assert local.log == ["published", "unpublished TR_own"]
        await app.close()

    run(scenario())


def test_a_right_that_is_taken_away_as_a_track_is_published(room: Room) -> None:
    async def scenario() -> None:
        app = provider()
        await app.connect(Sink(), SessionOptions())  # type: ignore[arg-type]
        local = room.local_participant
        local.wait = asyncio.get_running_loop().create_future()
        publishing = asyncio.create_task(app.publish(VOICE))
        await turns()
        local.wait.set_result(None)
        forbid(room)
        with pytest.raises(RoomError, match="canPublish") as caught:
            await publishing
        assert caught.value.reason == "publish_refused"
        assert local.log == ["published", "unpublished TR_own"]
        await app.close()

    run(scenario())


def forbid(room: Room) -> None:
    """The server takes away the right to publish."""
    local = room.local_participant
    local.permissions.can_publish = False
    room.emit("participant_permissions_changed", local, local.permissions)


def test_a_track_of_ours_that_the_server_mutes_is_told(room: Room) -> None:
    async def scenario() -> None:
        sink, app = Sink(), provider()
        await app.connect(sink, SessionOptions())  # type: ignore[arg-type]
        await app.publish(VOICE)
        (ours,) = room.local_participant.published
        for name in ("track_muted", "track_unmuted"):
            room.emit(name, room.local_participant, ours)
            room.emit(name, room.local_participant, ours)  # so the SDK does
            room.emit(name, someone("ann"), Publication("TR_unknown"))
        told = [event for event in sink.events if event.kind.value.startswith("publish_")]
        assert [event.kind for event in told] == [
            EventKind.PUBLISH_MUTED,
            EventKind.PUBLISH_UNMUTED,
        ]
        assert {(event.track.name, event.track.participant) for event in told} == {
            ("answer", "app")
        }
        await app.close()

    run(scenario())
