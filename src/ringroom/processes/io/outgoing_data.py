"""Our messages in the I/O role: from their lane to the provider, one after the other.

When the room is lost, the one that is under way is lost, counted; those in the lane wait for the
next room. None is tried twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ringroom.errors import RingroomError, RoomError, WireError
from ringroom.frames import DataFrame
from ringroom.lanes.reliable import ReliableReader
from ringroom.lanes.statistics import Count
from ringroom.processes.io.outbound import GONE, Answer, Request, Retire, bury, end_stay, is_gone
from ringroom.processes.io.wire import as_ours
from ringroom.providers.provider import Provider


class OutgoingData:
    """The messages that one side sends, in order, to the provider."""

    def __init__(
        self,
        reader: ReliableReader,
        on_failed: Callable[[RingroomError], None],
        retire: Retire,
    ) -> None:
        self._reader = reader
        self._on_failed = on_failed
        self._retire = retire
        self._loop = asyncio.get_running_loop()
        self._readable = asyncio.Event()
        self._stay: asyncio.Timeout | None = None
        self._drains: list[Request] = []
        self._handled = 0
        self._closing = False
        self._loop.add_reader(reader.fileno(), self._wake)

    def finish(self) -> None:
        """Nothing more will be written: end when the lane is empty."""
        self._closing = True
        self._readable.set()

    def _wake(self) -> None:
        self._reader.absorb()
        self._readable.set()

    def drain(self, number: int, sequence: int, answer: Answer) -> None:
        """Answer when the messages before number ``sequence`` were given to the network."""
        self._drains.append(Request(number, sequence, answer))
        self._readable.set()

    def interrupt(self) -> None:
        """The room is lost: `run` ends. What is in the lane waits for the next room."""
        end_stay(self._stay, self._loop)

    async def run(self, provider: Provider) -> bool:
        """Send until cancelled; after `finish` until all is sent, True; or until the room is lost,
        False."""
        try:
            async with asyncio.timeout(None) as stay:
                self._stay = stay
                return await self._send_all(provider)
        except TimeoutError:
            if not stay.expired():
                raise
            return False
        finally:
            self._stay = None

    async def _send_all(self, provider: Provider) -> bool:
        while True:
            self._readable.clear()
            self._answer_drains()
            try:
                frame = self._reader.receive_nowait()
            except WireError as error:
                self._on_failed(error)
                return True
            if isinstance(frame, DataFrame):
                if not await self._send(provider, frame):
                    return False
            elif frame is None:
                if self._closing:
                    return True
                await self._readable.wait()

    async def _send(self, provider: Provider, frame: DataFrame) -> bool:
        """Whether the room is still there."""
        gone = False
        try:
            await provider.send_data(frame)
        except asyncio.CancelledError:
            if self._is_closed:
                raise
            # Whether it arrived nobody knows.
            self._reader.row.add(Count.LOST)
            self._handled = frame.sequence + 1
            self._on_failed(RoomError("the room was lost while a message was sent", reason=GONE))
            raise
        except Exception as error:  # noqa: BLE001 (a provider may raise anything; it is told)
            if self._is_closed:
                return False
            self._reader.row.add(Count.PROBLEMS)
            self._on_failed(as_ours(error))
            gone = is_gone(error)
        if self._is_closed:
            return False
        self._reader.row.add(Count.DONE)
        self._handled = frame.sequence + 1
        return not gone

    @property
    def _is_closed(self) -> bool:
        """By force, while a message was under way: all is counted."""
        return self._reader.fileno() < 0

    def _answer_drains(self) -> None:
        for request in [r for r in self._drains if r.sequence <= self._handled]:
            self._drains.remove(request)
            request.answer(request.number, 0.0)

    def close(self) -> None:
        """Idempotent; after `run` has ended."""
        if self._reader.fileno() >= 0:
            self._loop.remove_reader(self._reader.fileno())
            bury(self._reader, self._retire)
        for request in self._drains:
            request.answer(request.number, 0.0)
        self._drains.clear()
