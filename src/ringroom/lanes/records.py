"""Frames and events to bytes and back.

A record: a 24-byte header (kind, flags, a kind's own u16 and u32, sequence, received_ns), then
  audio   samples, interleaved little-endian int16      (u16: channels, u32: sample rate)
  video   width u32, height u32, timestamp_us i64, I420 (u16: rotation)
  data    lengths of topic and sender u16, count of destinations u16, those texts, the payload
          (flags bit 0: reliable; u32: payload length)
  text    as data, but for the attributes before the payload: name and value of each, with their
          lengths u16          (flags bit 0: set; u16: count of attributes; u32: payload length)
  call    as text; the attributes are what a call has beside a message
  answer  likewise, of what answers a call
  piece   likewise, of a text that is being written; names of its own attributes begin with a dot
  dtmf    as data; the payload is one digit
  file    as text; the first of the attributes is not one: it is the file's name and media type
  event   JSON                                          (u32: its length)
  reading timestamp u64, the payload of a data track's frame
          (flags bit 0: it has a timestamp; u32: payload length)

Law: any bytes decode to a value or raise `WireError`; what `encode` gave decodes to an equal value
only when whole, without trailing bytes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Collection, Mapping
from typing import Any, TypeAlias

import numpy as np

from ringroom.checks import Samples, check_picture, check_reading, check_sound
from ringroom.dtmf import DtmfFrame
from ringroom.errors import FrameError, WireError
from ringroom.events import Event, EventKind, Kind, Participant, RoomInfo, TrackInfo
from ringroom.frames import (
    AudioFrame,
    DataFrame,
    DataTrackFrame,
    FileFrame,
    Item,
    Stamp,
    TextFrame,
    VideoFrame,
)
from ringroom.lanes.ring import Buffer
from ringroom.pieces import TextPiece
from ringroom.rpc import RpcAnswer, RpcCall

AUDIO, VIDEO, DATA, EVENT, TEXT, CALL, ANSWER, PIECE, DTMF, FILE, READING = range(1, 12)
_HEADER = struct.Struct("<BBHIQQ")
_VIDEO = struct.Struct("<IIq")
_READING = struct.Struct("<Q")
_DATA = struct.Struct("<HHH")
_LENGTH = struct.Struct("<H")
HEADER_BYTES = _HEADER.size
VIDEO_HEADER_BYTES = HEADER_BYTES + _VIDEO.size
READING_HEADER_BYTES = HEADER_BYTES + _READING.size
MAX_MEDIA_HEADER_BYTES = VIDEO_HEADER_BYTES
"""The longest header of any media, a picture's. Lanes of sound leave room for it too."""
_RELIABLE = 1
_HAS_TIMESTAMP = 1
_INT16 = np.dtype("<i2")
_Pairs: TypeAlias = Collection[tuple[str, str]]
_NOTHING: _Pairs = ()
_Address: TypeAlias = tuple[str, str, bool, tuple[str, ...], int, int]
"""What a message has beside its payload."""


Head: TypeAlias = tuple[int, int, int, int, int, int]
"""A record's header, for deciding whether it is worth decoding: kind, flags, the kind's own u16 and
u32, sequence, received_ns. A plain tuple, for it is made for every frame: any other costs twice."""


def peek(record: Buffer) -> Head:
    """The record's header. Raises `WireError` for what is too short for one."""
    try:
        head: Head = _HEADER.unpack_from(record)
    except struct.error:
        raise WireError(
            f"a record of {len(record)} bytes, its header alone has {HEADER_BYTES}"
        ) from None
    return head


def encode(item: Item, stamp: Stamp) -> tuple[bytes, Buffer]:
    """The record as (head, body), so that a large body is copied once, into the ring."""
    if isinstance(item, AudioFrame):
        pcm = np.ascontiguousarray(item.samples, "<i2")
        return audio_head(item.sample_rate, item.channels, stamp), pcm.data.cast("B")
    if isinstance(item, VideoFrame):
        head = video_head((item.width, item.height), item.rotation, item.timestamp_us, stamp)
        return head, item.data.data
    if isinstance(item, DataFrame):
        return _encode_data(item, stamp)
    if isinstance(item, DataTrackFrame):
        return reading_head(len(item.payload), item.timestamp, stamp), item.payload
    text = json.dumps(event_to_json(item)).encode()
    return _HEADER.pack(EVENT, 0, 0, len(text), *stamp), text


def size_of(item: Item) -> int:
    """Bytes of the item's record."""
    head, body = encode(item, (0, 0))
    return len(head) + len(body)


def audio_head(sample_rate: int, channels: int, stamp: Stamp) -> bytes:
    return _HEADER.pack(AUDIO, 0, channels, sample_rate, *stamp)


def video_head(size: tuple[int, int], rotation: int, timestamp_us: int, stamp: Stamp) -> bytes:
    return _HEADER.pack(VIDEO, 0, rotation, 0, *stamp) + _VIDEO.pack(*size, timestamp_us)


def reading_head(nbytes: int, timestamp: int | None, stamp: Stamp) -> bytes:
    flags, number = (0, 0) if timestamp is None else (_HAS_TIMESTAMP, timestamp)
    return _HEADER.pack(READING, flags, 0, nbytes, *stamp) + _READING.pack(number)


def decode(record: Buffer, track: TrackInfo | str | None = None, head: Head | None = None) -> Item:
    """The item; arrays are views of ``record``, so hand in bytes, or a read-only view. ``head`` is
    what `peek` gave for it, if the caller has that."""
    head = head or peek(record)
    kind = head[0]
    try:
        if kind == AUDIO:
            return _decode_audio(record, track, head)
        if kind == VIDEO:
            return _decode_video(record, track, head)
        if kind == DATA:
            return _decode_data(record, head)
        if kind == EVENT:
            return _decode_event(record, head)
        if kind == READING:
            return _decode_reading(record, track, head)
        if kind in (TEXT, CALL, ANSWER, PIECE, DTMF, FILE):
            return _decode_data(record, head)
    except (FrameError, ValueError, TypeError, KeyError, struct.error, RecursionError) as error:
        raise WireError(f"a record of kind {kind} does not decode: {error}") from error
    raise WireError(f"a record of unknown kind {kind}")


def _decode_audio(record: Buffer, track: TrackInfo | str | None, head: Head) -> AudioFrame:
    _, _, channels, sample_rate, sequence, received_ns = head
    nbytes = len(record) - HEADER_BYTES
    check_sound(nbytes, sample_rate, channels)
    # Not `frombuffer` and `reshape`, which take twice as long and give a view of a view.
    shape = (nbytes // (2 * channels), channels)
    samples: Samples = np.ndarray(shape, _INT16, record, HEADER_BYTES)
    return AudioFrame.received(samples, sample_rate, track, (sequence, received_ns))


def _decode_video(record: Buffer, track: TrackInfo | str | None, head: Head) -> VideoFrame:
    _, _, rotation, _, sequence, received_ns = head
    width, height, timestamp_us = _VIDEO.unpack_from(record, HEADER_BYTES)
    nbytes = len(record) - VIDEO_HEADER_BYTES
    check_picture(nbytes, (width, height), rotation)
    data = np.frombuffer(record, np.uint8, nbytes, VIDEO_HEADER_BYTES)
    stamp = (sequence, received_ns)
    return VideoFrame.received(data, (width, height), (rotation, timestamp_us), track, stamp)


def _decode_reading(record: Buffer, track: TrackInfo | str | None, head: Head) -> DataTrackFrame:
    _, flags, _, nbytes, sequence, received_ns = head
    (number,) = _READING.unpack_from(record, HEADER_BYTES)
    payload = bytes(record[READING_HEADER_BYTES:])
    if len(payload) != nbytes:
        raise WireError(f"a reading holds {len(payload)} bytes, its header says {nbytes}")
    check_reading(nbytes)
    timestamp = number if flags & _HAS_TIMESTAMP else None
    return DataTrackFrame.received(payload, timestamp, track, (sequence, received_ns))


def _encode_data(frame: DataFrame, stamp: Stamp) -> tuple[bytes, Buffer]:
    topic, sender = frame.topic.encode(), frame.participant.encode()
    texts = b"".join(_LENGTH.pack(len(raw)) + raw for raw in (to.encode() for to in frame.to))
    flags = _RELIABLE if frame.reliable else 0
    kind, pairs = _beside(frame)
    if pairs:
        texts += b"".join(map(_encode_pair, pairs))
    head = _HEADER.pack(kind, flags, len(pairs), len(frame.payload), *stamp)
    lengths = _DATA.pack(len(topic), len(sender), len(frame.to))
    return head + lengths + topic + sender + texts, frame.payload


def _beside(frame: DataFrame) -> tuple[int, _Pairs]:
    """The kind of the record, and what the frame has beside a message."""
    if type(frame) is DataFrame:
        return DATA, _NOTHING
    if isinstance(frame, TextFrame):
        return TEXT, frame.attributes.items()
    if isinstance(frame, RpcCall):
        return CALL, (("number", str(frame.number)), ("timeout", repr(frame.timeout)))
    if isinstance(frame, RpcAnswer):
        number, code = str(frame.number), str(frame.code)
        return ANSWER, (("number", number), ("code", code), ("detail", frame.detail))
    if isinstance(frame, FileFrame):
        return FILE, ((frame.name, frame.mime_type), *frame.attributes.items())
    if isinstance(frame, TextPiece):
        own = ((f".{name}", value) for name, value in frame.attributes.items())
        return PIECE, (("number", str(frame.number)), ("step", frame.step), *own)
    return (DTMF if isinstance(frame, DtmfFrame) else DATA), _NOTHING


def _encode_pair(pair: tuple[str, str]) -> bytes:
    name, value = pair[0].encode(), pair[1].encode()
    return _LENGTH.pack(len(name)) + name + _LENGTH.pack(len(value)) + value


def _decode_data(record: Buffer, head: Head) -> DataFrame:
    kind, flags, count, payload_bytes, sequence, received_ns = head
    topic_bytes, sender_bytes, destinations = _DATA.unpack_from(record, HEADER_BYTES)
    topic, at = _cut(record, HEADER_BYTES + _DATA.size, topic_bytes)
    sender, at = _cut(record, at, sender_bytes)
    to: list[str] = []
    for _ in range(destinations):
        identity, at = _cut_counted(record, at)
        to.append(identity)
    pairs: list[tuple[str, str]] = []
    if kind != DATA:
        for _ in range(count):
            name, at = _cut_counted(record, at)
            value, at = _cut_counted(record, at)
            pairs.append((name, value))
    rest = bytes(record[at:])
    if len(rest) != payload_bytes:
        raise WireError(f"a data record holds {len(rest)} bytes, its header says {payload_bytes}")
    of = (topic, sender, bool(flags & _RELIABLE), tuple(to), sequence, received_ns)
    if kind == DATA:
        return DataFrame(rest, *of)
    return DtmfFrame(rest, *of) if kind == DTMF else _with_pairs(kind, rest, of, pairs)


def _with_pairs(kind: int, payload: bytes, of: _Address, pairs: list[tuple[str, str]]) -> DataFrame:
    """The frame of what a record holds beside a message."""
    if kind == FILE:
        if not pairs:
            raise WireError("a file record without a name")
        return FileFrame(payload, *of, *pairs[0], dict(pairs[1:]))
    beside = dict(pairs)
    if kind == TEXT:
        return TextFrame(payload, *of, beside)
    number = int(beside["number"])
    if kind == CALL:
        return RpcCall(payload, *of, number, float(beside["timeout"]))
    if kind == ANSWER:
        return RpcAnswer(payload, *of, number, int(beside["code"]), beside["detail"])
    own = {name[1:]: value for name, value in beside.items() if name.startswith(".")}
    return TextPiece(payload, *of, number, beside["step"], own)


def _cut_counted(record: Buffer, at: int) -> tuple[str, int]:
    """The text there, which has its length before it, and where it ends."""
    (length,) = _LENGTH.unpack_from(record, at)
    return _cut(record, at + _LENGTH.size, length)


def _cut(record: Buffer, at: int, length: int) -> tuple[str, int]:
    """The text there, of so many bytes, and where it ends."""
    end = at + length
    if end > len(record):
        raise WireError(f"a text of {length} bytes where {len(record) - at} are left")
    return bytes(record[at:end]).decode(), end


def _decode_event(record: Buffer, head: Head) -> Event:
    _, _, _, nbytes, _, received_ns = head
    text = bytes(record[HEADER_BYTES:])
    if len(text) != nbytes:
        raise WireError(f"an event record holds {len(text)} bytes, its header says {nbytes}")
    return event_from_json(json.loads(text), received_ns)


def event_to_json(event: Event) -> dict[str, Any]:
    message: dict[str, Any] = {"kind": event.kind.value}
    if event.reason:
        message["reason"] = event.reason
    if event.participant is not None:
        message["participant"] = participant_to_json(event.participant)
    if event.track is not None:
        message["track"] = track_to_json(event.track)
    if event.room is not None:
        message["room"] = _room_to_json(event.room)
    if event.quality:
        message["quality"] = event.quality
    if event.speakers:
        message["speakers"] = list(event.speakers)
    return message


def event_from_json(message: Any, received_ns: int) -> Event:
    fields = _mapping(message)
    participant = fields.get("participant")
    track = fields.get("track")
    room = fields.get("room")
    return Event(
        kind=EventKind(_text(fields, "kind")),
        participant=None if participant is None else participant_from_json(participant),
        track=None if track is None else track_from_json(track),
        reason=_text(fields, "reason"),
        received_ns=received_ns,
        room=None if room is None else _room_from_json(room),
        quality=_text(fields, "quality"),
        speakers=_texts(fields, "speakers"),
    )


def _room_to_json(room: RoomInfo) -> dict[str, Any]:
    return {"name": room.name, "sid": room.sid, "metadata": room.metadata}


def _room_from_json(message: Any) -> RoomInfo:
    fields = _mapping(message)
    return RoomInfo(
        name=_text(fields, "name"), sid=_text(fields, "sid"), metadata=_text(fields, "metadata")
    )


def participant_to_json(participant: Participant) -> dict[str, Any]:
    return {
        "identity": participant.identity,
        "sid": participant.sid,
        "name": participant.name,
        "metadata": participant.metadata,
        "attributes": dict(participant.attributes),
        "kind": participant.kind,
    }


def participant_from_json(message: Any) -> Participant:
    fields = _mapping(message)
    attributes = _mapping(fields.get("attributes", {}))
    if not all(isinstance(value, str) for value in attributes.values()):
        raise WireError("an attribute that is not text")
    return Participant(
        identity=_text(fields, "identity"),
        sid=_text(fields, "sid"),
        name=_text(fields, "name"),
        metadata=_text(fields, "metadata"),
        attributes=dict(attributes),
        kind=_text(fields, "kind") or "unknown",  # which recordings did not tell once
    )


def track_to_json(track: TrackInfo) -> dict[str, Any]:
    return {
        "sid": track.sid,
        "name": track.name,
        "kind": track.kind.value,
        "participant": track.participant,
        "source": track.source,
    }


def track_from_json(message: Any) -> TrackInfo:
    fields = _mapping(message)
    return TrackInfo(
        sid=_text(fields, "sid"),
        name=_text(fields, "name"),
        kind=Kind(_text(fields, "kind")),
        participant=_text(fields, "participant"),
        source=_text(fields, "source"),
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise WireError(f"a {type(value).__name__} where an object belongs")
    return value


def _texts(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = fields.get(name, [])
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise WireError(f"{name} is no list of texts")
    return tuple(value)


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name, "")
    if not isinstance(value, str):
        raise WireError(f"{name} is a {type(value).__name__}, not text")
    return value
