"""All that sends and asks, of a transport and of a pool: as `ringroom.sender`, awaited."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Collection, Mapping
from functools import partial
from typing import ClassVar, TypeVar

from ringroom.errors import BusyError
from ringroom.events import Participant, TrackInfo
from ringroom.faces.awaiting import LoopShare, LoopWaiter, on_thread
from ringroom.faces.connection import Connection
from ringroom.faces.face import Steps
from ringroom.faces.sending import SendingFace
from ringroom.frames import Frame, VideoFrame
from ringroom.options import PublishOptions
from ringroom.profile import change_of
from ringroom.rpc import OutgoingCall
from ringroom.sessions.filling import blank
from ringroom.sessions.sendable import (
    Content,
    allowance,
    as_digits,
    as_file,
    as_message,
    as_text,
    name_to_mute,
)
from ringroom.text_out import AsyncTextOut

T = TypeVar("T")

__all__ = ["Sender"]


class Sender(SendingFace):
    """What a transport and a pool have in common: all that sends, on one event loop."""

    _entered_by = "async with"
    _for_threads: ClassVar[str] = "ringroom.transport"

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._share = LoopShare(connection.machine.now)
        """The share of all calls that send: on a live track they never wait."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        """The one on which the loop ran as it was opened."""

    def _belong_here(self) -> None:
        """From here on belong to the loop that runs now, and to no other."""
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()

    def _check_here(self) -> None:
        """Raises `ClosedError`, and `BusyError` on another loop than the one that opened it."""
        self._check_open()
        self._check_loop()

    def _check_loop(self) -> None:
        loop = self._loop
        if loop is None or loop is asyncio.get_running_loop():
            return
        name = f"{self._connection.spec.name}: this {self._noun} belongs to another event loop"
        if loop.is_closed():
            raise BusyError(f"{name}, which is closed; all that is left here is to close it too")
        raise BusyError(
            f"{name}; call it there (asyncio.run_coroutine_threadsafe), or use "
            f"{self._for_threads}, which any thread may"
        )

    async def send(self, frame: Frame, *, publish: PublishOptions | None = None) -> None:
        """As `ringroom.client.Transport.send`. If cancelled, part of the sound may be taken."""
        self._check_here()
        await self._share.wait()
        self._share.begin()
        await self._finish(self._send_steps(frame, publish))

    async def send_data(
        self,
        payload: bytes | str,
        *,
        topic: str = "",
        reliable: bool = True,
        to: Collection[str] = (),
    ) -> None:
        """As `ringroom.client.Transport.send_data`."""
        await self.send(as_message(payload, topic, reliable, to))

    async def send_text(
        self,
        text: str,
        *,
        topic: str = "",
        to: Collection[str] = (),
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        """As `ringroom.client.Transport.send_text`."""
        self._check_call("send_text")
        await self.send(as_text(text, topic, to, attributes))

    def open_text(
        self,
        *,
        topic: str = "",
        to: Collection[str] = (),
        attributes: Mapping[str, str] | None = None,
    ) -> AsyncTextOut:
        """As `ringroom.client.Transport.open_text`, in an ``async with`` block."""
        pieces = self._text_pieces(topic, to, attributes)
        return AsyncTextOut(pieces, self.send, self._end_text)

    async def send_dtmf(self, digits: str) -> None:
        """As `ringroom.client.Transport.send_dtmf`. If cancelled, some may be taken."""
        self._check_call("send_dtmf")
        for digit in as_digits(digits):
            await self.send(digit)

    async def send_file(
        self,
        payload: Content,
        *,
        topic: str = "",
        name: str = "",
        mime_type: str | None = None,
        to: Collection[str] = (),
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        """As `ringroom.client.Transport.send_file`; a path is read on a thread."""
        self._check_here()
        self._check_call("send_file")
        make = partial(as_file, payload, topic, to, attributes, name, mime_type)
        if isinstance(payload, os.PathLike):
            await self.send(await on_thread(self._connection.machine, "ringroom-file", make))
        else:
            await self.send(make())

    @contextlib.asynccontextmanager
    async def fill_video(
        self,
        width: int,
        height: int,
        *,
        track: str | TrackInfo | None = None,
        publish: PublishOptions | None = None,
    ) -> AsyncIterator[VideoFrame]:
        """As `ringroom.client.Transport.fill_video`, in an ``async with`` block."""
        self._check_here()
        form = blank(width, height, track)
        await self._share.wait()
        self._share.begin()
        filling = await self._finish(self._fill_steps(form, publish))
        try:
            yield filling.frame
            rest = self._send_filled(filling)
        finally:
            self._end_filling(filling)
        if rest is not None:
            await self.send(rest, publish=publish)

    async def flush(self, track: str | TrackInfo | None = None) -> float:
        """As `ringroom.client.Transport.flush`."""
        self._check_here()
        return await self._finish(self._flush_steps(track))

    async def wait_playout(self, track: str | TrackInfo | None = None) -> None:
        """As `ringroom.client.Transport.wait_playout`."""
        self._check_here()
        await self._finish(self._playout_steps(track))

    async def unpublish(self, track: str | TrackInfo | None = None) -> None:
        """As `ringroom.client.Transport.unpublish`. If cancelled, the track may end later."""
        self._check_here()
        await self._finish(self._unpublish_steps(track))

    async def mute(self, track: str | TrackInfo | None = None) -> None:
        """As `ringroom.client.Transport.mute`. If cancelled, it may be done later."""
        self._check_here()
        await self._finish(self._mute_steps(name_to_mute(track), True))

    async def unmute(self, track: str | TrackInfo | None = None) -> None:
        """As `ringroom.client.Transport.unmute`. If cancelled, it may be done later."""
        self._check_here()
        await self._finish(self._mute_steps(name_to_mute(track), False))

    async def allow_subscribers(
        self, who: Collection[str] | None, *, track: str | TrackInfo | None = None
    ) -> None:
        """As `ringroom.client.Transport.allow_subscribers`. If cancelled, it may be done later."""
        self._check_here()
        await self._finish(self._subscriber_steps(allowance(who, track)))

    async def set_profile(
        self,
        *,
        name: str | None = None,
        metadata: str | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        """As `ringroom.client.Transport.set_profile`. If cancelled, it may be done later."""
        self._check_here()
        await self._finish(self._profile_steps(change_of(name, metadata, attributes)))

    async def participants(self) -> tuple[Participant, ...]:
        """As `ringroom.client.Transport.participants`."""
        self._check_here()
        return await self._finish(self._people_steps())

    async def call(self, to: str, method: str, payload: str = "", *, timeout: float = 10.0) -> str:
        """As `ringroom.client.Transport.call`. If cancelled, it may be carried out."""
        self._check_here()
        self._check_call("call")
        call = OutgoingCall(to=to, method=method, payload=payload, timeout=timeout)
        try:
            async with asyncio.timeout(call.timeout):
                return await self._finish(self._call_steps(call))
        except TimeoutError:
            raise call.expired() from None

    async def _finish(self, steps: Steps[T]) -> T:
        """Go through the steps, and await what they have to wait for; the result."""
        try:
            next(steps)
            with LoopWaiter(self._connection) as waiter:
                while True:
                    number = next(steps)
                    if number is not None:
                        await waiter.wait(number)
                    else:
                        await self._share.wait()
                        self._share.begin()
        except StopIteration as over:
            result: T = over.value
            return result
        finally:
            steps.close()
