"""Providers that are wrong on purpose: the provider ``fake`` with one twist.

A `Twist` stands between the fake and the core. Each of its methods is one call of the seam, and
passes it on; a wrong provider overrides one, and says which promises it breaks and how the report
names the cause.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeAlias, TypeVar

import numpy as np

from ringroom import aio, client
from ringroom.dtmf import DtmfFrame
from ringroom.errors import RoomError
from ringroom.events import Event, Participant, TrackInfo
from ringroom.faces.connection import Connection
from ringroom.frames import DataFrame, FileFrame, TextFrame
from ringroom.options import SessionOptions
from ringroom.providers.fake import Fake
from ringroom.providers.provider import (
    Joined,
    OutgoingTrack,
    Playout,
    Profile,
    Provider,
    Sink,
    Subscribers,
    TextWriter,
    TrackSink,
)
from ringroom.testing import FakeRoom, contract
from ringroom.testing.contract.fake import APP, FAKE, FakeDriver

Last: TypeAlias = Mapping[str, str] | None
"""The attributes of a text's end."""

# What is wrong shows soon: a wait that ends by its limit is what is wanted here.
HASTY = replace(FAKE, patience=0.25, close_seconds=0.3)

# Most wrongs are found by waiting in vain. Where a slow machine was waited for in vain instead, it
# takes more patience to come to what is wrong.
PATIENCES = (0.25, 2.0, 10.0)

EVERY: list[type[Wrong]] = []


def with_patience(subject: contract.Subject, patience: float) -> contract.Subject:
    return replace(subject, capabilities=replace(subject.capabilities, patience=patience))


def found(
    subject: contract.Subject, promises: Sequence[contract.Promise], cause: str
) -> contract.Report:
    """The report of a check by which the first broken promise is broken by that cause (a regular
    expression), with no more patience than it takes; the last report if there is none."""
    for patience in PATIENCES:
        report = contract.check(with_patience(subject, patience), promises)
        if report.broken and re.search(cause, report.broken[0].cause):
            break
    return report


class Wrong:
    """Something wrong: a twist of the provider, or of the core."""

    broken: ClassVar[Mapping[str, str]] = {}
    """Names of promises, and what the report says of the cause (a regular expression)."""

    @classmethod
    def subject(cls) -> contract.Subject:
        raise NotImplementedError


Kind = TypeVar("Kind", bound=type[Wrong])


def breaks(promises: Mapping[str, str]) -> Callable[[Kind], Kind]:
    """Says of a wrong thing which promises it breaks, and by which cause."""

    def note(wrong: Kind) -> Kind:
        wrong.broken = promises
        EVERY.append(wrong)
        return wrong

    return note


class Twist(Wrong):
    """Passes everything on."""

    @classmethod
    def subject(cls) -> contract.Subject:
        @contextmanager
        def rooms() -> Iterator[contract.Room]:
            with FakeRoom() as room:
                spec = Twisted(room=room, identity=APP, twist=cls)
                options = {"close_timeout": 0.6}
                yield contract.Room(provider=spec, options=options, driver=FakeDriver(room))

        return contract.Subject(name=cls.__name__, rooms=rooms, capabilities=HASTY)

    # Inbound.

    def wants(self, sink: Sink, track: TrackInfo, who: Participant) -> bool:
        return sink.wants(track, who)

    def open_track(self, sink: Sink, track: TrackInfo, who: Participant) -> TrackSink:
        return sink.open_track(track, who)

    def audio(self, track: TrackSink, samples: np.ndarray, rate: int) -> None:
        """``samples`` have the shape (samples per channel, channels)."""
        flat = np.ascontiguousarray(samples).reshape(-1)
        track.audio(flat.data, rate, samples.shape[1])

    def video(
        self, track: TrackSink, i420: np.ndarray, size: tuple[int, int], origin: tuple[int, int]
    ) -> None:
        """``origin`` is (rotation, timestamp_us)."""
        track.video(np.ascontiguousarray(i420).data, size, *origin)

    def reading(self, track: TrackSink, payload: bytes, timestamp: int | None) -> None:
        track.reading(memoryview(payload), timestamp)

    def muted(self, track: TrackSink, muted: bool) -> None:
        track.muted(muted)

    def close_track(self, track: TrackSink, reason: str) -> None:
        track.close(reason)

    def data(self, sink: Sink, frame: DataFrame) -> None:
        sink.data(frame)

    async def call(self, sink: Sink, method: str, payload: str, who: str, seconds: float) -> str:
        return await sink.call(method, payload, who, seconds)

    def event(self, sink: Sink, event: Event) -> None:
        sink.event(event)

    def ended(self, sink: Sink, reason: str, error: str) -> None:
        sink.ended(reason, error=error)

    # Outbound.

    async def connect(self, provider: Provider, sink: Sink, options: SessionOptions) -> Joined:
        return await provider.connect(sink, options)

    async def publish(self, provider: Provider, track: OutgoingTrack) -> Playout:
        return await provider.publish(track)

    async def play(self, playout: Playout, frame: Any) -> None:
        await playout.play(frame)

    def queued(self, playout: Playout) -> float:
        return playout.queued()

    def clear(self, playout: Playout) -> float:
        return playout.clear()

    async def close_playout(self, playout: Playout) -> None:
        await playout.close()

    def mute(self, playout: Playout, muted: bool) -> None:
        playout.mute(muted)

    def on_ended(self, playout: Playout, tell: Callable[[RoomError], None]) -> None:
        playout.on_ended(tell)

    def allow_subscribers(self, provider: Provider, allowed: Subscribers) -> None:
        provider.allow_subscribers(allowed)

    async def send_data(self, provider: Provider, frame: DataFrame) -> None:
        await provider.send_data(frame)

    async def set_profile(self, provider: Provider, change: Profile) -> None:
        await provider.set_profile(change)

    async def send_text(self, provider: Provider, frame: TextFrame) -> None:
        await provider.send_text(frame)

    async def open_text(self, provider: Provider, beginning: TextFrame) -> TextWriter:
        return await provider.open_text(beginning)

    async def write(self, writer: TextWriter, text: str) -> None:
        await writer.write(text)

    async def close_text(self, writer: TextWriter, reason: str, last: Last) -> None:
        await writer.close(reason, last)

    async def send_dtmf(self, provider: Provider, frame: DtmfFrame) -> None:
        await provider.send_dtmf(frame)

    async def send_file(self, provider: Provider, frame: FileFrame) -> None:
        await provider.send_file(frame)

    async def call_out(
        self, provider: Provider, to: str, method: str, payload: str, seconds: float
    ) -> str:
        return await provider.call(to, method, payload, seconds)

    async def close(self, provider: Provider) -> None:
        await provider.close()


@dataclass(frozen=True, kw_only=True)
class Twisted(Fake):
    """The fake, as the twist of that class passes it on."""

    twist: type[Twist] = Twist

    def open(self, descriptors: tuple[int, ...]) -> Provider:
        return TwistedProvider(super().open(descriptors), self.twist())


class TwistedProvider(Provider):
    def __init__(self, inner: Provider, twist: Twist) -> None:
        self.inner = inner
        self.twist = twist

    async def connect(self, sink: Sink, options: SessionOptions) -> Joined:
        return await self.twist.connect(self.inner, TwistedSink(sink, self.twist), options)

    async def publish(self, track: OutgoingTrack) -> Playout:
        return TwistedPlayout(await self.twist.publish(self.inner, track), self.twist)

    async def send_data(self, frame: DataFrame) -> None:
        await self.twist.send_data(self.inner, frame)

    def allow_subscribers(self, allowed: Subscribers) -> None:
        self.twist.allow_subscribers(self.inner, allowed)

    async def set_profile(self, change: Profile) -> None:
        await self.twist.set_profile(self.inner, change)

    async def send_text(self, frame: TextFrame) -> None:
        await self.twist.send_text(self.inner, frame)

    async def open_text(self, beginning: TextFrame) -> TextWriter:
        writer = await self.twist.open_text(self.inner, beginning)
        return TwistedWriter(writer, self.twist)

    async def send_dtmf(self, frame: DtmfFrame) -> None:
        await self.twist.send_dtmf(self.inner, frame)

    async def send_file(self, frame: FileFrame) -> None:
        await self.twist.send_file(self.inner, frame)

    async def call(self, to: str, method: str, payload: str, seconds: float) -> str:
        return await self.twist.call_out(self.inner, to, method, payload, seconds)

    async def close(self) -> None:
        await self.twist.close(self.inner)


@dataclass
class TwistedWriter(TextWriter):
    inner: TextWriter
    twist: Twist

    async def write(self, text: str) -> None:
        await self.twist.write(self.inner, text)

    async def close(self, reason: str = "", attributes: Last = None) -> None:
        await self.twist.close_text(self.inner, reason, attributes)


@dataclass
class TwistedSink:
    inner: Sink
    twist: Twist

    def wants(self, track: TrackInfo, participant: Participant) -> bool:
        return self.twist.wants(self.inner, track, participant)

    def open_track(self, track: TrackInfo, participant: Participant) -> TrackSink:
        inner = self.twist.open_track(self.inner, track, participant)
        return TwistedTrack(inner, self.twist)

    def data(self, frame: DataFrame) -> None:
        self.twist.data(self.inner, frame)

    async def call(self, method: str, payload: str, participant: str, seconds: float) -> str:
        return await self.twist.call(self.inner, method, payload, participant, seconds)

    def event(self, event: Event) -> None:
        self.twist.event(self.inner, event)

    def ended(self, reason: str, *, error: str = "") -> None:
        self.twist.ended(self.inner, reason, error)


@dataclass
class TwistedTrack:
    inner: TrackSink
    twist: Twist

    def audio(self, samples: memoryview, sample_rate: int, channels: int) -> None:
        array = np.frombuffer(samples.cast("B"), np.int16).reshape(-1, channels).copy()
        self.twist.audio(self.inner, array, sample_rate)

    def video(
        self, i420: memoryview, size: tuple[int, int], rotation: int, timestamp_us: int
    ) -> None:
        origin = (rotation, timestamp_us)
        self.twist.video(self.inner, np.frombuffer(i420, np.uint8).copy(), size, origin)

    def reading(self, payload: memoryview, timestamp: int | None) -> None:
        self.twist.reading(self.inner, bytes(payload), timestamp)

    def muted(self, muted: bool) -> None:
        self.twist.muted(self.inner, muted)

    def close(self, reason: str = "") -> None:
        self.twist.close_track(self.inner, reason)


@dataclass
class TwistedPlayout(Playout):
    inner: Playout
    twist: Twist

    async def play(self, frame: Any) -> None:
        await self.twist.play(self.inner, frame)

    def queued(self) -> float:
        return self.twist.queued(self.inner)

    def clear(self) -> float:
        return self.twist.clear(self.inner)

    async def close(self) -> None:
        await self.twist.close_playout(self.inner)

    def mute(self, muted: bool) -> None:
        self.twist.mute(self.inner, muted)

    def on_ended(self, tell: Callable[[RoomError], None]) -> None:
        self.twist.on_ended(self.inner, tell)


class WrongCore(Wrong):
    """The provider is right, and the transport is not: ``transport`` and ``aio_transport`` make
    what is opened instead."""

    Transport: ClassVar[type[client.Transport]] = client.Transport
    AioTransport: ClassVar[type[aio.Transport]] = aio.Transport
    opened: ClassVar[list[Any]] = []
    """Wrong transports that will not close themselves."""

    @classmethod
    def options(cls, options: dict[str, Any]) -> dict[str, Any]:
        """What the transport is opened with, in place of what was asked for."""
        return options

    @classmethod
    def subject(cls) -> contract.Subject:
        def opening(provider: Any, *, io: Any = "thread", **options: Any) -> client.Transport:
            connection = Connection(provider, cls.options(options), io)
            return cls.Transport(connection).open()

        def opening_aio(provider: Any, *, io: Any = "thread", **options: Any) -> aio.Transport:
            return cls.AioTransport(Connection(provider, cls.options(options), io))

        fake = contract.fake_subject()
        return replace(
            fake,
            name=cls.__name__,
            capabilities=HASTY,
            transport=opening,
            aio_transport=opening_aio,
        )


Change = Callable[[client.Receiver], Any]


def receiving(change: Change) -> type[client.Transport]:
    """A transport whose receivers give what ``change(receiver)`` says instead of the next item."""

    class Receiver(client.Receiver):
        def __next__(self) -> Any:
            return change(_Inner(self))  # type: ignore[arg-type]

    class _Inner:
        def __init__(self, outer: client.Receiver) -> None:
            self.outer = outer

        def __next__(self) -> Any:
            return client.Receiver.__next__(self.outer)

    class Transport(client.Transport):
        def recv(self, **options: Any) -> client.Receiver:
            receiver = super().recv(**options)
            receiver.__class__ = Receiver
            return receiver

    return Transport
