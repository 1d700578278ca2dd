"""The reading side of a session: the lanes of others' tracks and messages, and their readers.

A track's lanes follow each other: one that has ended is drained before the next is shown to its
reader. What is told of a track without a reader, or of the connection itself, comes through no
lane: it waits in `Incoming.loose_events`. Like the session it never waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Protocol

from ringroom import messages as m
from ringroom.errors import BusyError
from ringroom.events import Event, EventKind, Kind, TrackInfo
from ringroom.lanes.lane import LaneDescriptors
from ringroom.lanes.live import LiveReader
from ringroom.lanes.records import participant_from_json, track_from_json
from ringroom.lanes.reliable import ReliableReader
from ringroom.lanes.statistics import StatisticsTable
from ringroom.link import until_taken
from ringroom.options import SessionOptions
from ringroom.sessions.inbox import Arrival, InboundLane, Inbox, LooseEvents, Watched

# Tracks that ended and have no reader: beyond it the oldest are given up, their frames dropped.
MAX_UNREAD_ENDED = 64
# What has not come again by then, after the room was joined with another I/O process, has ended.
RETURN_SECONDS = 5.0


class Home(Watched, Protocol):
    """What is needed of the session."""

    options: SessionOptions
    clock: Callable[[], int]

    def send(self, message: m.Message) -> None: ...
    def check_unclosed(self) -> None: ...


class Incoming:
    """All that one side receives."""

    def __init__(self, session: Home) -> None:
        self.session = session
        self._inboxes: list[Inbox] = []
        self.loose_events = LooseEvents()
        """Those that come through no lane that their reader reads."""
        self._lanes: dict[int, InboundLane] = {}
        self._away: dict[str, InboundLane] = {}
        """By sid: the last lanes of tracks that may come again."""
        self.away_until_ns: int | None = None
        """The moment at which those that have not come again have ended (`end_missing`); None: it
        is not known yet, or there are none."""

    @property
    def inboxes(self) -> tuple[Inbox, ...]:
        """The lanes' readers that have not been told yet that the session is over. A copy: one that
        is forgotten is taken off whenever it is collected, within any call."""
        return tuple(self._inboxes)

    def open_lane(
        self, message: m.LaneOpened, descriptors: tuple[int, ...], table: StatisticsTable
    ) -> None:
        """The other side has made a lane, and hands it over; its descriptors are ours in any
        case."""
        with until_taken(descriptors):
            handles = LaneDescriptors.from_flat(descriptors)
            row = table.row(message.row)
            kind = Kind(message.kind)
            track = track_from_json(message.track) if message.track else None
            who = participant_from_json(message.participant) if message.participant else None
        start = (message.position, message.waiting)
        reader: LiveReader | ReliableReader
        if message.live:
            age = int(self.session.options.max_age * 1e9)
            reader = LiveReader(
                handles, row, track, max_age_ns=age, clock=self.session.clock, start=start
            )
        else:
            reader = ReliableReader(handles, row, track, clock=self.session.clock, start=start)
        lane = InboundLane(message.lane, kind, reader, track, who, self.session.clock)
        before = self._lanes.get(message.follows)
        if before is None and (before := self._ended_before(track)) is not None:
            lane.fresh = True
        self._lanes[lane.number] = lane
        if before is not None:
            before.successor, before.is_ending = lane, True
            self._wake_inboxes(before)
        else:
            self._begin(lane)

    def _ended_before(self, track: TrackInfo | None) -> InboundLane | None:
        """The ended lane of the same track that is not drained yet: it goes first. A reconnect ends
        a track and opens it again, or publishes it anew, under its name with another sid."""
        if track is None:
            return None
        for lane in self._lanes.values():
            if lane.track is None or lane.successor is not None:
                continue
            if lane.track.sid == track.sid:
                return lane
            if lane.is_ending and _is_heir(track, lane.track) and self._is_read(lane):
                return lane
        return None

    def _is_read(self, lane: InboundLane) -> bool:
        return any(inbox.reads(lane) for inbox in self.inboxes)

    def _begin(self, lane: InboundLane) -> None:
        if lane.track is not None:
            was_away = self._away.pop(lane.track.sid, None) is not None
            kind = EventKind.TRACK_RESUMED if was_away else EventKind.TRACK_STARTED
            self.tell(lane.track_event(kind), lane)
        self._show(lane)

    def tell(self, event: Event, lane: InboundLane) -> None:
        """An event of a track for the reader of events, also where the track has none."""
        readable = Kind.EVENT in self.session.options.kinds
        if readable or any(Kind.EVENT in inbox.kinds for inbox in self.inboxes):
            self.loose_events.append(Arrival(event, lane))

    def tell_of_connection(self, event: Event) -> None:
        """An event that no lane brings, for the reader of events."""
        if Kind.EVENT in self.session.options.kinds:
            self.loose_events.append(Arrival(event, None))
            self.session.notify()

    def lane_ending(self, number: int) -> None:
        """Nothing more will come through that lane."""
        lane = self._lanes.get(number)
        if lane is None:
            return
        lane.is_ending = True
        self._wake_inboxes(lane)
        unread = [
            other for other in self._lanes.values() if other.is_ending and not self._is_read(other)
        ]
        for other in unread[:-MAX_UNREAD_ENDED]:
            self.tell(other.track_event(EventKind.TRACK_ENDED), other)
            other.reader.discard()
            self.finish_lane(other)

    def lose_lanes(self) -> None:
        """The I/O process has died: what was in the lanes is lost, counted. Their tracks are away
        until the same come again (`TRACK_RESUMED`) or have not in time (`expect_return`)."""
        self.away_until_ns = None
        for lane in self._lanes.values():
            for inbox in self.inboxes:
                inbox.remove(lane)
            lane.reader.row.bury()
            lane.reader.close()
        for lane in self._first_lanes():
            while lane.successor is not None and not lane.successor.fresh:
                lane = lane.successor
            if lane.track is not None and lane.is_ending:
                self.tell(lane.track_event(EventKind.TRACK_ENDED), lane)
            elif lane.track is not None:
                self._away[lane.track.sid] = lane
        self._lanes.clear()

    def expect_return(self) -> None:
        """The room is joined with another I/O process: tracks that are away come again soon."""
        if self._away:
            self.away_until_ns = self.session.clock() + int(RETURN_SECONDS * 1e9)

    def expect_nothing(self) -> None:
        """Until the room is joined again no track can come."""
        self.away_until_ns = None

    def patience(self) -> float | None:
        """Seconds until `end_missing` has something to do; None: it has not."""
        until = self.away_until_ns
        return None if until is None else max(0.0, (until - self.session.clock()) / 1e9)

    def end_missing(self) -> bool:
        """If it is time: the tracks that have not come again have ended. Whether it was."""
        if self.away_until_ns is None or self.session.clock() < self.away_until_ns:
            return False
        self.away_until_ns = None
        for lane in self._away.values():
            self.tell(lane.track_event(EventKind.TRACK_ENDED), lane)
        self._away.clear()
        return True

    def _first_lanes(self) -> list[InboundLane]:
        """The lanes that wait for none before them. Their tracks have begun, and no others."""
        lanes = self._lanes.values()
        waiting = {id(lane.successor) for lane in lanes if lane.successor is not None}
        return [lane for lane in lanes if id(lane) not in waiting]

    def _show(self, lane: InboundLane) -> None:
        for inbox in self.inboxes:
            inbox.add(lane)

    def _wake_inboxes(self, lane: InboundLane) -> None:
        for inbox in self.inboxes:
            inbox.wake(lane)

    def finish_lane(self, lane: InboundLane) -> None:
        """The lane is drained and ended: close it and go on with the one that follows."""
        for inbox in self.inboxes:
            inbox.remove(lane)
        lane.reader.close()
        self._lanes.pop(lane.number, None)
        self.session.send(m.LaneDone(lane=lane.number))
        if lane.successor is not None and lane.successor.fresh:
            self._begin(lane.successor)
        elif lane.successor is not None:
            self._show(lane.successor)

    def open_inbox(self, kinds: Iterable[Kind], participants: frozenset[str] | None) -> Inbox:
        """A reader of some kinds. Raises `BusyError` when one of them has a reader already,
        `ClosedError` once the session is closed, `StartupError` when no descriptors are left."""
        self.session.check_unclosed()
        wanted = frozenset(kinds)
        for other in self.inboxes:
            both = wanted & other.kinds
            if both:
                names = ", ".join(sorted(both))
                raise BusyError(f"somebody else already receives {names}; one reader for each kind")
        inbox = Inbox(self, wanted, participants)
        try:
            for lane in self._first_lanes():
                inbox.add(lane)
            # Last: one that is listed, and that no caller has, would keep its kinds for good.
            self._inboxes.append(inbox)
            return inbox
        except BaseException:
            inbox.close()
            raise

    def close_inbox(self, inbox: Inbox) -> None:
        if inbox in self._inboxes:
            self._inboxes.remove(inbox)

    @property
    def tracks(self) -> list[TrackInfo]:
        """The tracks that flow to us now."""
        return [lane.track for lane in self._lanes.values() if lane.track is not None]

    def close(self) -> None:
        """Idempotent."""
        for inbox in self.inboxes:
            inbox.close()
        for lane in self._lanes.values():
            lane.reader.close()
        self._lanes.clear()
        self.loose_events.clear()
        self._away.clear()


def _is_heir(track: TrackInfo, other: TrackInfo) -> bool:
    """Whether the tracks are the same in all but the sid."""
    return replace(track, sid=other.sid) == other
