"""Clients that are lost in mid-call: what we see of it, and that we and the others go on.

The other side is a browser or Go's SDK. Networks are cut for real: by a relay that loses the
packets of one client, or by a server that answers nobody.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Self

import numpy as np
import pytest

import ringroom
from integration.clients import tones
from integration.clients.client import Client
from integration.clients.relay import Relay
from integration.conftest import Joins, unavailable
from ringroom.testing.backends.compose import ComposeProject
from ringroom.testing.server import LiveKitRoom, LiveKitServer
from ringroom.testing.simulation.laws import check_counts

RATE = 48_000
LEVEL = 0.3 / 2**0.5  # RMS of what the clients' tones have
BLOCK = 0.02
# Seconds until the server, or WebRTC, takes somebody for lost; the protocol's own patience.
PATIENCE = 60.0
# A call that stops with somebody else's loss stops as long. That its sound has no gap at all is for
# `test_main_job` to judge; here the echo shares its interpreter with the test.
STOPPED = 3.0


class Echo:
    """A transport of ours in the room: sends back what it hears, and keeps what it was told."""

    def __init__(self, room: LiveKitRoom) -> None:
        self.events: list[ringroom.Event] = []
        self.sound: dict[str, list[np.ndarray]] = defaultdict(list)
        self.errors: list[BaseException] = []
        self._taken = 0
        self._said = threading.Condition()
        self.transport = ringroom.transport(
            "livekit",
            url=room.url,
            token=room.token("echo"),
            sample_rate=RATE,
            kinds=("audio", "data", "event"),
            publish=ringroom.PublishOptions(mode="live"),
        )
        self._thread = threading.Thread(target=self._run, name="echo")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.transport.close()
        self._thread.join()
        assert not self.errors, self.errors
        stats = self.transport.stats()
        check_counts(stats.lanes, over=True)
        assert stats.received.done == self._taken

    def _run(self) -> None:
        try:
            with contextlib.suppress(ringroom.ClosedError):
                for item in self.transport.recv():
                    self._take(item)
        except BaseException as error:  # noqa: BLE001 (raised by `__exit__`)
            self.errors.append(error)

    def _take(self, item: object) -> None:
        self._taken += not isinstance(item, ringroom.Event)
        if isinstance(item, ringroom.AudioFrame):
            self.transport.send(item.replace(track=f"re:{item.participant}"))
        elif isinstance(item, ringroom.DataFrame):
            self.transport.send_data(item.payload, topic=f"re:{item.topic}")
        with self._said:
            if isinstance(item, ringroom.AudioFrame):
                self.sound[item.participant].append(item.as_float()[:, 0])
            elif isinstance(item, ringroom.Event):
                self.events.append(item)
            self._said.notify_all()

    def told(self, kind: str, who: str | None = None) -> list[ringroom.Event]:
        return [
            event
            for event in list(self.events)
            if event.kind == kind
            and (who is None or (event.participant and event.participant.identity == who))
        ]

    def wait_for(self, kind: str, who: str | None = None, count: int = 1) -> ringroom.Event:
        """The event of that kind; the ``count``-th."""
        with self._said:
            self._said.wait_for(lambda: len(self.told(kind, who)) >= count, PATIENCE)
        found = self.told(kind, who)
        assert len(found) >= count, f"no {count} x {kind} of {who} in {self.events}"
        return found[count - 1]

    def hears(self, who: str, frequency: float) -> bool:
        """Whether the last 0.4 s of somebody are that tone."""
        blocks = self.sound[who][-int(0.4 / BLOCK) :]
        if len(blocks) < 0.4 / BLOCK:
            return False
        sound = tones.heard(np.concatenate(blocks).astype(np.float64), RATE)
        return abs(sound.frequency - frequency) < 5 and sound.level > LEVEL / 2

    def wait_to_hear(self, who: str, frequency: float) -> None:
        with self._said:
            self.sound[who].clear()
            assert self._said.wait_for(lambda: self.hears(who, frequency), PATIENCE), (
                f"{who} is not heard with {frequency} Hz; told was {self.events}"
            )

    def wait_for_silence(self, who: str) -> None:
        """Nothing is heard of somebody for half a second, whatever frames still come."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with self._said:
                self.sound[who].clear()
            time.sleep(0.5)
            sound = [np.zeros(1), *self.sound[who]]
            if np.sqrt(np.mean(np.concatenate(sound) ** 2)) < LEVEL / 100:
                return
        raise AssertionError(f"{who} is heard all the time")


@pytest.fixture
def echo(livekit_room: LiveKitRoom) -> Iterator[Echo]:
    with Echo(livekit_room) as echo:
        yield echo


@pytest.fixture
def relay(
    request: pytest.FixtureRequest, livekit_server: LiveKitServer, compose_project: ComposeProject
) -> Iterator[Relay]:
    if os.environ.get("LIVEKIT_URL"):
        unavailable(request, "the media port of the server that LIVEKIT_URL names is not known")
    with Relay(livekit_server.url, compose_project.ports.udp) as relay:
        yield relay


def say(client: Client, frequency: float, opus: Callable[..., str]) -> None:
    """The Go client's tone, for ever."""
    client.publish("mic", file=opus(frequency), loop=True)


def expect_echo(client: Client, frequency: float, who: str) -> None:
    """The browser hears what it says, or somebody else, come back from us."""
    client.wait_for("subscribed", participant="echo", track=f"re:{who}", timeout=PATIENCE)
    deadline = time.monotonic() + PATIENCE
    while True:
        heard = client.measure(1.0).get(("echo", f"re:{who}"), {"frequency": 0, "level": 0})
        if abs(heard["frequency"] - frequency) < 3 and abs(heard["level"] / LEVEL - 1) < 0.3:
            return
        assert time.monotonic() < deadline, f"{frequency} Hz never came back: {heard}"


def expect_to_go_on(ann: Client) -> None:
    """The Go client, which leaves, hears itself come back from us still, and has all the time."""
    track = ("echo", "re:ann")
    deadline = time.monotonic() + PATIENCE
    # Seconds between the first packet and the last. A track that nobody feeds sends silence: with
    # so much more of it, an echo that has ended is a gap that is too long.
    wanted = ann.received()[track]["seconds"] + STOPPED + 1.0
    while (heard := ann.received()[track]["seconds"]) < wanted:
        assert time.monotonic() < deadline, f"ann's echo has ended after {heard} s"
        time.sleep(0.1)
    back = ann.leave()[track]
    sound = tones.heard(tones.decoded(back["file"])[tones.RATE : -tones.RATE // 2])
    assert sound.longest_gap < STOPPED, "ann's call stopped with ben's"


def expect_data_both_ways(client: Client, payload: bytes) -> None:
    topic = payload.decode()
    client.send_data(payload, topic=topic)
    assert client.wait_for_data(participant="echo", topic=f"re:{topic}") == payload


def test_a_tab_that_is_closed_ends_its_tracks_and_nobody_elses(
    echo: Echo, browser: Joins, go_client: Joins, opus: Callable[..., str]
) -> None:
    ben, ann = browser("ben"), go_client("ann")
    say(ann, 440, opus)
    ben.publish("tone", source="tone", frequency=660)
    ben.publish("camera", source="camera")
    echo.wait_to_hear("ben", 660)
    echo.wait_to_hear("ann", 440)
    ann.wait_for("subscribed", participant="echo", track="re:ann", timeout=PATIENCE)
    ben.call("close_tab")
    echo.wait_for("participant_left", "ben")
    echo.wait_for("track_ended", "ben")
    ann.wait_for("gone", participant="ben")
    echo.wait_to_hear("ann", 440)
    expect_to_go_on(ann)


def test_a_page_that_is_loaded_again_comes_back_under_its_name(echo: Echo, browser: Joins) -> None:
    ben = browser("ben")
    ben.publish("tone", source="tone", frequency=660)
    expect_echo(ben, 660, "ben")
    first = echo.wait_for("track_started", "ben")
    ben.call("reload")
    echo.wait_for("participant_left", "ben")
    echo.wait_for("track_ended", "ben")
    ben.rejoin()
    ben.publish("tone", source="tone", frequency=880)
    second = echo.wait_for("track_started", "ben", count=2)
    assert first.track is not None
    assert second.track is not None
    assert first.track.sid != second.track.sid
    echo.wait_to_hear("ben", 880)
    expect_echo(ben, 880, "ben")
    expect_data_both_ways(ben, b"again")


def test_two_browsers_hear_each_other_through_us(echo: Echo, browser: Joins) -> None:
    ann, ben = browser("ann"), browser("ben")
    ann.publish("tone", source="tone", frequency=550)
    ben.publish("tone", source="tone", frequency=770)
    for one in (ann, ben):
        expect_echo(one, 550, "ann")
        expect_echo(one, 770, "ben")
        expect_data_both_ways(one, b"hello")


@pytest.mark.timeout(240)
def test_a_page_whose_network_goes_off_and_on_is_heard_again(
    echo: Echo, browser: Joins, go_client: Joins, relay: Relay, opus: Callable[..., str]
) -> None:
    ann = go_client("ann")
    say(ann, 440, opus)
    ann.wait_for("subscribed", participant="echo", track="re:ann", timeout=PATIENCE)
    ben = browser("ben", relay=relay)
    ben.publish("tone", source="tone", frequency=660)
    expect_echo(ben, 660, "ben")
    expect_data_both_ways(ben, b"before")
    assert relay.media_flows, "media found another way than the relay"
    with relay.down():
        begun = time.monotonic()
        echo.wait_for_silence("ben")
        ben.wait_for("reconnecting", timeout=PATIENCE)
        assert relay.lost
        echo.wait_to_hear("ann", 440)
        time.sleep(max(0.0, begun + 2 * STOPPED - time.monotonic()))
    ben.wait_for("reconnected", timeout=PATIENCE)
    echo.wait_to_hear("ben", 660)
    expect_echo(ben, 660, "ben")
    expect_data_both_ways(ben, b"after")
    assert not echo.told("connection_lost"), "the loss was ben's alone"
    assert not echo.told("track_ended", "ann")
    expect_to_go_on(ann)


@pytest.mark.timeout(240)
def test_a_client_that_dies_leaves_in_time_and_can_come_back(
    echo: Echo, go_client: Joins, opus: Callable[..., str]
) -> None:
    ann, ben = go_client("ann"), go_client("ben")
    say(ann, 440, opus)
    say(ben, 660, opus)
    echo.wait_to_hear("ann", 440)
    echo.wait_to_hear("ben", 660)
    ben.kill()
    echo.wait_for_silence("ben")
    echo.wait_for("track_ended", "ben")
    echo.wait_for("participant_left", "ben")
    again = go_client("ben")
    say(again, 880, opus)
    echo.wait_to_hear("ben", 880)
    again.wait_for("subscribed", participant="echo", track="re:ben")
    echo.wait_to_hear("ann", 440)
    assert not echo.told("track_ended", "ann")


@pytest.mark.timeout(240)
def test_a_server_that_answers_nobody_for_a_while_costs_the_call_nothing_more(
    own: LiveKitServer, go_client: Joins, opus: Callable[..., str]
) -> None:
    """The network between all and the server is gone, and comes back: so do they, and we."""
    room = own.room()
    with Echo(room) as echo:
        ann = go_client("ann", room)
        say(ann, 440, opus)
        echo.wait_to_hear("ann", 440)
        own.pause()
        try:
            echo.wait_for("connection_lost")
            ann.wait_for("reconnecting", timeout=PATIENCE)
        finally:
            own.resume()
        echo.wait_for("connection_back")
        ann.wait_for("reconnected", timeout=PATIENCE)
        echo.wait_to_hear("ann", 440)
        ann.send_data(b"still here", topic="after")
        assert ann.wait_for_data(participant="echo", topic="re:after") == b"still here"
        ann.leave()
