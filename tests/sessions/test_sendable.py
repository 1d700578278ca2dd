"""What may be sent, and on which track."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from livekit import rtc

from app_kit import sound
from ringroom.errors import FrameError
from ringroom.events import Kind, TrackInfo
from ringroom.frames import AudioFrame, DataFrame, VideoFrame
from ringroom.options import PublishOptions
from ringroom.sessions.sendable import as_file, kind_of, track_name, with_source
from ringroom.testing import sources


def test_names() -> None:
    track = TrackInfo(sid="TR", name="", kind=Kind.AUDIO, participant="alice")
    assert track_name(sound(0.02)) == "audio"
    assert track_name(sound(0.02, track="x")) == "x"
    assert track_name(sound(0.02, track=track)) == "alice/TR"
    assert track_name(sources.picture(0, 64, 64)) == "video"
    assert track_name(DataFrame(b"x")) == ""
    with pytest.raises(FrameError, match="cannot send a str"):
        track_name("x")  # type: ignore[arg-type]


def test_frames_of_the_sdk_are_named_with_their_conversion() -> None:
    sound = rtc.AudioFrame.create(16_000, 2, 320)
    with pytest.raises(FrameError, match=r"a livekit\.rtc\.audio_frame\.AudioFrame; .*f\.data, "):
        kind_of(cast(Any, sound))
    ours = AudioFrame(sound.data, sound.sample_rate, sound.num_channels)
    assert (ours.samples.shape, ours.sample_rate) == ((320, 2), 16_000)

    picture = rtc.VideoFrame(16, 8, rtc.VideoBufferType.I420, bytearray(192))
    with pytest.raises(FrameError, match=r"a livekit\.rtc\.video_frame\.VideoFrame; .* as I420"):
        kind_of(cast(Any, picture))
    assert VideoFrame(picture.data, picture.width, picture.height).width == 16


@pytest.mark.parametrize(
    ("kind", "source", "expected"),
    [
        (Kind.VIDEO, "screen_share", "screen_share"),
        (Kind.VIDEO, "camera", "camera"),
        (Kind.AUDIO, "screen_share_audio", "screen_share_audio"),
        (Kind.AUDIO, "screen_share", ""),
        (Kind.VIDEO, "microphone", ""),
        (Kind.VIDEO, "unknown", ""),
    ],
)
def test_what_answers_a_track_has_its_source(kind: Kind, source: str, expected: str) -> None:
    """Unless the options name another, or it is none of that kind's."""
    track = TrackInfo(sid="TR", name="x", kind=kind, participant="alice", source=source)
    frame = sound(0.02) if kind is Kind.AUDIO else sources.picture(0, 64, 64)
    assert with_source(PublishOptions(), frame).source == ""
    frame.track = track
    assert with_source(PublishOptions(dtx=True), frame) == PublishOptions(dtx=True, source=expected)
    ours = PublishOptions(source="camera")
    assert with_source(ours, frame) is ours


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("photo.JPG", "image/jpeg"),
        ("a.b.png", "image/png"),
        ("notes", "application/octet-stream"),
        ("", "application/octet-stream"),
        ("table.csv.gz", "application/octet-stream"),
    ],
)
def test_the_media_type_of_a_file_is_that_of_its_name(name: str, kind: str) -> None:
    """Unless another is given. What is compressed is nothing of what is in it."""
    assert as_file(b"x", "", (), None, name, None).mime_type == kind
    assert as_file(b"x", "", (), None, name, "x/y").mime_type == "x/y"


def test_a_file_of_a_view_is_a_copy() -> None:
    content = bytearray(b"abcdef")
    file = as_file(memoryview(content)[::2], "", (), None, "", None)
    content[:] = b"xxxxxx"
    assert file.payload == b"ace"
    view = memoryview(content)
    view.release()
    with pytest.raises(FrameError, match="the memoryview was released"):
        as_file(view, "", (), None, "", None)


def test_a_file_that_a_path_names_is_called_so_unless_it_is_called_otherwise(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"x")
    assert as_file(path, "", (), None, "", None).name == "a.png"
    other = as_file(path, "", (), None, "b.jpg", None)
    assert (other.payload, other.name, other.mime_type) == (b"x", "b.jpg", "image/jpeg")
