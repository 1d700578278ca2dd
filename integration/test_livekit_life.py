"""The life of a connection to a real server: joining, refusals, reconnections, the end."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import logging
import socket
import time
from typing import Any

import pytest
from livekit import api, rtc

from integration.clients.signals import signals
from integration.provider_kit import (
    WAYS,
    Recorder,
    Server,
    background,
    connected,
    outgoing,
    peer,
    run,
    speaking,
    until,
)
from ringroom.errors import ClosedError, RoomError
from ringroom.events import EventKind
from ringroom.frames import DataFrame
from ringroom.options import SessionOptions
from ringroom.providers.livekit import LiveKit


@pytest.mark.parametrize("grants", [{"secret": "x" * 40}, {"ttl": -3_600}])
def test_a_wrong_or_expired_token(
    server: Server, grants: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        spec = server.spec(grants=grants)
        provider = spec.open(())
        with pytest.raises(RoomError) as caught:
            await provider.connect(Recorder(), SessionOptions())
        assert caught.value.reason == "unauthorized"
        assert str(caught.value).startswith("livekit: the server refused the token")
        secret = str(spec.token).split(".")[1]
        assert secret not in repr(caught.value)
        await asyncio.sleep(0.1)
        assert secret not in caplog.text
        await provider.close()

    with caplog.at_level(logging.DEBUG):
        run(scenario())


def test_no_server() -> None:
    async def scenario() -> None:
        token = api.AccessToken("key", "s" * 40).with_identity("app")
        jwt = token.with_grants(api.VideoGrants(room_join=True, room="r")).to_jwt()
        provider = LiveKit(url="ws://127.0.0.1:9", token=jwt).open(())
        with pytest.raises(RoomError) as caught:
            await provider.connect(Recorder(), SessionOptions())
        assert caught.value.reason == "unreachable"
        await provider.close()
        await provider.close()
        silent = socket.create_server(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        provider = LiveKit(url=f"ws://127.0.0.1:{port}", token=jwt).open(())
        started = time.monotonic()
        with pytest.raises(RoomError) as caught:
            await provider.connect(Recorder(), SessionOptions(connect_timeout=0.5))
        assert caught.value.reason == "timeout"
        assert time.monotonic() - started < 1.5
        await provider.close()
        silent.close()

    run(scenario())


def test_refused_publish_and_data(server: Server) -> None:
    async def scenario() -> None:
        grants = {"can_publish": False, "can_publish_data": False}
        async with connected(server.spec(grants=grants), Recorder()) as app:
            with pytest.raises(RoomError) as caught:
                await app.publish(outgoing("answer"))
            assert caught.value.reason == "publish_refused"
            with pytest.raises(RoomError) as caught:
                await app.send_data(DataFrame(b"x"))
            assert caught.value.reason == "data_refused"
        with pytest.raises(ClosedError):
            await app.publish(outgoing("answer"))

    run(scenario())


def test_room_deleted(server: Server) -> None:
    async def scenario() -> None:
        sink = Recorder()
        async with peer(server) as ann, connected(server.spec(), sink) as app:
            await ann.speak("voice", 440)
            await until(lambda: sink.tracks, "track")
            playout = await app.publish(outgoing("answer"))
            async with background(asyncio.wait_for(speaking(playout, 880), 20)) as playing:
                await server.admin(
                    lambda rooms: rooms.delete_room(api.DeleteRoomRequest(room=server.room))
                )
                await until(lambda: sink.ends, "the end")
                with pytest.raises(RoomError):
                    await playing
        assert sink.ends == [("room closed: it was deleted", "")]
        assert sink.log[-1] == "ended"
        assert sink.tracks[0].ended is not None
        with pytest.raises(ClosedError):
            await app.send_data(DataFrame(b"x"))

    run(scenario())


def test_removed_and_duplicate(server: Server) -> None:
    async def scenario() -> None:
        sink = Recorder()
        async with connected(server.spec(), sink):
            await server.admin(
                lambda rooms: rooms.remove_participant(
                    api.RoomParticipantIdentity(room=server.room, identity="app")
                )
            )
            await until(lambda: sink.ends, "the end")
        assert sink.ends == [("removed from the room", "")]
        sink, second = Recorder(), Recorder()
        async with connected(server.spec(), sink), connected(server.spec(), second):
            await until(lambda: sink.ends, "the end")
            assert not second.ends
        assert sink.ends == [("another participant joined with the same identity", "")]

    run(scenario())


def test_encryption(server: Server) -> None:
    def encrypted(key: bytes) -> dict[str, Any]:
        keys = rtc.KeyProviderOptions(shared_key=key)
        return {"encryption": rtc.E2EEOptions(key_provider_options=keys)}

    async def scenario() -> None:
        right, wrong = Recorder(), Recorder()
        async with (
            peer(server, **encrypted(b"the key")) as ann,
            connected(server.spec(e2ee_key="the key"), right) as app,
            connected(server.spec("other", e2ee_key=b"no key"), wrong),
        ):
            await ann.speak("voice", 440)
            playout = await app.publish(outgoing("answer"))
            async with background(speaking(playout, 880)):
                await until(lambda: right.tracks and right.tracks[0].hears(440), "tone in")
                await until(lambda: ann.hears("answer", 880), "tone out")
                await until(lambda: len(wrong.tracks) == 2, "both tracks, for who has no key")
                await asyncio.sleep(1.0)
            assert not any(track.hears(440) or track.hears(880) for track in wrong.tracks)

    run(scenario())


@pytest.mark.parametrize("scenario_name", ["SIMULATE_SIGNAL_RECONNECT", "SIMULATE_FULL_RECONNECT"])
def test_reconnection(server: Server, scenario_name: str) -> None:
    async def scenario() -> None:
        sink = Recorder()
        async with peer(server) as ann, connected(server.spec(), sink) as app:
            await ann.speak("voice", 440)
            playout = await app.publish(outgoing("answer"))
            async with background(speaking(playout, 880)):
                await until(lambda: sink.tracks and sink.tracks[0].hears(440), "tone in")
                await until(lambda: ann.hears("answer", 880), "tone out")
                room = app._opened.room  # type: ignore[attr-defined]
                await room.simulate_scenario(rtc.SimulateScenarioKind.Value(scenario_name))
                await until(lambda: EventKind.CONNECTION_BACK in sink.kinds(), "back", 30)
                assert EventKind.CONNECTION_LOST in sink.kinds()
                for track in sink.tracks:
                    track.sound.clear()
                ann.heard.clear()
                await until(lambda: sink.tracks[-1].hears(440), "tone in, after")
                await until(lambda: ann.hears("answer", 880), "tone out, after")
                assert not sink.ends
                await app.send_data(DataFrame(b"still here"))
                await until(lambda: ann.packets, "data, after")
            await playout.close()
            await until(lambda: "answer" in ann.unpublished, "unpublished, after")

    run(scenario())


@WAYS
def test_nothing_is_left_behind(server: Server, sdk_path: str) -> None:
    from livekit.rtc._ffi_client import FfiClient

    async def once() -> None:
        sink = Recorder()
        spec, texts = server.spec(sdk_path=sdk_path), {"kinds": ("data",), "text_topics": ("t",)}
        async with peer(server) as ann, connected(spec, sink, **texts) as app:
            await ann.speak("voice", 440)
            await ann.room.local_participant.send_text("whole", topic="t")
            writer = await ann.room.local_participant.stream_text(topic="t")
            await writer.write("never ended")
            playout = await app.publish(outgoing("answer"))
            async with background(speaking(playout, 880)):
                await until(lambda: sink.tracks and sink.tracks[0].sound, "sound")
                await until(lambda: sink.messages, "a text")
                await asyncio.gather(app.close(), app.close())
        others = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        assert not others, others
        assert not sink.ends

    for _ in range(3):
        asyncio.run(once())
    gc.collect()
    assert not FfiClient.instance.queue._subscribers


def test_a_track_that_is_lost_on_its_way_back_is_published_again(server: Server) -> None:
    """The SDK publishes all again after a full reconnection, and forgets what the connection is
    lost under once more: it would be sent to nobody, and nobody would be told."""

    async def scenario() -> None:
        sink = Recorder()
        async with signals(server.url) as network, peer(server) as ann:
            spec = dataclasses.replace(server.spec(), url=network.url)
            async with connected(spec, sink) as app:
                playout = await app.publish(outgoing("answer"))
                async with background(speaking(playout, 880)):
                    await until(lambda: ann.hears("answer", 880), "tone out")
                    network.lose("add_track")
                    room = app._opened.room  # type: ignore[attr-defined]
                    full = rtc.SimulateScenarioKind.Value("SIMULATE_FULL_RECONNECT")
                    await room.simulate_scenario(full)
                    await until(lambda: network.lost, "the track is asked for again")
                    ann.heard.clear()
                    await until(lambda: ann.hears("answer", 880), "tone out, after", 40)
                assert not sink.ends
                await playout.close()
                await until(lambda: len(ann.unpublished) == 2, "unpublished, each time")

    run(scenario())


def test_a_track_that_its_publisher_keeps_from_us_is_told(server: Server) -> None:
    async def scenario() -> None:
        sink = Recorder()
        async with peer(server) as ann, connected(server.spec(), sink, connect_timeout=4.0):
            local = ann.room.local_participant
            local.set_track_subscription_permissions(allow_all_participants=False)
            await asyncio.sleep(0.5)  # nothing tells that the server knows
            await ann.speak("voice", 440)
            await until(lambda: EventKind.TRACK_FAILED in sink.kinds(of="ann"), "it is told")
            (failed,) = [e for e in sink.events if e.kind is EventKind.TRACK_FAILED]
            assert "not answered the subscription within 4 s" in failed.reason
            assert not sink.tracks
            local.set_track_subscription_permissions(allow_all_participants=True)
            await until(lambda: sink.tracks and sink.tracks[0].hears(440), "tone in")

    run(scenario())
