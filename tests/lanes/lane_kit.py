"""Lanes with both ends in one process, and items to send through them."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from ringroom.colour import i420_size
from ringroom.errors import WouldBlock
from ringroom.events import Event, EventKind, Kind, Participant, TrackInfo
from ringroom.frames import (
    AudioFrame,
    DataFrame,
    DataTrackFrame,
    FileFrame,
    Item,
    TextFrame,
    VideoFrame,
)
from ringroom.lanes.lane import LaneDescriptors, ring_for
from ringroom.lanes.live import LiveReader, LiveWriter
from ringroom.lanes.reliable import ReliableReader, ReliableWriter
from ringroom.lanes.ring import Geometry
from ringroom.lanes.statistics import ROW_BYTES, Row
from ringroom.pieces import TextPiece
from ringroom.rpc import RpcAnswer, RpcCall

TRACK = TrackInfo(sid="TR_1", name="mic", kind=Kind.AUDIO, participant="ann")
PICTURE = (256, 200)  # 76,800 bytes: lent, not copied


def plain_row() -> Row:
    """A row in ordinary memory."""
    return Row(memoryview(bytearray(ROW_BYTES)).cast("Q"), 0)


def duplicate(descriptors: LaneDescriptors) -> LaneDescriptors:
    """What arrives at the other process when the descriptors were passed."""
    return LaneDescriptors.from_flat(tuple(os.dup(fd) for fd in descriptors.flat()))


@dataclass
class Clock:
    """Nanoseconds that pass when told to."""

    now: int = 1_000_000_000

    def __call__(self) -> int:
        return self.now

    def pass_ms(self, ms: float) -> None:
        self.now += int(ms * 1_000_000)


def reliable_lane(
    ring: Geometry, *, portable: bool = False
) -> tuple[ReliableWriter, ReliableReader, Row]:
    row = plain_row()
    writer = ReliableWriter(ring, row, portable=portable)
    return writer, ReliableReader(duplicate(writer.descriptors()), row, TRACK), row


def live_lane(
    ring: Geometry, clock: Clock, *, max_age_ms: int = 200, portable: bool = False
) -> tuple[LiveWriter, LiveReader, Row]:
    row = plain_row()
    writer = LiveWriter(ring, row, portable=portable)
    reader = LiveReader(
        duplicate(writer.descriptors()),
        row,
        TRACK,
        max_age_ns=max_age_ms * 1_000_000,
        clock=clock,
    )
    return writer, reader, row


def noise(nbytes: int, seed: int) -> bytes:
    """Bytes that differ from place to place and from seed to seed."""
    return ((np.arange(nbytes, dtype=np.uint32) * 7 + seed * 131) % 253).astype(np.uint8).tobytes()


def audio(samples: int, seed: int = 0, channels: int = 1) -> AudioFrame:
    return AudioFrame(noise(2 * samples * channels, seed), 16_000, channels)


def video(width: int, height: int, seed: int = 0) -> VideoFrame:
    return VideoFrame(noise(i420_size(width, height), seed), width, height, timestamp_us=seed)


def message(nbytes: int, seed: int = 0) -> DataFrame:
    return DataFrame(noise(nbytes, seed), "topic", to=("ann", "bob"))


def muted(number: int, *, padding: int = 0) -> Event:
    participant = Participant(identity="ann", metadata="m" * padding, kind="agent")
    return Event(
        kind=EventKind.TRACK_MUTED, participant=participant, track=TRACK, reason=str(number)
    )


def content(item: Item) -> tuple[object, ...]:
    """What must be the same on the other side."""
    if isinstance(item, AudioFrame):
        return ("audio", item.sample_rate, item.samples.shape, item.data)
    if isinstance(item, VideoFrame):
        form = (item.width, item.height, item.rotation, item.timestamp_us)
        return ("video", *form, item.data.tobytes())
    if isinstance(item, DataFrame):
        form_of_data = (item.topic, item.participant, item.reliable, item.to)
        streamed = isinstance(item, TextFrame | TextPiece | FileFrame)
        attributes = item.attributes if streamed else None
        file = (item.name, item.mime_type) if isinstance(item, FileFrame) else None
        call = (item.number, item.timeout) if isinstance(item, RpcCall) else None
        beside = (item.number, item.code, item.detail) if isinstance(item, RpcAnswer) else None
        return ("data", item.payload, *form_of_data, attributes, file, call, beside)
    if isinstance(item, DataTrackFrame):
        return ("data track", item.payload, item.timestamp)
    told = (item.participant, item.track, item.reason, item.room, item.quality, item.speakers)
    return ("event", item.kind, *told)


def picture_ring(pictures: int) -> Geometry:
    return ring_for(PICTURE[0] * PICTURE[1] * 3 // 2, pictures)


def fill(writer: ReliableWriter) -> int:
    """Send until it is full; how many frames went in."""
    for number in range(1_000):
        try:
            writer.send_nowait(audio(480, number), 0)
        except WouldBlock:
            return number
    raise AssertionError("it is never full")
