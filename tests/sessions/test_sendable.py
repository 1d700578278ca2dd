"""What may be sent, and on which track."""

from __future__ import annotations

from typing import Any, cast

import pytest
from livekit import rtc

from app_kit import sound
from ringroom.errors import FrameError
from ringroom.frames import AudioFrame, DataFrame, Kind, TrackInfo, VideoFrame
from ringroom.sessions.sendable import kind_of, track_name
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
