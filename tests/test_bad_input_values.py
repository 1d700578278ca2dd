"""Frames and messages that are none: each is refused with an error of ours that says what is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from refusal_kit import INF, NAN, PCM, refuses
from ringroom.errors import FrameError
from ringroom.events import Kind, TrackInfo
from ringroom.frames import AudioFrame, DataFrame, VideoFrame

TRACK = TrackInfo(sid="TR", name="mic", kind=Kind.AUDIO, participant="ann")
NO_TEXT = (5, b"x", ["a"], True, object(), np.zeros(2))


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
