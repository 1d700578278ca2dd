"""Any bytes are messages or a `WireError`, in whatever pieces they come."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroom.dtmf import DIGITS
from ringroom.errors import WireError
from ringroom.events import EventKind, Kind, Participant, RoomInfo, TrackInfo
from ringroom.option_checks import QUALITIES, VIDEO_QUALITIES
from ringroom.providers.fake import messages, wire
from ringroom.subscribers import Subscribers

TEXT = st.text(max_size=20)
IDENTITIES = st.none() | st.frozensets(st.text(min_size=1, max_size=20), max_size=3)
NUMBER = st.integers(-(2**63), 2**63 - 1)
ATTRIBUTES = st.dictionaries(TEXT, TEXT, max_size=3)
PARTICIPANTS = st.builds(
    Participant,
    identity=TEXT,
    sid=TEXT,
    name=TEXT,
    metadata=TEXT,
    attributes=ATTRIBUTES,
    kind=TEXT,
)
TRACKS = st.builds(
    TrackInfo,
    sid=TEXT,
    name=TEXT,
    kind=st.sampled_from([Kind.AUDIO, Kind.VIDEO]),
    participant=TEXT,
    source=TEXT,
)


@st.composite
def audio(draw: st.DrawFn) -> messages.Audio:
    channels = draw(st.integers(1, 2))
    return messages.Audio(
        track=draw(TEXT),
        sample_rate=draw(st.integers(8_000, 192_000)),
        channels=channels,
        time_ns=draw(NUMBER),
        payload=draw(st.binary(min_size=1, max_size=40)) * 2 * channels,
    )


@st.composite
def video(draw: st.DrawFn) -> messages.Video:
    width, height = draw(st.integers(2, 9)), draw(st.integers(2, 9))
    size = width * height + 2 * ((width + 1) // 2) * ((height + 1) // 2)
    return messages.Video(
        track=draw(TEXT),
        width=width,
        height=height,
        rotation=draw(st.sampled_from([0, 90, 180, 270])),
        timestamp_us=draw(NUMBER),
        time_ns=draw(NUMBER),
        payload=draw(st.binary(min_size=size, max_size=size)),
    )


ROOMS = st.builds(RoomInfo, name=TEXT, sid=TEXT, metadata=TEXT)
HAPPENED = st.builds(
    messages.Happened,
    kind=st.sampled_from([EventKind.PARTICIPANT_JOINED, EventKind.CONNECTION_BACK]),
    participant=st.none() | PARTICIPANTS,
    reason=TEXT,
)
MESSAGES = st.one_of(
    st.builds(messages.Join, identity=TEXT, kind=TEXT),
    st.builds(messages.Leave),
    st.builds(
        messages.Publish,
        request=NUMBER,
        track=TEXT,
        name=TEXT,
        kind=st.sampled_from([Kind.AUDIO, Kind.VIDEO]),
        source=TEXT,
        muted=st.booleans(),
    ),
    st.builds(messages.Unpublish, track=TEXT),
    st.builds(messages.Mute, track=TEXT, muted=st.booleans()),
    st.builds(messages.SetProfile, request=NUMBER, name=TEXT, metadata=TEXT, attributes=ATTRIBUTES),
    st.builds(
        messages.AllowSubscribers,
        payload=st.builds(
            Subscribers, IDENTITIES, st.dictionaries(TEXT, IDENTITIES, max_size=2)
        ).map(lambda allowed: json.dumps(allowed.to_json()).encode()),
    ),
    st.builds(
        messages.Subscription,
        track=TEXT,
        wanted=st.booleans(),
        quality=st.sampled_from(VIDEO_QUALITIES),
    ),
    audio(),
    st.builds(messages.AudioPause, track=TEXT),
    video(),
    st.builds(
        messages.Data,
        request=NUMBER,
        participant=TEXT,
        topic=TEXT,
        reliable=st.booleans(),
        to=st.lists(TEXT, max_size=3).map(tuple),
        payload=st.binary(max_size=50),
    ),
    st.builds(
        messages.Reading,
        track=TEXT,
        timestamp=st.none() | st.integers(0, (1 << 64) - 1),
        time_ns=NUMBER,
        payload=st.binary(min_size=1, max_size=50),
    ),
    st.builds(
        messages.Text,
        request=NUMBER,
        participant=TEXT,
        topic=TEXT,
        to=st.lists(TEXT, max_size=3).map(tuple),
        attributes=st.dictionaries(TEXT, TEXT, max_size=3),
        payload=TEXT.map(str.encode),
    ),
    st.builds(
        messages.Piece,
        request=NUMBER,
        text=st.integers(0, (1 << 63) - 1),
        step=st.sampled_from(["begin", "add", "end"]),
        topic=TEXT,
        to=st.lists(TEXT, max_size=3).map(tuple),
        attributes=st.dictionaries(TEXT, TEXT, max_size=3),
        payload=TEXT.map(str.encode),
    ),
    st.builds(
        messages.Dtmf,
        request=NUMBER,
        participant=TEXT,
        payload=st.sampled_from(DIGITS).map(str.encode),
    ),
    st.builds(
        messages.File,
        request=NUMBER,
        participant=TEXT,
        topic=TEXT,
        to=st.lists(TEXT, max_size=3).map(tuple),
        name=TEXT,
        mime_type=TEXT,
        attributes=st.dictionaries(TEXT, TEXT, max_size=3),
        payload=st.binary(max_size=50),
    ),
    st.builds(
        messages.Call,
        request=NUMBER,
        participant=TEXT,
        method=TEXT,
        timeout_ms=st.integers(0, 1_000_000),
        payload=TEXT.map(str.encode),
    ),
    st.builds(
        messages.Answered,
        request=NUMBER,
        code=st.integers(0, (1 << 32) - 1),
        detail=TEXT,
        payload=TEXT.map(str.encode),
    ),
    st.builds(messages.TextBroken, participant=PARTICIPANTS, topic=TEXT, reason=TEXT),
    st.builds(messages.FileBroken, participant=PARTICIPANTS, topic=TEXT, reason=TEXT),
    st.builds(messages.Joined, room=ROOMS, participant=PARTICIPANTS),
    st.builds(messages.RoomChanged, room=ROOMS),
    st.builds(messages.QualityTold, participant=PARTICIPANTS, quality=st.sampled_from(QUALITIES)),
    st.builds(messages.AllTold),
    st.builds(messages.Refused, request=NUMBER, reason=TEXT, text=TEXT),
    st.builds(messages.Done, request=NUMBER),
    HAPPENED,
    st.builds(
        messages.TrackPublished,
        track=TRACKS,
        participant=PARTICIPANTS,
        muted=st.booleans(),
        withheld=st.booleans(),
    ),
    st.builds(messages.TrackUnpublished, track=TEXT, reason=TEXT),
    st.builds(messages.TrackMuted, track=TEXT, muted=st.booleans()),
    st.builds(messages.TrackWithheld, track=TEXT, withheld=st.booleans()),
    st.builds(messages.PublicationEnded, track=TEXT, text=TEXT),
    st.builds(messages.PublicationMuted, track=TRACKS, muted=st.booleans()),
    st.builds(messages.Misbehave, request=NUMBER, where=TEXT, on=st.booleans()),
    st.builds(messages.Ended, reason=TEXT),
)


def test_every_kind_of_message_is_tried() -> None:
    names = {kind.__name__ for kind in messages.Message.__args__}
    assert names == set(messages.__all__) - {"Message"}
    assert len(MESSAGES.original_strategies) == len(names)  # type: ignore[attr-defined]


@given(MESSAGES)
def test_whole(message: messages.Message) -> None:
    assert wire.decode(wire.encode(message)) == message


@given(st.lists(MESSAGES, max_size=4), st.integers(1, 50))
def test_in_pieces(sent: list[messages.Message], size: int) -> None:
    data = b"".join(map(wire.encode, sent))
    decoder = wire.Decoder()
    received: list[messages.Message] = []
    for start in range(0, len(data), size):
        received.extend(decoder.feed(data[start : start + size]))
    assert received == sent
    assert decoder.pending == 0


@given(MESSAGES)
def test_truncated_at_every_byte(message: messages.Message) -> None:
    data = wire.encode(message)
    for end in range(len(data)):
        with pytest.raises(WireError):
            wire.decode(data[:end])


@given(MESSAGES, st.binary(min_size=1, max_size=30))
def test_trailing_bytes(message: messages.Message, rest: bytes) -> None:
    with pytest.raises(WireError):
        wire.decode(wire.encode(message) + rest)


def _value_or_error(data: bytes) -> None:
    try:
        message = wire.decode(data)
    except WireError:
        return
    assert type(message).__name__ in messages.__all__


@given(st.binary(max_size=200))
def test_random_bytes(data: bytes) -> None:
    _value_or_error(data)


@given(MESSAGES, st.data())
def test_one_byte_changed(message: messages.Message, data: st.DataObject) -> None:
    encoded = bytearray(wire.encode(message))
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] = data.draw(st.integers(0, 255))
    _value_or_error(bytes(encoded))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


def _framed(header: bytes, payload: bytes = b"") -> bytes:
    return struct.pack("<2sII", b"rr", len(header), len(payload)) + header + payload


@given(st.sampled_from(sorted(set(messages.__all__) - {"Message"})), st.data())
def test_headers_of_the_wrong_types(name: str, data: st.DataObject) -> None:
    kind = getattr(messages, name)
    fields: dict[str, Any] = {name: data.draw(JSON) for name in kind.fields}
    header = json.dumps({"type": name, **fields}).encode()
    _value_or_error(_framed(header, data.draw(st.binary(max_size=8))))


@pytest.mark.parametrize(
    "data",
    [
        b"xx" + bytes(8),
        struct.pack("<2sII", b"rr", 0, 0),
        struct.pack("<2sII", b"rr", wire.MAX_HEADER + 1, 0),
        struct.pack("<2sII", b"rr", 2, wire.MAX_PAYLOAD + 1),
        _framed(b"[]"),
        _framed(b"{}"),
        _framed(b'{"type":"Nothing"}'),
        _framed(b'{"type":["Join"]}'),
        _framed(b'{"type":"Join"}'),
        _framed(b'{"type":"Join","identity":"a","more":1}'),
        _framed(b'{"type":"Join","identity":"a"}', b"payload"),
        _framed(b'{"type":"Join","identity":"\\ud800"}'),
        _framed(b'{"type":"Join","identity":"\xff"}'),
        _framed(b'{"type":"Done","request":true}'),
        _framed(b'{"type":"Done","request":9223372036854775808}'),
        _framed(b'{"type":"Done","request":NaN}'),
        _framed(b'{"type":"Done","request":' + b"9" * 5000 + b"}"),
        _framed(b"[" * 100_000),
        _framed(b'{"type":"Happened","kind":"connected","participant":null,"reason":""}'),
        _framed(b'{"type":"Audio","track":"a","sample_rate":1,"channels":1,"time_ns":0}', b"12"),
        _framed(b'{"type":"Audio","track":"a","sample_rate":8000,"channels":2,"time_ns":0}', b"12"),
        _framed(b'{"type":"Audio","track":"a","sample_rate":8000,"channels":1,"time_ns":0}'),
    ],
)
def test_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        wire.decode(data)


LONG = "x" * 1_025
OF = {"request": 1, "participant": "ann"}
SENT = OF | {"topic": "t", "to": ()}
WRITTEN = {"request": 1, "text": 1, "topic": "t", "to": (), "attributes": {}}


@pytest.mark.parametrize(
    "message",
    [
        messages.Data(**SENT | {"topic": LONG}, reliable=True, payload=b"x"),
        messages.Text(**SENT, attributes={}, payload=b"\xff"),
        messages.Text(**SENT, attributes={"a": "x" * 12_000}, payload=b"x"),
        messages.Piece(**WRITTEN, step="none", payload=b"x"),
        messages.Piece(**WRITTEN, step="add", payload=b"\xff"),
        messages.Dtmf(**OF, payload=b"x"),
        messages.AllowSubscribers(payload=b"[]"),
        messages.AllowSubscribers(payload=b'{"everywhere": [""], "tracks": {}}'),
        messages.File(**SENT, name=LONG, mime_type="", attributes={}, payload=b"x"),
        messages.File(**SENT, name="", mime_type=LONG, attributes={}, payload=b"x"),
        messages.File(**SENT, name="", mime_type="", attributes={"a": LONG * 12}, payload=b"x"),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_no_frame_holds_is_refused(message: Any) -> None:
    raw = wire.encode(message)
    with pytest.raises(WireError):
        wire.decode(raw)


def test_what_no_reader_would_take_is_not_sent() -> None:
    with pytest.raises(WireError, match="header"):
        wire.encode(messages.Join(identity="a" * (wire.MAX_HEADER + 1)))
    with pytest.raises(WireError, match="Unicode"):
        wire.encode(messages.Join(identity="\ud800"))
