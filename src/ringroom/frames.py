"""What travels: sound, pictures, data tracks and messages.

A frame that came in carries the track it came from (`TrackInfo`), its place in that track
(``sequence``) and when the I/O process got it (``received_ns``, `time.monotonic_ns`, a clock that
all processes of one machine share). A frame to send carries a track *name*, or none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ringroom import checks, colour
from ringroom.checks import Samples
from ringroom.errors import FrameError
from ringroom.events import Event, TrackInfo

__all__ = [
    "AudioFrame",
    "DataFrame",
    "DataTrackFrame",
    "FileFrame",
    "Frame",
    "Item",
    "TextFrame",
    "VideoFrame",
]


class AudioFrame:
    """A piece of sound: ``samples`` is an int16 array of shape (samples per channel, channels).

    ``samples`` may be given as bytes (interleaved little-endian int16, as PCM files hold it), as an
    int16 array, or as a float array in [-1, 1], which is scaled by 32767 and clipped (values beyond
    16 are refused: they are in another scale). A one-dimensional array is interleaved if
    ``channels`` is 2. The array is not copied when it already has the right form. Frames are
    read-only once they are sent or were received.

    Raises `FrameError` for a wrong type, shape, rate or size, and for NaN or infinite samples.
    """

    __slots__ = ("received_ns", "sample_rate", "samples", "sequence", "track")

    samples: Samples
    sample_rate: int
    track: TrackInfo | str | None
    sequence: int
    received_ns: int

    def __init__(
        self,
        samples: bytes | bytearray | memoryview | ArrayLike,
        sample_rate: int,
        channels: int | None = None,
        *,
        track: TrackInfo | str | None = None,
    ) -> None:
        self.sample_rate = checks.check_rate(sample_rate)
        self.samples = checks.as_samples(samples, channels)
        self.track = _checked_track(track)
        self.sequence = 0
        self.received_ns = 0

    @classmethod
    def received(
        cls, samples: Samples, sample_rate: int, track: TrackInfo | str | None, stamp: Stamp
    ) -> AudioFrame:
        """A frame made of parts that are known to be right (the codec's way in)."""
        frame = object.__new__(cls)
        frame.samples = samples
        frame.sample_rate = sample_rate
        frame.track = track
        frame.sequence, frame.received_ns = stamp
        return frame

    @property
    def channels(self) -> int:
        """1 (mono) or 2 (stereo)."""
        return int(self.samples.shape[1])

    @property
    def data(self) -> bytes:
        """The samples as interleaved little-endian int16 bytes."""
        return self.samples.astype("<i2", copy=False).tobytes()

    @property
    def duration(self) -> float:
        """In seconds."""
        return len(self.samples) / self.sample_rate

    @property
    def participant(self) -> str:
        """The speaker's identity; empty for a frame of our own."""
        return self.track.participant if isinstance(self.track, TrackInfo) else ""

    def gain(self, factor: float) -> AudioFrame:
        """The same sound, each sample times ``factor`` (linear: 0.5 is 6 dB less), clipped at full
        scale instead of wrapping. Raises `FrameError` for what is no finite number."""
        # Beyond full scale over one step nothing changes, and no product overflows.
        bounded = min(max(checks.as_number("a gain", factor), -65_536.0), 65_536.0)
        scaled = np.rint(self.samples * bounded).clip(-32768, 32767).astype(np.int16)
        return self.replace(samples=scaled)

    def as_float(self) -> NDArray[np.float32]:
        """The samples as float32 in [-1, 1), shape (samples per channel, channels): divided by
        32768, so that -32768 is -1. (A frame made of floats has 32767 for 1.0.)"""
        return self.samples.astype(np.float32) / np.float32(32768.0)

    def replace(
        self, *, samples: ArrayLike | None = None, track: TrackInfo | str | None = None
    ) -> AudioFrame:
        """A copy with other samples or for another track; the rest stays."""
        return AudioFrame.received(
            self.samples if samples is None else checks.as_samples(samples, self.channels),
            self.sample_rate,
            self.track if track is None else _checked_track(track),
            (self.sequence, self.received_ns),
        )

    def __copy__(self) -> AudioFrame:
        """Written out, in less than half of the time: a reply without a track is copied."""
        stamp = (self.sequence, self.received_ns)
        return AudioFrame.received(self.samples, self.sample_rate, self.track, stamp)

    def __repr__(self) -> str:
        return (
            f"AudioFrame({len(self.samples)} samples, {self.sample_rate} Hz, "
            f"{self.channels} ch, track={_track_label(self.track)!r})"
        )


class VideoFrame:
    """A picture in I420: Y plane, then U and V at half the width and height, without padding.

    ``data`` is a one-dimensional uint8 array of width*height + 2*ceil(width/2)*ceil(height/2)
    bytes. ``rotation`` is 0, 90, 180 or 270 degrees clockwise, to be applied for display.
    ``timestamp_us`` is the source's own clock. The array of a picture that came in stays as it is
    in the process that received it; what a fork is to keep, copy before it (`copy.deepcopy`).

    Raises `FrameError` for a wrong size, type or rotation.
    """

    __slots__ = (
        "data",
        "height",
        "received_ns",
        "rotation",
        "sequence",
        "timestamp_us",
        "track",
        "width",
    )

    data: NDArray[np.uint8]
    width: int
    height: int
    rotation: int
    timestamp_us: int
    track: TrackInfo | str | None
    sequence: int
    received_ns: int

    def __init__(
        self,
        data: bytes | bytearray | memoryview | NDArray[np.uint8],
        width: int,
        height: int,
        *,
        rotation: int = 0,
        timestamp_us: int = 0,
        track: TrackInfo | str | None = None,
    ) -> None:
        width, height = checks.check_size(width, height)
        rotation, timestamp_us = checks.check_origin(rotation, timestamp_us)
        self.data = checks.as_i420(data, width, height)
        self.width = width
        self.height = height
        self.rotation = rotation
        self.timestamp_us = timestamp_us
        self.track = _checked_track(track)
        self.sequence = 0
        self.received_ns = 0

    @classmethod
    def received(
        cls,
        data: NDArray[np.uint8],
        size: tuple[int, int],
        origin: tuple[int, int],
        track: TrackInfo | str | None,
        stamp: Stamp,
    ) -> VideoFrame:
        """A frame made of parts that are known to be right (the codec's way in).

        ``size`` is (width, height), ``origin`` is (rotation, timestamp_us).
        """
        frame = object.__new__(cls)
        frame.data = data
        frame.width, frame.height = size
        frame.rotation, frame.timestamp_us = origin
        frame.track = track
        frame.sequence, frame.received_ns = stamp
        return frame

    @classmethod
    def from_rgb(
        cls,
        pixels: NDArray[np.uint8],
        *,
        rotation: int = 0,
        timestamp_us: int = 0,
        track: TrackInfo | str | None = None,
    ) -> VideoFrame:
        """From an array of shape (height, width, 3), red first. BT.601, limited range. The pixels
        are taken as they are; ``rotation`` is to be applied for display."""
        height, width = checks.pixel_size(pixels, 3)
        data = colour.rgb_to_i420(pixels)
        return cls(data, width, height, rotation=rotation, timestamp_us=timestamp_us, track=track)

    @classmethod
    def from_bgr(
        cls,
        pixels: NDArray[np.uint8],
        *,
        rotation: int = 0,
        timestamp_us: int = 0,
        track: TrackInfo | str | None = None,
    ) -> VideoFrame:
        """From an array of shape (height, width, 3), blue first (OpenCV's order)."""
        height, width = checks.pixel_size(pixels, 3)
        data = colour.rgb_to_i420(pixels[..., ::-1])
        return cls(data, width, height, rotation=rotation, timestamp_us=timestamp_us, track=track)

    @classmethod
    def from_gray(
        cls,
        pixels: NDArray[np.uint8],
        *,
        rotation: int = 0,
        timestamp_us: int = 0,
        track: TrackInfo | str | None = None,
    ) -> VideoFrame:
        """From an array of shape (height, width): 0 black, 255 white."""
        height, width = checks.pixel_size(pixels, 1)
        data = colour.gray_to_i420(pixels)
        return cls(data, width, height, rotation=rotation, timestamp_us=timestamp_us, track=track)

    def planes(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
        """Views of Y (height, width), U and V (half of each, rounded up). Raises `FrameError` for a
        picture of `fill_video` that is sent."""
        try:
            return colour.planes(self.data, self.width, self.height)
        except ValueError:
            if self.data.size:
                raise
            raise FrameError(
                "this picture was sent at the end of its `with` block; fill it inside the block"
            ) from None

    def to_rgb(self) -> NDArray[np.uint8]:
        """A new array of shape (height, width, 3), red first. Rotation is not applied."""
        return colour.i420_to_rgb(self.data, self.width, self.height)

    def to_bgr(self) -> NDArray[np.uint8]:
        """A new array of shape (height, width, 3), blue first. Rotation is not applied."""
        return colour.i420_to_bgr(self.data, self.width, self.height)

    def to_gray(self) -> NDArray[np.uint8]:
        """A new array of shape (height, width): 0 black, 255 white."""
        return colour.i420_to_gray(self.data, self.width, self.height)

    @property
    def participant(self) -> str:
        """The publisher's identity; empty for a frame of our own."""
        return self.track.participant if isinstance(self.track, TrackInfo) else ""

    def __repr__(self) -> str:
        return f"VideoFrame({self.width}x{self.height}, track={_track_label(self.track)!r})"


class DataTrackFrame:
    """What a data track brings at one time: a reading of a sensor, the state of a robot, a scan.
    ``payload`` is bytes, 1 to 2,000,000 of them; other buffers are copied.

    ``timestamp`` is the sender's own time, in whatever unit it has agreed on: 0 to 2**64 - 1, or
    None. Data tracks are lossy: what is lost on the way is not sent again, and the larger a frame
    is, the more often it is (`docs/reference.md` has numbers). What is not read in time, the newest
    replace.

    Raises `FrameError` for a payload that is not bytes, empty or too large, and a bad timestamp.
    """

    __slots__ = ("payload", "received_ns", "sequence", "timestamp", "track")

    payload: bytes
    timestamp: int | None
    track: TrackInfo | str | None
    sequence: int
    received_ns: int

    def __init__(
        self,
        payload: bytes | bytearray | memoryview,
        *,
        track: TrackInfo | str | None = None,
        timestamp: int | None = None,
    ) -> None:
        self.payload = checks.as_reading(payload)
        self.timestamp = checks.check_timestamp(timestamp)
        self.track = _checked_track(track)
        self.sequence = 0
        self.received_ns = 0

    @classmethod
    def received(
        cls, payload: bytes, timestamp: int | None, track: TrackInfo | str | None, stamp: Stamp
    ) -> DataTrackFrame:
        """A frame made of parts that are known to be right (the codec's way in)."""
        frame = object.__new__(cls)
        frame.payload = payload
        frame.timestamp = timestamp
        frame.track = track
        frame.sequence, frame.received_ns = stamp
        return frame

    @property
    def data(self) -> bytes:
        """The payload, under the name that all frames give their bytes."""
        return self.payload

    @property
    def participant(self) -> str:
        """The publisher's identity; empty for a frame of our own."""
        return self.track.participant if isinstance(self.track, TrackInfo) else ""

    def replace(
        self, *, payload: bytes | None = None, track: TrackInfo | str | None = None
    ) -> DataTrackFrame:
        """A copy with another payload or for another track; the rest stays."""
        return DataTrackFrame.received(
            self.payload if payload is None else checks.as_reading(payload),
            self.timestamp,
            self.track if track is None else _checked_track(track),
            (self.sequence, self.received_ns),
        )

    def __repr__(self) -> str:
        return f"DataTrackFrame({len(self.payload)} bytes, track={_track_label(self.track)!r})"


@dataclass(frozen=True, slots=True)
class DataFrame:
    """A message: up to 62,000 bytes, to everyone or to the identities named in ``to``.

    ``participant`` is the sender's identity, empty when the server's API sent it.
    Raises `FrameError` for a payload that is not bytes or too large, or bad names.
    """

    payload: bytes
    topic: str = ""
    participant: str = ""
    reliable: bool = True
    to: tuple[str, ...] = ()
    sequence: int = 0
    received_ns: int = 0

    _max_bytes: ClassVar[int] = checks.MAX_DATA_BYTES
    _noun: ClassVar[str] = "a data payload"

    def __post_init__(self) -> None:
        payload: object = self.payload
        if not isinstance(payload, bytes):
            kind = type(payload).__name__
            raise FrameError(f"{self._noun} is bytes, not {kind}; encode text first")
        if len(self.payload) > self._max_bytes:
            raise FrameError(
                f"{self._noun} has {len(self.payload)} bytes, at most {self._max_bytes} are taken; "
                "split it"
            )
        if not isinstance(self.reliable, bool):
            raise FrameError(f"reliable is {checks.shown(self.reliable)}, expected True or False")
        checks.check_text("topic", self.topic, checks.MAX_TOPIC_BYTES)
        checks.check_text("sender's identity", self.participant, checks.MAX_IDENTITY_BYTES)
        object.__setattr__(self, "to", checks.as_destinations(self.to))

    @property
    def data(self) -> bytes:
        """The payload, under the name that all frames give their bytes."""
        return self.payload


@dataclass(frozen=True, slots=True)
class TextFrame(DataFrame):
    """A whole text, as LiveKit's frontends exchange them (text streams: chat, transcriptions): a
    message of up to 200,000 bytes of UTF-8, with attributes. `text` is the payload as text.

    ``attributes`` are text by text, names and values 12,000 bytes together. ``reliable`` is True.
    Raises `FrameError` as `DataFrame` does, and for a payload that is not UTF-8.
    """

    attributes: Mapping[str, str] = field(default_factory=dict, hash=False)

    _max_bytes: ClassVar[int] = checks.MAX_TEXT_BYTES
    _noun: ClassVar[str] = "a text"

    def __post_init__(self) -> None:
        DataFrame.__post_init__(self)
        try:
            self.payload.decode()
        except UnicodeDecodeError as error:
            raise FrameError(
                f"a text that is not UTF-8 ({error.reason}); other bytes go in a DataFrame"
            ) from None
        _settle_stream(self, self.attributes)

    @property
    def text(self) -> str:
        """The payload as text."""
        return self.payload.decode()


@dataclass(frozen=True, slots=True, repr=False)
class FileFrame(DataFrame):
    """A whole file, as LiveKit's clients exchange them (byte streams): a message of up to 8 MiB
    (8,388,608 bytes), with a name, a media type and attributes.

    ``name`` (1,024 bytes at most) and ``mime_type`` (256) are what the sender says: of a file that
    came in they are data, and no path. ``attributes`` are text by text, names and values 12,000
    bytes together. ``reliable`` is True. Raises `FrameError` as `DataFrame` does.
    """

    name: str = ""
    mime_type: str = "application/octet-stream"
    attributes: Mapping[str, str] = field(default_factory=dict, hash=False)

    _max_bytes: ClassVar[int] = checks.MAX_FILE_BYTES
    _noun: ClassVar[str] = "a file"

    def __post_init__(self) -> None:
        DataFrame.__post_init__(self)
        checks.check_text("file's name", self.name, checks.MAX_FILE_NAME_BYTES)
        checks.check_text("media type", self.mime_type, checks.MAX_MIME_TYPE_BYTES)
        _settle_stream(self, self.attributes)

    def __repr__(self) -> str:
        return (
            f"FileFrame({len(self.payload)} bytes, topic={self.topic!r}, "
            f"participant={self.participant!r}, name={self.name!r}, mime_type={self.mime_type!r})"
        )


Stamp: TypeAlias = tuple[int, int]
"""(sequence, received_ns)."""
MediaFrame: TypeAlias = AudioFrame | VideoFrame | DataTrackFrame
"""What belongs on a track."""
Frame: TypeAlias = MediaFrame | DataFrame
Item: TypeAlias = Frame | Event


def _settle_stream(frame: TextFrame | FileFrame, attributes: Mapping[str, str]) -> None:
    """Check what texts and files have beside a message."""
    if not frame.reliable:
        raise FrameError(
            f"{frame._noun} with reliable=False; LiveKit sends texts and files reliably alone"
        )
    object.__setattr__(frame, "attributes", checks.as_attributes(attributes))


def _checked_track(track: TrackInfo | str | None) -> TrackInfo | str | None:
    if track is None or isinstance(track, TrackInfo):
        return track
    return checks.check_name("track name", track)


def _track_label(track: TrackInfo | str | None) -> str | None:
    return track.reply_name if isinstance(track, TrackInfo) else track
