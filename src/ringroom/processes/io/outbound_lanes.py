"""What one place sends, as the I/O role sees it: the lanes that it writes, and where they lead.

Each way out (`outbound.Outbound`) has a task that serves it, from one room to the next, until it is
over. When the writer dies, what is in its lanes still goes out. Its tracks stay published under
their names, and wait for the place's next writer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from ringroom import messages as m
from ringroom.errors import (
    BusyError,
    ClosedError,
    ConfigurationError,
    FrameError,
    RingroomError,
    RoomError,
)
from ringroom.events import Event, EventKind, Kind
from ringroom.lanes.lane import LaneDescriptors
from ringroom.lanes.live import LiveReader
from ringroom.lanes.reliable import ReliableReader
from ringroom.lanes.statistics import Row
from ringroom.link import until_taken
from ringroom.notices import Notices
from ringroom.options import PublishOptions, SessionOptions
from ringroom.processes.io.muting import Muting
from ringroom.processes.io.open_calls import OpenCalls
from ringroom.processes.io.outbound import Answer, Outbound, Reader
from ringroom.processes.io.outgoing_data import OutgoingData
from ringroom.processes.io.outgoing_playout import OutgoingPlayout
from ringroom.processes.io.provider_errors import as_ours
from ringroom.processes.io.row_ledger import Lender, RowLedger
from ringroom.processes.io.sending import DyingAnswers, Sending
from ringroom.providers.provider import OutgoingTrack, Provider

log = logging.getLogger("ringroom.io")
NO_DATA_TRACKS = "not supported: DataTrackFrame (this provider has no data tracks)"


class OutboundRoom(Protocol):
    """What is needed of the room."""

    options: SessionOptions
    clock: Callable[[], int]
    notices: Notices
    open_calls: OpenCalls
    muting: Muting
    data_tracks: bool
    """Whether the provider has any."""

    async def joined_provider(self, other_than: Provider | None = None) -> Provider: ...
    def claim_track(self, name: str, owner: object) -> bool: ...
    def release_track(self, name: str, owner: object) -> None: ...
    def tell(self, event: Event) -> None: ...


class Writer(Lender, Protocol):
    """The writer of the lanes: an `attachments.Attachment`."""

    closed: bool


class OutboundLanes:
    """See the module's docstring."""

    def __init__(self, room: OutboundRoom, ledger: RowLedger, writer: Writer) -> None:
        self._room = room
        self._ledger = ledger
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._sendings: list[Sending] = []
        self._answers = DyingAnswers()

    # What the writer says.

    def open(self, message: m.PlayoutOpen, descriptors: tuple[int, ...]) -> None:
        """Open a lane of the writer's. Takes the descriptors over. An invalid lane is refused, and
        the writer goes on."""
        try:
            with until_taken(descriptors):
                kind = _kind(message)  # the application, which counts its lane, relies on that
                row = self._ledger.lend(message, self._writer)
                track = _as_track(message, kind, muted=message.name in self._room.muting.names)
                if kind is Kind.DATA_TRACK and not self._room.data_tracks:
                    raise RoomError(NO_DATA_TRACKS, reason="not_supported")
                handles = LaneDescriptors.from_flat(descriptors)
            if kind is Kind.DATA:
                self._open_data(message, ReliableReader(handles, row, message.name))
            else:
                self._open_track(message, track, self._reader(message, handles, row))
        except RingroomError as error:
            self._ledger.retire(message.row)
            self._tell_failed(message.lane, error)

    def flush(self, message: m.Flush, answer: Answer) -> None:
        sending = self._find(message.lane)
        if sending is None:
            answer(message.request, 0.0)
        else:
            sending.outbound.flush(message.request, message.sequence, answer)

    def drain(self, message: m.Drain, answer: Answer) -> None:
        """Answer when what was sent so far has gone out. A track that is ending answers when it is
        over."""
        sending = self._find(message.lane)
        if sending is None:
            answer(message.request, 0.0)
        elif sending.outbound.closing and sending.task is not None:
            sending.task.add_done_callback(lambda _: answer(message.request, 0.0))
        else:
            sending.outbound.drain(message.request, message.sequence, answer)

    def mute(self, name: str, muted: bool) -> None:
        """Mute or unmute the tracks of that name. A track that is ending is not unmuted: that is
        meant for the next track of its name."""
        for sending in tuple(self._sendings):
            outbound = sending.outbound
            if sending.name != name or not isinstance(outbound, OutgoingPlayout):
                continue
            if muted or not outbound.closing:
                outbound.mute(muted)

    def finish(self, lane: int) -> None:
        """End the track, or the messages, once what is in the lane has gone out."""
        sending = self._find(lane)
        if sending is not None:
            sending.outbound.finish()

    def finish_inherited(self, name: str) -> None:
        """End a track of a dead writer, if it is not ending already."""
        for sending in self._sendings:
            if sending.name == name and sending.lane == 0 and sending.takes_lanes:
                sending.outbound.finish()
                return

    def _find(self, lane: int) -> Sending | None:
        return next((one for one in self._sendings if one.lane == lane != 0), None)

    # What becomes of the writer, and of the room.

    def names(self) -> list[str]:
        """The names of the tracks in which the next writer goes on."""
        return [sending.name for sending in self._sendings if sending.takes_lanes]

    def answers_end(self, name: str) -> None:
        """The worker has read to the end a track that it answers under that name, and is about to
        end the answer."""
        self._answers.closed(name, self._sendings)

    def lose_writer(self, flows: Callable[[str], bool]) -> None:
        """The writer has died. ``flows`` says whether something is still to be answered under that
        name."""
        self._answers.end(flows)
        for sending in self._sendings:
            sending.lose_writer()

    def interrupt(self) -> None:
        """The room is lost, or over: nothing goes out. Tracks wait to be published again."""
        for sending in self._sendings:
            sending.outbound.interrupt()

    async def close(self) -> None:
        """Close all ways out at once, whatever is still to go out."""
        tasks = [sending.task for sending in self._sendings if sending.task is not None]
        for task in tasks:
            task.cancel()
        try:
            if tasks:
                await asyncio.wait(tasks)
        finally:
            # A task that is cancelled before it begins has closed nothing, nor has one whose
            # provider does not close its source in time.
            for task in tasks:
                task.cancel()
            for sending in tuple(self._sendings):
                sending.outbound.close()
                self._forget(sending)

    # Ways out.

    def _reader(self, message: m.PlayoutOpen, handles: LaneDescriptors, row: Row) -> Reader:
        if not message.live:
            return ReliableReader(handles, row, message.name)
        age = int(self._room.options.max_age * 1e9)
        return LiveReader(handles, row, message.name, max_age_ns=age, clock=self._room.clock)

    def _open_data(self, message: m.PlayoutOpen, reader: ReliableReader) -> None:
        """Go on with the messages of the writer, for which the lane before was too small. Else
        begin, after the messages of a dead writer, which were sent before."""
        for sending in self._sendings:
            if sending.lane and not sending.is_track and not sending.outbound.closing:
                sending.outbound.replace(reader)
                sending.lane = message.lane
                self._tell_ready(sending)
                return
        before = [sending.task for sending in self._sendings if not sending.is_track]
        answer = self._room.open_calls.answer
        data = OutgoingData(reader, self._data_failed, self._ledger.retire, answer)
        self._begin(message, data, [task for task in before if task is not None])

    def _open_track(self, message: m.PlayoutOpen, track: OutgoingTrack, reader: Reader) -> None:
        """Go on with the track of that name, if it is not ending and carries the same; else begin
        one, after those that end."""
        ending: list[asyncio.Task[None]] = []
        for sending in self._sendings:
            outbound = sending.outbound
            if sending.name != message.name or not sending.is_track:
                continue
            if not outbound.fits(message):
                outbound.finish()
            if not outbound.closing:
                outbound.replace(reader)
                sending.lane = message.lane
                self._tell_ready(sending)
                return
            if sending.task is not None:
                ending = [sending.task]  # the last of that name, if there are several
        if not ending:
            try:
                self._claim(message.name)
            except BusyError:
                reader.close()
                raise
        try:
            playout = OutgoingPlayout(track, reader, self._room.clock, self._ledger.retire)
        except RingroomError:
            if not ending:
                self._room.release_track(message.name, self)
            raise
        self._begin(message, playout, ending)

    def _claim(self, name: str) -> None:
        if not self._room.claim_track(name, self):
            raise BusyError(
                f"track {name!r} is sent by somebody else already; a track has one writer (workers "
                "that share one need workers=1, or a track for each participant)"
            )

    def _begin(
        self, message: m.PlayoutOpen, outbound: Outbound, before: list[asyncio.Task[None]]
    ) -> None:
        sending = Sending(message.lane, message.name, outbound)
        self._answers.begun(sending)
        self._sendings.append(sending)
        sending.task = self._loop.create_task(self._serve(sending, before))

    async def _serve(self, sending: Sending, before: list[asyncio.Task[None]]) -> None:
        """Serve one way out, from one room to the next; what was ``before`` goes out first."""
        try:
            for task in before:
                await asyncio.wait([task])
            if sending.is_track:
                self._claim(sending.name)
            provider = await self._room.joined_provider()
            while not await sending.outbound.run(provider, lambda: self._tell_ready(sending)):
                provider = await self._room.joined_provider(provider)
        except ClosedError:
            pass  # the room is over, which is told
        except Exception as error:
            if not isinstance(error, RingroomError):
                log.exception("the provider failed to publish %r", sending.name)
            failed = as_ours(error)
            self._tell_failed(sending.lane, failed)
            if sending.is_track:
                self._room.tell(Event(kind=EventKind.PUBLISH_FAILED, reason=str(failed)))
        finally:
            sending.outbound.close()
            if sending.is_track:
                self._room.release_track(sending.name, self)
            self._forget(sending)

    def _forget(self, sending: Sending) -> None:
        if sending in self._sendings:  # else it did not end in time
            self._sendings.remove(sending)
            self._answers.over(sending)

    def _tell_ready(self, sending: Sending) -> None:
        if sending.lane:
            self._writer.send(m.PlayoutReady(lane=sending.lane))

    def _tell_failed(self, lane: int, error: RingroomError) -> None:
        if lane:
            self._writer.send(m.PlayoutFailed(lane=lane, error=m.error_to_json(error)))

    def _data_failed(self, error: RingroomError) -> None:
        if self._writer.closed:
            return  # we have left, and nothing hears it
        self._room.notices.tell("message", f"a message was not sent: {error}")
        self._room.tell(Event(kind=EventKind.DATA_FAILED, reason=str(error)))


def _kind(message: m.PlayoutOpen) -> Kind:
    try:
        return Kind(message.kind)
    except ValueError:
        raise FrameError(f"track {message.name!r} is of kind {message.kind!r}") from None


def _as_track(message: m.PlayoutOpen, kind: Kind, *, muted: bool) -> OutgoingTrack:
    """What is to be published. Raises `FrameError`."""
    try:
        publish = PublishOptions(**message.publish)
    except (TypeError, ConfigurationError) as error:
        raise FrameError(f"track {message.name!r}: {error}") from None
    return OutgoingTrack(
        name=message.name,
        kind=kind,
        options=publish,
        sample_rate=message.sample_rate,
        channels=message.channels,
        width=message.width,
        height=message.height,
        muted=muted,
    )
