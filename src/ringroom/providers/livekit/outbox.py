"""The messages, texts, files and digits that we send in one room.

A fact about the SDK (livekit 1.1.21 to 1.2.1) that it rests on: a message for which its data
channel has no room (2 MiB) waits, and while one does, the SDK does not begin to reconnect, for it
waits for the message. A connection that dies with so much under way stays dead, and nothing tells
of it but that no message is taken any more. What stands in the channel then was taken, and counts
as sent.

A file goes out in pieces, one request after the other, so that the loop has other things to do in
between, and each has as long as a message has. A file, or a text that is being written, which is
given up is ended with the reason, so that those who receive it do not wait, nor take it for a whole
one: that is what the SDK makes of a writer that is dropped while it writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, TypeAlias

from livekit import rtc
from livekit.rtc.data_stream import StreamError
from livekit.rtc.participant import PublishDataError, PublishDTMFError

from ringroom.dtmf import DtmfFrame
from ringroom.errors import RoomError
from ringroom.frames import DataFrame, FileFrame, TextFrame
from ringroom.providers.livekit.calls import Calls, Undo
from ringroom.providers.livekit.line import Line
from ringroom.providers.livekit.mapping import scrub
from ringroom.providers.livekit.stays import Stays
from ringroom.providers.provider import TextWriter
from ringroom.text_out import UNFINISHED

__all__ = ["AT_RISK", "Outbox"]

Request: TypeAlias = Callable[[], Coroutine[Any, Any, Any]]

# What is slower is no connection either: the channel tells in steps of 100 KiB that it has room, so
# this is 5 kB/s. And it is more than the SDK has to open the channel for the first message, 15 s.
DEAD_AFTER = 20.0
# The SDK sends 15,000 bytes in a packet.
PIECE_BYTES = 60_000
# Of a file that breaks off, for the others.
GIVEN_UP = "its sender has given it up"
GIVEN_UP_WITHIN = 1.0
# Of a channel that is full, when the connection is given up.
AT_RISK = "livekit: some 2 MiB of messages that were taken before may not have arrived"


class Outbox:
    """``timeout`` is what a message has to be taken, in seconds, and never less than the connection
    has. ``on_dead`` is told why when the connection is to be given up."""

    def __init__(
        self,
        room: rtc.Room,
        line: Line,
        calls: Calls,
        timeout: float,
        on_dead: Callable[[str], None],
    ) -> None:
        self._room = room
        self._line = line
        self._stays = Stays(room, line)
        self._streams: set[_Stream] = set()
        """Those that have not ended."""
        self._calls = calls
        self._timeout = max(timeout, DEAD_AFTER)
        self._on_dead = on_dead
        self._loop = asyncio.get_running_loop()
        self._under_way = 0
        self._lively = 0.0
        """When the SDK has last shown that it takes messages, or had none to take."""
        self._watch: asyncio.TimerHandle | None = None

    def joined(self) -> None:
        """We are in the room, or in it again: what tells this stay from others is asked now, so
        that no text waits for it."""
        self._stays.back()
        self._calls.begin(self._stays.now())

    async def send(self, frame: DataFrame) -> None:
        """Raises `RoomError`, for the reason "data_refused" unless the room is gone."""
        if isinstance(frame, FileFrame):
            await self._send_file(frame)
        else:
            await self.ask(lambda: self._request(frame))

    async def open_text(self, beginning: TextFrame) -> TextWriter:
        """A text that is still to be written. Raises as `send` does."""
        request = partial(
            self._room.local_participant.stream_text,
            topic=beginning.topic,
            destination_identities=list(beginning.to),
            attributes=dict(beginning.attributes),
        )
        return _TextWriter(await self._open(request, "text", UNFINISHED))

    async def _send_file(self, frame: FileFrame) -> None:
        request = partial(
            self._room.local_participant.stream_bytes,
            frame.name,
            total_size=len(frame.payload),
            mime_type=frame.mime_type,
            attributes=dict(frame.attributes),
            destination_identities=list(frame.to),
            topic=frame.topic,
        )
        file = await self._open(request, "file", GIVEN_UP)
        for at in range(0, len(frame.payload), PIECE_BYTES):
            await file.write(frame.payload[at : at + PIECE_BYTES])
        await file.close()

    async def _open(self, request: Request, noun: str, given_up: str) -> _Stream:
        stay = await self._stays.now()
        writer = await self.ask(request, undo=lambda late: late.aclose(reason=given_up))
        stream = _Stream(self, writer, stay, noun, given_up)
        self._streams.add(stream)
        return stream

    async def check_stay(self, stay: str, noun: str) -> None:
        """Raises `RoomError` where we have left the room since then, for the others."""
        if await self._stays.now() != stay:
            raise _refused(f"the connection was made anew before all of the {noun} was out")

    def forget(self, stream: _Stream) -> None:
        """It has ended. Idempotent."""
        self._streams.discard(stream)

    async def give_up(self) -> None:
        """End what is not whole, before we leave. A line that is down, or full, is not waited for
        long: the others break it off as we are gone."""
        ends = [end for stream in tuple(self._streams) if (end := stream.give_up()) is not None]
        if ends and not self._line.lost:
            await asyncio.wait(ends, timeout=GIVEN_UP_WITHIN)

    def begin(self, request: Request) -> asyncio.Task[Any] | None:
        """As `ask`, without an answer; nothing once the room is gone, and with it what it is of."""
        if self._line.gone.done():
            return None
        return self._calls.begin(self._hand_over(request))

    async def ask(self, request: Request, undo: Undo[Any] | None = None) -> Any:
        """What the SDK answers to a request. Raises as `send` does."""
        line = self._line
        await line.up()
        losses = line.losses
        if not self._room.local_participant.permissions.can_publish_data:
            # The server drops such a message without a word.
            raise _refused("data messages are not allowed (canPublishData)")

        async def lost_meanwhile() -> bool:
            """The SDK has the message still, and sends it once the connection is back."""
            nonlocal losses
            lost = await line.lost_since(losses)
            losses = line.losses
            return lost

        asked = self._hand_over(request)
        try:
            return await self._calls.run(
                asked, self._timeout, gone=line.gone, undo=undo, excused=lost_meanwhile
            )
        except (PublishDataError, PublishDTMFError) as error:
            raise _refused(scrub(error.message)) from None
        except StreamError as error:
            raise _refused(scrub(error.description)) from None
        except TimeoutError:
            raise _refused("the message was not taken in time") from None
        except ConnectionError:
            line.check()
            raise

    def close(self) -> None:
        """Once the line is gone. Idempotent."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    async def _hand_over(self, request: Request) -> Any:
        """To the SDK, whoever still waits for it."""
        if not self._under_way:
            self._lively = self._loop.time()
        self._under_way += 1
        # A close may come between the request and here: nobody would end the watch.
        if self._watch is None and not self._line.gone.done():
            self._watch = self._loop.call_at(self._lively + DEAD_AFTER, self._look)
        try:
            return await request()
        finally:
            self._under_way -= 1
            self._lively = self._loop.time()

    def _request(self, frame: DataFrame) -> Coroutine[Any, Any, Any]:
        us = self._room.local_participant
        to = list(frame.to)
        if isinstance(frame, DtmfFrame):
            # LiveKit SIP plays no capital letters.
            return us.publish_dtmf(code=frame.code, digit=frame.digit.lower())
        if isinstance(frame, TextFrame):
            attributes = dict(frame.attributes)
            return us.send_text(
                frame.text, destination_identities=to, topic=frame.topic, attributes=attributes
            )
        return us.publish_data(
            frame.payload, reliable=frame.reliable, destination_identities=to, topic=frame.topic
        )

    def _look(self) -> None:
        self._watch = None
        now = self._loop.time()
        if self._line.lost:
            self._lively = now  # a loss is told: nothing keeps the SDK from reconnecting
        if not self._under_way or self._line.gone.done():
            return
        if now < self._lively + DEAD_AFTER:
            self._watch = self._loop.call_at(self._lively + DEAD_AFTER, self._look)
        else:
            self._on_dead(f"no message was taken for {DEAD_AFTER:g} s")


class _Stream:
    """A text or a file that goes out piece by piece, by the SDK's own writer. It ends with our stay
    in the room, and is given up with whatever of it fails or is cancelled."""

    def __init__(self, outbox: Outbox, writer: Any, stay: str, noun: str, given_up: str) -> None:
        self._outbox = outbox
        self._writer = writer
        self._stay = stay
        self._noun = noun
        self._given_up = given_up
        """What the others are told of it then."""

    async def write(self, piece: str | bytes) -> None:
        """Raises `RoomError`."""
        try:
            await self._check_stay()
            await self._outbox.ask(partial(self._writer.write, piece))
        except BaseException:
            self.give_up()
            raise

    async def close(self, **end: Any) -> None:
        """Raises `RoomError`, also where it may be whole or not: the end was on its way as the
        connection was made anew."""
        try:
            await self._check_stay()
            await self._outbox.ask(partial(self._writer.aclose, **end))
            await self._check_stay()
        except BaseException:
            self.give_up()
            raise
        self._outbox.forget(self)

    async def _check_stay(self) -> None:
        await self._outbox.check_stay(self._stay, self._noun)

    def give_up(self) -> asyncio.Task[Any] | None:
        """Nobody need wait for that: a write that was not taken in time is under way before it. One
        that has ended is not ended again."""
        self._outbox.forget(self)
        return self._outbox.begin(partial(self._writer.aclose, reason=self._given_up))


class _TextWriter(TextWriter):
    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    async def write(self, text: str) -> None:
        await self._stream.write(text)

    async def close(self, reason: str = "", attributes: Mapping[str, str] | None = None) -> None:
        await self._stream.close(reason=reason, attributes=dict(attributes or {}))


def _refused(why: str) -> RoomError:
    return RoomError(f"livekit: the data message was not sent: {why}", reason="data_refused")
