"""What a loss of the connection does to requests: in the order in which the SDK tells of it.

A request that is under way keeps the SDK from telling of the loss: first it is answered, or given
up by us, and `reconnecting` comes after. One that is made while the connection is lost is answered
when it is back, or never.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from livekit import rtc
from livekit.rtc.participant import PublishTrackError, UnpublishTrackError

from loop_kit import VirtualLoop, run_virtual
from ringroom.errors import RoomError
from ringroom.events import EventKind
from ringroom.frames import DataFrame
from ringroom.options import SessionOptions
from ringroom.providers.livekit import line as line_module
from ringroom.providers.livekit.connection import LiveKitProvider
from ringroom.providers.livekit.line import Line
from sdk_kit import VOICE, Room, Sink, provider, raising, run, turns


async def connected(room: Room, **options: float) -> LiveKitProvider:
    app = provider()
    await app.connect(Sink(), SessionOptions(**options))  # type: ignore[arg-type]
    return app


@pytest.mark.parametrize("long", [False, True], ids=["short", "longer than the close waits"])
def test_a_track_that_is_closed_while_the_connection_is_lost_goes_when_it_is_back(
    room: Room, long: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        app = await connected(room, close_timeout=0.1 if long else 600)
        local = room.local_participant
        playout = await app.publish(VOICE)
        publication = local.published[0]
        room.emit("reconnecting")
        closing = asyncio.create_task(playout.close())
        await (closing if long else turns())
        assert local.log == ["published"], "the SDK would never answer, and publish it again"
        assert closing.done() is long
        publication.sid = "TR_new"
        room.emit("reconnected")
        await closing
        await turns()
        assert local.log == ["published", "unpublished TR_new"]
        await app.close()

    run(scenario())
    assert not caplog.messages


def test_a_connection_that_is_lost_again_at_once_is_waited_for(room: Room) -> None:
    async def scenario() -> None:
        line = Line()
        waiting = asyncio.create_task(line.up())
        await turns()
        line.set(True)
        line.set(False)
        await turns()
        assert not waiting.done()
        line.set(True)
        await waiting

    run(scenario())


@pytest.mark.parametrize("ends", ["by itself", "by our close"])
def test_a_track_that_is_closed_in_a_loss_does_not_hold_up_the_end(room: Room, ends: str) -> None:
    async def scenario() -> None:
        app = await connected(room, close_timeout=600)
        playout = await app.publish(VOICE)
        room.emit("reconnecting")
        closing = asyncio.create_task(playout.close())
        await turns()
        if ends == "by itself":
            room.emit("disconnected", rtc.DisconnectReason.UNKNOWN_REASON)
            await closing
        await app.close()
        await closing
        assert room.local_participant.log == ["published"]

    run(scenario())


def test_a_track_that_comes_too_late_and_in_a_loss_is_taken_back_after_it(room: Room) -> None:
    async def scenario() -> None:
        app = await connected(room)
        local = room.local_participant
        local.wait = asyncio.get_running_loop().create_future()
        publishing = asyncio.create_task(app.publish(VOICE))
        await turns()
        publishing.cancel()
        await turns()
        room.emit("reconnecting")
        local.wait.set_result(None)
        await turns()
        assert local.log == ["published"]
        local.published[0].sid = "TR_new"
        room.emit("reconnected")
        await turns()
        assert local.log == ["published", "unpublished TR_new"]
        await app.close()

    run(scenario())


@pytest.mark.parametrize("ends", [True, False], ids=["for the room ends", "though we are in it"])
def test_a_track_that_comes_too_late_and_is_not_taken_back_is_told(
    room: Room, ends: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def unpublish(sid: str) -> None:
        if ends:
            room.emit("disconnected", rtc.DisconnectReason.UNKNOWN_REASON)
            await turns()
        raise UnpublishTrackError(f"no such track: {sid}")

    async def scenario() -> None:
        app = await connected(room)
        local = room.local_participant
        local.unpublish_track = unpublish
        local.wait = asyncio.get_running_loop().create_future()
        publishing = asyncio.create_task(app.publish(VOICE))
        await turns()
        publishing.cancel()
        await turns()
        local.wait.set_result(None)
        await turns()
        await app.close()

    run(scenario())
    stays = "what came too late was not undone: UnpublishTrackError: no such track: TR_own"
    assert caplog.messages == ([] if ends else [f"livekit: {stays}"])


def test_a_right_that_is_taken_away_in_a_loss_refuses_a_track_once_it_is_over(room: Room) -> None:
    async def scenario() -> None:
        app = await connected(room)
        local = room.local_participant
        room.emit("reconnecting")
        publishing = asyncio.create_task(app.publish(VOICE))
        await turns()
        local.permissions.can_publish = False
        await turns()
        assert not publishing.done()
        room.emit("reconnected")
        with pytest.raises(RoomError, match="canPublish"):
            await publishing
        assert local.log == [], "the server does not answer who may not"
        await app.close()

    run(scenario())


def test_a_message_waits_while_the_connection_is_lost(room: Room) -> None:
    async def scenario() -> None:
        app = await connected(room, connect_timeout=0.1)
        room.emit("reconnecting")
        sending = asyncio.create_task(app.send_data(DataFrame(b"x")))
        await asyncio.wait({sending}, timeout=0.2)
        assert not sending.done()
        assert not room.local_participant.log
        room.emit("reconnected")
        await sending
        assert [payload for payload, _ in room.local_participant.log] == [b"x"]
        await app.close()

    run(scenario())


TIMED_OUT = "engine: internal error: track publication timed out, no response received"


def unanswered(room: Room) -> asyncio.Future[None]:
    """What the next messages wait for."""
    room.local_participant.unanswered = asyncio.get_running_loop().create_future()
    return room.local_participant.unanswered


def given_up(sink: Sink) -> bool:
    return sink.log == [("ended", "disconnected", "livekit: no message was taken for 20 s")]


def saying(app: LiveKitProvider) -> asyncio.Task[None]:
    return asyncio.create_task(app.send_data(DataFrame(b"y")))


async def too_long(room: Room, app: LiveKitProvider) -> tuple[asyncio.Future[None], Any]:
    """The answer to a message whose time is just over, and who waits for it. The connection is not
    given up, for it has taken another."""
    answer = unanswered(room)
    sending = saying(app)
    await asyncio.sleep(15.0)
    room.local_participant.unanswered = None
    await app.send_data(DataFrame(b"other"))
    await asyncio.sleep(5.5)
    assert not sending.done()
    return answer, sending


@pytest.mark.parametrize("told", ["in time", "late"])
def test_a_message_that_a_loss_overtakes_is_sent_once_and_not_refused(
    room: Room, told: str
) -> None:
    """The SDK has it, and sends it when the connection is back."""

    async def scenario(_: VirtualLoop) -> None:
        app = await connected(room, connect_timeout=0.1)
        if told == "late":
            answer, sending = await too_long(room, app)
        else:
            answer, sending = unanswered(room), saying(app)
            await turns()
        room.emit("reconnecting")
        await asyncio.sleep(30.0)
        room.emit("reconnected")
        assert not sending.done()
        answer.set_result(None)
        await sending
        assert [payload for payload, _ in room.local_participant.log].count(b"y") == 1
        await app.close()

    run_virtual(scenario)


def test_a_message_that_is_taken_late_is_through_at_once(room: Room) -> None:
    """Also while a loss is waited for, which does not come."""

    async def scenario(loop: VirtualLoop) -> None:
        app = await connected(room, connect_timeout=0.1)
        answer, sending = await too_long(room, app)
        before = loop.time()
        answer.set_result(None)
        await sending
        assert loop.time() == before
        await app.close()

    run_virtual(scenario)


def test_a_message_that_is_not_taken_without_a_loss_is_refused(room: Room) -> None:
    """A loss gives it its time once more, and not for ever."""

    async def scenario(loop: VirtualLoop) -> None:
        app = await connected(room, connect_timeout=0.1)
        before = loop.time()
        answer, sending = await too_long(room, app)
        room.emit("reconnecting")
        room.emit("reconnected")
        await asyncio.sleep(10.0)
        await app.send_data(DataFrame(b"other"))
        with pytest.raises(RoomError, match="not taken in time") as caught:
            await sending
        assert caught.value.reason == "data_refused"
        assert loop.time() - before == pytest.approx(41.5, abs=0.1)
        answer.set_result(None)
        await app.close()

    run_virtual(scenario)


@pytest.mark.parametrize("timeout", [2.0, 60.0])
@pytest.mark.parametrize("cancelled", [False, True], ids=["", "and its sender has gone"])
def test_a_connection_that_takes_no_message_any_more_is_given_up(
    room: Room, timeout: float, cancelled: bool
) -> None:
    """While one waits, the SDK does not begin to reconnect: nothing else would tell."""

    async def scenario(_: VirtualLoop) -> None:
        app, sink = provider(), Sink()
        await app.connect(sink, SessionOptions(connect_timeout=timeout))  # type: ignore[arg-type]
        unanswered(room)
        first = saying(app)
        await asyncio.sleep(12.0)
        second = saying(app)
        if cancelled:
            for task in (first, second):
                task.cancel()
        await asyncio.sleep(7.9)
        assert not sink.log
        await asyncio.sleep(0.2)
        assert given_up(sink)
        assert [event.reason for event in sink.events if event.kind is EventKind.DATA_FAILED] == [
            "livekit: some 2 MiB of messages that were taken before may not have arrived"
        ], "they count as sent"
        outcomes = await asyncio.gather(first, second, return_exceptions=True)
        if not cancelled:
            # Nobody has refused them: those behind them wait for the next room.
            assert [getattr(one, "reason", "") for one in outcomes] == ["disconnected"] * 2
        await app.close()

    run_virtual(scenario)


def test_a_connection_is_given_up_so_long_after_the_last_message_that_it_took(room: Room) -> None:
    async def scenario(loop: VirtualLoop) -> None:
        app, sink = provider(), Sink()
        await app.connect(sink, SessionOptions(connect_timeout=60.0))  # type: ignore[arg-type]
        answer = unanswered(room)
        first = saying(app)
        await asyncio.sleep(5.0)
        unanswered(room)
        second = saying(app)
        await asyncio.sleep(6.0)
        answer.set_result(None)
        await first
        await asyncio.sleep(19.9)
        assert not sink.log
        assert not second.done()
        await asyncio.sleep(0.2)
        assert given_up(sink)
        with pytest.raises(RoomError, match="has ended"):
            await second
        await app.close()

    run_virtual(scenario)


@pytest.mark.parametrize("what", ["it is answered", "a loss is told", "it is closed", "it ends"])
def test_a_connection_that_shows_life_is_not_given_up(room: Room, what: str) -> None:
    async def scenario(_: VirtualLoop) -> None:
        app, sink = provider(), Sink()
        await app.connect(sink, SessionOptions(connect_timeout=7.0))  # type: ignore[arg-type]
        answer = unanswered(room)
        sending = saying(app)
        await asyncio.sleep(10.0)
        if what == "it is answered":
            answer.set_result(None)
        elif what == "a loss is told":
            room.emit("reconnecting")
            await asyncio.sleep(60.0)
            room.emit("reconnected")
            answer.set_result(None)
        elif what == "it ends":
            room.emit("disconnected", rtc.DisconnectReason.ROOM_DELETED)
        else:
            await app.close()
        await asyncio.sleep(60.0)
        assert [entry[0] for entry in sink.log] == (["ended"] if what == "it ends" else [])
        assert not any("no message" in str(entry) for entry in sink.log)
        assert EventKind.DATA_FAILED not in sink.kinds()
        await asyncio.wait({sending})
        assert (sending.exception() is None) is (what in ("it is answered", "a loss is told"))
        await app.close()

    run_virtual(scenario)


@pytest.mark.parametrize("failure", ["", TIMED_OUT])
def test_a_track_that_fails_for_a_loss_that_is_not_told_yet_is_asked_for_again(
    room: Room, failure: str
) -> None:
    async def scenario(loop: VirtualLoop) -> None:
        app = await connected(room, connect_timeout=600 if failure else 0.1)
        local = room.local_participant
        first = local.wait = loop.create_future()
        publishing = asyncio.create_task(app.publish(VOICE))
        await asyncio.sleep(12.0)
        local.wait = None
        if failure:
            first.set_exception(PublishTrackError(failure))
        await asyncio.sleep(0.9)
        assert not publishing.done()
        room.emit("reconnecting")
        await turns()
        assert not local.log
        room.emit("reconnected")
        await publishing
        assert local.log == ["published"]
        if not failure:
            first.set_result(None)
            await turns()
            assert local.log == ["published", "published", "unpublished TR_own"], "it came twice"
        await app.close()

    run_virtual(scenario)


def test_a_track_is_not_refused_for_a_loss_that_is_told_late(room: Room) -> None:
    """By then the SDK itself has given the request up, which takes it 10 s. Who is in a hurry to
    join has no reason to lose a track."""

    async def scenario(loop: VirtualLoop) -> None:
        app = await connected(room, connect_timeout=2.0)
        local = room.local_participant
        local.wait = loop.create_future()
        publishing = asyncio.create_task(app.publish(VOICE))
        await asyncio.sleep(10.0)
        local.wait.set_exception(PublishTrackError(TIMED_OUT))
        local.wait = None
        await turns()
        room.emit("reconnecting")
        await asyncio.sleep(3.0)
        room.emit("reconnected")
        await publishing
        assert local.log == ["published"]
        await app.close()

    run_virtual(scenario)


@pytest.mark.parametrize(("patience", "seconds"), [(2.0, 13.0), (30.0, 31.0)])
def test_a_track_that_is_never_answered_is_refused(
    room: Room, patience: float, seconds: float
) -> None:
    async def scenario(loop: VirtualLoop) -> None:
        app = await connected(room, connect_timeout=patience)
        room.local_participant.wait = loop.create_future()
        before = loop.time()
        with pytest.raises(RoomError, match="did not answer"):
            await app.publish(VOICE)
        assert loop.time() - before == pytest.approx(seconds, abs=0.1)
        await app.close()

    run_virtual(scenario)


def test_a_message_is_not_refused_while_a_loss_may_still_be_told(room: Room) -> None:
    """The SDK has it, and sends it when the connection is back."""

    async def scenario(loop: VirtualLoop) -> None:
        app, sink = provider(), Sink()
        await app.connect(sink, SessionOptions(connect_timeout=2.0))  # type: ignore[arg-type]
        answer = unanswered(room)
        sending = saying(app)
        await asyncio.sleep(15.0)
        room.emit("reconnecting")
        await asyncio.sleep(30.0)
        room.emit("reconnected")
        answer.set_result(None)
        await sending
        assert not sink.log
        await app.close()

    run_virtual(scenario)


def test_a_track_that_fails_as_the_room_ends_is_refused_by_nobody(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_module, "TOLD_WITHIN", 60.0)

    async def scenario() -> None:
        app = await connected(room)
        room.local_participant.answer = raising(PublishTrackError(TIMED_OUT))
        publishing = asyncio.create_task(app.publish(VOICE))
        await turns()
        room.emit("disconnected", rtc.DisconnectReason.UNKNOWN_REASON)
        with pytest.raises(RoomError) as caught:
            await publishing
        assert caught.value.reason == "disconnected"
        await app.close()

    run(scenario())


def test_a_track_that_is_not_answered_for_want_of_a_right_is_refused_for_that(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_module, "TOLD_WITHIN", 0.0)

    def unanswered() -> None:
        room.local_participant.permissions.can_publish = False
        raise PublishTrackError(TIMED_OUT)

    async def scenario() -> None:
        app = await connected(room)
        room.local_participant.answer = unanswered
        with pytest.raises(RoomError, match="canPublish"):
            await app.publish(VOICE)
        await app.close()

    run(scenario())


@pytest.mark.parametrize("text", [TIMED_OUT, "engine: signal error: not allowed"])
def test_a_track_that_fails_without_a_loss_is_refused(
    room: Room, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, if the server has answered."""
    monkeypatch.setattr(line_module, "TOLD_WITHIN", 0.0 if text == TIMED_OUT else 600.0)

    async def scenario() -> None:
        app = await connected(room)
        room.local_participant.answer = raising(PublishTrackError(text))
        with pytest.raises(RoomError) as caught:
            await app.publish(VOICE)
        assert caught.value.reason == "publish_refused"
        await app.close()

    run(scenario())
