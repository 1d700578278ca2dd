"""Options are checked when they are made, and each refusal names what was expected."""

from __future__ import annotations

import dataclasses
import pickle
from enum import StrEnum
from typing import Any

import numpy as np
import pytest

from ringroom.errors import ConfigurationError
from ringroom.events import Kind, Participant, TrackInfo
from ringroom.options import PublishOptions, Reconnect, SessionOptions, TransportConfig

NAN = float("nan")


def test_defaults() -> None:
    options = SessionOptions()
    assert (options.sample_rate, options.channels, options.frame_ms) == (16_000, 1, 20)
    assert options.kinds == (Kind.AUDIO,)
    assert options.max_age == 0.2
    assert options.publish == PublishOptions()
    assert options.publish.mode == "speech"


@pytest.mark.parametrize("group", [SessionOptions, PublishOptions, Reconnect, TransportConfig])
def test_groups_are_frozen_keyword_only_and_cross_processes(group: type[Any]) -> None:
    made = group()
    field = dataclasses.fields(group)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, field, 1)
    with pytest.raises(TypeError):
        group(16_000)
    assert pickle.loads(pickle.dumps(made)) == made


async def asynchronous(who: Any) -> bool:
    return True


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


def test_numbers_of_numpy_become_plain() -> None:
    made: Any = SessionOptions(
        sample_rate=np.int64(48_000),  # type: ignore[arg-type]
        channels=np.uint8(2),  # type: ignore[arg-type]
        frame_ms=np.int16(30),  # type: ignore[arg-type]
        max_age=np.float32(0.5),  # type: ignore[arg-type]
        publish=PublishOptions(queue_ms=np.int32(100), video_fps=np.float64(15)),  # type: ignore[arg-type]
    )
    assert (made.sample_rate, made.channels, made.frame_ms, made.max_age) == (48_000, 2, 30, 0.5)
    values = (made.sample_rate, made.channels, made.frame_ms, made.max_age)
    values += (made.publish.queue_ms, made.publish.video_fps)
    assert [type(value) for value in values] == [int, int, int, float, int, float]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"sample_rate": 7_999}, "expected 8000 to 48000"),
        ({"sample_rate": 48_001}, "48001 Hz, expected 8000 to 48000"),
        ({"sample_rate": 16_000.0}, "whole number of Hz"),
        ({"sample_rate": "16000"}, "whole number of Hz"),
        ({"sample_rate": True}, "whole number of Hz"),
        ({"sample_rate": None}, "whole number of Hz"),
        ({"channels": 0}, "expected 1 .mono. or 2"),
        ({"channels": 3}, "expected 1 .mono. or 2"),
        ({"channels": True}, "expected 1 .mono. or 2"),
        ({"channels": 1.0}, "expected 1 .mono. or 2"),
        ({"kinds": "audio"}, r"\('audio', 'video'\)"),
        ({"kinds": None}, r"\('audio', 'video'\)"),
        ({"kinds": 5}, r"\('audio', 'video'\)"),
        (
            {"kinds": ("audio", "smell")},
            "'smell', expected some of: audio, video, data, event, data_track",
        ),
        ({"kinds": (5,)}, "kinds has 5"),
        ({"kinds": b""}, "kinds is b''"),
        ({"kinds": np.array("audio")}, "kinds is array"),
        ({"kinds": [np.zeros(2)]}, "kinds has array"),
        ({"text_topics": "lk.chat"}, r"expected a tuple such as \('lk.chat',\)"),
        ({"text_topics": None}, "text_topics is None"),
        ({"text_topics": (1,)}, "text_topics: the topic is of type int"),
        ({"text_topics": ("t" * 1_025,)}, "text_topics: the topic has 1025 bytes"),
        (
            {"rpc_methods": "greet"},
            r"rpc_methods is 'greet', expected a tuple such as \('greet',\)",
        ),
        ({"rpc_methods": ("",)}, "rpc_methods has a name that is empty"),
        ({"rpc_methods": (1,)}, "rpc_methods: the name of a method is of type int"),
        ({"rpc_methods": ("m" * 65,)}, "rpc_methods: the name of a method has 65 bytes"),
        ({"rpc_methods": ("greet",)}, "kinds has no 'data': calls come as messages do; add it"),
        ({"file_topics": "photos"}, r"file_topics is 'photos', expected a tuple such as"),
        ({"file_topics": (1,)}, "file_topics: the topic is of type int"),
        ({"file_topics": ("photos",)}, "kinds has no 'data': files come as messages do; add it"),
        ({"text_topics": ("lk.chat",)}, "kinds has no 'data': texts come as messages do; add it"),
        ({"dtmf": True}, "dtmf=True, and kinds has no 'data': digits come as messages do; add it"),
        (
            {"active_speakers": 1, "kinds": ("audio", "event")},
            "active_speakers is 1, expected True",
        ),
        ({"active_speakers": True}, "active_speakers=True, and kinds has not both 'audio' and 'ev"),
        ({"active_speakers": True, "kinds": ("event",)}, "whose sound is received; add them"),
        ({"video_quality": "low"}, "video_quality is 'low', and kinds has no 'video': add it"),
        ({"video_quality": "tiny"}, "video_quality is 'tiny', expected 'low', 'medium' or 'high'"),
        ({"video_quality": None}, "video_quality is None, expected 'low'"),
        ({"dtmf": "yes", "kinds": ("data",)}, "dtmf is 'yes', expected True or False"),
        ({"participants": b""}, "participants is b''"),
        ({"participants": np.array("ann")}, "participants is array"),
        ({"participants": lambda: True}, "too many positional .* a function of a Participant"),
        ({"participants": lambda who, room: True}, "'room'; expected a function of a Participant"),
        ({"participants": asynchronous}, "participants is async"),
        ({"frame_ms": 10**5_000}, "frame_ms is <int>, expected 10 to 1000"),
        ({"frame_ms": "a" * 10_000}, "^.{,160}$"),
        ({"max_age": Unspeakable()}, "max_age is <Unspeakable>"),
        ({"participants": "ann"}, "a list of identities"),
        ({"participants": 5}, "a list of identities"),
        ({"participants": ["ann", ""]}, "empty or not text"),
        ({"participants": [5]}, "empty or not text"),
        ({"participants": [["ann"]]}, "empty or not text"),
        ({"tracks": "microphone"}, "tracks is 'microphone', expected a list of sources .*camera"),
        ({"tracks": b""}, "tracks is b'', expected a list of sources .* or a function of a Track"),
        ({"tracks": 5}, "tracks is 5, expected a list of sources"),
        ({"tracks": np.array("camera")}, "tracks is array"),
        ({"tracks": []}, "tracks is empty, expected some of: microphone, .*leave it out to receiv"),
        ({"tracks": iter(())}, "'audio' and 'video' out of kinds to receive none"),
        ({"tracks": ["mic"]}, "tracks has 'mic', expected some of: microphone, .*, unknown; to ch"),
        ({"tracks": ["camera", ""]}, "tracks has ''"),
        ({"tracks": ["Camera"]}, "tracks has 'Camera'.* by name, give a function of a TrackInfo"),
        ({"tracks": ["camera", 5]}, "tracks has 5"),
        ({"tracks": [None]}, "tracks has None"),
        ({"tracks": [np.zeros(2)]}, "tracks has array"),
        ({"tracks": [["camera"]]}, "tracks has .'camera'."),
        ({"tracks": [b"camera"]}, "tracks has b'camera'"),
        ({"tracks": ["a" * 10_000]}, "^.{,260}$"),
        ({"tracks": lambda: True}, "tracks: too many positional .* a function of a TrackInfo"),
        ({"tracks": ["camera"]}, "tracks has camera alone, and kinds has no 'video': .*; add it"),
        ({"tracks": ["microphone"], "kinds": ("video", "event")}, "kinds has no 'audio'"),
        ({"tracks": lambda one, who: True}, "'who'; expected a function of a TrackInfo"),
        ({"tracks": asynchronous}, "tracks is async"),
        ({"frame_ms": 0}, "expected 10 to 1000"),
        ({"frame_ms": 1_010}, "expected 10 to 1000"),
        ({"frame_ms": 25}, "multiple of 10"),
        ({"frame_ms": 20.0}, "whole number"),
        ({"frame_ms": "20"}, "number from 10"),
        ({"frame_ms": True}, "number from 10"),
        ({"max_age": 0}, "max_age is 0, expected 0.02 to 60"),
        ({"max_age": -1}, "max_age"),
        ({"max_age": NAN}, "max_age is nan"),
        ({"max_age": float("inf")}, "max_age is inf"),
        ({"max_age": "1"}, "max_age is '1', expected a number"),
        ({"connect_timeout": 0}, "connect_timeout"),
        ({"close_timeout": 601}, "close_timeout"),
        ({"close_timeout": None}, "close_timeout is None"),
        ({"publish": {"mode": "live"}}, "PublishOptions"),
        ({"publish": None}, "PublishOptions"),
    ],
)
def test_wrong_session_options(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigurationError, match=match):
        SessionOptions(**options)


@pytest.mark.parametrize(
    ("tracks", "kinds"),
    [
        (["microphone", "camera"], ("audio",)),
        (["unknown"], ("video",)),
        (["camera"], ()),
        (["camera"], ("data",)),
        (lambda track: track.source == "camera", ("audio",)),
    ],
)
def test_sources_of_which_some_may_come_or_none_is_meant_to(tracks: Any, kinds: Any) -> None:
    SessionOptions(tracks=tracks, kinds=kinds)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"mode": "loud"}, "'loud', expected 'speech' or 'live'"),
        ({"mode": None}, "expected 'speech' or 'live'"),
        ({"queue_ms": 19}, "expected 20 to 1000"),
        ({"queue_ms": 1_001}, "expected 20 to 1000"),
        ({"queue_ms": 20.5}, "whole number"),
        ({"queue_ms": True}, "number from"),
        ({"audio_bitrate": 999}, "audio_bitrate is 999"),
        ({"audio_bitrate": 32_000.0}, "whole number"),
        ({"video_bitrate": "1M"}, "video_bitrate is '1M'"),
        ({"video_bitrate": 100_000_001}, "expected 1000 to 100000000"),
        ({"video_fps": 0}, "video_fps"),
        ({"video_fps": NAN}, "video_fps"),
        ({"video_fps": 241}, "video_fps"),
        ({"video_fps": np.zeros(2)}, "video_fps"),
        ({"mode": np.array(["live", "speech"])}, "publish mode is array"),
        ({"source": np.zeros(2)}, "source is array"),
        ({"source": None}, "source is None"),
        ({"dtx": 1}, "dtx is 1, expected True or False"),
        ({"video_codec": "mpeg"}, "'vp8', 'vp9', 'h264'"),
        ({"source": "kitchen"}, "microphone"),
    ],
)
def test_wrong_publish_options(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigurationError, match=match):
        PublishOptions(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"sample_rate": 8_000},
        {"sample_rate": 48_000, "channels": 2},
        {"frame_ms": 10},
        {"frame_ms": 1_000},
        {"max_age": 0.02},
        {"max_age": 60},
        {"kinds": ()},
        {"participants": []},
    ],
)
def test_the_limits_themselves_are_allowed(options: dict[str, Any]) -> None:
    SessionOptions(**options)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"retries": -1}, "retries is -1, expected 0 to 1000000"),
        ({"retries": 2.5}, "retries is 2.5, expected a whole number"),
        ({"retries": True}, "retries is True"),
        ({"backoff": 0}, "backoff is 0, expected 0.01 to 3600"),
        ({"backoff": "1"}, "backoff is '1', expected a number"),
        ({"backoff": NAN}, "backoff is nan"),
        ({"backoff": 2.0, "longest": 1.0}, "longest is 1.0, expected 2.0 to 3600"),
        ({"longest": 3_601}, "longest is 3601"),
        ({"jitter": 1.01}, "jitter is 1.01, expected 0 to 1"),
        ({"jitter": -0.1}, "jitter is -0.1"),
        ({"deadline": 0}, "deadline is 0, expected 0.1 to 1000000"),
        ({"deadline": None}, "deadline is None, expected a number"),
    ],
)
def test_wrong_reconnect_options(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigurationError, match=match):
        Reconnect(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"retries": 0, "backoff": 0.01, "longest": 0.01, "jitter": 0, "deadline": 0.1},
        {"retries": 1_000_000, "backoff": 3_600, "longest": 3_600, "jitter": 1, "deadline": 1e6},
    ],
)
def test_the_limits_of_reconnect_are_allowed(options: dict[str, Any]) -> None:
    assert Reconnect(**options).deadline == options["deadline"]


@pytest.mark.parametrize("wrong", [None, 3, {"retries": 3}, PublishOptions()])
def test_what_is_no_policy_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"expected ringroom\.Reconnect\(\.\.\.\)"):
        SessionOptions(reconnect=wrong)


def test_kinds_become_kinds_once_each_in_order() -> None:
    options = SessionOptions(kinds=["video", Kind.AUDIO, "video"])  # type: ignore[arg-type]
    assert options.kinds == (Kind.VIDEO, Kind.AUDIO)
    assert all(isinstance(kind, Kind) for kind in options.kinds)


def test_topics_are_each_there_once() -> None:
    topics = ["lk.chat", "", "lk.chat"]
    options = SessionOptions(kinds=(Kind.DATA,), text_topics=topics)  # type: ignore[arg-type]
    assert options.text_topics == ("lk.chat", "")
    options = SessionOptions(kinds=(Kind.DATA,), file_topics=topics)  # type: ignore[arg-type]
    assert options.file_topics == ("lk.chat", "")


def test_participants() -> None:
    def who(participant: Participant) -> bool:
        return participant.identity != "bot"

    assert SessionOptions(participants=who).participants is who
    assert SessionOptions().participants is None
    listed = SessionOptions(participants=["ann", "bob", "ann"])  # type: ignore[arg-type]
    assert listed.participants == frozenset({"ann", "bob"})


class Device(StrEnum):
    CAMERA = "camera"


def test_tracks() -> None:
    def voice(track: TrackInfo) -> bool:
        return track.name == "voice"

    assert SessionOptions(tracks=voice).tracks is voice
    assert SessionOptions().tracks is None
    every = ["microphone", "camera", "screen_share", "screen_share_audio", "unknown"]
    for sources in (every, tuple(every), {*every}, iter([*every, "camera"])):
        assert SessionOptions(tracks=sources).tracks == frozenset(every)  # type: ignore[arg-type]
    named = SessionOptions(tracks=[Device.CAMERA], kinds=("video",)).tracks  # type: ignore[arg-type]
    assert isinstance(named, frozenset)
    assert [type(one) for one in named] == [str], "nothing else travels"


def test_the_neutral_form_hides_secrets() -> None:
    config = TransportConfig(url="ws://x", token="secret-token", extra={"e2ee_key": "secret-key"})
    assert "secret" not in repr(config)
    with pytest.raises(ConfigurationError, match="expected a mapping"):
        TransportConfig(extra=[("room", "x")])  # type: ignore[arg-type]
