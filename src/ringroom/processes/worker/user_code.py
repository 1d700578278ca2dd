"""The user's processor in a worker: which of its methods is called for what comes in, and what
becomes of what they return or raise.
"""

from __future__ import annotations

from collections.abc import Callable

from ringroom.errors import ClosedError
from ringroom.events import Event, EventKind, TrackInfo
from ringroom.frames import DataFrame, Frame
from ringroom.processes.worker.answering import Answering
from ringroom.processes.worker.context import WorkerContext
from ringroom.processor import Processor, Replies, as_frames, of_track
from ringroom.rpc import RpcCall
from ringroom.sessions.inbox import Arrival, InboundLane

# What LiveKit's SDKs tell a caller then: what was raised is not the caller's business.
HANDLER_RAISED = "Application error in method handler"


class UserCode:
    """Calls the processor, on the worker's thread alone and without the lock. What the processor
    returns is sent as it comes; what it raises is told to the pool, and stops nothing."""

    def __init__(self, processor: Processor, answering: Answering) -> None:
        self._processor = processor
        self._answering = answering
        self._tracks: dict[str, TrackInfo] = {}
        """The tracks that the processor has seen opened, by their sid."""

    def start(self) -> None:
        """Have the processor start. Raises what it raises."""
        self._processor.start(WorkerContext(self._answering))

    def handle(self, arrival: Arrival) -> None:
        """Give the processor what has come: a frame, or an event."""
        item = arrival.item
        if isinstance(item, Event):
            self._handle_event(item, arrival.lane)
            return
        source = None if isinstance(item, DataFrame) else item.track
        if not self._call("process", lambda: self._processor.process(item), source, arrival.lane):
            arrival.problem()
            if isinstance(item, RpcCall):
                self._answer(item.refuse(HANDLER_RAISED), arrival.lane)
        arrival.done()

    def _handle_event(self, event: Event, lane: InboundLane | None) -> None:
        track = event.track
        if self._processor.wants_events:
            self._call("event", lambda: self._processor.event(event), track, lane)
        if track is None or lane is None or lane.track is None:
            return
        if event.kind is EventKind.TRACK_STARTED:
            self._tracks[track.sid] = track
            self._call("open", lambda: self._processor.open(track), track, lane)
        elif event.kind is EventKind.TRACK_ENDED and self._close_track(track):
            self._end_reply(track)

    def _close_track(self, track: TrackInfo) -> bool:
        """Have the processor close the track, if it has it open; whether it had."""
        if self._tracks.pop(track.sid, None) is None:
            return False
        self._call("close", lambda: self._processor.close(track), track, None)
        return True

    def _end_reply(self, track: TrackInfo) -> None:
        """End the track of ours that answered this one, unless it answers another open one, too."""
        if not any(other.reply_name == track.reply_name for other in self._tracks.values()):
            self._answering.end(track.reply_name)

    def close_tracks(self) -> None:
        """Close all tracks that are open. What answers them goes on, to be played out."""
        for track in tuple(self._tracks.values()):
            self._close_track(track)

    def stop(self) -> None:
        """Call the processor for the last time."""
        self._call("stop", self._stop, None, None)

    def _stop(self) -> None:
        try:
            self._processor.stop()
        except ClosedError:
            # What a spare that never had a place, or not yet, would send has nowhere to go.
            if self._answering.replies is not None:
                raise

    def _call(
        self,
        where: str,
        function: Callable[[], Replies],
        source: TrackInfo | str | None,
        lane: InboundLane | None,
    ) -> bool:
        """Send what it returns, as it comes; False, and told, when it raised, or one of the frames
        was not sent."""
        answering, good = self._answering, True
        try:
            for frame in as_frames(function()):
                answering.check_process()
                good = self._answer(of_track(frame, source), lane) and good
        except Exception as error:  # noqa: BLE001 (told to the pool)
            answering.problems.raised(where, error)
            good = False
        answering.check_process()
        return good

    def _answer(self, frame: Frame, lane: InboundLane | None) -> bool:
        try:
            self._answering.reply(frame, self._processor.mode, source=lane)
        except Exception as error:  # noqa: BLE001 (told to the pool; the other replies are sent)
            self._answering.problems.raised("reply", error)
            return False
        return True
