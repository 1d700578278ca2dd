"""What the SDK says in our words: reasons, errors, participants, tracks, publish options.

Owns every name of the SDK's enumerations. All functions are pure but `scrub_logs`.
"""

from __future__ import annotations

import logging
import re
import traceback
from types import MappingProxyType

from livekit import rtc
from livekit.rtc.participant import PublishDataTrackError, PublishTrackError
from livekit.rtc.room import ConnectError

from ringroom.errors import RoomError
from ringroom.events import Kind, Participant, TrackInfo
from ringroom.providers.provider import OutgoingTrack

__all__ = [
    "asked_layer",
    "connect_error",
    "data_refusal",
    "encryption_failure",
    "end_of_room",
    "participant_of",
    "publish_options",
    "quality_name",
    "reason_name",
    "refusal",
    "scrub",
    "scrub_logs",
    "scrubbed",
    "source_name",
    "subscription_refusal",
    "track_of",
    "unanswered",
]

_TOKEN = re.compile(r"eyJ[\w-]*\.[\w-]+\.[\w-]*|(?<=access_token=)[^&\s\"']+")

_KINDS = {rtc.TrackKind.KIND_AUDIO: Kind.AUDIO, rtc.TrackKind.KIND_VIDEO: Kind.VIDEO}
_SOURCES = {
    rtc.TrackSource.SOURCE_MICROPHONE: "microphone",
    rtc.TrackSource.SOURCE_CAMERA: "camera",
    rtc.TrackSource.SOURCE_SCREENSHARE: "screen_share",
    rtc.TrackSource.SOURCE_SCREENSHARE_AUDIO: "screen_share_audio",
}
# Of a newer kind than these, a connector say, an application is told "unknown".
_PARTICIPANT_KINDS: dict[int, str] = {
    rtc.ParticipantKind.PARTICIPANT_KIND_STANDARD: "standard",
    rtc.ParticipantKind.PARTICIPANT_KIND_AGENT: "agent",
    rtc.ParticipantKind.PARTICIPANT_KIND_SIP: "sip",
    rtc.ParticipantKind.PARTICIPANT_KIND_INGRESS: "ingress",
    rtc.ParticipantKind.PARTICIPANT_KIND_EGRESS: "egress",
}
_QUALITIES: dict[int, str] = {
    rtc.ConnectionQuality.QUALITY_EXCELLENT: "excellent",
    rtc.ConnectionQuality.QUALITY_GOOD: "good",
    rtc.ConnectionQuality.QUALITY_POOR: "poor",
    rtc.ConnectionQuality.QUALITY_LOST: "lost",
}
_LAYERS = {
    "low": rtc.VideoQuality.VIDEO_QUALITY_LOW,
    "medium": rtc.VideoQuality.VIDEO_QUALITY_MEDIUM,
}
_SOURCE_VALUES = {name: value for value, name in _SOURCES.items()}
# WebRTC brings sides down to a multiple of four, and ends the process when nothing is left of one.
MIN_SIDE = 4
_CODECS = {
    "vp8": rtc.VideoCodec.VP8,
    "vp9": rtc.VideoCodec.VP9,
    "h264": rtc.VideoCodec.H264,
    "h265": rtc.VideoCodec.H265,
    "av1": rtc.VideoCodec.AV1,
}

# The server's decisions about the room or about us: an end, not a fault.
_ENDS: dict[int, str] = {
    rtc.DisconnectReason.ROOM_DELETED: "room closed: it was deleted",
    rtc.DisconnectReason.ROOM_CLOSED: "room closed",
    rtc.DisconnectReason.PARTICIPANT_REMOVED: "removed from the room",
    rtc.DisconnectReason.DUPLICATE_IDENTITY: "another participant joined with the same identity",
}

_BROKEN: dict[int, str] = {
    rtc.EncryptionState.ENCRYPTION_FAILED: "encryption failed",
    rtc.EncryptionState.DECRYPTION_FAILED: "decryption failed: is the key the same?",
    rtc.EncryptionState.MISSING_KEY: "encrypted, and there is no key",
    rtc.EncryptionState.INTERNAL_ERROR: "encryption: internal error",
}


def scrub(text: str) -> str:
    """The text without access tokens, which the SDK quotes when the server refuses one."""
    return _TOKEN.sub("(token)", text)


def scrubbed(error: BaseException) -> str:
    """The error's traceback without access tokens, for a log."""
    return scrub("".join(traceback.format_exception(error)))


# What the SDK's native part says when a room is left in good order (it drops a handle twice, and
# stops a negotiation that the leaving made needless), of what others send that we do not take, as
# often as they like, and of each try of a connection, just before it says the same as an error.
# Nobody can act on it.
_HARMLESS = re.compile(
    r"Attempted to drop unknown FFI handle|failed to negotiate the publisher.*wrong state: closed"
    r"|Failed to read RPC v2 request stream|signal connection failed on v1 path"
    r"|data_stream\S* - (Stream '.*' already open|Invalid header)"
)


class _Scrubber(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if _HARMLESS.search(message):
            record.levelno, record.levelname = logging.DEBUG, "DEBUG"
            return logging.getLogger("livekit").isEnabledFor(logging.DEBUG)
        if _TOKEN.search(message):
            record.msg, record.args = scrub(message), ()
        return True


def scrub_logs() -> None:
    """Keep tokens out of the SDK's log (its native part logs the refused one in full), and what is
    harmless at the level of debugging."""
    sdk = logging.getLogger("livekit")
    if not any(isinstance(present, _Scrubber) for present in sdk.filters):
        sdk.addFilter(_Scrubber())


def connect_error(error: ConnectError) -> RoomError:
    """Why the SDK could not join, by what its message says; it has no codes. A bad request (400) is
    a token too: its identity is too long, say."""
    text = scrub(error.message).strip()
    if re.search(r"\b40[013]\b|[Uu]nauthorized|[Pp]ermission", text):
        return RoomError(
            f"livekit: the server refused the token: {_tail(text)}", reason="unauthorized"
        )
    if re.search(r"timed? ?out", text, re.IGNORECASE):
        return RoomError(f"livekit: joining timed out: {_tail(text)}", reason="timeout")
    return RoomError(f"livekit: the server cannot be reached: {_tail(text)}", reason="unreachable")


def unanswered(error: PublishTrackError | PublishDataTrackError | TimeoutError) -> bool:
    """Whether nobody has refused the track: the server said nothing, to us or to the SDK."""
    if isinstance(error, TimeoutError):
        return True
    return (
        re.search(r"timed?[ -]?out|no response|disconnected", error.message, re.IGNORECASE)
        is not None
    )


def _tail(text: str) -> str:
    return text.removeprefix("engine: ").removeprefix("signal failure: ").rstrip(" -")


def end_of_room(reason: int) -> tuple[str, str]:
    """(reason, error) for `Sink.ended`; the error is empty for an end that the server decided."""
    if reason in _ENDS:
        return _ENDS[reason], ""
    word = reason_name(reason)
    return word, f"livekit: connection to the room was lost: {word}"


def reason_name(reason: int) -> str:
    try:
        name = str(rtc.DisconnectReason.Name(reason))  # type: ignore[arg-type]
    except ValueError:
        name = f"reason {reason}"
    return name.lower().replace("_", " ")


def asked_layer(
    publication: rtc.RemoteTrackPublication, quality: str
) -> rtc.VideoQuality.ValueType | None:
    """The layer to ask for, of a track that has several; None: the server is left to choose."""
    layered = publication.kind == rtc.TrackKind.KIND_VIDEO and publication.simulcasted
    return _LAYERS.get(quality) if layered else None


def quality_name(quality: int) -> str:
    """Empty for what is no quality that is known here."""
    return _QUALITIES.get(quality, "")


def encryption_failure(state: int) -> str:
    """What is wrong with a participant's encryption, or nothing."""
    return _BROKEN.get(state, "")


def participant_of(participant: rtc.Participant) -> Participant:
    return Participant(
        identity=participant.identity,
        sid=participant.sid,
        name=participant.name,
        metadata=participant.metadata,
        attributes=MappingProxyType(dict(participant.attributes)),
        kind=_PARTICIPANT_KINDS.get(participant.kind, "unknown"),
    )


def track_of(publication: rtc.TrackPublication, identity: str) -> TrackInfo | None:
    """None for a kind that this package does not carry."""
    kind = _KINDS.get(publication.kind)
    if kind is None:
        return None
    return TrackInfo(
        sid=publication.sid,
        name=publication.name,
        kind=kind,
        participant=identity,
        source=_SOURCES.get(publication.source, "unknown"),
    )


def source_name(track: OutgoingTrack) -> str:
    return track.options.source or ("microphone" if track.kind is Kind.AUDIO else "camera")


def refusal(track: OutgoingTrack, permissions: object) -> str:
    """Why we may not publish this, or nothing. The server never answers a request that it refuses,
    so without this check a refusal is a timeout of ten seconds."""
    if track.kind is Kind.VIDEO and (small := too_small(track.width, track.height)):
        return small
    if not getattr(permissions, "can_publish", True):
        return "publishing is not allowed (canPublish)"
    source = source_name(track)
    allowed = list(getattr(permissions, "can_publish_sources", ()))
    if allowed and _SOURCE_VALUES[source] not in allowed:
        return f"publishing from source {source} is not allowed (canPublishSources)"
    return ""


def data_refusal(permissions: object) -> str:
    """Why we may not send data, messages or on a track, or nothing."""
    if getattr(permissions, "can_publish_data", True):
        return ""
    return "data is not allowed (canPublishData)"


def subscription_refusal(permissions: object) -> str:
    """Why we may not receive a track, or nothing."""
    if getattr(permissions, "can_subscribe", True):
        return ""
    return "receiving tracks is not allowed (canSubscribe)"


def too_small(width: int, height: int) -> str:
    """What is wrong with a picture of that size, or nothing."""
    if min(width, height) >= MIN_SIDE:
        return ""
    return f"a picture of {width}x{height}, and WebRTC takes sides of {MIN_SIDE} pixels and more"


def publish_options(track: OutgoingTrack) -> rtc.TrackPublishOptions:
    """Our publish options as the SDK takes them."""
    ours = track.options
    theirs = rtc.TrackPublishOptions()
    theirs.source = _SOURCE_VALUES[source_name(track)]
    if track.kind is Kind.AUDIO:
        theirs.dtx = ours.dtx
        theirs.red = ours.red
        if ours.audio_bitrate is not None:
            theirs.audio_encoding.max_bitrate = ours.audio_bitrate
        return theirs
    theirs.simulcast = ours.simulcast
    theirs.video_codec = _CODECS[ours.video_codec]
    theirs.video_encoding.max_framerate = ours.video_fps
    theirs.video_encoding.max_bitrate = ours.video_bitrate or _video_bitrate(track)
    return theirs


def _video_bitrate(track: OutgoingTrack) -> int:
    """The SDK's presets (1.7 Mbit/s for 720p at 30 frames/s, 3 for 1080p, 0.45 for 360p at 20) as
    a formula: a frame rate cannot be given to the SDK without a bitrate."""
    pixels = track.width * track.height / (1280 * 720)
    return int(max(1_700_000 * pixels**0.75 * (track.options.video_fps / 30) ** 0.5, 100_000))
