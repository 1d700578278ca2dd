"""Who is in a room, what they publish, and what happens there.

An event that came in has the moment at which the I/O process learnt of it (``received_ns``,
`time.monotonic_ns`, a clock that all processes of one machine share).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

__all__ = ["Event", "EventKind", "Kind", "Participant", "RoomInfo", "TrackInfo"]


class Kind(StrEnum):
    """What can be received: the values of ``kinds=``."""

    AUDIO = "audio"
    VIDEO = "video"
    DATA = "data"
    EVENT = "event"
    DATA_TRACK = "data_track"


class EventKind(StrEnum):
    """What can happen in a room."""

    CONNECTED = "connected"
    ROOM_CHANGED = "room_changed"
    PARTICIPANT_JOINED = "participant_joined"
    PARTICIPANT_LEFT = "participant_left"
    PARTICIPANT_CHANGED = "participant_changed"
    TRACK_PUBLISHED = "track_published"
    TRACK_UNPUBLISHED = "track_unpublished"
    TRACK_STARTED = "track_started"
    TRACK_MUTED = "track_muted"
    TRACK_UNMUTED = "track_unmuted"
    TRACK_FAILED = "track_failed"
    TRACK_RESUMED = "track_resumed"
    TRACK_ENDED = "track_ended"
    CONNECTION_LOST = "connection_lost"
    CONNECTION_BACK = "connection_back"
    CONNECTION_QUALITY = "connection_quality"
    ACTIVE_SPEAKERS = "active_speakers"
    PUBLISH_FAILED = "publish_failed"
    PUBLISH_MUTED = "publish_muted"
    PUBLISH_UNMUTED = "publish_unmuted"
    DATA_FAILED = "data_failed"
    PROFILE_FAILED = "profile_failed"
    TEXT_FAILED = "text_failed"
    FILE_FAILED = "file_failed"
    EVENTS_LOST = "events_lost"
    WORKER_LOST = "worker_lost"
    WORKER_REPLACED = "worker_replaced"
    DISCONNECTED = "disconnected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Participant:
    """Somebody in the room. ``identity`` is unique in the room, ``name`` is for people."""

    identity: str
    sid: str = ""
    name: str = ""
    metadata: str = ""
    attributes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    kind: str = "unknown"
    """standard (a person's client, as a rule), agent, sip, ingress or egress; unknown where LiveKit
    has another word for it, and where nothing tells it."""

    def __reduce__(self) -> tuple[object, ...]:
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return (_participant, (fields | {"attributes": dict(self.attributes)},))


def _participant(fields: dict[str, Any]) -> Participant:
    return Participant(**fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackInfo:
    """A track of a participant. ``sid`` is unique in the room and new with each publication."""

    sid: str
    name: str
    kind: Kind
    participant: str
    """The publisher's identity."""
    source: str = "unknown"
    """microphone, camera, screen_share, screen_share_audio or unknown; unknown for data tracks, of
    which nobody says more than their name."""

    @property
    def reply_name(self) -> str:
        """The name of the outgoing track that answers this one."""
        return f"{self.participant}/{self.name or self.sid}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomInfo:
    """The room itself. ``sid`` is new whenever a room of that name is made anew; it is empty while
    nothing tells it. ``metadata`` is what the maker of the room says of it, by the server's API as
    a rule."""

    name: str
    sid: str = ""
    metadata: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened in the room, or to a track of it."""

    kind: EventKind
    participant: Participant | None = None
    track: TrackInfo | None = None
    reason: str = ""
    received_ns: int = 0
    room: RoomInfo | None = None
    """Of ``CONNECTED`` and ``ROOM_CHANGED``, and of a ``CONNECTION_BACK`` by which the room was
    joined anew, where the provider tells it."""
    quality: str = ""
    """Of ``CONNECTION_QUALITY``: excellent, good, poor or lost."""
    speakers: tuple[str, ...] = ()
    """Of ``ACTIVE_SPEAKERS``: the identities of those who speak, the loudest first."""
