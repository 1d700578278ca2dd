"""Promises about calls (RPC): those of others, which the application answers, and its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ringroom.client import Transport
from ringroom.errors import RoomError, RpcError
from ringroom.rpc import MAX_CALL_BYTES, RpcCall
from ringroom.testing.contract.promise import Call, broken, expect, expect_error, promise
from ringroom.testing.contract.subject import Stage, Subject

METHOD, OTHER = "greet", "grüße/wetter"
LONG = 30.0
"""Seconds for which those wait who are answered."""
IN_VAIN = 1.0
"""Seconds for which those wait who are not."""
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
    limit = 4 * stage.patience + IN_VAIN
    error = expect_error(RpcError, lambda: call.result(limit), what)
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
        read = Call("a call that is not answered", next, received)

        def came_in_vain() -> bool:
            """Whether it was read: it may expire before that."""
            asking = asks(stage, "late", seconds=IN_VAIN)
            error = code_of(asking, stage, "a call that is not answered")
            expect_code(error, RpcError.RESPONSE_TIMEOUT)
            return not read.waits()

        stage.until(came_in_vain, "a call")
        late, call = read.result(stage.patience), asks(stage, "in time")
        transport.send(late.answer("too late"))
        while (one := next(received)).text != "in time":
            pass
        transport.send(one.answer("now"))
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


def methods(stage: Stage) -> None:
    """Ann has some: one that answers with what it was told, one that refuses, one that waits."""

    def greet(caller: str, payload: str, seconds: float) -> str:
        return f"{caller} {seconds:.3f} {payload}"

    def refuse(caller: str, payload: str, seconds: float) -> str:
        raise RpcError("später", code=42, data='{"ü": 1}')

    for name, function in ((METHOD, greet), ("refuse", refuse), ("wait", lambda *_: None)):
        stage.driver.answer("ann", name, function)


def we_call(transport: Transport, stage: Stage, method: str, payload: str = "") -> Call[str]:
    """The application calls Ann."""
    options = {"timeout": LONG}
    return Call(f"our call of {method!r}", transport.call, "ann", method, payload, **options)


def our_error(
    kind: type[BaseException], call: Callable[[], object], what: str, code: int = 0
) -> BaseException:
    """What our call raises."""
    error = expect_error(kind, call, what)
    if isinstance(error, RpcError):
        expect(error.code == code, f"we are told {error.code} ({error}), expected {code}")
    return error


@promise("calls_out")
def our_call_gives_the_answer(subject: Subject) -> None:
    """A call of ours reaches the method with our text, however long, and says who calls and how
    long we wait; it gives what the method answers."""
    long_text = ("é" + "aé" * MAX_CALL_BYTES)[: MAX_CALL_BYTES // 3]
    with subject.opened(kinds=()) as (transport, stage):
        methods(stage)
        for text in ("grüße", long_text, ""):
            answer = we_call(transport, stage, METHOD, text).result(4 * stage.patience)
            who, told, same = (*answer.split(" ", 2), "", "")[:3]
            expect(who == transport.identity, f"we are {transport.identity!r}, told is {who!r}")
            least = LONG - ON_THE_WAY
            expect(least <= float(told) <= LONG, f"we wait {LONG:g} s, told are {told}")
            expect(same == text, f"a text of {len(text)} letters came with {len(same)}, or others")


@promise("calls_out")
def each_of_our_calls_gets_its_own_answer(subject: Subject) -> None:
    """Of calls of ours that are under way at a time each gives its own answer."""
    texts = [f"number {number}" for number in range(10)]
    with subject.opened(kinds=()) as (transport, stage):
        methods(stage)
        under_way = [we_call(transport, stage, METHOD, text) for text in texts]
        answers = [call.result(4 * stage.patience).split(" ", 2)[-1] for call in under_way]
    expect(answers == texts, f"the answers are {answers}, expected {texts}")


@promise("calls_out")
def what_refuses_our_call_is_told(subject: Subject) -> None:
    """A refusal is an `RpcError` with the code, text and data that the method gave."""
    with subject.opened(kinds=()) as (transport, stage):
        methods(stage)
        call = we_call(transport, stage, "refuse")
        error = our_error(RpcError, lambda: call.result(4 * stage.patience), "it", code=42)
        assert isinstance(error, RpcError)
        said = (str(error), error.data)
        expect(said == ("später", '{"ü": 1}'), f"we are told {said}")


@promise("calls_out")
def who_has_no_such_method_and_who_is_not_there_is_told(subject: Subject) -> None:
    """A call of a method that nobody has, and of somebody who is not there, is an `RpcError` with
    LiveKit's code for that, at once."""
    with subject.opened(kinds=()) as (transport, stage):
        methods(stage)
        for who, code in (
            ("ann", RpcError.UNSUPPORTED_METHOD),
            ("nobody", RpcError.RECIPIENT_NOT_FOUND),
        ):
            call = Call(f"a call of {who!r}", transport.call, who, "nothing", timeout=LONG)

            def end(call: Call[str] = call) -> str:
                return call.result(2 * stage.patience)

            our_error(RpcError, end, "such a call", code=code)


@promise("calls_out")
def our_call_ends_with_its_time(subject: Subject) -> None:
    """A call of ours that is not answered in time is a `TimeoutError`, and the next is answered."""
    with subject.opened(kinds=()) as (transport, stage):
        methods(stage)
        call = Call("our call", transport.call, "ann", "wait", timeout=IN_VAIN)
        limit = 2 * stage.patience + IN_VAIN
        our_error(TimeoutError, lambda: call.result(limit), "no answer in time")
        we_call(transport, stage, METHOD).result(4 * stage.patience)


@promise("calls_out", "events", "connection_loss", "broken_connection")
def our_call_is_not_repeated_in_the_next_room(subject: Subject) -> None:
    """A call of ours that is under way when the connection is lost for good is a `RoomError`
    (disconnected), and is not made again in the next room."""
    with subject.opened(kinds=("event",)) as (transport, stage):
        came: list[str] = []
        methods(stage)
        stage.driver.answer("ann", OTHER, lambda who, payload, seconds: came.append(payload))
        call = we_call(transport, stage, OTHER, "once")
        stage.until(lambda: came, "a call of ours")
        stage.driver.break_connection()
        error = our_error(RoomError, lambda: call.result(4 * stage.patience), "the call")
        reason = getattr(error, "reason", "")
        expect(reason == "disconnected", f"its reason is {reason!r}, not 'disconnected'")
        we_call(transport, stage, METHOD).result(8 * stage.patience)
        expect(came == ["once"], f"the call was made {len(came)} times")
