"""One outgoing track in the I/O role: from its lane to the provider, paced by the provider.

Owns the lane's reading end and the provider's playout. One frame at a time is handed to the
playout, so a flush has at most that one under way.

When the room is lost, so is the playout, and the track goes on with another one in the next room.
The frame that was under way is lost, counted; what the source had taken and not played is taken
from the count of what was played; what is in the lane waits. No frame is tried twice, and none is
offered to a room that is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from ringroom import messages as m
from ringroom.errors import RoomError
from ringroom.events import Event
from ringroom.frames import AudioFrame, DataFrame, DataTrackFrame, Frame, MediaFrame
from ringroom.lanes.live import LiveReader
from ringroom.lanes.statistics import Count, Row
from ringroom.processes.io.outbound import (
    REFUSED,
    Answer,
    Outbound,
    Reader,
    Request,
    Retire,
    is_gone,
)
from ringroom.processes.io.provider_errors import error_text
from ringroom.processes.io.standing import StandingQueue
from ringroom.providers.provider import OutgoingTrack, Playout, Provider

log = logging.getLogger("ringroom.io")

# -40 dB of full scale. LiveKit counts somebody as speaking from -35 on (`active_level` in its
# server's configuration).
QUIET = 328
# A source plays in steps of 10 ms; what is queued below that is as good as played.
PLAYED_MARGIN = 0.01


class OutgoingPlayout(Outbound):
    """A track of ours, from its first lane to its end; `replace` gives it a larger lane, or that of
    a writer that comes after one that died."""

    is_track = True

    def __init__(
        self, track: OutgoingTrack, reader: Reader, clock: Callable[[], int], retire: Retire
    ) -> None:
        super().__init__(reader, retire)
        self.track = track
        self._clock = clock
        self._playout: Playout | None = None
        self._standing = StandingQueue()
        self._ended: RoomError | None = None
        self._warned = False
        """Whether it was logged that the source did not take a frame."""
        self._accepted = 0.0
        """Seconds of sound that the source has taken so far."""
        self._next: Frame | None = None
        """A frame that was read from its lane, and comes next."""
        self._flushes: list[Request] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def flush(self, number: int, sequence: int, answer: Answer) -> None:
        request = self._request(number, sequence, answer)
        request.seconds = self._clear()
        self._flushes.append(request)
        if self._playout is None:
            self._serve_flushes()
        self._readable.set()

    def mute(self, muted: bool) -> None:
        self.track = replace(self.track, muted=muted)
        if self._playout is not None:
            self._playout.mute(muted)

    def fits(self, message: m.PlayoutOpen) -> bool:
        """Whether the lane carries what the track was published for."""
        track = self.track
        form = (track.kind.value, track.sample_rate, track.channels)
        return form == (message.kind, message.sample_rate, message.channels)

    def interrupt(self) -> None:
        self._clear()
        super().interrupt()

    def _lost_room(self, error: Exception) -> bool:
        if not self._readers:
            return True  # closed by force meanwhile
        if not isinstance(error, TimeoutError | RoomError):
            self._warn("as the room was lost", error)
        self._serve_flushes()  # those that came as it ended
        self._next = self._take()
        return self._closing and self._next is None

    async def _serve(self, provider: Provider, on_ready: Callable[[], None]) -> None:
        try:
            self._ended, self._standing = None, StandingQueue()
            asked = self.track
            self._playout = await provider.publish(asked)
            self._playout.on_ended(self._note_end)
            if self.track.muted != asked.muted:  # before anything plays
                self._playout.mute(self.track.muted)
            on_ready()
            await self._play_all(self._playout)
        finally:
            self._stay = None  # what is still to be done is done
            for task in self._tasks:
                task.cancel()
            self._clear()
            playout, self._playout = self._playout, None
            if playout is not None:
                await self._close_source(playout)

    async def _close_source(self, playout: Playout) -> None:
        """Close the source. Its error is logged, not raised: it would hide a cancellation."""
        try:
            await playout.close()
        except Exception as error:  # noqa: BLE001 (a provider may raise anything; it is logged)
            if not is_gone(error):
                self._warn("not closed", error)

    def _warn(self, what: str, error: Exception) -> None:
        # The text, not the error: a record that is kept would keep the error's frames.
        log.warning("track %r: %s: %s", self.track.name, what, error_text(error))

    def _note_end(self, error: RoomError) -> None:
        self._ended = error
        self._readable.set()

    async def _play_all(self, playout: Playout) -> None:
        while True:
            self._readable.clear()
            self._serve_flushes()
            if self._ended is not None:
                raise self._ended
            if self._stay is not None and self._stay.when() is not None:
                await asyncio.sleep(0)  # the room is lost: ended here, nothing is under way
            frame = self._take()
            if frame is not None:
                await self._play(playout, frame)
                continue
            self._serve_drains(playout)
            if not self._closing:
                await self._readable.wait()
                continue
            left = self._left(playout, self._accepted)
            if left == 0.0:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._readable.wait()

    def _take(self) -> Frame | None:
        frame, self._next = self._next, None
        while frame is None:
            item = self._readers[0].receive_nowait()
            if item is None:
                if len(self._readers) == 1:
                    return None
                self._drop_reader()
            elif not isinstance(item, Event):
                frame = item
        return frame

    async def _play(self, playout: Playout, frame: Frame) -> None:
        assert not isinstance(frame, DataFrame)
        row = self._readers[0].row
        rest = self._without_surplus(playout, frame)
        if rest is None:
            row.add(Count.DROPPED_STALE)
            return
        frame = rest
        try:
            if not await self._give(playout, frame):
                row.add(Count.DROPPED_STALE)
                return
        except asyncio.CancelledError:
            if self._readers:
                self._lose(frame, row)
            raise
        except Exception as error:
            if is_gone(error, REFUSED):
                self._lose(frame, row)
                raise
            row.add(Count.PROBLEMS)
            if not self._warned:
                self._warn("not played", error)
                self._warned = True
        else:
            if isinstance(frame, AudioFrame):
                self._accept(row, frame, self._plays_until(playout))
                self._accepted += frame.duration
        row.add(Count.DONE)
        for request in self._flushes:
            request.seconds += self._clear() if self._precedes(frame.sequence, request) else 0.0
        self._serve_drains(playout, frame.sequence + 1)

    async def _give(self, playout: Playout, frame: MediaFrame) -> bool:
        """Whether the source has taken it; of a data track it may not, before it is too old."""
        reader = self._readers[0]
        try:
            if isinstance(frame, DataTrackFrame) and isinstance(reader, LiveReader):
                left = (frame.received_ns + reader.max_age_ns - self._clock()) / 1e9
                return await _played_within(left, playout, frame)
            await playout.play(frame)
            return True
        finally:
            if not self._readers:  # closed by force meanwhile: all is counted
                raise asyncio.CancelledError

    def _without_surplus(self, playout: Playout, frame: MediaFrame) -> MediaFrame | None:
        """The frame of a live track without the sound that would only stand in the source before
        all that follows; None if nothing is left of it."""
        if not (isinstance(frame, AudioFrame) and isinstance(self._readers[0], LiveReader)):
            return frame
        now = self._clock() / 1e9
        is_quiet = partial(_is_quiet, frame)
        seconds = self._standing.surplus(frame.duration, playout.queued(), now, is_quiet)
        if seconds == 0.0:
            return frame
        samples = frame.samples[round(seconds * frame.sample_rate) :]
        return frame.replace(samples=samples) if len(samples) else None

    def _lose(self, frame: Frame, row: Row) -> None:
        row.add(Count.LOST)
        if isinstance(frame, AudioFrame):
            # As if it were the last to be played; `_clear` takes away what was not.
            ends = max(row.get(Count.PLAYED_UNTIL_NS), self._clock()) + int(frame.duration * 1e9)
            self._accept(row, frame, ends)

    @staticmethod
    def _accept(row: Row, frame: AudioFrame, ends: int) -> None:
        # The samples last: a look in between finds too little played rather than too much.
        row.set(Count.PLAYED_UNTIL_NS, ends)
        row.add(Count.PLAYED, len(frame.samples))

    def _precedes(self, sequence: int, request: Request) -> bool:
        """Whether the frame of that number, in the lane that is read now, was sent before the
        request. Numbers begin anew in each lane."""
        if self._readers[0] is request.lane:
            return sequence < request.sequence
        return request.lane in self._readers

    def _clear(self) -> float:
        playout = self._playout
        if playout is None or not self._readers:
            return 0.0
        seconds = playout.clear()
        row = self._readers[0].row
        row.add(Count.CLEARED, round(seconds * self.track.sample_rate))  # first, as in `_accept`
        # Some of it may be beyond recall, and plays still.
        row.set(Count.PLAYED_UNTIL_NS, self._plays_until(playout))
        return seconds

    def _plays_until(self, playout: Playout) -> int:
        queued = int(playout.queued() * 1e9)  # before the clock: rather too late than too early
        return self._clock() + queued

    def _serve_flushes(self) -> None:
        flushes, self._flushes = self._flushes, []
        for request in flushes:
            while (frame := self._take()) is not None:
                if not self._precedes(frame.sequence, request):
                    self._next = frame
                    break
                if isinstance(frame, AudioFrame):
                    request.seconds += frame.duration
                self._readers[0].row.add(Count.DROPPED_FLUSHED)
            request.answer(request.number, request.seconds)

    def _serve_drains(self, playout: Playout, handled: int | None = None) -> None:
        """Begin to answer the drains that wait for frames below ``handled``; all of them when the
        lane is empty, for the frames that they wait for may be among those that a live lane has
        dropped."""
        due = [r for r in self._drains if handled is None or not self._precedes(handled, r)]
        for request in due:
            self._drains.remove(request)
            task = self._loop.create_task(self._until_played(playout, self._accepted))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            # Also when the track ends first, before the task has begun: no request is left waiting.
            task.add_done_callback(partial(self._answer, request))

    @staticmethod
    def _answer(request: Request, _: object) -> None:
        request.answer(request.number, 0.0)

    async def _until_played(self, playout: Playout, accepted: float) -> None:
        """Wait until the first ``accepted`` seconds that the source has taken are played, whatever
        came later."""
        while left := self._left(playout, accepted):
            await asyncio.sleep(left)

    def _left(self, playout: Playout, accepted: float) -> float:
        """Seconds until the first ``accepted`` seconds are played; 0.0 if they are."""
        queued = playout.queued()
        left = accepted - (self._accepted - queued)
        return left if min(queued, left) > PLAYED_MARGIN else 0.0

    def close(self) -> None:
        super().close()
        for request in self._flushes:
            request.answer(request.number, request.seconds)
        self._flushes.clear()


async def _played_within(seconds: float, playout: Playout, frame: MediaFrame) -> bool:
    """Whether the source takes the frame in that time; at once, if there is none."""
    try:
        async with asyncio.timeout(max(seconds, 0.0)) as limit:
            await playout.play(frame)
    except TimeoutError:
        if not limit.expired():  # the provider's own
            raise
        return False
    return True


def _is_quiet(frame: AudioFrame) -> bool:
    samples = frame.samples
    return bool(samples.max() <= QUIET and samples.min() >= -QUIET)
