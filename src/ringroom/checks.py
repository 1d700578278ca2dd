"""What may be sent: the limits of rates, sizes and texts, and arrays in their one right form.

Everything here raises `FrameError`, which says what was wrong, what was expected and what to do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ringroom import colour
from ringroom.errors import FrameError

# LiveKit encodes Opus, which takes 8 to 48 kHz; sources up to 192 kHz are resampled by WebRTC.
MIN_SAMPLE_RATE = 8_000
MAX_SAMPLE_RATE = 192_000
# WebRTC encodes nothing wider than 8K UHD.
MAX_SIDE = 8_192
# livekit-server 1.13 negotiates packets of 64,000 bytes; topic, names and envelope are in them too.
MAX_DATA_BYTES = 62_000
# What a lane for messages takes is 256 KiB, with topic, sender, attributes and some destinations.
MAX_TEXT_BYTES = 200_000
# The header of a text, which LiveKit's SDK sends in one packet of 15,000 bytes, has the topic and
# the destinations too.
MAX_ATTRIBUTES_BYTES = 12_000
# A file is in memory as a whole, several times on its way; the photo of a phone has 2 to 6 MiB.
MAX_FILE_BYTES = 8 << 20
# livekit's SDK (livekit-datatrack) sends packets of 16,000 bytes, header included, and puts no more
# than 128 of them together.
MAX_DATA_TRACK_BYTES = 2_000_000
# They are in that packet of 15,000 too.
MAX_FILE_NAME_BYTES = 1_024
MAX_MIME_TYPE_BYTES = 256
MAX_TOPIC_BYTES = 1_024
MAX_IDENTITY_BYTES = 1_024
MAX_METHOD_BYTES = 64
MAX_DESTINATIONS = 1_000
MAX_NAME_BYTES = 256
# Beyond it float audio is not loud but in another scale, and would be noise at full level: 24 dB.
MAX_OVERSHOOT = 16.0
# Half an hour of mono at 48 kHz, 200 MB: beyond it somebody has mistaken a file for a frame.
MAX_SAMPLES = 100_000_000

MAX_SHOWN = 80

Samples: TypeAlias = NDArray[np.int16]


def shown(value: object) -> str:
    """The value as text for a message: cut short, for it may be a file's content, or a token that
    has gone into the wrong place."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 (it is the caller's, and numbers of many digits raise too)
        text = f"<{type(value).__name__}>"
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def as_items(value: Any) -> tuple[Any, ...] | None:
    """What a list, set or generator holds; None for text, bytes and what cannot be iterated."""
    if isinstance(value, str | bytes | bytearray | memoryview):
        return None
    try:
        items = iter(value)
    except TypeError:  # an array without dimensions has a way to iterate, which refuses
        return None
    return tuple(items)


def is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def check_rate(sample_rate: int, most: int = MAX_SAMPLE_RATE) -> int:
    if type(sample_rate) is int and MIN_SAMPLE_RATE <= sample_rate <= most:
        return sample_rate  # nearly always so, and asked several times for each frame
    if not is_whole(sample_rate):
        raise FrameError(f"the sample rate is {shown(sample_rate)}, expected a whole number of Hz")
    if not MIN_SAMPLE_RATE <= sample_rate <= most:
        raise FrameError(
            f"the sample rate is {shown(sample_rate)} Hz, expected {MIN_SAMPLE_RATE} to {most}"
        )
    return int(sample_rate)


def check_channels(channels: int) -> int:
    if type(channels) is int and 1 <= channels <= 2:
        return channels
    if not is_whole(channels) or channels not in (1, 2):
        raise FrameError(f"channels is {shown(channels)}, expected 1 (mono) or 2 (stereo)")
    return int(channels)


def check_sound(nbytes: int, sample_rate: int, channels: int) -> None:
    """Check interleaved int16 of that many bytes: what passes is refused by no reader."""
    check_rate(sample_rate)
    if not nbytes or nbytes % (2 * check_channels(channels)):
        raise FrameError(
            f"{nbytes} bytes of sound, expected some samples of {2 * channels} bytes each (int16, "
            f"channels={channels})"
        )


def check_size(width: int, height: int) -> tuple[int, int]:
    """Both as plain numbers: the small ones of numpy overflow where they are multiplied."""
    for name, value in (("width", width), ("height", height)):
        if not is_whole(value):
            raise FrameError(f"the {name} is {shown(value)}, expected a whole number of pixels")
        if not 2 <= value <= MAX_SIDE:
            raise FrameError(f"the {name} is {shown(value)} pixels, expected 2 to {MAX_SIDE}")
    return int(width), int(height)


def check_picture(nbytes: int, size: tuple[int, int], rotation: int) -> None:
    """Check I420 of that many bytes: what passes is refused by no reader."""
    check_size(*size)
    if nbytes != (expected := colour.i420_size(*size)):
        raise FrameError(f"{nbytes} bytes of I420, expected {expected} for {size[0]}x{size[1]}")
    check_origin(rotation, 0)


def check_origin(rotation: int, timestamp_us: int) -> tuple[int, int]:
    if not is_whole(rotation) or rotation not in (0, 90, 180, 270):
        raise FrameError(f"rotation is {shown(rotation)}, expected 0, 90, 180 or 270")
    if not is_whole(timestamp_us) or not -(1 << 63) <= timestamp_us < 1 << 63:
        raise FrameError(f"timestamp_us is {shown(timestamp_us)}, expected microseconds in 64 bits")
    return int(rotation), int(timestamp_us)


def as_reading(payload: Any) -> bytes:
    """The payload of a data track's frame; a copy of what could change."""
    if not isinstance(payload, bytes | bytearray | memoryview):
        raise FrameError(
            f"the payload of a data track is bytes, not {type(payload).__name__}; encode it first "
            "(array.tobytes(), struct.pack, json.dumps(...).encode())"
        )
    check_reading(byte_size(payload) if isinstance(payload, memoryview) else len(payload))
    return bytes(payload)


def check_reading(nbytes: int) -> None:
    """Check the size of a data track's frame: what passes is refused by no reader."""
    if not 1 <= nbytes <= MAX_DATA_TRACK_BYTES:
        advice = "send it in parts" if nbytes else "LiveKit sends no empty ones"
        raise FrameError(
            f"{nbytes} bytes in one frame of a data track, expected 1 to {MAX_DATA_TRACK_BYTES}; "
            f"{advice}"
        )


def check_timestamp(timestamp: int | None) -> int | None:
    """The sender's own time, of 64 bits, as a plain number."""
    if timestamp is None:
        return None
    if not is_whole(timestamp) or not 0 <= timestamp < 1 << 64:
        raise FrameError(
            f"the timestamp is {shown(timestamp)}, expected None or a whole number from 0 to "
            "2**64 - 1"
        )
    return int(timestamp)


def as_number(what: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise FrameError(f"{what} of type {type(value).__name__}, expected a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise FrameError(f"{what} of {number}, expected a finite number")
    return number


def check_text(what: str, text: str, limit: int) -> str:
    if not isinstance(text, str):
        raise FrameError(f"the {what} is of type {type(text).__name__}, expected text")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise FrameError(f"the {what} is not valid Unicode text ({error.reason})") from None
    if size > limit:
        raise FrameError(f"the {what} has {size} bytes, at most {limit} are allowed")
    return text


def check_name(what: str, name: str) -> str:
    """Check the name of a track or a room, which also passes through C."""
    if isinstance(name, str) and "\0" in name:
        raise FrameError(f"the {what} holds a NUL character; leave it out")
    return check_text(what, name, MAX_NAME_BYTES)


def as_destinations(to: Any) -> tuple[str, ...]:
    items = as_items(to)
    if items is None:
        raise FrameError(f"the destinations are {shown(to)}, expected a tuple of identities")
    if len(items) > MAX_DESTINATIONS:
        raise FrameError(f"{len(items)} destinations, at most {MAX_DESTINATIONS} are allowed")
    return tuple(check_text("destination identity", each, MAX_IDENTITY_BYTES) for each in items)


def as_attributes(attributes: Any) -> dict[str, str]:
    """A copy, for the caller may change its own."""
    if not isinstance(attributes, Mapping):
        raise FrameError(
            f"the attributes are {shown(attributes)}, expected a mapping of text to text"
        )
    size = 0
    for name, value in attributes.items():
        for what, text in (("attribute's name", name), ("attribute", value)):
            size += len(check_text(what, text, MAX_ATTRIBUTES_BYTES).encode())
    if size > MAX_ATTRIBUTES_BYTES:
        raise FrameError(
            f"the attributes have {size} bytes together, at most {MAX_ATTRIBUTES_BYTES} are allowed"
        )
    return dict(attributes)


def as_samples(samples: Any, channels: int | None) -> Samples:
    if channels is not None:
        check_channels(channels)
    if isinstance(samples, memoryview):
        byte_size(samples)  # asks whether it was released
    if isinstance(samples, bytes | bytearray):
        array = from_pcm(samples)
    elif isinstance(samples, memoryview):
        # A view of bytes is PCM; a view of shorts or floats says itself what it holds.
        array = from_pcm(samples) if samples.itemsize == 1 else from_array(np.array(samples))
    else:
        array = from_array(samples)
    if array.ndim == 1:
        wanted = channels or 1
        if array.size % wanted:
            raise FrameError(
                f"{array.size} samples do not divide into {wanted} channels; "
                "a sample of each channel must be there"
            )
        array = array.reshape(-1, wanted)
    if array.ndim != 2 or array.shape[1] not in (1, 2):
        raise FrameError(
            f"audio of shape {array.shape}, expected (samples per channel, channels) "
            "with 1 or 2 channels; transpose what is planar with .T"
        )
    if channels is not None and array.shape[1] != channels:
        raise FrameError(
            f"audio of shape {array.shape} has not the {channels} channels asked for; leave "
            "channels out to have as many as the array"
        )
    if not array.size:
        raise FrameError("an audio frame without samples; send nothing instead")
    check_length(array.size)
    return np.ascontiguousarray(array)


def check_length(samples: int) -> None:
    if samples > MAX_SAMPLES:
        raise FrameError(
            f"an audio frame of {samples} samples, at most {MAX_SAMPLES} are allowed; "
            "send it in pieces"
        )


def is_sound(samples: object) -> bool:
    """Whether it has the one form that a frame's samples have."""
    return (
        isinstance(samples, np.ndarray)
        and samples.dtype == np.int16
        and samples.ndim == 2
        and samples.shape[1] in (1, 2)
        and 0 < samples.size <= MAX_SAMPLES
    )


def from_pcm(pcm: bytes | bytearray | memoryview) -> Samples:
    size = pcm.nbytes if isinstance(pcm, memoryview) else len(pcm)
    if size % 2:
        raise FrameError(f"{size} bytes of PCM: int16 samples take two bytes each, one is missing")
    # A mutable buffer is copied: the caller may refill it while the frame is under way.
    return np.frombuffer(bytes(pcm), "<i2").astype(np.int16, copy=False)


def from_array(samples: Any) -> Samples:
    try:
        array = np.asarray(samples)
    except (ValueError, TypeError) as error:
        raise FrameError(f"audio samples do not form an array: {error}") from None
    check_length(array.size)
    refuse_masked(samples)
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise FrameError("float audio holds NaN or infinite samples; expected [-1, 1]")
        peak = np.abs(array).max(initial=0)
        if peak > MAX_OVERSHOOT:
            raise FrameError(
                f"float audio reaches {peak:.6g}, expected [-1, 1]; divide what is in the scale of "
                "int16 by 32768"
            )
        # 32767 has no place in 16 bits of float; it would become 32768 and wrap.
        wide = array.astype(np.float32) if array.dtype.itemsize < 4 else array
        scaled: Samples = np.rint(np.clip(wide, -1.0, 1.0) * 32767.0).astype(np.int16)
        return scaled
    if array.dtype.kind == "i" and array.dtype.itemsize == 2:
        return array.astype(np.int16, copy=False)
    if array.dtype.kind not in "iu":
        given = type(samples).__name__ if array.dtype == object else f"dtype {array.dtype}"
        raise FrameError(
            f"audio samples of {given}, expected bytes of int16, or an array of int16 or of floats "
            "in [-1, 1]"
        )
    raise FrameError(
        f"audio samples of dtype {array.dtype}, expected int16, or floats in [-1, 1]; what is in "
        f"the scale of int16 converts with .astype(numpy.int16){_full_scale(array.dtype)}"
    )


def _full_scale(dtype: np.dtype[Any]) -> str:
    """Advice for whole numbers that use the full range of their type: how they become int16."""
    ways = {
        "int32": "(samples >> 16).astype(numpy.int16)",
        "uint8": "(samples.astype(numpy.int16) - 128) << 8",
        "int8": "samples.astype(numpy.int16) << 8",
        "uint16": "(samples.astype(numpy.int32) - 32768).astype(numpy.int16)",
    }
    return f", {dtype} of full scale with {ways[dtype.name]}" if dtype.name in ways else ""


def byte_size(view: memoryview) -> int:
    try:
        return view.nbytes
    except ValueError:
        raise FrameError("the memoryview was released; keep it until the frame is made") from None


def refuse_masked(array: object) -> None:
    if isinstance(array, np.ma.MaskedArray):
        raise FrameError("a masked array has holes; fill them first, with .filled(0)")


def as_i420(data: Any, width: int, height: int) -> NDArray[np.uint8]:
    if isinstance(data, np.ndarray):
        if data.dtype != np.uint8:
            raise FrameError(f"I420 of dtype {data.dtype}, expected uint8")
        refuse_masked(data)
        size = data.size
    elif isinstance(data, bytes | bytearray):
        size = len(data)
    elif isinstance(data, memoryview):
        size = byte_size(data)
    else:
        raise FrameError(f"a picture of type {type(data).__name__}, expected bytes or an array")
    expected = colour.i420_size(width, height)
    if size != expected:  # before anything is copied
        raise FrameError(
            f"I420 of {size} bytes, but {width}x{height} takes {expected}; "
            "use VideoFrame.from_rgb for RGB pixels"
        )
    if isinstance(data, np.ndarray):
        return np.ascontiguousarray(data).reshape(-1)
    return np.frombuffer(bytes(data), np.uint8)


def pixel_size(pixels: NDArray[np.uint8], depth: int) -> tuple[int, int]:
    wanted = "(height, width)" if depth == 1 else "(height, width, 3)"
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8:
        found = getattr(pixels, "dtype", type(pixels).__name__)
        raise FrameError(
            f"pixels of {found}, expected a uint8 array of shape {wanted}; floats from 0 to 1 "
            "convert with (pixels * 255).astype(numpy.uint8)"
        )
    refuse_masked(pixels)
    if pixels.ndim != (2 if depth == 1 else 3) or (depth == 3 and pixels.shape[2] != 3):
        alpha = depth == 3 and pixels.shape[2:] == (4,)
        drop = "; leave alpha out with pixels[..., :3]" if alpha else ""
        raise FrameError(f"pixels of shape {pixels.shape}, expected {wanted}{drop}")
    check_size(pixels.shape[1], pixels.shape[0])
    return int(pixels.shape[0]), int(pixels.shape[1])
