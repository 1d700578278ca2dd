"""Options as frozen groups, checked once, when they are made and before anything is started."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from ringroom.checks import MAX_IDENTITY_BYTES, check_channels, check_rate, check_text
from ringroom.errors import ConfigurationError, FrameError
from ringroom.frames import Kind, Participant

__all__ = [
    "MEDIA",
    "Participants",
    "PublishOptions",
    "Reconnect",
    "SessionOptions",
    "TransportConfig",
]

Participants: TypeAlias = frozenset[str] | Callable[[Participant], bool] | None
"""Identities, or a predicate (it runs in the I/O process), or None for everyone."""

Mode: TypeAlias = Literal["speech", "live"]
Route: TypeAlias = Literal["participant", "track"]
MEDIA = (Kind.AUDIO, Kind.VIDEO)

# 10 ms is WebRTC's own packet of samples; below it nothing arrives, beyond 1 s nobody waits.
MIN_FRAME_MS, MAX_FRAME_MS = 10, 1_000
# Eleven days, in milliseconds still an int of C.
MAX_TIMEOUT = 1_000_000
# Seconds between two tries to join again.
MAX_WAIT = 3_600
VIDEO_CODECS = ("vp8", "vp9", "h264", "h265", "av1")


@dataclass(frozen=True, kw_only=True)
class PublishOptions:
    """How a track of ours is published."""

    mode: Mode = "speech"
    """``speech``: nothing is dropped, the sender waits. ``live``: newest wins, never waits."""
    queue_ms: int = 200
    """Sound that waits in the native source, beyond which sending waits; 20 to 1000 ms."""
    audio_bitrate: int | None = None
    """Bits per second; None leaves it to the SDK."""
    dtx: bool = False
    """Send nothing while silent (Opus DTX)."""
    red: bool = True
    """Send audio redundantly (RFC 2198)."""
    video_codec: str = "vp8"
    video_bitrate: int | None = None
    video_fps: float = 30.0
    simulcast: bool = False
    source: str = ""
    """microphone, camera, screen_share, screen_share_audio; empty: by the kind of the track."""

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ConfigurationError(f"publish mode is {self.mode!r}, expected 'speech' or 'live'")
        check_whole("queue_ms", self.queue_ms, 20, 1_000)
        if self.video_codec not in VIDEO_CODECS:
            known = ", ".join(VIDEO_CODECS)
            raise ConfigurationError(
                f"video_codec is {self.video_codec!r}, expected one of: {known}"
            )
        for name in ("audio_bitrate", "video_bitrate"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name), 1_000, 100_000_000)
        check_range("video_fps", self.video_fps, 0.1, 240)
        for name in ("dtx", "red", "simulcast"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigurationError(
                    f"{name} is {getattr(self, name)!r}, expected True or False"
                )
        sources = ("", "microphone", "camera", "screen_share", "screen_share_audio")
        if self.source not in sources:
            raise ConfigurationError(f"source is {self.source!r}, expected one of {sources[1:]}")


@dataclass(frozen=True, kw_only=True)
class Reconnect:
    """What happens when the connection to the room is lost. The provider heals what it can by
    itself; what it gives up is joined anew, with a fresh token if a function mints them.

    Try number n comes ``backoff * 2**(n - 1)`` seconds after what failed before it, at most
    ``longest``, less a random part of up to ``jitter`` of it. A room that is joined, and lost again
    within ``longest``, is still the same outage.

    It is also what a transport does when its I/O process dies: ``retries`` within ``deadline``.
    """

    retries: int = 20
    """How often the room is joined anew in one outage. 0: not at all, the first loss that the
    provider does not heal is the end."""
    backoff: float = 0.5
    """Seconds, 0.01 to 3600."""
    longest: float = 10.0
    """Seconds, ``backoff`` to 3600."""
    jitter: float = 0.5
    """0 to 1. Many who lose the same server do not come back all at once."""
    deadline: float = 120.0
    """Seconds that an outage may last, from the moment that the connection is lost, and also while
    the provider still tries to heal it."""

    def __post_init__(self) -> None:
        check_whole("retries", self.retries, 0, 1_000_000)
        check_range("backoff", self.backoff, 0.01, MAX_WAIT)
        check_range("longest", self.longest, self.backoff, MAX_WAIT)
        check_range("jitter", self.jitter, 0, 1)
        check_range("deadline", self.deadline, 0.1, MAX_TIMEOUT)


@dataclass(frozen=True, kw_only=True)
class SessionOptions:
    """What is received and in which form, whatever the provider."""

    sample_rate: int = 16_000
    """Hz, for all received audio and for tracks of ours that name no other."""
    channels: int = 1
    kinds: tuple[Kind, ...] = (Kind.AUDIO,)
    """What is subscribed and received; a decoder costs CPU, so only what is asked for."""
    participants: Participants = None
    frame_ms: int = 20
    """How much sound a received frame holds."""
    max_age: float = 0.2
    """Seconds after which a waiting frame is stale and is dropped, counted."""
    publish: PublishOptions = field(default_factory=PublishOptions)
    reconnect: Reconnect = field(default_factory=Reconnect)
    connect_timeout: float = 10.0
    close_timeout: float = 5.0

    def __post_init__(self) -> None:
        try:
            check_rate(self.sample_rate)
            check_channels(self.channels)
        except FrameError as error:
            raise ConfigurationError(str(error)) from None
        if self.sample_rate > 48_000:
            raise ConfigurationError(
                f"the sample rate is {self.sample_rate} Hz, expected at most 48000 (that is Opus)"
            )
        object.__setattr__(self, "kinds", _as_kinds(self.kinds))
        object.__setattr__(self, "participants", _as_participants(self.participants))
        check_whole("frame_ms", self.frame_ms, MIN_FRAME_MS, MAX_FRAME_MS)
        if self.frame_ms % 10:
            raise ConfigurationError(
                f"frame_ms is {self.frame_ms}, expected a multiple of 10 (WebRTC's packet)"
            )
        check_range("max_age", self.max_age, 0.02, 60)
        check_range("connect_timeout", self.connect_timeout, 0.1, 600)
        check_range("close_timeout", self.close_timeout, 0.1, 600)
        if not isinstance(self.publish, PublishOptions):
            raise ConfigurationError(
                f"publish is {type(self.publish).__name__}, expected ringroom.PublishOptions(...)"
            )
        if not isinstance(self.reconnect, Reconnect):
            raise ConfigurationError(
                f"reconnect is {self.reconnect!r}, expected ringroom.Reconnect(...); "
                "Reconnect(retries=0) never joins again"
            )


@dataclass(frozen=True, kw_only=True)
class TransportConfig:
    """The provider-neutral form: the same fields for every provider, the rest in ``extra``."""

    url: str = ""
    token: str | Callable[[], str] = field(default="", repr=False)
    sample_rate: int = 16_000
    channels: int = 1
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.extra, Mapping):
            raise ConfigurationError(f"extra is {type(self.extra).__name__}, expected a mapping")


def check_whole(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigurationError(
            f"{name} is {value!r}, expected a whole number from {low} to {high}"
        )
    check_range(name, value, low, high)


def check_range(name: str, value: object, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigurationError(f"{name} is {value!r}, expected a number from {low} to {high}")
    if not low <= value <= high:
        raise ConfigurationError(f"{name} is {value}, expected {low} to {high}")


def _as_kinds(kinds: Iterable[str]) -> tuple[Kind, ...]:
    if isinstance(kinds, str) or not isinstance(kinds, Iterable):
        raise ConfigurationError(f"kinds is {kinds!r}, expected a tuple such as ('audio', 'video')")
    known = ", ".join(Kind)
    result: list[Kind] = []
    for kind in kinds:
        if kind not in list(Kind):
            raise ConfigurationError(f"kinds has {kind!r}, expected some of: {known}")
        result.append(Kind(kind))
    return tuple(dict.fromkeys(result))


def _as_participants(value: Any) -> Participants:
    if value is None or callable(value):
        return value  # type: ignore[no-any-return]
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigurationError(
            f"participants is {value!r}, expected a list of identities or a function of Participant"
        )
    return as_identities(value)


def as_identities(value: Any) -> frozenset[str]:
    """``participants=`` as a set. Raises `ConfigurationError`."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigurationError(f"participants is {value!r}, expected a list of identities")
    identities = list(value)
    if not all(isinstance(identity, str) and identity for identity in identities):
        raise ConfigurationError("participants has an identity that is empty or not text")
    try:
        for identity in identities:
            check_text("identity", identity, MAX_IDENTITY_BYTES)
    except FrameError as error:
        raise ConfigurationError(f"participants: {error}") from None
    return frozenset(identities)


def check_timeout(seconds: object) -> None:
    """For ``timeout=``: None waits for ever, what is below 0 is over at once.

    Raises `ConfigurationError`.
    """
    if seconds is not None:
        check_range("timeout", seconds, -MAX_TIMEOUT, MAX_TIMEOUT)
