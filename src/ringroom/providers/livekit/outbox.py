"""The messages, texts, files and digits that we send in one room.

A fact about the SDK (livekit 1.1.21 to 1.2.1) that it rests on: a message for which its data
channel has no room (2 MiB) waits, and while one does, the SDK does not begin to reconnect, for it
waits for the message. A connection that dies with so much under way stays dead, and nothing tells
of it but that no message is taken any more. What stands in the channel then was taken, and counts
as sent.

A file goes out in pieces, one request after the other, so that the loop has other things to do in
between, and each has as long as a message has. One that is given up is ended with the reason, so
that those who receive it do not wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, TypeAlias

from livekit import rtc
from livekit.rtc.data_stream import ByteStreamWriter, StreamError
from livekit.rtc.participant import PublishDataError, PublishDTMFError

from ringroom.dtmf import DtmfFrame
from ringroom.errors import RoomError
from ringroom.frames import DataFrame, FileFrame, TextFrame
from ringroom.providers.livekit.calls import Calls, Undo
from ringroom.providers.livekit.line import Line
from ringroom.providers.livekit.mapping import scrub
from ringroom.providers.provider import TextWriter
from ringroom.text_out import UNFINISHED

__all__ = ["AT_RISK", "Outbox"]

Request: TypeAlias = Callable[[], Coroutine[Any, Any, Any]]

# What is slower is no connection either: the channel tells in steps of 100 KiB that it has room, so
# this is 5 kB/s. And it is more than the SDK has to open the channel for the first message, 15 s.
DEAD_AFTER = 20.0
# The SDK sends 15,000 bytes in a packet.
PIECE_BYTES = 60_000
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
        self._calls = calls
        self._timeout = max(timeout, DEAD_AFTER)
        self._on_dead = on_dead
        self._loop = asyncio.get_running_loop()
        self._under_way = 0
        self._lively = 0.0
        """When the SDK has last shown that it takes messages, or had none to take."""
        self._watch: asyncio.TimerHandle | None = None

    async def send(self, frame: DataFrame) -> None:
        """Raises `RoomError`, for the reason "data_refused" unless the room is gone."""
        if isinstance(frame, FileFrame):
            await self._send_file(frame)
        else:
            await self.ask(lambda: self._request(frame))

    async def open_text(self, beginning: TextFrame) -> TextWriter:
        """A text that is still to be written. Raises as `send` does."""
        us, losses = self._room.local_participant, self._line.losses
        request = partial(
            us.stream_text,
            topic=beginning.topic,
            destination_identities=list(beginning.to),
            attributes=dict(beginning.attributes),
        )
        writer = await self.ask(request, undo=lambda late: late.aclose(reason=UNFINISHED))
        return _TextWriter(self, writer, self._line, losses)

    async def _send_file(self, frame: FileFrame) -> None:
        us = self._room.local_participant
        stay = us.sid
        begin = partial(
            us.stream_bytes,
            frame.name,
            total_size=len(frame.payload),
            mime_type=frame.mime_type,
            attributes=dict(frame.attributes),
            destination_identities=list(frame.to),
            topic=frame.topic,
        )
        writer = await self.ask(begin, undo=_given_up)
        try:
            for at in range(0, len(frame.payload), PIECE_BYTES):
                await self.ask(partial(writer.write, frame.payload[at : at + PIECE_BYTES]))
                if us.sid != stay:
                    # For the others we have left, and with us what we had begun.
                    raise _refused("the connection was made anew before all of the file was out")
        except BaseException:
            self._calls.begin(_given_up(writer))
            raise
        await self.ask(writer.aclose)

    def begin(self, request: Request) -> None:
        """As `ask`, without an answer."""
        self._calls.begin(self._hand_over(request))

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


class _TextWriter(TextWriter):
    """A text that is being written, by the SDK's own writer. After a loss of the connection the
    others may have nothing of it any more; the SDK does not tell whether that is so."""

    def __init__(
        self, outbox: Outbox, writer: rtc.TextStreamWriter, line: Line, losses: int
    ) -> None:
        self._outbox = outbox
        self._writer = writer
        self._line = line
        self._losses = losses

    async def write(self, text: str) -> None:
        await self._check_same_line()
        try:
            await self._outbox.ask(lambda: self._writer.write(text))
        except RoomError:
            self._break_off()
            raise

    async def close(self, reason: str = "", attributes: Mapping[str, str] | None = None) -> None:
        await self._check_same_line()
        last = dict(attributes or {})
        await self._outbox.ask(lambda: self._writer.aclose(reason=reason, attributes=last))
        if self._line.losses != self._losses:  # on the way, so it may be whole or not
            raise _lost_meanwhile()

    async def _check_same_line(self) -> None:
        await self._line.up()
        if self._line.losses != self._losses:
            self._break_off()
            raise _lost_meanwhile()

    def _break_off(self) -> None:
        """Nobody waits for that: a write that was not taken in time is under way before it."""
        if not self._line.gone.done():
            self._outbox.begin(lambda: self._writer.aclose(reason=UNFINISHED))


def _lost_meanwhile() -> RoomError:
    return _refused("the connection was lost while the text was being written")


async def _given_up(writer: ByteStreamWriter) -> None:
    """End a file of which not all is out."""
    await writer.aclose(reason="its sender has given it up")


def _refused(why: str) -> RoomError:
    return RoomError(f"livekit: the data message was not sent: {why}", reason="data_refused")
