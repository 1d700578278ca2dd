"""Wrong with calls, at a provider."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from wrong_kit import Twist, WrongCore, breaks

from ringroom import client
from ringroom.errors import RpcError
from ringroom.providers.provider import Provider
from ringroom.rpc import RpcAnswer

COMES = "a_call_comes_with_its_caller_and_its_text"


@breaks({COMES: "'ann' called 'greet', it came as .*'nobody'"})
class MistakesTheCaller(Twist):
    async def call(self, sink: Any, method: str, payload: str, who: str, seconds: float) -> str:
        return await sink.call(method, payload, "nobody", seconds)  # type: ignore[no-any-return]


@breaks({COMES: "a text of 10240 letters came with 1000"})
class CutsALongText(Twist):
    async def call(self, sink: Any, method: str, payload: str, who: str, seconds: float) -> str:
        return await super().call(sink, method, payload[:1_000], who, seconds)


@breaks({COMES: "who waits 30 s is said to wait 10 s"})
class MistakesTheTime(Twist):
    async def call(self, sink: Any, method: str, payload: str, who: str, seconds: float) -> str:
        return await super().call(sink, method, payload, who, min(10.0, seconds))


@breaks({"every_caller_gets_the_answer_to_its_own_call": "the answers are .*, expected "})
class MixesUpAnswers(Twist):
    first: asyncio.Future[str] | None = None

    async def call(self, sink: Any, method: str, payload: str, who: str, seconds: float) -> str:
        if self.first is None:
            self.first = asyncio.get_running_loop().create_future()
        answer = await super().call(sink, method, payload, who, seconds)
        if not self.first.done():
            self.first.set_result(answer)
        return await self.first


class TellsOtherErrors(Twist):
    """Of each kind, what the caller is told in its place."""

    instead: ClassVar[dict[int, RpcError]] = {}

    async def call(self, sink: Any, method: str, payload: str, who: str, seconds: float) -> str:
        try:
            return await super().call(sink, method, payload, who, seconds)
        except RpcError as error:
            raise self.instead.get(error.code, error) from None


@breaks({"a_refusal_reaches_the_caller": r"the caller is told 1500 \(später\), expected 42"})
class LosesTheCode(TellsOtherErrors):
    instead: ClassVar = {42: RpcError("später")}


@breaks({"a_refusal_reaches_the_caller": r"the caller is told \('später', ''\)"})
class LosesTheData(TellsOtherErrors):
    instead: ClassVar = {42: RpcError("später", code=42)}


@breaks({"a_method_that_is_not_ours_is_refused": "the caller is told 1500"})
class MistakesWhatIsNotOurs(TellsOtherErrors):
    instead: ClassVar = {1400: RpcError("no")}


@breaks({"a_call_that_is_not_answered_ends_with_its_time": "the next call got the answer 'too l"})
class TakesAnyAnswer(WrongCore):
    class Transport(client.Transport):
        late: RpcAnswer | None = None

        def send(self, frame: Any, **options: Any) -> None:
            if isinstance(frame, RpcAnswer) and self.late is not None:
                frame = RpcAnswer(self.late.payload, frame.topic, to=frame.to, number=frame.number)
            elif isinstance(frame, RpcAnswer):
                self.late = frame
            super().send(frame, **options)


@breaks({"who_waits_for_our_answer_is_told_when_we_leave": "has not come back within|told 1502"})
class LeavesWithoutAWord(Twist):
    async def close(self, provider: Provider) -> None:
        await asyncio.sleep(0.5)
        await super().close(provider)

    async def call(self, sink: Any, method: str, payload: str, who: str, seconds: float) -> str:
        try:
            return await super().call(sink, method, payload, who, seconds)
        except RpcError:
            raise RpcError("Response timeout", code=RpcError.RESPONSE_TIMEOUT) from None


# Of ours


class Calls(Twist):
    """Changes what we call."""

    async def call_out(
        self, provider: Provider, to: str, method: str, payload: str, seconds: float
    ) -> str:
        changed = self.changed(to, method, payload, seconds)
        return await super().call_out(provider, *changed)

    def changed(
        self, to: str, method: str, payload: str, seconds: float
    ) -> tuple[str, str, str, float]:
        return to, method, payload, seconds


@breaks({"our_call_gives_the_answer": "a text of 5120 letters came with 1000"})
class CutsOurText(Calls):
    def changed(self, to: str, method: str, payload: str, seconds: float) -> Any:
        return to, method, payload[:1_000], seconds


@breaks({"our_call_gives_the_answer": r"we wait 30 s, told are 10\.000"})
class MistakesOurTime(Calls):
    def changed(self, to: str, method: str, payload: str, seconds: float) -> Any:
        return to, method, payload, min(seconds, 10.0)


@breaks({"each_of_our_calls_gets_its_own_answer": "the answers are .*, expected "})
class MixesUpWhatWeAreAnswered(Calls):
    first: asyncio.Future[str] | None = None

    async def call_out(self, provider: Provider, *call: Any) -> str:
        if self.first is None:
            self.first = asyncio.get_running_loop().create_future()
        answer = await super().call_out(provider, *call)
        if not self.first.done():
            self.first.set_result(answer)
        return await self.first


@breaks(
    {
        "what_refuses_our_call_is_told": r"we are told 1500 \(später\), expected 42",
        "who_has_no_such_method_and_who_is_not_there_is_told": r"we are told 1500 .*expected 1400",
    }
)
class KnowsOneCode(Calls):
    async def call_out(self, provider: Provider, *call: Any) -> str:
        try:
            return await super().call_out(provider, *call)
        except RpcError as error:
            raise RpcError(str(error)) from None


@breaks({"who_has_no_such_method_and_who_is_not_there_is_told": "has not come back within"})
class WaitsForWhoIsNotThere(Calls):
    async def call_out(self, provider: Provider, *call: Any) -> str:
        if call[0] == "nobody":
            await asyncio.sleep(1_000)
        return await super().call_out(provider, *call)


@breaks({"our_call_ends_with_its_time": "no answer in time raised nothing"})
class AnswersInOthersStead(Calls):
    async def call_out(self, provider: Provider, *call: Any) -> str:
        return "yes" if call[1] == "wait" else await super().call_out(provider, *call)


@breaks({"our_call_is_not_repeated_in_the_next_room": r"the call was made 2 times|raised nothing"})
class RepeatsOurCall(Calls):
    async def call_out(self, provider: Provider, *call: Any) -> str:
        made = asyncio.ensure_future(super().call_out(provider, *call))
        if call[1] != "greet":
            await asyncio.sleep(0)
            again = asyncio.ensure_future(super().call_out(provider, *call))
            made.add_done_callback(lambda _: again.cancel())
        return await made
