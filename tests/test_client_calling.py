"""Calls (RPC) that a transport makes, and what becomes of them."""

from __future__ import annotations

import base64
import threading
from typing import Any

import pytest

import ringroom
from app_kit import PATIENCE, Call, interrupted, opened
from recovery_kit import LONG, killed
from ringroom.errors import ClosedError, ConfigurationError, LostProcessError, RoomError, RpcError
from ringroom.faces import face
from ringroom.options import Reconnect
from ringroom.providers.fake import Fake
from ringroom.rpc import RpcCall
from ringroom.testing import FakeParticipant, FakeRoom, VirtualClock


def reversing(room: FakeRoom, who: str = "ann") -> FakeParticipant:
    ann = room.join(who)
    ann.answer("reverse", lambda call: call.text[::-1])
    return ann


class Waits:
    """Answers nothing, and tells that it was called."""

    def __init__(self) -> None:
        self.called = threading.Event()

    def __call__(self, call: RpcCall) -> None:
        self.called.set()


def under_way(room: FakeRoom, transport: ringroom.Transport, **options: Any) -> Call[str]:
    waits = Waits()
    room.join("ann").answer("wait", waits)
    call = Call(transport.call, "ann", "wait", **{"timeout": LONG, **options})
    assert waits.called.wait(PATIENCE)
    return call


@pytest.mark.parametrize("io", ["thread", "process"])
def test_a_call_gives_the_answer(fake_room: FakeRoom, io: str) -> None:
    reversing(fake_room)
    with opened(fake_room, io=io) as transport:
        assert transport.call("ann", "reverse", "grüße") == "eßürg"
        assert transport.call("ann", "reverse") == ""
        longest = "é" * 7_680
        assert transport.call("ann", "reverse", longest, timeout=PATIENCE) == longest


def test_what_whoever_is_called_is_told(fake_room: FakeRoom) -> None:
    told: list[RpcCall] = []
    fake_room.join("ann").answer("m", lambda call: str(told.append(call)))
    with opened(fake_room) as transport:
        transport.call("ann", "m", "text", timeout=7)
    [call] = told
    assert (call.method, call.text, call.participant) == ("m", "text", "app")
    assert 5 < call.timeout <= 7


def test_what_a_call_fails_with(fake_room: FakeRoom, caplog: pytest.LogCaptureFixture) -> None:
    def refuses(call: RpcCall) -> str:
        raise RpcError("not today", code=42, data="{}")

    def fails(call: RpcCall) -> str:
        raise ValueError("what is not the caller's business")

    ann = fake_room.join("ann")
    ann.answer("refuse", refuses)
    ann.answer("fail", fails)
    with opened(fake_room) as transport:
        for to, method, code, text in (
            ("ann", "other", RpcError.UNSUPPORTED_METHOD, "Method not supported at destination"),
            ("bob", "refuse", RpcError.RECIPIENT_NOT_FOUND, "Recipient not found"),
            ("app", "refuse", RpcError.RECIPIENT_NOT_FOUND, "Recipient not found"),
            ("ann", "refuse", 42, "not today"),
            ("ann", "fail", RpcError.APPLICATION_ERROR, "Application error in method handler"),
        ):
            with pytest.raises(RpcError) as raised:
                transport.call(to, method, timeout=LONG)
            assert (raised.value.code, str(raised.value)) == (code, text)
        assert "what answers 'fail' raised" in caplog.text
        with pytest.raises(RpcError) as raised:
            transport.call("ann", "refuse")
        assert raised.value.data == "{}"


@pytest.mark.parametrize(
    "wrong", [{"to": ""}, {"method": ""}, {"payload": b"x"}, {"timeout": None}]
)
def test_what_is_no_call_is_refused(fake_room: FakeRoom, wrong: dict[str, Any]) -> None:
    with opened(fake_room) as transport, pytest.raises(ConfigurationError):
        transport.call(**{"to": "ann", "method": "m", **wrong})


def test_many_calls_at_a_time_each_with_its_answer(fake_room: FakeRoom) -> None:
    reversing(fake_room, "ann")
    reversing(fake_room, "bob")
    with opened(fake_room) as transport:
        calls = [
            Call(transport.call, who, "reverse", f"{n}-{who}", timeout=LONG)
            for n in range(20)
            for who in ("ann", "bob")
        ]
        answers = [call.result() for call in calls]
    assert answers == [f"{n}-{who}"[::-1] for n in range(20) for who in ("ann", "bob")]


def test_no_answer_in_time(fake_room: FakeRoom, virtual_clock: VirtualClock) -> None:
    room = FakeRoom("virtual", virtual_clock)
    with room, opened(room, io=virtual_clock.io) as transport:
        room.join("ann").answer("wait", lambda call: None)
        began = virtual_clock.now()
        match = r"no answer from 'ann' to the call 'wait' within 600 s; whether it was carried out"
        with pytest.raises(TimeoutError, match=match):
            transport.call("ann", "wait", timeout=600)
        assert virtual_clock.now() - began == pytest.approx(600, abs=1)
        reversing(room, "bob")
        with room.faults.connection_lost(), pytest.raises(TimeoutError):
            transport.call("bob", "reverse", timeout=60)
        assert transport.call("bob", "reverse", "ab") == "ba"


def test_who_is_called_leaves(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        call = under_way(fake_room, transport)
        fake_room.remove("ann")
        with pytest.raises(RpcError, match="Recipient disconnected") as raised:
            call.result()
        assert raised.value.code == RpcError.RECIPIENT_DISCONNECTED


def test_a_connection_that_is_lost_for_good_takes_calls_along(fake_room: FakeRoom) -> None:
    reconnect = Reconnect(backoff=0.01)
    with opened(fake_room, kinds=("event",), reconnect=reconnect) as transport:
        call = under_way(fake_room, transport)
        fake_room.break_connection()
        match = "the connection was lost while 'ann' was called .*not known, and it is not repeated"
        with pytest.raises(RoomError, match=match) as raised:
            call.result()
        assert raised.value.reason == "disconnected"
        fake_room.wait_for_app(timeout=LONG)
        reversing(fake_room, "bob")
        assert transport.call("bob", "reverse", "ab", timeout=LONG) == "ba"


def test_the_io_process_dies(fake_room: FakeRoom) -> None:
    with opened(fake_room, io="process") as transport:
        reversing(fake_room, "bob")
        call = under_way(fake_room, transport)
        killed(transport)
        with pytest.raises(RoomError, match="the I/O process died while 'ann' was called"):
            call.result()
        assert transport.call("bob", "reverse", "ab", timeout=LONG) == "ba"


def test_the_io_process_dies_and_none_follows(fake_room: FakeRoom) -> None:
    with opened(fake_room, io="process", reconnect=Reconnect(retries=0)) as transport:
        call = under_way(fake_room, transport)
        killed(transport)
        with pytest.raises(LostProcessError):
            call.result()


@pytest.mark.parametrize("end", ["close", "room"])
def test_calls_end_with_the_room(fake_room: FakeRoom, end: str) -> None:
    with opened(fake_room) as transport:
        call = under_way(fake_room, transport)
        if end == "close":
            transport.close()
        else:
            fake_room.close_room()
        with pytest.raises((ClosedError, RpcError, RoomError)):
            call.result()
        with pytest.raises(ClosedError):
            transport.call("ann", "wait")


def test_applications_call_each_other(fake_room: FakeRoom) -> None:
    options = {"kinds": ("data",), "rpc_methods": ("ask",)}
    with opened(fake_room) as one, opened(fake_room, identity="two", **options) as two:
        call = Call(one.call, "two", "ask", "?", timeout=LONG)
        came = next(two.recv(timeout=PATIENCE))
        assert isinstance(came, RpcCall)
        assert came.participant == "app"
        two.send(came.answer("!"))
        assert call.result() == "!"


def test_ctrl_c_at_any_moment_leaves_nothing_behind(fake_room: FakeRoom) -> None:
    reversing(fake_room)
    with opened(fake_room) as transport:
        calls = transport._connection.session.calls
        for moment in range(1, 200):
            hit = interrupted(lambda: transport.call("ann", "reverse", "ab"), moment, face)
            with transport._connection.lock:
                assert not calls._under_way
                assert not calls._ended
            if not hit:
                break
        assert not hit
        assert transport.call("ann", "reverse", "ab") == "ba"


def test_who_may_not_send_may_not_call() -> None:
    claims = b'{"video":{"roomJoin":true,"room":"room","canPublishData":false},"sub":"app"}'
    token = f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.e30"
    with FakeRoom("room") as room, opened(room, token=token) as transport:
        reversing(room)
        with pytest.raises(RpcError, match="canPublishData") as raised:
            transport.call("ann", "reverse", "ab")
        assert raised.value.code == RpcError.SEND_FAILED


def test_providers_without_calls_refuse_them(
    fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(fake_room, kinds=("event",)) as transport:
        monkeypatch.setattr(Fake, "rpc", False)
        with pytest.raises(ConfigurationError, match="fake: not supported: call"):
            transport.call("ann", "m")


def test_a_provider_that_raises_is_told_as_an_error(fake_room: FakeRoom) -> None:
    with (
        opened(fake_room) as transport,
        fake_room.faults.provider_raises("call"),
        pytest.raises(RoomError, match="ordered to raise in call"),
    ):
        transport.call("ann", "m")
