"""The synchronous face: a transport that an application pulls frames from and pushes frames to.

It waits; the session behind it does not. Any number of threads may use one transport: a kind of
frame has one reader and a track one writer at a time (a second one gets `BusyError`), and no thread
holds a lock while it waits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from ringroom.checks import check_rate
from ringroom.errors import (
    ClosedError,
)
from ringroom.events import Participant, TrackInfo
from ringroom.faces import handover
from ringroom.faces.closing import Closing, leave
from ringroom.faces.connection import Connection, configured
from ringroom.faces.face import Steps
from ringroom.faces.receiving import ReceivingEnd, wanted_kinds
from ringroom.faces.recovery import LEFT_BEHIND_SECONDS, RecoveryThread
from ringroom.faces.sending import SendingFace
from ringroom.frames import Frame, Item, VideoFrame
from ringroom.link import Link
from ringroom.option_checks import as_identities, check_timeout
from ringroom.options import PublishOptions, TransportConfig
from ringroom.processes.hosts import REAP_SECONDS, Where
from ringroom.processes.waiting import Deadline
from ringroom.profile import change_of
from ringroom.providers.provider import ProviderSpec
from ringroom.rpc import OutgoingCall
from ringroom.sessions.filling import blank
from ringroom.sessions.inbox import Inbox
from ringroom.sessions.sendable import as_message, as_text, name_of, name_to_mute
from ringroom.stream import AudioOut
from ringroom.system import interrupts_at_the_end

T = TypeVar("T")

__all__ = [
    "AudioOut",
    "Receiver",
    "Sender",
    "Transport",
    "transport",
]


def transport(
    provider: str | ProviderSpec,
    config: TransportConfig | None = None,
    *,
    io: Where = "process",
    **options: Any,
) -> Transport:
    """Open a transport: ``transport("livekit", url=..., token=..., room="voice-room")``.

    ``provider`` is a registered name, or a spec such as ``ringroom.LiveKit(...)``. ``options`` are
    those of the provider (url, token, room, e2ee_key) and of `SessionOptions` (sample_rate=16000,
    channels=1, kinds=("audio",), participants, tracks, frame_ms=20, max_age=0.2, publish). ``io``
    says where the connection lives: its own ``"process"``, a ``"thread"``, or a shared `IOProcess`.

    Returns when the room is joined. Raises `ConfigurationError` (before anything is started, but
    for what the token or the SDK's version shows), `StartupError`, `RoomError` (unauthorized,
    unreachable, timeout), `LostProcessError`, or `TimeoutError` for an I/O process that says
    nothing for ``connect_timeout`` and 10 s.
    """
    return Transport(Connection(provider, configured(provider, config, options), io)).open()


class Sender(SendingFace):
    """What a transport and a pool have in common: all that sends."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._closing = Closing(connection.machine)

    @property
    def _closing_seconds(self) -> float:
        """How many seconds closing takes at most."""
        return self._connection.leaving_seconds + handover.CLOSE_SECONDS + REAP_SECONDS

    def _connect(self, readers: Sequence[Link] = ()) -> None:
        connection = self._connection
        connection.open(readers)
        self._opened = True
        if self._closed:  # by another thread, which found nothing to close yet
            connection.close()
        what = f"{connection.spec.name}: no connection"
        limit = Deadline(connection.machine, connection.joining_seconds, what)
        self._finish(self._until(lambda: connection.session.joined), limit)

    def send(
        self,
        frame: Frame,
        *,
        publish: PublishOptions | None = None,
        timeout: float | None = None,
    ) -> None:
        """Send a frame on its track (`audio` or `video` when it names none), opened by first use
        with the options given there. Waits until a new track is published, and while a ``speech``
        track is full. Once the room has ended there is nobody to send to: the frame is dropped
        until every receiver has come to its end, and then it is `ClosedError` (`ended` tells).

        Raises `ClosedError`, `BusyError` (another thread or process sends on the track),
        `FrameError`, `RoomError` (publish_refused), `TimeoutError` (it says how much was taken),
        `ConfigurationError` for ``publish`` or a timeout that are none, or a ``publish`` other than
        the track has, `StartupError` when no memory, descriptors or rows for statistics are left,
        and what has ended the session by itself: `LostProcessError`, `RoomError`, `StartupError`,
        `WireError`.
        """
        self._check_open()
        limit = Deadline(self._connection.machine, timeout, "the frame was not taken")
        self._finish(self._send_steps(frame, publish), limit)

    def send_nowait(self, frame: Frame, *, publish: PublishOptions | None = None) -> None:
        """As `send`, but raises `WouldBlock` where that would wait; then nothing was taken. A
        ``speech`` track holds some 2 s: with more at once, `send` always would wait."""
        self._check_open()
        with self._connection.lock:
            lane = self._lane_for(frame, publish)
            if lane is None:
                return
            self._connection.outgoing.send_nowait(lane, frame)

    def send_data(
        self,
        payload: bytes | str,
        *,
        topic: str = "",
        reliable: bool = True,
        to: Collection[str] = (),
        timeout: float | None = None,
    ) -> None:
        """Send a message (text as UTF-8) to everyone, or to the identities in ``to``. Waits while
        there is no room for it. Raises as `send` does; of a message that the room refuses an event
        tells (``DATA_FAILED``)."""
        self.send(as_message(payload, topic, reliable, to), timeout=timeout)

    def send_text(
        self,
        text: str,
        *,
        topic: str = "",
        to: Collection[str] = (),
        attributes: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Send a text with attributes, as LiveKit's frontends receive them (text streams: topics
        ``lk.chat``, ``lk.transcription``), in order with messages. Up to 200,000 bytes of UTF-8,
        attributes 12,000. Waits and raises as `send_data` does; `ConfigurationError` where the
        provider has no texts."""
        self._check_texts()
        self.send(as_text(text, topic, to, attributes), timeout=timeout)

    @contextlib.contextmanager
    def fill_video(
        self,
        width: int,
        height: int,
        *,
        track: str | TrackInfo | None = None,
        publish: PublishOptions | None = None,
        timeout: float | None = None,
    ) -> Iterator[VideoFrame]:
        """A picture to be filled in a ``with`` block, and sent at its end; not if the block raises.
        Where that can be had, its memory is the ring from which the I/O process gives it to
        LiveKit, so that this process never copies it.

        ``data`` (uint8, I420; `VideoFrame.planes` gives its views) holds anything at first, and is
        not to be touched after the block; ``rotation`` and ``timestamp_us`` may be set. Until then
        the track has no other writer. Waits and raises as `send` does, ``timeout`` seconds before
        the block and after it.
        """
        self._check_open()
        form = blank(width, height, track)
        limit = Deadline(self._connection.machine, timeout, "the track was not published")
        filling = self._finish(self._fill_steps(form, publish), limit)
        try:
            yield filling.frame
            rest = self._send_filled(filling)
        finally:
            self._end_filling(filling)
        if rest is not None:
            self.send(rest, publish=publish, timeout=timeout)

    def audio_out(
        self, track: str | TrackInfo | None = None, *, sample_rate: int | None = None
    ) -> AudioOut:
        """A raw binary stream: what is written is sent as PCM, interleaved int16 of the
        transport's channels, and of ``sample_rate`` Hz (None: the transport's). A write takes all
        of it or raises. Raises `ClosedError`, and `FrameError` for what is no name of a track or no
        rate."""
        self._check_open()
        if track is not None:
            name_of(track)
        options = self._connection.options
        rate = options.sample_rate if sample_rate is None else check_rate(sample_rate)
        return AudioOut(self.send, track, rate, options.channels)

    def flush(self, track: str | TrackInfo | None = None, *, timeout: float | None = 5.0) -> float:
        """Throw away sound that was sent up to this call and not yet played (of one track, or of
        all), and the rest of what another thread is sending; later sends survive. The seconds
        thrown away. A `TrackInfo` names the track that answers it, here and where a track is named
        elsewhere.

        Raises `ClosedError`, also when the room has ended, `FrameError` for what is no name of a
        track, `ConfigurationError` for what is no timeout, `TimeoutError` (it may be thrown away
        later), `StartupError` when no descriptors are left, and what has ended the session by
        itself (as `send` does).
        """
        self._check_open()
        limit = Deadline(self._connection.machine, timeout, "no answer to flush")
        return self._finish(self._flush_steps(track), limit)

    def wait_playout(
        self, track: str | TrackInfo | None = None, timeout: float | None = None
    ) -> None:
        """Until all that was sent on the track (None: all that was sent at all, messages too) is
        played.

        Raises as `flush` does, `TimeoutError` if it is not played in time, and what made a track
        fail (`RoomError`, `BusyError`) if no call has raised it yet; the others have played then.
        """
        self._check_open()
        limit = Deadline(self._connection.machine, timeout, "not played out")
        self._finish(self._playout_steps(track), limit)

    def unpublish(
        self, track: str | TrackInfo | None = None, *, timeout: float | None = None
    ) -> None:
        """End a track of ours (None: the default one): waits until what was sent on it is played
        and it is unpublished. The next frame under its name publishes it anew.

        Raises `ConfigurationError` when no track of ours has that name, `BusyError` when another
        thread sends on it, `TimeoutError` (it may end later), and as `wait_playout` does.
        """
        self._check_open()
        limit = Deadline(self._connection.machine, timeout, "the track has not ended")
        self._finish(self._unpublish_steps(track), limit)

    def mute(self, track: str | TrackInfo | None = None, *, timeout: float | None = None) -> None:
        """Mute a track of ours (None: the default one): the others are told, and hear and see
        nothing of it, at once, also of what was sent before; what is sent is taken and counted as
        ever. It holds for the name, whoever of the pool sends on it, before its first frame and
        wherever it is published anew, until `unmute` or `unpublish`. Returns when it is done.

        Raises `RoomError` (not_supported by the provider), `TimeoutError` (it may be done later),
        and as `flush` does.
        """
        self._set_muted(track, True, timeout)

    def unmute(self, track: str | TrackInfo | None = None, *, timeout: float | None = None) -> None:
        """Unmute a track of ours (None: the default one), muted by `mute` or by the server: what is
        sent afterwards is heard. Returns when it is done, and raises as `mute` does."""
        self._set_muted(track, False, timeout)

    def _set_muted(self, track: str | TrackInfo | None, muted: bool, timeout: float | None) -> None:
        self._check_open()
        name = name_to_mute(track)
        limit = Deadline(self._connection.machine, timeout, "no answer to what was muted")
        self._finish(self._mute_steps(name, muted), limit)

    def set_profile(
        self,
        *,
        name: str | None = None,
        metadata: str | None = None,
        attributes: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Change what the others are told of us: what is given, of ``attributes`` those that are
        named; an empty value takes one away, the others stay. Waits until the room has done it. It
        holds for this transport or pool: wherever it joins anew, all of it is told again.

        A name has 1 to 256 bytes, metadata 1 to 524,288; all attributes that are set have 65,536
        together. Raises `ConfigurationError` for other values, `RoomError` (profile_refused:
        a token needs the grant ``canUpdateOwnMetadata``; not_supported by the provider),
        `ClosedError`, `TimeoutError` (it may be done later), and what has ended the session by
        itself (as `send` does).
        """
        self._check_open()
        change = change_of(name, metadata, attributes)
        limit = Deadline(self._connection.machine, timeout, "no answer to what was set of us")
        self._finish(self._profile_steps(change), limit)

    def participants(self, *, timeout: float | None = None) -> tuple[Participant, ...]:
        """Everybody else who is in the room now, sorted by identity, whatever is received of them.
        While the room is joined anew nobody knows: then it waits until it is back, or has ended.

        Raises `ClosedError`, also when the room has ended, `TimeoutError`, `ConfigurationError` for
        what is no timeout, `StartupError` when no descriptors are left, and what has ended the
        session by itself (as `send` does).
        """
        self._check_open()
        limit = Deadline(self._connection.machine, timeout, "nobody has told who is in the room")
        return self._finish(self._people_steps(), limit)

    def call(self, to: str, method: str, payload: str = "", *, timeout: float = 10.0) -> str:
        """Call a method of somebody in the room (LiveKit's RPC), by identity, and wait for the
        answer. Payload and answer have up to 15,360 bytes of UTF-8, the method's name 1 to 64.
        Several threads may call at a time. It is never repeated.

        Raises `ConfigurationError` for other values, `RpcError` when the call is refused or fails
        (``code`` says why), `TimeoutError` when no answer has come within ``timeout`` (0.1 to
        3,600), `RoomError` (disconnected: the connection or the I/O process was lost meanwhile),
        `ClosedError`, and what has ended the session by itself (as `send` does).
        """
        self._check_open()
        self._check_calls()
        call = OutgoingCall(to=to, method=method, payload=payload, timeout=timeout)
        limit = Deadline(self._connection.machine, call.timeout, "no answer to a call")
        try:
            return self._finish(self._call_steps(call), limit)
        except TimeoutError:
            raise call.expired() from None

    def _finish(self, steps: Steps[T], limit: Deadline) -> T:
        """Go through the steps, and wait where they have to; the result."""
        try:
            next(steps)
            with self._connection.waiter() as waiter:
                while True:
                    number = next(steps)
                    if number is not None:
                        fds = (self._connection.session.fileno(), number)
                        if not waiter.wait(fds, limit.remaining()):
                            steps.throw(limit.expired())
        except StopIteration as over:
            result: T = over.value
            return result
        finally:
            steps.close()

    def _leave(self) -> None:
        self._notify()  # calls that wait end before the room is left
        leave(self._connection)


class Transport(Sender):
    """What `transport` gives. A context manager: leaving it normally plays out what was sent
    (`TimeoutError` after ``close_timeout``, closed all the same), leaving it by an exception does
    not."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._recovery: RecoveryThread | None = None

    @property
    def _closing_seconds(self) -> float:
        return super()._closing_seconds + LEFT_BEHIND_SECONDS

    def open(self) -> Self:
        """Connect; called by `transport`. Raises `ClosedError` the second time."""
        self._check_process()
        if self._opened or self._closed:
            raise ClosedError(f"{self._connection.spec.name}: a transport opens once")
        try:
            self._connect()
            if self._connection.can_be_mended:
                self._recovery = RecoveryThread(self._connection)
        except BaseException:
            self.close()
            raise
        return self

    def recv(
        self,
        *,
        kinds: Collection[str] | None = None,
        participants: Collection[str] | None = None,
        timeout: float | None = None,
    ) -> Receiver:
        """Frames (and events, if asked for) as they come, until the room ends.

        ``timeout`` is for each item, in seconds; its `TimeoutError` does not end the iteration.
        Raises `ClosedError` when closed, `BusyError` when another receiver has one of the kinds,
        `ConfigurationError` for no kinds or one that the transport does not receive, and for
        participants or a timeout that are none, `StartupError` when no descriptors are left.
        """
        self._check_open()
        wanted = wanted_kinds(self._connection, kinds)
        timeout = check_timeout(timeout)
        only = None if participants is None else as_identities(participants)
        inbox = None
        with self._connection.lock:
            try:
                with interrupts_at_the_end():
                    inbox = self._connection.session.incoming.open_inbox(wanted, only)
                    return Receiver(self, inbox, timeout)
            except BaseException:  # by Ctrl-C: the caller would have nothing to close
                if inbox is not None:
                    inbox.close()
                raise

    def close(self) -> None:
        """Leave the room. Idempotent, with a deadline; what was sent and not played is lost
        (`wait_playout` first, or leave the ``with`` block normally). Calls that come meanwhile wait
        for the same."""
        if not self._forked:
            self._closing.run(self._shut, self._closing_seconds)

    def _shut(self) -> None:
        try:
            self._closed = True
            if self._recovery is not None:
                self._recovery.close()
            if self._opened:
                self._leave()
        finally:
            if self._opened:
                self._connection.close()

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if exc_type is None and self._plays:
                # If another thread closes it, or the room ends, nothing plays any more.
                with contextlib.suppress(ClosedError):
                    self.wait_playout(timeout=self._connection.options.close_timeout)
        finally:
            self.close()


class Receiver(ReceivingEnd[Transport], Iterator[Item]):
    """Yields frames and events. An iterator object: a `TimeoutError` does not end it.

    One receiver for each kind at a time; it gives its kinds back when it is closed, exhausted or
    collected.
    """

    _over = StopIteration

    def __init__(self, owner: Transport, inbox: Inbox, timeout: float | None) -> None:
        super().__init__(owner, inbox)
        self._timeout = timeout

    def __iter__(self) -> Receiver:
        return self

    def __next__(self) -> Item:
        arrival = self._look()
        if arrival is not None:
            return arrival.item
        connection = self._owner._connection
        limit = Deadline(connection.machine, self._timeout, "nothing received")
        # The waiter has a counter of its own: a thread that closes the inbox while we wait does not
        # close that.
        with connection.waiter() as waiter:
            while (arrival := self._look()) is None:
                if not waiter.wait((self._inbox.fileno(),), limit.remaining()):
                    raise limit.expired()
        return arrival.item

    def close(self) -> None:
        """Idempotent. A thread that waits for the next item gets `StopIteration`."""
        self._close()
