"""What a LiveKit spec refuses, what it keeps, and that it keeps secrets."""

from __future__ import annotations

import base64
import copy
import json
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from ringroom.errors import ConfigurationError
from ringroom.providers.livekit import LiveKit
from ringroom.providers.livekit.tokens import Grants, mint

SECRET = "a-secret-of-at-least-thirty-two-characters"


def jwt(claims: Any = None, **video: Any) -> str:
    if claims is None:
        claims = {"sub": "app", "video": {"roomJoin": True, "room": "voice-room", **video}}
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJIUzI1NiJ9.{payload}.c2lnbmF0dXJl"


def refused(**fields: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        LiveKit(**{"url": "ws://host", "token": jwt(), **fields})
    return str(caught.value)


def test_what_is_required() -> None:
    assert refused(url="") == "livekit: URL is required"
    assert refused(url="", token="") == "livekit: URL is required"
    assert refused(url=None) == "livekit: URL is required"
    assert refused(token="") == "livekit: Token is required"
    assert refused(token="  \n") == "livekit: Token is required"
    assert refused(token=None) == "livekit: Token is required"
    with pytest.raises(ConfigurationError, match="URL is required"):
        LiveKit()


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("ws://127.0.0.1:7880", "ws://127.0.0.1:7880"),
        ("wss://a.livekit.cloud", "wss://a.livekit.cloud"),
        ("http://host:7880", "ws://host:7880"),
        ("https://host/path", "wss://host/path"),
        ("WS://host", "ws://host"),
        (" ws://[::1]:7880\n", "ws://[::1]:7880"),
    ],
)
def test_urls_that_are_taken(url: str, kept: str) -> None:
    assert LiveKit(url=url, token=jwt()).url == kept


@pytest.mark.parametrize(
    "url",
    [
        "host:7880",
        "ftp://host",
        "ws://",
        "ws:///path",
        "ws://host:port",
        "ws://host:99999",
        "ws://host:0",
        "ws://[::1",
        "ws://user:hunter2@host",
        "ws://hunter2@host:bad",
        "ws://host?access_token=hunter2",
        "ws://host#hunter2",
        "ws://exa mple.com",
        "ws://host/a b",
        "ws://ho\tst",
        "ws://ho\0st",
        "ws://\ud800.com",
        "ws://a..b",
        "ws://" + "a" * 254,
        "ws://${LIVEKIT_HOST}",
        "ws://{host}:7880",
        "ws://<host>",
        "ws://one,two",
        "ws://ho%00st",
        np.zeros(2),
        7880,
        b"ws://host",
    ],
)
def test_urls_that_are_refused(url: Any) -> None:
    message = refused(url=url)
    assert message.startswith("livekit: the URL")
    assert "hunter2" not in message


@pytest.mark.parametrize(
    "token",
    [
        "hunter2",
        "hunter2.hunter2",
        "a.hunter2!.c",
        "a.aHVudGVyMg.c",
        "a.é.c",
        "..",
        jwt(["hunter2"]),
        jwt({"video": "hunter2"}),
        jwt({}),
        jwt(roomJoin=False),
        jwt(roomJoin="hunter2"),
        jwt(room=""),
        jwt(room=None),
        12,
        False,
        np.zeros(2),
        b"a.b.c",
        "Bearer " + jwt(),
        f'"{jwt()}"',
        jwt() + "\0",
        jwt()[:30] + "\n" + jwt()[30:],
        jwt().replace(".", " . "),
    ],
)
def test_tokens_that_are_refused(token: Any) -> None:
    message = refused(token=token)
    assert message.startswith("livekit: Token")
    assert "hunter2" not in message
    assert "aHVudGVyMg" not in message


def test_the_room_must_be_the_tokens() -> None:
    assert LiveKit(url="ws://host", token=jwt(), room="voice-room").room == "voice-room"
    message = refused(room="other")
    assert "'voice-room'" in message
    assert "'other'" in message
    assert "room is of type int" in refused(room=3)


def test_an_expired_token_is_the_servers_to_refuse() -> None:
    claims = {"exp": 1, "video": {"roomJoin": True, "room": "r"}}
    LiveKit(url="ws://host", token=jwt(claims))


@pytest.mark.parametrize("key", ["", b"", 5, "\ud800"])
def test_keys_that_are_refused(key: Any) -> None:
    assert refused(e2ee_key=key).startswith("livekit: e2ee_key")


def test_secrets_do_not_show_and_travel() -> None:
    spec = LiveKit(url="ws://host", token=jwt(), room="voice-room", e2ee_key="hunter2")
    assert jwt() not in repr(spec)
    assert "hunter2" not in repr(spec)
    for twin in (pickle.loads(pickle.dumps(spec)), copy.deepcopy(spec)):
        assert twin == spec
        assert (twin.token, twin.e2ee_key) == (jwt(), "hunter2")


def test_a_token_function_is_called_at_handover_only() -> None:
    calls: list[int] = []

    def minter() -> str:
        calls.append(1)
        return f" {jwt()}\n"

    spec = LiveKit(url="ws://host", token=minter, room="voice-room")
    assert not calls
    travels, descriptors = spec.handover()
    assert (travels.token, descriptors, calls) == (jwt(), (), [1])
    assert travels.handover()[0] is travels
    assert spec.token is minter


def test_a_token_function_that_fails() -> None:
    def broken() -> str:
        raise OSError("hunter2")

    for mint_token in (broken, lambda: "hunter2", lambda: None, lambda: jwt(room="elsewhere")):
        spec = LiveKit(url="ws://host", token=mint_token, room="voice-room")
        with pytest.raises(ConfigurationError) as caught:
            spec.handover()
        assert "hunter2" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_mint() -> None:
    grants = Grants(ttl=60)
    token = mint("key", SECRET, room="voice-room", identity="ann", name="Ann", grants=grants)
    LiveKit(url="ws://host", token=token, room="voice-room")
    body = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    assert (claims["sub"], claims["name"], claims["iss"]) == ("ann", "Ann", "key")
    assert claims["video"]["canPublish"] is True
    assert claims["exp"] - claims["nbf"] == 60
    life = [{"grants": Grants(ttl=ttl)} for ttl in (0, True)]
    for wrong in ({"room": ""}, {"identity": ""}, *life):
        with pytest.raises(ConfigurationError) as caught:
            mint("key", SECRET, **{"room": "r", "identity": "i", **wrong})
        assert SECRET not in str(caught.value)
    with pytest.raises(ConfigurationError, match="secret is empty"):
        mint("key", "", room="r", identity="i")


def test_naming_a_room_loads_no_sdk() -> None:
    program = (
        "import sys; from ringroom.providers.livekit import LiveKit; "
        "import ringroom.providers.livekit.tokens; "
        "sys.exit(any(name.split('.')[0] in ('livekit', 'asyncio') for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_way_through_the_sdk() -> None:
    for way in ("auto", "direct", "public"):
        assert LiveKit(url="ws://host", token=jwt(), sdk_path=way).sdk_path == way
    assert "expected 'auto', 'direct' or 'public'" in refused(sdk_path="fast")
    assert "sdk_path is None" in refused(sdk_path=None)


def test_the_direct_way_through_an_sdk_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    from ringroom.providers.livekit import paths

    monkeypatch.setattr(paths, "unfit", lambda: "the SDK is 9.9")
    LiveKit(url="ws://host", token=jwt(), sdk_path="auto").open(())
    with pytest.raises(ConfigurationError, match=r"sdk_path is .direct., but the SDK is 9\.9"):
        LiveKit(url="ws://host", token=jwt(), sdk_path="direct").open(())
