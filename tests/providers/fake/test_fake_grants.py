"""What a token allows: judged by its claims, enforced by the room."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import numpy as np
import pytest

import ringroom
from app_kit import PATIENCE, RATE, opened, sound
from ringroom.errors import ConfigurationError, RoomError
from ringroom.events import EventKind, Kind
from ringroom.option_checks import PARTICIPANT_KINDS
from ringroom.providers.fake.grants import Grants, granted
from ringroom.providers.livekit.tokens import Grants as Video
from ringroom.providers.livekit.tokens import mint
from ringroom.testing import FakeRoom

SECRET = "a secret that is long enough for a key"


def token(room: str = "room", **video: Any) -> str:
    return mint("key", SECRET, room=room, identity="robot", grants=Video(**video))


def handmade(**claims: Any) -> str:
    text = json.dumps(claims).encode()
    return f"e30.{base64.urlsafe_b64encode(text).decode().rstrip('=')}.x"


JOIN = {"roomJoin": True, "room": "room"}


# By its claims.


@pytest.mark.parametrize("text", ["", "secret", "a.b.c", "header.claims.signature", "e30.W10.x"])
def test_text_that_is_no_token_allows_everything(text: str) -> None:
    assert granted(text, "room") == Grants()


def test_a_token_as_the_server_reads_it() -> None:
    assert granted(token(), "room") == Grants(identity="robot", set_profile=False)
    assert granted(token(can_update_own_metadata=True), "room") == Grants(identity="robot")
    some = granted(token(can_publish=False, can_subscribe=False, can_publish_data=False), "room")
    assert (some.publish, some.subscribe, some.publish_data) == (False, False, False)
    # Data follows publishing where nothing is said of it.
    assert not granted(handmade(video=JOIN | {"canPublish": False}), "room").publish_data
    assert granted(
        handmade(video=JOIN | {"canPublish": False, "canPublishData": True}), "room"
    ).publish_data
    sources = granted(handmade(video=JOIN | {"canPublishSources": ["MICROPHONE"]}), "room")
    assert sources.publish_sources == ("microphone",)


@pytest.mark.parametrize(
    ("claimed", "kind"),
    [
        *((kind, kind) for kind in PARTICIPANT_KINDS),
        ("AGENT", "agent"),
        ("connector", "unknown"),
        ("bridge", "unknown"),
        ("android", "standard"),
        ("unknown", "standard"),
        (None, "standard"),
        (["agent"], "standard"),
    ],
)
def test_what_kind_of_participant_its_holder_is(claimed: Any, kind: str) -> None:
    """As a server does it, which takes what it does not know for none."""
    assert granted(handmade(video=JOIN, kind=claimed), "room").kind == kind


def test_a_token_that_was_minted_says_the_kind() -> None:
    assert granted(token(), "room").kind == "standard"
    assert granted(token(kind="sip"), "room").kind == "sip"
    for wrong in ("", "unknown", "robot", None):
        with pytest.raises(ConfigurationError, match="the token's kind"):
            token(kind=wrong)


@pytest.mark.parametrize(
    ("claims", "text"),
    [
        ({}, "no grant to join"),
        ({"video": "all"}, "no grant to join"),
        ({"video": {"room": "room"}}, "no grant to join"),
        ({"video": JOIN | {"roomJoin": False}}, "no grant to join"),
        ({"video": JOIN | {"room": "other"}}, "for room 'other', and this is room 'room'"),
        ({"video": {"roomJoin": True}}, "for room None"),
        ({"video": JOIN, "exp": 1}, "expired"),
        ({"video": JOIN, "nbf": 1e12}, "not valid for another"),
        ({"video": JOIN, "sub": "x" * 1_025}, "identity has 1025 bytes"),
        ({"video": JOIN, "sub": ["robot"]}, "identity is of type list"),
    ],
)
def test_a_token_that_does_not_open_the_room(claims: dict[str, Any], text: str) -> None:
    with pytest.raises(RoomError, match=text) as refused:
        granted(handmade(**claims), "room")
    assert refused.value.reason == "unauthorized"


def test_clocks_may_differ_by_a_minute() -> None:
    now = time.time()
    granted(handmade(video=JOIN, exp=now - 30, nbf=now + 30), "room")
    for claims, text in (({"exp": now - 90}, "expired"), ({"nbf": now + 90}, "not valid for")):
        with pytest.raises(RoomError, match=text):
            granted(handmade(video=JOIN, **claims), "room")


# In the room.


def test_the_others_are_told_what_kind_of_participant_it_is(fake_room: FakeRoom) -> None:
    bot = mint("key", SECRET, room=fake_room.name, identity="bot", grants=Video(kind="agent"))
    with (
        opened(fake_room, kinds=("event",)) as transport,
        opened(fake_room, identity=None, token=bot),
    ):
        for event in transport.recv(timeout=PATIENCE):
            if event.kind is EventKind.PARTICIPANT_JOINED:
                break
        assert (event.participant.identity, event.participant.kind) == ("bot", "agent")
    assert [one.kind for one in fake_room.participants if one.identity == "bot"] in ([], ["agent"])


def keep_sending(transport: ringroom.Transport) -> None:
    """The refusal comes when the room has answered."""
    for _ in range(100):
        transport.send(sound(0.1))


@pytest.mark.parametrize("io", ["thread", "process"])
def test_who_has_no_right_to_join_is_refused(io: str) -> None:
    with FakeRoom("room") as room, pytest.raises(RoomError, match="other") as refused:
        ringroom.transport("fake", room=room, token=token("other"), io=io)
    assert refused.value.reason == "unauthorized"
    assert not room.applications


def test_a_minter_is_called_for_each_connect() -> None:
    made = []

    def minter() -> str:
        made.append(token())
        return made[-1]

    with FakeRoom("room") as room:
        for count in (1, 2):
            with opened(room, token=minter):
                assert room.wait_for_app().identity == "robot"
            assert len(made) == count
        with opened(room, token=minter, identity="somebody"):
            room.wait_for_app("somebody")

    def broken() -> str:
        raise ValueError(SECRET)

    with FakeRoom("room") as room, pytest.raises(ConfigurationError) as raised:
        ringroom.transport("fake", room=room, token=broken, io="thread")
    assert SECRET not in str(raised.value)


def test_who_may_not_publish() -> None:
    with FakeRoom("room") as room, opened(room, token=token(can_publish=False)) as transport:
        with pytest.raises(RoomError, match="publishing this track is not allowed") as refused:
            keep_sending(transport)
        assert refused.value.reason == "publish_refused"
        transport.send_data(b"allowed", topic="data")
        room.wait_for_data("data")


def test_only_some_sources_may_be_published() -> None:
    sources = JOIN | {"canPublishSources": ["camera"]}
    with FakeRoom("room") as room, opened(room, token=handmade(video=sources)) as transport:
        transport.send(ringroom.VideoFrame(np.zeros(6, np.uint8), 2, 2))
        room.wait_for_video()
        with pytest.raises(RoomError, match="is not allowed"):
            keep_sending(transport)


def test_who_may_not_send_data() -> None:
    with (
        FakeRoom("room") as room,
        opened(room, token=token(can_publish_data=False), kinds=("event",)) as transport,
    ):
        ann = room.join("ann")
        transport.send_data(b"secret")
        failed = next(
            event
            for event in transport.recv(timeout=PATIENCE)
            if isinstance(event, ringroom.Event) and event.kind is EventKind.DATA_FAILED
        )
        assert "sending data is not allowed" in failed.reason
        assert not ann.received
        transport.send(sound(0.02))
        room.wait_for_audio(seconds=0.02)


def test_who_may_change_their_own_profile() -> None:
    """As on a server, nobody whose token does not say so."""
    with FakeRoom("room") as room:
        with opened(room, token=token()) as transport:
            with pytest.raises(RoomError, match="canUpdateOwnMetadata") as refused:
                transport.set_profile(name="Robot", timeout=PATIENCE)
            assert refused.value.reason == "profile_refused"
        with opened(room, token=token(can_update_own_metadata=True)) as transport:
            transport.set_profile(name="Robot", timeout=PATIENCE)
            assert [one.name for one in room.participants] == ["Robot"]


def test_who_may_not_subscribe_hears_nothing_and_is_told_who_speaks() -> None:
    with (
        FakeRoom("room") as room,
        opened(room, token=token(can_subscribe=False), kinds=("audio", "data", "event")) as deaf,
        opened(room, identity="listener") as hears,
    ):
        microphone = room.join("ann").publish_audio(sample_rate=RATE)
        microphone.speak(np.full(320, 7, np.int16), realtime=False)
        assert next(hears.recv(timeout=PATIENCE)).samples[0, 0] == 7
        microphone.wait_for_subscriber("listener", timeout=PATIENCE)
        room.join("bob").send_data(b"end")
        kinds: list[Any] = []
        received = deaf.recv(timeout=PATIENCE)
        # Messages and events come by ways of their own, in any order.
        while EventKind.TRACK_FAILED not in kinds or Kind.DATA not in kinds:
            item = next(received)
            message = isinstance(item, ringroom.DataFrame)
            kinds.append(
                item.kind
                if isinstance(item, ringroom.Event)
                else Kind.DATA
                if message
                else Kind.AUDIO
            )
        assert microphone.subscribers == {"listener"}
    assert not {Kind.AUDIO, EventKind.TRACK_STARTED} & set(kinds)
