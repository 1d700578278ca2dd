"""Applications without a provider, and a clock that stands still, for a room of the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from app_kit import opened
from ringroom.events import Event, EventKind, Kind
from ringroom.providers.fake import messages, wire
from ringroom.testing import FakeRoom

M = TypeVar("M", bound=messages.Message)
ALL = ("audio", "video", "data", "event")


class App:
    """An application without a provider: a socket that says what the test says."""

    def __init__(self, room: FakeRoom, identity: str = "app") -> None:
        self.socket = room.dial()
        self.socket.settimeout(10)
        self._decoder = wire.Decoder()
        self._received: list[messages.Message] = []
        self.say(messages.Join(identity=identity))
        self.joined = self.next(messages.Joined)

    def say(self, message: messages.Message) -> None:
        self.socket.sendall(wire.encode(message))

    def hear(self) -> messages.Message | None:
        while not self._received:
            data = self.socket.recv(65_536)
            if not data:
                return None
            self._received.extend(self._decoder.feed(data))
        return self._received.pop(0)

    def next(self, kind: type[M]) -> M:
        while not isinstance(message := self.hear(), kind):
            assert message is not None, f"the end came before {kind.__name__}"
        return message

    def publish(self, name: str = "out", kind: Kind = Kind.AUDIO, track: str = "1") -> None:
        fields = {"name": name, "kind": kind, "source": "x", "muted": False}
        self.say(messages.Publish(request=1, track=track, **fields))
        self.next(messages.Done)

    def play(self, pcm: bytes, time_ns: int = 0, rate: int = 8_000, channels: int = 1) -> None:
        self.say(
            messages.Audio(
                track="1", sample_rate=rate, channels=channels, time_ns=time_ns, payload=pcm
            )
        )


@contextmanager
def joined(room: FakeRoom, identity: str = "app") -> Iterator[App]:
    app = App(room, identity)
    with app.socket:
        yield app


class ManualClock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 0.0
        self._calls: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        self._calls.append((when, callback))

    def advance(self, seconds: float) -> None:
        self.now += seconds
        due = [callback for when, callback in self._calls if when <= self.now]
        self._calls = [call for call in self._calls if call[0] > self.now]
        for callback in due:
            callback()


def connects(room: FakeRoom, **options: Any) -> None:
    with opened(room, **options):
        room.wait_for_app()


def event(events: Any, kind: EventKind) -> Event:
    """The next event of that kind."""
    return next(found for found in events if found.kind is kind)
