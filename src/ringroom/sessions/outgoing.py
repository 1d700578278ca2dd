"""The writing side of a session: our tracks, each a lane; like the session it never waits.

A track is opened by its first frame, which fixes its rate and channels, or its size. The lane
exists at once, so frames can be written while the I/O role still publishes. Long sound is cut into
pieces (`unsent.py`), so that a flush never has more than one piece under way.

While the I/O role is away (it has died, and the room is not joined again), no lane begins, and a
reliable one takes nothing: what it took would be lost. A live one goes on into what nobody reads.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict

import numpy as np

from ringroom import messages as m
from ringroom.checks import (
    as_destinations,
    check_name,
    check_origin,
    check_rate,
    check_size,
    is_sound,
)
from ringroom.colour import i420_size
from ringroom.errors import ConfigurationError, FrameError, RingroomError, WouldBlock
from ringroom.frames import AudioFrame, DataFrame, Frame, Kind, TrackInfo, VideoFrame
from ringroom.lanes.lane import grown, ring_for
from ringroom.lanes.live import LiveWriter
from ringroom.lanes.reliable import ReliableWriter
from ringroom.lanes.ring import Geometry
from ringroom.lanes.statistics import Count, Row, RowPool
from ringroom.options import PublishOptions
from ringroom.resampling import TrackResampler
from ringroom.sessions.session import Session
from ringroom.sessions.unsent import PIECE_SECONDS, Unsent

DEFAULT_AUDIO, DEFAULT_VIDEO = "audio", "video"
SPEECH_SECONDS = 1.0
LIVE_SECONDS = 2.0
VIDEO_FRAMES = 8
_DATA_RING = ring_for(1 << 18, 4)


class OutgoingLane:
    """One track of ours, and the lane of its present generation."""

    def __init__(self, name: str, kind: Kind, publish: PublishOptions) -> None:
        self.name = name
        self.kind = kind
        self.publish = publish
        self.number = 0
        self.writer: LiveWriter | ReliableWriter | None = None
        self.ready = False
        self.flush = 0
        """The request of the last flush."""
        self.ending = 0
        """The request whose answer tells that it is over, once it was ended."""
        self.error: RingroomError | None = None
        self.opened: m.PlayoutOpen | None = None
        """What the I/O role was asked for, or will be."""
        self.ring = _DATA_RING
        """Of the next writer too."""
        self.frame_bytes = 0
        """Of the largest picture that the ring was made for."""
        self.played_before = 0.0
        """Seconds that were played of the lanes before the present one."""
        self.played_told = 0.0
        """The most that somebody was told."""
        self.unsent = Unsent(name)
        """What the one who sends has still to write; a flush empties it."""

    @property
    def sequence(self) -> int:
        return 0 if self.writer is None else self.writer.sequence

    @property
    def row(self) -> Row | None:
        return None if self.writer is None else self.writer.row


class Outgoing:
    """All that one side sends."""

    def __init__(self, session: Session, rows: RowPool) -> None:
        self._session = session
        self._rows = rows
        self._lanes: dict[str, OutgoingLane] = {}
        self._ended: list[OutgoingLane] = []
        """Those that nobody sends on any more, and that play still."""
        self._numbers = 0
        self._restarts = session.restarts
        session.lost_ns = None  # what was lost before was nothing of ours

    @property
    def is_away(self) -> bool:
        """Whether the I/O role is away, until `restart`."""
        return self._session.interrupted or self._session.restarts != self._restarts

    def freed_fileno(self, lane: OutgoingLane) -> int:
        """Readable when there is room again; -1 while that would not help: who waits is told by
        the session then."""
        if lane.writer is None or self.is_away or lane.flush in self._session.requests.unanswered:
            return -1
        return lane.writer.freed_fileno()

    def track_name(self, frame: Frame) -> str:
        """The name of the outgoing track that the frame belongs on. Raises `FrameError` for what
        is no frame, or is one no longer: its fields can be assigned to."""
        _kind(frame)
        if isinstance(frame, DataFrame):
            if not all(frame.to):
                raise FrameError("a destination is an empty identity; leave `to` out for everyone")
            return ""
        _check_unspoiled(frame)
        if isinstance(frame.track, TrackInfo):
            return frame.track.reply_name
        default = DEFAULT_AUDIO if isinstance(frame, AudioFrame) else DEFAULT_VIDEO
        return checked_name(frame.track or default)

    def lane_for(self, frame: Frame, publish: PublishOptions | None = None) -> OutgoingLane:
        """The lane of the frame's track, opened by its first frame.

        Raises `FrameError` when the track carries another kind or has a bad name,
        `ConfigurationError` for ``publish`` that is none, and whatever made the track fail
        (`BusyError`, `RoomError`).
        """
        self._take_news()
        if publish is not None and not isinstance(publish, PublishOptions):
            raise ConfigurationError(
                f"publish is {type(publish).__name__}, expected ringroom.PublishOptions(...)"
            )
        kind = _kind(frame)
        name = self.track_name(frame)
        lane = self._lanes.get(name)
        if lane is None:
            if name:
                checked_name(name)
            lane = OutgoingLane(name, kind, publish or self._session.options.publish)
            self._open(lane, frame)
            self._lanes[name] = lane
        if lane.kind is not kind:
            raise FrameError(f"track {name!r} carries {lane.kind}, this is a frame of {kind}")
        self._check(lane)
        if isinstance(frame, VideoFrame):
            self._grow(lane, frame)
        return lane

    def push_nowait(self, lane: OutgoingLane, piece: Frame) -> bool:
        """Write one piece; whether it went in (a live lane may drop it, counted).

        Raises `WouldBlock` when a reliable lane is full or away, and while a flush is not answered:
        the lane and the link have no order between them, and what is sent now must survive.
        """
        self._check_taking(lane)
        now = self._session.clock()
        if isinstance(lane.writer, ReliableWriter):
            lane.writer.send_nowait(piece, now)
            return True
        assert lane.writer is not None
        assert not isinstance(piece, DataFrame)
        return lane.writer.send(piece, now)

    def _check_taking(self, lane: OutgoingLane) -> None:
        self._session.check_open()
        self.refresh(lane)
        if lane.flush in self._session.requests.unanswered:
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
            and not lane.writer.fits(lane.unsent.record_sizes(frame))
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

    def write_unsent(self, lane: OutgoingLane) -> bool:
        """Write all that is unsent of a lane; whether a live one has dropped nothing of it. Raises
        as `push_nowait` does, and then what is not written stays."""
        whole = True
        while (piece := lane.unsent.first()) is not None:
            whole = self.push_nowait(lane, piece) and whole
            lane.unsent.written()
        return whole

    def push_unsent(self, lane: OutgoingLane) -> bool | None:
        """Write a piece of what is unsent of a lane; whether that was all, None for no room."""
        self._session.check_open()
        piece = lane.unsent.first()
        if piece is not None:
            try:
                self.push_nowait(lane, piece)
            except WouldBlock:
                return None
            lane.unsent.written()
        return not lane.unsent

    def forget_unsent(self, lane: OutgoingLane) -> float:
        """Throw away what is unsent; the seconds of sound."""
        seconds = lane.unsent.seconds
        lane.unsent.clear()
        return seconds

    def refresh(self, lane: OutgoingLane) -> None:
        """Take note of what the I/O role said; raises what made the track fail. Told once, it is
        forgotten: the next frame under the name begins a track."""
        self._take_news()
        self._check(lane)

    def _check(self, lane: OutgoingLane) -> None:
        if lane.error is not None:
            self._drop(lane)
            self._close_writer(lane)
            raise lane.error

    def _drop(self, lane: OutgoingLane) -> None:
        """Its name is free."""
        if self._lanes.get(lane.name) is lane:
            del self._lanes[lane.name]

    def find(self, name: str | None) -> OutgoingLane | None:
        """The track of that name, or one that has ended and plays still; None names the only one
        with sound, or the default one."""
        if name is not None:
            found = self.named(name)
            return found[0] if found else None
        sounding = [lane for lane in self._lanes.values() if lane.kind is Kind.AUDIO]
        return sounding[0] if len(sounding) == 1 else self.find(DEFAULT_AUDIO)

    def named(self, name: str | None) -> list[OutgoingLane]:
        """The lanes of that name, those that have ended and play still behind the present one; all,
        that of the messages too, for None. Raises `ClosedError` once the session is closed, for
        they are gone."""
        self._session.check_unclosed()
        if name is not None:
            checked_name(name)
        self._take_news()
        lanes = (*self._lanes.values(), *reversed(self._ended))
        return [lane for lane in lanes if name in (None, lane.name)]

    def sounding(self, name: str | None) -> list[OutgoingLane]:
        """Those of `named` that carry sound."""
        return [lane for lane in self.named(name) if lane.kind is Kind.AUDIO]

    @property
    def lanes(self) -> list[OutgoingLane]:
        return list(self._lanes.values())

    def flush(self, lane: OutgoingLane) -> int:
        """Ask for all sent so far and not played to be thrown away; the request's number."""
        if lane.unsent.resampler is not None:
            lane.unsent.resampler.tail()
        request = lane.flush = self._session.requests.new()
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

    def tail(self, lane: OutgoingLane) -> list[Frame]:
        """What the track's resampler still holds: a last piece, or none."""
        resampler = lane.unsent.resampler
        if resampler is None:
            return []
        rest = resampler.tail()
        if not len(rest):
            return []
        return [AudioFrame.received(rest, resampler.sample_rate, lane.name, (0, 0))]

    def played(self, lane: OutgoingLane) -> float:
        """Seconds of the track's sound that were really played; never falls."""
        row, resampler, session = lane.row, lane.unsent.resampler, self._session
        if row is not None and resampler is not None:
            # In this order, against that in which a playout writes: of a change under way too
            # little is told. What its source had left when the I/O process died was never played.
            now = session.clock() if session.lost_ns is None else session.lost_ns
            accepted = row.get(Count.PLAYED)
            queued = max(0, row.get(Count.PLAYED_UNTIL_NS) - now) / 1e9
            kept = accepted - row.get(Count.CLEARED)
            seconds = lane.played_before + kept / resampler.sample_rate - queued
            lane.played_told = max(lane.played_told, seconds)
        return lane.played_told

    def restart(self, rows: RowPool) -> None:
        """After that of the session, once the room is joined again: every track goes on in a lane
        of its own, under its name. What was in the lane before and not played is lost, counted."""
        self._rows, self._restarts = rows, self._session.restarts
        for lane in self.lanes:
            if lane.error is not None:
                continue
            if lane.writer is not None:
                lane.writer.row.bury()
            self._retire_writer(lane)
            try:
                self._begin_lane(lane)
            except RingroomError as error:  # its sender's, who may try again
                lane.error = error
        self._session.lost_ns = None

    def end(self, lane: OutgoingLane) -> int:
        """Unpublish the track once what was sent is played; the number of a request whose answer
        tells that it is over. Called again, it does what an interrupt has left undone: from its
        first line on the track can be found."""
        lane.ending = request = self._session.requests.new()
        if lane not in self._ended:
            self._ended.append(lane)
        self._drop(lane)
        if not self.is_away:
            self._session.send(m.PlayoutClose(lane=lane.number))
        self._close_writer(lane)
        self._ask(m.Drain(request=request, lane=lane.number, sequence=lane.sequence))
        return request

    def close(self) -> None:
        """Idempotent."""
        for lane in (*self._lanes.values(), *self._ended):
            self._close_writer(lane)
        self._lanes.clear()
        self._ended.clear()

    def _close_writer(self, lane: OutgoingLane) -> None:
        if lane.writer is not None:
            lane.writer.close()

    def _retire_writer(self, lane: OutgoingLane) -> None:
        """Another takes its place, if there is one: what it has played stays played, and nobody
        looks at its row any more."""
        lane.played_before = self.played(lane)
        self._close_writer(lane)
        lane.writer, lane.ready = None, False

    def _take_news(self) -> None:
        session = self._session
        if session.playout_news:
            for number, error in session.playout_news.items():
                for lane in (*self._lanes.values(), *self._ended):
                    if lane.number == number:
                        lane.ready, lane.error = error is None, error
            session.playout_news.clear()
        if self._ended:
            self._ended = [
                lane for lane in self._ended if lane.ending in session.requests.unanswered
            ]
        while session.freed_rows:
            row = session.freed_rows.pop()
            self._leave_row(row)
            self._rows.release(row)

    def _leave_row(self, index: int) -> None:
        """It is about to serve another lane. Whoever has it still is over, whether somebody was
        told of that or not."""
        for lane in (*self._lanes.values(), *self._ended):
            if lane.row is not None and lane.row.index == index:
                self._retire_writer(lane)

    def _grow(self, lane: OutgoingLane, frame: VideoFrame) -> None:
        """A picture larger than the ring was made for goes on in a larger one; or any, when none
        was to be had for the one before."""
        is_without = lane.writer is None and not self.is_away
        if is_without:
            lane.frame_bytes = 0  # no more than it needs
        if i420_size(frame.width, frame.height) > lane.frame_bytes:
            self._retire_writer(lane)
            self._open(lane, frame)

    def _open(self, lane: OutgoingLane, frame: Frame) -> None:
        self._session.check_open()
        live = lane.publish.mode == "live" and lane.kind is not Kind.DATA
        lane.ring = _ring_of(lane, frame, live)
        message = m.PlayoutOpen(
            lane=0,
            row=0,
            name=lane.name,
            kind=lane.kind.value,
            live=live,
            publish=asdict(lane.publish),
        )
        if isinstance(frame, AudioFrame):
            lane.unsent.resampler = TrackResampler(frame.sample_rate, frame.channels)
            message = message.replace(sample_rate=frame.sample_rate, channels=frame.channels)
        elif isinstance(frame, VideoFrame):
            message = message.replace(width=frame.width, height=frame.height)
        lane.opened = message
        if not self.is_away:
            self._begin_lane(lane)

    def _begin_lane(self, lane: OutgoingLane) -> None:
        assert lane.opened is not None
        row = self._rows.acquire()
        made = LiveWriter if lane.opened.live else ReliableWriter
        try:
            writer = made(lane.ring, row)
        except BaseException:
            self._rows.release(row.index)
            raise
        self._numbers += 1
        lane.writer, lane.number = writer, self._numbers
        lane.opened = lane.opened.replace(lane=lane.number, row=row.index)
        try:
            self._session.send(lane.opened, writer.descriptors().flat())
        except BaseException:
            self._close_writer(lane)
            lane.writer = None
            self._rows.release(row.index)
            raise
        self._session.lane_begun(lane.opened)


def as_message(payload: bytes | str, topic: str, reliable: bool, to: Collection[str]) -> DataFrame:
    """A data frame from what `send_data` takes. Raises `FrameError`."""
    if isinstance(payload, str):
        try:
            payload = payload.encode()
        except UnicodeEncodeError as error:
            raise FrameError(f"the payload is not valid Unicode text ({error.reason})") from None
    elif not isinstance(payload, bytes):
        raise FrameError(f"a payload of type {type(payload).__name__}, expected bytes or text")
    return DataFrame(payload, topic, reliable=reliable, to=as_destinations(to))


def checked_name(name: str) -> str:
    """The name of a track of ours. Raises `FrameError`."""
    return check_name("track name", name)


def _check_unspoiled(frame: AudioFrame | VideoFrame) -> None:
    if isinstance(frame, AudioFrame):
        if not is_sound(frame.samples):
            raise FrameError(
                "the samples of this frame were replaced by what is no sound; expected int16 of "
                "shape (samples per channel, channels): make a frame with "
                "frame.replace(samples=...), which converts"
            )
        check_rate(frame.sample_rate)
        return
    check_size(frame.width, frame.height)
    check_origin(frame.rotation, frame.timestamp_us)
    data = frame.data
    whole = isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.ndim == 1
    if not whole or data.size != i420_size(frame.width, frame.height):
        raise FrameError(
            "the data of this frame was replaced by what is no picture of its size; make a new "
            "VideoFrame"
        )


def _kind(frame: Frame) -> Kind:
    if isinstance(frame, AudioFrame):
        return Kind.AUDIO
    if isinstance(frame, VideoFrame):
        return Kind.VIDEO
    if isinstance(frame, DataFrame):
        return Kind.DATA
    raise FrameError(
        f"cannot send a {type(frame).__name__}; expected AudioFrame, VideoFrame or DataFrame "
        "(for PCM bytes: ringroom.AudioFrame(pcm, sample_rate))"
    )


def _ring_of(lane: OutgoingLane, frame: Frame, live: bool) -> Geometry:
    if isinstance(frame, AudioFrame):
        piece = int(frame.sample_rate * PIECE_SECONDS) * frame.channels * 2
        seconds = LIVE_SECONDS if live else SPEECH_SECONDS
        # Twice the sound's size: short frames carry as much header as sound.
        return ring_for(piece, 2 * int(seconds / PIECE_SECONDS))
    if isinstance(frame, VideoFrame):
        lane.frame_bytes = grown(i420_size(frame.width, frame.height), lane.frame_bytes)
        return ring_for(lane.frame_bytes, VIDEO_FRAMES)
    return _DATA_RING
