"""The room is joined anew with a fresh token: what if it has expired, or is not to be had."""

from __future__ import annotations

import base64
import json
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from app_kit import PATIENCE, Call, opened, until
from reconnect_kit import BRIEF, SOON, listening
from ringroom.errors import RoomError
from ringroom.events import EventKind
from ringroom.providers.fake import grants
from ringroom.testing import FakeRoom


def token(life: float, room: str = "room") -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    claims = {
        "sub": "app",
        "exp": time.time() + life,
        "video": {"roomJoin": True, "room": room},
    }
    return f"{part({'alg': 'HS256'})}.{part(claims)}.x"


def test_each_join_gets_a_fresh_token(fake_room: FakeRoom) -> None:
    minted: list[str] = []

    def mint() -> str:
        minted.append(token(3600, fake_room.name))
        return minted[-1]

    with listening(fake_room, token=mint) as (_, told):
        for loss in (1, 2):
            with fake_room.faults.server_gone():
                told.wait(EventKind.CONNECTION_LOST, loss)
            told.wait(EventKind.CONNECTION_BACK, loss)
    assert len(minted) >= 3


def test_a_token_that_has_expired_meanwhile_is_the_end(
    fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = 0.0
    clock = SimpleNamespace(time=lambda: time.time() + later)
    monkeypatch.setattr(grants, "time", clock)
    with listening(fake_room, token=token(3_600, fake_room.name)) as (transport, told):
        waiting = Call(next, transport.recv(kinds=("audio",)))
        later = 3_700.0  # by which a server's leeway is over as well
        fake_room.break_connection()
        with pytest.raises(RoomError, match="expired") as refused:
            waiting.result()
        assert refused.value.reason == "unauthorized"
        assert "the room hung up" in str(refused.value), "what it was joined anew for"
        told.join()
        assert told.kinds().count("disconnected") == 1
        assert told.kinds()[-1] == "disconnected"


def test_a_token_function_that_fails_meanwhile_is_asked_again(fake_room: FakeRoom) -> None:
    calls: list[int] = []

    def mint() -> str:
        calls.append(1)
        if len(calls) in (2, 3):
            raise OSError("key=sesame: the minter is not there either")
        return ""

    with listening(fake_room, token=mint) as (_, told):
        fake_room.break_connection()
        told.wait(EventKind.CONNECTION_BACK)
        assert len(calls) == 4


def test_what_a_token_function_raises_is_not_told(fake_room: FakeRoom) -> None:
    calls: list[int] = []

    def mint() -> str:
        calls.append(1)
        if len(calls) > 1:
            raise OSError("key=sesame")
        return ""

    with opened(fake_room, token=mint, reconnect=BRIEF) as transport:
        fake_room.break_connection()
        with pytest.raises(RoomError, match="the token function raised OSError") as lost:
            next(transport.recv(timeout=PATIENCE))
        assert "sesame" not in str(lost.value)
        assert len(calls) == 3


def test_closing_while_a_token_is_minted(fake_room: FakeRoom) -> None:
    minting, go_on = threading.Event(), threading.Event()
    calls: list[int] = []

    def mint() -> str:
        calls.append(1)
        if len(calls) > 1:
            minting.set()
            go_on.wait(PATIENCE)
        return ""

    with opened(fake_room, token=mint, reconnect=SOON) as transport:
        fake_room.break_connection()
        assert minting.wait(PATIENCE)
        Call(transport.close).result()
        go_on.set()
    until(lambda: not any(t.name == "ringroom-renewals" for t in threading.enumerate()))
