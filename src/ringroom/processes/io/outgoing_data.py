"""Our messages in the I/O role: from their lane to the provider, one after the other.

When the room is lost, the one that is under way is lost, counted; those in the lane wait for the
next room. None is tried twice. The pieces of a text that is being written are messages, too; the
text itself does not outlive the room (`outgoing_texts`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ringroom.dtmf import DtmfFrame
from ringroom.errors import RingroomError, RoomError, WireError
from ringroom.frames import DataFrame, FileFrame, TextFrame
from ringroom.lanes.reliable import ReliableReader
from ringroom.lanes.statistics import Cell, Count
from ringroom.pieces import TextPiece
from ringroom.processes.io.outbound import GONE, Outbound, Retire, is_gone
from ringroom.processes.io.outgoing_texts import OutgoingTexts
from ringroom.processes.io.provider_errors import as_ours
from ringroom.providers.provider import Provider
from ringroom.rpc import RpcAnswer


class OutgoingData(Outbound):
    """The messages that one side sends, in order, to the provider. ``answer`` takes those that
    answer a call; it raises `RoomError` where nobody waits for that."""

    is_track = False

    def __init__(
        self,
        reader: ReliableReader,
        on_failed: Callable[[RingroomError], None],
        retire: Retire,
        answer: Callable[[RpcAnswer], None],
    ) -> None:
        super().__init__(reader, retire)
        self._on_failed = on_failed
        self._answer = answer
        self._texts = OutgoingTexts(on_failed)
        self._handled = 0

    async def _serve(self, provider: Provider, on_ready: Callable[[], None]) -> None:
        on_ready()
        while not self._is_closed:
            self._readable.clear()
            self._answer_drains()
            try:
                frame = self._readers[0].receive_nowait()
            except WireError as error:
                self._on_failed(error)
                raise  # its writer waits for room in a lane that nobody reads
            if isinstance(frame, DataFrame):
                await self._send(provider, frame)
            elif frame is None and len(self._readers) > 1:  # it was read to its end
                self._drop_reader()
                self._handled = 0
            elif frame is None:
                if self._closing:
                    await self._texts.break_off()
                    return
                await self._readable.wait()

    async def _send(self, provider: Provider, frame: DataFrame) -> None:
        try:
            what = await self._hand_over(provider, frame)
        except asyncio.CancelledError:
            if not self._is_closed:
                # It may have arrived or not.
                self._count(Count.LOST, frame)
                lost = RoomError("the room was lost while a message was sent", reason=GONE)
                self._on_failed(lost)
            raise
        except Exception as error:
            if self._is_closed:
                return
            self._readers[0].row.add(Count.PROBLEMS)
            self._on_failed(as_ours(error))
            self._count(Count.DONE, frame)
            if is_gone(error):
                raise
        else:
            if not self._is_closed:
                self._count(what, frame)

    async def _hand_over(self, provider: Provider, frame: DataFrame) -> Cell:
        """Give the frame to the provider, or an answer to its call. Returns what it counts as."""
        if isinstance(frame, RpcAnswer):
            self._answer(frame)
        elif isinstance(frame, TextPiece):
            if not await self._texts.send(provider, frame):
                return Count.LOST
        elif isinstance(frame, TextFrame):
            await provider.send_text(frame)
        elif isinstance(frame, FileFrame):
            await provider.send_file(frame)
        elif isinstance(frame, DtmfFrame):
            await provider.send_dtmf(frame)
        else:
            await provider.send_data(frame)
        return Count.DONE

    def _lost_room(self, error: Exception) -> bool:
        self._texts.lose()
        return super()._lost_room(error)

    @property
    def _is_closed(self) -> bool:
        """Whether it was closed by force while a message was under way: all is counted then."""
        return not self._readers

    def _count(self, what: Cell, frame: DataFrame) -> None:
        self._readers[0].row.add(what)
        self._handled = frame.sequence + 1

    def _answer_drains(self) -> None:
        for request in tuple(self._drains):
            is_here = request.lane is self._readers[0] and request.sequence <= self._handled
            if is_here or request.lane not in self._readers:  # that one was read to its end
                self._drains.remove(request)
                request.answer(request.number, 0.0)
