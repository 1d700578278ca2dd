"""An application says who may subscribe to its tracks: others get nothing, and that lasts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ringroom
from app_kit import PATIENCE, Call, opened, until
from recovery_kit import LONG, killed
from refusal_kit import INF, NAN
from ringroom.errors import ConfigurationError, FrameError, RoomError
from ringroom.events import Event, EventKind, TrackInfo
from ringroom.frames import AudioFrame
from ringroom.options import Reconnect, SessionOptions
from ringroom.providers.fake import Fake
from ringroom.providers.provider import Joined, OutgoingTrack, Playout, Provider, Sink, Subscribers
from ringroom.testing import FakeRoom

SOME = Subscribers(frozenset({"ann"}), {"b": frozenset({"bob"})})
SOON = Reconnect(backoff=0.01, longest=0.02)


def words(value: int, track: str | None = None) -> AudioFrame:
    return AudioFrame(np.full(1_600, value, np.int16), 16_000, track=track)


def allows(room: FakeRoom, identity: str, track: str = "audio") -> bool:
    return room.application.subscribers.allows(identity, track)


def until_said(room: FakeRoom, wanted: Callable[[], bool]) -> None:
    until(wanted, "the room being told who may subscribe")


def test_who_may_subscribe_is_told(fake_room: FakeRoom) -> None:
    with opened(fake_room, kinds=()) as transport:
        assert allows(fake_room, "bob")
        transport.allow_subscribers(["ann"], timeout=PATIENCE)
        until_said(fake_room, lambda: not allows(fake_room, "bob"))
        assert allows(fake_room, "ann")
        transport.allow_subscribers(("bob",), track="whisper", timeout=PATIENCE)
        transport.allow_subscribers(None, track="public", timeout=PATIENCE)
        until_said(fake_room, lambda: allows(fake_room, "bob", "public"))
        for who, track, allowed in (
            ("ann", "whisper", False),
            ("bob", "whisper", True),
            ("bob", "audio", False),
            ("bob", "public", True),
        ):
            assert allows(fake_room, who, track) is allowed, (who, track)
        for who, left in (((), Subscribers(frozenset())), (None, Subscribers())):
            transport.allow_subscribers(who, timeout=PATIENCE)  # for all tracks: it begins anew
            until_said(fake_room, lambda left=left: fake_room.application.subscribers == left)


def test_another_application_gets_what_it_may(fake_room: FakeRoom) -> None:
    with (
        opened(fake_room, kinds=(), identity="us") as us,
        opened(fake_room, kinds=("audio", "event"), identity="them") as them,
    ):
        receiver = them.recv(timeout=PATIENCE)
        us.allow_subscribers(["somebody"], track="whisper", timeout=PATIENCE)
        us.send(words(5, "whisper"), timeout=PATIENCE)
        us.send(words(6, "public"), timeout=PATIENCE)
        heard: set[int] = set()
        while 6 not in heard:
            item = next(receiver)
            if isinstance(item, AudioFrame):
                heard |= {*item.samples.ravel().tolist()}
        assert 5 not in heard
        us.allow_subscribers(["them"], track="whisper", timeout=PATIENCE)
        while 7 not in heard:
            us.send(words(7, "whisper"), timeout=PATIENCE)
            item = next(receiver)
            if isinstance(item, AudioFrame):
                heard |= {*item.samples.ravel().tolist()}
        us.allow_subscribers((), timeout=PATIENCE)
        while not (isinstance(item, Event) and item.kind is EventKind.TRACK_ENDED):
            item = next(receiver)


@pytest.mark.parametrize("again", ["loss", "next room"])
def test_it_holds_when_the_room_is_joined_again(fake_room: FakeRoom, again: str) -> None:
    with opened(fake_room, kinds=(), reconnect=SOON) as transport:
        transport.allow_subscribers(["ann"], timeout=PATIENCE)
        if again == "loss":
            with fake_room.faults.connection_lost():
                later = Call(transport.allow_subscribers, ["bob"], track="b", timeout=PATIENCE)
            later.result()
        else:
            transport.allow_subscribers(["bob"], track="b", timeout=PATIENCE)
            fake_room.break_connection()
            until(lambda: fake_room.application.joins == 2, "the next room")
        until_said(fake_room, lambda: fake_room.application.subscribers == SOME)


@pytest.mark.once
def test_it_holds_when_the_io_process_dies(fake_room: FakeRoom) -> None:
    with opened(fake_room, io="process", kinds=(), reconnect=SOON) as transport:
        transport.send(words(1), timeout=PATIENCE)
        transport.allow_subscribers(["ann"], timeout=PATIENCE)
        transport.allow_subscribers(["bob"], track="b", timeout=PATIENCE)
        killed(transport)
        transport.send(words(2), timeout=LONG)
        until(lambda: fake_room.application.joins == 2, "the room being joined again", LONG)
        until_said(fake_room, lambda: fake_room.application.subscribers == SOME)


class Careful(Fake):
    """Notes in which order it is told what."""

    log: list[Any] = []  # noqa: RUF012

    def open(self, descriptors: tuple[int, ...]) -> Provider:
        return CarefulProvider(super().open(descriptors))


class CarefulProvider(Provider):
    def __init__(self, inner: Provider) -> None:
        self.inner = inner

    async def connect(self, sink: Sink, options: SessionOptions) -> Joined:
        return await self.inner.connect(sink, options)

    async def publish(self, track: OutgoingTrack) -> Playout:
        Careful.log.append(track.name)
        return await self.inner.publish(track)

    def allow_subscribers(self, allowed: Subscribers) -> None:
        Careful.log.append(allowed)
        self.inner.allow_subscribers(allowed)

    async def send_data(self, frame: Any) -> None:
        await self.inner.send_data(frame)

    async def close(self) -> None:
        await self.inner.close()


def test_the_next_room_is_told_before_anything_is_published_there(fake_room: FakeRoom) -> None:
    Careful.log = log = []
    spec = Careful(room=fake_room)
    with ringroom.transport(spec, io="thread", kinds=(), reconnect=SOON) as transport:
        transport.send(words(1), timeout=PATIENCE)
        transport.wait_playout(timeout=PATIENCE)
        assert log == ["audio"], "who may not be told that everybody may is not"
        transport.allow_subscribers(["ann"], timeout=PATIENCE)
        fake_room.break_connection()
        until(lambda: log.count("audio") == 2, "the track being published again")
        ann = Subscribers(frozenset({"ann"}))
        assert log == ["audio", ann, ann, "audio"]


class Open(Fake):
    """A provider that everybody may subscribe with."""

    subscribers = False


def test_a_provider_without_it_says_so(fake_room: FakeRoom) -> None:
    with ringroom.transport(Open(room=fake_room), io="thread", kinds=()) as transport:
        with pytest.raises(RoomError, match="not supported: allow_subscribers") as caught:
            transport.allow_subscribers(["ann"], timeout=PATIENCE)
        assert caught.value.reason == "not_supported"


def test_a_provider_that_does_not_override_it_says_so() -> None:
    with pytest.raises(RoomError, match="not supported: allow_subscribers"):
        Provider.allow_subscribers(object(), Subscribers())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("who", "track", "error", "match"),
    [
        ("ann", None, ConfigurationError, "who may subscribe is 'ann', expected a list of identi"),
        (5, None, ConfigurationError, "who may subscribe is 5"),
        ([""], None, ConfigurationError, "an identity that may subscribe is empty"),
        ([5], None, ConfigurationError, "who may subscribe: the identity is of type int"),
        (["a"] * 1_001, None, ConfigurationError, "1001 identities may subscribe, at most 1000"),
        (["ann"], "", FrameError, "the track name is empty"),
        (["ann"], 5, FrameError, "track name"),
    ],
)
def test_what_is_refused(
    fake_room: FakeRoom, who: Any, track: Any, error: type[Exception], match: str
) -> None:
    with opened(fake_room, kinds=()) as transport:
        with pytest.raises(error, match=match):
            transport.allow_subscribers(who, track=track)
        for seconds in (NAN, INF):
            with pytest.raises(ConfigurationError, match="timeout is"):
                transport.allow_subscribers(None, timeout=seconds)
        for number in range(256):
            transport.allow_subscribers(None, track=f"t{number}", timeout=PATIENCE)
        with pytest.raises(ConfigurationError, match="257 tracks would have subscribers of their"):
            transport.allow_subscribers(None, track="t256", timeout=PATIENCE)


def test_on_asyncio(fake_room: FakeRoom) -> None:
    async def main() -> None:
        options = {"room": fake_room, "io": "thread", "kinds": ()}
        async with ringroom.aio.transport("fake", **options) as transport:
            info = TrackInfo(sid="TR", name="mic", kind="audio", participant="ann")  # type: ignore[arg-type]
            await transport.allow_subscribers(["ann"], track=info)
            until_said(fake_room, lambda: not allows(fake_room, "bob", "ann/mic"))
            assert allows(fake_room, "ann", "ann/mic")
            with pytest.raises(ConfigurationError):
                await transport.allow_subscribers("ann")

    asyncio.run(main())


class Whispers(ringroom.Processor):
    """Answers each for their own ears."""

    def start(self, context: ringroom.Context) -> None:
        self.context = context

    def open(self, track: TrackInfo) -> None:
        self.context.allow_subscribers([track.participant], track=track)

    def process(self, frame: AudioFrame) -> AudioFrame:
        return frame


@pytest.mark.once
def test_a_processor_says_it_of_its_answers(fake_room: FakeRoom) -> None:
    microphone = fake_room.join("ann").publish_audio()
    with ringroom.Pool(Whispers, "fake", room=fake_room, workers=1) as pool:
        microphone.wait_for_subscriber()
        microphone.tone(seconds=0.2)
        fake_room.wait_for_audio("ann/mic", 0.1)
        until_said(fake_room, lambda: not allows(fake_room, "bob", "ann/mic"))
        assert allows(fake_room, "ann", "ann/mic")
        assert allows(fake_room, "bob", "other")
        pool.allow_subscribers((), timeout=PATIENCE)
        until_said(fake_room, lambda: not allows(fake_room, "ann", "ann/mic"))
