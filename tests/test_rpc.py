"""A call that came in, what answers it, and what neither may be."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroom.errors import ConfigurationError, FrameError, RpcError
from ringroom.rpc import MAX_CALL_BYTES, MAX_SECONDS, OutgoingCall, RpcAnswer, RpcCall

CALL = RpcCall("grüße".encode(), "greet", "ann", number=7, timeout=3)


def test_a_call_says_what_is_asked_and_by_whom() -> None:
    assert (CALL.method, CALL.text, CALL.participant) == ("greet", "grüße", "ann")
    assert (CALL.number, CALL.timeout) == (7, 3.0)
    assert pickle.loads(pickle.dumps(CALL)) == CALL
    RpcCall(b"x" * MAX_CALL_BYTES)


def test_an_answer_goes_to_the_caller_of_that_call() -> None:
    answer = CALL.answer("é" * (MAX_CALL_BYTES // 2))
    assert (answer.topic, answer.to, answer.number) == ("greet", ("ann",), 7)
    assert answer.result() == answer.text == "é" * (MAX_CALL_BYTES // 2)
    assert CALL.answer().result() == ""


def test_a_refusal_is_an_error_at_the_caller() -> None:
    refusal = CALL.refuse("no such person", code=42, data="{}")
    with pytest.raises(RpcError, match=r"^no such person$") as raised:
        refusal.result()
    assert (raised.value.code, raised.value.data) == (42, "{}")
    again = pickle.loads(pickle.dumps(raised.value))
    assert (str(again), again.code, again.data) == ("no such person", 42, "{}")
    assert CALL.refuse("no").code == RpcError.APPLICATION_ERROR == 1500


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"payload": "text"}, "bytes, not str"),
        ({"payload": b"x" * (MAX_CALL_BYTES + 1)}, "at most 15360 are taken"),
        ({"payload": b"\xff"}, "the payload of a call that is not UTF-8"),
        ({"number": -1}, "the number of a call is -1"),
        ({"number": True}, "the number of a call is True"),
        ({"timeout": -1.0}, "expected 0 to"),
        ({"timeout": MAX_SECONDS * 2}, "expected 0 to"),
        ({"timeout": float("nan")}, "a finite number"),
        ({"timeout": "3"}, "expected a number"),
    ],
)
def test_what_is_no_call(wrong: dict[str, Any], match: str) -> None:
    with pytest.raises(FrameError, match=match):
        RpcCall(**{"payload": b"", "topic": "greet", "participant": "ann", **wrong})


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: CALL.answer(b"bytes"), "type bytes, expected text"),  # type: ignore[arg-type]
        (lambda: CALL.answer("x" * (MAX_CALL_BYTES + 1)), "at most 15360 are allowed"),
        (lambda: CALL.refuse("x" * 257), "the reason of a refusal has 257 bytes"),
        (lambda: CALL.refuse("no", code=0), "the code is 0, expected a number from 1"),
        (lambda: CALL.refuse("no", code="x"), "the code is 'x'"),  # type: ignore[arg-type]
        (lambda: CALL.refuse("no", code=1 << 32), "the code is 4294967296"),
        (lambda: CALL.refuse("no", data="x" * (MAX_CALL_BYTES + 1)), "the data of an error has"),
        (lambda: CALL.refuse("no", data=None), "type NoneType"),  # type: ignore[arg-type]
        (lambda: RpcAnswer(b"\xff"), "an answer to a call that is not UTF-8"),
        (lambda: RpcAnswer(b"", code=-1), "the code -1"),
    ],
)
def test_what_is_no_answer(call: Any, match: str) -> None:
    with pytest.raises(FrameError, match=match):
        call()


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"to": ""}, "the identity that is called is empty"),
        ({"to": None}, "identity that is called is of type NoneType"),
        ({"to": "a" * 1_025}, "has 1025 bytes"),
        ({"method": ""}, "the name of a method is empty"),
        ({"method": "é" * 33}, "the name of a method has 66 bytes, at most 64"),
        ({"method": 5}, "the name of a method is of type int"),
        ({"payload": b"x"}, "the payload of a call is of type bytes, expected text"),
        ({"payload": "é" * 7_681}, "has 15362 bytes, at most 15360"),
        ({"payload": "\ud800"}, "not valid Unicode"),
        ({"timeout": None}, "timeout is None"),
        ({"timeout": 0}, "timeout is 0, expected 0.1 to 3600"),
        ({"timeout": 3_601}, "timeout is 3601"),
    ],
)
def test_what_cannot_be_called(wrong: dict[str, Any], match: str) -> None:
    fields: dict[str, Any] = {"to": "ann", "method": "m", "payload": "", "timeout": 1, **wrong}
    with pytest.raises(ConfigurationError, match=match):
        OutgoingCall(**fields)


@given(st.text(max_size=50), st.integers(1, (1 << 32) - 1), st.text(max_size=50))
def test_whatever_refuses_a_call_comes_out_as_it_was_given(why: str, code: int, data: str) -> None:
    refusal = CALL.refuse(why, code=code, data=data)
    with pytest.raises(RpcError) as raised:
        refusal.result()
    assert (str(raised.value), raised.value.code, raised.value.data) == (why, code, data)
