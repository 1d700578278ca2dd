"""Who is in a fake room and what they publish.

Free of I/O, sockets and threads; all of it runs under `Wire.changed`. What changes is told to the
`Audience`, the connected applications, each of which works out what is new to it.
"""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from ringroom.checks import MAX_NAME_BYTES, check_text
from ringroom.events import Participant, RoomInfo, TrackInfo
from ringroom.frames import DataFrame, FileFrame, TextFrame
from ringroom.providers.fake import messages
from ringroom.testing.application import Application, Log, SoundLog
from ringroom.testing.calls import Answerer, Calls
from ringroom.testing.media_path import Layers, Media, MediaPath, SourceClock
from ringroom.testing.written import TextLog

__all__ = ["Audience", "Media", "Member", "Publication", "Refusal", "RoomState"]


BROKEN_OFF = "stream closed abnormally: the {} broke off"


class Publication:
    """One track while it is published. ``log`` keeps what an application sends on it."""

    def __init__(self, info: TrackInfo, log: Log | None = None, since: float = 0.0) -> None:
        self.info = info
        self.since = since
        """When it was published, by the room's clock."""
        self.log = log
        self.layered = False
        """Whether applications choose among layers of its pictures."""
        self.muted = False
        self.muted_by: set[object] = set()
        """The faults by which the server mutes it, if it is an application's."""
        self.told_muted = False
        """What its publisher knows, if it is an application."""
        self.told_of_server = False
        """Whether its publisher was told that the server has muted it."""
        self.ended = False
        self.reason = ""
        self.subscribers: set[str] = set()


class Audience(Protocol):
    """A connected application, as the room's state sees it."""

    def catch_up(self) -> None:
        """Tell it what has changed."""

    def pass_media(self, publication: Publication, message: Media) -> None:
        """Sound or a picture of a track of somebody else."""

    def pass_data(self, sender: str, frame: DataFrame) -> None:
        """A message for it, a text or a file."""

    def pass_call(self, call: messages.Call) -> bool:
        """A call for it; whether that arrives."""

    def pass_broken(self, sender: Participant, frame: TextFrame | FileFrame, reason: str) -> None:
        """A text or a file for it that does not come to its end."""

    def end(self, reason: str) -> None:
        """The application was put out of the room."""


class Member:
    """A participant while in the room: one of the test's, or an application."""

    def __init__(self, participant: Participant, audience: Audience | None = None) -> None:
        self.participant = participant
        self.audience = audience
        self.publications: list[Publication] = []
        self.received: list[DataFrame] = []
        self.texts: list[TextLog] = []
        self.methods: dict[str, Answerer] = {}
        self.quality = ""
        """Of the connection; empty until it is set."""
        self.gone = False
        self.reason = ""

    @property
    def identity(self) -> str:
        return self.participant.identity


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """What a fault that was ordered answers to a request."""

    reason: str
    text: str

    def __post_init__(self) -> None:
        check_reason(self.reason)

    def of(self, request: int) -> messages.Refused:
        """What an application is told that has asked for it."""
        return messages.Refused(request=request, reason=self.reason, text=self.text)


def check_reason(reason: str) -> None:
    """Why a test says that something happens: applications are told. Raises `FrameError`."""
    check_text("reason", reason, MAX_NAME_BYTES)


class RoomState:
    """The roster, the audience, the faults that were ordered, and what applications sent."""

    def __init__(
        self,
        name: str,
        changed: threading.Condition,
        time: Callable[[], float],
        kept_pictures: int,
    ) -> None:
        self.name = name
        self.info = RoomInfo(name=name, sid=f"RM_{name}")
        self.time = time
        """The room's clock."""
        self.members: dict[str, Member] = {}
        self.audience: list[Audience] = []
        self.applications: dict[str, Application] = {}
        self.refused_connects = Layers[Refusal | None](None)
        self.refused_publish = Layers[Refusal | None](None)
        self.refused_data = Layers[Refusal | None](None)
        self.refused_profile = Layers[Refusal | None](None)
        self.entrance = Layers[Callable[[Callable[[], None]], None]](lambda admit: admit())
        """Calls what it is given when it is time to answer an application that wants to join."""
        self.subscribing = Layers[float](0.0)
        """Seconds from when a track is there until it reaches an application."""
        self.forbidden: list[str | None] = []
        """Applications that may not publish any more; None: no application may."""
        self.withholding: list[str | None] = []
        """Participants that keep their tracks from the applications; None: all of them."""
        self.nameless: list[str | None] = []
        """Participants whose messages reach the applications without their sender; None: all."""
        self.breaking_off: dict[str, list[str | None]] = {"text": [], "file": []}
        """Participants whose texts or files break off on their way; None: all."""
        self.raising: list[str] = []
        """Where the provider is ordered to raise."""
        self.calls = Calls(time)
        self.source_clock = SourceClock()
        self.path = MediaPath(self._deliver)
        self._changed = changed
        self._kept_pictures = kept_pictures
        self._numbers = itertools.count(1)

    def new_sid(self, prefix: str) -> str:
        return f"{prefix}_{next(self._numbers)}"

    def enter(self, participant: Participant, audience: Audience | None = None) -> Member:
        """A member with a sid of its own; one of the same identity is put out, as LiveKit does."""
        old = self.members.get(participant.identity)
        if old is not None:
            self.put_out(old, "duplicate identity")
        numbered = dataclasses.replace(participant, sid=self.new_sid("PA"))
        member = self.members[numbered.identity] = Member(numbered, audience)
        self.announce()
        return member

    def describe(self, member: Member, **fields: Any) -> None:
        """Changes what is told of a member; of ``attributes`` those that are named, and one without
        a value is taken away."""
        if "attributes" in fields:
            merged = {**member.participant.attributes, **fields["attributes"]}
            fields["attributes"] = {key: value for key, value in merged.items() if value}
        member.participant = dataclasses.replace(member.participant, **fields)
        self.announce()

    def describe_room(self, metadata: str) -> None:
        """Changes what is told of the room itself."""
        self.info = dataclasses.replace(self.info, metadata=metadata)
        self.announce()

    def put_out(self, member: Member, reason: str) -> None:
        """Ends a member's stay; an application is told that the room is over for it."""
        check_reason(reason)
        if member.gone:
            return
        member.gone, member.reason = True, reason
        for publication in list(member.publications):
            self.end_publication(member, publication, reason)
        del self.members[member.identity]
        if member.audience is not None:
            member.audience.end(reason)
        self.calls.gone(member.identity)
        self.announce()

    def put_all_out(self, reason: str) -> None:
        check_reason(reason)
        for member in list(self.members.values()):
            self.put_out(member, reason)

    def publish(
        self,
        member: Member,
        track: TrackInfo,
        log: Log | None = None,
        *,
        muted: bool = False,
    ) -> Publication:
        """Publishes under a fresh sid."""
        numbered = dataclasses.replace(track, sid=self.new_sid("TR"))
        publication = Publication(numbered, log, self.time())
        publication.muted = muted
        member.publications.append(publication)
        self.announce()
        return publication

    def unpublish(self, member: Member, publication: Publication, reason: str = "") -> None:
        self.end_publication(member, publication, reason)
        self.announce()

    def end_publication(self, member: Member, publication: Publication, reason: str) -> None:
        """Ends the publication without telling anybody yet."""
        publication.ended, publication.reason = True, reason
        if publication in member.publications:
            member.publications.remove(publication)
        if publication.log is not None:
            publication.log.ended = True
            self.fell_silent(publication)

    def fell_silent(self, publication: Publication) -> None:
        """Its source has nothing to play for now, or nothing of it gets through."""
        if isinstance(publication.log, SoundLog) and publication.log.quiet_since is None:
            publication.log.quiet_since = self.time()

    def announce(self) -> None:
        """Lets everybody catch up."""
        for audience in list(self.audience):
            audience.catch_up()
        self._changed.notify_all()

    def media(self, publication: Publication, message: Media) -> None:
        """Passes sound or a picture on to those who want the track."""
        if not publication.muted and not publication.ended:
            self.path.carry(publication, message)

    def _deliver(self, publication: Publication, message: Media) -> None:
        for audience in self.audience:
            audience.pass_media(publication, message)

    def data(self, sender: str, frame: DataFrame) -> None:
        """Passes a message on to everyone but the sender, or to those that it names."""
        readers = [*self.reached(sender, frame)]
        if isinstance(frame, TextFrame | FileFrame):
            what = "text" if isinstance(frame, TextFrame) else "file"
            broken = {None, sender} & {*self.breaking_off[what]}
            why = BROKEN_OFF.format(what) if broken else ""
            self.pass_whole(self.members[sender], frame, readers, why)
            for member in readers:
                if isinstance(frame, TextFrame) and member.audience is None and not broken:
                    member.texts.append(TextLog.of(frame, sender))
        else:
            self._pass(sender, frame, readers)
        self.changed()

    def reached(self, sender: str, frame: DataFrame) -> Iterator[Member]:
        """Those in the room for whom a message is."""
        for member in self.members.values():
            if member.identity != sender and (not frame.to or member.identity in frame.to):
                yield member

    def pass_whole(
        self, sender: Member, frame: TextFrame | FileFrame, readers: Iterable[Member], broken: str
    ) -> None:
        """Passes a text or a file on, whole, to those who are still there; or tells why it is
        ``broken``."""
        if not broken:
            self._pass(sender.identity, frame, readers)
            return
        for member in readers:
            if member.audience is not None and not member.gone:
                member.audience.pass_broken(sender.participant, frame, broken)

    def _pass(self, sender: str, frame: DataFrame, readers: Iterable[Member]) -> None:
        told = "" if {None, sender} & {*self.nameless} else sender
        for member in readers:
            if member.gone:
                continue
            if member.audience is not None:
                member.audience.pass_data(told, frame)
            else:
                member.received.append(dataclasses.replace(frame, participant=sender))

    def changed(self) -> None:
        """Wakes the tests that wait for something in the room."""
        self._changed.notify_all()

    def application(self, identity: str) -> Application:
        """The record of what that application sends, over all its connections."""
        if identity not in self.applications:
            self.applications[identity] = Application(identity, self._changed, self._kept_pictures)
        return self.applications[identity]
