"""What an application may get wrong with a transport that is open: each call refuses it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import ringroom
from app_kit import descriptors, opened, sound
from refusal_kit import INF, NAN, PCM, refuses
from ringroom.client import Transport
from ringroom.errors import BusyError, ClosedError, ConfigurationError, FrameError
from ringroom.frames import AudioFrame, VideoFrame
from ringroom.pool import PoolOptions
from ringroom.testing import FakeRoom

NO_TIME = ("1", NAN, INF, True, [1], 10**7)


@pytest.fixture
def transport(fake_room: FakeRoom) -> Iterator[Transport]:
    with opened(fake_room, kinds=("audio", "data")) as made:
        yield made


@pytest.mark.parametrize("frame", [None, PCM, "x", 5, [sound(0.01)], AudioFrame])
def test_what_is_sent_is_a_frame(transport: Transport, frame: Any) -> None:
    refuses(FrameError, "cannot send a", lambda: transport.send(frame))
    refuses(FrameError, "cannot send a", lambda: transport.send_nowait(frame))


@pytest.mark.parametrize("publish", ["live", 5, {"mode": "live"}, PoolOptions()])
def test_publish_options_are_some(transport: Transport, publish: Any) -> None:
    before = descriptors()
    for _ in range(2):  # the first time opened a track once, whose frames then waited for ever
        refuses(
            ConfigurationError,
            "PublishOptions",
            lambda: transport.send(sound(0.01), publish=publish),
        )
    assert descriptors() == before


def spoiled(**fields: Any) -> AudioFrame:
    frame = sound(0.01)
    for name, value in fields.items():
        setattr(frame, name, value)
    return frame


@pytest.mark.parametrize(
    "fields",
    [
        {"samples": "x"},
        {"samples": np.zeros((160, 1), np.float32)},  # was sent as silence
        {"samples": np.full((160, 1), 70_000, np.int32)},  # was sent, wrapped
        {"samples": np.zeros((160, 1), ">i2")},
        {"samples": np.zeros(160, np.int16)},
        {"samples": np.zeros((160, 3), np.int16)},
        {"samples": np.zeros((0, 1), np.int16)},
        {"sample_rate": 0},
        {"sample_rate": "16000"},
        {"track": 5},
        {"track": ["a"]},
    ],
)
def test_a_frame_that_was_spoiled_after_it_was_made(
    transport: Transport, fields: dict[str, Any]
) -> None:
    refuses(FrameError, "the ", lambda: transport.send(spoiled(**fields)))
    assert transport.stats().sent.sent == 0


def test_a_picture_that_was_spoiled_after_it_was_made(transport: Transport) -> None:
    for name, value in (
        ("data", np.zeros(5, np.uint8)),
        ("data", np.zeros(6, np.int16)),
        ("data", bytes(6)),
        ("width", "2"),
        ("height", None),
        ("width", 2.0),
        ("rotation", 45),
        ("timestamp_us", 1.5),
        ("track", 5),
    ):
        picture = VideoFrame(bytes(6), 2, 2)
        setattr(picture, name, value)
        refuses(FrameError, "picture|the |is ", lambda frame=picture: transport.send(frame))  # type: ignore[misc]
    assert transport.stats().sent.sent == 0


@pytest.mark.parametrize("timeout", NO_TIME)
def test_timeouts_are_seconds(transport: Transport, timeout: Any) -> None:
    calls: tuple[Callable[[], Any], ...] = (
        lambda: transport.send(sound(0.01), timeout=timeout),
        lambda: transport.send_data(b"x", timeout=timeout),
        lambda: transport.flush(timeout=timeout),
        lambda: transport.wait_playout(timeout=timeout),
        lambda: transport.recv(timeout=timeout),
    )
    for call in calls:
        refuses(ConfigurationError, "timeout is", call)
    transport.recv().close()  # no receiver was left with the kinds


def test_a_time_that_is_over_already(transport: Transport) -> None:
    with pytest.raises(TimeoutError):
        next(transport.recv(timeout=-1))


@pytest.mark.parametrize("name", [5, b"x", ["a"], True])
def test_names_of_tracks_are_text(transport: Transport, name: Any) -> None:
    for call in (transport.flush, transport.played, transport.wait_playout, transport.audio_out):
        refuses(FrameError, "the track name", lambda call=call: call(name))  # type: ignore[misc]


@pytest.mark.parametrize("payload", [None, 5, ["a"], bytearray(b"x"), "\ud800", bytes(62_001)])
def test_messages_that_are_none(transport: Transport, payload: Any) -> None:
    refuses(FrameError, "payload", lambda: transport.send_data(payload))


def test_a_message_is_bytes_or_text(transport: Transport) -> None:
    given: Any = {"a": 1}
    refuses(FrameError, "type dict, expected bytes or text", lambda: transport.send_data(given))


@pytest.mark.parametrize("to", ["ann", 5, None, [5], [b"ann"], [""], ["\ud800"], ["x" * 1025]])
def test_destinations_that_are_none(transport: Transport, to: Any) -> None:
    refuses(FrameError, "destination", lambda: transport.send_data(b"x", to=to))


@pytest.mark.parametrize("rate", [0, -1, "16000", True, 16_000.5, 300_000])
def test_a_streams_rate(transport: Transport, rate: Any) -> None:
    refuses(FrameError, "sample rate", lambda: transport.audio_out(sample_rate=rate))


@pytest.mark.parametrize(
    "pcm", [None, "x", 5, [1], b"x", np.zeros(4, np.float32), np.zeros(4, np.int32)]
)
def test_a_stream_takes_pcm(transport: Transport, pcm: Any) -> None:
    out = transport.audio_out()
    refuses(FrameError, "PCM|samples", lambda: out.write(pcm))
    assert transport.stats().sent.sent == 0


def test_a_stream_takes_int16_of_any_layout(transport: Transport) -> None:
    out = transport.audio_out()
    wide = np.arange(8, dtype=np.int16)
    assert out.write(wide) == 16
    assert out.write(memoryview(wide)[::2]) == 8


@pytest.mark.parametrize("kinds", ["audio", 5, ["video"], ["smell"], [5], [None], [["audio"]], ()])
def test_kinds_to_receive(transport: Transport, kinds: Any) -> None:
    refuses(ConfigurationError, "kinds=", lambda: transport.recv(kinds=kinds))


def test_a_kind_that_is_no_tuple_is_not_told_as_one_that_was_not_asked_for(
    transport: Transport,
) -> None:
    expected = r"recv of 'audio', expected a tuple such as \('audio',\); .* with kinds="
    refuses(ConfigurationError, expected, lambda: transport.recv(kinds="audio"))


def test_who_only_sends_receives_nothing_and_does_not_wait_for_it(fake_room: FakeRoom) -> None:
    with ringroom.transport("fake", room=fake_room, io="thread", kinds=()) as t:
        refuses(ConfigurationError, "recv of no kinds", t.recv)
        t.send_data(b"x")


@pytest.mark.parametrize("participants", ["ann", 5, [5], [None], [["a"]], [b"a"], ["\ud800"]])
def test_participants_to_receive(transport: Transport, participants: Any) -> None:
    refuses(ConfigurationError, "participants", lambda: transport.recv(participants=participants))
    transport.recv().close()


def test_a_transport_opens_once(transport: Transport) -> None:
    refuses(ClosedError, "opens once", transport.open)
    transport.close()
    refuses(ClosedError, "opens once", transport.open)
    refuses(ClosedError, "closed", transport.__enter__)


@pytest.mark.parametrize("wrapped", [None, 5, "livekit"])
def test_only_a_transport_is_narrowed(wrapped: Any) -> None:
    refuses(ConfigurationError, "expected what", lambda: ringroom.as_voice_transport(wrapped))


def test_asyncio_refuses_the_same_and_other_loops(fake_room: FakeRoom) -> None:
    async def main() -> None:
        options: dict[str, Any] = {"io": "thread", "kinds": ("audio", "data")}
        async with ringroom.aio.transport("fake", room=fake_room, **options) as t:
            with pytest.raises(FrameError, match="cannot send a"):
                await t.send(PCM)  # type: ignore[arg-type]
            with pytest.raises(ConfigurationError, match="PublishOptions"):
                await t.send(sound(0.01), publish="live")  # type: ignore[arg-type]
            with pytest.raises(FrameError, match="destination"):
                await t.send_data(b"x", to=5)  # type: ignore[arg-type]
            with pytest.raises(FrameError, match="the track name"):
                await t.flush(5)  # type: ignore[arg-type]
            with pytest.raises(ConfigurationError, match="kinds="):
                t.recv(kinds=5)  # type: ignore[arg-type]
            with pytest.raises(ConfigurationError, match="participants"):
                t.recv(participants="ann")
            receiver = t.recv()
            for call in (
                lambda: t.send(sound(0.01)),
                t.flush,
                t.wait_playout,
                t.close,
                lambda: anext(receiver),
            ):
                with pytest.raises(BusyError, match="another event loop"):
                    await asyncio.to_thread(_on_a_loop_of_its_own, call)

    asyncio.run(main())


def _on_a_loop_of_its_own(call: Callable[[], Any]) -> None:
    async def run() -> None:
        await call()

    asyncio.run(run())


def test_an_empty_name_is_no_track_of_ours(fake_room: FakeRoom) -> None:
    """It was taken for the lane of our messages, which ended."""
    with ringroom.transport("fake", room=fake_room, io="thread") as t:
        t.send_data("one")
        for call in (t.flush, t.wait_playout, t.unpublish, t.played, t.mute, t.unmute):
            with pytest.raises(FrameError, match="track name is empty; leave it out"):
                call("")
        t.send_data("two")
        assert [one.payload for one in fake_room.wait_for_data(count=2)] == [b"one", b"two"]
