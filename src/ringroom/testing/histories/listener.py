"""An application that receives all of a history, and reads when it is told.

Nothing depends on real time: a `StillClock` moves only when a step says so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Self

import ringroom
from ringroom.client import Receiver, Transport
from ringroom.events import Event, EventKind, TrackInfo
from ringroom.frames import AudioFrame, DataFrame, VideoFrame
from ringroom.processes.hosts import IOThread
from ringroom.testing import sources
from ringroom.testing.connection import connections
from ringroom.testing.room import FakeRoom
from ringroom.testing.simulation.laws import check_counts

__all__ = ["Listener", "StillClock"]

_FENCE = "fence"
_PATIENCE = 10.0


class StillClock:
    """A room's and a transport's clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000
        self._calls: list[tuple[float, Callable[[], None]]] = []

    def __call__(self) -> int:
        return self.now_ns

    def time(self) -> float:
        return self.now_ns / 1e9

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        self._calls.append((when, callback))

    def advance(self, seconds: float) -> None:
        """Lets that much time pass."""
        self.now_ns += round(seconds * 1e9)
        due = [call for call in self._calls if call[0] <= self.time()]
        self._calls = [call for call in self._calls if call not in due]
        for _, callback in due:
            callback()


class Listener:
    """An application that receives everything, and reads when it is told.

    A context manager. Frames are told as small values: the first sample of sound, the number of a
    test picture, the text of a message.
    """

    def __init__(self, room: FakeRoom, clock: StillClock, max_age: float = 0.2) -> None:
        self.people: set[str] = set()
        """The people in the room, as far as the application was told."""
        self._room = room
        self._clock = clock
        self._max_age = max_age
        self._host = IOThread(clock)
        self._fences = self._passed = 0
        self._losses = 0
        self._messages: list[str] = []
        self._transport: Transport
        self._media: Receiver

    def __enter__(self) -> Self:
        kinds = ("audio", "video", "data", "event")
        self._transport = ringroom.transport(
            "fake",
            room=self._room,
            identity="app",
            io=self._host,
            kinds=kinds,
            max_age=self._max_age,
        )
        self._media = self._transport.recv(kinds=("audio", "video"), timeout=0.0)
        self._guard = self._room.join(_FENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self._transport.close()
        self._host.close()

    def settle(self) -> None:
        """Waits until all that the room has sent so far is there; reads no media."""
        connection = connections(self._room._floor.state, "app")[0]
        if connection.lost:
            self._hear(lambda: self._losses == connection.losses)
            return
        self._fences += 1
        self._guard.send_data(str(self._fences).encode(), topic=_FENCE)
        self._hear(lambda: self._passed == self._fences)

    def _hear(self, enough: Callable[[], bool]) -> None:
        """Reads messages and events until ``enough``, and then what else is there: the two have no
        order between them."""
        for patience in (_PATIENCE, 0.0):
            news = self._transport.recv(kinds=("data", "event"), timeout=patience)
            try:
                while not patience or not enough():
                    self._note(next(news))
            except TimeoutError:
                if patience:
                    raise
            finally:
                news.close()

    def wait(self, seconds: float) -> None:
        """Lets time pass in which nothing is read."""
        self.settle()
        self._clock.advance(seconds)
        ran = threading.Event()
        # Timers run in order: when this one has, all that were due have.
        self._room._floor.wire.call_at(self._clock.time(), ran.set)
        assert ran.wait(_PATIENCE)

    def read(self) -> dict[str, list[int | str]]:
        """Reads all that waits: values by track, and those of messages under ``data``."""
        self.settle()
        found: dict[TrackInfo, list[int | str]] = {}
        last: dict[TrackInfo, int] = {}
        while True:
            try:
                frame = next(self._media)
            except TimeoutError:
                break
            assert isinstance(frame, AudioFrame | VideoFrame)
            track = frame.track
            assert isinstance(track, TrackInfo)
            assert frame.sequence > last.get(track, -1), f"{frame} came out of order"
            last[track] = frame.sequence
            found.setdefault(track, []).append(_value(frame))
        values: dict[str, list[int | str]] = {}
        # A track that was published again under its name follows the one before it.
        for track in sorted(found, key=lambda track: int(track.sid.partition("_")[2])):
            values.setdefault(track.reply_name, []).extend(found[track])
        if self._messages:
            values["data"] = list(self._messages)
            self._messages.clear()
        return values

    def counts(self) -> dict[str, int]:
        """Frames of all media so far: sent into their lanes, done, dropped, lost."""
        lanes = [lane.counts for lane in self._transport.stats().lanes if lane.participant]
        return {
            name: sum(getattr(counts, name) for counts in lanes)
            for name in ("sent", "done", "dropped", "lost")
        }

    def check(self) -> None:
        """What holds at every moment: the law of conservation, and the bound of age."""
        lanes = self._transport.stats().lanes
        check_counts(lanes)
        for lane in lanes:
            assert lane.counts.oldest_ns <= self._max_age * 1e9, f"older than max_age: {lane}"

    def _note(self, item: object) -> None:
        if isinstance(item, DataFrame):
            if item.topic == _FENCE:
                self._passed = int(item.payload)
            else:
                self._messages.append(item.payload.decode())
            return
        assert isinstance(item, Event)
        who = "" if item.participant is None else item.participant.identity
        match item.kind:
            case EventKind.PARTICIPANT_JOINED if who != _FENCE:
                self.people.add(who)
            case EventKind.PARTICIPANT_LEFT:
                self.people.discard(who)
            case EventKind.CONNECTION_LOST:
                self._losses += 1
            case _:
                pass


def _value(frame: AudioFrame | VideoFrame) -> int:
    if isinstance(frame, AudioFrame):
        return int(frame.samples[0, 0])
    return sources.picture_number(frame)
