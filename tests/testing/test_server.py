"""What a server gives to its tests: tokens and rooms. Where it comes from is in backends/."""

from __future__ import annotations

import warnings
from dataclasses import replace

import jwt
import server_kit

from ringroom.events import Participant
from ringroom.testing.server import LiveKitServer

no_server_in_the_environment = server_kit.no_server_in_the_environment
path = server_kit.path


def test_a_token_carries_the_grants_and_the_key_is_long_enough() -> None:
    server = LiveKitServer()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        token = server.token("ann", "voice-room", can_publish=False)
    claims = jwt.decode(token, server.api_secret, algorithms=["HS256"])
    assert claims["sub"] == "ann"
    assert claims["iss"] == server.api_key
    assert claims["video"]["room"] == "voice-room"
    assert claims["video"]["roomJoin"] is True
    assert claims["video"]["canPublish"] is False


def test_a_token_carries_a_profile() -> None:
    server = LiveKitServer()
    ann = Participant(identity="other", name="Ann Lee", metadata="m", attributes={"role": "guest"})
    token = server.room("talk").token("ann", profile=ann, can_update_own_metadata=True)
    claims = jwt.decode(token, server.api_secret, algorithms=["HS256"])
    assert "kind" not in claims
    told = {name: claims[name] for name in ("sub", "name", "metadata", "attributes")}
    assert told == {
        "sub": "ann",
        "name": "Ann Lee",
        "metadata": "m",
        "attributes": {"role": "guest"},
    }
    assert claims["video"]["canUpdateOwnMetadata"] is True
    bot = server.token("bot", "talk", profile=replace(ann, kind="agent"))
    assert jwt.decode(bot, server.api_secret, algorithms=["HS256"])["kind"] == "agent"


def test_rooms_are_unique_and_know_their_server() -> None:
    server = LiveKitServer()
    one, other = server.room("talk"), server.room("talk")
    assert one.name != other.name
    assert one.name.startswith("talk-")
    claims = jwt.decode(one.token("ann"), server.api_secret, algorithms=["HS256"])
    assert claims["video"]["room"] == one.name
    assert server.api_secret not in repr(one)
