"""The live lane: newest wins. The writer never waits; the reader skips what is stale.

Only the reader may move the ring's tail, so the reader drops frames: one that is older than
`max_age` when it would be taken, and those behind it down to a lower mark, so that a slow reader
does not live at the limit; of pictures all but the newest. The writer drops the new frame when the
ring is full, which takes a reader that has stood still for the whole span of the ring.

  I8  a frame is handed out at most `max_age` after it came in
  I9  each drop is counted, by cause
  I10 events of the track (muted, ended) are never dropped: frames leave them room in the ring
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace

from ringroom.events import Event, Participant, TrackInfo
from ringroom.frames import Item, MediaFrame
from ringroom.lanes import records
from ringroom.lanes.lane import LaneDescriptors, LaneReader, LaneWriter, ReaderStart
from ringroom.lanes.ring import Buffer, Geometry
from ringroom.lanes.statistics import Count, Row

EVENT_ROOM = 4_096
# Beyond it a new event takes the place of the last: somebody mutes and unmutes without end.
MAX_OWED = 256
# Once something was too old, skip down to this share of max_age (measured: with FIFO alone a slow
# reader sits at 95 % of the limit, with the mark at half of it).
LOW_MARK = 0.3


class LiveWriter(LaneWriter):
    """The writing end."""

    def __init__(self, ring: Geometry, row: Row, *, portable: bool | None = None) -> None:
        super().__init__(ring, row, portable=portable)
        self._owed: deque[Event] = deque()
        self._spare = min(EVENT_ROOM, self.max_record)

    def send(self, frame: MediaFrame, received_ns: int) -> bool:
        """Offer a frame. Returns whether it went in (else it is counted as dropped)."""
        head, body = records.encode(frame, (self._sequence, received_ns))
        return self.send_parts(head, body)

    def send_parts(self, head: bytes, body: Buffer) -> bool:
        """Offer a record made by a function of `records` (`audio_head`, say) with `sequence`."""
        nbytes = len(head) + len(body)
        if nbytes > self._ring.max_payload and self._mapping is not None:
            raise self._too_large(nbytes)
        if not (self._owes_nothing() and self._push(head, body, self._spare)):
            self._refuse()
            return False
        self._publish(nbytes)
        return True

    def reserve(self, nbytes: int) -> memoryview | None:
        return super().reserve(nbytes) if self._owes_nothing() else None

    def _owes_nothing(self) -> bool:
        """Whether no event waits for room."""
        return not self._owed or self.write_owed()

    def _refuse(self) -> None:
        self._sequence += 1
        self.row.count_refused()

    def event(self, event: Event) -> None:
        """Write an event of the track's life, in order with its frames (I10)."""
        head, body = records.encode(event, (self._sequence, event.received_ns))
        if len(head) + len(body) > self.max_record and event.participant is not None:
            # A participant's metadata may have any size; the track's event must not get stuck.
            who = event.participant
            event = replace(event, participant=Participant(identity=who.identity, kind=who.kind))
        if len(self._owed) >= MAX_OWED:
            self._owed.pop()
        self._owed.append(event)
        self.write_owed()

    def write_owed(self) -> bool:
        """Write the events that had no room. Returns whether none is owed any more."""
        while self._owed:
            event = self._owed[0]
            head, body = records.encode(event, (self._sequence, event.received_ns))
            if not self._push(head, body):
                return False
            self._publish(len(head) + len(body), event=True)
            self._owed.popleft()
        return True


class LiveReader(LaneReader):
    """The reading end."""

    def __init__(
        self,
        descriptors: LaneDescriptors,
        row: Row,
        track: TrackInfo | str | None,
        *,
        max_age_ns: int,
        clock: Callable[[], int],
        start: ReaderStart = (0, 0),
    ) -> None:
        super().__init__(descriptors, row, track, start=start)
        self._max_age_ns = max_age_ns
        self._clock = clock

    @property
    def max_age_ns(self) -> int:
        """How old a frame may be when it is taken."""
        return self._max_age_ns

    def receive_nowait(self) -> Item | None:
        """The next frame that is not stale, or event of the track; None if nothing waits."""
        skipping = False
        while (slot := self._take()) is not None:
            head = records.peek(slot.payload)
            kind, received_ns = head[0], head[-1]
            if kind == records.EVENT:
                return self._deliver(slot, head)
            age = self._clock() - received_ns
            if age <= self._max_age_ns and (not skipping or self._ends_skipping(kind, age)):
                return self._deliver(slot, head, age)
            skipping = True
            self.row.add(Count.DROPPED_STALE)
            self._release(slot)
        self.give_back()
        return None

    def _ends_skipping(self, kind: int, age: int) -> bool:
        if kind == records.VIDEO:
            return not self._is_superseded()
        return age <= self._max_age_ns * LOW_MARK

    def _is_superseded(self) -> bool:
        """Whether a newer picture already waits. It is only looked at: its room must not be given
        back before it is counted."""
        ahead = self._ring.ahead()
        if ahead is None:
            self.absorb()
            ahead = self._ring.ahead()
        return ahead is not None and records.peek(ahead)[0] == records.VIDEO
