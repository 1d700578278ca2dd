"""A reader and writer of a room, as the I/O role sees it: the application, or a worker's place.

Owns the lanes to the reader (`inbound`), the ways out from the writer (`outbound`), and the link to
both. When the link of the application ends, or that of a worker which has said good-bye, everything
of it is closed here. A worker whose link ends otherwise is dead, and its place waits for another:
the lanes to it wait with what was not taken, its tracks stay published under their names and play
what is in their lanes. The next worker is told of all that, and goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from ringroom import messages as m
from ringroom.events import Event, EventKind, Kind, Participant, RoomInfo
from ringroom.link import close_descriptors
from ringroom.processes.io.inbound_lanes import InboundLanes, InboundRoom
from ringroom.processes.io.loop_link import LoopLink
from ringroom.processes.io.muting import Muting
from ringroom.processes.io.outbound import Answer
from ringroom.processes.io.outbound_lanes import OutboundLanes, OutboundRoom
from ringroom.processes.io.own_calls import OwnCalls
from ringroom.processes.io.own_profile import OwnProfile
from ringroom.processes.io.own_subscribers import OwnSubscribers
from ringroom.processes.io.roll_call import RollCall
from ringroom.processes.io.row_ledger import RowLedger

log = logging.getLogger("ringroom.io")


class AttachmentRoom(InboundRoom, OutboundRoom, Protocol):
    """What an attachment needs of the room it is attached to."""

    profile: OwnProfile
    roll: RollCall
    own_calls: OwnCalls
    muting: Muting
    subscribers: OwnSubscribers

    def people(self) -> Iterable[Participant]: ...

    @property
    def info(self) -> RoomInfo | None: ...
    @property
    def speaking(self) -> tuple[str, ...]: ...


class Attachment:
    """See the module's docstring. ``place`` is the worker's number, -1 the application."""

    def __init__(self, room: AttachmentRoom, ledger: RowLedger, place: int) -> None:
        self.place = place
        self.closed = False
        self.leaving = False
        """The worker has said good-bye: the end of its link is no death."""
        self.inbound = InboundLanes(room, ledger, place, self.send)
        self.outbound = OutboundLanes(room, ledger, self)
        self._room = room
        self._ledger = ledger
        self._wire: LoopLink | None = None

    def connect(self, wire: LoopLink) -> None:
        """Send over that link from here on. A worker that takes the place of a dead one is first
        told what it inherits."""
        before, self._wire = self._wire, wire
        if self.place == m.APPLICATION:
            return
        rows = self._ledger.lent_by(self)
        self.send(m.Attached(rows=rows, tracks=self.outbound.names()))
        if before is not None:
            self.inbound.hand_over()
            if (info := self._room.info) is not None and info.metadata:
                self.inbound.post(Kind.EVENT, Event(kind=EventKind.ROOM_CHANGED, room=info))
            for participant in self._room.people():
                joined = Event(kind=EventKind.PARTICIPANT_JOINED, participant=participant)
                self.inbound.post(Kind.EVENT, joined)
            if speaking := self._room.speaking:
                told = Event(kind=EventKind.ACTIVE_SPEAKERS, speakers=speaking)
                self.inbound.post(Kind.EVENT, told)

    def finish_link(self) -> None:
        """Handle all that a worker has said before it died."""
        if self._wire is not None:
            self._wire.finish()

    def bereave(self) -> None:
        """Its reader and writer has died: both directions wait for the next one."""
        self.outbound.lose_writer(self.inbound.flows)

    def send(self, message: m.Message, descriptors: tuple[int, ...] = ()) -> None:
        if self._wire is not None:
            self._wire.send(message, descriptors)

    def handle(self, message: m.Message, descriptors: tuple[int, ...]) -> None:  # noqa: C901
        """A message from the reader and writer."""
        match message:
            case m.PlayoutOpen() if not self.closed:
                self.outbound.open(message, descriptors)
                return
            case m.PlayoutOpen():
                pass  # it comes too late: nobody would close it
            case m.LaneDone(lane=number):
                self.outbound.answers_end(self.inbound.reply_name(number))
                self.inbound.close_lane(number)
            case m.Flush():
                self.outbound.flush(message, self._answer())
            case m.Drain():
                self.outbound.drain(message, self._answer())
            case m.PlayoutClose(lane=number):
                self.outbound.finish(number)
            case m.TrackClose(name=name):
                self.outbound.finish_inherited(name)
            case m.SetProfile():
                self._room.profile.ask(message, self._to_asker())
            case m.AskPeople():
                self._room.roll.ask(message, self._to_asker())
            case m.PerformCall():
                self._room.own_calls.begin(message, self._to_asker())
            case m.SetMuted():
                self._room.muting.ask(message, self._to_asker())
            case m.AllowSubscribers():
                self._room.subscribers.ask(message, self._to_asker())
            case m.Leave():
                self.leaving = True
            case _:
                log.error("a message that does not belong here: %s", type(message).__name__)
        close_descriptors(descriptors)

    def _answer(self) -> Answer:
        """Reaches the reader or writer that asks now. Its successor has other requests of the same
        numbers."""
        send = self._to_asker()

        def answer(request: int, value: float) -> None:
            send(m.Reply(request=request, value=value))

        return answer

    def _to_asker(self) -> Callable[[m.Message], None]:
        """The same for each call over one link."""
        return _tell_nobody if self._wire is None else self._wire.send

    async def close(self) -> None:
        """Idempotent."""
        try:
            await self.close_lanes()
        finally:
            if self._wire is not None:
                self._wire.close()

    async def close_lanes(self) -> None:
        """Close all but the link, over which the last counts are still told."""
        if self.closed:
            return
        self.closed = True
        self.inbound.stop()
        try:
            await self.outbound.close()
        finally:
            self.inbound.close()


def _tell_nobody(message: m.Message) -> None:
    """There is no link."""
