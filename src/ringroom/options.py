"""Options as frozen groups, checked once, when they are made and before anything is started."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from ringroom.checks import check_channels, check_rate, shown
from ringroom.errors import ConfigurationError, FrameError
from ringroom.events import Kind, Participant, TrackInfo
from ringroom.option_checks import (
    MAX_TIMEOUT,
    SOURCES,
    VIDEO_QUALITIES,
    as_identities,
    as_kinds,
    as_methods,
    as_sources,
    as_topics,
    check_choice,
    check_flag,
    check_function,
    check_sources_come,
    settle_number,
    settle_whole,
)

__all__ = [
    "MEDIA",
    "Participants",
    "PublishOptions",
    "Reconnect",
    "SessionOptions",
    "Tracks",
    "TransportConfig",
]

Participants: TypeAlias = frozenset[str] | Callable[[Participant], bool] | None
"""Whose tracks and messages are received: identities, or a predicate (it runs in the I/O process),
or None for everyone."""

Tracks: TypeAlias = frozenset[str] | Callable[[TrackInfo], bool] | None
"""Which tracks are received: sources (`TrackInfo.source`), or a predicate (it runs in the I/O
process), or None for all."""

Mode: TypeAlias = Literal["speech", "live"]
VideoQuality: TypeAlias = Literal["low", "medium", "high"]
Route: TypeAlias = Literal["participant", "track"]
MEDIA = (Kind.AUDIO, Kind.VIDEO)

# 10 ms is WebRTC's own packet of samples; below it nothing arrives, beyond 1 s nobody waits.
MIN_FRAME_MS, MAX_FRAME_MS = 10, 1_000
# The rate of Opus.
MAX_RECEIVED_RATE = 48_000
# Seconds between two tries to join again.
MAX_WAIT = 3_600
VIDEO_CODECS = ("vp8", "vp9", "h264", "h265", "av1")


@dataclass(frozen=True, kw_only=True)
class PublishOptions:
    """How a track of ours is published."""

    mode: Mode = "speech"
    """``speech``: nothing is dropped, the sender waits. ``live``: newest wins; only its first frame
    waits, until the track is published. Sound that has stood at the source for 2 s is dropped where
    it is quiet, for 8 s anywhere; 10 ms and less than one more frame stay queued."""
    queue_ms: int = 200
    """How much sound may wait in the native source before sending waits; 20 to 1000 ms."""
    audio_bitrate: int | None = None
    """1,000 to 100,000,000 bits per second; None leaves it to the SDK."""
    dtx: bool = False
    """Send nothing while silent (Opus DTX)."""
    red: bool = True
    """Send audio redundantly (RFC 2198)."""
    video_codec: str = "vp8"
    video_bitrate: int | None = None
    """1,000 to 100,000,000 bits per second; None: by the pictures' size and ``video_fps``."""
    video_fps: float = 30.0
    """Pictures a second, at most; 0.1 to 240."""
    simulcast: bool = False
    source: str = ""
    """microphone, camera, screen_share, screen_share_audio; empty: that of the track which it
    answers, else by the kind of the track."""

    def __post_init__(self) -> None:
        check_choice("publish mode", self.mode, get_args(Mode))
        settle_whole(self, "queue_ms", 20, 1_000)
        check_choice("video_codec", self.video_codec, VIDEO_CODECS)
        for name in ("audio_bitrate", "video_bitrate"):
            if getattr(self, name) is not None:
                settle_whole(self, name, 1_000, 100_000_000)
        settle_number(self, "video_fps", 0.1, 240)
        for name in ("dtx", "red", "simulcast"):
            check_flag(name, getattr(self, name))
        check_choice("source", self.source, SOURCES, empty=True)


@dataclass(frozen=True, kw_only=True)
class Reconnect:
    """What happens when the connection to the room is lost. The provider heals what it can by
    itself; a room that it gives up is joined anew, with a fresh token if a function mints them.

    Try number n comes ``backoff * 2**(n - 1)`` seconds after what failed before it, at most
    ``longest``, less a random part of up to ``jitter`` of it. A room that is joined, and lost again
    within ``longest``, is still the same outage.

    The same happens when the I/O process has died, and the one in its place cannot join. A
    transport without a pool begins at most ``retries`` such processes within ``deadline``.
    """

    retries: int = 20
    """How often the room is joined anew in one outage. 0: not at all, the first loss that the
    provider does not heal is the end."""
    backoff: float = 0.5
    """Seconds, 0.01 to 3600."""
    longest: float = 10.0
    """Seconds, ``backoff`` to 3600."""
    jitter: float = 0.5
    """0 to 1. It keeps many that lose the same server from coming back all at once."""
    deadline: float = 120.0
    """Seconds that an outage may last, from the moment that the connection is lost, and also while
    the provider still tries to heal it."""

    def __post_init__(self) -> None:
        settle_whole(self, "retries", 0, 1_000_000)
        settle_number(self, "backoff", 0.01, MAX_WAIT)
        settle_number(self, "longest", self.backoff, MAX_WAIT)
        settle_number(self, "jitter", 0, 1)
        settle_number(self, "deadline", 0.1, MAX_TIMEOUT)


@dataclass(frozen=True, kw_only=True)
class SessionOptions:
    """What is received and in which form, whatever the provider."""

    sample_rate: int = 16_000
    """Hz, for all received audio and for tracks of ours that name no other."""
    channels: int = 1
    """1 or 2, for all received audio and for tracks of ours that name no other."""
    kinds: tuple[Kind, ...] = (Kind.AUDIO,)
    """What is subscribed and received; a decoder costs CPU, so only what is asked for."""
    participants: Participants = None
    tracks: Tracks = None
    text_topics: tuple[str, ...] = ()
    """Of texts (LiveKit's text streams), the topics that are received, each text whole as a
    `TextFrame`, with ``"data"`` among the ``kinds``."""
    file_topics: tuple[str, ...] = ()
    """Of files (LiveKit's byte streams), the topics that are received, each file whole as a
    `FileFrame`, with ``"data"`` among the ``kinds``."""
    rpc_methods: tuple[str, ...] = ()
    """Of calls (LiveKit's RPC), the methods that are ours, each name of 1 to 64 bytes: calls of
    them come as `RpcCall`s, with ``"data"`` among the ``kinds``."""
    dtmf: bool = False
    """Whether digits of telephones are received, each as a `DtmfFrame`, with ``"data"`` among the
    ``kinds``."""
    active_speakers: bool = False
    """Whether the event ``ACTIVE_SPEAKERS`` tells who speaks, of those whose sound is received;
    with ``"audio"`` and ``"event"`` among the ``kinds``."""
    video_quality: VideoQuality = "high"
    """Of pictures that are published in layers (simulcast), the layer that is received: the
    smallest, one in the middle, or ``high``, the largest that the connection takes. Another than
    ``high`` wants ``"video"`` among the ``kinds``."""
    frame_ms: int = 20
    """How much sound a received frame holds: a multiple of 10, up to 1000."""
    max_age: float = 0.2
    """Seconds after which a waiting frame is stale and is dropped, counted; 0.02 to 60."""
    publish: PublishOptions = field(default_factory=PublishOptions)
    reconnect: Reconnect = field(default_factory=Reconnect)
    connect_timeout: float = 10.0
    """Seconds to join a room, and to be given a track in it; 0.1 to 600. Publishing and sending
    have longer where a provider needs more to tell a refusal from a lost connection (``livekit``:
    12 s for a track, 20 s for a message)."""
    close_timeout: float = 5.0
    """Seconds to play out what was sent, and then to leave; 0.1 to 600."""

    def __post_init__(self) -> None:
        try:
            rate = check_rate(self.sample_rate, MAX_RECEIVED_RATE)
            object.__setattr__(self, "sample_rate", rate)
            object.__setattr__(self, "channels", check_channels(self.channels))
        except FrameError as error:
            raise ConfigurationError(str(error)) from None
        object.__setattr__(self, "kinds", as_kinds(self.kinds))
        object.__setattr__(self, "participants", _as_participants(self.participants))
        object.__setattr__(self, "tracks", _as_tracks(self.tracks))
        if isinstance(self.tracks, frozenset):
            check_sources_come(self.tracks, self.kinds)
        object.__setattr__(self, "text_topics", as_topics("text_topics", self.text_topics))
        if self.text_topics and Kind.DATA not in self.kinds:
            raise ConfigurationError(
                "text_topics are given, and kinds has no 'data': texts come as messages do; add it"
            )
        object.__setattr__(self, "file_topics", as_topics("file_topics", self.file_topics))
        if self.file_topics and Kind.DATA not in self.kinds:
            raise ConfigurationError(
                "file_topics are given, and kinds has no 'data': files come as messages do; add it"
            )
        object.__setattr__(self, "rpc_methods", as_methods(self.rpc_methods))
        if self.rpc_methods and Kind.DATA not in self.kinds:
            raise ConfigurationError(
                "rpc_methods are given, and kinds has no 'data': calls come as messages do; add it"
            )
        check_flag("dtmf", self.dtmf)
        if self.dtmf and Kind.DATA not in self.kinds:
            raise ConfigurationError(
                "dtmf=True, and kinds has no 'data': digits come as messages do; add it"
            )
        check_flag("active_speakers", self.active_speakers)
        if self.active_speakers and not {Kind.AUDIO, Kind.EVENT} <= {*self.kinds}:
            raise ConfigurationError(
                "active_speakers=True, and kinds has not both 'audio' and 'event': it is an event "
                "that tells whose sound is received; add them"
            )
        check_choice("video_quality", self.video_quality, VIDEO_QUALITIES)
        if self.video_quality != "high" and Kind.VIDEO not in self.kinds:
            raise ConfigurationError(
                f"video_quality is {self.video_quality!r}, and kinds has no 'video': add it"
            )
        settle_whole(self, "frame_ms", MIN_FRAME_MS, MAX_FRAME_MS)
        if self.frame_ms % 10:
            raise ConfigurationError(
                f"frame_ms is {self.frame_ms}, expected a multiple of 10 (WebRTC's packet)"
            )
        settle_number(self, "max_age", 0.02, 60)
        settle_number(self, "connect_timeout", 0.1, 600)
        settle_number(self, "close_timeout", 0.1, 600)
        if not isinstance(self.publish, PublishOptions):
            raise ConfigurationError(
                f"publish is {type(self.publish).__name__}, expected ringroom.PublishOptions(...)"
            )
        if not isinstance(self.reconnect, Reconnect):
            raise ConfigurationError(
                f"reconnect is {shown(self.reconnect)}, expected ringroom.Reconnect(...); "
                "Reconnect(retries=0) never joins again"
            )


@dataclass(frozen=True, kw_only=True)
class TransportConfig:
    """The provider-neutral form: the same fields for every provider, the rest in ``extra``. ``url``
    and ``token`` are passed on if they are not empty."""

    url: str = ""
    token: str | Callable[[], str] = field(default="", repr=False)
    sample_rate: int = 16_000
    channels: int = 1
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.extra, Mapping):
            raise ConfigurationError(f"extra is {type(self.extra).__name__}, expected a mapping")


def _as_participants(value: Any) -> Participants:
    if callable(value):
        check_function("participants", value, "a Participant")
        return value  # type: ignore[no-any-return]  # (`callable` says nothing of what it takes)
    return None if value is None else as_identities(value)


def _as_tracks(value: Any) -> Tracks:
    if callable(value):
        check_function("tracks", value, "a TrackInfo")
        return value  # type: ignore[no-any-return]  # (`callable` says nothing of what it takes)
    return None if value is None else as_sources(value)
