"""From recorded items to what a provider tells its sink.

A recording may begin in the middle of a call, hold no events, or tell of a participant only after
the first frame, and of the leaving before the last one: there is no order between tracks and the
room's events. So who is heard and was never heard of is introduced first, and is not introduced
again when the recording comes to it; tracks end by their own end. What the recorded session told
of itself (connected, disconnected, its own failures) is not told again.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from ringroom.checks import Samples
from ringroom.events import Event, EventKind, Kind, Participant, TrackInfo
from ringroom.frames import AudioFrame, DataFrame, DataTrackFrame, Item, MediaFrame, VideoFrame
from ringroom.options import SessionOptions
from ringroom.providers.fake.conversion import FrameCutter
from ringroom.providers.provider import PatientSink, Sink, TrackSink

__all__ = ["Stage"]

_NOT_TOLD = (
    EventKind.CONNECTED,
    EventKind.DISCONNECTED,
    EventKind.PUBLISH_FAILED,
    EventKind.PUBLISH_MUTED,
    EventKind.PUBLISH_UNMUTED,
    EventKind.DATA_FAILED,
    EventKind.PROFILE_FAILED,
    EventKind.EVENTS_LOST,
)
_KINDS = {AudioFrame: Kind.AUDIO, VideoFrame: Kind.VIDEO, DataTrackFrame: Kind.DATA_TRACK}
# Frames that were recorded without a track's description: somebody has to have sent them.
_NOBODY = "recording"


@dataclass(slots=True)
class _Track:
    sink: TrackSink | None
    """None: it is not wanted."""
    cutter: FrameCutter


class Stage:
    """Shows items to a sink; with ``patient``, waits for its readers after each."""

    def __init__(self, sink: Sink, options: SessionOptions, *, patient: bool) -> None:
        self._sink = sink
        self._options = options
        self._patient = sink if patient and isinstance(sink, PatientSink) else None
        self._settled: Callable[[], Awaitable[None]] = (
            _at_once if self._patient is None else self._patient.caught_up
        )
        self._people: dict[str, Participant] = {}
        self._present: set[str] = set()
        self._known: set[str] = set()
        self._published: set[str] = set()
        self._tracks: dict[str, _Track] = {}
        self._over: set[str] = set()

    async def show(self, item: Item) -> None:
        if isinstance(item, AudioFrame | VideoFrame | DataTrackFrame):
            track = self._track_of(item)
            if track.sink is not None and isinstance(item, AudioFrame):
                self._deliver(track.sink, track.cutter.push(item))
            elif track.sink is not None and isinstance(item, VideoFrame):
                size = (item.width, item.height)
                track.sink.video(item.data.data, size, item.rotation, item.timestamp_us)
            elif track.sink is not None and isinstance(item, DataTrackFrame):
                track.sink.reading(memoryview(item.payload), item.timestamp)
        elif isinstance(item, DataFrame):
            # To whom it went, a recording of what was sent tells; a receiver is not told that.
            self._sink.data(replace(item, to=(), sequence=0, received_ns=time.monotonic_ns()))
        elif item.kind is EventKind.CONNECTED and item.room is not None and item.room.metadata:
            # What it was as the recorder joined; we have joined before this was read.
            self._tell(replace(item, kind=EventKind.ROOM_CHANGED))
        elif item.kind not in _NOT_TOLD:
            await self._event(item)
        await self._settled()

    async def clear(self, reason: str) -> None:
        """All tracks end."""
        for sid in tuple(self._tracks):
            await self._end(sid, reason)

    def _track_of(self, frame: MediaFrame) -> _Track:
        info = frame.track
        if not isinstance(info, TrackInfo):
            kind = _KINDS[type(frame)]
            name = info or kind.value
            info = TrackInfo(sid=f"TR_{name}", name=name, kind=kind, participant=_NOBODY)
        return self._open(info, None)

    def _open(self, info: TrackInfo, participant: Participant | None) -> _Track:
        track = self._tracks.get(info.sid)
        if track is not None:
            return track
        if info.participant not in self._people:
            self._join(participant or Participant(identity=info.participant))
        # What was told when the track began is newer than what stands before it in the recording.
        who = participant or self._people[info.participant]
        if info.sid not in self._known:
            self._publish(info, who)
        self._over.discard(info.sid)
        sink: TrackSink | None = None
        if self._sink.wants(info, who):
            opening = self._patient.open_patient_track if self._patient else self._sink.open_track
            sink = opening(info, who)
        options = self._options
        cutter = FrameCutter(options.sample_rate, options.channels, options.frame_ms)
        track = self._tracks[info.sid] = _Track(sink, cutter)
        return track

    def _join(self, who: Participant) -> None:
        before, self._people[who.identity] = self._people.get(who.identity), who
        if who.identity not in self._present:
            self._present.add(who.identity)
            self._tell(Event(kind=EventKind.PARTICIPANT_JOINED, participant=who))
        elif who != before:  # introduced by identity alone; now there is more to tell
            self._tell(Event(kind=EventKind.PARTICIPANT_CHANGED, participant=who))

    def _publish(self, info: TrackInfo, who: Participant) -> None:
        self._known.add(info.sid)
        if info.sid not in self._published:
            self._published.add(info.sid)
            self._tell(Event(kind=EventKind.TRACK_PUBLISHED, participant=who, track=info))

    def _tell(self, event: Event) -> None:
        self._sink.event(replace(event, received_ns=time.monotonic_ns()))

    def _deliver(self, sink: TrackSink, frames: Iterable[Samples]) -> None:
        for frame in frames:
            pcm = np.ascontiguousarray(frame).reshape(-1).data
            sink.audio(pcm, self._options.sample_rate, self._options.channels)

    async def _event(self, event: Event) -> None:
        who, info = event.participant, event.track
        match event.kind:
            case EventKind.PARTICIPANT_JOINED if who is not None:
                self._join(who)
            case EventKind.TRACK_PUBLISHED if info is not None:
                who = who or self._people.get(info.participant)
                self._publish(info, who or Participant(identity=info.participant))
            case EventKind.TRACK_STARTED if info is not None:
                self._open(info, who)
            case EventKind.TRACK_MUTED | EventKind.TRACK_UNMUTED if info is not None:
                await self._mute(info, who, event.kind is EventKind.TRACK_MUTED)
            case EventKind.TRACK_ENDED if info is not None:
                await self._end(info.sid, event.reason)
            case EventKind.CONNECTION_QUALITY if who and who.identity not in self._present:
                pass  # the recorder's own
            case _:
                self._note(event)
                self._tell(event)

    def _note(self, event: Event) -> None:
        who, info = event.participant, event.track
        if event.kind is EventKind.TRACK_UNPUBLISHED and info is not None:
            self._published.discard(info.sid)
        elif event.kind is EventKind.PARTICIPANT_LEFT and who is not None:
            self._present.discard(who.identity)
        elif event.kind is EventKind.PARTICIPANT_CHANGED and who is not None:
            self._people[who.identity] = who

    async def _mute(self, info: TrackInfo, who: Participant | None, muted: bool) -> None:
        if info.sid in self._over:
            return
        track = self._open(info, who)
        if track.sink is not None:
            self._deliver(track.sink, track.cutter.pause())
            await self._settled()
            track.sink.muted(muted)

    async def _end(self, sid: str, reason: str) -> None:
        track = self._tracks.pop(sid, None)
        self._over.add(sid)
        if track is not None and track.sink is not None:
            self._deliver(track.sink, track.cutter.pause())
            await self._settled()
            track.sink.close(reason)
            await self._settled()


async def _at_once() -> None:
    pass
