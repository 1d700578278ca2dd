"""The writing side of a session: our tracks, each a lane; like the session it never waits.

A track is opened by its first frame, which fixes its rate and channels, or its size. The lane
exists at once, so frames can be written while the I/O role still publishes. Long sound is cut into
pieces (`unsent.py`), so that a flush never has more than one piece under way.

While the I/O role is away (it has died, and the room is not joined again), no lane begins, and a
reliable one takes nothing: what it took would be lost. A live one goes on into a ring that is not
read.
"""

from __future__ import annotations

from ringroom import messages as m
from ringroom.errors import ConfigurationError, FrameError, RingroomError, WouldBlock
from ringroom.events import Kind, TrackInfo
from ringroom.frames import AudioFrame, DataFrame, DataTrackFrame, FileFrame, Frame, VideoFrame
from ringroom.lanes.reliable import ReliableWriter
from ringroom.lanes.statistics import RowPool
from ringroom.options import PublishOptions
from ringroom.sessions.filling import Filling
from ringroom.sessions.outgoing_lane import SPEECH_SECONDS, OutgoingLane
from ringroom.sessions.sendable import (
    DEFAULT_AUDIO,
    checked_name,
    kind_of,
    name_of,
    track_name,
    with_source,
)
from ringroom.sessions.session import Session
from ringroom.system import interrupts_at_the_end

# What may have another size each time, for which a larger lane may be needed.
_SIZED = (VideoFrame, DataTrackFrame, FileFrame)


class Outgoing:
    """All that one side sends."""

    def __init__(self, session: Session, rows: RowPool) -> None:
        self._session = session
        self._rows = rows
        self._lanes: dict[str, OutgoingLane] = {}
        self._ended: list[OutgoingLane] = []
        """Those that were ended, and that play still."""
        self._has_failed = False
        """Whether a track has, since `take_failed`."""
        self._numbers = 0
        self._restarts = session.restarts
        session.tracks_go_on()  # what was lost before was nothing of ours

    @property
    def is_away(self) -> bool:
        """Whether the I/O role is away, until `restart`."""
        return self._session.interrupted or self._session.restarts != self._restarts

    def freed_fileno(self, lane: OutgoingLane) -> int:
        """Readable when there is room again; -1 while that would not help: then the session tells
        its listeners."""
        is_flushing = lane.flush_request in self._session.requests.unanswered
        if lane.writer is None or self.is_away or is_flushing:
            return -1
        return lane.writer.freed_fileno()

    def lane_for(
        self,
        frame: Frame,
        publish: PublishOptions | None = None,
        otherwise: PublishOptions | None = None,
    ) -> OutgoingLane:
        """The lane of the frame's track, opened by its first frame with ``publish``; if that is
        None with ``otherwise``, or the session's options.

        Raises `FrameError` when the track carries another kind or has a bad name,
        `ConfigurationError` for ``publish`` that is none, or differs from what the track was opened
        with, `BusyError` while a picture of it is being filled, and whatever made the track fail
        (`BusyError`, `RoomError`).
        """
        self._take_news()
        if publish is not None and not isinstance(publish, PublishOptions):
            raise ConfigurationError(
                f"publish is {type(publish).__name__}, expected ringroom.PublishOptions(...)"
            )
        kind = kind_of(frame)
        name = track_name(frame)
        lane = self._lanes.get(name)
        if lane is None:
            if name:
                checked_name(name)
            session = self._session
            asked = publish or otherwise or session.options.publish
            lane = OutgoingLane(name, kind, with_source(asked, frame), session.play_clock, asked)
            # Known before it is opened: Ctrl-C may come anywhere in that, and its next frame goes
            # on from there.
            self._lanes[name] = lane
        if lane.kind is not kind:
            raise FrameError(f"track {name!r} carries {lane.kind}, this is a frame of {kind}")
        self._check(lane)
        lane.check_not_filled()
        # The same object as a rule; to compare two takes longer.
        if publish is not None and publish is not lane.asked and kind is not Kind.DATA:
            lane.check_published_as(publish)
        if lane.writer is None or isinstance(frame, _SIZED):
            self._open(lane, frame)
        return lane

    def push_nowait(self, lane: OutgoingLane, piece: Frame) -> bool:
        """Write one piece; whether it went in (a live lane may drop it, counted).

        Raises `WouldBlock` when a reliable lane is full or away, and while a flush is not answered:
        the lane and the link have no order between them, and what is sent now must survive.
        """
        self._check_taking(lane)
        now, writer = self._session.clock(), lane.writer
        try:
            if isinstance(writer, ReliableWriter):
                writer.send_nowait(piece, now)
                return True
            assert writer is not None
            assert not isinstance(piece, DataFrame)
            return writer.send(piece, now)
        except BaseException as error:
            self._leave_lane(lane, error)
            raise

    def _leave_lane(self, lane: OutgoingLane, error: BaseException) -> None:
        """Ctrl-C, or what another signal's handler has raised, came in the middle of a write: what
        is in the ring, what is counted and what the reader was told may differ. So nothing more is
        written there, and the track goes on in another lane, once that one is read to its end. What
        is still in that one is played, and `played` does not count it."""
        if isinstance(error, RingroomError):
            return
        with interrupts_at_the_end():
            close = m.PlayoutClose(lane=lane.number)
            if self.is_away:
                lane.retire()  # the next one begins with `restart`
            else:
                self._renew(lane)
            if lane.error is not None:
                self._session.send(close)  # nobody here knows the track any more
            self._session.notify()  # another thread may wait for room in that lane

    def _renew(self, lane: OutgoingLane) -> None:
        """The track goes on in another lane, under its name."""
        lane.retire()
        try:
            self._begin_lane(lane)
        except RingroomError as error:  # for its sender, which may try again
            lane.error = error

    def fill(self, lane: OutgoingLane | None, form: VideoFrame) -> Filling:
        """A picture of that form on the lane that it was given; None where nobody receives it."""
        try:
            return Filling(lane, form)
        except BaseException as error:
            if lane is not None:
                self._leave_lane(lane, error)
            raise

    def send_filled(self, filling: Filling) -> bool:
        """Send the picture from where it lies; False if it is to be sent as any other, `copied`.
        Raises `FrameError` for one that was spoiled, and what made the track fail."""
        lane, frame = filling.lane, filling.frame
        if lane is None or track_name(frame) != lane.name:
            return False
        try:
            self._check_taking(lane)
        except WouldBlock:
            return False
        # Where the track has ended meanwhile, the picture begins another.
        if filling.is_in_place and self._lanes.get(lane.name) is lane:
            try:
                filling.commit(self._session.clock())
            except BaseException as error:
                self._leave_lane(lane, error)
                raise
            return True
        return False

    def _check_taking(self, lane: OutgoingLane) -> None:
        self._session.check_unfailed()
        self.refresh(lane)
        if lane.flush_request in self._session.requests.unanswered:
            raise WouldBlock("a flush of the track is under way")
        if lane.writer is None or (self.is_away and isinstance(lane.writer, ReliableWriter)):
            raise WouldBlock("the room is being joined again")

    def send_nowait(self, lane: OutgoingLane, frame: Frame) -> None:
        """Write a frame, all of it. Raises as `push_nowait` does, and then none of it was written,
        nor has passed the resampler, which cannot take it back."""
        self.write_unsent(lane)  # what a wait that was given up has left
        self._check_taking(lane)
        if (
            isinstance(frame, AudioFrame)
            and isinstance(lane.writer, ReliableWriter)
            and not self._fits(lane, lane.writer, frame)
        ):
            raise WouldBlock(
                f"the track has no room for {frame.duration:.2f} s of sound (it holds some "
                f"{2 * SPEECH_SECONDS:.0f} s; `send` waits for room, piece by piece)"
            )
        lane.unsent.put(frame)
        try:
            self.write_unsent(lane)
        finally:
            lane.unsent.clear()

    def _fits(self, lane: OutgoingLane, writer: ReliableWriter, frame: AudioFrame) -> bool:
        try:
            return writer.fits(lane.unsent.record_sizes(frame))
        except BaseException as error:
            self._leave_lane(lane, error)
            raise

    def write_unsent(self, lane: OutgoingLane) -> bool:
        """Write all that is unsent of a lane; whether a live one has dropped nothing of it. Raises
        as `push_nowait` does, and then what has no room stays."""
        whole = True
        while (piece := lane.unsent.take()) is not None:
            try:
                whole = self.push_nowait(lane, piece) and whole
            except WouldBlock:
                lane.unsent.give_back(piece)
                raise
        return whole

    def push_unsent(self, lane: OutgoingLane) -> bool | None:
        """Write a piece of what is unsent of a lane; whether that was all, None for no room."""
        self._session.check_unfailed()
        unsent = lane.unsent
        piece = unsent.take()
        if piece is not None:
            try:
                self.push_nowait(lane, piece)
            except WouldBlock:
                unsent.give_back(piece)
                return None
        return not unsent

    def refresh(self, lane: OutgoingLane) -> None:
        """Take note of what the I/O role said; raises what made the track fail. Told once, it is
        forgotten: the next frame under the name begins a track."""
        self._take_news()
        self._check(lane)

    def take_failed(self) -> list[OutgoingLane]:
        """If a track has failed since the last call, those whose senders were not told yet."""
        self._take_news()
        has_failed, self._has_failed = self._has_failed, False
        return [lane for lane in self._lanes.values() if lane.error] if has_failed else []

    def _check(self, lane: OutgoingLane) -> None:
        if lane.error is not None:
            self._drop(lane)
            lane.close()
            raise lane.error

    def _drop(self, lane: OutgoingLane) -> None:
        """Its name is free."""
        if self._lanes.get(lane.name) is lane:
            del self._lanes[lane.name]

    def find(self, track: str | TrackInfo | None) -> OutgoingLane | None:
        """The track of that name, or one that has ended and plays still; None names the only one
        with sound, or the default one."""
        if track is not None:
            found = self.named(track)
            return found[0] if found else None
        sounding = [lane for lane in self._lanes.values() if lane.kind is Kind.AUDIO]
        return sounding[0] if len(sounding) == 1 else self.find(DEFAULT_AUDIO)

    def named(self, track: str | TrackInfo | None) -> list[OutgoingLane]:
        """The lanes of that name (for a `TrackInfo`, of what answers it), those that have ended and
        play still behind the present one; all, that of the messages too, for None. Raises
        `ClosedError` once the session is closed, for they are gone."""
        self._session.check_unclosed()
        name = None if track is None else name_of(track)
        self._take_news()
        lanes = (*self._lanes.values(), *reversed(self._ended))
        return [lane for lane in lanes if name in (None, lane.name)]

    def sounding(self, track: str | TrackInfo | None) -> list[OutgoingLane]:
        """Those of `named` that carry sound."""
        return [lane for lane in self.named(track) if lane.kind is Kind.AUDIO]

    @property
    def lanes(self) -> list[OutgoingLane]:
        return list(self._lanes.values())

    def flush(self, lane: OutgoingLane) -> int:
        """Ask for all sent so far and not played to be thrown away; the request's number."""
        lane.tail()  # thrown away too
        request = lane.flush_request = self._session.requests.new()
        self._ask(m.Flush(request=request, lane=lane.number, sequence=lane.sequence))
        return request

    def _ask(self, message: m.Flush | m.Drain) -> None:
        if self.is_away:
            self._session.requests.answer(message.request, 0.0)  # nothing of it plays any more
        else:
            self._session.send(message)

    def drain(self, lane: OutgoingLane) -> int:
        """Ask to be told when all sent so far is played; the request's number."""
        request = self._session.requests.new()
        self._ask(m.Drain(request=request, lane=lane.number, sequence=lane.sequence))
        return request

    def restart(self, rows: RowPool) -> None:
        """After that of the session, once the room is joined again: every track goes on in a lane
        of its own, under its name. What was in the lane before and not played is lost, counted."""
        self._rows, self._restarts = rows, self._session.restarts
        for lane in self.lanes:
            if lane.error is not None:
                continue
            if lane.writer is not None:
                lane.writer.row.bury()
            self._renew(lane)
        self._session.tracks_go_on()

    def end(self, lane: OutgoingLane) -> int:
        """Unpublish the track once what was sent is played; the number of a request whose answer
        tells that it is over. Called again, it does what an interrupt has left undone: from its
        first line on the track can be found."""
        lane.end_request = request = self._session.requests.new()
        if lane not in self._ended:
            self._ended.append(lane)
        self._drop(lane)
        if not self.is_away:
            self._session.send(m.PlayoutClose(lane=lane.number))
        lane.close()
        self._ask(m.Drain(request=request, lane=lane.number, sequence=lane.sequence))
        return request

    def close(self) -> None:
        """Idempotent."""
        for lane in (*self._lanes.values(), *self._ended):
            lane.close()
        self._lanes.clear()
        self._ended.clear()

    def _take_news(self) -> None:
        news = self._session.news
        if not (news.tracks or news.rows or self._ended):
            return
        for number, error in news.tracks.items():
            for lane in (*self._lanes.values(), *self._ended):
                if lane.number == number:
                    lane.note(error)
            self._has_failed = self._has_failed or error is not None
        news.tracks.clear()
        unanswered = self._session.requests.unanswered
        self._ended = [lane for lane in self._ended if lane.end_request in unanswered]
        while news.rows:
            row = news.rows.pop()
            self._leave_row(row)
            self._rows.release(row)

    def _leave_row(self, index: int) -> None:
        """The row is about to serve another lane. A track that has it still is over, whether its
        sender was told so or not."""
        for lane in (*self._lanes.values(), *self._ended):
            if lane.row is not None and lane.row.index == index:
                lane.retire()

    def _open(self, lane: OutgoingLane, frame: Frame) -> None:
        """See that it has a lane for the frame, if that can be had now. Where the first one cannot
        be had, the track has not begun."""
        is_first = lane.opened is None
        try:
            if is_first:
                lane.form(frame)
            elif not isinstance(frame, AudioFrame):
                self._grow(lane, frame)
            if lane.writer is None:
                self._session.check_unfailed()
                if not self.is_away:
                    self._begin_lane(lane)
        except RingroomError:
            if is_first:
                self._drop(lane)
            raise

    def _grow(self, lane: OutgoingLane, frame: VideoFrame | DataFrame | DataTrackFrame) -> None:
        """What is larger than the ring was made for goes on in a larger one; or anything, when none
        was to be had for what was before."""
        if lane.writer is None and not self.is_away:
            lane.forget_size()
        if lane.takes(frame):
            return
        lane.retire()
        lane.form(frame)

    def _begin_lane(self, lane: OutgoingLane) -> None:
        with interrupts_at_the_end():  # else memory, a row or a lane may be left that nobody has
            self._ask_for(lane)

    def _ask_for(self, lane: OutgoingLane) -> None:
        row = self._rows.acquire()
        self._numbers += 1
        number = self._numbers
        try:
            opened = lane.begin(number, row)
            assert lane.writer is not None
            self._session.send(opened, lane.writer.descriptors().flat())
        except RingroomError:  # it was not asked for
            lane.drop_writer()
            self._rows.release(row.index)
            raise
        except BaseException:
            # No memory, say: the request may be on its way. Then the row counts until the I/O role
            # has ended the lane, and comes back by `RowFree`.
            lane.drop_writer()
            self._session.send(m.PlayoutClose(lane=number))
            raise
        self._session.lane_begun(opened)
