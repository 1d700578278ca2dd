"""Our membership in the room: joined, lost and joined anew, or over.

Owns the provider, which is used for one stay. When the room is lost for good (by the provider's
word, or because the connection did not heal within the policy's deadline) the provider is closed,
and another is opened, with a fresh hand-over from the application if there is anything to renew.
Readers, lanes and playouts live through that: see `rooms.RoomSession`, which is told.

    joining --> joined --> away --> joined ...      joining, joined, away --> over
    joining --> refused, the first time

Invariants: of the providers one at most is open; what one says is heard from its `connect` until
that has failed, or until the loss, and never after it; `MembershipRoom.refused` or `over` is called
once, and last, but for the `joined` of a room that has ended while it was being joined.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import dill

from ringroom.errors import ClosedError, RingroomError, RoomError
from ringroom.link import close_descriptors
from ringroom.notices import Notices
from ringroom.options import SessionOptions
from ringroom.processes.io.provider_errors import as_ours, error_text
from ringroom.processes.io.renewing import Renewing
from ringroom.processes.retries import Retries
from ringroom.providers.provider import Joined, Provider, ProviderSpec, Sink

__all__ = ["Membership", "unpickled"]

log = logging.getLogger("ringroom.io")


class MembershipRoom(Sink, Protocol):
    """What is told of it: a `RoomSession`."""

    notices: Notices

    def joined(self, joined: Joined) -> None:
        """We are in the room, for the first time or again."""

    def refused(self, error: RingroomError) -> None:
        """The room was not joined, the first time."""

    def parted(self, reason: str) -> None:
        """We are out of it: whatever was there is gone for us. It may be joined again."""

    def over(self, reason: str, error: RingroomError | None) -> None:
        """It will not be joined again."""


@dataclass(frozen=True, slots=True)
class _Loss:
    reason: str
    error: str


class Membership:
    """See the module's docstring."""

    def __init__(self, room: MembershipRoom, clock: Callable[[], int]) -> None:
        self.hears = False
        """Whether what the provider says counts."""
        self._room = room
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._options = SessionOptions()
        self._retries = self._begin_retries()
        self._spec: ProviderSpec | None = None
        self._name = ""
        """The provider's, once it is open."""
        self._joins_anew = False
        self._renewing: Renewing | None = None
        self._provider: Provider | None = None
        self._joined: asyncio.Future[Provider] = self._future()
        self._loss: asyncio.Future[_Loss | None] = self._future()
        self._deadline: asyncio.TimerHandle | None = None
        self._over = False
        """Whether it will not be joined again: it has ended, or was closed."""

    def _future(self) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._loop.create_future()
        # asyncio complains of an error that nothing has asked for.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        return future

    def renew_over(self, fd: int) -> None:
        """Fresh hand-overs of the spec are to be had there."""
        self._renewing = Renewing(fd)

    def open(
        self, spec: ProviderSpec, options: SessionOptions, descriptors: tuple[int, ...]
    ) -> None:
        """Open the provider, which takes the descriptors over. Raises what it raises."""
        self._spec, self._options = spec, options
        self._name, self._joins_anew = spec.name, spec.joins_anew
        self._retries = self._begin_retries()
        self._provider = spec.open(descriptors)

    def _begin_retries(self) -> Retries:
        # The moment differs among processes that lost one server, and is the same in a simulation.
        return Retries(self._options.reconnect, random.Random(self._clock()).random)  # noqa: S311

    async def provider(self, other_than: Provider | None = None) -> Provider:
        """The open provider, once we are in the room; another than the one given, once we are in
        the next. Raises what the first join was refused with, and `ClosedError` when it is over."""
        while True:
            found = await asyncio.shield(self._joined)
            if found is not other_than:
                return found
            await asyncio.wait([self._loss])

    @property
    def joined_now(self) -> Provider | None:
        """The open provider while we are in the room."""
        if not self._joined.done() or self._joined.exception() is not None:
            return None
        return self._joined.result()

    async def stay(self) -> None:
        """Join, and join again when the room is lost, until it is over."""
        assert self._provider is not None
        seconds = self._options.connect_timeout
        try:
            await self._connect(self._provider, seconds)
        except RingroomError as error:
            self.refuse(error)
            return
        while (loss := await asyncio.shield(self._loss)) is not None:
            if not await self._again(loss):
                return

    def refuse(self, error: RingroomError) -> None:
        """The room cannot be joined."""
        if self._over:  # which is told, or was our own doing
            return
        self._stop_hearing()
        self._joined.set_exception(error)
        self._room.refused(error)

    async def _connect(self, provider: Provider, seconds: float) -> None:
        name = self._name
        self._provider, self.hears, self._loss = provider, True, self._future()
        try:
            # Its own limit comes first, and says more.
            async with asyncio.timeout(seconds + 1):
                joined = await provider.connect(self._room, self._options)
        except TimeoutError:
            raise RoomError(f"{name}: no connection in {seconds:g} s", reason="timeout") from None
        except RingroomError:
            raise
        except Exception as error:
            log.exception("the provider failed to connect")
            raise RoomError(f"{name}: {error_text(error)}") from None
        if self._loss.done() and (loss := self._loss.result()) is not None:
            raise RoomError(loss.error, reason="disconnected")
        if not self._over:
            self.back()
            self._joined.set_result(provider)
        self._room.joined(joined)

    # What the provider says of the connection.

    def lost(self) -> None:
        """The connection is lost, and the provider tries to heal it: not for ever."""
        until = self._retries.lost(self._now())
        if self._deadline is None:
            self._deadline = self._loop.call_later(until - self._now(), self._too_late)

    def back(self) -> None:
        """The connection is there."""
        self._retries.joined(self._now())
        self._forget_deadline()

    def _too_late(self) -> None:
        self._deadline = None
        limit = self._options.reconnect.deadline
        text = f"{self._name}: the connection was lost, and not back within {limit:g} s"
        self.ended("connection lost", text)

    def ended(self, reason: str, error: str) -> None:
        """The room is over by itself, or (``error``) lost by what did not heal."""
        if not self.hears:
            return
        self._stop_hearing()
        if not error or not (self._joins_anew and self._options.reconnect.retries):
            failure = RoomError(error, reason="disconnected") if error else None
            self._end(reason, failure)
            return
        self._retries.lost(self._now())
        if self._joined.done():
            self._joined = self._future()
        self._loss.set_result(_Loss(reason, error))
        self._room.parted(reason)

    def _end(self, reason: str, error: RingroomError | None) -> None:
        self._finish(f"the room has ended: {reason}")
        self._room.over(reason, error)

    def _finish(self, why: str) -> None:
        self._over = True
        self._stop_hearing()
        if self._joined.done():
            self._joined = self._future()
        self._joined.set_exception(ClosedError(why))
        if not self._loss.done():
            self._loss.set_result(None)

    # Joining anew.

    async def _again(self, loss: _Loss) -> bool:
        """Whether we are in the room again."""
        failure: RingroomError | None = None
        while not self._over and (seconds := self._retries.next(self._now())) is not None:
            if not await self._stay_away(seconds):
                return False
            try:
                async with asyncio.timeout(self._retries.lost(self._now()) - self._now()):
                    await self._try()
                return True
            except TimeoutError:
                failure = failure or RoomError("no answer in time", reason="timeout")
            except RingroomError as error:
                failure = error
            self._stop_hearing()
            self._room.notices.tell("joining anew", f"the room was not joined anew: {failure}")
            if getattr(failure, "reason", "") == "unauthorized":
                break
        await self._leave()
        if not self._over:
            self._end(loss.reason, self._given_up(loss, failure))
        return False

    async def _stay_away(self, seconds: float) -> bool:
        """Leave, and wait; whether we may come back then. A close may not have waited for the old
        provider, which let us go only now."""
        due = self._now() + seconds
        await self._leave()
        await asyncio.sleep(max(0.0, due - self._now()))
        return not self._over

    async def _try(self) -> None:
        seconds = self._options.connect_timeout
        spec = self._spec
        assert spec is not None
        descriptors: tuple[int, ...] = ()
        if self._renewing is not None:
            blob, descriptors = await self._renewing.ask(seconds)
        try:
            if self._renewing is not None:
                spec, _ = unpickled(blob)
            provider = spec.open(descriptors)
        except Exception as error:
            close_descriptors(descriptors)
            raise as_ours(error) from error
        await self._connect(provider, seconds)

    def _given_up(self, loss: _Loss, failure: RingroomError | None) -> RingroomError:
        if failure is None:
            return RoomError(loss.error, reason="disconnected")
        if (reason := getattr(failure, "reason", "")) == "unauthorized":
            text = f"{failure}; it was to be joined anew, for: {loss.error}"
            return RoomError(text, reason=reason)
        tries = self._retries.tries
        return RoomError(
            f"{loss.error}; tried to join anew {tries} times, the last time: {failure}",
            reason="disconnected",
        )

    async def _leave(self) -> None:
        """Close the provider of the stay that is over."""
        if self._provider is None:
            return
        try:
            async with asyncio.timeout(self._options.close_timeout):
                await self._provider.close()
        except TimeoutError:
            log.warning("leaving took longer than %s s", self._options.close_timeout)
        except Exception:
            log.exception("the provider failed to close")
        self._provider = None

    async def close(self) -> None:
        """After `stay` has ended, or was cancelled: if it does not let itself be, it joins nothing
        any more, and ends once the provider lets it."""
        if not self._over:
            self._finish("the room was left")
        if self._renewing is not None:
            self._renewing.close()
        provider, self._provider = self._provider, None
        if provider is not None:
            try:
                await provider.close()
            except Exception:
                log.exception("the provider failed to close")

    def _stop_hearing(self) -> None:
        """Whatever the provider says from here on does not count, until another connects."""
        self.hears = False
        self._forget_deadline()

    def _forget_deadline(self) -> None:
        timer, self._deadline = self._deadline, None
        if timer is not None:
            timer.cancel()

    def _now(self) -> float:
        return self._clock() / 1e9


def unpickled(blob: bytes) -> tuple[ProviderSpec, SessionOptions]:
    """What the application has handed over. Only what the process that made us has pickled comes
    here. Raises `RoomError`."""
    try:
        spec, options = dill.loads(blob)  # noqa: S301
    except Exception as error:
        raise RoomError(f"the provider's options do not arrive: {error_text(error)}") from error
    return spec, options
