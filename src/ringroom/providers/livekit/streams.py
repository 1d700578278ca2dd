"""The texts and files that others send in one room: read whole, and told to the `Sink`.

The SDK hands over a reader as soon as one begins, and a native task of its own fills each: of two
texts that are sent one after the other the second may be complete first. So those of one sender
are told in the order in which they began, texts among texts and files among files. One that is
written piece by piece, as somebody speaks, may take minutes, and is not waited for; the SDK tells
its length only at its end.

The SDK breaks off those of a sender that leaves, also in a full reconnection. But not if it has
never told that the sender is there, who came and went within two seconds, say: a look now and then
finds those.

What others can grow is bounded: so many at a time, of so many bytes. All that came while our loop
stood still are begun in one turn, before any of them is read: as many must be bearable.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from ringroom.checks import MAX_FILE_BYTES, MAX_TEXT_BYTES
from ringroom.errors import FrameError
from ringroom.frames import DataFrame, FileFrame, TextFrame
from ringroom.providers.livekit.mapping import scrub
from ringroom.providers.livekit.media import TextReader

__all__ = ["FILES", "TEXTS", "StreamKind", "Streams"]

# Nothing has come of one for so long: it holds up no other, and its sender may be gone. More than
# the SDK takes to tell of somebody.
STILL_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamKind:
    """Texts, or files: what is made of a stream, and how many may be under way. One that is told,
    or has failed, is under way no more."""

    noun: str
    frame_of: Callable[[Any, str, bytes], DataFrame]
    """The frame of the SDK's description, the sender's identity and the whole payload."""
    longest: int
    """Bytes."""
    most_of_one: int
    """Of one sender."""
    most: int
    bytes_of_one: int
    """Else a single one who ends no text would take the room of all others."""
    bytes_in_all: int


def _text_of(info: Any, sender: str, payload: bytes) -> TextFrame:
    return TextFrame(
        payload,
        topic=info.topic,
        participant=sender,
        received_ns=time.monotonic_ns(),
        attributes=info.attributes or {},
    )


def _file_of(info: Any, sender: str, payload: bytes) -> FileFrame:
    return FileFrame(
        payload,
        topic=info.topic,
        participant=sender,
        received_ns=time.monotonic_ns(),
        name=info.name,
        mime_type=info.mime_type,
        attributes=info.attributes or {},
    )


TEXTS = StreamKind(
    noun="text",
    frame_of=_text_of,
    longest=MAX_TEXT_BYTES,
    most_of_one=2_048,
    most=4_096,
    bytes_of_one=2 << 20,
    bytes_in_all=8 << 20,
)
FILES = StreamKind(
    noun="file",
    frame_of=_file_of,
    longest=MAX_FILE_BYTES,
    most_of_one=256,
    most=1_024,
    bytes_of_one=2 * MAX_FILE_BYTES,
    bytes_in_all=8 * MAX_FILE_BYTES,
)


@dataclass(slots=True, eq=False)
class _Stream:
    sender: str
    reader: Any
    pieces: list[bytes] = field(default_factory=list)
    size: int = 0
    heard: float = 0.0
    """When the last piece came."""
    frame: DataFrame | None = None
    """Once it is whole."""
    failure: str = ""
    """Why it will not be."""

    @property
    def is_over(self) -> bool:
        return self.frame is not None or bool(self.failure)

    @property
    def was_sent_at_once(self) -> bool:
        """The rest of it follows without a pause."""
        return bool(self.reader.info.size)


@dataclass(slots=True, eq=False)
class _Sender:
    """Somebody's that are not told."""

    streams: dict[_Stream, None] = field(default_factory=dict)
    """As they began; also those that are over and wait for one before them."""
    bytes: int = 0


class Streams:
    """``on_frame`` gets each text, or file, that came whole; ``on_failed`` is told the sender, and
    why one did not; ``is_here`` says whether the SDK knows that sender; ``fill`` is the path's."""

    def __init__(
        self,
        kind: StreamKind,
        on_frame: Callable[[DataFrame], None],
        on_failed: Callable[[str, str], None],
        is_here: Callable[[str], bool],
        fill: Callable[[TextReader, bool], None],
    ) -> None:
        self._kind = kind
        self._on_frame = on_frame
        self._on_failed = on_failed
        self._is_here = is_here
        self._fill = fill
        self._loop = asyncio.get_running_loop()
        self._watch: asyncio.TimerHandle | None = None
        self._open: dict[str, _Sender] = {}
        self._count = self._bytes = 0
        """Of all that are listed there."""
        self._reading: set[asyncio.Task[None]] = set()
        self._ended = False

    def listen(self, register: Callable[[str, Any], None], topics: Collection[str]) -> None:
        """Receive those of these topics; ``register`` is the SDK's."""
        for topic in topics:
            register(topic, self.begin)

    def begin(self, reader: TextReader, sender: str) -> None:
        """One begins."""
        if self._ended:
            reader.close()
            return
        before = self._open.get(sender)
        of_one = 0 if before is None else len(before.streams)
        if of_one >= self._kind.most_of_one or self._count >= self._kind.most:
            reader.close()
            self._on_failed(sender, self._left_out(reader, "too many are under way"))
            return
        stream = _Stream(sender, reader, heard=self._loop.time())
        if self._watch is None:
            self._watch = self._loop.call_later(STILL_SECONDS, self._look)
        self._open.setdefault(sender, _Sender()).streams[stream] = None
        self._count += 1
        self._fill(reader, True)
        reading = asyncio.create_task(self._read(stream))
        self._reading.add(reading)
        reading.add_done_callback(self._reading.discard)

    async def _read(self, stream: _Stream) -> None:
        try:
            async for piece in stream.reader:
                if stream.is_over:  # broken off as this came: its bytes are counted no more
                    break
                self._take(stream, piece.encode() if isinstance(piece, str) else piece)
            if not stream.failure:
                payload = b"".join(stream.pieces)
                stream.frame = self._kind.frame_of(stream.reader.info, stream.sender, payload)
        except Exception as error:  # noqa: BLE001  (a broken stream, or whatever the SDK raises)
            why = scrub(str(error)) or type(error).__name__
            stream.failure = stream.failure or self._left_out(stream.reader, why)
        finally:
            stream.reader.close()
            self._fill(stream.reader, False)
            stream.pieces.clear()
        self._tell(stream.sender)

    def _take(self, stream: _Stream, piece: bytes) -> None:
        stream.heard = self._loop.time()
        stream.pieces.append(piece)
        stream.size += len(piece)
        self._bytes += len(piece)
        sender, kind = self._open[stream.sender], self._kind
        sender.bytes += len(piece)
        if stream.size > kind.longest:
            raise FrameError(f"it has more than {kind.longest} bytes")
        if sender.bytes > kind.bytes_of_one:
            raise FrameError(f"more than {kind.bytes_of_one >> 20} MiB of its sender are under way")
        if self._bytes > kind.bytes_in_all:
            most = kind.bytes_in_all >> 20
            raise FrameError(f"more than {most} MiB of {kind.noun}s are under way")

    def _tell(self, sender: str) -> None:
        """Those of the sender that have nothing to wait for."""
        of_one = self._open.get(sender)
        if of_one is None:
            return
        over: list[_Stream] = []
        for stream in of_one.streams:
            if stream.is_over:
                over.append(stream)
            elif stream.was_sent_at_once and not self._is_still(stream):
                break
        for stream in over:
            del of_one.streams[stream]
            of_one.bytes -= stream.size
            self._bytes -= stream.size
            self._count -= 1
        if not of_one.streams:
            del self._open[sender]
        for stream in over:
            if stream.frame is not None:
                self._on_frame(stream.frame)
            else:
                self._on_failed(sender, stream.failure)

    def _is_still(self, stream: _Stream) -> bool:
        return self._loop.time() >= stream.heard + STILL_SECONDS

    def _look(self) -> None:
        for sender, of_one in tuple(self._open.items()):
            if not self._is_here(sender):
                still = filter(self._is_still, of_one.streams)
                self._break_off(still, "its sender is not in the room")
            self._tell(sender)
        self._watch = self._loop.call_later(STILL_SECONDS, self._look) if self._open else None

    def _break_off(self, streams: Iterable[_Stream], why: str) -> None:
        for stream in streams:
            if not stream.is_over:
                stream.failure = self._left_out(stream.reader, why)
                stream.reader.close()

    async def end(self, reason: str) -> None:
        """The room is over: what has not come whole will not, which is told unless the reason is
        empty. Idempotent."""
        self._ended = True
        if not reason:
            self._on_failed = _tell_nobody
        if self._watch is not None:
            self._watch.cancel()
        for sender, of_one in tuple(self._open.items()):
            self._break_off(of_one.streams, reason)
            self._tell(sender)
        if self._reading:
            await asyncio.wait(self._reading)

    def _left_out(self, reader: Any, why: str) -> str:
        return f"a {self._kind.noun} ({reader.info.topic!r}) is left out: {why}"


def _tell_nobody(sender: str, reason: str) -> None:
    """We have left by ourselves."""
