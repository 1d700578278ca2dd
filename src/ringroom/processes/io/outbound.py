"""What the two ways out have in common: that of a track of ours (`outgoing_playout`), and that of
our messages (`outgoing_data`).

Owns the reading ends of its lanes. It lives through losses of the room: `run` serves one stay, and
is called again for the next.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from ringroom import messages as m
from ringroom.errors import RoomError
from ringroom.lanes.live import LiveReader
from ringroom.lanes.reliable import ReliableReader
from ringroom.providers.provider import Provider
from ringroom.system import unwatched

Reader = LiveReader | ReliableReader
Answer = Callable[[int, float], None]
Retire = Callable[[int], None]
"""Told the row of a lane that was drained and buried: nothing here counts in it any more."""
# The reasons of a provider's `RoomError`: we are not in the room any more; we may not publish.
GONE, REFUSED = "disconnected", "publish_refused"


@dataclass(slots=True)
class Request:
    """About all that was sent before frame ``sequence`` of a lane, and in the lanes before it;
    ``answer`` is called once, with ``number`` and seconds of sound."""

    number: int
    sequence: int
    answer: Answer
    lane: Reader
    seconds: float = field(default=0.0)


class Outbound(ABC):
    """One way out: its lanes, the requests about what was sent in them, and its end.

    Where a lane cannot be watched, `StartupError` is raised, and its reader is closed.
    """

    is_track: ClassVar[bool]
    """Whether it is a track of ours, which has a name in the room and outlives its writer."""

    def __init__(self, reader: Reader, retire: Retire) -> None:
        self._readers: list[Reader] = []
        self._retire = retire
        self._loop = asyncio.get_running_loop()
        self._readable = asyncio.Event()
        self._stay: asyncio.Timeout | None = None
        self._drains: list[Request] = []
        self._closing = False
        self._add(reader)

    def _add(self, reader: Reader) -> None:
        try:
            self._loop.add_reader(reader.fileno(), self._wake, reader)
        except OSError as error:
            reader.close()
            raise unwatched(error) from error
        self._readers.append(reader)

    def _wake(self, reader: Reader) -> None:
        reader.absorb()
        self._readable.set()

    def fits(self, message: m.PlayoutOpen) -> bool:
        """Whether `replace` may give it that lane."""
        return False

    def replace(self, reader: Reader) -> None:
        """The writer goes on in this lane; what is in the one before goes out first."""
        self._add(reader)
        self._readable.set()

    @property
    def closing(self) -> bool:
        """Whether `finish` was called: it takes no other lane."""
        return self._closing

    def finish(self) -> None:
        """Nothing more will be written: `run` ends when the lanes are empty, a track's when it is
        played too."""
        self._closing = True
        self._readable.set()

    def flush(self, number: int, sequence: int, answer: Answer) -> None:
        """Throw away what was sent before frame ``sequence``, if it is a track's; answers the
        seconds of sound."""
        answer(number, 0.0)

    def drain(self, number: int, sequence: int, answer: Answer) -> None:
        """Answer when what was sent before frame ``sequence`` has gone out: when messages were
        given to the network, when a track is played."""
        self._drains.append(self._request(number, sequence, answer))
        self._readable.set()

    def _request(self, number: int, sequence: int, answer: Answer) -> Request:
        """About what was sent in the lane that the writer has now."""
        return Request(number, sequence, answer, self._readers[-1])

    def interrupt(self) -> None:
        """The room is lost: `run` ends. Where nothing runs it does nothing. What is in the lanes
        waits for the next room."""
        if self._stay is not None and self._stay.when() is None:  # once
            self._stay.reschedule(self._loop.time())

    async def run(self, provider: Provider, on_ready: Callable[[], None]) -> bool:
        """Serve one stay in the room. Returns True when all is over, False when the room is lost.
        ``on_ready`` is called when what is sent goes out from now on. Raises `RoomError`
        when a track is not published, or no more."""
        try:
            async with asyncio.timeout(None) as stay:
                self._stay = stay
                await self._serve(provider, on_ready)
        except Exception as error:
            if not (stay.expired() or is_gone(error)):
                raise
            return self._lost_room(error)
        finally:
            self._stay = None
        return True

    @abstractmethod
    async def _serve(self, provider: Provider, on_ready: Callable[[], None]) -> None:
        """Serve until all is over. Raises when the room is gone; is cancelled when it is lost."""

    def _lost_room(self, error: Exception) -> bool:
        """Called with what has ended the stay. Returns whether nothing is left for the next one."""
        return False

    def _drop_reader(self) -> None:
        """Close the first lane. What was sent in it and did not go out is lost, counted; so is what
        its writer had counted and not written when it died."""
        reader = self._readers.pop(0)
        self._loop.remove_reader(reader.fileno())
        reader.row.bury()
        reader.close()
        self._retire(reader.row.index)

    def close(self) -> None:
        """Idempotent; after `run` has ended. All requests are answered."""
        while self._readers:
            self._drop_reader()
        for request in self._drains:
            request.answer(request.number, request.seconds)
        self._drains.clear()


def is_gone(error: Exception, *others: str) -> bool:
    """Whether the error says that the room is gone, or that it is for one of the other reasons."""
    return isinstance(error, RoomError) and error.reason in (GONE, *others)
