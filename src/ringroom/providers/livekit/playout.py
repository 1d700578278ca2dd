"""The way out of sound: a published track of ours, from frames to the SDK's source.

Owns when sound is handed over; what waits for that is in `backlog`. No task of its own: whatever
may have changed something (a frame, an answer, a timer, a flush) calls `_feed`, which does what is
due. Facts about the native source (livekit 1.1.21 to 1.2.1) that it rests on: one capture may be
under way at a time, the next is refused with InvalidState; sound reaches the source after the
request has returned, on a thread; clearing the source ends a capture within 10 ms; the queue's size
must be a multiple of 10 ms, or the native library aborts the process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ringroom.errors import ClosedError, FrameError, RoomError
from ringroom.frames import AudioFrame, MediaFrame
from ringroom.providers.livekit.backlog import Backlog
from ringroom.providers.livekit.line import Line
from ringroom.providers.livekit.media import Capture, SoundSource
from ringroom.providers.livekit.muting import Muting
from ringroom.providers.provider import OutgoingTrack, Playout

__all__ = ["AudioPlayout", "Unpublish", "queue_size_ms", "taken_away"]

_log = logging.getLogger("ringroom.livekit")
Unpublish = Callable[[Playout], Awaitable[None]]
Audience = Callable[[], Coroutine[Any, Any, object]]

# Beyond the time that its queue takes to play: a source that takes nothing for so long is dead.
PATIENCE = 5.0
RETRY_AFTER = 0.01
CLOSING_SECONDS = 1.0
# How long the first words wait for somebody to hear them. Who is in the room may not want to.
AUDIENCE_SECONDS = 1.0
# How long the first words wait once the track is unmuted: a server lets nothing through before it
# knows, and sound may overtake the word that it is told by. On one machine 50 ms of it were lost.
UNMUTED_SECONDS = 0.1


def queue_size_ms(wanted: int) -> int:
    """A size that the native source accepts."""
    return -(-wanted // 10) * 10


class AudioPlayout(Playout):
    """A published audio track. ``audience`` returns when somebody has subscribed to it; speech
    waits for that, for a while: subscribing takes its time, and what plays before is lost."""

    def __init__(
        self,
        track: OutgoingTrack,
        source: SoundSource,
        line: Line,
        unpublish: Unpublish,
        audience: Audience | None = None,
    ) -> None:
        self.track = track
        self.muting = Muting(line, track.muted)
        self.retries = 0
        """How often the source refused a piece that it took later."""
        self._loop = asyncio.get_running_loop()
        self._source = source
        self._line = line
        self._unpublish = unpublish
        self._backlog = Backlog(track.sample_rate, queue_size_ms(track.options.queue_ms) / 1000)
        self._patience = track.options.queue_ms / 1000 + PATIENCE
        self._speech = track.options.mode == "speech"
        self._absent: Audience | None = None
        self._audience: Audience | None = None
        self._audience_until = 0.0
        self.expect(audience)
        self._holding: asyncio.Task[None] | None = None
        self._piece: NDArray[np.int16] = np.zeros((0, track.channels), np.int16)
        self._capture: Capture | None = None
        self._deadline = 0.0
        self._not_before = 0.0
        self._timer: asyncio.Handle | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._room = Pause(self._loop)
        self._clears = 0
        self._overtaken = False
        self._failure: RoomError | None = None
        self._taken = ""
        self._unplayed = 0.0
        self._closed = False

    async def play(self, frame: MediaFrame) -> None:
        sound = self._checked(frame)
        if self._taken or self._line.gone.done():
            self._unplayed += sound.duration  # told by `clear`
        self._line.check()
        self._raise_failure()
        # A copy of 20 ms costs less than to keep the caller's memory alive.
        self._backlog.add(sound.samples.astype(np.int16, copy=True))
        if self._timer is None:
            # In a moment: what the caller has ready goes with it.
            self._timer = self._loop.call_soon(self._timed)
        clears = self._clears
        while self._clears == clears and self._failure is None and not self._taken:
            if self._held():
                self._begin_to_hold()  # what is due may find the line up again, and end no wait
                await self._room.wait()
            elif (seconds := self._backlog.until_room(self._loop.time())) > 0:
                await self._room.wait(seconds)
            else:
                break
        self._raise_failure()

    def expect(self, audience: Audience | None) -> None:
        """The track is new to all: the first words wait for somebody to hear them."""
        self._audience = audience if self._speech else None
        self._audience_until = self._loop.time() + AUDIENCE_SECONDS

    def hold(self, until: Audience) -> None:
        """There may be no track for now: speech waits until that returns."""
        self._absent = until

    def take_away(self, how: str) -> None:
        """The track is gone: who sends on it, now or later, is told. What waits plays to nobody;
        `clear` tells of it."""
        self._taken = how
        self._unplayed = self.clear()
        self.ended(taken_away(self.track, how))

    def mute(self, muted: bool) -> None:
        if self._speech and self._audience is None and self.muting.muted and not muted:
            self._audience = asyncio.Event().wait  # which nobody sets
            self._audience_until = self._loop.time() + UNMUTED_SECONDS
        self.muting.set(muted)
        if muted and not self.muting.is_certain and not self._closed:
            self._source.clear_queue()

    def queued(self) -> float:
        return self._backlog.queued(self._loop.time())

    def clear(self) -> float:
        self._settle()
        thrown = self._unplayed + self._backlog.clear(self._loop.time())
        self._unplayed = 0.0
        self._clears += 1
        self._not_before = 0.0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._holding is not None:
            self._holding.cancel()
            self._holding = None
        if self._capture is not None:
            self._overtaken = True
            self._capture.ask()
        self._room.end()
        if not self._closed:
            self._source.clear_queue()
        return thrown

    async def close(self) -> None:
        if self._closed:
            return
        self.clear()
        self._closed = True
        # The source must not go away under a capture; the clearing ends it in 10 ms.
        until = self._loop.time() + CLOSING_SECONDS
        while self._capture is not None and self._capture.error is None:
            if (left := until - self._loop.time()) <= 0:
                break
            await self._room.wait(left)
        if self._watch is not None:
            self._watch.cancel()
        if self._failure is not None:
            _log.warning("%s", self._failure)
        await self._unpublish(self)
        await self._source.aclose()

    def _checked(self, frame: MediaFrame) -> AudioFrame:
        if self._closed:
            raise ClosedError(f"livekit: track {self.track.name!r} is closed")
        if not isinstance(frame, AudioFrame):
            raise FrameError(f"livekit: a picture for the audio track {self.track.name!r}")
        form = (self.track.sample_rate, self.track.channels)
        if (frame.sample_rate, frame.channels) != form:
            raise FrameError(
                f"livekit: sound of {frame.sample_rate} Hz and {frame.channels} channels for track "
                f"{self.track.name!r}, which has {form[0]} Hz and {form[1]}"
            )
        return frame

    def _raise_failure(self) -> None:
        """What became of sound that was taken is told by the call that waits, or the next."""
        failure, self._failure = self._failure, None
        if self._taken:
            raise taken_away(self.track, self._taken)
        if failure is not None:
            raise failure

    def _held(self) -> bool:
        """Whether the sound waits for something else than its turn."""
        waits = self._absent is not None or self._audience is not None or self._line.lost
        return self._speech and waits

    def _feed(self) -> None:
        """Hand over what is due; called whenever something may have changed."""
        while not self._closed:
            self._settle()
            now = self._loop.time()
            due = self._backlog.until_due(now)
            if due is None or self._holding is not None:
                return
            due = max(due, self._not_before - now)
            if due > 0:
                if self._timer is None:
                    # Two turns later: a sender whose wait for room ends at the same time goes
                    # first, and what it brings goes along.
                    soon = self._loop.call_soon
                    self._timer = self._loop.call_later(due, soon, soon, self._timed)
                return
            if self._held():
                self._begin_to_hold()
                return
            if self._capture is not None:
                self._capture.ask()
                if self._watch is None:  # it was found silent before
                    self._deadline = now + self._patience
                    self._watch_it()
                return
            self._hand_over(now)
        self._room.end()

    def _timed(self) -> None:
        self._timer = None
        self._feed()

    def _begin_to_hold(self) -> None:
        if self._holding is None:
            self._holding = self._loop.create_task(self._hold())

    async def _hold(self) -> None:
        try:
            if (absent := self._absent) is not None:
                await absent()
                self._line.check()
                if self._absent is absent:
                    self._absent = None
            elif (audience := self._audience) is not None:
                await self._wait_for(audience)
                # Not if it was a flush: what is sent next has first words too.
                if self._audience is audience:
                    self._audience = None
            else:
                # The source plays on while the connection is down, to nobody.
                await self._line.up()
        except RoomError as error:
            self._unplayed += self._backlog.clear(self._loop.time())  # told by `clear`
            self._fail(error)
        self._holding = None
        self._room.end()
        self._feed()

    async def _wait_for(self, audience: Audience) -> None:
        waiting = asyncio.create_task(audience())
        try:
            left = max(self._audience_until - self._loop.time(), 0.0)
            await asyncio.wait({waiting}, timeout=left)
        finally:
            waiting.cancel()

    def _hand_over(self, now: float) -> None:
        self._piece = self._backlog.take(now)
        if self.muting.muted:
            self._piece = np.zeros_like(self._piece)
        if not self._not_before:  # not again
            self._deadline = now + self._patience
        if self._watch is None:
            self._watch_it()
        self._capture = self._source.capture(self._piece, self._feed)

    def _settle(self) -> None:
        """See to the answer, if it has come."""
        capture = self._capture
        if capture is None or capture.error is None:
            return
        error, self._capture = capture.error, None
        overtaken, self._overtaken = self._overtaken, False
        if overtaken and not self._closed:
            # It may have reached the source after the clearing did.
            self._source.clear_queue()
        elif not error:
            self._not_before = 0.0
        elif "InvalidState" not in error or "don't match" in error:
            self._fail(RoomError(f"livekit: track {self.track.name!r}: {error}"))
        else:
            self.retries += 1
            self._refused()

    def _refused(self) -> None:
        now = self._loop.time()
        if now >= self._deadline:
            self._fail(self._impatience("refused sound"))
            return
        self._backlog.give_back(self._piece)
        self._not_before = now + RETRY_AFTER

    def _watch_it(self) -> None:
        """One timer for many captures: it looks for one that is not answered."""
        self._watch = self._loop.call_at(self._deadline, self._look)

    def _look(self) -> None:
        self._watch = None
        if self._capture is None or self._capture.error is not None:
            return
        if self._loop.time() < self._deadline:
            self._watch_it()
        else:
            self._fail(self._impatience("took no sound"))

    def _impatience(self, how: str) -> RoomError:
        return RoomError(f"livekit: track {self.track.name!r} {how} for {PATIENCE:.0f} s")

    def _fail(self, error: RoomError) -> None:
        self._failure = error
        self._not_before = 0.0
        self._backlog.clear(self._loop.time())
        self._room.end()


def taken_away(track: OutgoingTrack, how: str) -> RoomError:
    """What is raised for a frame on a track that is gone."""
    return RoomError(f"livekit: track {track.name!r} {how}", reason="publish_refused")


class Pause:
    """A task's wait that others can end. One task at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._over: asyncio.Future[None] | None = None

    async def wait(self, seconds: float | None = None) -> None:
        """Until `end`, or for so long at most."""
        over = self._over = self._loop.create_future()
        timer = None if seconds is None else self._loop.call_later(seconds, _set, over)
        try:
            await over
        finally:
            if timer is not None:
                timer.cancel()

    def end(self) -> None:
        """Who waits goes on; where nobody waits it does nothing."""
        if self._over is not None:
            _set(self._over)


def _set(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)
