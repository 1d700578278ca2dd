"""Promises about calls (RPC): those of others, which the application answers."""

from __future__ import annotations

from collections.abc import Iterator

from ringroom.client import Transport
from ringroom.errors import RpcError
from ringroom.rpc import MAX_CALL_BYTES, RpcCall
from ringroom.testing.contract.promise import Call, broken, expect, expect_error, promise
from ringroom.testing.contract.subject import Stage, Subject

METHOD, OTHER = "greet", "grüße/wetter"
LONG = 30.0
"""Seconds for which those wait who are answered."""
# What a provider may take of a caller's time on the way.
ON_THE_WAY = 1.5


def asks(stage: Stage, payload: str = "", method: str = METHOD, seconds: float = LONG) -> Call[str]:
    """Ann calls a method of the application's."""
    return Call(f"the call {payload[:20]!r}", stage.driver.call, "ann", method, payload, seconds)


def calls(transport: Transport, stage: Stage) -> Iterator[RpcCall]:
    """Those that come."""
    for item in transport.recv(kinds=("data",), timeout=2 * stage.patience):
        if isinstance(item, RpcCall):
            yield item
    broken("the room has ended")


def code_of(call: Call[str], stage: Stage, what: str) -> RpcError:
    """The error that the caller is told."""
    error = expect_error(RpcError, lambda: call.result(4 * stage.patience), what)
    assert isinstance(error, RpcError)
    return error


def expect_code(error: RpcError, code: int) -> None:
    expect(error.code == code, f"the caller is told {error.code} ({error}), expected {code}")


@promise("calls_in")
def a_call_comes_with_its_caller_and_its_text(subject: Subject) -> None:
    """A call tells which method is called, by whom, with which text, however long, and how long the
    caller waits."""
    long_text = ("é" + "aé" * MAX_CALL_BYTES)[: MAX_CALL_BYTES // 3 * 2]
    with subject.opened(kinds=("data",), rpc_methods=(METHOD, OTHER)) as (transport, stage):
        received = calls(transport, stage)
        for method, text in ((METHOD, "grüße"), (OTHER, long_text), (METHOD, "")):
            call = asks(stage, text, method)
            came = next(received)
            found = (came.method, came.participant)
            expect(found == (method, "ann"), f"'ann' called {method!r}, it came as {found}")
            same = came.text == text
            expect(same, f"a text of {len(text)} letters came with {len(came.text)}, or others")
            least, seconds = LONG - ON_THE_WAY, came.timeout
            expect(least <= seconds <= LONG, f"who waits {LONG:g} s is said to wait {seconds:g} s")
            transport.send(came.answer())
            call.result(2 * stage.patience)


@promise("calls_in")
def every_caller_gets_the_answer_to_its_own_call(subject: Subject) -> None:
    """Of calls that are open at a time each gets its own answer, in whatever order they are
    answered."""
    texts = [f"number {number}" for number in range(5)]
    with subject.opened(kinds=("data",), rpc_methods=(METHOD,)) as (transport, stage):
        received = calls(transport, stage)
        under_way = [asks(stage, text) for text in texts]
        for came in reversed([next(received) for _ in texts]):
            transport.send(came.answer(f"grüße, {came.text}"))
        answers = [call.result(2 * stage.patience) for call in under_way]
    expected = [f"grüße, {text}" for text in texts]
    expect(answers == expected, f"the answers are {answers}, expected {expected}")


@promise("calls_in")
def a_refusal_reaches_the_caller(subject: Subject) -> None:
    """A call that is refused is an error at the caller, with the code, text and data that were
    given."""
    with subject.opened(kinds=("data",), rpc_methods=(METHOD,)) as (transport, stage):
        call = asks(stage)
        transport.send(next(calls(transport, stage)).refuse("später", code=42, data='{"ü": 1}'))
        error = code_of(call, stage, "a call that is refused")
        expect_code(error, 42)
        said = (str(error), error.data)
        expect(said == ("später", '{"ü": 1}'), f"the caller is told {said}")


@promise("calls_in")
def a_method_that_is_not_ours_is_refused(subject: Subject) -> None:
    """Who calls a method that is none of ``rpc_methods`` is told so, and the call does not come."""
    with subject.opened(kinds=("data",), rpc_methods=(METHOD,)) as (transport, stage):
        error = code_of(asks(stage, "no", OTHER), stage, "a call of another method")
        expect_code(error, RpcError.UNSUPPORTED_METHOD)
        call = asks(stage, "yes")
        came = next(calls(transport, stage))
        expect(came.text == "yes", f"a call of another method came: {came.method!r}")
        transport.send(came.answer())
        call.result(2 * stage.patience)


@promise("calls_in")
def a_call_that_is_not_answered_ends_with_its_time(subject: Subject) -> None:
    """Who waits for an answer in vain is told when the time is over, and what comes later harms
    nobody."""
    with subject.opened(kinds=("data",), rpc_methods=(METHOD,)) as (transport, stage):
        received = calls(transport, stage)
        error = code_of(asks(stage, "late", seconds=1.0), stage, "a call that is not answered")
        expect_code(error, RpcError.RESPONSE_TIMEOUT)
        late, call = next(received), asks(stage, "in time")
        transport.send(late.answer("too late"))
        transport.send(next(received).answer("now"))
        answer = call.result(2 * stage.patience)
        expect(answer == "now", f"the next call got the answer {answer!r}, expected 'now'")


@promise("calls_in")
def who_waits_for_our_answer_is_told_when_we_leave(subject: Subject) -> None:
    """Who waits for an answer of ours gets an error when we leave the room."""
    with subject.opened(kinds=("data",), rpc_methods=(METHOD,)) as (transport, stage):
        call = asks(stage)
        next(calls(transport, stage))
        transport.close()
        error = code_of(call, stage, "a call, as we left,")
        expect_code(error, RpcError.RECIPIENT_DISCONNECTED)
