"""What one reader of some kinds receives, fairly from all the lanes of these kinds.

An inbox never waits; `Inbox.fileno` tells when it is worth looking again. A thread that waits for
nothing else waits on its `selector`, and hands in what was found (`note`). The lanes belong to
`incoming.Incoming`, which shows them here and takes them away.
"""

from __future__ import annotations

import contextlib
import selectors
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

from ringroom.errors import ClosedError, StartupError, WireError
from ringroom.events import Event, EventKind, Kind, Participant, TrackInfo
from ringroom.frames import Item
from ringroom.lanes.live import LiveReader
from ringroom.lanes.memory import open_counter
from ringroom.lanes.reliable import ReliableReader
from ringroom.lanes.statistics import Count
from ringroom.system import unwatched, why

# Events that wait for a reader of events, when frames have another reader.
MAX_LOOSE_EVENTS = 10_000
Found: TypeAlias = list[tuple[selectors.SelectorKey, int]]
"""What a selector has found readable."""


@dataclass(slots=True, eq=False)
class InboundLane:
    """An inbound lane and where it is in its life."""

    number: int
    kind: Kind
    reader: LiveReader | ReliableReader
    track: TrackInfo | None
    participant: Participant | None
    clock: Callable[[], int]
    is_ending: bool = False
    """Its writer adds nothing more; what it holds may not be read yet."""
    successor: InboundLane | None = None
    fresh: bool = False
    """Follows another lane, but as a new beginning of the track and not as its continuation."""

    def track_event(self, kind: EventKind) -> Event:
        who, now_ns = self.participant, self.clock()
        return Event(kind=kind, track=self.track, participant=who, received_ns=now_ns)


@dataclass(frozen=True, slots=True)
class Arrival:
    """An item, the lane it came through, and the row in which its handling counts. What is told of
    the connection itself came through none."""

    item: Item
    lane: InboundLane | None

    def done(self) -> None:
        """The item has been processed, or given to the caller that asked for it."""
        if self.lane is not None and not isinstance(self.item, Event):
            self.lane.reader.row.add(Count.DONE)

    def problem(self) -> None:
        """Processing it raised."""
        if self.lane is not None:
            self.lane.reader.row.add(Count.PROBLEMS)


class LooseEvents:
    """Events that come through no lane that their reader reads: a bounded queue. A reader that
    comes late is told first how many it has missed."""

    def __init__(self) -> None:
        self._waiting: deque[Arrival] = deque()
        self._lost = 0

    def append(self, arrival: Arrival) -> None:
        if len(self._waiting) >= MAX_LOOSE_EVENTS:
            self._waiting.popleft()
            self._lost += 1
        self._waiting.append(arrival)

    def take(self) -> Arrival | None:
        """The next; None if nothing waits."""
        if self._lost:
            reason, self._lost = f"{self._lost} not read in time", 0
            return Arrival(Event(kind=EventKind.EVENTS_LOST, reason=reason), None)
        return self._waiting.popleft() if self._waiting else None

    def clear(self) -> None:
        self._waiting.clear()
        self._lost = 0


class Listeners:
    """Functions that are called at a change, in the order in which they were added. The garbage
    collector may take one away at any moment, with the receiver that it belongs to."""

    def __init__(self) -> None:
        self._all: dict[Callable[[], None], None] = {}

    def add(self, listener: Callable[[], None]) -> None:
        self._all[listener] = None

    def discard(self, listener: Callable[[], None]) -> None:
        self._all.pop(listener, None)

    def __iter__(self) -> Iterator[Callable[[], None]]:
        # A list takes them in one go, in which the collector has no turn. As a tuple is made it may
        # have one, which is after its iterator.
        return iter(list(self._all))

    def __len__(self) -> int:
        return len(self._all)


class Watched(Protocol):
    """What an inbox watches of its session."""

    listeners: Listeners

    def fileno(self) -> int: ...
    def notify(self) -> None: ...


class Owner(Protocol):
    """What an inbox needs of the object that has made it, and shows it its lanes."""

    loose_events: LooseEvents

    @property
    def session(self) -> Watched: ...
    def tell(self, event: Event, lane: InboundLane) -> None: ...
    def finish_lane(self, lane: InboundLane) -> None: ...
    def close_inbox(self, inbox: Inbox) -> None: ...


def _open_selector() -> selectors.DefaultSelector:
    try:
        return selectors.DefaultSelector()
    except OSError as error:
        raise StartupError(f"nothing to receive with: {why(error)}") from error


class Inbox:
    """What one reader of some kinds receives, fairly from all their lanes."""

    def __init__(
        self, owner: Owner, kinds: frozenset[Kind], participants: frozenset[str] | None
    ) -> None:
        self.kinds = kinds
        self._owner = owner
        self._session = owner.session
        self._participants = participants
        self._closed = False
        with contextlib.ExitStack() as made:
            self._wake = open_counter()
            made.callback(self._wake.close)
            self.selector = _open_selector()
            made.callback(self.selector.close)
            self.watch(self._wake.fileno())
            self._link_fd = -1
            self.relink()
            made.pop_all()
        self._lanes: dict[int, InboundLane] = {}
        self._ready: deque[InboundLane] = deque()
        # Turns until it is time to look which other lanes have become readable: one that never
        # runs empty (its reader is slower than its source) must not keep the others from theirs.
        self._turns = 0
        self.put_back: list[Item] = []
        """What was taken and counted, and then not given to its reader: Ctrl-C came."""
        self.woken = False
        """The session has changed, or its link or what is watched beside it had something to say,
        when this was last looked at."""
        self._session.listeners.add(self._on_change)

    def fileno(self) -> int:
        """Readable when it is worth calling `Session.pump` and `receive_nowait`."""
        return -1 if self._closed else self.selector.fileno()

    @property
    def closed(self) -> bool:
        return self._closed

    def relink(self) -> None:
        """The session has another link."""
        if self._closed:
            return
        if self._link_fd >= 0:
            self.selector.unregister(self._link_fd)
        self._link_fd = -1
        fd = self._session.fileno()
        if fd >= 0:
            self.watch(fd)
        self._link_fd = fd

    def watch(self, fd: int, lane: InboundLane | None = None) -> None:
        """Wake for one descriptor more, until the inbox is closed. Raises `StartupError`."""
        try:
            self.selector.register(fd, selectors.EVENT_READ, lane)
        except OSError as error:
            raise unwatched(error) from error

    def _on_change(self) -> None:
        with contextlib.suppress(ClosedError):  # by the collector, since the first was called
            self._wake.add(1)

    def add(self, lane: InboundLane) -> None:
        """Receive what comes through it, if it is of ours. Raises `StartupError`."""
        if self._closed or lane.kind not in self.kinds or lane.number in self._lanes:
            return
        track = lane.track
        if self._participants is not None and track and track.participant not in self._participants:
            return
        self.watch(lane.reader.fileno(), lane)
        self._lanes[lane.number] = lane
        self._ready.append(lane)
        self._wake.add(1)

    def reads(self, lane: InboundLane) -> bool:
        return lane.number in self._lanes

    def hold(self, lane: InboundLane) -> None:
        """Receive nothing of the lane until `release`; meanwhile its frames age."""
        self.remove(lane)

    def release(self, lane: InboundLane) -> None:
        """Go on with a lane that was held, if there is a way."""
        if lane.reader.fileno() >= 0:
            self.add(lane)

    def wake(self, lane: InboundLane) -> None:
        if lane.number in self._lanes and lane not in self._ready:
            self._ready.append(lane)
            self._wake.add(1)

    def remove(self, lane: InboundLane) -> None:
        # By identity: numbers begin anew with another link.
        if self._lanes.get(lane.number) is lane:
            del self._lanes[lane.number]
            self.selector.unregister(lane.reader.fileno())
            if lane in self._ready:
                self._ready.remove(lane)

    def receive_nowait(self) -> Arrival | None:
        """The next item of any lane, in turn; None when nothing waits."""
        if self._closed:
            raise ClosedError("the receiver is closed")
        if (arrival := self._loose()) is not None:
            return arrival
        if self._turns <= 0 or not self._ready:
            self.note(self.selector.select(0))
        while self._ready:
            lane = self._ready[0]  # and stays there: Ctrl-C may come anywhere in this
            self._turns -= 1
            item = self._take(lane)
            if item is not None:
                self._ready.rotate(-1)
                if (arrival := self._admit(item, lane)) is not None:
                    return arrival
            elif (
                not lane.is_ending
                or lane.reader.pending
                or self._lanes.get(lane.number) is not lane
            ):
                self._ready.popleft()
            # No call of itself: a thousand may end at once.
            elif (arrival := self._finish(lane) or self._loose()) is not None:
                return arrival
        return None

    def note(self, found: Found) -> None:
        """Take note of what the selector has found: each lane gets its turn, but for one that was
        taken away meanwhile."""
        waiting = set(self._ready)
        self.woken = False
        for key, _ in found:
            lane: InboundLane | None = key.data
            if lane is not None:
                if self._lanes.get(lane.number) is lane:
                    lane.reader.absorb()
                    if lane not in waiting:
                        self._ready.append(lane)
            else:
                self.woken = True
                if key.fd == self._wake.fileno():
                    self._wake.take()
        self._turns = len(self._ready)

    def _take(self, lane: InboundLane) -> Item | None:
        try:
            return lane.reader.receive_nowait()
        except WireError:
            # What the other side wrote cannot be read on: the lane is over, what is in it is lost.
            lane.is_ending = True
            self._owner.finish_lane(lane)
            raise

    def _admit(self, item: Item, lane: InboundLane) -> Arrival | None:
        if isinstance(item, Event):
            if Kind.EVENT not in self.kinds:
                self._owner.tell(item, lane)
                self._session.notify()
                return None
            if item.track is not None and item.participant is None and lane.participant is not None:
                item = replace(item, participant=lane.participant)
        elif self._participants is not None and item.participant not in self._participants:
            Arrival(item, lane).done()
            return None
        return Arrival(item, lane)

    def _finish(self, lane: InboundLane) -> Arrival | None:
        over = lane.successor is None or lane.successor.fresh
        arrival = None
        if over and lane.track is not None:
            # Told before the lane is finished, which tells that the track begins again.
            arrival = self._admit(lane.track_event(EventKind.TRACK_ENDED), lane)
        self._owner.finish_lane(lane)
        return arrival

    def _loose(self) -> Arrival | None:
        loose = self._owner.loose_events
        while Kind.EVENT in self.kinds and (arrival := loose.take()) is not None:
            track = None if arrival.lane is None else arrival.lane.track
            if self._participants is None or not track or track.participant in self._participants:
                return arrival
        return None

    def close(self) -> None:
        """Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._session.listeners.discard(self._on_change)
        self._owner.close_inbox(self)
        self.selector.close()
        self._wake.close()
        self._lanes.clear()
        self._ready.clear()
