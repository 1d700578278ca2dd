"""What is in the file: MCAP, with our own records (`ringroom.lanes.records`) as its messages.

  header    profile ``ringroom``
  metadata  ``ringroom``: what to take from a log time to get `time.monotonic_ns` of the recorder
  channels  one for each track (metadata: its `TrackInfo`), one for messages, one for events
  messages  log time: `received_ns` on the wall clock; data: the record, `received_ns` as it was

Chunks are not compressed, so that the first part of a chunk that is cut in two can be read.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from ringroom.checks import shown
from ringroom.errors import ConfigurationError
from ringroom.events import Kind, TrackInfo
from ringroom.frames import AudioFrame, DataFrame, DataTrackFrame, Item, VideoFrame
from ringroom.lanes.records import track_from_json, track_to_json

__all__ = [
    "ENCODING",
    "MAGIC",
    "OFFSET",
    "PROFILE",
    "SCHEMA",
    "as_path",
    "Source",
    "described",
    "require_mcap",
    "source_from",
    "source_of",
]

PROFILE = "ringroom"
# The last part is the version of the records' layout; another layout of a kind that it has already
# is another encoding.
ENCODING = "ringroom.record.v1"
MAGIC = b"\x89MCAP0\r\n"
OFFSET = "log_time_minus_monotonic_ns"
SCHEMA = b"""Little-endian. A header: kind u8, flags u8, u16, u32, sequence u64, received_ns u64.
kind 1, audio: u16 channels, u32 sample rate; then samples, interleaved int16
kind 2, video: u16 rotation; then width u32, height u32, timestamp_us i64, the picture as I420
kind 3, data: flags bit 0 reliable, u32 payload length; then the lengths of topic and sender u16,
  the count of destinations u16, topic, sender, each destination with its length u16, the payload
kind 4, event: u32 length; then JSON
kind 5, text: as data, u16 count of attributes; before the payload, which is UTF-8, the name and the
  value of each attribute, each with its length u16
kind 9, dtmf: as data; the payload is one digit of a telephone
kind 10, file: as text, of any bytes; the first of the attributes is its name and its media type
kind 11, data track: flags bit 0 it has a timestamp, u32 payload length; then timestamp u64, the
  payload
received_ns is the recording machine's monotonic clock, as the message's log time is its wall clock.
"""

Source: TypeAlias = tuple[Kind, TrackInfo | str | None]
"""What shares a channel: the kind, and the track (a name for a track of our own)."""


def require_mcap() -> None:
    """Raises `ConfigurationError` when the package is missing."""
    if importlib.util.find_spec("mcap") is None:
        raise ConfigurationError(
            "recordings need the package mcap: install the extra `recording` of ringroom"
        )


def as_path(path: str | os.PathLike[str]) -> Path:
    """A path that a system can be asked for. Raises `ConfigurationError`."""
    try:
        text = os.fspath(path)
    except TypeError:
        text = None
    if not isinstance(text, str) or not text:
        raise ConfigurationError(f"the path is {shown(path)}, expected that of a recording")
    try:
        usable = b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        usable = False
    if not usable:
        raise ConfigurationError(f"the path {shown(text)} holds what no file's name can hold")
    return Path(text)


def source_of(item: Item) -> Source:
    """The channel that the item belongs to."""
    if isinstance(item, AudioFrame):
        return Kind.AUDIO, item.track
    if isinstance(item, VideoFrame):
        return Kind.VIDEO, item.track
    if isinstance(item, DataTrackFrame):
        return Kind.DATA_TRACK, item.track
    return (Kind.DATA if isinstance(item, DataFrame) else Kind.EVENT), None


def described(source: Source) -> tuple[str, dict[str, str]]:
    """A channel's topic and metadata."""
    kind, track = source
    if isinstance(track, TrackInfo):
        return track.reply_name, {**track_to_json(track), "record": kind.value}
    metadata = {"record": kind.value}
    if track is not None:
        metadata["name"] = track
    return track or kind.value, metadata


def source_from(metadata: Mapping[str, str]) -> TrackInfo | str | None:
    """The track of a channel with that metadata. Raises `ValueError` for an unknown kind."""
    if "sid" in metadata:
        return track_from_json(dict(metadata))
    return metadata.get("name")
