"""The application's end of a connection to a fake room: a `Provider` on an asyncio socket.

One reader task takes the room's messages in order and calls the sink; nothing else calls it.
Requests (publish, data) wait for the room's answer, so a room that lost the connection holds them
up until it is back, as LiveKit's engine does.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import socket
from collections.abc import Callable
from typing import Any, ClassVar

from ringroom.dtmf import DtmfFrame
from ringroom.errors import ClosedError, RoomError, WireError
from ringroom.events import Event, EventKind, Kind, Participant, RoomInfo, TrackInfo
from ringroom.frames import DataFrame, FileFrame, TextFrame
from ringroom.options import SessionOptions
from ringroom.pieces import TextPiece
from ringroom.providers.fake import messages
from ringroom.providers.fake.calls import IncomingCalls, OwnCalls
from ringroom.providers.fake.envelopes import Envelope, opened, sealed, sealed_piece
from ringroom.providers.fake.playout import Outlet, PublishedTrack, playout_of
from ringroom.providers.fake.stream import MessageStream
from ringroom.providers.fake.text_writer import FakeTextWriter
from ringroom.providers.fake.tracks import IncomingTracks, Line
from ringroom.providers.provider import (
    Joined,
    OutgoingTrack,
    Playout,
    Profile,
    Provider,
    Sink,
    Subscribers,
    TextWriter,
)

__all__ = ["FakeProvider"]

log = logging.getLogger("ringroom.io")

_SOURCES = {Kind.AUDIO: "microphone", Kind.VIDEO: "camera"}


class FakeProvider(Provider):
    """``dial`` gives the socket; a ``connection`` that exists already is owned from the start."""

    def __init__(
        self,
        dial: Callable[[], socket.socket],
        join: messages.Join,
        connection: socket.socket | None = None,
    ) -> None:
        self._dial = dial
        self._join = join
        self._socket = connection
        self._sink: Sink
        self._options = SessionOptions()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stream: MessageStream | None = None
        self._task: asyncio.Task[None] | None = None
        self._numbers = itertools.count(1)
        self._requests: dict[int, asyncio.Future[None]] = {}
        self._playouts: list[PublishedTrack] = []
        self._tracks: IncomingTracks | None = None
        self._calls: IncomingCalls | None = None
        self._own_calls = OwnCalls(self._send)
        self._raising: set[str] = set()
        self._over = ""
        self._closed = False

    async def connect(self, sink: Sink, options: SessionOptions) -> Joined:
        if self._closed:
            raise ClosedError("fake: transport is closed")
        if self._loop is not None:
            raise RoomError("fake: this connection was used once; open another")
        self._sink, self._options = sink, options
        self._loop = asyncio.get_running_loop()
        self._socket = self._dial()
        try:
            async with asyncio.timeout(options.connect_timeout):
                self._stream = await MessageStream.open(self._socket)
                self._stream.send(self._join)
                while isinstance(answer := await self._stream.receive(), messages.Misbehave):
                    self._raising.add(answer.where)
                    self._raise_if_ordered("connect")
        except TimeoutError:
            raise RoomError(
                f"fake: the room did not answer within {options.connect_timeout} s",
                reason="timeout",
            ) from None
        except WireError as error:
            raise RoomError(f"fake: {error}", reason="unreachable") from None
        if isinstance(answer, messages.Refused):
            raise RoomError(f"fake: {answer.text}", reason=answer.reason)
        if not isinstance(answer, messages.Joined):
            raise RoomError("fake: the room hung up", reason="unreachable")
        line = Line(send=self._send, tell=self._event, loop=self._loop)
        self._tracks = IncomingTracks(sink, options, self._join.subscribe, line)
        self._calls = IncomingCalls(sink, self._send)
        self._event(EventKind.CONNECTED, room=answer.room)
        await self._hear_who_is_there(options.connect_timeout)
        self._task = asyncio.create_task(self._receive(), name="fake room")
        return Joined(
            room=answer.room.name, identity=answer.participant.identity, sid=answer.participant.sid
        )

    async def _hear_who_is_there(self, seconds: float) -> None:
        """What comes behind that is heard later, in its order."""
        assert self._stream is not None
        with contextlib.suppress(TimeoutError, WireError):
            async with asyncio.timeout(seconds):
                while isinstance(message := await self._stream.receive(), messages.Happened):
                    self._happened(message)
                if message is not None:  # the end comes again by itself
                    self._stream.put_back(message)

    async def publish(self, track: OutgoingTrack) -> Playout:
        handle = str(next(self._numbers))
        outlet = Outlet(
            handle=handle,
            send=self._send,
            drain=self._drain,
            loop=self._running(),
            ordered=lambda: self._raise_if_ordered("play"),
        )
        self._raise_if_ordered("publish")
        number = next(self._numbers)
        request = messages.Publish(
            request=number,
            track=handle,
            name=track.name,
            kind=track.kind,
            source=_source(track),
            muted=track.muted,
        )
        # Known before it is there: its end may come with the answer.
        playout = playout_of(track, outlet)
        self._playouts = [other for other in self._playouts if not other.closed]
        self._playouts.append(playout)
        try:
            await self._request(number, request, "publish_refused")
        except BaseException as error:
            playout.stop("failed")
            if isinstance(error, asyncio.CancelledError):
                # The room may have granted it already.
                with contextlib.suppress(RoomError):
                    self._send(messages.Unpublish(track=handle))
            raise
        return playout

    async def send_data(self, frame: DataFrame) -> None:
        self._raise_if_ordered("send_data")
        number = next(self._numbers)
        await self._request(number, sealed(frame, request=number), "data_refused")

    async def send_text(self, frame: TextFrame) -> None:
        await self.send_data(frame)

    async def open_text(self, beginning: TextFrame) -> TextWriter:
        text = next(self._numbers)

        async def send(piece: TextPiece) -> None:
            self._raise_if_ordered("send_data")
            number = next(self._numbers)
            await self._request(number, sealed_piece(piece, request=number), "data_refused")

        writer = FakeTextWriter(send, text, beginning)
        await writer.begin()
        return writer

    async def send_dtmf(self, frame: DtmfFrame) -> None:
        await self.send_data(frame)

    async def send_file(self, frame: FileFrame) -> None:
        await self.send_data(frame)

    async def set_profile(self, change: Profile) -> None:
        self._raise_if_ordered("set_profile")
        number = next(self._numbers)
        message = messages.SetProfile(
            request=number,
            name=change.name or "",
            metadata=change.metadata or "",
            attributes=change.attributes,
        )
        await self._request(number, message, "profile_refused")

    def allow_subscribers(self, allowed: Subscribers) -> None:
        payload = json.dumps(allowed.to_json()).encode()
        self._send(messages.AllowSubscribers(payload=payload))

    async def call(self, to: str, method: str, payload: str, seconds: float) -> str:
        self._raise_if_ordered("call")
        call = messages.Call(
            request=next(self._numbers),
            participant=to,
            method=method,
            timeout_ms=round(seconds * 1000),
            payload=payload.encode(),
        )
        return await self._own_calls.make(call)

    async def close(self) -> None:
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        if self._calls is not None:
            await self._calls.end()
        self._stop_playouts()
        if self._tracks is not None:
            self._tracks.await_no_more()
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.send(messages.Leave())
            await stream.close(self._options.close_timeout)
        elif self._socket is not None:
            self._socket.close()
        self._socket = None
        self._end_requests("closed")
        self._raise_if_ordered("close")

    def _misbehave(self, message: messages.Misbehave) -> None:
        (self._raising.add if message.on else self._raising.discard)(message.where)
        self._raise_if_ordered("receive")
        self._send(messages.Done(request=message.request))

    def _raise_if_ordered(self, where: str) -> None:
        if where in self._raising:
            raise RuntimeError(f"ordered to raise in {where}")

    def _now_ns(self) -> int:
        """By the loop's clock, which is the one that all processes share."""
        assert self._loop is not None
        return round(self._loop.time() * 1e9)

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._closed:
            raise ClosedError("fake: transport is closed")
        if self._stream is None or self._loop is None:
            raise RoomError("fake: not connected", reason="disconnected")
        return self._loop

    def _send(self, message: messages.Message) -> None:
        if self._stream is None or self._over:
            raise RoomError(
                f"fake: not connected ({self._over or 'closed'})", reason="disconnected"
            )
        self._stream.send(message)

    async def _drain(self) -> None:
        if self._stream is not None and not self._over:
            await self._stream.drain()

    async def _request(self, number: int, message: messages.Message, refusal: str) -> None:
        answer = self._requests[number] = self._running().create_future()
        try:
            try:
                self._send(message)
            except WireError as error:
                raise RoomError(f"fake: {error}", reason=refusal) from None
            await answer
        finally:
            del self._requests[number]

    async def _receive(self) -> None:
        """All that the room says, until it, or the connection, ends."""
        assert self._stream is not None
        try:
            self._raise_if_ordered("receive")
            while not isinstance(message := await self._stream.receive(), messages.Ended | None):
                self._handle(message)
        except WireError as error:
            self._end("disconnected", f"fake: {error}")
        except Exception as error:
            log.exception("the sink failed")
            self._end("failed", f"fake: {type(error).__name__}: {error}")
        else:
            if isinstance(message, messages.Ended):
                self._end(message.reason, "")
            else:
                self._end("disconnected", "fake: the room hung up")

    def _end(self, reason: str, error: str) -> None:
        self._stop_playouts()
        self._over = reason
        self._end_requests(reason)
        if self._tracks is not None:
            self._tracks.end(reason)
        if self._stream is not None:
            self._stream.hang_up()
        self._sink.ended(reason, error=error)

    def _end_requests(self, reason: str) -> None:
        for request in self._requests.values():
            if not request.done():
                request.set_exception(
                    RoomError(f"fake: the connection ended ({reason})", reason="disconnected")
                )
        self._own_calls.end(reason)

    def _stop_playouts(self) -> None:
        for playout in self._playouts:
            playout.stop("disconnected")
        self._playouts.clear()

    # One method for each message of the room that is not of a track of others.

    def _handle(self, message: messages.Message) -> None:
        handler = self._HANDLERS.get(type(message))
        if handler is not None:
            handler(self, message)
        elif self._tracks is None or not self._tracks.take(message):
            raise WireError(f"the room sent {type(message).__name__}, which is ours to send")

    def _done(self, message: messages.Done) -> None:
        request = self._requests.get(message.request)
        if request is not None and not request.done():
            request.set_result(None)

    def _refused(self, message: messages.Refused) -> None:
        request = self._requests.get(message.request)
        if request is not None and not request.done():
            request.set_exception(RoomError(f"fake: {message.text}", reason=message.reason))

    def _all_told(self, message: messages.AllTold) -> None:
        """`connect` has waited for it, or for the first track."""

    def _happened(self, message: messages.Happened) -> None:
        self._event(message.kind, message.participant, reason=message.reason)

    def _room_changed(self, message: messages.RoomChanged) -> None:
        self._event(EventKind.ROOM_CHANGED, room=message.room)

    def _quality(self, message: messages.QualityTold) -> None:
        kind = EventKind.CONNECTION_QUALITY
        self._event(kind, message.participant, quality=message.quality)

    def _event(
        self,
        kind: EventKind,
        participant: Participant | None = None,
        track: TrackInfo | None = None,
        reason: str = "",
        room: RoomInfo | None = None,
        quality: str = "",
    ) -> None:
        self._sink.event(
            Event(
                kind=kind,
                participant=participant,
                track=track,
                reason=reason,
                received_ns=self._now_ns(),
                room=room,
                quality=quality,
            )
        )

    def _publication_ended(self, message: messages.PublicationEnded) -> None:
        for playout in self._playouts:
            if playout.handle == message.track:
                playout.take_away(message.text)

    def _publication_muted(self, message: messages.PublicationMuted) -> None:
        kind = EventKind.PUBLISH_MUTED if message.muted else EventKind.PUBLISH_UNMUTED
        self._event(kind, track=message.track)

    def _data(self, message: Envelope) -> None:
        frame = opened(message, message.participant, received_ns=self._now_ns())
        self._sink.data(frame)

    def _call(self, message: messages.Call) -> None:
        assert self._calls is not None
        self._calls.take(message)

    def _answered(self, message: messages.Answered) -> None:
        self._own_calls.answered(message)

    def _text_broken(self, message: messages.TextBroken) -> None:
        if message.topic in self._options.text_topics:
            kind = EventKind.TEXT_FAILED
            self._event(kind, message.participant, reason=message.reason)

    def _file_broken(self, message: messages.FileBroken) -> None:
        if message.topic in self._options.file_topics:
            kind = EventKind.FILE_FAILED
            self._event(kind, message.participant, reason=message.reason)

    _HANDLERS: ClassVar[dict[type[Any], Callable[[FakeProvider, Any], None]]] = {
        messages.Done: _done,
        messages.Misbehave: _misbehave,
        messages.Refused: _refused,
        messages.AllTold: _all_told,
        messages.Happened: _happened,
        messages.RoomChanged: _room_changed,
        messages.QualityTold: _quality,
        messages.PublicationEnded: _publication_ended,
        messages.PublicationMuted: _publication_muted,
        messages.Data: _data,
        messages.Text: _data,
        messages.Dtmf: _data,
        messages.File: _data,
        messages.Call: _call,
        messages.Answered: _answered,
        messages.TextBroken: _text_broken,
        messages.FileBroken: _file_broken,
    }


def _source(track: OutgoingTrack) -> str:
    if track.kind is Kind.DATA_TRACK:  # which has none, whatever its options say
        return "unknown"
    return track.options.source or _SOURCES[track.kind]
