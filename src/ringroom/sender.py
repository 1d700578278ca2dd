"""All that sends and asks, of a transport and of a pool: the synchronous side.

It waits; the session behind it does not. Any number of threads may use one: a track has one writer
at a time (a second one gets `BusyError`), and no thread holds a lock while it waits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

from ringroom.audio_out import AudioOut
from ringroom.checks import check_rate
from ringroom.events import Participant, TrackInfo
from ringroom.faces import handover
from ringroom.faces.closing import Closing, leave
from ringroom.faces.connection import Connection
from ringroom.faces.face import Steps
from ringroom.faces.sending import SendingFace
from ringroom.frames import Frame, VideoFrame
from ringroom.link import Link
from ringroom.options import PublishOptions
from ringroom.processes.hosts import REAP_SECONDS
from ringroom.processes.waiting import Deadline
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
    name_of,
    name_to_mute,
)
from ringroom.text_out import TextOut

T = TypeVar("T")

__all__ = ["Sender"]


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
        self._connection.opened = True
        if self._connection.closed:  # by another thread, which found nothing to close yet
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
        `ConfigurationError` for an invalid ``publish`` or timeout, or a ``publish`` other than the
        track has, `StartupError` when no memory, descriptors or rows for statistics are left,
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
        self._check_call("send_text")
        self.send(as_text(text, topic, to, attributes), timeout=timeout)

    def open_text(
        self,
        *,
        topic: str = "",
        to: Collection[str] = (),
        attributes: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> TextOut:
        """A text that is written in a ``with`` block (`TextOut.write`), as a model gives its
        tokens: the others see it begin, grow, and end with the block. In order with messages. Up to
        200,000 bytes of UTF-8, attributes 12,000; at most 64 at a time. The beginning, each piece
        and the end count as a message each, and each waits as `send_data` does, for ``timeout``
        seconds at most.

        If the block raises, the others are told that the text is unfinished; and so they are when
        the connection is lost and made anew (one that resumes goes on), or the I/O process dies: an
        event tells of that (``DATA_FAILED``), and what is still written to it is lost, counted.

        Raises as `send_text` does; `BusyError` for one too many, as it is entered.
        """
        pieces = self._text_pieces(topic, to, attributes)
        return TextOut(pieces, partial(self.send, timeout=timeout), self._end_text)

    def send_dtmf(self, digits: str, *, timeout: float | None = None) -> None:
        """Send the digits of a telephone (0123456789*#ABCD), a `DtmfFrame` for each, in order with
        messages; LiveKit SIP plays them to those who have called or were called. Waits and raises
        as `send_data` does: `FrameError` before anything is sent, `TimeoutError` says how many were
        taken; `ConfigurationError` where the provider has no DTMF."""
        self._check_call("send_dtmf")
        frames = as_digits(digits)
        self._check_open()
        limit = Deadline(self._connection.machine, timeout, "a digit was not taken")
        self._finish(self._digits_steps(frames), limit)

    def send_file(
        self,
        payload: Content,
        *,
        topic: str = "",
        name: str = "",
        mime_type: str | None = None,
        to: Collection[str] = (),
        attributes: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Send a file with a name and attributes, as LiveKit's clients exchange them (byte
        streams), in order with messages: bytes, or a path that is read, whose last part is then the
        ``name``. ``mime_type`` None is guessed from the name. Up to 8 MiB, attributes 12,000 bytes.
        It goes out in pieces, and messages sent after it wait until it is out; sound does not.
        Waits and raises as `send_data` does; `OSError` where the path cannot be read,
        `ConfigurationError` where the provider has no files."""
        self._check_call("send_file")
        self.send(as_file(payload, topic, to, attributes, name, mime_type), timeout=timeout)

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
        of it or raises. Raises `ClosedError`, and `FrameError` for an invalid name or rate."""
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

        Raises `ClosedError`, also when the room has ended, `FrameError` for an invalid name,
        `ConfigurationError` for an invalid timeout, `TimeoutError` (it may be thrown away later),
        `StartupError` when no descriptors are left, and what has ended the session by itself (as
        `send` does).
        """
        self._check_open()
        limit = Deadline(self._connection.machine, timeout, "no answer to flush")
        return self._finish(self._flush_steps(track), limit)

    def wait_playout(
        self, track: str | TrackInfo | None = None, timeout: float | None = None
    ) -> None:
        """Wait until all that was sent on the track (None: on all tracks, and all messages) is
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
        ever. It holds for the name, whichever worker sends on it, before its first frame and
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

    def allow_subscribers(
        self,
        who: Collection[str] | None,
        *,
        track: str | TrackInfo | None = None,
        timeout: float | None = None,
    ) -> None:
        """Say who may hear and see what we publish: these identities (none: nobody) or, for None,
        everybody, as it is at first. With ``track`` that holds for our track of that name, also
        before its first frame and when it is published anew; without, for all of them, also for
        those that had others. It holds wherever the room is joined anew. Returns once the room has
        been told, which then stops giving the track to others.

        Raises `ConfigurationError` for what are no identities, or more than 1,000 (4,000 and 256
        tracks altogether), `FrameError` for what is no track's name, `RoomError` (not_supported by
        the provider), `TimeoutError` (it may be done later), and as `flush` does.
        """
        self._check_open()
        change = allowance(who, track)
        limit = Deadline(self._connection.machine, timeout, "no answer to who may subscribe")
        self._finish(self._subscriber_steps(change), limit)

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
        an invalid timeout, `StartupError` when no descriptors are left, and what has ended the
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
        self._check_call("call")
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
