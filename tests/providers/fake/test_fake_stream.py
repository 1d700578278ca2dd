"""A peer that is no room, does not read, or breaks off: an error in time, and nothing grows."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
from fake_kit import RememberingSink, connected, run

from ringroom.errors import RoomError
from ringroom.events import Participant, RoomInfo
from ringroom.frames import DataFrame
from ringroom.options import SessionOptions
from ringroom.providers.fake import messages, stream, wire
from ringroom.providers.fake.connection import FakeProvider
from ringroom.providers.fake.spec import Fake, HandedOver
from ringroom.providers.fake.stream import MessageStream

JOINED = wire.encode(
    messages.Joined(room=RoomInfo(name="r"), participant=Participant(identity="app"))
)
SOUND = messages.Audio(track="1", sample_rate=8_000, channels=1, time_ns=0, payload=bytes(60_000))


@pytest.fixture
def peer() -> Iterator[tuple[socket.socket, FakeProvider]]:
    ours, theirs = socket.socketpair()
    provider = Fake(room=HandedOver("room")).open((theirs.detach(),))
    assert isinstance(provider, FakeProvider)
    with ours:
        yield ours, provider


def test_nonsense_instead_of_an_answer(peer: tuple[socket.socket, FakeProvider]) -> None:
    async def test() -> None:
        room, provider = peer
        room.sendall(b"HTTP/1.1 400")
        with pytest.raises(RoomError, match="starts with") as raised:
            await provider.connect(RememberingSink(), SessionOptions())
        assert raised.value.reason == "unreachable"
        await provider.close()

    run(test())


def test_hanging_up_instead_of_an_answer(peer: tuple[socket.socket, FakeProvider]) -> None:
    async def test() -> None:
        room, provider = peer
        room.shutdown(socket.SHUT_WR)
        with pytest.raises(RoomError, match="hung up") as raised:
            await provider.connect(RememberingSink(), SessionOptions())
        assert raised.value.reason == "unreachable"
        await provider.close()

    run(test())


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"HTTP/1.1 400", "a message starts with"),
        (wire.encode(messages.Leave()), "the room sent Leave, which is ours to send"),
        (wire.encode(messages.Done(request=99)), ""),
        (wire.encode(messages.Refused(request=99, reason="x", text="y")), ""),
        (wire.encode(messages.TrackUnpublished(track="x", reason="")), ""),
        (wire.encode(messages.TrackMuted(track="x", muted=True)), ""),
        (wire.encode(messages.AudioPause(track="x")), ""),
        (wire.encode(SOUND), ""),
    ],
)
def test_nonsense_ends_the_connection_and_the_unknown_is_ignored(
    peer: tuple[socket.socket, FakeProvider], said: bytes, error: str
) -> None:
    async def test() -> None:
        room, provider = peer
        room.sendall(JOINED + said)
        async with connected(provider) as (_, sink):
            room.shutdown(socket.SHUT_WR)
            await sink.until(lambda: sink.end)
            assert sink.end is not None
            assert sink.end[0] == "disconnected"
            assert (error or "the room hung up") in sink.end[1]

    run(test())


def test_a_message_that_is_too_large_is_refused(
    peer: tuple[socket.socket, FakeProvider], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        room, provider = peer
        room.sendall(JOINED + wire.encode(messages.AllTold()))
        async with connected(provider):
            monkeypatch.setattr(wire, "MAX_HEADER", 300)
            with pytest.raises(RoomError, match="header") as raised:
                await provider.send_data(DataFrame(b"x", topic="t" * 300))
            assert raised.value.reason == "data_refused"

    run(test())


def test_a_peer_that_does_not_read_costs_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_MAX_UNSENT", 1 << 20)

    async def test() -> None:
        room, ours = socket.socketpair()
        with room:
            line = await MessageStream.open(ours)
            for _ in range(100):
                line.send(SOUND)
            line.send(messages.Leave())
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await line.drain()
            await line.close(0.01)
            room.settimeout(10)
            received = 0
            while data := room.recv(1 << 20):
                received += len(data)
            assert received < 3 << 20

    run(test())


def test_a_connection_that_broke_says_so() -> None:
    async def test() -> None:
        room, ours = socket.socketpair()
        line = await MessageStream.open(ours)
        room.close()
        assert await line.receive() is None
        line.send(SOUND)
        with pytest.raises(RoomError, match="hung up"):
            await line.drain()
        line.send(SOUND)
        assert await line.receive() is None
        await line.close(1)

    run(test())


def test_a_close_that_sends_the_rest_of_what_waits_ends_in_order() -> None:
    """An abort of a socket that is closed like that fails in asyncio."""

    async def test() -> None:
        ours, theirs = socket.socketpair()
        with ours:
            closed = await MessageStream.open(theirs)
            for _ in range(20):
                closed.send(SOUND)
            closing = asyncio.ensure_future(closed.close(30.0))
            await asyncio.sleep(0)
            got = 0
            ours.setblocking(False)
            while data := await asyncio.get_running_loop().sock_recv(ours, 1 << 20):
                got += len(data)
            await closing
            assert got == 20 * len(wire.encode(SOUND))

    run(test())
