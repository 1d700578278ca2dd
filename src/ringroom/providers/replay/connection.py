"""A recording as a `Provider`: one task reads it chunk by chunk and shows it when its time comes.

Times are those between the recorded items, from the first one on. As fast as the reader means: the
next item is shown when all before it have their place in the lanes of their readers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Generator, Mapping

from ringroom.dtmf import DtmfFrame
from ringroom.errors import ClosedError, RoomError
from ringroom.events import Event, EventKind, RoomInfo
from ringroom.frames import DataFrame, FileFrame, TextFrame
from ringroom.options import SessionOptions
from ringroom.providers.provider import (
    Joined,
    OutgoingTrack,
    Playout,
    Profile,
    Provider,
    Sink,
    TextWriter,
)
from ringroom.providers.replay.playout import Discarding, discarding
from ringroom.providers.replay.stage import Stage
from ringroom.recording.reader import Entry, Reader

__all__ = ["ENDED", "ReplayProvider"]

log = logging.getLogger("ringroom.io")

ENDED = "recording ended"


class ReplayProvider(Provider):
    """See the module's docstring."""

    def __init__(self, path: str, joined: Joined, *, speed: float | None, loop: bool) -> None:
        self._path = path
        self._joined = joined
        self._speed = speed
        self._loop = loop
        self._task: asyncio.Task[None] | None = None
        self._playouts: list[Discarding] = []
        self._messages = 0
        self._over = ""
        self._closed = False

    async def connect(self, sink: Sink, options: SessionOptions) -> Joined:
        self._check_open()
        reader = await asyncio.to_thread(Reader, self._path)
        self._check_open()  # a close meanwhile had no task to end
        stage = Stage(sink, options, patient=self._speed is None)
        room = RoomInfo(name=self._joined.room)
        sink.event(Event(kind=EventKind.CONNECTED, received_ns=time.monotonic_ns(), room=room))
        self._task = asyncio.create_task(self._run(reader, stage, sink), name="replay")
        return self._joined

    async def publish(self, track: OutgoingTrack) -> Playout:
        self._check_going_on()
        playout = discarding(track, self._speed)
        self._playouts.append(playout)
        return playout

    async def send_data(self, frame: DataFrame) -> None:
        self._check_going_on()
        self._messages += 1

    async def send_text(self, frame: TextFrame) -> None:
        await self.send_data(frame)

    async def open_text(self, beginning: TextFrame) -> TextWriter:
        await self.send_data(beginning)
        return _TextToNobody(self)

    async def send_dtmf(self, frame: DtmfFrame) -> None:
        await self.send_data(frame)

    async def send_file(self, frame: FileFrame) -> None:
        await self.send_data(frame)

    async def set_profile(self, change: Profile) -> None:
        self._check_going_on()  # it is told to nobody

    async def close(self) -> None:
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        self._stop("closed")
        if self._messages:
            log.debug("replay: %d messages of ours went nowhere", self._messages)
            self._messages = 0

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("replay: transport is closed")

    def _check_going_on(self) -> None:
        self._check_open()
        if self._over or self._task is None:
            why = self._over or "no replay"
            raise RoomError(f"replay: not connected ({why})", reason="disconnected")

    def _stop(self, reason: str) -> None:
        self._over = self._over or reason
        for playout in self._playouts:
            playout.stop("disconnected")
        self._playouts.clear()

    async def _run(self, reader: Reader, stage: Stage, sink: Sink) -> None:
        error = ""
        try:
            while await self._play(reader, stage) and self._loop:
                pass
        except Exception as failure:
            log.exception("the replay failed")
            error = f"replay: {type(failure).__name__}: {failure}"
        self._stop(ENDED)
        sink.ended("failed" if error else ENDED, error=error)

    async def _play(self, reader: Reader, stage: Stage) -> bool:
        """The recording once; whether there was anything in it."""
        pace = _Pace(self._speed)
        empty = True
        batches = reader.batches()
        try:
            while (batch := await _next(batches)) is not None:
                for entry in batch:
                    await pace.until(entry.time_ns)
                    await stage.show(entry.item)
                    empty = False
        finally:
            batches.close()
        if reader.cut:
            log.warning("%s; it was played up to there", reader.cut)
        await stage.clear(ENDED)
        return not empty


async def _next(batches: Generator[list[Entry], None, None]) -> list[Entry] | None:
    """The next chunk, read on a thread: a disk may take its time, media not."""
    reading = asyncio.ensure_future(asyncio.to_thread(next, batches, None))
    try:
        return await asyncio.shield(reading)
    except asyncio.CancelledError:
        await asyncio.wait([reading])  # who closes the file must not do it under the reader
        raise


class _Pace:
    """When an item's time has come."""

    def __init__(self, speed: float | None) -> None:
        self._speed = speed
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._first_ns: int | None = None

    async def until(self, time_ns: int) -> None:
        if self._first_ns is None:
            self._first_ns = time_ns
        seconds = 0.0
        if self._speed is not None:
            due = self._began + (time_ns - self._first_ns) / 1e9 / self._speed
            seconds = max(0.0, due - self._loop.time())
        # Also without a wait: everything else on this loop gets its turn between two items.
        await asyncio.sleep(seconds)


class _TextToNobody(TextWriter):
    """Each piece counts as a message."""

    def __init__(self, provider: ReplayProvider) -> None:
        self._provider = provider

    async def write(self, text: str) -> None:
        await self._provider.send_data(TextFrame(text.encode()))

    async def close(self, reason: str = "", attributes: Mapping[str, str] | None = None) -> None:
        await self._provider.send_data(TextFrame(b""))
