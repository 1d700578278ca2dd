"""Who is in a real room, and what kind of participant each is, as a real server tells it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from livekit import api

import ringroom
from ringroom.events import Participant
from ringroom.option_checks import PARTICIPANT_KINDS
from ringroom.providers.livekit.tokens import Grants, mint
from ringroom.testing import faults
from ringroom.testing.server import LiveKitRoom

PATIENCE = 60.0


def joined(room: LiveKitRoom, token: str, **options: Any) -> ringroom.Transport:
    return ringroom.transport("livekit", url=room.url, token=token, kinds=(), **options)


def until_there(asked: Callable[..., tuple[Participant, ...]], wanted: dict[str, str]) -> None:
    """Somebody who joins is told to the others a moment after they have."""
    end = time.monotonic() + PATIENCE
    while (now := {who.identity: who.kind for who in asked(timeout=PATIENCE)}) != wanted:
        assert time.monotonic() < end, f"listed are {now}"
        time.sleep(0.05)


def test_two_of_us_see_each_other(livekit_room: LiveKitRoom) -> None:
    room = livekit_room
    ann = Participant(identity="ann", name="Ann Lee", metadata="{}", attributes={"seat": "4"})
    bot = mint(
        room.server.api_key,
        room.server.api_secret,
        room=room.name,
        identity="bot",
        grants=Grants(kind="agent"),
    )
    with joined(room, room.token("ann", profile=ann)) as first:
        assert first.participants(timeout=PATIENCE) == ()
        with joined(room, bot) as second:
            until_there(second.participants, {"ann": "standard"})
            until_there(first.participants, {"bot": "agent"})
            [told] = second.participants(timeout=PATIENCE)
            assert (told.name, told.metadata, dict(told.attributes)) == (
                "Ann Lee",
                "{}",
                {"seat": "4"},
            )
            faults.killed(first.io_pid)
            assert [who.identity for who in first.participants(timeout=PATIENCE)] == ["bot"]
            until_there(second.participants, {"ann": "standard"})
        until_there(first.participants, {})


def test_each_kind_that_a_token_may_say(livekit_room: LiveKitRoom) -> None:
    """Among them one of the newer ones, and one that the server does not know."""
    room = livekit_room
    wanted = {kind: kind for kind in PARTICIPANT_KINDS}
    tokens = {
        kind: room.token(kind, profile=Participant(identity=kind, kind=kind)) for kind in wanted
    }
    for kind, told in (("connector", "unknown"), ("android", "standard")):
        token = api.AccessToken(room.server.api_key, room.server.api_secret).with_identity(kind)
        token.claims.kind = kind
        tokens[kind] = token.with_grants(api.VideoGrants(room_join=True, room=room.name)).to_jwt()
        wanted[kind] = told
    with ringroom.IOProcess() as io, joined(room, room.token("us"), io=io) as us:
        others = []
        try:
            others += [joined(room, token, io=io) for token in tokens.values()]
            until_there(us.participants, wanted)
        finally:
            for other in others:
                other.close()
        until_there(us.participants, {})


class Asks(ringroom.Processor):
    def start(self, context: ringroom.Context) -> None:
        self.context = context

    def process(self, frame: Any) -> None:
        people = [f"{who.identity} {who.kind}" for who in self.context.participants()]
        self.context.send_data(f"{frame.participant}: {', '.join(people)}", topic="there")


def test_a_worker_asks(livekit_room: LiveKitRoom) -> None:
    room = livekit_room
    options = {"url": room.url, "workers": 1, "spares": 0}
    agent = Participant(identity="pool", kind="agent")
    with (
        ringroom.Pool(Asks, "livekit", token=room.token("pool", profile=agent), **options) as pool,
        ringroom.transport(
            "livekit", url=room.url, token=room.token("ann"), kinds=("data",)
        ) as ann,
    ):
        until_there(pool.participants, {"ann": "standard"})
        until_there(ann.participants, {"pool": "agent"})
        ann.send(ringroom.AudioFrame(np.zeros(8_000, np.int16), 16_000))
        message = next(ann.recv(timeout=PATIENCE))
        assert isinstance(message, ringroom.DataFrame)
        assert message.payload == b"ann: ann standard"


@pytest.mark.parametrize("kind", ["agent", "sip"])
def test_whom_a_pool_hears_is_chosen_by_kind(livekit_room: LiveKitRoom, kind: str) -> None:
    """Two agents do not answer each other, and a caller is answered."""
    room = livekit_room
    token = room.token("other", profile=Participant(identity="other", kind=kind))
    options = {"url": room.url, "workers": 1, "spares": 0, "max_age": 60.0}
    with (
        ringroom.Pool(
            Asks,
            "livekit",
            token=room.token("pool"),
            participants=lambda who: who.kind != "agent",
            **options,
        ),
        ringroom.transport(
            "livekit", url=room.url, token=room.token("ann"), kinds=("data",)
        ) as ann,
        joined(room, token) as other,
    ):
        until_there(ann.participants, {"pool": "standard", "other": kind})
        for speaker in (other, ann):
            speaker.send(ringroom.AudioFrame(np.zeros(16_000, np.int16), 16_000))
            speaker.wait_playout(timeout=PATIENCE)
        heard = "ann" if kind == "agent" else "other"
        message = next(ann.recv(timeout=PATIENCE))
        assert message.payload == f"{heard}: ann standard, other {kind}".encode()
