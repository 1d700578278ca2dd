"""The far end of a worker that a test turns by hand: what the I/O role and the application are to
it in a pool, and the room behind them.

It writes the lanes that come in, and empties those that go out as soon as something is written
there, so that nothing ever waits for room. What was sent waits at its track until the test says
that it is played.

Ownership: the far ends of the worker's two links, the writing ends of its inbound lanes, the
reading ends of its outgoing ones, and the statistics.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass

from ringroom import messages as m
from ringroom.errors import ClosedError, ConfigurationError, RpcError
from ringroom.events import Event, EventKind, Kind, Participant, TrackInfo
from ringroom.frames import AudioFrame, DataFrame, Item, MediaFrame, VideoFrame
from ringroom.lanes import records
from ringroom.lanes.lane import LaneDescriptors, grown, ring_for
from ringroom.lanes.live import LiveReader, LiveWriter
from ringroom.lanes.reliable import ReliableReader, ReliableWriter
from ringroom.lanes.statistics import Count, Row, RowPool, StatisticsTable
from ringroom.link import Link, open_links
from ringroom.options import PublishOptions
from ringroom.processes.io.roll_call import parts
from ringroom.profile import Profile
from ringroom.providers.fake.messages import Call
from ringroom.subscribers import Allowance, Subscribers
from ringroom.testing.calls import Answerer, answer_of, failed

__all__ = ["FarEnd", "InboundTrack"]

# Rows of statistics, for each direction: as many tracks at once.
_ROWS = 250
# Bytes of a frame that a lane is made for at first; for larger ones it is made anew.
_SMALLEST_FRAME = 1 << 12
_FRAMES = 8
_MESSAGE_BYTES = 1 << 18
_MESSAGES = 4
_NEVER_NS = 1 << 62


@dataclass(slots=True, eq=False)
class InboundTrack:
    """A track of others, on its way in."""

    info: TrackInfo
    participant: Participant
    writer: LiveWriter | None = None
    number: int = 0
    """Of its lane."""
    frame_bytes: int = 0
    sequence: int = 0


@dataclass(slots=True, eq=False)
class _Outbound:
    """A lane of the worker's, on its way out."""

    opened: m.PlayoutOpen
    reader: LiveReader | ReliableReader
    row: Row
    waiting: int = 0
    """Samples that were sent and are not played."""

    def play(self, seconds: float | None) -> None:
        """That much of what waits; None: all."""
        most = self.waiting if seconds is None else round(seconds * self.opened.sample_rate)
        samples = min(most, self.waiting)
        self.waiting -= samples
        self.row.add(Count.PLAYED, samples)

    def forget(self) -> float:
        """What waits is not played; the seconds of it."""
        samples, self.waiting = self.waiting, 0
        return samples / self.opened.sample_rate if samples else 0.0


class FarEnd:
    """See the module's docstring. Any thread may call `serve`."""

    def __init__(self) -> None:
        self.flushed: list[tuple[str, float]] = []
        """Tracks that were flushed, and the seconds thrown away."""
        self.methods: dict[str, dict[str, Answerer]] = {}
        """What those in the room answer to calls, by identity and method."""
        self._profile = Profile()
        self._people: dict[str, Participant] = {}
        self._muted: set[str] = set()
        self._subscribers = Subscribers()
        self._lock = threading.RLock()
        self._lanes = 0
        self._writers: dict[int, LiveWriter | ReliableWriter] = {}
        self._mailboxes: dict[Kind, tuple[ReliableWriter, int]] = {}
        """And the numbers of the lanes."""
        self._outbound: dict[int, _Outbound] = {}
        self._sent_on: set[str] = set()
        """Tracks, those that have ended too. Messages are sent on none."""
        with contextlib.ExitStack() as made:
            self.control, self.near = self._links(made)
            self._link, self._session = self._links(made)
            self._table = made.enter_context(contextlib.closing(StatisticsTable.create()))
            made.pop_all()
        self._rows = RowPool(self._table, 0, _ROWS)

    @staticmethod
    def _links(made: contextlib.ExitStack) -> tuple[Link, Link]:
        both = open_links()
        for link in both:
            made.callback(link.close)
        return both

    def seat(self) -> None:
        """Give the worker its place, 0, and a session."""
        start = m.Start(place=0, rows_first=_ROWS, rows_count=_ROWS)
        self.control.send(start, (self._session.fileno(), self._table.fd))
        self._session.close()
        self._link.send(m.Attached(rows=[], tracks=[]))

    def stop(self, drain: float) -> None:
        """Have the worker end."""
        self.control.send(m.Stop(drain=drain))

    # What comes in.

    def open(self, track: InboundTrack) -> None:
        """The track begins to flow."""
        with self._lock:
            self._renew(track, _SMALLEST_FRAME)
            self._people.setdefault(track.info.participant, track.participant)

    def give(self, track: InboundTrack, frame: MediaFrame, received_ns: int) -> None:
        """A frame of the track."""
        nbytes = _size(frame)
        with self._lock:
            if nbytes > track.frame_bytes:
                self._renew(track, nbytes)
            assert track.writer is not None
            taken = track.writer.send_parts(*records.encode(frame, (track.sequence, received_ns)))
            assert taken, "no room in a lane whose reader has taken all"
            track.sequence += 1

    def tell(self, track: InboundTrack, event: Event) -> None:
        """Something of the track's life, in order with its frames."""
        assert track.writer is not None
        track.writer.event(event)

    def end(self, track: InboundTrack) -> None:
        """The track has ended."""
        self._link.send(m.LaneEnding(lane=track.number))

    def post(self, item: DataFrame | Event, received_ns: int) -> None:
        """A message, or something of the room's life."""
        kind = Kind.DATA if isinstance(item, DataFrame) else Kind.EVENT
        with self._lock:
            self._mailbox(kind, records.size_of(item)).send_nowait(item, received_ns)
            if isinstance(item, Event):
                self._note(item)

    def _mailbox(self, kind: Kind, nbytes: int) -> ReliableWriter:
        """The lane of that kind; if it does not take so many bytes, another that follows it."""
        before, number = self._mailboxes.get(kind, (None, 0))
        if before is not None and nbytes <= before.max_record:
            return before
        ring = ring_for(max(nbytes, _MESSAGE_BYTES), _MESSAGES)
        writer = ReliableWriter(ring, self._rows.acquire())
        if before is not None:
            writer.number_from(before.sequence)
        self._mailboxes[kind] = writer, self._announce(writer, kind, None, number)
        return writer

    def _note(self, event: Event) -> None:
        if event.participant is None:
            return
        if event.kind is EventKind.PARTICIPANT_LEFT:
            self._people.pop(event.participant.identity, None)
        elif event.kind in (EventKind.PARTICIPANT_JOINED, EventKind.PARTICIPANT_CHANGED):
            self._people[event.participant.identity] = event.participant

    def _renew(self, track: InboundTrack, nbytes: int) -> None:
        """Go on in a lane for frames of that size."""
        before, track.frame_bytes = track.number, grown(nbytes, track.frame_bytes)
        track.writer = LiveWriter(ring_for(track.frame_bytes, _FRAMES), self._rows.acquire())
        track.number = self._announce(track.writer, track.info.kind, track, before)

    def _announce(
        self,
        writer: LiveWriter | ReliableWriter,
        kind: Kind,
        track: InboundTrack | None,
        follows: int,
    ) -> int:
        self._lanes += 1
        opened = m.LaneOpened(
            lane=self._lanes,
            row=writer.row.index,
            kind=kind.value,
            live=isinstance(writer, LiveWriter),
            track={} if track is None else records.track_to_json(track.info),
            participant={} if track is None else records.participant_to_json(track.participant),
            follows=follows,
        )
        self._writers[self._lanes] = writer
        self._link.send(opened, writer.descriptors().flat())
        return self._lanes

    # What goes out.

    @property
    def published(self) -> dict[str, PublishOptions]:
        """The worker's tracks, and how they are published."""
        self.serve()
        with self._lock:
            tracks = [one.opened for one in self._outbound.values() if one.opened.name]
            return {opened.name: PublishOptions(**opened.publish) for opened in tracks}

    @property
    def profile(self) -> Profile:
        """All that the room was told of us."""
        self.serve()
        with self._lock:
            return self._profile

    @property
    def muted(self) -> frozenset[str]:
        """The names that are muted."""
        self.serve()
        with self._lock:
            return frozenset(self._muted)

    @property
    def subscribers(self) -> Subscribers:
        """Who may subscribe to its tracks."""
        self.serve()
        with self._lock:
            return self._subscribers

    def play(self, track: str | None, seconds: float | None) -> None:
        """That much of what was sent on the track (None: on each) is played. Raises
        `ConfigurationError` for a track that nothing was sent on."""
        self.serve()
        with self._lock:
            if track is not None and track not in self._sent_on:
                raise ConfigurationError(
                    f"nothing was sent on a track {track!r}, expected one of: "
                    f"{sorted(self._sent_on)}"
                )
            for one in self._outbound.values():
                if track in (None, one.opened.name):
                    one.play(seconds)

    def serve(self) -> None:
        """Read what was sent, and answer what was asked."""
        # A worker whose session has failed closes its end, and says why itself.
        with self._lock, contextlib.suppress(ClosedError):
            if self._link.closed:
                return
            self._read()
            while (received := self._link.receive_nowait()) is not None:
                self._hear(*received)
                self._read()
            self._link.flush()

    def _read(self) -> None:
        for one in self._outbound.values():
            while (item := one.reader.receive_nowait()) is not None:
                one.row.add(Count.DONE)
                one.waiting += _samples(item)

    def _hear(self, message: m.Message, descriptors: tuple[int, ...]) -> None:  # noqa: C901
        match message:
            case m.PlayoutOpen():
                self._open_outbound(message, descriptors)
            case m.Flush(request=request, lane=lane):
                self._link.send(m.Reply(request=request, value=self._flush(lane)))
            case m.Drain(request=request, lane=lane):
                if lane in self._outbound:
                    self._outbound[lane].play(None)
                self._link.send(m.Reply(request=request, value=0.0))
            case m.PlayoutClose(lane=lane):
                self._end_outbound(lane)
            case m.SetProfile(request=request, profile=profile):
                self._profile = self._profile.followed_by(Profile.from_json(profile))
                self._link.send(m.ProfileSet(request=request, error={}))
            case m.AskPeople(request=request):
                for part, last in parts(self._people.values()):
                    told = m.People(request=request, people=part, last=last, away=False)
                    self._link.send(told)
            case m.PerformCall():
                self._link.send(self._answered(message))
            case m.SetMuted(request=request, track=track, muted=muted):
                (self._muted.add if muted else self._muted.discard)(track)
                self._link.send(m.MutedSet(request=request, error={}))
            case m.AllowSubscribers(request=request, everybody=everybody, who=who, track=track):
                change = Allowance(None if everybody else frozenset(who), track)
                self._subscribers = self._subscribers.after(change)
                self._link.send(m.SubscribersAllowed(request=request, error={}))
            case m.LaneDone(lane=lane):
                writer = self._writers.pop(lane)
                self._rows.release(writer.row.index)
                writer.close()

    def _answered(self, call: m.PerformCall) -> m.CallEnded:
        raw, seconds = call.payload.encode(), round(call.seconds * 1000)
        asked = Call(
            request=0, participant=call.to, method=call.method, timeout_ms=seconds, payload=raw
        )
        text, error = "", {}
        try:
            # Where nothing is to come, the bench has no time to wait for it.
            answer = answer_of(self.methods.get(call.to, {}), asked, "bench")
            text = (answer or failed(RpcError.RESPONSE_TIMEOUT)).result()
        except RpcError as refused:
            error = m.error_to_json(refused)
        return m.CallEnded(request=call.request, payload=text, error=error)

    def _flush(self, lane: int) -> float:
        one = self._outbound.get(lane)
        if one is None:  # the track has ended, which a thread of the processor may not know yet
            return 0.0
        seconds = one.forget()
        self.flushed.append((one.opened.name, seconds))
        return seconds

    def _open_outbound(self, opened: m.PlayoutOpen, descriptors: tuple[int, ...]) -> None:
        if opened.kind == Kind.DATA:
            self._end_messages()
        handles, row = LaneDescriptors.from_flat(descriptors), self._table.row(opened.row)
        reader: LiveReader | ReliableReader
        if opened.live:
            reader = LiveReader(handles, row, None, max_age_ns=_NEVER_NS, clock=_beginning)
        else:
            reader = ReliableReader(handles, row)
        self._outbound[opened.lane] = _Outbound(opened, reader, row)
        if opened.name:
            self._sent_on.add(opened.name)
        self._link.send(m.PlayoutReady(lane=opened.lane))

    def _end_messages(self) -> None:
        """The worker goes on in another lane."""
        for number, one in tuple(self._outbound.items()):
            if one.opened.kind == Kind.DATA:
                self._end_outbound(number)

    def _end_outbound(self, lane: int) -> None:
        self._read()
        one = self._outbound.pop(lane)
        one.play(None)
        one.reader.close()
        self._link.send(m.RowFree(row=one.opened.row))

    def told(self) -> list[m.WorkerProblem]:
        """What user code has raised since the last call."""
        found = []
        while (received := self.control.receive_nowait()) is not None:
            if isinstance(received[0], m.WorkerProblem):
                found.append(received[0])
        return found

    def close(self) -> None:
        """Idempotent."""
        with self._lock:
            for writer in self._writers.values():
                writer.close()
            for one in self._outbound.values():
                one.reader.close()
            self._writers.clear()
            self._outbound.clear()
            for link in (self.control, self.near, self._link, self._session):
                link.close()
            self._table.close()


def _size(frame: MediaFrame) -> int:
    if isinstance(frame, AudioFrame):
        return frame.samples.nbytes
    return frame.data.nbytes if isinstance(frame, VideoFrame) else len(frame.payload)


def _samples(item: Item) -> int:
    return len(item.samples) if isinstance(item, AudioFrame) else 0


def _beginning() -> int:
    """What the test reads of a live lane is never too old."""
    return 0
