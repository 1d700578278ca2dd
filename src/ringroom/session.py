"""One end of a connection to the I/O role: lanes and a link. It never waits.

The faces (client, aio, worker) wait on what `Inbox.fileno`, `OutgoingLane.freed_fileno` and
`fileno` name, and call again. A session is not thread-safe; a face with several threads holds a
lock of its own around each call and waits outside of it. So that no wake-up is lost between a
look and the wait that follows it, every change is also told to `listeners`.

Ownership: of each inbound lane the reading end, of each outgoing lane the writing end; the link.
"""

from __future__ import annotations

import copy
import os
import selectors
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ringroom import messages as m
from ringroom.errors import (
    BusyError,
    ClosedError,
    LostProcessError,
    RingroomError,
    WireError,
)
from ringroom.frames import Event, EventKind, Item, Kind, Participant, TrackInfo
from ringroom.lanes.lane import LaneDescriptors
from ringroom.lanes.live import LiveReader
from ringroom.lanes.memory import open_counter
from ringroom.lanes.records import participant_from_json, track_from_json
from ringroom.lanes.reliable import ReliableReader
from ringroom.lanes.statistics import Count, LaneCounts, Row, StatisticsTable
from ringroom.link import Link
from ringroom.options import MEDIA, SessionOptions

# Track events that wait for a reader of events, when frames have another reader.
MAX_LOOSE_EVENTS = 10_000
# Tracks that ended and that nobody reads: beyond it the oldest are given up, their frames dropped.
MAX_UNREAD_ENDED = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneStatistics:
    """A lane's counts and what it is."""

    direction: str
    """``in`` from the room, ``out`` to it."""
    kind: Kind
    track: str
    participant: str
    place: int
    """Which worker; -1 the application."""
    counts: LaneCounts


@dataclass(slots=True, eq=False)
class InboundLane:
    """An inbound lane and where it is in its life."""

    number: int
    kind: Kind
    reader: LiveReader | ReliableReader
    track: TrackInfo | None
    participant: Participant | None
    ending: bool = False
    successor: InboundLane | None = None
    fresh: bool = False
    """Follows another lane, but as a new beginning of the track and not as its continuation."""

    def track_event(self, kind: EventKind) -> Event:
        return Event(kind=kind, track=self.track, participant=self.participant)


@dataclass(frozen=True, slots=True)
class Arrival:
    """An item, the lane it came through, and the row in which its handling counts."""

    item: Item
    lane: InboundLane

    def done(self) -> None:
        """The item has been processed (or given to whoever asked)."""
        if not isinstance(self.item, Event):
            self.lane.reader.row.add(Count.DONE)

    def problem(self) -> None:
        """Processing it raised."""
        self.lane.reader.row.add(Count.PROBLEMS)


@dataclass(slots=True)
class _Listed:
    row: Row
    listing: m.LaneListed


@dataclass(slots=True)
class Ending:
    """How the session ended: by the room, or by an error that every later call raises."""

    reason: str
    error: RingroomError | None = None


@dataclass(slots=True)
class _Inbound:
    lanes: dict[int, InboundLane] = field(default_factory=dict)
    loose: deque[Arrival] = field(default_factory=lambda: deque(maxlen=MAX_LOOSE_EVENTS))


class Session:
    """See the module's docstring."""

    def __init__(
        self,
        link: Link,
        table: StatisticsTable,
        options: SessionOptions,
        clock: Callable[[], int],
    ) -> None:
        self.link = link
        self.options = options
        self.clock = clock
        self.joined: m.Connected | None = None
        self.ending: Ending | None = None
        self.closed = False
        self.listeners: set[Callable[[], None]] = set()
        self.replies: dict[int, float] = {}
        self.playout_news: dict[int, RingroomError | None] = {}
        self.freed_rows: list[int] = []
        self._table = table
        self._inbound = _Inbound()
        self._inboxes: list[Inbox] = []
        self._listed: dict[int, _Listed] = {}
        self._retired: dict[str, LaneStatistics] = {}
        self._requests = 0
        self._leaving = False

    def fileno(self) -> int:
        """The link's: readable when `pump` has something to do."""
        return self.link.fileno()

    def request(self) -> int:
        """A number for a request whose answer will stand in `replies`."""
        self._requests += 1
        return self._requests

    def send(self, message: m.Message, descriptors: tuple[int, ...] = ()) -> None:
        """Send over the link; a peer that is gone is noted, not raised."""
        try:
            self.link.send(message, descriptors)
        except ClosedError:
            self._lost()

    def pump(self) -> bool:
        """Handle all messages that are here; whether there were any."""
        if self.closed or self.link.closed:
            return False
        changed = False
        try:
            self.link.flush()
            while (received := self.link.receive_nowait()) is not None:
                changed = True
                self._handle(*received)
        except ClosedError:
            changed = True
            self._lost()
        if changed:
            self.notify()
        return changed

    def notify(self) -> None:
        """Wake whoever waits for a change of the session."""
        for listener in tuple(self.listeners):
            listener()

    def fail(self, error: RingroomError) -> None:
        """The connection is over by an error that we noticed ourselves."""
        if self.ending is None:
            self.ending = Ending("failed", error)
            self.notify()

    def check_open(self) -> None:
        """Raises what a call after the end must raise."""
        if self.closed:
            raise ClosedError("transport is closed")
        if self.ending is not None and self.ending.error is not None:
            # A copy for each call: an error that is raised again and again keeps all its frames.
            raise copy.copy(self.ending.error)

    def leave(self) -> None:
        """Ask the other side to end; the link's end tells that it did."""
        self._leaving = True
        self.send(m.Leave())

    def _lost(self) -> None:
        self.link.close()
        if self.ending is None and self._leaving:
            self.ending = Ending("closed")
            self.notify()
        elif self.ending is None and not self.closed:
            self.fail(
                LostProcessError(
                    "the I/O process died; what was under way is lost. Its standard error tells "
                    "why; open the transport again"
                )
            )

    def _handle(self, message: m.Message, descriptors: tuple[int, ...]) -> None:  # noqa: C901
        match message:
            case m.LaneOpened():
                self._open_lane(message, descriptors)
                descriptors = ()
            case m.LaneEnding(lane=number):
                self._lane_ending(number)
            case m.Reply(request=request, value=value):
                self.replies[request] = value
            case m.PlayoutReady(lane=number):
                self.playout_news[number] = None
            case m.PlayoutFailed(lane=number, error=error):
                self.playout_news[number] = m.error_from_json(error)
            case m.RowFree(row=row):
                self.freed_rows.append(row)
            case m.LaneListed():
                self._listed[message.row] = _Listed(self._table.row(message.row), message)
            case m.LaneRetired(row=row):
                self._retire(row)
            case m.Connected():
                self.joined = message
            case m.Failed(error=error):
                self.fail(m.error_from_json(error))
            case m.Ended():
                self._ended(message)
        for fd in descriptors:
            os.close(fd)

    def _ended(self, message: m.Ended) -> None:
        if self.ending is None:
            error = None
            if message.error:
                error = m.error_from_json({"text": message.error, "reason": "disconnected"})
            self.ending = Ending(message.reason, error)

    def _open_lane(self, message: m.LaneOpened, descriptors: tuple[int, ...]) -> None:
        handles = LaneDescriptors.from_flat(descriptors)
        row = self._table.row(message.row)
        track = track_from_json(message.track) if message.track else None
        who = participant_from_json(message.participant) if message.participant else None
        reader: LiveReader | ReliableReader
        if message.live:
            age = int(self.options.max_age * 1e9)
            reader = LiveReader(handles, row, track, max_age_ns=age, clock=self.clock)
        else:
            reader = ReliableReader(handles, row, track)
        lane = InboundLane(message.lane, Kind(message.kind), reader, track, who)
        before = self._inbound.lanes.get(message.follows)
        if before is None and (before := self._ended_before(track)) is not None:
            lane.fresh = True
        self._inbound.lanes[lane.number] = lane
        if before is not None:
            before.successor, before.ending = lane, True
            self._wake_inboxes(before)
        else:
            self._begin(lane)

    def _ended_before(self, track: TrackInfo | None) -> InboundLane | None:
        """The ended lane of the same track that is not drained yet (a reconnect ends a track and
        opens it again): it goes first."""
        for lane in self._inbound.lanes.values():
            if track and lane.track and lane.track.sid == track.sid and lane.successor is None:
                return lane
        return None

    def _begin(self, lane: InboundLane) -> None:
        if lane.track is not None:
            self.tell(lane.track_event(EventKind.TRACK_STARTED), lane)
        self._show(lane)

    def tell(self, event: Event, lane: InboundLane) -> None:
        """An event of a track for whoever reads events, also when nobody reads the track."""
        readable = Kind.EVENT in self.options.kinds
        if readable or any(Kind.EVENT in inbox.kinds for inbox in self._inboxes):
            self._inbound.loose.append(Arrival(event, lane))

    def _lane_ending(self, number: int) -> None:
        lane = self._inbound.lanes.get(number)
        if lane is None:
            return
        lane.ending = True
        self._wake_inboxes(lane)
        unread = [
            other
            for other in self._inbound.lanes.values()
            if other.ending and not any(inbox.reads(other) for inbox in self._inboxes)
        ]
        for other in unread[:-MAX_UNREAD_ENDED]:
            self.tell(other.track_event(EventKind.TRACK_ENDED), other)
            other.reader.discard()
            self.finish_lane(other)

    def _show(self, lane: InboundLane) -> None:
        for inbox in self._inboxes:
            inbox.add(lane)

    def _wake_inboxes(self, lane: InboundLane) -> None:
        for inbox in self._inboxes:
            inbox.wake(lane)

    def finish_lane(self, lane: InboundLane) -> None:
        """The lane is drained and ended: close it and go on with the one that follows."""
        for inbox in self._inboxes:
            inbox.remove(lane)
        lane.reader.close()
        self._inbound.lanes.pop(lane.number, None)
        self.send(m.LaneDone(lane=lane.number))
        if lane.successor is not None and lane.successor.fresh:
            self._begin(lane.successor)
        elif lane.successor is not None:
            self._show(lane.successor)

    def open_inbox(self, kinds: Iterable[Kind], participants: frozenset[str] | None) -> Inbox:
        """A reader of some kinds. Raises `BusyError` when one of them has a reader already."""
        wanted = frozenset(kinds)
        for other in self._inboxes:
            both = wanted & other.kinds
            if both:
                names = ", ".join(sorted(both))
                raise BusyError(f"somebody else already receives {names}; one reader for each kind")
        inbox = Inbox(self, wanted, participants)
        self._inboxes.append(inbox)
        superseded = {id(lane.successor) for lane in self._inbound.lanes.values() if lane.successor}
        for lane in self._inbound.lanes.values():
            if id(lane) not in superseded:
                inbox.add(lane)
        return inbox

    def close_inbox(self, inbox: Inbox) -> None:
        if inbox in self._inboxes:
            self._inboxes.remove(inbox)

    @property
    def has_inboxes(self) -> bool:
        """Whether somebody receives, who has not been told yet that the session is over."""
        return bool(self._inboxes)

    @property
    def loose_events(self) -> deque[Arrival]:
        """Events of tracks that do not come through a lane that their reader reads."""
        return self._inbound.loose

    @property
    def tracks(self) -> list[TrackInfo]:
        """The tracks that flow to us now."""
        return [lane.track for lane in self._inbound.lanes.values() if lane.track is not None]

    def _retire(self, index: int) -> None:
        listed = self._listed.pop(index, None)
        if listed is None:
            return
        now = self._statistics(listed)
        key = f"{now.direction} {now.kind} {now.participant} {now.track}"
        before = self._retired.get(key)
        if before is not None:
            now = _merged(before, now)
        self._retired[key] = now
        if not self.closed:
            self.send(m.RowFree(row=index))

    @staticmethod
    def _statistics(listed: _Listed) -> LaneStatistics:
        listing = listed.listing
        return LaneStatistics(
            direction=listing.direction,
            kind=Kind(listing.kind),
            track=listing.track,
            participant=listing.participant,
            place=listing.place,
            counts=listed.row.snapshot(),
        )

    def _bury_lanes(self) -> None:
        """The other side is gone and did not count what was under way: it is lost."""
        for listed in self._listed.values():
            in_flight = listed.row.snapshot().in_flight
            if in_flight > 0:
                listed.row.add(Count.LOST, in_flight)

    def statistics(self) -> list[LaneStatistics]:
        """Of every lane since the beginning; a track's successive lanes are one."""
        merged = dict(self._retired)
        for listed in self._listed.values():
            now = self._statistics(listed)
            key = f"{now.direction} {now.kind} {now.participant} {now.track}"
            merged[key] = _merged(merged[key], now) if key in merged else now
        return list(merged.values())

    def close(self) -> None:
        """Idempotent. Closes every lane and the link; who waits wakes."""
        if self.closed:
            return
        self.closed = True
        self.notify()
        if self.link.closed:
            self._bury_lanes()
        for inbox in tuple(self._inboxes):
            inbox.close()
        for lane in self._inbound.lanes.values():
            lane.reader.close()
        self._inbound.lanes.clear()
        self._inbound.loose.clear()
        for row in tuple(self._listed):
            self._retire(row)
        self.link.close()


class Inbox:
    """What one reader of some kinds receives, fairly from all their lanes."""

    def __init__(
        self, session: Session, kinds: frozenset[Kind], participants: frozenset[str] | None
    ) -> None:
        self.kinds = kinds
        self._session = session
        self._participants = participants
        self._wake = open_counter()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake.fileno(), selectors.EVENT_READ, None)
        if session.link.fileno() >= 0:
            self._selector.register(session.link.fileno(), selectors.EVENT_READ, None)
        self._lanes: dict[int, InboundLane] = {}
        self._ready: deque[InboundLane] = deque()
        self._closed = False
        session.listeners.add(self._on_change)

    def fileno(self) -> int:
        """Readable when it is worth calling `Session.pump` and `receive_nowait`."""
        return -1 if self._closed else self._selector.fileno()

    @property
    def closed(self) -> bool:
        return self._closed

    def _on_change(self) -> None:
        self._wake.add(1)

    def add(self, lane: InboundLane) -> None:
        if lane.kind not in self.kinds or lane.number in self._lanes:
            return
        track = lane.track
        if self._participants is not None and track and track.participant not in self._participants:
            return
        self._lanes[lane.number] = lane
        self._selector.register(lane.reader.fileno(), selectors.EVENT_READ, lane)
        self._ready.append(lane)
        self._wake.add(1)

    def reads(self, lane: InboundLane) -> bool:
        return lane.number in self._lanes

    def hold(self, lane: InboundLane) -> None:
        """Receive nothing of the lane until `release`; meanwhile its frames age."""
        self.remove(lane)

    def release(self, lane: InboundLane) -> None:
        """Go on with a lane that was held."""
        if lane.reader.fileno() >= 0:
            self.add(lane)

    def wake(self, lane: InboundLane) -> None:
        if lane.number in self._lanes and lane not in self._ready:
            self._ready.append(lane)
            self._wake.add(1)

    def remove(self, lane: InboundLane) -> None:
        if self._lanes.pop(lane.number, None) is not None:
            self._selector.unregister(lane.reader.fileno())
            if lane in self._ready:
                self._ready.remove(lane)

    def receive_nowait(self) -> Arrival | None:
        """The next item of any lane, in turn; None when nothing waits."""
        if self._closed:
            raise ClosedError("transport is closed")
        if (arrival := self._loose()) is not None:
            return arrival
        if not self._ready:
            self._look()
        while self._ready:
            lane = self._ready.popleft()
            item = self._take(lane)
            if item is not None:
                self._ready.append(lane)
                if (arrival := self._admit(item, lane)) is not None:
                    return arrival
            elif lane.number in self._lanes and lane.ending and not lane.reader.pending:
                return self._finish(lane)
        return None

    def _look(self) -> None:
        self._wake.take()
        for key, _ in self._selector.select(0):
            if key.data is not None:
                key.data.reader.absorb()
                self._ready.append(key.data)

    def _take(self, lane: InboundLane) -> Item | None:
        try:
            return lane.reader.receive_nowait()
        except WireError:
            # What the other side wrote cannot be read on: the lane is over, what is in it is lost.
            lane.ending = True
            self._session.finish_lane(lane)
            raise

    def _admit(self, item: Item, lane: InboundLane) -> Arrival | None:
        if isinstance(item, Event):
            if Kind.EVENT not in self.kinds:
                if lane.kind in MEDIA and Kind.EVENT in self._session.options.kinds:
                    self._session.tell(item, lane)
                    self._session.notify()
                return None
            if item.track is not None and item.participant is None and lane.participant is not None:
                item = Event(
                    kind=item.kind,
                    track=item.track,
                    participant=lane.participant,
                    reason=item.reason,
                    received_ns=item.received_ns,
                )
        elif self._participants is not None and item.participant not in self._participants:
            Arrival(item, lane).done()
            return None
        return Arrival(item, lane)

    def _finish(self, lane: InboundLane) -> Arrival | None:
        over = lane.successor is None or lane.successor.fresh
        self._session.finish_lane(lane)
        if over and lane.track is not None:
            event = lane.track_event(EventKind.TRACK_ENDED)
            arrival = self._admit(event, lane)
            if arrival is not None:
                return arrival
        return self.receive_nowait()

    def _loose(self) -> Arrival | None:
        loose = self._session.loose_events
        while Kind.EVENT in self.kinds and loose:
            arrival = loose.popleft()
            track = arrival.lane.track
            if self._participants is None or not track or track.participant in self._participants:
                return arrival
        return None

    def close(self) -> None:
        """Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._session.listeners.discard(self._on_change)
        self._session.close_inbox(self)
        self._selector.close()
        self._wake.close()
        self._lanes.clear()
        self._ready.clear()


def _merged(first: LaneStatistics, then: LaneStatistics) -> LaneStatistics:
    return LaneStatistics(
        direction=then.direction,
        kind=then.kind,
        track=then.track,
        participant=then.participant,
        place=then.place,
        counts=first.counts + then.counts,
    )
