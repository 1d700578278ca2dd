"""The texts that others send in one room: read whole, and told to the `Sink`.

The SDK hands over a reader as soon as a text begins, and a native task of its own fills each: of
two texts that are sent one after the other the second may be complete first. So those of one sender
are told in the order in which they began. One that is written piece by piece, as somebody speaks,
may take minutes, and is not waited for; the SDK tells its length only at its end.

The SDK breaks off the texts of a sender that leaves, also in a full reconnection. But not if it has
never told that the sender is there, who came and went within two seconds, say: a look now and then
finds those.

What others can grow is bounded: so many texts at a time, of so many bytes. A reader that is open
costs something with every native event, sound too, for the SDK asks each.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from livekit import rtc

from ringroom.checks import MAX_TEXT_BYTES
from ringroom.errors import FrameError
from ringroom.frames import TextFrame
from ringroom.providers.livekit.mapping import scrub

__all__ = ["MAX_IN_ALL", "MAX_OF_ONE", "Texts"]

MAX_OF_ONE = 256
MAX_IN_ALL = 1_000
MAX_BYTES = 8 << 20
# Else a single one who ends no text would take the room of all others.
MAX_BYTES_OF_ONE = 2 << 20
# Nothing has come of a text for so long: it holds up no other, and its sender may be gone. More
# than the SDK takes to tell of somebody.
STILL_SECONDS = 5.0


@dataclass(slots=True, eq=False)
class _Text:
    sender: str
    reader: Any
    pieces: list[bytes] = field(default_factory=list)
    size: int = 0
    heard: float = 0.0
    """When the last piece came."""
    frame: TextFrame | None = None
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


class Texts:
    """``on_text`` gets each text that came whole; ``on_failed`` is told the sender, and why one did
    not; ``is_here`` says whether the SDK knows that sender."""

    def __init__(
        self,
        on_text: Callable[[TextFrame], None],
        on_failed: Callable[[str, str], None],
        is_here: Callable[[str], bool],
    ) -> None:
        self._on_text = on_text
        self._on_failed = on_failed
        self._is_here = is_here
        self._loop = asyncio.get_running_loop()
        self._watch: asyncio.TimerHandle | None = None
        self._open: dict[str, list[_Text]] = {}
        """By their sender, as they began; also those that are over and wait for one before them."""
        self._reading: set[asyncio.Task[None]] = set()
        self._bytes = 0
        """Of all that are listed there."""
        self._ended = False

    def listen(self, room: rtc.Room, topics: Collection[str]) -> None:
        """Receive texts of these topics."""
        for topic in topics:
            room.register_text_stream_handler(topic, self.begin)

    def begin(self, reader: rtc.TextStreamReader, sender: str) -> None:
        """A text begins."""
        if self._ended:
            reader.close()
            return
        before = self._open.get(sender, ())
        if len(before) >= MAX_OF_ONE or sum(map(len, self._open.values())) >= MAX_IN_ALL:
            reader.close()
            self._on_failed(sender, _left_out(reader, "too many are under way"))
            return
        text = _Text(sender, reader, heard=self._loop.time())
        if self._watch is None:
            self._watch = self._loop.call_later(STILL_SECONDS, self._look)
        self._open.setdefault(sender, []).append(text)
        reading = asyncio.create_task(self._read(text))
        self._reading.add(reading)
        reading.add_done_callback(self._reading.discard)

    async def _read(self, text: _Text) -> None:
        try:
            async for piece in text.reader:
                if text.is_over:  # broken off as this came: its bytes are counted no more
                    break
                self._take(text, piece.encode())
            if not text.failure:
                text.frame = _frame_of(text)
        except Exception as error:  # noqa: BLE001  (a broken stream, or whatever the SDK raises)
            why = scrub(str(error)) or type(error).__name__
            text.failure = text.failure or _left_out(text.reader, why)
        finally:
            text.reader.close()
            text.pieces.clear()
        self._tell(text.sender)

    def _take(self, text: _Text, piece: bytes) -> None:
        text.heard = self._loop.time()
        text.pieces.append(piece)
        text.size += len(piece)
        self._bytes += len(piece)
        if text.size > MAX_TEXT_BYTES:
            raise FrameError(f"it has more than {MAX_TEXT_BYTES} bytes")
        if sum(one.size for one in self._open[text.sender]) > MAX_BYTES_OF_ONE:
            raise FrameError(f"more than {MAX_BYTES_OF_ONE >> 20} MiB of its sender are under way")
        if self._bytes > MAX_BYTES:
            raise FrameError(f"more than {MAX_BYTES >> 20} MiB of texts are under way")

    def _tell(self, sender: str) -> None:
        """Those of the sender that have nothing to wait for."""
        texts = self._open.get(sender, [])
        over: list[_Text] = []
        for text in texts:
            if text.is_over:
                over.append(text)
            elif text.was_sent_at_once and not self._is_still(text):
                break
        rest = [text for text in texts if text not in over]
        if rest:
            self._open[sender] = rest
        else:
            self._open.pop(sender, None)
        for text in over:
            self._bytes -= text.size
            if text.frame is not None:
                self._on_text(text.frame)
            else:
                self._on_failed(sender, text.failure)

    def _is_still(self, text: _Text) -> bool:
        return self._loop.time() >= text.heard + STILL_SECONDS

    def _look(self) -> None:
        for sender, texts in tuple(self._open.items()):
            if not self._is_here(sender):
                self._break_off(filter(self._is_still, texts), "its sender is not in the room")
            self._tell(sender)
        self._watch = self._loop.call_later(STILL_SECONDS, self._look) if self._open else None

    def _break_off(self, texts: Iterable[_Text], why: str) -> None:
        for text in texts:
            if not text.is_over:
                text.failure = _left_out(text.reader, why)
                text.reader.close()

    async def end(self, reason: str) -> None:
        """The room is over: what has not come whole will not, which is told unless the reason is
        empty. Idempotent."""
        self._ended = True
        if not reason:
            self._on_failed = _tell_nobody
        if self._watch is not None:
            self._watch.cancel()
        for sender, texts in tuple(self._open.items()):
            self._break_off(texts, reason)
            self._tell(sender)
        if self._reading:
            await asyncio.wait(self._reading)


def _left_out(reader: Any, why: str) -> str:
    return f"a text ({reader.info.topic!r}) is left out: {why}"


def _tell_nobody(sender: str, reason: str) -> None:
    """We have left by ourselves."""


def _frame_of(text: _Text) -> TextFrame:
    info = text.reader.info
    return TextFrame(
        b"".join(text.pieces),
        topic=info.topic,
        participant=text.sender,
        received_ns=time.monotonic_ns(),
        attributes=info.attributes or {},
    )
