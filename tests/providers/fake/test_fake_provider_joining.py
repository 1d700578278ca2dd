"""Joining and closing, over both ways in: refused, twice, again, or never."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from fake_kit import Opener, RememberingSink, audio_track, connected, open_directly, run, wait

from ringroom.errors import ClosedError, RoomError
from ringroom.frames import AudioFrame, DataFrame
from ringroom.options import SessionOptions
from ringroom.testing import FakeRoom, sources


@pytest.mark.parametrize("reason", ["unauthorized", "unreachable"])
def test_the_room_refuses_to_let_us_in(room: FakeRoom, open_provider: Opener, reason: str) -> None:
    room.refuse_connects(reason)

    async def test() -> None:
        provider = open_provider(room, "app")
        with pytest.raises(RoomError, match="refuses") as raised:
            await provider.connect(RememberingSink(), SessionOptions())
        assert raised.value.reason == reason
        await provider.close()
        assert not room.applications
        room.accept_connects()
        async with connected(open_provider(room, "app")):
            await wait(room.wait_for_app)

    run(test())


def test_a_room_that_does_not_answer(room: FakeRoom, open_provider: Opener) -> None:
    room.refuse_connects("timeout")

    async def test() -> None:
        provider = open_provider(room, "app")
        with pytest.raises(RoomError) as raised:
            await provider.connect(RememberingSink(), SessionOptions(connect_timeout=0.1))
        assert raised.value.reason == "timeout"
        await provider.close()

    run(test())


def test_the_same_identity_puts_the_earlier_one_out(room: FakeRoom, open_provider: Opener) -> None:
    async def test() -> None:
        one, other = open_provider(room, "app"), open_provider(room, "app")
        async with connected(one) as (_, first), connected(other):
            await first.until(lambda: first.end)
            assert first.end == ("another participant joined with the same identity", "")
            assert room.application.joined
            assert room.application.joins == 2

    run(test())


def test_two_applications_hear_each_other(room: FakeRoom, open_provider: Opener) -> None:
    sound = sources.noise(0.2, 16_000, seed=2)

    async def test() -> None:
        one, other = open_provider(room, "one"), open_provider(room, "other")
        async with connected(one) as (speaker, heard_nothing), connected(other) as (_, sink):
            playout = await speaker.publish(audio_track())
            await playout.play(AudioFrame(sound, 16_000))
            await sink.until(lambda: sink.tracks and len(sink.tracks[0].frames) == 10)
            assert np.array_equal(sink.tracks[0].samples, sound[:, 0])
            await speaker.send_data(DataFrame(b"hello", to=("other",)))
            await sink.until(lambda: sink.messages)
            assert not heard_nothing.tracks
            assert {*room.applications} == {"one", "other"}
            with pytest.raises(LookupError, match="2 applications"):
                _ = room.application
            await wait(room.wait_for_audio, "out", 0.2, app="one")
            await wait(room.wait_for_app, "other")

    run(test())


def test_recordings_go_on_when_the_application_comes_again(
    room: FakeRoom, open_provider: Opener
) -> None:
    async def test() -> None:
        for seconds in (0.1, 0.2):
            async with connected(open_provider(room, "app")) as (provider, _):
                playout = await provider.publish(audio_track())
                await playout.play(AudioFrame(bytes(3_200), 16_000))
                heard = await wait(room.wait_for_audio, "out", seconds)
                await asyncio.sleep(playout.queued() + 0.03)
        assert [gap.seconds >= 0.03 for gap in heard.gaps()] == [True]  # type: ignore[attr-defined]

    run(test())


def test_closing_is_idempotent_and_final(room: FakeRoom, open_provider: Opener) -> None:
    async def test() -> None:
        provider, sink = open_provider(room, "app"), RememberingSink()
        await provider.connect(sink, SessionOptions())
        with pytest.raises(RoomError, match="used once"):
            await provider.connect(sink, SessionOptions())
        await provider.close()
        await provider.close()
        with pytest.raises(ClosedError):
            await provider.publish(audio_track())
        with pytest.raises(ClosedError):
            await provider.send_data(DataFrame(b"x"))
        with pytest.raises(ClosedError):
            await provider.connect(sink, SessionOptions())
        assert sink.end is None

    run(test())


def test_a_provider_that_never_connected_closes(room: FakeRoom, open_provider: Opener) -> None:
    async def test() -> None:
        provider = open_provider(room, "app")
        with pytest.raises(RoomError, match="not connected"):
            await provider.publish(audio_track())
        await provider.close()

    run(test())


def test_a_sink_that_raises_ends_the_connection_and_says_so(
    room: FakeRoom, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(RememberingSink):
        def data(self, frame: DataFrame) -> None:
            raise ZeroDivisionError("oops")

    async def test() -> None:
        async with connected(open_directly(room), Broken()) as (_, sink):
            room.join("alice").send_data(b"x")
            await sink.until(lambda: sink.end)
            assert sink.end == ("failed", "fake: ZeroDivisionError: oops")
            assert "the sink failed" in caplog.text

    run(test())
