"""The server or the network fails in mid-call: recovery, or one clear error, as the policy says.

Both sides are transports of ours. Servers are restarted and frozen through the Docker SDK; the port
is blocked by a relay that passes nothing on.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Self
from urllib.parse import urlsplit

import docker
import numpy as np
import pytest
from livekit import api

import ringroom
from integration.clients.relay import Relay
from integration.conftest import unavailable
from ringroom.testing.server import LiveKitRoom, LiveKitServer
from ringroom.testing.simulation.laws import check_counts

RATE = 16_000
PATIENCE = 60.0
# The server takes a token for another minute after it has expired.
LEEWAY = 60.0


class Party:
    """A transport in the room that speaks all the time, listens, and keeps what it is told."""

    def __init__(self, url: str, token: str | Callable[[], str], **options: Any) -> None:
        self.events: list[ringroom.Event] = []
        self.heard: dict[str, int] = {}
        self.error: BaseException | None = None
        self.messages: list[bytes] = []
        self._taken = 0
        self._changed = threading.Condition()
        self._over = threading.Event()
        self.transport = ringroom.transport(
            "livekit",
            url=url,
            token=token,
            kinds=("audio", "data", "event"),
            publish=ringroom.PublishOptions(mode="live"),
            **options,
        )
        self._threads = [threading.Thread(target=run) for run in (self._listen, self._speak)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self.transport.close()
        for thread in self._threads:
            thread.join()
        stats = self.transport.stats()
        check_counts(stats.lanes, over=True)
        assert stats.received.done == self._taken

    def _listen(self) -> None:
        try:
            for item in self.transport.recv():
                self._take(item)
        except ringroom.RingroomError as error:
            self.error = error
        with self._changed:
            self._changed.notify_all()

    def _take(self, item: object) -> None:
        with self._changed:
            self._taken += not isinstance(item, ringroom.Event)
            if isinstance(item, ringroom.AudioFrame):
                if np.abs(item.samples).max() > 100:
                    self.heard[item.participant] = self.heard.get(item.participant, 0) + 1
            elif isinstance(item, ringroom.DataFrame):
                self.messages.append(item.payload)
            elif isinstance(item, ringroom.Event):
                self.events.append(item)
            self._changed.notify_all()

    def _speak(self) -> None:
        tone = (8_000 * np.sin(np.arange(320) * 2 * np.pi * 440 / RATE)).astype(np.int16)
        with contextlib.suppress(ringroom.RingroomError):
            while not self._over.wait(0.02):
                self.transport.send(ringroom.AudioFrame(tone, RATE))

    @property
    def kinds(self) -> list[str]:
        return [str(event.kind) for event in list(self.events)]

    def wait(self, condition: Callable[[], Any], what: str) -> None:
        end = time.monotonic() + PATIENCE
        with self._changed:
            while not condition():
                assert time.monotonic() < end, f"{what}: {self.kinds}, {self.error}"
                self._changed.wait(0.1)

    def wait_for(self, kind: str, count: int = 1) -> None:
        self.wait(lambda: self.kinds.count(kind) >= count, f"{count} x {kind}")

    def wait_to_hear(self, who: str) -> None:
        with self._changed:
            self.heard.clear()
        self.wait(lambda: self.heard.get(who, 0) > 20, f"{who} is not heard")

    def wait_for_end(self) -> None:
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), self.kinds

    def check_one_end(self) -> None:
        assert self.kinds.count("disconnected") == 1
        assert self.kinds[-1] == "disconnected"


class Minter:
    """A token function that counts: a fresh token for each try."""

    def __init__(self, room: LiveKitRoom, identity: str) -> None:
        self._room, self._identity = room, identity
        self.asked = 0

    def __call__(self) -> str:
        self.asked += 1
        return self.mint(3_600.0)

    def mint(self, life: float) -> str:
        """``life`` is how many seconds from now the server takes it."""
        server = self._room.server
        return (
            api.AccessToken(server.api_key, server.api_secret)
            .with_identity(self._identity)
            .with_ttl(datetime.timedelta(seconds=life - LEEWAY))
            .with_grants(api.VideoGrants(room_join=True, room=self._room.name))
            .to_jwt()
        )


class Stale(Minter):
    """Always the same token, which is soon too old."""

    def __init__(self, room: LiveKitRoom, identity: str, life: float) -> None:
        super().__init__(room, identity)
        self._life = life
        self._token = ""

    def __call__(self) -> str:
        self.asked += 1
        # From the first time on: who is late in asking has it as long.
        self._token = self._token or self.mint(self._life)
        return self._token


@pytest.fixture
def container(request: pytest.FixtureRequest, own: LiveKitServer) -> Iterator[Any]:
    """The one that the server runs in."""
    port = str(urlsplit(own.url).port)
    with contextlib.closing(docker.from_env()) as client:
        found = [one for one in client.containers.list() if port in published(one)]
        if not found and os.environ.get("LIVEKIT_URL"):
            unavailable(request, "the server that LIVEKIT_URL names runs in no container here")
        assert found, "no container has the server's port"  # where Docker brought it up
        yield found[0]


def published(container: Any) -> set[str]:
    """The ports of this machine that lead there."""
    bound = [one for ports in container.ports.values() for one in ports or ()]
    return {one["HostPort"] for one in bound}


def test_a_server_that_is_restarted_costs_the_call_nothing_more(
    own: LiveKitServer, container: Any
) -> None:
    room = own.room()
    with Party(room.url, room.token("us")) as us, Party(room.url, room.token("ann")) as ann:
        us.wait_to_hear("ann")
        ann.wait_to_hear("us")
        container.restart(timeout=5)
        for one, other in ((us, "ann"), (ann, "us")):
            one.wait_for("connection_back")
            one.wait_to_hear(other)
        us.transport.send_data(b"still here")
        ann.wait(lambda: ann.messages == [b"still here"], "the message")
        assert us.error is ann.error is None
        assert us.kinds.count("connected") == 1
        assert "publish_failed" not in us.kinds


def test_a_connection_that_dies_full_of_messages_is_given_up(
    own: LiveKitServer, container: Any
) -> None:
    """The SDK does not begin to reconnect while a message waits for room in its data channel."""
    room = own.room()
    with (
        Party(room.url, room.token("us"), connect_timeout=6.0) as us,
        Party(room.url, room.token("ann")) as ann,
    ):
        us.wait_to_hear("ann")
        ann.wait_to_hear("us")
        container.pause()

        def send() -> None:
            for _ in range(60):
                us.transport.send_data(bytes(60_000), timeout=PATIENCE)

        sending = threading.Thread(target=send)
        sending.start()
        us.wait(lambda: taken(us) * 60_000 > 2 << 20, "the channel is full")
        container.kill()
        container.start()
        us.wait_for("connection_back")
        us.wait_to_hear("ann")
        ann.wait_to_hear("us")
        sending.join(PATIENCE)
        assert not sending.is_alive()
        ann.wait(lambda: ann.messages, "what had waited")
        assert us.error is ann.error is None
        failed = [event.reason for event in us.events if event.kind == "data_failed"]
        assert any("were taken before may not have arrived" in why for why in failed)
        assert len(failed) > 1, "what the dead one was given, and did not take"


def taken(party: Party) -> int:
    """How many messages its I/O process has begun to send."""
    lanes = party.transport.stats().lanes
    return sum(
        lane.counts.taken for lane in lanes if (lane.kind, lane.direction) == ("data", "out")
    )


def test_a_transport_outlives_its_io_process(own: LiveKitServer) -> None:
    room = own.room()
    mint = Minter(room, "us")
    with Party(room.url, mint) as us, Party(room.url, room.token("ann")) as ann:
        ann.transport.send_data(b"before")
        us.wait(lambda: us.messages == [b"before"], "the first message")
        for times in (1, 2):
            us.wait_to_hear("ann")
            ann.wait_to_hear("us")
            pid = us.transport.io_pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            us.wait_for("connection_back", times)
            assert us.transport.io_pid not in (None, pid)
        us.wait_to_hear("ann")
        ann.wait_to_hear("us")
        us.transport.send_data(b"still here")
        ann.wait(lambda: ann.messages == [b"still here"], "the message")
        assert us.kinds.count("connection_lost") == 2
        assert us.error is ann.error is None
        assert mint.asked == 3


@pytest.mark.timeout(240)
def test_a_server_that_is_away_for_longer_than_the_sdk_tries(own: LiveKitServer) -> None:
    """The room is joined anew, with a fresh token; who has none but the old one is told."""
    room = own.room()
    mint, stale = Minter(room, "us"), Stale(room, "ann", life=10.0)
    policy = ringroom.Reconnect(retries=1_000, backoff=0.2, longest=0.5, deadline=200.0)
    with (
        Party(room.url, mint, reconnect=policy) as us,
        Party(room.url, stale, reconnect=policy) as ann,
    ):
        us.wait_to_hear("ann")
        own.stop()
        # Either SDK may try for longer than the other.
        us.wait(lambda: mint.asked > 1 and stale.asked > 1, "the SDKs have not given up")
        own.start()
        us.wait_for("connection_back")
        with Party(room.url, room.token("ben")) as ben:
            us.wait_to_hear("ben")
            ben.wait_to_hear("us")
        assert us.kinds.count("connection_lost") == us.kinds.count("connection_back") == 1
        assert us.error is None
        ann.wait_for_end()
        assert isinstance(ann.error, ringroom.RoomError)
        assert ann.error.reason == "unauthorized"
        assert "the server refused the token" in str(ann.error)
        ann.check_one_end()


@pytest.mark.parametrize("refused", [1, 4])
def test_who_is_let_in_at_a_later_attempt_hears_all_the_same(
    own: LiveKitServer, refused: int
) -> None:
    """In a process that has not joined before. The SDK's own second attempt is deaf."""
    room = own.room()
    with Relay(own.url, 0) as relay, Party(room.url, room.token("ann")) as ann:
        relay.refuse(refused)
        with Party(relay.url, room.token("us")) as us:
            us.wait_to_hear("ann")
            ann.wait_to_hear("us")
        assert relay.refused == refused


@pytest.mark.timeout(240)
def test_a_port_that_is_blocked_for_a_while(own: LiveKitServer) -> None:
    """Who has the patience goes on; who has not gets one error."""
    room = own.room()
    hasty = ringroom.Reconnect(deadline=3.0)
    not_relayed = 1  # the signalling alone is lost
    with (
        Relay(own.url, not_relayed) as relay,
        Party(relay.url, room.token("us")) as us,
        Party(relay.url, room.token("hasty"), reconnect=hasty) as other,
        Party(room.url, room.token("ann")) as ann,
    ):
        us.wait_to_hear("ann")
        with relay.down():
            us.wait_for("connection_lost")
            other.wait_for_end()
        us.wait_for("connection_back")
        us.wait_to_hear("ann")
        us.transport.send_data(b"after")
        ann.wait(lambda: ann.messages == [b"after"], "the message")
        assert us.error is None
        assert isinstance(other.error, ringroom.RoomError)
        assert other.error.reason == "disconnected"
        assert str(other.error).endswith("the connection was lost, and not back within 3 s")
        other.check_one_end()


async def _ask(server: LiveKitServer, call: Callable[[Any], Awaitable[object]]) -> None:
    url = server.url.replace("ws", "http", 1)
    async with api.LiveKitAPI(url, server.api_key, server.api_secret) as admin:
        await call(admin.room)


def delete(room: LiveKitRoom) -> None:
    request = api.DeleteRoomRequest(room=room.name)
    asyncio.run(_ask(room.server, lambda rooms: rooms.delete_room(request)))


def remove(room: LiveKitRoom) -> None:
    request = api.RoomParticipantIdentity(room=room.name, identity="us")
    asyncio.run(_ask(room.server, lambda rooms: rooms.remove_participant(request)))


def join_as_us(room: LiveKitRoom) -> None:
    with Party(room.url, room.token("us")) as other:
        other.wait_for("connected")


@pytest.mark.parametrize(
    ("decide", "reason"),
    [
        (delete, "room closed: it was deleted"),
        (remove, "removed from the room"),
        (join_as_us, "another participant joined with the same identity"),
    ],
    ids=["deleted", "removed", "duplicate"],
)
def test_what_the_server_decides_is_the_end_and_not_joined_anew(
    own: LiveKitServer, decide: Callable[[LiveKitRoom], None], reason: str
) -> None:
    room = own.room()
    mint = Minter(room, "us")
    with Party(room.url, mint) as us:
        us.wait_for("connected")
        decide(room)
        us.wait_for_end()
        assert us.transport.ended == reason
        assert us.error is None
        us.check_one_end()
        assert "connection_lost" not in us.kinds
        with pytest.raises(ringroom.ClosedError, match=reason):
            us.transport.send(ringroom.AudioFrame(bytes(640), RATE))
        assert mint.asked == 1
