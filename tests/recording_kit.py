"""What the tests of recordings share: a call, its recording, and what of it is to come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ringroom import (
    AudioFrame,
    DataFrame,
    DataTrackFrame,
    Event,
    FileFrame,
    Recorder,
    TextFrame,
    VideoFrame,
)
from ringroom.colour import i420_size
from ringroom.events import EventKind, Kind, Participant, TrackInfo
from ringroom.frames import Item

ANN = Participant(identity="ann", name="Ann", attributes={"seat": "4"}, kind="sip")
MIC = TrackInfo(sid="TR_1", name="mic", kind=Kind.AUDIO, participant="ann", source="microphone")
CAMERA = TrackInfo(sid="TR_2", name="", kind=Kind.VIDEO, participant="zoë")


def audio(number: int, samples: int = 8, track: Any = MIC) -> AudioFrame:
    pcm = np.arange(number, number + samples, dtype=np.int16)[:, None]
    return AudioFrame.received(pcm, 16_000, track, (number, 1_000_000 * number + 1))


def content(item: Item) -> tuple[Any, ...]:
    """All that is to come back."""
    if isinstance(item, Event):
        told = (
            item.kind,
            item.participant,
            item.track,
            item.reason,
            item.room,
            item.quality,
            item.speakers,
        )
        return (*told, item.received_ns)
    stamp = (item.sequence, item.received_ns)
    if isinstance(item, AudioFrame):
        return (item.samples.shape, item.samples.tobytes(), item.sample_rate, item.track, *stamp)
    if isinstance(item, VideoFrame):
        size = (item.width, item.height, item.rotation, item.timestamp_us)
        return (item.data.tobytes(), *size, item.track, *stamp)
    if isinstance(item, DataTrackFrame):
        return (item.payload, item.timestamp, item.track, *stamp)
    attributes = item.attributes if isinstance(item, TextFrame | FileFrame) else None
    file = (item.name, item.mime_type) if isinstance(item, FileFrame) else None
    address = (item.topic, item.participant, item.reliable, item.to)
    return (type(item), item.payload, *address, attributes, file, *stamp)


def a_call(count: int = 12) -> list[Item]:
    call: list[Item] = [Event(kind=EventKind.PARTICIPANT_JOINED, participant=ANN, received_ns=5)]
    for number in range(count):
        call.append(audio(number))
        if number % 3 == 0:
            picture = np.full(i420_size(4, 2), number, np.uint8)
            stamp = (number, 1_000_000 * number + 2)
            call.append(VideoFrame.received(picture, (4, 2), (90, -number), CAMERA, stamp))
            call.append(DataFrame(b"%d" % number, "chat", "ann", received_ns=number))
    call.append(Event(kind=EventKind.TRACK_ENDED, participant=ANN, track=MIC))
    return call


def recorded(path: Path, items: list[Item]) -> Path:
    with Recorder(path) as recorder:
        for item in items:
            recorder.add(item)
    assert (recorder.recorded, recorder.missed) == (len(items), 0), recorder.problem
    return path
