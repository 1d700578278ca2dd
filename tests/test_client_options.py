"""The synchronous face's options: every error comes before any process or thread starts."""

from __future__ import annotations

from typing import Any

import pytest

import ringroom
from ringroom.errors import (
    ConfigurationError,
    UnknownProviderError,
)
from ringroom.options import PublishOptions, TransportConfig
from ringroom.testing import FakeRoom, leaks


@pytest.fixture
def nothing_starts() -> Any:
    with leaks.nothing_left_behind(grace=0.0):
        yield


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sample_rte": 8_000}, "unknown option sample_rte; known are: "),
        (
            {"kinds": ("sound",)},
            "kinds has 'sound', expected some of: audio, video, data, event, data_track",
        ),
        ({"kinds": "audio"}, "expected a tuple"),
        ({"kinds": 3}, "expected a tuple"),
        ({"sample_rate": 4_000}, "sample rate"),
        ({"sample_rate": 96_000}, "expected 8000 to 48000"),
        ({"sample_rate": "16000"}, "sample rate"),
        ({"channels": 3}, "channels"),
        ({"channels": 0}, "channels"),
        ({"participants": "alice"}, "expected a list of identities"),
        ({"participants": 7}, "expected a list of identities"),
        ({"participants": [""]}, "empty or not text"),
        ({"participants": [5]}, "empty or not text"),
        ({"tracks": "camera"}, "expected a list of sources"),
        ({"tracks": ()}, "tracks is empty"),
        ({"tracks": ["screenshare"]}, "tracks has 'screenshare', expected some of: microphone"),
        ({"io": "fork"}, "io is 'fork'"),
        ({"io": None}, "io is None"),
        ({"frame_ms": 25}, "multiple of 10"),
        ({"frame_ms": 5}, "frame_ms is 5"),
        ({"frame_ms": 20.0}, "whole number"),
        ({"max_age": 0}, "max_age"),
        ({"max_age": True}, "max_age"),
        ({"connect_timeout": -1}, "connect_timeout"),
        ({"close_timeout": float("nan")}, "close_timeout"),
        ({"publish": {"mode": "live"}}, "expected ringroom.PublishOptions"),
        ({"room": ""}, "fake: room is ''"),
        ({"identity": ""}, "identity is empty"),
    ],
)
@pytest.mark.usefixtures("nothing_starts")
def test_a_wrong_option_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says.replace("(", r"\(")):
        ringroom.transport("fake", **{"room": "nowhere", **options})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mode": "fast"}, "publish mode"),
        ({"queue_ms": 10}, "queue_ms"),
        ({"video_codec": "mpeg"}, "'vp8', 'vp9'"),
        ({"audio_bitrate": 1}, "audio_bitrate"),
        ({"video_fps": 0}, "video_fps"),
        ({"source": "moon"}, "source"),
    ],
)
def test_a_wrong_publish_option_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        PublishOptions(**options)


@pytest.mark.usefixtures("nothing_starts")
def test_an_unknown_provider_lists_those_that_are_known() -> None:
    with pytest.raises(UnknownProviderError, match=r"known are: fake, livekit"):
        ringroom.transport("lievkit")
    with pytest.raises(ConfigurationError, match="expected a name"):
        ringroom.transport(3)  # type: ignore[arg-type]


@pytest.mark.usefixtures("nothing_starts")
def test_livekit_says_what_is_missing() -> None:
    with pytest.raises(ConfigurationError) as no_url:
        ringroom.transport("livekit", token="t")
    assert str(no_url.value) == "livekit: URL is required"
    with pytest.raises(ConfigurationError) as no_token:
        ringroom.transport("livekit", url="ws://127.0.0.1:1")
    assert str(no_token.value) == "livekit: Token is required"


@pytest.mark.parametrize(
    ("name", "instead"), [("participants", "identities"), ("tracks", "sources")]
)
@pytest.mark.usefixtures("nothing_starts")
def test_what_cannot_travel_is_refused(fake_room: FakeRoom, name: str, instead: str) -> None:
    running = (number for number in range(3))

    def predicate(one: Any) -> bool:
        return next(running) > 0

    says = f"^{name}= cannot be sent to another process: .*: give {instead}, or a function without"
    for opening in (ringroom.transport, ringroom.aio.transport):
        with pytest.raises(ConfigurationError, match=says):
            opening("fake", room=fake_room, **{name: predicate})


@pytest.mark.usefixtures("nothing_starts")
def test_a_config_is_a_config() -> None:
    with pytest.raises(ConfigurationError, match="expected a TransportConfig"):
        ringroom.transport("fake", {"url": "x"})  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="a mapping"):
        TransportConfig(extra=[1])  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="not with a spec"):
        ringroom.transport(ringroom.Fake(room="here"), TransportConfig())
