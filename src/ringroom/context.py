"""What a processor may do beside returning frames. A worker gives it a `Context` (`WorkerContext`),
and so does the test kit's workbench."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from os import PathLike
from typing import Protocol

from ringroom.events import Participant, TrackInfo
from ringroom.frames import Frame, VideoFrame
from ringroom.options import Mode, PublishOptions
from ringroom.text_out import TextOut

__all__ = ["Context"]


class Context(Protocol):
    """What a processor may do beside returning frames: given to `Processor.start`.

    Its methods may be called from any thread of the worker.
    """

    @property
    def worker(self) -> int:
        """The worker's place in the pool, from 0 to ``workers`` - 1; -1 in `Processor.start`, since
        a spare has no place before it takes that of a dead worker."""

    def send(
        self, frame: Frame, *, mode: Mode | None = None, publish: PublishOptions | None = None
    ) -> None:
        """Send a frame on the track it names. Does not wait: what a full track does not take is
        kept and sent when it does (``speech``), or dropped, counted (``live``). ``mode`` is that of
        the track, chosen by its first frame; None is ``speech``, also where replies are ``live``.
        ``publish`` in its place gives a new track options of its own, its mode among them.

        Raises `FrameError`, `ConfigurationError` for an invalid ``mode`` or ``publish``, for both,
        or for a ``publish`` other than the track has, and `ClosedError` in `Processor.start`,
        before there is a room."""

    def send_data(
        self,
        payload: bytes | str,
        *,
        topic: str = "",
        reliable: bool = True,
        to: Collection[str] = (),
    ) -> None:
        """Send a message (text as UTF-8) to everyone, or to the identities in ``to``."""

    def send_text(
        self,
        text: str,
        *,
        topic: str = "",
        to: Collection[str] = (),
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        """Send a text with attributes, as LiveKit's frontends receive them (text streams), to
        everyone, or to the identities in ``to``; up to 200,000 bytes, attributes 12,000. Where the
        provider has no texts, ``DATA_FAILED`` tells."""

    def open_text(
        self,
        *,
        topic: str = "",
        to: Collection[str] = (),
        attributes: Mapping[str, str] | None = None,
    ) -> TextOut:
        """A text that is written in a ``with`` block (`TextOut.write`), as `Pool.open_text` gives
        it; at most 64 at a time in each worker. Nothing of it waits: what has no room yet is kept
        and sent when it has. If the worker dies, the others are told that the text is unfinished,
        and ``DATA_FAILED`` tells; and so it is where the provider has none."""

    def send_dtmf(self, digits: str) -> None:
        """Send the digits of a telephone, as `Pool.send_dtmf` does. Where the provider has no DTMF,
        ``DATA_FAILED`` tells."""

    def send_file(
        self,
        payload: bytes | bytearray | memoryview | PathLike[str],
        *,
        topic: str = "",
        name: str = "",
        mime_type: str | None = None,
        to: Collection[str] = (),
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        """Send a file with a name and attributes, as LiveKit's clients receive them (byte streams),
        to everyone, or to the identities in ``to``: bytes, or a path that is read here, whose last
        part is then the ``name``. ``mime_type`` None is guessed from the name. Up to 8 MiB,
        attributes 12,000 bytes. Raises `FrameError`, and `OSError` where the path cannot be read.
        Where the provider has no files, ``DATA_FAILED`` tells."""

    def fill_video(
        self,
        width: int,
        height: int,
        *,
        track: str | TrackInfo | None = None,
        mode: Mode | None = None,
        publish: PublishOptions | None = None,
    ) -> AbstractContextManager[VideoFrame]:
        """A picture to be filled in a ``with`` block, and sent at its end as `send` does; not if
        the block raises. Where that can be had, its memory is the ring from which the I/O process
        gives it to LiveKit, so that the worker never copies it. More on what it holds and when it
        may be touched: `Transport.fill_video`. Raises as `send` does."""

    def set_profile(
        self,
        *,
        name: str | None = None,
        metadata: str | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        """Change what the others are told of us, as `Pool.set_profile` does; it is that of the
        pool, whichever worker sets it. Does not wait: of a refusal an event tells
        (``PROFILE_FAILED``). Raises `ConfigurationError` for values that no room takes, and
        `ClosedError` in `Processor.start`."""

    def participants(self) -> tuple[Participant, ...]:
        """Everybody else who is in the room now, sorted by identity. Waits for the answer of the
        I/O process, and no longer: while the room is joined anew it is `RoomError` (disconnected).
        Raises `TimeoutError` after 5 s, and `ClosedError` in `Processor.start` and when the room
        has ended."""

    def call(self, to: str, method: str, payload: str = "", *, timeout: float = 10.0) -> str:
        """Call a method of somebody in the room (LiveKit's RPC), and wait for the answer, as
        `Pool.call` does; meanwhile this worker takes nothing, unless another thread of its calls.
        Raises as `Pool.call` does; `RoomError` (not_supported) where the provider has no calls,
        and `ClosedError` in `Processor.start`."""

    def mute(self, track: str | TrackInfo | None = None) -> None:
        """Mute a track of the pool's, as `Pool.mute` does, whichever worker sends on it, also
        before its first frame. A `TrackInfo` names the track that answers it, None the default one.
        Waits until it is done; where the I/O process has died it is done before this worker's
        tracks are heard again. Raises `TimeoutError` after 5 s, `RoomError` (not_supported), and
        `ClosedError` in `Processor.start`."""

    def unmute(self, track: str | TrackInfo | None = None) -> None:
        """Unmute it. Waits and raises as `mute` does."""

    def allow_subscribers(
        self, who: Collection[str] | None, *, track: str | TrackInfo | None = None
    ) -> None:
        """Say who may hear and see what the pool publishes, as `Pool.allow_subscribers` does,
        whichever worker sends on it; a `TrackInfo` names the track that answers it. Waits until the
        room has been told; where the I/O process has died it is told before this worker's tracks
        are heard again. Raises `ConfigurationError`, `FrameError`, `TimeoutError` after 5 s,
        `RoomError` (not_supported), and `ClosedError` in `Processor.start`."""

    def flush(self, track: str | TrackInfo | None = None) -> float:
        """Throw away sound sent on the track and not yet played; the seconds thrown away. A
        `TrackInfo` names the track that answers it, None all tracks of this worker. Waits for the
        answer of the I/O process; raises `TimeoutError` after 5 s."""

    def played(self, track: str | TrackInfo | None = None) -> float:
        """Seconds of the track's sound that were really played; None: of all tracks of this
        worker together. The figure of one track never falls; a track that has ended counts no more.
        """
