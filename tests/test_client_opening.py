"""A transport is opened: by name, by spec, in a process of its own, for sound only; or refused."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

import ringroom
from app_kit import (
    PATIENCE,
    check_law,
    children,
    microphone,
    noise,
    opened,
    same,
    say,
    sound,
    take,
)
from ringroom.errors import (
    ClosedError,
    ConfigurationError,
    FrameError,
    RoomError,
)
from ringroom.events import Kind
from ringroom.frames import DataFrame
from ringroom.options import TransportConfig
from ringroom.testing import FakeRoom, VirtualClock


def test_a_refused_connection(fake_room: FakeRoom) -> None:
    fake_room.refuse_connects()
    with pytest.raises(RoomError) as refused:
        ringroom.transport("fake", room=fake_room, io="thread")
    assert refused.value.reason == "unauthorized"
    fake_room.refuse_connects("timeout")
    with pytest.raises(RoomError) as late:
        ringroom.transport("fake", room=fake_room, io="thread", connect_timeout=0.1)
    assert late.value.reason == "timeout"


def test_by_name_by_spec_and_from_a_config(fake_room: FakeRoom) -> None:
    with ringroom.transport("fake", room=fake_room, io="thread") as by_name:
        assert (by_name.room, by_name.identity) == (fake_room.name, "app")
        assert repr(by_name) == f"<Transport fake in {fake_room.name!r} as 'app'>"
    assert repr(by_name) == "<Transport fake closed>"
    spec = ringroom.Fake(room=fake_room, identity="spec")
    with ringroom.transport(spec, io="thread") as by_spec:
        assert by_spec.identity == "spec"
    config = TransportConfig(
        url="ws://x", token="t", sample_rate=8_000, extra={"room": fake_room, "identity": "config"}
    )
    with ringroom.transport("fake", config, io="thread", max_age=20.0) as by_config:
        assert by_config.identity == "config"
        mic = microphone(fake_room)
        say(mic)
        assert next(by_config.recv(timeout=PATIENCE)).sample_rate == 8_000


def test_in_a_process_of_its_own(fake_room: FakeRoom) -> None:
    before = children()
    with opened(fake_room, io="process", token="s3cret") as transport:
        mic = microphone(fake_room)
        mic.wait_for_subscriber()
        spoken = say(mic)
        heard = take(transport.recv(timeout=PATIENCE), len(spoken))
        assert same(heard, spoken)
        transport.send(sound(0.1, 5))
        assert same(fake_room.wait_for_audio(seconds=0.1).samples, noise(0.1, 5))
        transport.send_data("hello", topic="chat")
        assert fake_room.wait_for_data("chat")[0].payload == b"hello"
        child = min(children() - before, key=lambda pid: pid == _tracker())
        public = [Path(f"/proc/{child}/{name}").read_text() for name in ("cmdline", "environ")]
        assert not any("s3cret" in text for text in public)
    check_law(transport)


def _tracker() -> int:
    from multiprocess import resource_tracker

    return int(resource_tracker._resource_tracker._pid or 0)


def test_several_transports_share_a_process(fake_room: FakeRoom) -> None:
    with ringroom.IOProcess() as shared:
        pid = shared.pid
        with (
            opened(fake_room, io=shared, identity="one") as one,
            opened(fake_room, io=shared, identity="two", kinds=("audio", "data")) as two,
        ):
            one.send(sound(0.1, 1))
            heard = take(two.recv(kinds=("audio",), timeout=PATIENCE), 1_600)
            assert same(heard, noise(0.1, 1))
            one.close()
            assert os.path.exists(f"/proc/{pid}")
            two.send_data(b"still here")
            fake_room.wait_for_data(app="two")
    assert shared.pid is None
    with pytest.raises(ClosedError, match="closed"):
        ringroom.transport("fake", room=fake_room, io=shared)


def test_a_voice_transport(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)
    wide = ringroom.transport("fake", room=fake_room, io="thread", max_age=20.0)
    with ringroom.as_voice_transport(wide) as voice:
        mic.wait_for_subscriber()
        spoken = say(mic, 0.04)
        receiver = voice.recv(timeout=PATIENCE)
        frames = [next(receiver), next(receiver)]
        assert b"".join(frame.data for frame in frames) == spoken.tobytes()
        voice.send(frames[0], timeout=PATIENCE)
        with pytest.raises(FrameError, match="sends AudioFrame"):
            voice.send(DataFrame(b"x"))  # type: ignore[arg-type]
        fake_room.wait_for_audio("alice/mic", 0.02)
        voice.close()
    with pytest.raises(ClosedError, match="fake: transport is closed"):
        voice.recv()
    assert not hasattr(voice, "stats")


def test_kinds_without_audio_refuse_a_voice(fake_room: FakeRoom) -> None:
    with opened(fake_room, kinds=("data",)) as transport:
        with pytest.raises(ConfigurationError):
            ringroom.as_voice_transport(transport).recv()
        assert transport._connection.options.kinds == (Kind.DATA,)


class Known:
    """A predicate over more people than a socket takes at once."""

    def __init__(self) -> None:
        self.identities = frozenset(f"participant {number:06}" for number in range(20_000))

    def __call__(self, participant: ringroom.Participant) -> bool:
        return participant.identity in self.identities


def test_options_that_the_socket_does_not_take_at_once() -> None:
    with VirtualClock() as clock, FakeRoom(clock=clock) as room:
        began = clock.now()
        options: Any = {"room": room, "io": clock.io, "participants": Known()}
        with ringroom.transport("fake", **options) as transport:
            assert transport.room == room.name
            assert clock.now() - began < 1.0
            clock.kill("ringroom-io")
            transport.send(sound(0.1), timeout=60)  # once another I/O process has the same options


def test_the_same_in_an_event_loop() -> None:
    with VirtualClock() as clock, FakeRoom(clock=clock) as room:

        async def main() -> None:
            began = clock.now()
            options: Any = {"room": room, "io": clock.io, "participants": Known()}
            async with ringroom.aio.transport("fake", **options) as transport:
                assert clock.now() - began < 1.0
                clock.kill("ringroom-io")
                async with asyncio.timeout(60):
                    await transport.send(sound(0.1))

        clock.run(main())


def test_the_same_in_a_pool() -> None:
    with VirtualClock() as clock, FakeRoom(clock=clock) as room:
        options: Any = {"room": room, "io": clock.io, "workers": 1, "spares": 0}
        with ringroom.Pool(Silent, "fake", participants=Known(), **options) as pool:
            clock.kill("ringroom-io")
            clock.sleep(5.0)
            pool.send(sound(0.1), timeout=60)


class Silent(ringroom.Processor):
    def process(self, frame: Any) -> None:
        return None
