"""Messages of a fake room <-> bytes.

A message is a prefix (mark, header length, payload length), a JSON header that names the kind of
message and its fields, and a payload of raw bytes: int16 samples, an I420 picture, or data.

Invariants: any bytes decode to messages or raise `WireError`, nothing else; no length is believed
before it is checked against its bound; no code or object is ever carried, only values.
"""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, TypeVar

from ringroom.checks import (
    MAX_SIDE,
    check_channels,
    check_rate,
    check_reading,
    check_size,
    check_timestamp,
)
from ringroom.colour import i420_size
from ringroom.dtmf import DtmfFrame
from ringroom.errors import ConfigurationError, FrameError, WireError
from ringroom.events import EventKind, Kind, Participant, RoomInfo, TrackInfo
from ringroom.frames import DataFrame, FileFrame, TextFrame
from ringroom.option_checks import QUALITIES, VIDEO_QUALITIES
from ringroom.pieces import TextPiece
from ringroom.providers.fake.messages import (
    AllowSubscribers,
    Answered,
    Audio,
    Call,
    Data,
    Dtmf,
    File,
    Message,
    Piece,
    Reading,
    Text,
    Video,
)
from ringroom.rpc import RpcAnswer, RpcCall
from ringroom.subscribers import Subscribers

__all__ = ["Decoder", "decode", "encode"]

_PREFIX = struct.Struct("<2sII")
_MARK = b"rr"
# A message to MAX_DESTINATIONS identities of MAX_IDENTITY_BYTES, each byte escaped.
MAX_HEADER = 1 << 23
# The largest picture that a VideoFrame can hold.
MAX_PAYLOAD = i420_size(MAX_SIDE, MAX_SIDE)

_TYPES: Mapping[str, type[Any]] = {kind.__name__: kind for kind in Message.__args__}
# By type, and by the name of each field its type as it is written.
_FIELDS: Mapping[type[Any], Mapping[str, str]] = {
    **{kind: kind.fields for kind in Message.__args__},
    **{
        kind: {field.name: str(field.type) for field in dataclasses.fields(kind)}
        for kind in (Participant, TrackInfo, RoomInfo)
    },
}
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def encode(message: Message) -> bytes:
    """The bytes of one message. Raises `WireError` if it is larger than a reader accepts."""
    fields: dict[str, Any] = {"type": type(message).__name__}
    payload = b""
    for name in _FIELDS[type(message)]:
        value = getattr(message, name)
        if name == "payload":
            payload = value
        else:
            fields[name] = _to_json(value)
    try:
        header = _JSON.encode(fields).encode()
    except UnicodeEncodeError as error:
        raise WireError(f"text that is not valid Unicode ({error.reason})") from None
    _check_lengths(len(header), len(payload))
    return b"".join((_PREFIX.pack(_MARK, len(header), len(payload)), header, payload))


def decode(data: bytes) -> Message:
    """Exactly one message. Raises `WireError` for anything else."""
    decoder = Decoder()
    messages = [*decoder.feed(data)]
    if len(messages) != 1 or decoder.pending:
        raise WireError(f"{len(messages)} messages and {decoder.pending} more bytes, expected one")
    return messages[0]


class Decoder:
    """Messages out of a stream of bytes that comes in pieces of any size."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def pending(self) -> int:
        """Bytes of a message that is not complete."""
        return len(self._buffer)

    def feed(self, data: bytes | memoryview) -> Iterator[Message]:
        """Takes all of ``data``, yields the messages that are complete with it.

        Raises `WireError`; the stream is lost then.
        """
        self._buffer += data
        start = 0
        try:
            while (end := self._end_of_message(start)) is not None:
                header_start = start + _PREFIX.size
                _, header, _ = _PREFIX.unpack_from(self._buffer, start)
                with memoryview(self._buffer) as view:
                    head = bytes(view[header_start : header_start + header])
                    payload = bytes(view[header_start + header : end])
                start = end
                yield _message(head, payload)
        finally:
            del self._buffer[:start]

    def _end_of_message(self, start: int) -> int | None:
        if len(self._buffer) - start < _PREFIX.size:
            return None
        mark, header, payload = _PREFIX.unpack_from(self._buffer, start)
        if mark != _MARK:
            raise WireError(f"a message starts with {mark!r}, expected {_MARK!r}")
        _check_lengths(header, payload)
        end = start + _PREFIX.size + header + payload
        return int(end) if end <= len(self._buffer) else None


def _check_lengths(header: int, payload: int) -> None:
    if not 2 <= header <= MAX_HEADER:
        raise WireError(f"a message header of {header} bytes, expected 2 to {MAX_HEADER}")
    if payload > MAX_PAYLOAD:
        raise WireError(f"a message payload of {payload} bytes, at most {MAX_PAYLOAD} are allowed")


def _message(header: bytes, payload: bytes) -> Message:
    fields = _json(header)
    name = fields.pop("type", None)
    kind = _TYPES.get(name) if isinstance(name, str) else None
    if kind is None:
        raise WireError(f"a message of unknown type {name!r}")
    message: Message = _build(kind, fields, payload)
    try:
        _check_contents(message)
    except FrameError as error:
        raise WireError(f"{kind.__name__}: {error}") from None
    return message


def _json(header: bytes) -> dict[str, Any]:
    try:
        fields = _DECODER.decode(header.decode())
    # ValueError: malformed JSON, invalid UTF-8, or a number with too many digits.
    except (ValueError, RecursionError) as error:
        raise WireError(f"a message header that is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise WireError("a message header that is not a JSON object")
    return fields


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _build(kind: type[Any], fields: dict[str, Any], payload: bytes = b"") -> Any:
    values: dict[str, Any] = {}
    for name, reader in _FIELD_READERS[kind]:
        if name == "payload":
            values["payload"], payload = payload, b""
        elif name in fields:
            values[name] = reader(fields.pop(name))
        else:
            raise WireError(f"{kind.__name__} without {name}")
    if fields or payload:
        raise WireError(f"{kind.__name__} with unknown fields or a payload")
    return kind(**values)


def _to_json(value: Any) -> Any:
    if isinstance(value, str | int):
        return value
    if isinstance(value, Participant | TrackInfo | RoomInfo):
        return {name: _to_json(getattr(value, name)) for name in _FIELDS[type(value)]}
    return dict(value) if isinstance(value, Mapping) else value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise WireError(f"a field of type {type(value).__name__}, expected text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise WireError(f"a field that is not valid Unicode text ({error.reason})") from None
    return value


def _integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise WireError("a field that is not a 64-bit integer")
    return value


def _timestamp(value: Any) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise WireError("a field that is neither null nor a whole number")
    return check_timestamp(value)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise WireError("a field that is not true or false")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise WireError("a field that is not a list")
    return tuple(_text(item) for item in value)


def _attributes(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise WireError("a field that is not an object")
    return {_text(key): _text(item) for key, item in value.items()}


def _kind(value: Any) -> Kind:
    return Kind(_one_of((Kind.AUDIO, Kind.VIDEO, Kind.DATA_TRACK), value))


def _quality(value: Any) -> str:
    return _one_of(QUALITIES, value)


def _video_quality(value: Any) -> str:
    return _one_of(VIDEO_QUALITIES, value)


def _event_kind(value: Any) -> EventKind:
    return EventKind(_one_of(_HAPPENINGS, value))


def _one_of(allowed: tuple[str, ...], value: Any) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise WireError(f"a field that is none of {', '.join(allowed)}")
    return value


def _participant(value: Any) -> Participant:
    return _nested(Participant, value)


def _track(value: Any) -> TrackInfo:
    return _nested(TrackInfo, value)


def _room(value: Any) -> RoomInfo:
    return _nested(RoomInfo, value)


_Nested = TypeVar("_Nested", Participant, TrackInfo, RoomInfo)


def _nested(kind: type[_Nested], value: Any) -> _Nested:
    if not isinstance(value, dict):
        raise WireError(f"a field that is not a {kind.__name__}")
    nested: _Nested = _build(kind, dict(value))
    return nested


_HAPPENINGS = (
    EventKind.PARTICIPANT_JOINED,
    EventKind.PARTICIPANT_LEFT,
    EventKind.PARTICIPANT_CHANGED,
    EventKind.CONNECTION_LOST,
    EventKind.CONNECTION_BACK,
)
_READERS: Mapping[str, Callable[[Any], Any]] = {
    "str": _text,
    "int": _integer,
    "int | None": _timestamp,
    "bool": _boolean,
    "tuple[str, ...]": _texts,
    "Mapping[str, str]": _attributes,
    "Kind": _kind,
    "EventKind": _event_kind,
    "Quality": _quality,
    "VideoQuality": _video_quality,
    "Participant": _participant,
    "Participant | None": lambda value: None if value is None else _participant(value),
    "TrackInfo": _track,
    "RoomInfo": _room,
    "bytes": bytes,  # the payload, which is no part of the header
}
_FIELD_READERS: Mapping[type[Any], tuple[tuple[str, Callable[[Any], Any]], ...]] = {
    kind: tuple((name, _READERS[type_]) for name, type_ in fields.items())
    for kind, fields in _FIELDS.items()
}


def subscribers_of(message: AllowSubscribers) -> Subscribers:
    """Who may subscribe. Raises `WireError`."""
    try:
        return Subscribers.from_json(_json(message.payload))
    except ConfigurationError as error:
        raise WireError(f"AllowSubscribers: {error}") from None


def _check_contents(message: Message) -> None:
    match message:
        case Audio():
            check_rate(message.sample_rate)
            frame_bytes = 2 * check_channels(message.channels)
            if not message.payload or len(message.payload) % frame_bytes:
                raise WireError(f"{len(message.payload)} bytes of PCM, not a multiple of a sample")
        case Video():
            check_size(message.width, message.height)
            if len(message.payload) != i420_size(message.width, message.height):
                raise WireError("a picture whose bytes do not match its size")
            if message.rotation not in (0, 90, 180, 270):
                raise WireError(f"a picture rotated by {message.rotation} degrees")
        case Reading():
            check_reading(len(message.payload))
            check_timestamp(message.timestamp)
        case Data() | Text() | Piece() | Dtmf() | File():
            _check_frame(message)
        case Call():
            seconds = message.timeout_ms / 1000
            RpcCall(message.payload, message.method, message.participant, timeout=seconds)
        case AllowSubscribers():
            subscribers_of(message)
        case Answered():
            RpcAnswer(message.payload, code=message.code, detail=message.detail)
        case _:
            pass


def _check_frame(message: Data | Text | Piece | Dtmf | File) -> None:
    """A frame knows its own bounds."""
    match message:
        case Data():
            DataFrame(message.payload, topic=message.topic, to=message.to)
        case Text():
            TextFrame(message.payload, message.topic, to=message.to, attributes=message.attributes)
        case Piece(payload=payload, topic=topic, to=to):
            number, step, attributes = message.text, message.step, message.attributes
            TextPiece(payload, topic, to=to, number=number, step=step, attributes=attributes)
        case Dtmf():
            DtmfFrame(message.payload)
        case File():
            FileFrame(
                message.payload,
                message.topic,
                to=message.to,
                name=message.name,
                mime_type=message.mime_type,
                attributes=message.attributes,
            )
