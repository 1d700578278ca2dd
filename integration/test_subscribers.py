"""Who may subscribe to our tracks, on a real server, through the SDK's own reconnections."""

from __future__ import annotations

import asyncio

import pytest
from livekit import rtc

from integration.provider_kit import (
    WAYS,
    Peer,
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
from ringroom.events import EventKind
from ringroom.providers.provider import Subscribers

WHISPER = Subscribers(None, {"whisper": frozenset({"bob"})})


def heard(one: Peer, name: str) -> int:
    return sum(map(len, one.heard.get(name, ())))


@WAYS
@pytest.mark.parametrize("scenario_name", ["SIMULATE_SIGNAL_RECONNECT", "SIMULATE_FULL_RECONNECT"])
def test_who_may_subscribe_stays_so_through_a_reconnection(
    server: Server, scenario_name: str, sdk_path: str
) -> None:
    """What was said of a track goes with its sid, which a full reconnection makes anew."""

    async def scenario() -> None:
        sink, spec = Recorder(), server.spec(sdk_path=sdk_path)
        async with (
            peer(server, "ann") as ann,
            peer(server, "bob") as bob,
            connected(spec, sink, kinds=()) as app,
        ):
            app.allow_subscribers(WHISPER)
            whisper = await app.publish(outgoing("whisper"))
            aloud = await app.publish(outgoing("aloud"))
            async with background(speaking(whisper, 440)), background(speaking(aloud, 880)):
                await until(lambda: bob.hears("whisper", 440), "bob hearing the whisper")
                await until(lambda: ann.hears("aloud", 880), "ann hearing the rest")
                room = app._opened.room  # type: ignore[attr-defined]
                await room.simulate_scenario(rtc.SimulateScenarioKind.Value(scenario_name))
                await until(lambda: EventKind.CONNECTION_BACK in sink.kinds(), "back", 30)
                for one in (ann, bob):
                    one.heard.clear()
                await until(lambda: bob.hears("whisper", 440), "bob hearing it again", 30)
                await until(lambda: ann.hears("aloud", 880), "ann hearing the rest again", 30)
                async with peer(server, "cid") as cid:
                    await until(lambda: cid.hears("aloud", 880), "cid hearing the rest")
                    assert not heard(cid, "whisper")
                assert not heard(ann, "whisper")

    run(scenario())


def test_what_is_said_during_a_loss_holds_when_the_connection_is_back(server: Server) -> None:
    async def scenario() -> None:
        sink = Recorder()
        async with peer(server, "ann") as ann, connected(server.spec(), sink, kinds=()) as app:
            aloud = await app.publish(outgoing("aloud"))
            async with background(speaking(aloud, 880)):
                await until(lambda: ann.hears("aloud", 880), "ann hearing us")
                room = app._opened.room  # type: ignore[attr-defined]
                full = rtc.SimulateScenarioKind.Value("SIMULATE_FULL_RECONNECT")
                await room.simulate_scenario(full)
                await until(lambda: EventKind.CONNECTION_LOST in sink.kinds(), "the loss", 30)
                app.allow_subscribers(Subscribers(frozenset()))
                await until(lambda: EventKind.CONNECTION_BACK in sink.kinds(), "back", 30)
                await asyncio.sleep(0.5)  # what is on its way comes
                ann.heard.clear()
                await asyncio.sleep(1.5)
                assert heard(ann, "aloud") < 1_000
                app.allow_subscribers(Subscribers())
                await until(lambda: ann.hears("aloud", 880), "ann hearing us again")

    run(scenario())
