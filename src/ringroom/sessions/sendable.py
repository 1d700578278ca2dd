"""What may be sent, and on which track: checks of what a sender hands in, without any state."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from ringroom.checks import (
    MAX_FILE_BYTES,
    as_destinations,
    byte_size,
    check_name,
    check_origin,
    check_rate,
    check_reading,
    check_size,
    check_timestamp,
    is_sound,
    shown,
)
from ringroom.colour import i420_size
from ringroom.dtmf import DtmfFrame
from ringroom.errors import FrameError
from ringroom.events import Kind, TrackInfo
from ringroom.frames import (
    AudioFrame,
    DataFrame,
    DataTrackFrame,
    FileFrame,
    Frame,
    MediaFrame,
    TextFrame,
    VideoFrame,
)
from ringroom.option_checks import SOURCES_OF
from ringroom.options import PublishOptions
from ringroom.rpc import RpcCall
from ringroom.subscribers import Allowance

Content: TypeAlias = bytes | bytearray | memoryview | os.PathLike[str]
"""What `send_file` takes: bytes, or the path of a file that is read."""
OTHER_MIME_TYPE = "application/octet-stream"
DEFAULT_AUDIO, DEFAULT_VIDEO, DEFAULT_DATA_TRACK = "audio", "video", "data"
_DEFAULT_NAMES = {
    Kind.AUDIO: DEFAULT_AUDIO,
    Kind.VIDEO: DEFAULT_VIDEO,
    Kind.DATA_TRACK: DEFAULT_DATA_TRACK,
}
_FILL = "for fill_video: a `with` block around it gives the picture, and sends it at its end"
_CONVERSIONS = {
    "contextlib._GeneratorContextManager": _FILL,
    "contextlib._AsyncGeneratorContextManager": _FILL.replace("a `with`", "an `async with`"),
    "bytes": "for PCM bytes: ringroom.AudioFrame(pcm, sample_rate)",
    "livekit.rtc.audio_frame.AudioFrame": (
        "for the SDK's: ringroom.AudioFrame(f.data, f.sample_rate, f.num_channels)"
    ),
    "livekit.rtc.video_frame.VideoFrame": (
        "for the SDK's, as I420: ringroom.VideoFrame(f.data, f.width, f.height)"
    ),
    "livekit.rtc.data_track.DataTrackFrame": (
        "for the SDK's: ringroom.DataTrackFrame(f.payload, timestamp=f.user_timestamp)"
    ),
}
"""What to make of which type, for a message."""


def as_message(payload: bytes | str, topic: str, reliable: bool, to: Collection[str]) -> DataFrame:
    """A data frame from what `send_data` takes. Raises `FrameError`."""
    if isinstance(payload, str):
        try:
            payload = payload.encode()
        except UnicodeEncodeError as error:
            raise FrameError(f"the payload is not valid Unicode text ({error.reason})") from None
    elif not isinstance(payload, bytes):
        raise FrameError(f"a payload of type {type(payload).__name__}, expected bytes or text")
    return DataFrame(payload, topic, reliable=reliable, to=as_destinations(to))


def as_text(
    text: str, topic: str, to: Collection[str], attributes: Mapping[str, str] | None
) -> TextFrame:
    """A text from what `send_text` takes. Raises `FrameError`."""
    if not isinstance(text, str):
        raise FrameError(
            f"a text of type {type(text).__name__}, expected text; bytes go with send_data"
        )
    try:
        payload = text.encode()
    except UnicodeEncodeError as error:
        raise FrameError(f"the text is not valid Unicode text ({error.reason})") from None
    given = {} if attributes is None else attributes
    return TextFrame(payload, topic, to=as_destinations(to), attributes=given)


def as_digits(digits: str) -> tuple[DtmfFrame, ...]:
    """The frames of what `send_dtmf` takes, one for each digit. Raises `FrameError`."""
    if not isinstance(digits, str) or not digits:
        raise FrameError(f"the digits are {shown(digits)}, expected text such as '123#'")
    return tuple(map(DtmfFrame, digits))


def as_file(
    payload: Content,
    topic: str,
    to: Collection[str],
    attributes: Mapping[str, str] | None,
    name: str,
    mime_type: str | None,
) -> FileFrame:
    """A file from what `send_file` takes; one that a path names is read. Raises `FrameError`, and
    `OSError` where it cannot be read."""
    if isinstance(payload, os.PathLike):
        path = Path(payload)
        content, name = _content_of(path), name or path.name
    elif isinstance(payload, bytes | bytearray | memoryview):
        view = payload if isinstance(payload, memoryview) else memoryview(payload)
        _check_file_size(byte_size(view))
        content = bytes(payload)
    else:
        raise FrameError(
            f"a file of type {type(payload).__name__}, expected bytes, or a pathlib.Path to be "
            "read; text goes with send_text"
        )
    given = {} if attributes is None else attributes
    kind = _mime_type_of(name) if mime_type is None else mime_type
    to = as_destinations(to)
    return FileFrame(content, topic, to=to, name=name, mime_type=kind, attributes=given)


def _content_of(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
        _check_file_size(max(len(content), os.fstat(file.fileno()).st_size))
    return content


def _check_file_size(size: int) -> None:
    """Before it is copied."""
    if size > MAX_FILE_BYTES:
        raise FrameError(
            f"a file has {size} bytes, at most {MAX_FILE_BYTES} are taken; send it in parts"
        )


def _mime_type_of(name: str) -> str:
    """As the ending of the name says."""
    import mimetypes  # and much else with it, which few need

    kind, encoding = mimetypes.guess_type(name) if isinstance(name, str) else (None, None)
    # What is compressed has not the type of what is in it.
    return OTHER_MIME_TYPE if kind is None or encoding is not None else kind


def checked_name(name: str) -> str:
    """The name of a track of ours. Raises `FrameError`."""
    return check_name("track name", name)


def name_of(track: str | TrackInfo) -> str:
    """The name of a track of ours: of that which answers a received one, for its `TrackInfo`.
    Raises `FrameError`."""
    name = track.reply_name if isinstance(track, TrackInfo) else checked_name(track)
    if not name:  # it is that of our messages
        raise FrameError("the track name is empty; leave it out for the default track")
    return name


def name_to_mute(track: str | TrackInfo | None) -> str:
    """As `name_of`, also of a track that is still to come; None names that of a sound that names
    none."""
    return DEFAULT_AUDIO if track is None else name_of(track)


def allowance(who: Collection[str] | None, track: str | TrackInfo | None) -> Allowance:
    """What `allow_subscribers` takes. Raises `ConfigurationError` and `FrameError`."""
    return Allowance(who, "" if track is None else name_of(track))  # type: ignore[arg-type]


def kind_of(frame: Frame) -> Kind:
    """The kind of the track that the frame belongs on. Raises `FrameError` for what is no frame."""
    if isinstance(frame, AudioFrame):
        return Kind.AUDIO
    if isinstance(frame, VideoFrame):
        return Kind.VIDEO
    if isinstance(frame, DataFrame):
        return Kind.DATA
    if isinstance(frame, DataTrackFrame):
        return Kind.DATA_TRACK
    raise FrameError(
        f"cannot send a {_full_name(type(frame))}; expected AudioFrame, VideoFrame or DataFrame "
        f"({_CONVERSIONS.get(_full_name(type(frame)), _CONVERSIONS['bytes'])})"
    )


def _full_name(kind: type) -> str:
    """Others have an AudioFrame too."""
    module = kind.__module__
    known = module == "builtins" or module.partition(".")[0] == "ringroom"
    return kind.__name__ if known else f"{module}.{kind.__name__}"


def track_name(frame: Frame) -> str:
    """The name of the outgoing track that the frame belongs on. Raises `FrameError` for what is no
    frame, or is one no longer: its fields can be assigned to."""
    kind = kind_of(frame)
    if isinstance(frame, DataFrame):
        if isinstance(frame, RpcCall):
            raise FrameError(
                "a call cannot be sent; send call.answer(...) or call.refuse(...), which answer it"
            )
        if not all(frame.to):
            raise FrameError("a destination is an empty identity; leave `to` out for everyone")
        return ""
    _check_unspoiled(frame)
    if isinstance(frame.track, TrackInfo):
        return frame.track.reply_name
    return checked_name(frame.track or _DEFAULT_NAMES[kind])


def with_source(publish: PublishOptions, frame: Frame) -> PublishOptions:
    """The options of the track that the frame opens: one that answers a track of the same kind has
    the source of that, unless the options name one."""
    if publish.source or isinstance(frame, DataFrame) or not isinstance(frame.track, TrackInfo):
        return publish
    source = frame.track.source
    known = SOURCES_OF.get(kind_of(frame), ())
    return replace(publish, source=source) if source in known else publish


def _check_unspoiled(frame: MediaFrame) -> None:
    if isinstance(frame, AudioFrame):
        if not is_sound(frame.samples):
            raise FrameError(
                "the samples of this frame were replaced by what is no sound; expected int16 of "
                "shape (samples per channel, channels): make a frame with "
                "frame.replace(samples=...), which converts"
            )
        check_rate(frame.sample_rate)
        return
    if isinstance(frame, DataTrackFrame):
        if type(frame.payload) is not bytes:
            raise FrameError(
                "the payload of this frame was replaced by what is no bytes; make a frame with "
                "frame.replace(payload=...)"
            )
        check_reading(len(frame.payload))
        check_timestamp(frame.timestamp)
        return
    check_size(frame.width, frame.height)
    check_origin(frame.rotation, frame.timestamp_us)
    data = frame.data
    whole = isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.ndim == 1
    if not whole or data.size != i420_size(frame.width, frame.height):
        raise FrameError(
            "the data of this frame was replaced by what is no picture of its size; make a new "
            "VideoFrame"
        )
