"""What an application may get wrong before a transport is open: each call refuses it with an error
of ours that names what was expected, and leaves nothing behind.

Options and frames have tables of their own (test_options, test_frames, test_livekit_spec); here are
the calls.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ringroom
from app_kit import descriptors, sound
from refusal_kit import INF, NAN, refuses
from ringroom.errors import ClosedError, ConfigurationError, RingroomError
from ringroom.pool import Pool, PoolOptions
from ringroom.processor import Processor
from ringroom.providers.registry import build, register
from ringroom.testing import FakeRoom

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
        (
            (lambda lines: lambda frame: next(lines))(line for line in ""),
            "sent.*: do that in Processor",
        ),
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


def test_nothing_was_started_for_any_of_it(fake_room: FakeRoom) -> None:
    threads, held = set(threading.enumerate()), descriptors()
    for options in ({"room": 5}, {"room": fake_room, "sample_rate": "x"}, {"speed": 1}):
        refuses(
            ConfigurationError, "expected|known", lambda o=options: ringroom.transport("fake", **o)
        )  # type: ignore[misc]
    assert set(threading.enumerate()) == threads
    assert descriptors() == held


# Recordings.


@pytest.mark.parametrize("path", [None, 5, b"call.mcap", "", "a\0b", "\ud800"])
def test_paths_that_are_none(path: Any) -> None:
    refuses(ConfigurationError, "path", lambda: ringroom.Recorder(path))
    refuses(ConfigurationError, "path", lambda: ringroom.recording.Reader(path))
    refuses(ConfigurationError, "replay: .*path", lambda: ringroom.Replay(path=path))


@pytest.mark.parametrize("size", [0, -1, "1", None, True, 1.5])
def test_a_recorders_queue_has_a_size(tmp_path: Path, size: Any) -> None:
    file = tmp_path / "call.mcap"
    refuses(ConfigurationError, "queue_bytes", lambda: ringroom.Recorder(file, queue_bytes=size))
    assert not file.exists()
