"""The tracks of others in a fake room, as the room tells of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from ringroom.errors import RoomError
from ringroom.events import EventKind
from ringroom.options import SessionOptions
from ringroom.providers.fake import messages
from ringroom.providers.fake.ingest import Ingest
from ringroom.providers.provider import Sink

__all__ = ["IncomingTracks", "Line"]


@dataclass(frozen=True, kw_only=True)
class Line:
    """What the connection gives them. ``send`` raises `RoomError` once the room is gone; ``tell``
    tells the sink of an event: its kind, the participant, the track, the reason."""

    send: Callable[[messages.Message], None]
    tell: Callable[..., None]
    loop: asyncio.AbstractEventLoop


class IncomingTracks:
    """All of them, by their sid, those that nobody wants among them. ``subscribe``: whether we may
    receive any."""

    def __init__(self, sink: Sink, options: SessionOptions, subscribe: bool, line: Line) -> None:
        self._sink = sink
        self._options = options
        self._subscribe = subscribe
        self._line = line
        self._inbound: dict[str, Ingest] = {}

    def take(self, message: messages.Message) -> bool:
        """Handle what the room says of a track; False for what is about none."""
        handler = self._HANDLERS.get(type(message))
        if handler is None:
            return False
        handler(self, message)
        return True

    def await_no_more(self) -> None:
        """We leave: what has not come yet is not told as late."""
        for inbound in self._inbound.values():
            inbound.await_no_more()

    def end(self, reason: str) -> None:
        for inbound in self._inbound.values():
            inbound.close(reason)
        self._inbound.clear()

    def _published(self, message: messages.TrackPublished) -> None:
        track, participant = message.track, message.participant
        self._line.tell(EventKind.TRACK_PUBLISHED, participant, track)
        wanted = self._sink.wants(track, participant)
        if wanted and not self._subscribe:
            wanted = False
            reason = "receiving tracks is not allowed (canSubscribe)"
            self._line.tell(EventKind.TRACK_FAILED, participant, track, reason)
        inbound = Ingest(track, participant, wanted, self._options)
        inbound.muted = message.muted
        if (before := self._inbound.get(track.sid)) is not None:
            before.close("published again")
        self._inbound[track.sid] = inbound
        if wanted and message.withheld:
            seconds = self._options.connect_timeout
            inbound.awaited = self._line.loop.call_later(seconds, self._late, inbound)
        elif wanted:
            inbound.open(self._sink.open_track(track, participant))
        with contextlib.suppress(RoomError):
            quality = self._options.video_quality
            self._line.send(messages.Subscription(track=track.sid, wanted=wanted, quality=quality))

    def _late(self, inbound: Ingest) -> None:
        reason = (
            f"the room has not answered the subscription within {self._options.connect_timeout:g} s"
            " (its publisher does not permit it); it does so once it is permitted"
        )
        self._line.tell(EventKind.TRACK_FAILED, inbound.participant, inbound.track, reason)

    def _withheld(self, message: messages.TrackWithheld) -> None:
        inbound = self._inbound.get(message.track)
        if inbound is None or not inbound.wanted:
            return
        if message.withheld:
            inbound.close("unsubscribed")
        elif inbound.sink is None:
            inbound.open(self._sink.open_track(inbound.track, inbound.participant))

    def _unpublished(self, message: messages.TrackUnpublished) -> None:
        inbound = self._inbound.pop(message.track, None)
        if inbound is None:
            return
        inbound.close(message.reason)
        self._line.tell(
            EventKind.TRACK_UNPUBLISHED, inbound.participant, inbound.track, message.reason
        )

    def _muted(self, message: messages.TrackMuted) -> None:
        inbound = self._inbound.get(message.track)
        if inbound is None:
            return
        inbound.muted = message.muted
        if inbound.sink is not None:
            inbound.pause()
            inbound.sink.muted(message.muted)

    def _media(self, message: messages.Audio | messages.Video | messages.Reading) -> None:
        inbound = self._inbound.get(message.track)
        if inbound is None or inbound.sink is None:
            return
        if isinstance(message, messages.Audio):
            inbound.audio(message)
        elif isinstance(message, messages.Video):
            inbound.video(message)
        else:
            inbound.reading(message)

    def _paused(self, message: messages.AudioPause) -> None:
        inbound = self._inbound.get(message.track)
        if inbound is not None and inbound.sink is not None:
            inbound.pause()

    _HANDLERS: ClassVar[dict[type[Any], Callable[[IncomingTracks, Any], None]]] = {
        messages.TrackPublished: _published,
        messages.TrackUnpublished: _unpublished,
        messages.TrackMuted: _muted,
        messages.TrackWithheld: _withheld,
        messages.Audio: _media,
        messages.Video: _media,
        messages.Reading: _media,
        messages.AudioPause: _paused,
    }
