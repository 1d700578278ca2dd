"""Which way media takes through the SDK: `direct` where the SDK is one that was looked at, else
`public`."""

from __future__ import annotations

import inspect
import logging
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from ringroom.errors import ConfigurationError
from ringroom.providers.livekit.media import MediaPath
from ringroom.providers.livekit.public import PublicPath

__all__ = ["check_path", "open_path", "unfit"]

_log = logging.getLogger("ringroom.livekit")

OLDEST, NEXT = (1, 1, 21), (1, 3)
# What `direct` and `native` take from the SDK's messages.
FIELDS = {
    "ffi_pb2.FfiEvent": {
        "audio_stream_event",
        "video_stream_event",
        "data_track_stream_event",
        "capture_audio_frame",
    },
    "ffi_pb2.FfiRequest": {
        "new_audio_stream",
        "new_video_stream",
        "subscribe_data_track",
        "data_track_stream_read",
        "capture_audio_frame",
    },
    "data_track_pb2.DataTrackStreamEvent": {"stream_handle", "frame_received", "eos"},
    "audio_frame_pb2.AudioStreamEvent": {"stream_handle", "frame_received", "eos"},
    "audio_frame_pb2.NewAudioStreamRequest": {"frame_size_ms", "queue_size_frames"},
    "audio_frame_pb2.AudioFrameBufferInfo": {"data_ptr", "samples_per_channel"},
    "audio_frame_pb2.CaptureAudioFrameRequest": {"source_handle", "buffer", "request_async_id"},
    "audio_frame_pb2.CaptureAudioFrameCallback": {"async_id", "error"},
    "video_frame_pb2.NewVideoStreamRequest": {"normalize_stride", "queue_size_frames"},
    "video_frame_pb2.VideoStreamEvent": {"stream_handle", "frame_received", "eos"},
    "video_frame_pb2.VideoFrameReceived": {"buffer", "timestamp_us", "rotation"},
}


def unfit() -> str:
    """Why the direct path cannot be taken with the SDK that is installed; "" if it can."""
    try:
        installed = version("livekit")
        numbers = tuple(int(part) for part in installed.split(".")[:3])
    except (PackageNotFoundError, ValueError) as error:
        return f"the SDK's version is not known ({error})"
    if not OLDEST <= numbers < NEXT:
        return f"the SDK is {installed}, and 1.1.21 up to 1.2 are known"
    return _missing()


def _missing() -> str:
    try:
        client = import_module("livekit.rtc._ffi_client")
        for name, fields in FIELDS.items():
            module, _, message = name.partition(".")
            there = getattr(import_module(f"livekit.rtc._proto.{module}"), message).DESCRIPTOR
            if absent := fields - set(there.fields_by_name):
                return f"the SDK's {message} has no {', '.join(sorted(absent))}"
        if "filter_fn" not in inspect.signature(client.FfiQueue.subscribe).parameters:
            return "the SDK's events cannot be filtered"
    except (ImportError, AttributeError) as error:
        return f"the SDK is built differently ({error})"
    return ""


def check_path(wanted: str) -> None:
    """Raises `ConfigurationError` if the direct path is asked for and cannot be taken."""
    if wanted == "direct" and (why := unfit()):
        raise ConfigurationError(f"livekit: sdk_path is 'direct', but {why}")


def open_path(wanted: str) -> MediaPath:
    """The way through the SDK for one connection, on the running loop; see `LiveKit.sdk_path`.

    Raises `ConfigurationError`.
    """
    check_path(wanted)
    why = unfit() if wanted == "auto" else ""
    if why:
        _log.info("livekit: media goes by the SDK's public API: %s", why)
    if why or wanted == "public":
        return PublicPath()
    # What it imports is private to the SDK, and may not be there.
    from ringroom.providers.livekit.direct import DirectPath

    return DirectPath()
