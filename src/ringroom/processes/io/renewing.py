"""Asks the application for a fresh hand-over of the provider's spec, and waits for it."""

from __future__ import annotations

import asyncio

from ringroom import messages as m
from ringroom.errors import RoomError
from ringroom.link import Link, close_descriptors
from ringroom.processes.io.loop_link import LoopLink

__all__ = ["Renewing"]

Renewal = tuple[bytes, tuple[int, ...]]
"""The pickled spec, and its descriptors."""


class Renewing:
    """Owns the link. One question at a time; what answers an earlier one is thrown away."""

    def __init__(self, fd: int) -> None:
        self._wire = LoopLink(Link.attach(fd), self._on_message, self._gone)
        self._number = 0
        self._answer: asyncio.Future[Renewal] | None = None

    async def ask(self, seconds: float) -> Renewal:
        """A fresh hand-over; its descriptors are the caller's.

        Raises what the hand-over raised, and `RoomError` (timeout) when it took too long.
        """
        if self._wire.closed:
            raise RoomError("the application hands nothing over any more", reason="disconnected")
        self._number += 1
        answer = self._answer = self._future()
        self._wire.send(m.Renew(request=self._number))
        try:
            async with asyncio.timeout(seconds):
                await asyncio.wait([answer])
        except BaseException as error:
            if answer.done() and answer.exception() is None:
                close_descriptors(answer.result()[1])
            if not isinstance(error, TimeoutError):
                raise
            raise RoomError(
                f"the token was not minted within {seconds:g} s", reason="timeout"
            ) from None
        finally:
            self._answer = None
        return answer.result()

    @staticmethod
    def _future() -> asyncio.Future[Renewal]:
        return asyncio.get_running_loop().create_future()

    def _on_message(self, message: m.Message, descriptors: tuple[int, ...]) -> None:
        answer, self._answer = self._answer, None
        request = getattr(message, "request", None)
        if answer is None or answer.done() or request != self._number:
            self._answer = answer
        elif isinstance(message, m.Renewed):
            answer.set_result((message.blob, descriptors))
            return
        elif isinstance(message, m.NotRenewed):
            answer.set_exception(m.error_from_json(message.error))
        close_descriptors(descriptors)

    def _gone(self) -> None:
        if self._answer is not None and not self._answer.done():
            error = RoomError("the application hands nothing over any more", reason="disconnected")
            self._answer.set_exception(error)

    def close(self) -> None:
        """Idempotent."""
        self._wire.close()
