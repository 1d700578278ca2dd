"""Frames: everything a user may hand in, right and wrong."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ringroom.checks import MAX_DATA_BYTES, MAX_DESTINATIONS, MAX_FILE_BYTES, MAX_TEXT_BYTES
from ringroom.errors import FrameError
from ringroom.events import Event, EventKind, Kind, Participant, TrackInfo
from ringroom.frames import (
    AudioFrame,
    DataFrame,
    DataTrackFrame,
    FileFrame,
    TextFrame,
    VideoFrame,
)

TRACK = TrackInfo(sid="TR_1", name="mic", kind=Kind.AUDIO, participant="ann")
PCM = np.array([0, 1, -1, 256, 32767, -32768], np.int16)


def samples(*args: Any, **kwargs: Any) -> list[list[int]]:
    found: list[list[int]] = AudioFrame(*args, **kwargs).samples.tolist()
    return found


# Audio, right.


@pytest.mark.parametrize(
    "given_samples",
    [
        PCM,
        PCM.reshape(-1, 1),
        PCM.tobytes(),
        bytearray(PCM.tobytes()),
        memoryview(PCM.tobytes()),
        memoryview(PCM),
        PCM.astype(">i2"),
        PCM.astype("<i2"),
        np.repeat(PCM, 2)[::2],
        PCM[::-1][::-1],
        np.asfortranarray(PCM.reshape(-1, 1)),
    ],
    ids=lambda given: type(given).__name__,
)
def test_mono_in_every_form(given_samples: Any) -> None:
    frame = AudioFrame(given_samples, 16_000)
    assert frame.samples.dtype == np.int16
    assert frame.samples.dtype.isnative
    assert frame.samples.flags.c_contiguous
    assert frame.samples.shape == (6, 1)
    assert frame.samples[:, 0].tolist() == PCM.tolist()
    assert frame.data == PCM.tobytes()
    assert frame.channels == 1
    assert frame.duration == 6 / 16_000


@pytest.mark.parametrize(
    "given_samples",
    [
        PCM,
        PCM.tobytes(),
        PCM.reshape(3, 2),
        PCM.reshape(3, 2).astype(">i2"),
        np.asfortranarray(PCM.reshape(3, 2)),
        memoryview(PCM.reshape(3, 2)),
    ],
)
def test_stereo_is_interleaved(given_samples: Any) -> None:
    frame = AudioFrame(given_samples, 48_000, 2)
    assert frame.samples.tolist() == [[0, 1], [-1, 256], [32767, -32768]]
    assert frame.data == b"\x00\x00\x01\x00\xff\xff\x00\x01\xff\x7f\x00\x80"
    assert frame.channels == 2
    assert frame.duration == 3 / 48_000


def test_stereo_needs_no_channels_when_the_shape_says_it() -> None:
    assert AudioFrame(PCM.reshape(3, 2), 16_000).channels == 2


def test_an_array_of_the_right_form_is_not_copied() -> None:
    array = PCM.reshape(-1, 1).copy()
    assert np.shares_memory(AudioFrame(array, 16_000).samples, array)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_a_buffer_that_may_be_refilled_is_copied(kind: type) -> None:
    buffer = bytearray(PCM.tobytes())
    frame = AudioFrame(kind(buffer), 16_000)
    buffer[:] = bytes(len(buffer))
    assert frame.samples[:, 0].tolist() == PCM.tolist()


def test_read_only_arrays_are_taken() -> None:
    array = PCM.copy()
    array.flags.writeable = False
    frame = AudioFrame(array, 16_000)
    assert frame.gain(0.5).samples[4, 0] == 16_384


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble, ">f4"])
def test_floats_are_scaled_and_clipped(dtype: Any) -> None:
    given_samples = np.array([0, 1, -1, 0.5, 1.5, -7], dtype)
    assert samples(given_samples, 16_000) == [
        [0], [32767], [-32767], [16384], [32767], [-32767]
    ]  # fmt: skip


def test_floats_in_a_list_and_in_a_memoryview() -> None:
    assert samples([0.0, 1.0], 16_000) == [[0], [32767]]
    view = memoryview(np.array([0.0, -1.0], np.float32))
    assert samples(view, 16_000) == [[0], [-32767]], "a view of floats is not PCM"


@given(
    array=arrays.arrays(
        np.float32, st.integers(1, 50), elements=st.floats(-4, 4, width=32, allow_nan=False)
    )
)
@settings(deadline=None)
def test_any_float_comes_near(array: Any) -> None:
    got = AudioFrame(array, 16_000).samples[:, 0] / 32767
    assert np.abs(got - np.clip(array, -1, 1)).max() <= 0.51 / 32767


def test_to_float_and_back_is_off_by_one_at_most() -> None:
    frame = AudioFrame(np.arange(-32768, 32768, dtype=np.int16), 16_000)
    floats = frame.as_float()
    assert floats.dtype == np.float32
    assert floats.shape == (65_536, 1)
    assert np.abs(floats).max() <= 1
    again = AudioFrame(floats, 16_000).samples.astype(int)
    assert np.abs(again - frame.samples.astype(int)).max() <= 1


@pytest.mark.parametrize(
    ("factor", "expected"),
    [
        (0, [0, 0, 0, 0, 0, 0]),
        (1, PCM.tolist()),
        (-1, [0, -1, 1, -256, -32767, 32767]),
        (2, [0, 2, -2, 512, 32767, -32768]),
        (0.5, [0, 0, 0, 128, 16384, -16384]),
        (1e308, [0, 32767, -32768, 32767, 32767, -32768]),
        (np.float32(2), [0, 2, -2, 512, 32767, -32768]),
    ],
)
def test_gain_clips_instead_of_wrapping(factor: float, expected: list[int]) -> None:
    frame = AudioFrame(PCM, 16_000, track=TRACK)
    frame.sequence, frame.received_ns = 3, 4
    louder = frame.gain(factor)
    assert louder.samples[:, 0].tolist() == expected
    assert (louder.track, louder.sequence, louder.received_ns) == (TRACK, 3, 4)
    assert frame.samples[:, 0].tolist() == PCM.tolist()


@pytest.mark.parametrize("factor", [float("nan"), float("inf"), float("-inf")])
def test_gain_is_finite(factor: float) -> None:
    with pytest.raises(FrameError, match="gain"):
        AudioFrame(PCM, 16_000).gain(factor)


def test_replace_keeps_the_rest() -> None:
    frame = AudioFrame(PCM, 24_000, 2, track=TRACK)
    other = frame.replace(samples=np.zeros((5, 2), np.int16), track="reply")
    assert (other.samples.shape, other.track, other.sample_rate) == ((5, 2), "reply", 24_000)
    assert frame.replace().track is TRACK
    with pytest.raises(FrameError):
        frame.replace(samples=np.zeros((5, 1), np.int16))


@pytest.mark.parametrize("rate", [8_000, 16_000, np.int64(44_100), 192_000])
def test_rates(rate: int) -> None:
    frame = AudioFrame(PCM, rate)
    assert frame.sample_rate == rate
    assert type(frame.sample_rate) is int


# Audio, wrong.


def released() -> memoryview:
    view = memoryview(bytes(24))
    view.release()
    return view


@pytest.mark.parametrize(
    ("given_samples", "channels", "match"),
    [
        (None, None, "samples of NoneType, expected bytes"),
        ("text", None, "dtype"),
        (5, None, "dtype int64"),
        (np.int16(5), None, "shape ()"),
        ({"a": 1}, None, "samples of dict, expected bytes"),
        ([1, 2, 3], None, "astype"),
        ([[1.0, 2.0], [3.0]], None, "do not form an array"),
        (np.zeros(4, np.uint16), None, "uint16"),
        (np.zeros(4, np.int32), None, "int32"),
        (np.zeros(4, np.int8), None, "int8"),
        (np.zeros(4, np.uint8), None, "uint8"),
        (np.zeros(4, bool), None, "bool"),
        (np.zeros(4, complex), None, "complex"),
        (memoryview(np.zeros(4, np.int32)), None, "int32"),
        (np.zeros((2, 160), np.int16), None, r"shape \(2, 160\)"),
        (np.zeros((4, 3), np.int16), None, r"shape \(4, 3\)"),
        (np.zeros((4, 1, 1), np.int16), None, "shape"),
        (np.zeros((4, 0), np.int16), None, "shape"),
        (np.zeros((4, 2), np.int16), 1, "has not the 1 channels.*; leave channels out"),
        (np.zeros((4, 1), np.int16), 2, "has not the 2 channels"),
        (np.zeros(3, np.int16), 2, "do not divide"),
        (b"\x00\x00" * 3, 2, "do not divide"),
        (b"\x00\x00\x00", None, "one is missing"),
        (bytearray(1), None, "one is missing"),
        (memoryview(b"abc"), None, "one is missing"),
        (b"", None, "without samples"),
        (np.zeros(0, np.int16), None, "without samples"),
        (np.zeros((0, 2), np.int16), None, "without samples"),
        (np.zeros(0, np.float32), None, "without samples"),
        ([], None, "without samples"),
        ([0.0, float("nan")], None, "NaN"),
        (np.array([np.inf], np.float32), None, "infinite"),
        ([0.0, -20_000.0], None, r"reaches 20000, expected \[-1, 1\]; divide"),
        (np.full(4, 60_000, np.float16), None, "divide"),
        (np.ma.array([1, 2], mask=[True, False], dtype=np.int16), None, "masked"),
        (released(), None, "was released"),
        (np.zeros((1, 160), np.int16), None, "planar"),
        (PCM, 0, "channels is 0"),
        (PCM, 3, "channels is 3"),
        (PCM, -1, "channels is -1"),
        (PCM, "2", "channels is '2'"),
        (PCM, 2.0, "channels is 2.0"),
        (PCM, True, "channels is True"),
        (PCM.reshape(-1, 1), True, "channels is True"),
    ],
)
def test_wrong_samples(given_samples: Any, channels: Any, match: str) -> None:
    with pytest.raises(FrameError, match=match):
        AudioFrame(given_samples, 16_000, channels)


@pytest.mark.parametrize("dtype", ["int32", "int8", "uint16", "uint8"])
def test_what_is_said_of_other_whole_numbers_makes_sound_of_them(dtype: str) -> None:
    limits = np.iinfo(dtype)
    middle = (int(limits.max) + int(limits.min) + 1) // 2
    samples = np.array([limits.min, middle, limits.max], dtype)
    with pytest.raises(FrameError, match="full scale with") as refused:
        AudioFrame(samples, 16_000)
    way = str(refused.value).partition("full scale with ")[2]
    made = AudioFrame(eval(way, {"samples": samples, "numpy": np}), 16_000).samples.ravel()
    assert made[0] == -32_768
    assert made[1] == 0
    assert made[2] >= 32_512


@pytest.mark.parametrize(
    "rate", [0, -1, 7_999, 192_001, 16_000.0, "16000", None, True, float("nan"), [16_000]]
)
def test_wrong_rates(rate: Any) -> None:
    with pytest.raises(FrameError, match="sample rate is"):
        AudioFrame(PCM, rate)


# Video.


def i420(width: int, height: int) -> bytes:
    size = width * height + 2 * ((width + 1) // 2) * ((height + 1) // 2)
    return bytes(value % 256 for value in range(size))


@pytest.mark.parametrize(("width", "height"), [(2, 2), (3, 3), (4, 5), (7, 2), (64, 48)])
def test_pictures_and_their_planes(width: int, height: int) -> None:
    raw = i420(width, height)
    for form in (raw, bytearray(raw), memoryview(raw), np.frombuffer(raw, np.uint8)):
        frame = VideoFrame(form, width, height, rotation=90, timestamp_us=5, track=TRACK)
        luma, blue, red = frame.planes()
        assert luma.shape == (height, width)
        assert blue.shape == red.shape == ((height + 1) // 2, (width + 1) // 2)
        assert luma.tobytes() + blue.tobytes() + red.tobytes() == raw
        assert (frame.rotation, frame.timestamp_us, frame.participant) == (90, 5, "ann")


def test_pictures_of_any_array_form() -> None:
    tall = np.zeros((6, 4), np.uint8)  # OpenCV's shape of I420: height * 3 / 2 rows
    assert VideoFrame(tall, 4, 4).data.shape == (24,)
    spread = np.zeros(48, np.uint8)[::2]
    assert VideoFrame(spread, np.int64(4), np.int64(4)).data.flags.c_contiguous
    assert type(VideoFrame(spread, np.int64(4), np.int64(4)).width) is int


@pytest.mark.parametrize(
    ("data", "width", "height", "match"),
    [
        (bytes(24), 4, 5, "takes 32"),
        (bytes(23), 4, 4, "takes 24"),
        (bytes(25), 4, 4, "from_rgb"),
        (b"", 4, 4, "takes 24"),
        (np.zeros(24, np.int8), 4, 4, "int8"),
        (np.zeros(24, float), 4, 4, "float64"),
        ([0] * 24, 4, 4, "type list"),
        (None, 4, 4, "type NoneType"),
        ("x" * 24, 4, 4, "type str"),
        (bytes(24), 0, 4, "width is 0"),
        (bytes(24), 4, 1, "height is 1"),
        (bytes(24), -4, 4, "width is -4"),
        (bytes(24), 4, 8_193, "height is 8193"),
        (bytes(24), 4.0, 4, "width is 4.0"),
        (bytes(24), 4, "4", "height is '4'"),
        (bytes(24), True, 4, "width is True"),
        (bytes(24), None, 4, "width is None"),
        (np.ma.array(np.zeros(24, np.uint8)), 4, 4, "masked"),
        (np.broadcast_to(np.uint8(0), (1 << 40,)), 4, 4, "takes 24"),  # a copy would take 1 TiB
        (released(), 4, 4, "was released"),
    ],
)
def test_wrong_pictures(data: Any, width: Any, height: Any, match: str) -> None:
    with pytest.raises(FrameError, match=match):
        VideoFrame(data, width, height)


def test_a_size_of_small_numbers_does_not_overflow() -> None:
    picture = VideoFrame(bytes(200 * 200 * 3 // 2), np.uint8(200), np.uint8(200))  # type: ignore[arg-type]
    assert (type(picture.width), picture.to_gray().shape) == (int, (200, 200))


@pytest.mark.parametrize("rotation", [1, 45, -90, 360, 90.0, "90", None, False])
def test_wrong_rotations(rotation: Any) -> None:
    with pytest.raises(FrameError, match="rotation is"):
        VideoFrame(bytes(24), 4, 4, rotation=rotation)


@pytest.mark.parametrize("timestamp", [1.5, "1", None, 1 << 63, -(1 << 63) - 1, True])
def test_wrong_timestamps(timestamp: Any) -> None:
    with pytest.raises(FrameError, match="timestamp_us is"):
        VideoFrame(bytes(24), 4, 4, timestamp_us=timestamp)


@pytest.mark.parametrize("name", ["rgb", "bgr", "gray"])
def test_pixels_with_a_rotation_a_time_and_a_track(name: str) -> None:
    """A received picture, worked on as pixels, keeps what it came with."""
    pixels = np.zeros((4, 6) if name == "gray" else (4, 6, 3), np.uint8)
    make = getattr(VideoFrame, f"from_{name}")
    track = TrackInfo(sid="T", name="cam", kind=Kind.VIDEO, participant="ann")
    frame = make(pixels, rotation=90, timestamp_us=5, track=track)
    assert (frame.rotation, frame.timestamp_us, frame.track) == (90, 5, track)
    assert (frame.width, frame.height) == (6, 4)
    with pytest.raises(FrameError, match="rotation is 45"):
        make(pixels, rotation=45)


@pytest.mark.parametrize("make", [VideoFrame.from_rgb, VideoFrame.from_bgr, VideoFrame.from_gray])
@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4,), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.int16),
        np.zeros((1, 4, 3), np.uint8),
        np.zeros((4, 0), np.uint8),
        bytes(48),
        None,
        [[0, 0], [0, 0]],
        np.ma.array(np.zeros((4, 4, 3), np.uint8)),
        np.ma.array(np.zeros((4, 4), np.uint8)),
    ],
)
def test_wrong_pixels(make: Any, pixels: Any) -> None:
    with pytest.raises(FrameError):
        make(pixels)


def test_pixels_of_the_other_depth() -> None:
    with pytest.raises(FrameError, match="height, width, 3"):
        VideoFrame.from_rgb(np.zeros((4, 4), np.uint8))
    with pytest.raises(FrameError, match="pixels of shape"):
        VideoFrame.from_gray(np.zeros((4, 4, 3), np.uint8))


def test_pixels_that_are_not_in_the_form_say_how_to_bring_them_there() -> None:
    with pytest.raises(FrameError, match=r"leave alpha out with pixels\[\.\.\., :3\]"):
        VideoFrame.from_rgb(np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(FrameError, match=r"convert with \(pixels \* 255\)\.astype"):
        VideoFrame.from_rgb(np.zeros((4, 4, 3)))  # type: ignore[arg-type]


# Data.


def test_messages() -> None:
    frame = DataFrame(b"x" * MAX_DATA_BYTES, "t" * 1_024, to=("a", "b"))
    assert frame.data is frame.payload
    assert DataFrame(b"x", to=["a", "b"]).to == ("a", "b")  # type: ignore[arg-type]
    assert DataFrame(b"") == DataFrame(b"")


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"payload": "text"}, "encode text first"),
        ({"payload": bytearray(b"x")}, "bytes, not bytearray"),
        ({"payload": None}, "NoneType"),
        ({"payload": b"x" * (MAX_DATA_BYTES + 1)}, "split it"),
        ({"topic": b"t"}, "topic is of type bytes"),
        ({"topic": "t" * 1_025}, "topic has 1025 bytes"),
        ({"topic": "ü" * 513}, "topic has 1026 bytes"),
        ({"topic": "\ud800"}, "not valid Unicode"),
        ({"participant": 5}, "sender's identity is of type int"),
        ({"participant": "p" * 2_000}, "sender's identity has 2000 bytes"),
        ({"to": "bob"}, "tuple of identities"),
        ({"to": None}, "tuple of identities"),
        ({"to": 5}, "tuple of identities"),
        ({"to": ("bob", 5)}, "destination identity is of type int"),
        ({"to": ("b" * 2_000,)}, "destination identity has 2000 bytes"),
        ({"to": ("b",) * (MAX_DESTINATIONS + 1)}, "destinations, at most"),
    ],
)
def test_wrong_messages(fields: dict[str, Any], match: str) -> None:
    with pytest.raises(FrameError, match=match):
        DataFrame(**{"payload": b"", **fields})


def test_texts() -> None:
    given = {"lk.segment_id": "SG_1"}
    frame = TextFrame("grüße".encode(), "lk.chat", to=("ann",), attributes=given)
    given["lk.segment_id"] = "changed"
    assert (frame.text, frame.attributes) == ("grüße", {"lk.segment_id": "SG_1"})
    assert frame.reliable
    assert TextFrame(b"x") == TextFrame(b"x")
    assert TextFrame(b"x") != DataFrame(b"x"), "the others tell them apart"
    assert len({frame, replace(frame, attributes={})}) == 2
    TextFrame("é".encode() * (MAX_TEXT_BYTES // 2), attributes={"n": "v" * 11_999})


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"payload": "text"}, "a text is bytes, not str; encode text first"),
        ({"payload": b"x" * (MAX_TEXT_BYTES + 1)}, "a text has 200001 bytes, at most 200000"),
        ({"payload": b"\xff\xfe"}, "not UTF-8 .*; other bytes go in a DataFrame"),
        ({"reliable": False}, "LiveKit sends texts and files reliably alone"),
        ({"topic": "t" * 1_025}, "topic has 1025 bytes"),
        ({"attributes": None}, "expected a mapping of text to text"),
        ({"attributes": [("a", "b")]}, "expected a mapping of text to text"),
        ({"attributes": {"a": 1}}, "the attribute is of type int, expected text"),
        ({"attributes": {1: "a"}}, "the attribute's name is of type int, expected text"),
        ({"attributes": {"a": "\ud800"}}, "not valid Unicode"),
        ({"attributes": {"a": "v" * 12_001}}, "has 12001 bytes, at most 12000"),
        ({"attributes": {"a": "v" * 6_000, "b": "w" * 5_999}}, "12001 bytes together"),
    ],
)
def test_wrong_texts(fields: dict[str, Any], match: str) -> None:
    with pytest.raises(FrameError, match=match):
        TextFrame(**{"payload": b"", **fields})


def test_files() -> None:
    given = {"é": "1"}
    frame = FileFrame(b"\xff\xd8", "photos", name="a.jpg", mime_type="image/jpeg", attributes=given)
    given["é"] = "changed"
    assert (frame.data, frame.name, frame.mime_type) == (b"\xff\xd8", "a.jpg", "image/jpeg")
    assert frame.attributes == {"é": "1"}
    assert frame.reliable
    plain = FileFrame(b"x")
    assert (plain.name, plain.mime_type) == ("", "application/octet-stream")
    assert plain == FileFrame(b"x")
    assert plain != DataFrame(b"x"), "the others tell them apart"
    assert len({frame, replace(frame, attributes={})}) == 2
    FileFrame(bytes(MAX_FILE_BYTES), name="é" * 512, mime_type="m" * 256)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"payload": bytearray(b"x")}, "a file is bytes, not bytearray"),
        ({"payload": bytes(MAX_FILE_BYTES + 1)}, "a file has 8388609 bytes, at most 8388608"),
        ({"reliable": False}, "a file with reliable=False; LiveKit sends texts and files reliably"),
        ({"topic": "t" * 1_025}, "topic has 1025 bytes"),
        ({"name": "n" * 1_025}, "the file's name has 1025 bytes, at most 1024"),
        ({"name": None}, "the file's name is of type NoneType, expected text"),
        ({"mime_type": "m" * 257}, "the media type has 257 bytes, at most 256"),
        ({"mime_type": b"x"}, "the media type is of type bytes, expected text"),
        ({"attributes": {"a": 1}}, "the attribute is of type int, expected text"),
        ({"attributes": {"a": "v" * 12_001}}, "has 12001 bytes, at most 12000"),
    ],
)
def test_wrong_files(fields: dict[str, Any], match: str) -> None:
    with pytest.raises(FrameError, match=match):
        FileFrame(**{"payload": b"", **fields})


# Data tracks


def test_a_frame_of_a_data_track_keeps_what_it_is_given() -> None:
    frame = DataTrackFrame(b"\0x", track="lidar", timestamp=(1 << 64) - 1)
    assert (frame.payload, frame.data, frame.timestamp) == (b"\0x", b"\0x", (1 << 64) - 1)
    assert (frame.track, frame.participant, frame.sequence, frame.received_ns) == (
        "lidar",
        "",
        0,
        0,
    )
    assert DataTrackFrame(b"x", track=TRACK).participant == "ann"
    assert DataTrackFrame(b"x", timestamp=np.int64(5)).timestamp == 5
    other = frame.replace(payload=b"y", track="arm")
    assert (other.payload, other.track, other.timestamp) == (b"y", "arm", frame.timestamp)
    assert frame.replace().payload is frame.payload


def test_a_frame_of_a_data_track_is_a_copy_of_what_may_change() -> None:
    held = bytearray(b"ab")
    frames = [DataTrackFrame(held), DataTrackFrame(memoryview(held)[::-1])]
    held[0] = 0
    assert [frame.payload for frame in frames] == [b"ab", b"ba"]
    values = np.arange(3, dtype="<u2")
    assert DataTrackFrame(values.data).payload == values.tobytes()


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"payload": "text"}, "is bytes, not str; encode it first"),
        ({"payload": None}, "is bytes, not NoneType"),
        ({"payload": np.zeros(3)}, "is bytes, not ndarray"),
        ({"payload": b""}, "0 bytes in one frame of a data track, expected 1 to 2000000"),
        ({"payload": bytes(2_000_001)}, "2000001 bytes in one frame .*; send it in parts"),
        ({"payload": memoryview(bytes(2_000_001))}, "2000001 bytes in one frame"),
        ({"timestamp": -1}, "the timestamp is -1, expected None or a whole number"),
        ({"timestamp": 1 << 64}, "the timestamp is 18446744073709551616"),
        ({"timestamp": 1.5}, "the timestamp is 1.5"),
        ({"timestamp": True}, "the timestamp is True"),
        ({"track": 5}, "track name"),
        ({"track": "t" * 257}, "track name has 257 bytes"),
    ],
)
def test_wrong_frames_of_data_tracks(fields: dict[str, Any], match: str) -> None:
    with pytest.raises(FrameError, match=match):
        DataTrackFrame(**{"payload": b"x", **fields})
    if "payload" in fields and fields["payload"] is not None:
        with pytest.raises(FrameError, match=match):
            DataTrackFrame(b"x").replace(payload=fields["payload"])


# What all have in common.


@pytest.mark.parametrize(
    "again", [lambda x: pickle.loads(pickle.dumps(x)), copy.copy, copy.deepcopy]
)
def test_items_pickle_and_copy(again: Any) -> None:
    frame = again(AudioFrame(PCM, 16_000, 2, track=TRACK))
    assert (frame.data, frame.channels, frame.track) == (PCM.tobytes(), 2, TRACK)
    picture = again(VideoFrame(i420(4, 4), 4, 4, rotation=180))
    assert (picture.data.tobytes(), picture.rotation) == (i420(4, 4), 180)
    reading = again(DataTrackFrame(b"x", timestamp=5, track=TRACK))
    assert (reading.payload, reading.timestamp, reading.track) == (b"x", 5, TRACK)
    person = Participant(identity="ann", attributes={"a": "b"}, kind="agent")
    event = Event(kind=EventKind.TRACK_MUTED, participant=person, track=TRACK)
    data, text = DataFrame(b"x", to=("a",)), TextFrame(b"x", attributes={"a": "b"})
    file = FileFrame(b"x", name="n", attributes={"a": "b"})
    for value in (event, TRACK, person, Participant(identity="bob"), data, text, file):
        assert again(value) == value


def test_who_it_is_from() -> None:
    assert AudioFrame(PCM, 16_000).participant == ""
    assert AudioFrame(PCM, 16_000, track="mine").participant == ""
    assert AudioFrame(PCM, 16_000, track=TRACK).participant == "ann"
    assert TRACK.reply_name == "ann/mic"
    unnamed = TrackInfo(sid="TR_2", name="", kind=Kind.VIDEO, participant="bob")
    assert unnamed.reply_name == "bob/TR_2"


def test_reprs_are_short() -> None:
    assert repr(AudioFrame(PCM, 16_000, track=TRACK)) == (
        "AudioFrame(6 samples, 16000 Hz, 1 ch, track='ann/mic')"
    )
    assert repr(VideoFrame(i420(4, 4), 4, 4)) == "VideoFrame(4x4, track=None)"
    assert repr(DataTrackFrame(bytes(9_999), track="lidar")) == (
        "DataTrackFrame(9999 bytes, track='lidar')"
    )
    assert repr(FileFrame(bytes(9_999), "t", "ann", name="n")) == (
        "FileFrame(9999 bytes, topic='t', participant='ann', name='n', "
        "mime_type='application/octet-stream')"
    )


def test_default_attributes_are_read_only() -> None:
    with pytest.raises(TypeError):
        Participant(identity="ann").attributes["x"] = "y"  # type: ignore[index]
