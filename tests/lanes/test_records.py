"""The codec's law: any bytes decode to a value or raise `WireError`."""

from __future__ import annotations

import random
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lane_kit import TRACK, audio, content, message, muted, video

from ringroom.checks import MAX_DATA_TRACK_BYTES, MAX_FILE_BYTES
from ringroom.colour import i420_size
from ringroom.dtmf import DIGITS, DtmfFrame
from ringroom.errors import WireError
from ringroom.events import Event, EventKind, Kind, Participant, RoomInfo, TrackInfo
from ringroom.frames import (
    AudioFrame,
    DataFrame,
    DataTrackFrame,
    FileFrame,
    Item,
    TextFrame,
    VideoFrame,
)
from ringroom.lanes import records
from ringroom.pieces import ADD, BEGIN, END, TextPiece
from ringroom.rpc import MAX_SECONDS, RpcAnswer, RpcCall

STAMP = (7, 123_456_789)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
KINDS: dict[str, Item] = {
    "mono": audio(5, 1),
    "stereo": audio(5, 2, 2),
    "video": video(4, 3, 9),
    "reading": DataTrackFrame(b"\0\xff", timestamp=(1 << 64) - 1),
    "reading without a time": DataTrackFrame(b"x"),
    "data": DataFrame(b"payload", "topic", "ann", reliable=False, to=("bob", "zoë")),
    "empty data": DataFrame(b""),
    "text": TextFrame(
        "grüße".encode(), "lk.chat", "ann", to=("bob",), attributes={"é": "1", "b": ""}
    ),
    "empty text": TextFrame(b""),
    "file": FileFrame(
        b"\xff\xd8",
        "photos",
        "ann",
        to=("bob",),
        name="../größe.jpg",
        mime_type="image/jpeg",
        attributes={"é": "1", "": ""},
    ),
    "empty file": FileFrame(b""),
    "call": RpcCall("grüße".encode(), "greet", "ann", number=5, timeout=2.5),
    "answer": RpcCall(b"", "greet", "zoë", number=(1 << 63) - 1).answer("hé"),
    "refusal": RpcCall(b"", "greet", "ann").refuse("hé", code=(1 << 32) - 1, data="{é}"),
    "digit": DtmfFrame("#", participant="zoë"),
    "event": muted(3, padding=5),
    "room": Event(kind=EventKind.ROOM_CHANGED, room=RoomInfo(name="é", sid="RM", metadata="{}")),
    "quality": Event(
        kind=EventKind.CONNECTION_QUALITY, participant=Participant(identity="é"), quality="lost"
    ),
    "speakers": Event(kind=EventKind.ACTIVE_SPEAKERS, speakers=("é", "bob")),
    "bare event": Event(kind=EventKind.DISCONNECTED),
}


def whole(item: Item) -> bytes:
    head, body = records.encode(item, STAMP)
    return head + bytes(body)


@pytest.mark.parametrize("name", KINDS)
def test_whole(name: str) -> None:
    item = KINDS[name]
    got = records.decode(whole(item), TRACK)
    assert content(got) == content(item)
    assert got.received_ns == STAMP[1]
    if not isinstance(got, Event):
        assert got.sequence == STAMP[0]
    if isinstance(got, AudioFrame | VideoFrame | DataTrackFrame):
        assert got.track is TRACK
    assert records.peek(whole(item))[-2:] == STAMP


@pytest.mark.parametrize("name", KINDS)
def test_truncated_at_every_byte(name: str) -> None:
    """An equal value only when whole."""
    item, raw = KINDS[name], whole(KINDS[name])
    for length in range(len(raw)):
        try:
            got = records.decode(raw[:length], TRACK)
        except WireError:
            continue
        assert isinstance(got, AudioFrame), "only samples have no length of their own"
        assert content(got) != content(item)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("trailing", [b"\0", b"xy", b"\0" * 40])
def test_trailing_bytes(name: str, trailing: bytes) -> None:
    item = KINDS[name]
    try:
        got = records.decode(whole(item) + trailing, TRACK)
    except WireError:
        return
    assert isinstance(got, AudioFrame)
    assert content(got) != content(item)


def test_the_clock_of_the_source_and_the_rotation_travel() -> None:
    frame = VideoFrame(bytes(12 + 2 * 4), 4, 3, rotation=270, timestamp_us=-(1 << 63))
    assert content(records.decode(whole(frame))) == content(frame)


def test_stereo_is_interleaved_little_endian() -> None:
    frame = AudioFrame(np.array([[1, -2], [300, -32768]], np.int16), 48_000)
    assert whole(frame)[records.HEADER_BYTES :] == b"\x01\x00\xfe\xff\x2c\x01\x00\x80"


def test_views_of_a_record_are_not_copies() -> None:
    raw = bytearray(whole(audio(50, 1)))
    frame = records.decode(memoryview(raw).toreadonly())
    assert isinstance(frame, AudioFrame)
    raw[records.HEADER_BYTES] ^= 0xFF
    assert frame.samples[0, 0] != audio(50, 1).samples[0, 0]
    assert not frame.samples.flags.writeable


@given(
    payload=st.binary(max_size=200),
    topic=TEXT,
    sender=TEXT,
    reliable=st.booleans(),
    to=st.lists(TEXT, max_size=5).map(tuple),
)
@settings(deadline=None)
def test_any_message_comes_back(
    payload: bytes, topic: str, sender: str, reliable: bool, to: tuple[str, ...]
) -> None:
    frame = DataFrame(payload, topic, sender, reliable, to)
    assert content(records.decode(whole(frame))) == content(frame)


@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
    topic=TEXT,
    sender=TEXT,
    to=st.lists(TEXT, max_size=3).map(tuple),
    attributes=st.dictionaries(TEXT, TEXT, max_size=5),
)
@settings(deadline=None)
def test_any_text_comes_back(
    text: str, topic: str, sender: str, to: tuple[str, ...], attributes: dict[str, str]
) -> None:
    frame = TextFrame(text.encode(), topic, sender, to=to, attributes=attributes)
    assert content(records.decode(whole(frame))) == content(frame)


@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
    method=TEXT,
    caller=TEXT,
    number=st.integers(0, (1 << 63) - 1),
    timeout=st.floats(0, MAX_SECONDS),
    code=st.integers(0, (1 << 32) - 1),
)
@settings(deadline=None)
def test_any_call_comes_back_and_whatever_answers_it(
    text: str, method: str, caller: str, number: int, timeout: float, code: int
) -> None:
    call = RpcCall(text.encode(), method, caller, number=number, timeout=timeout)
    assert content(records.decode(whole(call))) == content(call)
    to = (caller,)
    answer = RpcAnswer(text.encode(), method, to=to, number=number, code=code, detail=method)
    assert content(records.decode(whole(answer))) == content(answer)


@given(
    text=TEXT,
    topic=TEXT,
    number=st.integers(0, (1 << 63) - 1),
    step=st.sampled_from([BEGIN, ADD, END]),
    attributes=st.dictionaries(TEXT, TEXT, max_size=4),
)
@example(text="", topic="", number=1, step=BEGIN, attributes={"number": "9", "step": "", "": "."})
def test_a_piece_of_a_text_travels_with_what_its_text_has(
    text: str, topic: str, number: int, step: str, attributes: dict[str, str]
) -> None:
    piece = TextPiece(
        text.encode(), topic, to=("bob",), number=number, step=step, attributes=attributes
    )
    decoded = records.decode(whole(piece))
    assert isinstance(decoded, TextPiece)
    assert content(decoded) == content(piece)
    assert (decoded.number, decoded.step) == (number, step)


@pytest.mark.parametrize(
    ("kind", "beside"),
    [
        (records.CALL, {"number": "-1", "timeout": "1"}),
        (records.CALL, {"number": "1", "timeout": "nan"}),
        (records.CALL, {"number": "x", "timeout": "1"}),
        (records.CALL, {"number": "1"}),
        (records.PIECE, {"number": "-1", "step": "add"}),
        (records.PIECE, {"number": "1", "step": "sideways"}),
        (records.PIECE, {"number": "1"}),
        (records.ANSWER, {"number": "1", "code": "-1", "detail": ""}),
        (records.ANSWER, {"number": "1", "code": str(1 << 32), "detail": ""}),
        (records.ANSWER, {"number": "1", "code": "1"}),
    ],
    ids=str,
)
def test_what_is_no_call_and_no_answer(kind: int, beside: dict[str, str]) -> None:
    raw = bytearray(whole(TextFrame(b"", attributes=beside)))
    raw[0] = kind
    with pytest.raises(WireError, match=f"a record of kind {kind} does not decode"):
        records.decode(bytes(raw))


@pytest.mark.parametrize("digit", DIGITS)
def test_any_digit_comes_back_as_one(digit: str) -> None:
    got = records.decode(whole(DtmfFrame(digit, participant="ann")))
    assert isinstance(got, DtmfFrame)
    assert (got.digit, got.participant) == (digit, "ann")


@pytest.mark.parametrize(
    "frame",
    [
        DataFrame(b"x"),
        DataFrame(b""),
        DataFrame(b"12"),
        DataFrame(b"\xff"),
        DataFrame(b"1", "topic"),
        DataFrame(b"1", reliable=False),
        DataFrame(b"1", to=("ann",)),
    ],
    ids=str,
)
def test_what_is_no_digit(frame: DataFrame) -> None:
    raw = bytearray(whole(frame))
    raw[0] = records.DTMF
    with pytest.raises(WireError, match="a record of kind 9 does not decode"):
        records.decode(bytes(raw))


@given(
    payload=st.binary(max_size=200),
    topic=TEXT,
    to=st.lists(TEXT, max_size=3).map(tuple),
    name=TEXT,
    mime_type=TEXT,
    attributes=st.dictionaries(TEXT, TEXT, max_size=5),
)
@settings(deadline=None)
def test_any_file_comes_back(payload: bytes, topic: str, to: tuple[str, ...], **said: Any) -> None:
    frame = FileFrame(payload, topic, "ann", to=to, **said)
    assert content(records.decode(whole(frame))) == content(frame)
    assert records.size_of(frame) == len(whole(frame))


def test_what_is_no_file() -> None:
    raw = bytearray(whole(TextFrame(b"x")))
    raw[0] = records.FILE
    with pytest.raises(WireError, match="a file record without a name"):
        records.decode(bytes(raw))


def test_a_large_file_is_copied_once() -> None:
    """And not again for each of those that it is for."""
    frame = FileFrame(bytes(MAX_FILE_BYTES), to=tuple(map(str, range(1_000))))
    record = whole(frame)
    tracemalloc.start()
    try:
        assert records.decode(memoryview(record)) == replace(
            frame, sequence=STAMP[0], received_ns=STAMP[1]
        )
        assert tracemalloc.get_traced_memory()[1] < 1.5 * MAX_FILE_BYTES
    finally:
        tracemalloc.stop()


def test_the_longest_text_with_all_its_attributes_fits_a_lane_for_messages() -> None:
    attributes = {f"{number:04}": "12345678" for number in range(1_000)}  # 12,000 bytes
    frame = TextFrame(bytes(200_000), "t" * 1_024, "s" * 1_024, attributes=attributes)
    assert len(whole(frame)) < 1 << 18


@given(
    kind=st.sampled_from(EventKind),
    participant=st.none()
    | st.builds(
        Participant,
        identity=TEXT,
        sid=TEXT,
        name=TEXT,
        metadata=TEXT,
        attributes=st.dictionaries(TEXT, TEXT, max_size=3),
        kind=TEXT.filter(bool),
    ),
    track=st.none()
    | st.builds(
        TrackInfo,
        sid=TEXT,
        name=TEXT,
        kind=st.sampled_from(["audio", "video"]).map(Kind),
        participant=TEXT,
        source=TEXT,
    ),
    reason=st.text(max_size=20),
    room=st.none() | st.builds(RoomInfo, name=TEXT, sid=TEXT, metadata=TEXT),
    quality=TEXT,
    speakers=st.lists(TEXT, max_size=3).map(tuple),
)
@settings(deadline=None)
def test_any_event_comes_back(
    kind: EventKind,
    participant: Participant | None,
    track: TrackInfo | None,
    reason: str,
    room: RoomInfo | None,
    quality: str,
    speakers: tuple[str, ...],
) -> None:
    event = Event(
        kind=kind,
        participant=participant,
        track=track,
        reason=reason,
        received_ns=STAMP[1],
        room=room,
        quality=quality,
        speakers=speakers,
    )
    assert records.decode(whole(event)) == event


@given(raw=st.binary(max_size=120))
@settings(max_examples=300, deadline=None)
def test_any_bytes_decode_or_are_wire_errors(raw: bytes) -> None:
    for kind in (None, 1, 2, 3, 4, 5):
        record = raw if kind is None or not raw else bytes([kind]) + raw[1:]
        decodes_or_refuses(record)


def test_twenty_thousand_mutations() -> None:
    """In bulk: bits flipped, bytes replaced, cut, and joined, from whole records."""
    dice = random.Random(20_240_601)
    samples = [whole(item) for item in KINDS.values()] + [whole(message(30))]
    decoded = 0
    for _ in range(20_000):
        raw = bytearray(dice.choice(samples))
        for _ in range(dice.randint(1, 4)):
            place = dice.randrange(len(raw)) if raw else 0
            match dice.randrange(5):
                case 0 if raw:
                    raw[place] ^= 1 << dice.randrange(8)
                case 1 if raw:
                    raw[place] = dice.choice((0, 1, 2, 127, 128, 255))
                case 2:
                    del raw[place:]
                case 3:
                    raw[place:place] = dice.randbytes(dice.randint(1, 8))
                case _:
                    raw += dice.choice(samples)[place:]
        decoded += decodes_or_refuses(bytes(raw))
    assert 500 < decoded < 19_500, "the fuzz reaches both outcomes"


def decodes_or_refuses(raw: bytes) -> bool:
    try:
        item = records.decode(raw, TRACK)
    except WireError:
        return False
    again = records.decode(whole_again(item), TRACK)
    assert content(again) == content(item)
    return True


def whole_again(item: Item) -> bytes:
    head, body = records.encode(item, (0, item.received_ns))
    return head + bytes(body)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b'{"kind": 5}',
        b'{"kind": "no such"}',
        b'{"kind": "connected", "participant": 5}',
        b'{"kind": "connected", "participant": {"attributes": {"a": 1}}}',
        b'{"kind": "connected", "participant": {"attributes": 7}}',
        b'{"kind": "connected", "participant": {"identity": null}}',
        b'{"kind": "connected", "participant": {"kind": 4}}',
        b'{"kind": "connected", "track": {"kind": "smell"}}',
        b'{"kind": "connected", "track": []}',
        b'{"kind": "connected", "reason": ["x"]}',
        b'{"kind": "connected"',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b"9" * 5_000,
    ],
)
def test_events_of_wrong_json_are_wire_errors(text: bytes) -> None:
    raw = records._HEADER.pack(records.EVENT, 0, 0, len(text), 0, 0) + text
    with pytest.raises(WireError):
        records.decode(raw)


def test_of_somebody_in_an_older_recording_no_kind_is_known() -> None:
    text = b'{"kind": "participant_joined", "participant": {"identity": "ann"}}'
    event = records.decode(records._HEADER.pack(records.EVENT, 0, 0, len(text), 0, 0) + text)
    assert isinstance(event, Event)
    assert event.participant == Participant(identity="ann", kind="unknown")


@pytest.mark.parametrize("kind", [0, 200, 255])
def test_unknown_kinds_are_wire_errors(kind: int) -> None:
    with pytest.raises(WireError, match="unknown kind"):
        records.decode(bytes([kind]) + bytes(40))


@pytest.mark.parametrize(
    ("channels", "rate", "nbytes"),
    [
        (0, 16_000, 4),
        (3, 16_000, 6),
        (1, 0, 4),
        (1, 7_999, 4),
        (1, 16_000, 3),
        (2, 16_000, 6),
        (1, 16_000, 0),
    ],
)
def test_impossible_audio_is_a_wire_error(channels: int, rate: int, nbytes: int) -> None:
    with pytest.raises(WireError):
        records.decode(records.audio_head(rate, channels, STAMP) + bytes(nbytes))


@pytest.mark.parametrize(
    ("width", "height", "rotation"), [(0, 4, 0), (4, 1, 0), (8_193, 2, 0), (4, 4, 45)]
)
def test_impossible_video_is_a_wire_error(width: int, height: int, rotation: int) -> None:
    nbytes = i420_size(width, height)
    raw = records.video_head((width, height), rotation, 0, STAMP) + bytes(nbytes)
    with pytest.raises(WireError):
        records.decode(raw)


@given(
    payload=st.binary(min_size=1, max_size=300),
    timestamp=st.none() | st.integers(0, (1 << 64) - 1),
)
def test_any_reading_comes_back(payload: bytes, timestamp: int | None) -> None:
    got = records.decode(whole(DataTrackFrame(payload, timestamp=timestamp)), TRACK)
    assert isinstance(got, DataTrackFrame)
    assert (got.payload, got.timestamp, got.track) == (payload, timestamp, TRACK)
    assert (got.sequence, got.received_ns) == STAMP


@pytest.mark.parametrize("nbytes", [0, MAX_DATA_TRACK_BYTES + 1])
def test_an_impossible_reading_is_a_wire_error(nbytes: int) -> None:
    with pytest.raises(WireError, match="in one frame of a data track"):
        records.decode(records.reading_head(nbytes, None, STAMP) + bytes(nbytes))


def test_what_precedes_a_reading_is_no_longer_than_what_lanes_leave_room_for() -> None:
    assert len(records.reading_head(1, 7, STAMP)) == records.READING_HEADER_BYTES
    assert records.READING_HEADER_BYTES <= records.MAX_MEDIA_HEADER_BYTES
