"""What a fake room and the application's provider tell each other.

Values only. Fields are text, integers, booleans, lists of text, `Participant`, `TrackInfo` and
`RoomInfo`, and at most one ``payload`` of raw bytes: `wire` carries exactly these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from ringroom.events import EventKind, Kind, Participant, RoomInfo, TrackInfo
from ringroom.values import Value

__all__ = [
    "AllTold",
    "AllowSubscribers",
    "Answered",
    "Audio",
    "AudioPause",
    "Call",
    "Data",
    "Done",
    "Dtmf",
    "Ended",
    "File",
    "FileBroken",
    "Happened",
    "Join",
    "Joined",
    "Leave",
    "Message",
    "Misbehave",
    "Mute",
    "Piece",
    "PublicationEnded",
    "PublicationMuted",
    "Publish",
    "QualityTold",
    "Reading",
    "Refused",
    "RoomChanged",
    "SetProfile",
    "Subscription",
    "Text",
    "TextBroken",
    "TrackMuted",
    "TrackPublished",
    "TrackUnpublished",
    "TrackWithheld",
    "Unpublish",
    "Video",
]


Quality: TypeAlias = str
"""One of `option_checks.QUALITIES`."""
VideoQuality: TypeAlias = str
"""One of `option_checks.VIDEO_QUALITIES`."""


# From the application.


class Join(Value):
    """The first message of a connection: who it is, of which ``kind`` of participant, and what its
    token allows (``sources`` that it may publish; all, if there are none)."""

    identity: str
    kind: str = "standard"
    publish: bool = True
    subscribe: bool = True
    publish_data: bool = True
    set_profile: bool = True
    sources: tuple[str, ...] = ()


class Leave(Value):
    """The application leaves in good order."""


class Publish(Value):
    """``track`` is the application's own handle; it names the track in media and `Unpublish`."""

    request: int
    track: str
    name: str
    kind: Kind
    source: str
    muted: bool


class Unpublish(Value):
    track: str


class Mute(Value):
    """The application mutes or unmutes a track of its own."""

    track: str
    muted: bool


class AllowSubscribers(Value):
    """Who may subscribe to the application's tracks, as JSON."""

    payload: bytes


class SetProfile(Value):
    """An empty name or metadata stays as it is; an attribute without a value is taken away."""

    request: int
    name: str
    metadata: str
    attributes: Mapping[str, str]


class Piece(Value):
    """A step (`ringroom.pieces`) of a text that the application is writing; ``text`` is its own
    number of that text. The payload is UTF-8: what is added, or why the text is unfinished."""

    request: int
    text: int
    step: str
    topic: str
    to: tuple[str, ...]
    attributes: Mapping[str, str]
    payload: bytes


class Subscription(Value):
    """The answer to `TrackPublished`; the ``quality`` is that of pictures in layers."""

    track: str
    wanted: bool
    quality: VideoQuality


# Both ways.


class Audio(Value):
    """Interleaved little-endian int16. ``time_ns`` is when its first sample is played."""

    track: str
    sample_rate: int
    channels: int
    time_ns: int
    payload: bytes


class AudioPause(Value):
    """Nothing follows for now: resamplers and slicers let out what they hold back."""

    track: str


class Video(Value):
    """An I420 picture without padding."""

    track: str
    width: int
    height: int
    rotation: int
    timestamp_us: int
    time_ns: int
    payload: bytes


class Reading(Value):
    """A frame of a data track."""

    track: str
    timestamp: int | None
    time_ns: int
    payload: bytes


class Data(Value):
    """``request`` is 0 on the way to the application, which answers nothing."""

    request: int
    participant: str
    topic: str
    reliable: bool
    to: tuple[str, ...]
    payload: bytes


class Text(Value):
    """As `Data`; the payload is UTF-8."""

    request: int
    participant: str
    topic: str
    to: tuple[str, ...]
    attributes: Mapping[str, str]
    payload: bytes


class Dtmf(Value):
    """As `Data`; the payload is one digit."""

    request: int
    participant: str
    payload: bytes


class File(Value):
    """As `Data`."""

    request: int
    participant: str
    topic: str
    to: tuple[str, ...]
    name: str
    mime_type: str
    attributes: Mapping[str, str]
    payload: bytes


class Call(Value):
    """A participant calls a method of the application's, or it one of theirs."""

    request: int
    participant: str
    method: str
    timeout_ms: int
    payload: bytes


class Answered(Value):
    """The answer to a `Call`; with a ``code``, an error of that text and ``detail``."""

    request: int
    code: int
    detail: str
    payload: bytes


# From the room.


class TextBroken(Value):
    """A text was begun that does not come to its end."""

    participant: Participant
    topic: str
    reason: str


class FileBroken(Value):
    """A file was begun that does not come to its end."""

    participant: Participant
    topic: str
    reason: str


class Misbehave(Value):
    """The provider is to raise what no provider should, from now on or no more. It answers `Done`
    (except for ``connect`` and ``receive``, where it raises at once)."""

    request: int
    where: str
    on: bool


class Joined(Value):
    room: RoomInfo
    participant: Participant


class RoomChanged(Value):
    """The room is described otherwise from now on."""

    room: RoomInfo


class AllTold(Value):
    """Who was there before the application came, and what they publish, is told."""


class Refused(Value):
    """The answer to a request, or, with request 0, to `Join`."""

    request: int
    reason: str
    text: str


class PublicationEnded(Value):
    """The room has ended a track of the application's own, by its handle, and says why."""

    track: str
    text: str


class PublicationMuted(Value):
    """The room has muted or unmuted a track of the application's own."""

    track: TrackInfo
    muted: bool


class Done(Value):
    """The request was granted. From the application: the order is known."""

    request: int


class Happened(Value):
    """A participant came, changed or left, or the connection was lost or is back."""

    kind: EventKind
    participant: Participant | None
    reason: str


class QualityTold(Value):
    """Of somebody's connection, also of the application's own."""

    participant: Participant
    quality: Quality


class TrackPublished(Value):
    """``withheld``: who wants it gets nothing of it, until `TrackWithheld` says otherwise."""

    track: TrackInfo
    participant: Participant
    muted: bool
    withheld: bool


class TrackUnpublished(Value):
    track: str
    reason: str


class TrackMuted(Value):
    track: str
    muted: bool


class TrackWithheld(Value):
    """Its publisher keeps it from the application, or does so no more."""

    track: str
    withheld: bool


class Ended(Value):
    """The room is over for this application."""

    reason: str


Message: TypeAlias = (
    Join
    | Leave
    | Publish
    | Unpublish
    | Mute
    | AllowSubscribers
    | SetProfile
    | Subscription
    | Audio
    | AudioPause
    | Video
    | Reading
    | Data
    | Text
    | Piece
    | Dtmf
    | File
    | Call
    | Answered
    | TextBroken
    | FileBroken
    | Joined
    | RoomChanged
    | AllTold
    | Refused
    | Done
    | Happened
    | QualityTold
    | TrackPublished
    | TrackUnpublished
    | TrackMuted
    | TrackWithheld
    | PublicationEnded
    | PublicationMuted
    | Misbehave
    | Ended
)
