"""What the SDK says, and its calls: no token in it, nothing of no use, nothing left undone."""

from __future__ import annotations

import asyncio
import logging

import pytest
from livekit.rtc.participant import UnpublishTrackError
from livekit.rtc.room import ConnectError

import native_kit  # noqa: F401  (the native library's threads are no test's)
from ringroom.errors import RoomError
from ringroom.options import SessionOptions
from ringroom.providers.livekit import mapping
from ringroom.providers.livekit.calls import Calls
from sdk_kit import TOKEN, Room, Sink, provider, run, turns


def test_what_the_sdk_raises_beside_its_own_errors_holds_no_token(room: Room) -> None:
    async def scenario() -> None:
        room.failure = ValueError(f"no URL: ws://host?access_token={TOKEN}")
        app = provider()
        with pytest.raises(RoomError, match="ValueError") as caught:
            await app.connect(Sink(), SessionOptions())  # type: ignore[arg-type]
        assert TOKEN not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
        await app.close()

    run(scenario())


def test_calls_are_carried_on_and_undone() -> None:
    async def scenario() -> None:
        calls, undone = Calls(), []

        async def undo(answer: str) -> None:
            undone.append(answer)

        async def answered(answer: asyncio.Future[str]) -> str:
            return await answer

        loop = asyncio.get_running_loop()
        late, cut = loop.create_future(), loop.create_future()
        with pytest.raises(TimeoutError):
            await calls.run(answered(late), 0.0, undo=undo)
        waiting = asyncio.create_task(calls.run(answered(cut), 5.0, undo=undo))
        await turns()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        late.set_result("late")
        cut.set_result("cut")
        await calls.settle(1.0)
        assert undone == ["late", "cut"]
        broken = loop.create_future()
        with pytest.raises(TimeoutError):
            await calls.run(answered(broken), 0.0, undo=undo)
        broken.set_exception(ConnectError("late failure"))
        never = loop.create_future()
        gone = loop.create_future()
        gone.set_result(None)
        with pytest.raises(ConnectionError):
            await calls.run(answered(never), 5.0, gone=gone, undo=undo)
        await calls.settle(0.0)
        assert never.cancelled()
        assert undone == ["late", "cut"]

    run(scenario())


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (UnpublishTrackError(f"no {TOKEN}"), ["UnpublishTrackError: no (token)"]),
        (RoomError("it went with the room"), []),
    ],
    ids=["refused", "the room is over"],
)
def test_what_came_too_late_and_is_not_undone_is_told(
    failure: Exception, told: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """It stays: a track that nobody plays on, a room that nobody leaves."""

    async def scenario() -> None:
        async def answered() -> str:
            return await late

        async def undo(_: str) -> None:
            raise failure

        calls, late = Calls(), asyncio.get_running_loop().create_future()
        with pytest.raises(TimeoutError):
            await calls.run(answered(), 0.0, undo=undo)
        late.set_result("late")
        await calls.settle(1.0)

    run(scenario())
    said = "livekit: what came too late was not undone: "
    assert caplog.messages == [said + text for text in told]


def test_tokens_stay_out_of_the_sdks_log(caplog: pytest.LogCaptureFixture) -> None:
    mapping.scrub_logs()
    mapping.scrub_logs()
    sdk = logging.getLogger("livekit")
    assert sum(type(f).__name__ == "_Scrubber" for f in sdk.filters) == 1
    with caplog.at_level(logging.DEBUG, logger="livekit"):
        sdk.warning("%s - %s", "refused", f"invalid token: {TOKEN}, expired")
        sdk.warning("wss://host/rtc?access_token=secret-value&auto=1")
        sdk.warning("plain %d", 5)
    assert caplog.messages == [
        "refused - invalid token: (token), expired",
        "wss://host/rtc?access_token=(token)&auto=1",
        "plain 5",
    ]


REFUSED = "livekit_ffi::room_apis::server::room - error while connecting to a room: refused"


@pytest.mark.parametrize(
    "text",
    [
        "livekit_ffi::room_apis::server - Attempted to drop unknown FFI handle: 9",
        'failed to negotiate the publisher: Rtc("Called in wrong state: closed")',
        "livekit_rpc::server - Failed to read RPC v2 request stream: PayloadTooLarge",
        "livekit_data_stream::incoming::manager - Stream 'a b' already open",
        "livekit_data_stream::incoming::manager - Invalid header: UnknownType",
        'livekit_signaling - signal connection failed on v1 path: Connection("refused")',
    ],
)
def test_what_the_sdk_says_that_nobody_can_act_on_is_for_debugging(text: str) -> None:
    scrubber = mapping._Scrubber()
    record = logging.LogRecord("livekit", logging.ERROR, "", 0, text, (), None)
    assert not scrubber.filter(record)
    for news in ("the track is gone", "signal_client - Invalid header value", REFUSED):
        other = logging.LogRecord("livekit", logging.ERROR, "", 0, news, (), None)
        assert scrubber.filter(other)
        assert other.levelno == logging.ERROR
