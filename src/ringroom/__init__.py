"""LiveKit media for CPU-heavy Python.

A dedicated I/O process owns the connection to the room and exchanges frames with worker processes,
or with the application itself, through ring buffers in shared memory.

The layers, each importing only from itself and from those before it:
    closeable, colour, errors, events, notices, values  <  checks, system  <
    frames, audio_out, dtmf, option_checks, options, pieces, profile, rpc, subscribers, text_out  <
    lanes  <  messages, message_codec, link, resampling, recording  <
    providers, context, processor, chaining  <
    sessions  <  processes  <  faces  <
    sender, client, aio, metrics, pool, voice  <  testing  <
    cli, pytest_plugin, __main__
Names are loaded at their first use, so that `import ringroom` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ringroom import aio as aio
    from ringroom import metrics as metrics
    from ringroom import recording as recording
    from ringroom.chaining import chain
    from ringroom.client import Transport, transport
    from ringroom.context import Context
    from ringroom.dtmf import DtmfFrame
    from ringroom.errors import (
        BusyError,
        ClosedError,
        ConfigurationError,
        FrameError,
        LostProcessError,
        RingroomError,
        RoomError,
        RpcError,
        StartupError,
        UnknownProviderError,
        WireError,
        WouldBlock,
    )
    from ringroom.events import Event, EventKind, Kind, Participant, RoomInfo, TrackInfo
    from ringroom.faces.connection import Statistics
    from ringroom.frames import (
        AudioFrame,
        DataFrame,
        DataTrackFrame,
        FileFrame,
        TextFrame,
        VideoFrame,
    )
    from ringroom.options import PublishOptions, Reconnect, SessionOptions, TransportConfig
    from ringroom.pool import Pool, PoolOptions, run
    from ringroom.processes.hosts import IOProcess
    from ringroom.processor import Problem, Processor
    from ringroom.providers.fake import Fake
    from ringroom.providers.livekit import LiveKit
    from ringroom.providers.registry import names as provider_names
    from ringroom.providers.registry import register as register_provider
    from ringroom.providers.replay import Replay
    from ringroom.recording import Recorder
    from ringroom.rpc import RpcCall
    from ringroom.voice import VoiceTransport, as_voice_transport

_HOMES = {
    "ringroom.chaining": ("chain",),
    "ringroom.client": ("Transport", "transport"),
    "ringroom.context": ("Context",),
    "ringroom.faces.connection": ("Statistics",),
    "ringroom.dtmf": ("DtmfFrame",),
    "ringroom.errors": (
        "BusyError",
        "ClosedError",
        "ConfigurationError",
        "FrameError",
        "LostProcessError",
        "RingroomError",
        "RoomError",
        "RpcError",
        "StartupError",
        "UnknownProviderError",
        "WireError",
        "WouldBlock",
    ),
    "ringroom.events": ("Event", "EventKind", "Kind", "Participant", "RoomInfo", "TrackInfo"),
    "ringroom.frames": (
        "AudioFrame",
        "DataFrame",
        "DataTrackFrame",
        "FileFrame",
        "TextFrame",
        "VideoFrame",
    ),
    "ringroom.options": ("PublishOptions", "Reconnect", "SessionOptions", "TransportConfig"),
    "ringroom.pool": ("Pool", "PoolOptions", "run"),
    "ringroom.processes.hosts": ("IOProcess",),
    "ringroom.processor": ("Problem", "Processor"),
    "ringroom.providers.fake": ("Fake",),
    "ringroom.providers.livekit": ("LiveKit",),
    "ringroom.providers.replay": ("Replay",),
    "ringroom.recording": ("Recorder",),
    "ringroom.rpc": ("RpcCall",),
    "ringroom.voice": ("VoiceTransport", "as_voice_transport"),
}
_RENAMED = {
    "provider_names": ("ringroom.providers.registry", "names"),
    "register_provider": ("ringroom.providers.registry", "register"),
}
_WHERE = {name: (home, name) for home, names in _HOMES.items() for name in names} | _RENAMED

__all__ = [
    "AudioFrame",
    "BusyError",
    "ClosedError",
    "ConfigurationError",
    "Context",
    "DataFrame",
    "DataTrackFrame",
    "DtmfFrame",
    "Event",
    "EventKind",
    "Fake",
    "FileFrame",
    "FrameError",
    "IOProcess",
    "Kind",
    "LiveKit",
    "LostProcessError",
    "Participant",
    "Pool",
    "PoolOptions",
    "Problem",
    "Processor",
    "PublishOptions",
    "Reconnect",
    "Recorder",
    "Replay",
    "RingroomError",
    "RoomError",
    "RoomInfo",
    "RpcCall",
    "RpcError",
    "SessionOptions",
    "StartupError",
    "Statistics",
    "TextFrame",
    "TrackInfo",
    "Transport",
    "TransportConfig",
    "UnknownProviderError",
    "VideoFrame",
    "VoiceTransport",
    "WireError",
    "WouldBlock",
    "aio",
    "as_voice_transport",
    "chain",
    "metrics",
    "provider_names",
    "recording",
    "register_provider",
    "run",
    "transport",
]


def __getattr__(name: str) -> object:
    if name in ("aio", "metrics", "recording"):
        return import_module(f"ringroom.{name}")
    if name == "__version__":
        return import_module("importlib.metadata").version("ringroom")
    if name not in _WHERE:
        raise AttributeError(f"module 'ringroom' has no attribute {name!r}")
    home, attribute = _WHERE[name]
    value = getattr(import_module(home), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
