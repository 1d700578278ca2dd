"""What a real server tells the others of us: what we have set, whatever becomes of the connection.

The token says otherwise, so whoever joins with it anew begins with what it says.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
import pytest
from livekit import api

import ringroom
from integration.provider_kit import WAYS, Recorder, Server, connected, run
from ringroom.events import EventKind, Participant
from ringroom.providers.provider import Profile
from ringroom.testing import faults
from ringroom.testing.server import LiveKitRoom, LiveKitServer

PATIENCE = 60.0
TOKEN = Participant(
    identity="us", name="Token", metadata="token", attributes={"from": "token", "kept": "token"}
)
CHANGE: dict[str, Any] = {
    "name": "Bot",
    "metadata": '{"seat": "münchen"}',
    "attributes": {"lk.agent.state": "listening", "from": ""},
}
KNOWN = ("Bot", '{"seat": "münchen"}', {"lk.agent.state": "listening", "kept": "token"})


def token(room: LiveKitRoom) -> str:
    return room.token("us", profile=TOKEN, can_update_own_metadata=True)


def told(room: LiveKitRoom) -> tuple[str, str, dict[str, str]] | None:
    """What the server knows of us."""

    async def ask() -> Any:
        server = room.server
        url = server.url.replace("ws", "http", 1)
        async with api.LiveKitAPI(url, server.api_key, server.api_secret) as calls:
            return await calls.room.list_participants(api.ListParticipantsRequest(room=room.name))

    try:
        found = [one for one in asyncio.run(ask()).participants if one.identity == "us"]
    except api.TwirpError:
        return None  # there is no such room, yet or again
    return (found[0].name, found[0].metadata, dict(found[0].attributes)) if found else None


def until_told(room: LiveKitRoom, wanted: Any) -> None:
    end = time.monotonic() + PATIENCE
    while (now := told(room)) != wanted:
        assert time.monotonic() < end, f"the server knows {now}"
        time.sleep(0.05)


def until_kind(receiver: Any, kind: EventKind) -> None:
    assert any(item.kind is kind for item in receiver), f"no {kind}"


@WAYS
def test_what_we_set_the_server_knows_when_the_call_returns(
    livekit_room: LiveKitRoom, sdk_path: str
) -> None:
    room = livekit_room
    with ringroom.transport(
        "livekit", url=room.url, token=token(room), sdk_path=sdk_path
    ) as transport:
        assert told(room) == ("Token", "token", dict(TOKEN.attributes))
        transport.set_profile(**CHANGE, timeout=PATIENCE)
        assert told(room) == KNOWN
        for state in ("thinking", "speaking", "speaking", "listening"):
            transport.set_profile(attributes={"lk.agent.state": state}, timeout=PATIENCE)
            known = told(room)
            assert known is not None
            assert known[2] == {"lk.agent.state": state, "kept": "token"}


def test_the_largest_that_the_server_takes(livekit_room: LiveKitRoom) -> None:
    """Ours are the limits that it has by default."""
    room = livekit_room
    with ringroom.transport("livekit", url=room.url, token=token(room)) as transport:
        transport.set_profile(
            name="n" * 256,
            metadata="m" * 524_288,
            attributes={"key": "v" * 65_533},
            timeout=PATIENCE,
        )
        known = told(room)
        assert known is not None
        assert [len(known[0]), len(known[1]), len(known[2]["key"])] == [256, 524_288, 65_533]


def test_who_may_not_is_told(livekit_room: LiveKitRoom) -> None:
    room = livekit_room
    mute = room.token("us", profile=TOKEN)
    with ringroom.transport("livekit", url=room.url, token=mute) as transport:
        with pytest.raises(ringroom.RoomError, match="canUpdateOwnMetadata") as caught:
            transport.set_profile(name="Bot", timeout=PATIENCE)
        assert caught.value.reason == "profile_refused"
        assert told(room) == ("Token", "token", dict(TOKEN.attributes))


def test_what_the_server_does_not_take_is_refused(server: Server) -> None:
    """Nothing but the value that does not come tells of it."""

    async def scenario() -> None:
        spec = server.spec(grants={"can_update_own_metadata": True})
        change = Profile(attributes={"key": "small"})
        # A server may have smaller limits than ours.
        object.__setattr__(change, "attributes", {"key": "v" * 70_000})
        async with connected(spec, Recorder()) as app:
            with pytest.raises(ringroom.RoomError, match="has not taken the attributes") as caught:
                await app.set_profile(change)
            assert caught.value.reason == "profile_refused"
            await app.set_profile(Profile(attributes={"key": "small"}))

    run(scenario())


def test_it_outlives_the_io_process(livekit_room: LiveKitRoom) -> None:
    room = livekit_room
    with ringroom.transport(
        "livekit", url=room.url, token=token(room), kinds=("event",)
    ) as transport:
        transport.set_profile(**CHANGE, timeout=PATIENCE)
        faults.killed(transport.io_pid)
        until_kind(transport.recv(timeout=PATIENCE), EventKind.CONNECTION_BACK)
        until_told(room, KNOWN)
        transport.set_profile(attributes={"kept": ""}, timeout=PATIENCE)
        assert told(room) == (*KNOWN[:2], {"lk.agent.state": "listening"})


@pytest.mark.timeout(240)
@pytest.mark.parametrize("away", ["for a moment", "for longer than the SDK tries"])
def test_it_outlives_the_server(own: LiveKitServer, away: str) -> None:
    room = own.room()
    asked: list[float] = []

    def mint() -> str:
        asked.append(time.monotonic())
        return token(room)

    policy = ringroom.Reconnect(retries=1_000, backoff=0.2, longest=0.5, deadline=200.0)
    options: dict[str, Any] = {"kinds": ("event",), "reconnect": policy}
    with ringroom.transport("livekit", url=room.url, token=mint, **options) as transport:
        transport.set_profile(**CHANGE, timeout=PATIENCE)
        own.stop()
        receiver = transport.recv(timeout=PATIENCE)
        until_kind(receiver, EventKind.CONNECTION_LOST)
        if away != "for a moment":
            end = time.monotonic() + 2 * PATIENCE
            while len(asked) < 2:
                assert time.monotonic() < end, "the SDK has not given up"
                time.sleep(0.05)
        own.start()
        until_kind(receiver, EventKind.CONNECTION_BACK)
        until_told(room, KNOWN)


class Listens(ringroom.Processor):
    def start(self, context: ringroom.Context) -> None:
        self.context = context

    def process(self, frame: Any) -> None:
        self.context.set_profile(attributes={"lk.agent.state": "thinking", "from": ""})


def test_a_worker_sets_it_for_the_pool(livekit_room: LiveKitRoom) -> None:
    room = livekit_room
    options = {"url": room.url, "workers": 1, "spares": 0}
    with (
        ringroom.Pool(Listens, "livekit", token=token(room), **options) as pool,
        ringroom.transport("livekit", url=room.url, token=room.token("ann")) as ann,
    ):
        pool.set_profile(name="Pool", timeout=PATIENCE)
        ann.send(ringroom.AudioFrame(np.zeros(8_000, np.int16), 16_000))
        wanted = {"lk.agent.state": "thinking", "kept": "token"}
        until_told(room, ("Pool", "token", wanted))
