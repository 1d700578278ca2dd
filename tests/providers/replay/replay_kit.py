"""Recordings to play, and what is compared of what came back."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ringroom import AudioFrame, DataFrame, Event, Recorder, VideoFrame
from ringroom.colour import i420_size
from ringroom.events import EventKind, Kind, Participant, TrackInfo
from ringroom.frames import Item

RATE = 16_000
FRAME = 320
BASE = 1_000_000_000
EVERYTHING = ("audio", "video", "data", "event")
ANN = Participant(identity="ann", name="Ann", metadata="guest", attributes={"seat": "4"})
BOB = Participant(identity="bob")
BOT = Participant(identity="bot", kind="agent")
OURS = TrackInfo(sid="TR_OURS", name="answer", kind=Kind.AUDIO, participant="us")
MIC = TrackInfo(sid="TR_1", name="mic", kind=Kind.AUDIO, participant="ann", source="microphone")
CAMERA = TrackInfo(sid="TR_2", name="cam", kind=Kind.VIDEO, participant="bob", source="camera")


def audio(number: int, *, at_ms: float | None = None, track: Any = MIC) -> AudioFrame:
    """20 ms whose samples tell its number."""
    pcm = np.arange(FRAME, dtype=np.int16)[:, None] + np.int16(number * 7)
    ms = 20 * number if at_ms is None else at_ms
    return AudioFrame.received(pcm, RATE, track, (number, BASE + int(ms * 1e6)))


def video(number: int, *, at_ms: float = 0, size: tuple[int, int] = (64, 48)) -> VideoFrame:
    data = np.full(i420_size(*size), number % 251, np.uint8)
    stamp = (number, BASE + int(at_ms * 1e6))
    return VideoFrame.received(data, size, (90, number), CAMERA, stamp)


def message(number: int, *, at_ms: float = 0, nbytes: int = 20) -> DataFrame:
    payload = b"%d" % number + bytes(nbytes)
    return DataFrame(payload, "chat", "ann", received_ns=BASE + int(at_ms * 1e6))


def event(kind: EventKind, at_ms: float = 0, **fields: Any) -> Event:
    return Event(kind=kind, received_ns=BASE + int(at_ms * 1e6), **fields)


def recorded(path: Path, items: Iterable[Item]) -> Path:
    with Recorder(path) as recorder:
        for item in items:
            recorder.add(item)
    assert recorder.missed == 0, recorder.problem
    return path


def content(item: Item) -> tuple[Any, ...]:
    """All but the stamps, which are fresh."""
    if isinstance(item, Event):
        return (item.kind, item.participant, item.track, item.reason)
    if isinstance(item, AudioFrame):
        return (item.samples.tobytes(), item.sample_rate, item.channels, item.track)
    if isinstance(item, VideoFrame):
        size = (item.width, item.height, item.rotation, item.timestamp_us)
        return (item.data.tobytes(), *size, item.track)
    return (item.payload, item.topic, item.participant, item.reliable)


def only(items: Iterable[Item], kind: type[Any]) -> list[tuple[Any, ...]]:
    return [content(item) for item in items if isinstance(item, kind)]


def a_call(frames: int = 50) -> list[Item]:
    """Ann speaks, is muted, speaks on and leaves; Bob shows himself; messages between."""
    half = 20 * frames // 2
    call: list[Item] = [
        event(EventKind.CONNECTED),
        event(EventKind.PARTICIPANT_JOINED, participant=ANN),
        event(EventKind.TRACK_PUBLISHED, participant=ANN, track=MIC),
        event(EventKind.PUBLISH_MUTED, track=OURS),
        event(EventKind.PUBLISH_UNMUTED, track=OURS),
        event(EventKind.TRACK_STARTED, participant=ANN, track=MIC),
    ]
    for number in range(frames):
        if number == frames // 2:
            call.append(event(EventKind.TRACK_MUTED, half, participant=ANN, track=MIC))
            call.append(event(EventKind.TRACK_UNMUTED, half, participant=ANN, track=MIC))
        call.append(audio(number))
        if number % 5 == 0:
            call.append(video(number, at_ms=20 * number))
            call.append(message(number, at_ms=20 * number))
    end = 20 * frames
    call.append(event(EventKind.TRACK_ENDED, end, participant=ANN, track=MIC))
    call.append(event(EventKind.TRACK_UNPUBLISHED, end, participant=ANN, track=MIC))
    call.append(event(EventKind.PARTICIPANT_LEFT, end, participant=ANN))
    call.append(event(EventKind.DISCONNECTED, end, reason="room closed"))
    return call
