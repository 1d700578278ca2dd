"""Calls (RPC) that a pool's workers answer."""

from __future__ import annotations

from typing import Any

import pytest

import processors_kit as kit
import ringroom
from app_kit import PATIENCE, Call, until
from pool_kit import running
from recovery_kit import LONG
from ringroom.errors import RpcError, StartupError
from ringroom.testing import FakeRoom

CALLS: dict[str, Any] = {"rpc_methods": ("ask",)}


def sum_of(counts: Any) -> int:
    return int(counts.done + counts.dropped_stale)


def code_of(call: Any) -> int:
    with pytest.raises(RpcError) as raised:
        call()
    return raised.value.code


@pytest.mark.parametrize("io", ["thread", "process"])
def test_what_a_processor_makes_of_a_call_is_what_the_caller_gets(
    fake_room: FakeRoom, io: str
) -> None:
    ann, bob = fake_room.join("ann"), fake_room.join("bob")
    problems: list[ringroom.Problem] = []
    with running(fake_room, kit.Desk, io=io, on_error=problems.append, **CALLS) as pool:
        fake_room.wait_for_app(timeout=LONG)
        assert ann.call("ask", "now") == "now ann"
        assert bob.call("ask", "later") == "later bob"
        with pytest.raises(RpcError, match="not today") as raised:
            ann.call("ask", "refuse")
        assert raised.value.code == 42
        for payload in ("raise", "echo"):
            with pytest.raises(RpcError, match=r"^Application error in method handler$") as raised:
                ann.call("ask", payload, timeout=LONG)
            assert raised.value.code == RpcError.APPLICATION_ERROR
        assert code_of(lambda: ann.call("ask", "never", timeout=0.1)) == RpcError.RESPONSE_TIMEOUT
        assert ann.call("ask", "again") == "again ann"
        # The caller has the answer before the worker has counted the call; one may expire unread.
        until(lambda: sum_of(pool.stats().received) == 7)
        assert pool.stats().received.problems == 2
    assert [problem.where for problem in problems] == ["process", "reply"]


@pytest.mark.parametrize("io", ["thread", "process"])
def test_a_processor_calls_and_so_does_the_pool(fake_room: FakeRoom, io: str) -> None:
    ann = fake_room.join("ann")
    problems: list[ringroom.Problem] = []
    with running(fake_room, kit.Desk, io=io, on_error=problems.append, **CALLS) as pool:
        fake_room.wait_for_app(timeout=LONG)
        assert code_of(lambda: ann.call("ask", "ask back")) == RpcError.APPLICATION_ERROR
        ann.answer("back", lambda call: f"{call.text} too, {call.participant}")
        assert ann.call("ask", "ask back") == "to you too, app"
        assert pool.call("ann", "back", "hello") == "hello too, app"
        ann.answer("back", lambda call: None)
        assert code_of(lambda: ann.call("ask", "ask back late")) == RpcError.APPLICATION_ERROR
    first, second = (problem.summary for problem in problems)
    assert "RpcError: Method not supported" in first
    assert "TimeoutError: no answer from 'ann' to the call 'back' within 0.1 s" in second


class CallsTooEarly(ringroom.Processor):
    kinds = ("data",)

    def start(self, context: Any) -> None:
        context.call("ann", "m")


def test_there_is_no_call_before_there_is_a_room(fake_room: FakeRoom) -> None:
    with pytest.raises(StartupError, match=r"call from open\(\) or process\(\)"):  # noqa: SIM117
        with running(fake_room, CallsTooEarly):
            pass


def test_an_answer_of_one_in_a_chain_is_seen_by_no_other(fake_room: FakeRoom) -> None:
    ann = fake_room.join("ann")
    with running(fake_room, ringroom.chain(kit.Desk, kit.Shouts), **CALLS):
        fake_room.wait_for_app(timeout=LONG)
        assert ann.call("ask", "now") == "now ann"


def test_a_worker_that_dies_of_a_call_is_replaced_and_answers_the_next(
    fake_room: FakeRoom,
) -> None:
    ann = fake_room.join("ann")
    with running(fake_room, kit.Desk, io="process", workers=1, spares=1, **CALLS):
        fake_room.wait_for_app(timeout=LONG)
        deadly = Call(ann.call, "ask", "die", timeout=3.0)
        next_ = Call(ann.call, "ask", "next", timeout=LONG)
        assert next_.result(LONG) == "next ann"
        assert code_of(lambda: deadly.result(PATIENCE)) == RpcError.RESPONSE_TIMEOUT
