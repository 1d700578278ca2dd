"""Hands a provider's spec over to the I/O role: when the connection is opened, and again whenever
the I/O role has lost the room and joins it anew, for a token may have expired meanwhile.

The second is done on a thread of its own, over a link of its own: the application may compute for
as long as it likes, and nothing here touches its session. A spec that travels as it is has nothing
to renew, and needs no such thread.

Ownership: each thread owns its end of the link, and closes it when the far end is closed, by the
session's end, or when `Renewals.close` shuts it down.
"""

from __future__ import annotations

import logging
import threading

from ringroom import messages as m
from ringroom.closeable import join_unless_within
from ringroom.errors import (
    ClosedError,
    ConfigurationError,
    RingroomError,
    RoomError,
    StartupError,
    WireError,
)
from ringroom.link import MAX_DESCRIPTORS, Link, close_descriptors, open_links
from ringroom.options import SessionOptions
from ringroom.processes.machine import Machine
from ringroom.processes.spawning import pickle_by_value
from ringroom.providers.provider import ProviderSpec

__all__ = ["Handed", "Renewals", "hand_over", "pickled_spec"]

log = logging.getLogger("ringroom")

# `close` waits so long for a token function, and then leaves it behind on its thread.
CLOSE_SECONDS = 1.0
# As base64 in a message, beside `connection.MAX_PLACES_BYTES`.
MAX_OPTIONS_BYTES = m.MAX_MESSAGE_BYTES // 2
# One descriptor beside them is that of the statistics table.
MAX_HANDED = MAX_DESCRIPTORS - 1

Handed = tuple[ProviderSpec, tuple[int, ...]]


def hand_over(machine: Machine, spec: ProviderSpec, seconds: float) -> Handed:
    """Call `handover` on a thread with a deadline: a token minter may ask a server.

    Raises what it raises, `RoomError` (timeout), and `StartupError` where no thread is to be had.
    """
    results: list[Handed] = []
    errors: list[BaseException] = []
    lock = threading.Lock()
    late = False

    def call() -> None:
        try:
            handed = spec.handover()
        except BaseException as error:  # noqa: BLE001 (raised again below, on the caller's thread)
            errors.append(error)
            return
        with lock:
            if late:
                close_descriptors(handed[1])
            else:
                results.append(handed)

    try:
        machine.start_thread("ringroom-handover", call).join(seconds)
        with lock:
            late = not results and not errors
        if late:
            raise RoomError(
                f"{spec.name}: the token was not minted within {seconds} s", reason="timeout"
            )
    except BaseException:  # late, or interrupted (Ctrl-C): no caller takes what the thread brings
        with lock:
            late = True
            for handed in results:
                close_descriptors(handed[1])
        raise
    # No calls from here on: Python raises an interrupt as one returns.
    if errors:
        raise errors[0]
    return results[0]


def pickled_spec(handed: Handed, options: SessionOptions) -> bytes:
    """What the I/O role is told to connect with. Raises `ConfigurationError` for what cannot
    travel, or is more than a message takes."""
    spec, descriptors = handed
    blob = pickle_by_value("the provider's options", (spec, options), "give plain values")
    if len(blob) > MAX_OPTIONS_BYTES:
        raise ConfigurationError(
            f"{spec.name}: the options, with what participants= and tracks= refer to, are "
            f"{len(blob)} bytes when pickled, expected at most {MAX_OPTIONS_BYTES}: keep large "
            "values in a file, and give its path"
        )
    if len(descriptors) > MAX_HANDED:
        raise ConfigurationError(
            f"{spec.name}: handover() gave {len(descriptors)} descriptors, expected at most "
            f"{MAX_HANDED}"
        )
    return blob


class Renewals:
    """Answers the I/O role when it asks for a fresh hand-over. Not thread-safe."""

    def __init__(self, machine: Machine, spec: ProviderSpec, options: SessionOptions) -> None:
        self._machine = machine
        self._spec = spec
        self._options = options
        self._answering: _Answering | None = None
        self._thread: threading.Thread | None = None

    def open(self) -> Link:
        """Begin; returns the far end, which the caller sends and closes. Ends the thread from
        before without waiting for it."""
        if self._answering is not None:
            self._answering.stop()
        ours, theirs = open_links()
        self._answering = _Answering(self._machine, ours, self._spec, self._options)
        try:
            self._thread = self._machine.start_thread("ringroom-renewals", self._answering.run)
        except BaseException as error:
            theirs.close()  # which ends the thread, if there is one
            if isinstance(error, StartupError):  # no thread is to be had
                ours.close()
            raise
        return theirs

    def close(self) -> None:
        """Idempotent. Waits a second at most for a token function that is running."""
        answering, self._answering = self._answering, None
        thread, self._thread = self._thread, None
        if answering is not None and thread is not None:
            answering.stop()
            join_unless_within(thread, CLOSE_SECONDS)


class _Answering:
    """What the thread runs. It holds no reference to `Renewals`, which may be dropped."""

    def __init__(
        self, machine: Machine, link: Link, spec: ProviderSpec, options: SessionOptions
    ) -> None:
        self._machine = machine
        self._link = link
        self._spec = spec
        self._options = options
        self._closing = threading.Lock()  # a closed descriptor's number may name another socket

    def stop(self) -> None:
        """Called on another thread: ends this one, as closing the far end does."""
        with self._closing:
            self._link.shut_down()

    def run(self) -> None:
        try:
            self._serve()
        except ClosedError:
            pass
        except (StartupError, WireError) as error:
            log.error("%s: no token is handed over any more: %s", self._spec.name, error)
        finally:
            with self._closing:
                self._link.close()

    def _serve(self) -> None:
        while True:
            self._link.flush()
            self._machine.wait([self._link.fileno()], self._link.patience())
            while (received := self._link.receive_nowait()) is not None:
                self._take(*received)

    def _take(self, message: m.Message, descriptors: tuple[int, ...]) -> None:
        close_descriptors(descriptors)
        if isinstance(message, m.Renew):
            self._answer(message.request)

    def _answer(self, request: int) -> None:
        descriptors: tuple[int, ...] = ()
        answer: m.Message
        try:
            spec, descriptors = self._spec.handover()
            blob = pickled_spec((spec, descriptors), self._options)
            answer = m.Renewed(request=request, blob=blob)
        except BaseException as error:  # noqa: BLE001 (it may even exit; the I/O role is told)
            answer = self._refusal(request, error)
        try:
            self._link.send(answer, descriptors if isinstance(answer, m.Renewed) else ())
        finally:
            close_descriptors(descriptors)

    def _refusal(self, request: int, error: BaseException) -> m.NotRenewed:
        return m.NotRenewed(request=request, error=m.error_to_json(self._ours(error)))

    def _ours(self, error: BaseException) -> RingroomError:
        if isinstance(error, RingroomError):
            return error
        # Not its text: a minter's message may quote the secret that it signs with.
        return RoomError(f"{self._spec.name}: the hand-over raised {type(error).__name__}")
