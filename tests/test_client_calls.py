"""Calls (RPC) that come in to a transport, and their answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import ringroom
from app_kit import PATIENCE, Call, opened, until
from recovery_kit import LONG, killed
from ringroom.errors import ConfigurationError, FrameError, RpcError
from ringroom.events import EventKind
from ringroom.processes.io.open_calls import MAX_OPEN_OF_ONE
from ringroom.providers.fake import Fake
from ringroom.rpc import RpcCall
from ringroom.testing import FakeRoom, VirtualClock

GREET: dict[str, Any] = {"kinds": ("data", "event"), "rpc_methods": ("greet", "wait")}


def calls(transport: ringroom.Transport) -> Iterator[RpcCall]:
    for item in transport.recv(kinds=("data",), timeout=PATIENCE):
        assert isinstance(item, RpcCall)
        yield item


def failed(call: Call[str], code: int) -> str:
    """The text of the error."""
    with pytest.raises(RpcError) as raised:
        call.result()
    assert raised.value.code == code
    return str(raised.value)


def next_failure(transport: ringroom.Transport) -> str:
    for event in transport.recv(kinds=("event",), timeout=PATIENCE):
        assert isinstance(event, ringroom.Event)
        if event.kind is EventKind.DATA_FAILED:
            return event.reason
    raise AssertionError("the room has ended")


@pytest.mark.parametrize("io", ["thread", "process"])
def test_a_call_is_answered(fake_room: FakeRoom, io: str) -> None:
    ann = fake_room.join("ann")
    with opened(fake_room, io=io, **GREET) as transport:
        asking = Call(ann.call, "greet", "grüße", timeout=PATIENCE)
        call = next(calls(transport))
        assert (call.method, call.text, call.participant) == ("greet", "grüße", "ann")
        assert call.timeout == PATIENCE
        transport.send(call.answer("grüße, " + call.participant))
        assert asking.result() == "grüße, ann"


def test_a_call_is_refused(fake_room: FakeRoom) -> None:
    ann = fake_room.join("ann")
    with opened(fake_room, **GREET) as transport:
        asking = Call(ann.call, "greet")
        transport.send(next(calls(transport)).refuse("not today", code=42, data="{}"))
        with pytest.raises(RpcError, match=r"^not today$") as raised:
            asking.result()
        assert (raised.value.code, raised.value.data) == (42, "{}")


def test_calls_come_in_order_with_messages_and_may_be_answered_in_any(fake_room: FakeRoom) -> None:
    ann, bob = fake_room.join("ann"), fake_room.join("bob")
    with opened(fake_room, **GREET) as transport:
        receiver = transport.recv(kinds=("data",), timeout=PATIENCE)
        ann.send_data(b"before")
        first = Call(ann.call, "greet", "1")
        assert not isinstance(next(receiver), RpcCall)
        one = next(receiver)
        second = Call(bob.call, "greet", "2")
        two = next(receiver)
        assert isinstance(one, RpcCall)
        assert isinstance(two, RpcCall)
        transport.send(two.answer(two.text))
        assert second.result() == "2"
        transport.send(one.answer(one.text))
        assert first.result() == "1"


def test_what_is_not_ours_is_told_at_once(fake_room: FakeRoom) -> None:
    ann = fake_room.join("ann")
    with pytest.raises(RpcError, match="Recipient not found"):
        ann.call("greet")
    with opened(fake_room, participants=["bob"], **GREET):
        for method in ("other", "greet"):  # of Ann nothing is received
            with pytest.raises(RpcError, match="Method not supported") as raised:
                ann.call(method, timeout=LONG)
            assert raised.value.code == RpcError.UNSUPPORTED_METHOD


def test_an_answer_that_nobody_waits_for_is_told_and_harms_nobody(fake_room: FakeRoom) -> None:
    ann = fake_room.join("ann")
    with opened(fake_room, **GREET) as transport:
        asking = Call(ann.call, "greet")
        call = next(calls(transport))
        transport.send(call.answer("first"))
        assert asking.result() == "first"
        transport.send(call.answer("second"))
        assert "call 'greet' of 'ann' is not open" in next_failure(transport)
        asking = Call(ann.call, "greet")
        now = next(calls(transport))
        assert now.number != call.number
        transport.send(call.answer("of the one before"))
        assert "is not open" in next_failure(transport)
        transport.send(now.answer("of this one"))
        assert asking.result() == "of this one"


def test_a_call_ends_with_its_callers_time(
    fake_room: FakeRoom, virtual_clock: VirtualClock
) -> None:
    room = FakeRoom("virtual", virtual_clock)
    with room, opened(room, io=virtual_clock.io, **GREET) as transport:
        ann, began = room.join("ann"), virtual_clock.now()
        codes: list[int] = []

        def ask() -> None:
            with pytest.raises(RpcError, match="Response timeout") as raised:
                ann.call("greet", timeout=600.0)
            codes.append(raised.value.code)

        asking = virtual_clock.start_thread("ann", ask)
        call = next(calls(transport))
        asking.join()
        assert codes == [RpcError.RESPONSE_TIMEOUT]
        assert virtual_clock.now() - began == pytest.approx(600, abs=1)
        transport.send(call.answer("late"))
        assert "its answer, or the caller's time was over" in next_failure(transport)


def test_a_call_that_nobody_has_read_in_its_time_is_dropped_and_counted(
    fake_room: FakeRoom, virtual_clock: VirtualClock
) -> None:
    room = FakeRoom("virtual", virtual_clock)
    with room, opened(room, io=virtual_clock.io, **GREET) as transport:
        ann = room.join("ann")
        with pytest.raises(RpcError, match="Response timeout"):
            ann.call("greet", "unread", timeout=600.0)
        answers: list[str] = []
        asking = virtual_clock.start_thread("ann", lambda: answers.append(ann.call("greet")))
        call = next(calls(transport))
        transport.send(call.answer(f"not {call.text!r}"))
        asking.join()
        assert answers == ["not ''"]
        counts = transport.stats().received
        assert (counts.dropped_stale, counts.done, counts.in_flight) == (1, 1, 0)


def test_a_caller_that_leaves_is_not_answered(fake_room: FakeRoom) -> None:
    ann = fake_room.join("ann")
    with opened(fake_room, **GREET) as transport:
        asking = Call(ann.call, "greet", timeout=LONG)
        call = next(calls(transport))
        ann.leave()
        assert failed(asking, RpcError.SEND_FAILED)
        events = transport.recv(kinds=("event",), timeout=PATIENCE)
        until(lambda: next(events).kind is EventKind.PARTICIPANT_LEFT)
        events.close()
        transport.send(call.answer("too late"))
        assert "is not open" in next_failure(transport)


@pytest.mark.parametrize("end", ["close", "remove", "killed"])
def test_who_waits_when_we_go_is_told(fake_room: FakeRoom, end: str) -> None:
    ann = fake_room.join("ann")
    io = "process" if end == "killed" else "thread"
    with opened(fake_room, io=io, **GREET) as transport:
        asking = Call(ann.call, "greet", timeout=LONG)
        next(calls(transport))
        if end == "close":
            transport.close()
        elif end == "remove":
            fake_room.remove("app")
        else:
            killed(transport)
        assert failed(asking, RpcError.RECIPIENT_DISCONNECTED) == "Recipient disconnected"


def test_another_io_process_takes_calls_and_no_answers_to_those_before(fake_room: FakeRoom) -> None:
    ann = fake_room.join("ann")
    with opened(fake_room, io="process", **GREET) as transport:
        asking = Call(ann.call, "greet", timeout=LONG)
        before = next(calls(transport))
        killed(transport)
        assert failed(asking, RpcError.RECIPIENT_DISCONNECTED)
        receiver = calls(transport)
        answered = Call(lambda: transport.send(next(receiver).answer("again")))
        fake_room.wait_for_app(timeout=LONG)
        assert ann.call("greet", timeout=LONG) == "again"
        answered.result()
        transport.send(before.answer("of the one before"))
        assert "is not open" in next_failure(transport)


def test_a_connection_that_is_lost_brings_no_call(
    fake_room: FakeRoom, virtual_clock: VirtualClock
) -> None:
    room = FakeRoom("virtual", virtual_clock)
    with room, opened(room, io=virtual_clock.io, **GREET):
        ann = room.join("ann")
        with room.faults.connection_lost():
            began = virtual_clock.now()
            with pytest.raises(RpcError, match="Connection timeout") as raised:
                ann.call("greet", timeout=60.0)
            assert raised.value.code == RpcError.CONNECTION_TIMEOUT
            assert virtual_clock.now() - began == pytest.approx(7, abs=1)


def test_so_many_calls_of_one_are_open_and_no_more(fake_room: FakeRoom) -> None:
    ann, bob = fake_room.join("ann"), fake_room.join("bob")
    with opened(fake_room, **GREET) as transport:
        open_calls = [Call(ann.call, "wait", timeout=LONG) for _ in range(MAX_OPEN_OF_ONE)]
        receiver = calls(transport)
        came = [next(receiver) for _ in open_calls]
        with pytest.raises(RpcError, match=r"^Too busy"):
            ann.call("wait", timeout=LONG)
        other = Call(bob.call, "greet", timeout=LONG)
        transport.send(next(receiver).answer())
        other.result()
        for call in came:
            transport.send(call.answer(str(call.number)))
        assert {call.result() for call in open_calls} == {str(call.number) for call in came}
        again = Call(ann.call, "greet", timeout=LONG)
        transport.send(next(receiver).answer("again"))
        assert again.result() == "again"


def test_which_application_is_called(fake_room: FakeRoom) -> None:
    ann = fake_room.join("ann")
    with opened(fake_room, **GREET), opened(fake_room, identity="two", **GREET) as second:
        with pytest.raises(LookupError, match="which application"):
            ann.call("greet")
        asking = Call(ann.call, "greet", to="two")
        second.send(next(calls(second)).answer("two"))
        assert asking.result() == "two"


def test_a_call_itself_cannot_be_sent(fake_room: FakeRoom) -> None:
    with (
        opened(fake_room) as transport,
        pytest.raises(FrameError, match=r"send call.answer\(...\) or call.refuse\(...\)"),
    ):
        transport.send(RpcCall(b"", "greet", "ann"))


def test_providers_without_calls_refuse_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fake, "rpc", False)
    with pytest.raises(ConfigurationError, match="fake: not supported: rpc_methods"):
        ringroom.transport("fake", room="any", io="thread", **GREET)
