"""What an application may get wrong: each call refuses it with an error of ours that names what was
expected, and leaves nothing behind.

Options and frames have tables of their own (test_options, test_frames, test_livekit_spec); here are
the calls, and what only shows once a transport is open.
"""

from __future__ import annotations

import asyncio
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ringroom
from app_kit import descriptors, opened, sound
from ringroom.client import Transport
from ringroom.errors import (
    BusyError,
    ClosedError,
    ConfigurationError,
    FrameError,
    RingroomError,
)
from ringroom.frames import AudioFrame, DataFrame, Kind, Participant, TrackInfo, VideoFrame
from ringroom.pool import Pool, PoolOptions
from ringroom.processor import Processor
from ringroom.providers.registry import build, register
from ringroom.testing import FakeRoom

NAN, INF = float("nan"), float("inf")
PCM = b"\0\0"
TRACK = TrackInfo(sid="TR", name="mic", kind=Kind.AUDIO, participant="ann")
NO_TEXT = (5, b"x", ["a"], True, object(), np.zeros(2))
NO_TIME = ("1", NAN, INF, True, [1], 10**7)


def refuses(kind: type[RingroomError], match: str, call: Callable[[], Any]) -> None:
    with pytest.raises(kind, match=match) as caught:
        call()
    assert type(caught.value) is kind


# Values.


@pytest.mark.parametrize("track", [*NO_TEXT, "a\0b", "\ud800", "x" * 257])
def test_a_frame_names_its_track_by_text(track: Any) -> None:
    refuses(FrameError, "the track name", lambda: AudioFrame(PCM, 16_000, track=track))
    refuses(FrameError, "the track name", lambda: VideoFrame(bytes(6), 2, 2, track=track))
    refuses(FrameError, "the track name", lambda: AudioFrame(PCM, 16_000).replace(track=track))


def test_a_frame_that_answers_carries_the_track_itself() -> None:
    assert AudioFrame(PCM, 16_000, track=TRACK).track is TRACK


@pytest.mark.parametrize("factor", ["2", None, True, 1j, [1], NAN, INF, 10**400])
def test_a_gain_is_a_finite_number(factor: Any) -> None:
    refuses(FrameError, "a gain of", lambda: AudioFrame(PCM, 16_000).gain(factor))


def test_a_gain_of_any_kind_of_number() -> None:
    frame = AudioFrame(np.array([100], np.int16), 16_000)
    assert [int(frame.gain(f).samples[0, 0]) for f in (2, 2.0, np.float32(2), np.int8(2))] == [
        200
    ] * 4


def test_a_frame_is_no_file() -> None:
    endless = np.broadcast_to(np.int16(0), (1 << 40,))  # takes no memory, a copy of it would
    refuses(FrameError, "in pieces", lambda: AudioFrame(endless, 16_000))


@pytest.mark.parametrize("reliable", ["yes", 1, None])
def test_a_message_is_reliable_or_not(reliable: Any) -> None:
    refuses(FrameError, "True or False", lambda: DataFrame(b"", reliable=reliable))


# Options that are checked together with others.


@pytest.mark.parametrize("name", ["start_timeout", "drain_timeout"])
@pytest.mark.parametrize("value", ["1", None, True, -1, NAN, INF])
def test_a_pools_times_are_seconds(name: str, value: Any) -> None:
    refuses(ConfigurationError, name, lambda: PoolOptions(**{name: value}))


@pytest.mark.parametrize(
    ("provider", "missing"), [("fake", "fake: room is required"), ("replay", "path is required")]
)
def test_what_a_provider_cannot_do_without(provider: str, missing: str) -> None:
    refuses(ConfigurationError, missing, lambda: ringroom.transport(provider))


def test_options_whose_names_are_no_text() -> None:
    config = ringroom.TransportConfig(url="ws://host", token="t", extra={5: 1})  # type: ignore[dict-item]
    refuses(ConfigurationError, "unknown option 5", lambda: ringroom.transport("livekit", config))


def test_a_token_in_the_wrong_place_is_not_quoted() -> None:
    token = "hunter2." * 40 + "signature"
    for call in (
        lambda: ringroom.transport(token),
        lambda: ringroom.transport("fake", room=token),
        lambda: ringroom.PublishOptions(mode=token),  # type: ignore[arg-type]
        lambda: ringroom.LiveKit(url="ws://host", token="t", sdk_path=token),
    ):
        with pytest.raises(RingroomError) as caught:
            call()
        assert "signature" not in str(caught.value)


@pytest.mark.parametrize("io", [None, 5, "threads", np.zeros(2), ["thread"]])
def test_where_the_connection_lives(fake_room: FakeRoom, io: Any) -> None:
    refuses(ConfigurationError, "io is", lambda: ringroom.transport("fake", room=fake_room, io=io))


@pytest.mark.parametrize("provider", [None, 5, b"fake", ["fake"], ringroom.LiveKit, FakeRoom])
def test_providers_that_are_none(provider: Any) -> None:
    refuses(ConfigurationError, "expected a name", lambda: build(provider, {}))
    refuses(ConfigurationError, "expected a name", lambda: ringroom.aio.transport(provider))


@pytest.mark.parametrize("registered", [None, 5, int, "Fake"])
def test_registrations_that_are_none(registered: Any) -> None:
    refuses(ConfigurationError, "expected a subclass", lambda: register("mine", registered))


class NeedsAModel(Processor):
    def __init__(self, model: str) -> None:
        self.model = model


class Asynchronous(Processor):
    async def process(self, frame: Any) -> None:  # type: ignore[override]
        return None


class Hasty(Processor):
    mode = "fast"  # type: ignore[assignment]


class Spelt(Processor):
    kinds = "audio"


class Short(Processor):
    def open(self) -> None:  # type: ignore[override]
        pass


class Startless(Processor):
    def start(self) -> None:  # type: ignore[override]
        pass


class Numb(Processor):
    process = 5  # type: ignore[assignment]


class Deaf(Processor):
    kinds = ("smell",)


async def asynchronous(frame: Any) -> Any:
    return frame


async def generating(frame: Any) -> Any:
    yield frame


@pytest.mark.parametrize(
    ("processor", "match"),
    [
        (None, "expected a function"),
        ("module:name", "expected a function"),
        (int, "derive from it"),
        (NeedsAModel, "hand over an instance"),
        (Asynchronous, "process is async"),
        (asynchronous, "process is async"),
        (generating, "process is async"),
        (Hasty, "mode is 'fast'"),
        (Deaf, "kinds has 'smell'"),
        (Spelt, "kinds is 'audio'"),
        (lambda: None, "the processor's process: .*expected a function of a frame"),
        (lambda frame, track: None, "the processor's process: .*'track'"),
        (Short, "the processor's open: .*expected a function of a track"),
        (Numb, "the processor's process is 5, expected a function of a frame"),
        (Startless, "the processor's start: .*expected a function of a Context"),
        ((lambda lines: lambda frame: next(lines))(line for line in ""), "cannot be sent"),
    ],
)
def test_processors_that_are_none(fake_room: FakeRoom, processor: Any, match: str) -> None:
    refuses(ConfigurationError, match, lambda: Pool(processor, "fake", room=fake_room))


@pytest.mark.parametrize("member", [None, 5, [asynchronous], Spelt, Short, asynchronous])
def test_chains_of_what_is_none(member: Any) -> None:
    refuses(ConfigurationError, "expected", lambda: ringroom.chain(lambda frame: frame, member))


@pytest.mark.parametrize("name", ["on_event", "on_error"])
@pytest.mark.parametrize("call", [5, "log", asynchronous, lambda: None, lambda a, b: None])
def test_callbacks_of_a_pool(name: str, call: Any) -> None:
    refuses(ConfigurationError, f"{name}.* expected", lambda: PoolOptions(**{name: call}))


def test_a_pool_that_does_not_run(fake_room: FakeRoom) -> None:
    pool = Pool(lambda frame: frame, "fake", room=fake_room, io="thread")
    assert "not connected" in repr(pool)
    assert pool.stats().lanes == ()
    refuses(ClosedError, "use `with`", lambda: pool.send(sound(0.01)))
    refuses(ClosedError, "use `with`", pool.wait)
    refuses(ConfigurationError, "timeout", lambda: pool.wait(timeout="1"))  # type: ignore[arg-type]


# Recordings.


@pytest.mark.parametrize("path", [None, 5, b"call.mcap", "", "a\0b", "\ud800"])
def test_paths_that_are_none(path: Any) -> None:
    pytest.importorskip("mcap")
    refuses(ConfigurationError, "path", lambda: ringroom.Recorder(path))
    refuses(ConfigurationError, "path", lambda: ringroom.recording.Reader(path))
    refuses(ConfigurationError, "replay: .*path", lambda: ringroom.Replay(path=path))


@pytest.mark.parametrize("size", [0, -1, "1", None, True, 1.5])
def test_a_recorders_queue_has_a_size(tmp_path: Path, size: Any) -> None:
    pytest.importorskip("mcap")
    file = tmp_path / "call.mcap"
    refuses(ConfigurationError, "queue_bytes", lambda: ringroom.Recorder(file, queue_bytes=size))
    assert not file.exists()


# A transport that is open.


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


@pytest.mark.parametrize("kinds", ["audio", 5, ["video"], ["smell"], [5], [None], [["audio"]]])
def test_kinds_to_receive(transport: Transport, kinds: Any) -> None:
    refuses(ConfigurationError, "kinds=", lambda: transport.recv(kinds=kinds))


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


def test_a_fork_does_not_take_a_transport_along(fake_room: FakeRoom) -> None:
    with ringroom.transport("fake", room=fake_room) as t:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks with threads about
            child = os.fork()
        if not child:
            code = 1
            try:
                t.send(sound(0.01))
            except ClosedError as error:
                t.close()  # this once ended the parent's connection
                t._connection.close_host()
                code = 0 if "open one here" in str(error) else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        t.send(sound(0.01))
        t.wait_playout(timeout=10)


def test_what_was_made_before_a_fork_does_not_start_after_it() -> None:
    """It could not be closed there: what it holds belongs to the parent."""
    pool = ringroom.Pool(lambda frame: None, ringroom.Fake(room="r"), workers=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks with threads about
        child = os.fork()
    if not child:
        code = 1
        try:
            with pool:
                pass
        except ClosedError as error:
            code = 0 if "this Pool was made in another process" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_fork_does_not_end_the_standby() -> None:
    with ringroom.IOProcess() as host:
        host.keep_standby("ringroom")
        standby = host.standby_pid
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if not child:
            code = 1
            try:
                host.close()
                code = 0 if host.standby_pid == standby else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


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


# The room of the tests.


@pytest.mark.parametrize(
    "fields",
    [
        {"identity": ""},
        {"identity": 5},
        {"name": 5},
        {"metadata": "\ud800"},
        {"metadata": "x" * 600_000},
        {"attributes": 5},
        {"attributes": np.zeros(2)},
        {"attributes": {"a": 5}},
        {"attributes": {5: "a"}},
    ],
)
def test_people_that_no_server_lets_in(fake_room: FakeRoom, fields: dict[str, Any]) -> None:
    refuses(FrameError, "the ", lambda: fake_room.join(**{"identity": "ann", **fields}))
    assert fake_room.participants == ()


def test_what_a_participant_cannot_become(fake_room: FakeRoom) -> None:
    ann = fake_room.join("ann")
    before = ann.info
    for call in (ann.set_name, ann.set_metadata, ann.set_attributes):
        for value in (5, None, "\ud800"):
            refuses(FrameError, "the ", lambda call=call, value=value: call(value))  # type: ignore[misc]
    assert ann.info == before
    refuses(FrameError, "width", lambda: ann.publish_video("camera", 0, 2))
    refuses(FrameError, "channels", lambda: ann.publish_audio("mic", 16_000, "x"))  # type: ignore[arg-type]
    refuses(FrameError, "no picture", lambda: ann.publish_video().show(PCM))  # type: ignore[arg-type]
    refuses(FrameError, "a frequency", lambda: ann.publish_audio().tone(NAN))


@pytest.mark.parametrize("value", ["x", None, NAN, True, -1, 1j, [1], np.zeros(2)])
def test_times_of_the_kit_are_numbers(fake_room: FakeRoom, value: Any) -> None:
    """They reached the room's thread, and ended it."""
    ann = fake_room.join("ann")
    mic = ann.publish_audio()
    faults = fake_room.faults
    calls: list[Callable[[], Any]] = [
        lambda: mic.tone(seconds=0.01, speed=value),
        lambda: faults.late(value),
        lambda: faults.bursts(value),
        lambda: faults.slow_connect(value),
        lambda: faults.slow_subscribing(value),
        lambda: faults.publish_refused().lasting(value),
        lambda: faults.out_of_order(value),
    ]
    if value is not None:  # it is never noticed
        calls.append(lambda: ann.vanish(value))
    if not isinstance(value, int) or value is True:  # the other way round is a drift too
        calls.append(lambda: faults.drift(value))
    for call in calls:
        refuses(ConfigurationError, "expected", call)
    for speech in (lambda: mic.silence(value), lambda: mic.noise(value), lambda: mic.count(value)):
        refuses(FrameError, "expected", speech)  # type: ignore[arg-type]
    mic.tone(seconds=0.02, speed=50, wait=True)  # the room goes on


def test_what_a_room_is_made_with() -> None:
    for clock in (5, "now", FakeRoom):
        refuses(ConfigurationError, "clock is", lambda clock=clock: FakeRoom(clock=clock))  # type: ignore[misc]
    for kept in ("x", -1, 1.5, None, True):
        refuses(ConfigurationError, "kept", lambda kept=kept: FakeRoom(kept_pictures=kept))  # type: ignore[misc]


def test_a_person_in_a_room_may_say_anything_that_is_text() -> None:
    person = Participant(identity="ann", name="\0", metadata="{}")
    with FakeRoom() as room:
        assert room.join("ann", "\0", "{}").info.name == person.name


def test_nothing_was_started_for_any_of_it(fake_room: FakeRoom) -> None:
    threads, held = set(threading.enumerate()), descriptors()
    for options in ({"room": 5}, {"room": fake_room, "sample_rate": "x"}, {"speed": 1}):
        refuses(
            ConfigurationError, "expected|known", lambda o=options: ringroom.transport("fake", **o)
        )  # type: ignore[misc]
    assert set(threading.enumerate()) == threads
    assert descriptors() == held
