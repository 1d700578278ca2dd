"""A recorded call, played by people of a fake room: `FakeRoom.replay`.

What a recording means (who was there before it began, which track comes again, what ends when)
is worked out by the `Stage` of the provider ``replay``; here is its audience, which makes the room
do what it is told. It runs on the room's timers, and all of it under `Wire.changed`.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Collection, Generator

from ringroom.checks import as_items, shown
from ringroom.errors import ConfigurationError, RpcError
from ringroom.events import Event, EventKind, Kind, Participant, TrackInfo
from ringroom.frames import AudioFrame, DataFrame, Item
from ringroom.options import MAX_RECEIVED_RATE, SessionOptions
from ringroom.providers.fake import messages
from ringroom.providers.replay.stage import Stage
from ringroom.recording.reader import Entry, Reader
from ringroom.testing.floor import Floor
from ringroom.testing.pacing import check_positive
from ringroom.testing.state import Media, Member, Publication, RoomState

__all__ = ["Playback"]

_log = logging.getLogger("ringroom.testing")

_SAME = 1e-9
_TURN_SECONDS = 0.02
# Sound that does not go on within that time has paused: what an application's provider has held
# back for a whole frame comes out then, with silence behind it.
_PAUSE_SECONDS = 0.3


class Playback:
    """A recorded call that plays in a room."""

    def __init__(
        self, floor: Floor, path: str | os.PathLike[str], speed: float, only: Collection[str] | None
    ) -> None:
        self._floor = floor
        self._speed = check_positive("speed", speed)
        self._only = None if only is None else frozenset(_identities(only))
        self._reader = Reader(path)
        survey = _Survey(self._reader, self._only)
        survey.check(floor.state)
        self.duration = survey.seconds / self._speed
        """Seconds of the room's clock that it takes."""
        self.done = False
        """Whether it is through, or was stopped."""
        self._error: Exception | None = None
        self._first_ns = survey.first_ns
        self._cast = _Cast(floor)
        self._stage = Stage(self._cast, survey.options, patient=False)
        self._entries: Generator[Entry, None, None] = self._reader.entries()
        self._next: Entry | None = None
        with floor.wire.changed:
            self._began = floor.wire.time()
            self._advance()

    def wait(self, timeout: float | None = None) -> None:
        """Waits until it is through; None: with time to spare. Raises `DeadlinePassed`, and what
        went wrong with the recording."""
        seconds = 10.0 + 2 * self.duration if timeout is None else timeout
        self._floor.wait_until(lambda: self.done, f"{self._reader.path} to be through", seconds)
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Nothing more is played. Who is in the room stays there, and is silent. Idempotent."""
        with self._floor.wire.changed:
            self._end()

    def _advance(self) -> None:
        """Play all that is due, but no longer than a turn: the room's thread has others to serve.
        What this raises would end that thread."""
        if self.done:
            return
        wire = self._floor.wire
        now = wire.time()
        try:
            while (entry := self._next or next(self._entries, None)) is not None:
                self._next = entry
                due = self._began + (entry.time_ns - self._first_ns) / 1e9 / self._speed
                if due > wire.time() + _SAME:
                    wire.call_at(due, self._advance)
                    return
                self._next = None
                if _is_of(entry.item, self._only):
                    _show(self._stage, entry.item)
                if wire.time() > now + _TURN_SECONDS:
                    wire.call_at(now, self._advance)
                    return
        except Exception as error:  # noqa: BLE001 (raised by `wait`)
            self._error = error
        self._end()

    def _end(self) -> None:
        self._entries.close()
        if self.done:
            return
        self.done = True
        try:
            self._cast.end()
        except Exception as error:  # noqa: BLE001 (likewise)
            self._error = self._error or error
        if self._error is not None:  # for who does not call `wait`, too
            _log.warning("%s was not played to its end: %s", self._reader.path, self._error)
        self._floor.wire.changed.notify_all()

    def __repr__(self) -> str:
        state = "through" if self.done else "playing"
        return f"<Playback {str(self._reader.path)!r} {state}, {self.duration:.1f} s>"


def _show(stage: Stage, item: Item) -> None:
    """On a stage that waits for nobody `show` is done by its first step."""
    try:
        stage.show(item).send(None)
    except StopIteration:
        return
    raise AssertionError("a stage without patience waits")


class _Survey:
    """What is in a recording, all in all."""

    def __init__(self, reader: Reader, only: frozenset[str] | None) -> None:
        self.first_ns = 0
        self.identities: set[str] = set()
        everybody: set[str] = set()
        last_ns = rate = 0
        channels = 1
        for entry in reader.entries():
            self.first_ns = self.first_ns or entry.time_ns
            last_ns = max(last_ns, entry.time_ns)
            everybody.add(_whose(entry.item))
            if not _is_of(entry.item, only):
                continue
            self.identities.add(_whose(entry.item))
            if isinstance(entry.item, AudioFrame):
                rate = max(rate, entry.item.sample_rate)
                channels = max(channels, entry.item.channels)
        if only is not None and not only <= everybody:
            raise ConfigurationError(
                f"participants has {shown(min(only - everybody))}, who is not in the recording; "
                f"in it are {sorted(everybody - {''})}"
            )
        self.seconds = max(0, last_ns - self.first_ns) / 1e9
        # As it was recorded: the provider of whoever hears it converts it.
        self.options = SessionOptions(
            sample_rate=min(rate, MAX_RECEIVED_RATE) or 16_000, channels=channels, frame_ms=10
        )

    def check(self, state: RoomState) -> None:
        """Raises `ConfigurationError` where it would put an application out of the room."""
        for identity, application in state.applications.items():
            if application.joined and identity in self.identities:
                others = sorted(self.identities - {identity, ""})
                raise ConfigurationError(
                    f"somebody in the recording is {shown(identity)}, as is an application in the "
                    f"room, which would be put out; leave them out: participants={others}"
                )


def _identities(only: Collection[str]) -> list[str]:
    items = as_items(only)
    if items is None or not all(isinstance(one, str) for one in items):
        raise ConfigurationError(f"participants is {shown(only)}, expected identities")
    return list(items)


def _whose(item: Item) -> str:
    """Who sent it, or whom it tells of; empty for what is of nobody."""
    if not isinstance(item, Event):
        return item.participant
    if item.participant is not None:
        return item.participant.identity
    return "" if item.track is None else item.track.participant


def _is_of(item: Item, only: frozenset[str] | None) -> bool:
    return only is None or _whose(item) in only


class _Cast:
    """A `Sink` that has the people of a room do what it is told that they did."""

    def __init__(self, floor: Floor) -> None:
        self.floor = floor
        self.state = floor.state
        self._members: dict[str, Member] = {}
        self._publications: dict[str, Publication] = {}
        """By the sid of the recorded track."""
        self._parts: dict[str, _Part] = {}
        """Those that flow, likewise."""
        self._leaving: dict[str, str] = {}
        """Who has left by the room's events, while tracks of theirs flow still, and why."""
        self._unpublished: dict[str, str] = {}
        """Tracks that were unpublished, likewise."""

    def wants(self, track: TrackInfo, participant: Participant) -> bool:
        return True

    def open_track(self, track: TrackInfo, participant: Participant) -> _Part:
        self._publish(track)
        part = self._parts[track.sid] = _Part(self, track, self._publications.get(track.sid))
        return part

    def data(self, frame: DataFrame) -> None:
        sender = frame.participant
        if not sender or self._member(sender) is not None:
            self.state.data(sender, frame)

    async def call(self, method: str, payload: str, participant: str, seconds: float) -> str:
        raise RpcError("nothing here answers calls")

    def event(self, event: Event) -> None:
        who, track = event.participant, event.track
        match event.kind:
            case EventKind.PARTICIPANT_JOINED if who is not None:
                self._join(who)
            case EventKind.PARTICIPANT_CHANGED if who is not None:
                self._change(who)
            case EventKind.PARTICIPANT_LEFT if who is not None:
                self._leaving[who.identity] = event.reason
                self._let_go(who.identity)
            case EventKind.CONNECTION_QUALITY if who is not None:
                if (member := self._members.get(who.identity)) is not None:
                    member.quality = event.quality
                    self.state.announce()
            case EventKind.ROOM_CHANGED if event.room is not None:
                self.state.describe_room(event.room.metadata)
            case EventKind.TRACK_PUBLISHED if track is not None:
                self._publish(track)
            case EventKind.TRACK_UNPUBLISHED if track is not None:
                # One that flows ends by its own end, behind its last frame.
                self._unpublished[track.sid] = event.reason
                if track.sid not in self._parts:
                    self._unpublish(track.sid, event.reason)

    def ended(self, reason: str, *, error: str = "") -> None:
        return None

    def close_part(self, part: _Part, reason: str) -> None:
        """The track flows no more."""
        self._parts.pop(part.track.sid, None)
        self._unpublish(part.track.sid, reason)
        self._let_go(part.track.participant)

    def end(self) -> None:
        """Nothing more comes."""
        for part in self._parts.values():
            part.pause()
        self._parts.clear()
        for identity in list(self._leaving):
            self._let_go(identity)

    def _join(self, who: Participant) -> Member:
        before = self._members.get(who.identity)
        if before is not None:
            self.state.put_out(before, self._leaving.pop(who.identity, "duplicate identity"))
        member = self._members[who.identity] = self.state.enter(who)
        return member

    def _member(self, identity: str) -> Member | None:
        """That participant, who comes in if nobody has told of them; None: the test has put them
        out, and so they stay."""
        member = self._members.get(identity) or self._join(Participant(identity=identity))
        return None if member.gone else member

    def _change(self, who: Participant) -> None:
        member = self._member(who.identity)
        if member is not None:
            member.participant = dataclasses.replace(who, sid=member.participant.sid)
            self.state.announce()

    def _let_go(self, identity: str) -> None:
        if identity not in self._leaving:
            return
        if any(part.track.participant == identity for part in self._parts.values()):
            return
        reason = self._leaving.pop(identity)
        member = self._members.pop(identity, None)
        if member is not None:
            self.state.put_out(member, reason)

    def _publish(self, track: TrackInfo) -> None:
        publication = self._publications.get(track.sid)
        if publication is not None and not publication.ended:
            return
        member = self._member(track.participant)
        if member is not None:
            self._publications[track.sid] = self.state.publish(member, track)

    def _unpublish(self, sid: str, reason: str) -> None:
        publication = self._publications.pop(sid, None)
        reason = self._unpublished.pop(sid, reason)
        if publication is not None and not publication.ended:
            member = self._members[publication.info.participant]
            self.state.unpublish(member, publication, reason)


class _Part:
    """A `TrackSink` that speaks into a track of the room, or shows there."""

    def __init__(self, cast: _Cast, track: TrackInfo, publication: Publication | None) -> None:
        self.track = track
        self._cast = cast
        self._wire = cast.floor.wire
        self._publication = publication
        self._goes_on_until = 0.0
        self._watched = False

    def audio(self, samples: memoryview, sample_rate: int, channels: int) -> None:
        now = self._wire.time()
        self._send(
            messages.Audio(
                track="",
                sample_rate=sample_rate,
                channels=channels,
                time_ns=round(now * 1e9),
                payload=samples.tobytes(),
            )
        )
        self._goes_on_until = now + _PAUSE_SECONDS
        if not self._watched:
            self._watched = True
            self._wire.call_at(self._goes_on_until, self._look)

    def video(
        self, i420: memoryview, size: tuple[int, int], rotation: int, timestamp_us: int
    ) -> None:
        self._send(
            messages.Video(
                track="",
                width=size[0],
                height=size[1],
                rotation=rotation,
                timestamp_us=timestamp_us,
                time_ns=round(self._wire.time() * 1e9),
                payload=i420.tobytes(),
            )
        )

    def reading(self, payload: memoryview, timestamp: int | None) -> None:
        time_ns = round(self._wire.time() * 1e9)
        self._send(
            messages.Reading(track="", timestamp=timestamp, time_ns=time_ns, payload=bytes(payload))
        )

    def muted(self, muted: bool) -> None:
        self.pause()
        if self._publication is not None:
            self._publication.muted = muted
            self._cast.state.announce()

    def close(self, reason: str = "") -> None:
        self.pause()
        self._cast.close_part(self, reason)

    def pause(self) -> None:
        """There is no more to hear for now."""
        self._goes_on_until = 0.0
        if self.track.kind is Kind.AUDIO:
            self._send(messages.AudioPause(track=""))

    def _look(self) -> None:
        """Whether the sound goes on."""
        if self._goes_on_until > self._wire.time() + _SAME:
            self._wire.call_at(self._goes_on_until, self._look)
            return
        self._watched = False
        if self._goes_on_until:
            self.pause()

    def _send(self, message: Media) -> None:
        if self._publication is not None:
            self._cast.state.media(self._publication, message)
