"""What a processor may do without being asked (`ringroom.processor.Context`), in a worker."""

from __future__ import annotations

import select
import time
from collections.abc import Collection
from typing import TYPE_CHECKING

from ringroom.errors import ClosedError, FrameError
from ringroom.frames import DataFrame, Frame, Kind, TrackInfo
from ringroom.options import Mode

if TYPE_CHECKING:
    from ringroom.outgoing import OutgoingLane
    from ringroom.processes.worker import Worker

FLUSH_SECONDS = 5.0


class WorkerContext:
    """Thread-safe: each call holds the worker's lock, and none waits but `flush`."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    @property
    def worker(self) -> int:
        return self._worker.place

    def send(self, frame: Frame, *, mode: Mode | None = None) -> None:
        self._worker.reply(frame, mode or "speech")

    def send_data(
        self,
        payload: bytes | str,
        *,
        topic: str = "",
        reliable: bool = True,
        to: Collection[str] = (),
    ) -> None:
        if isinstance(to, str):
            raise FrameError(f"to is {to!r}, expected identities in a list")
        raw = payload.encode() if isinstance(payload, str) else payload
        self._worker.reply(DataFrame(raw, topic, reliable=reliable, to=tuple(to)), "speech")

    def flush(self, track: str | TrackInfo | None = None) -> float:
        worker = self._worker
        with worker.lock:
            outgoing, session = worker.outgoing, worker.session
            if outgoing is None or session is None:
                raise ClosedError("the worker is not connected yet")
            lanes = self._lanes(track)
            seconds = sum(worker.forget_backlog(lane) for lane in lanes)
            requests = {outgoing.flush(lane) for lane in lanes}
        end = time.monotonic() + FLUSH_SECONDS
        while requests:
            with worker.lock:
                session.pump()
                session.check_open()
                answered = requests & session.replies.keys()
                seconds += sum(session.replies.pop(request) for request in answered)
                requests -= answered
                fd = session.fileno()
            if requests:
                poller = select.poll()
                poller.register(fd, select.POLLIN)
                if not poller.poll(max(0.0, end - time.monotonic()) * 1000):
                    raise TimeoutError(f"no answer to flush within {FLUSH_SECONDS} s")
        return seconds

    def played(self, track: str | TrackInfo | None = None) -> float:
        with self._worker.lock:
            outgoing = self._worker.outgoing
            if outgoing is None:
                return 0.0
            return sum(outgoing.played(lane) for lane in self._lanes(track))

    def _lanes(self, track: str | TrackInfo | None) -> list[OutgoingLane]:
        name = track.reply_name if isinstance(track, TrackInfo) else track
        outgoing = self._worker.outgoing
        assert outgoing is not None
        lanes = [lane for lane in outgoing.lanes if lane.kind is Kind.AUDIO]
        return [lane for lane in lanes if name is None or lane.name == name]
