"""A hostile client in a real room: the I/O process lives, its memory is bounded, and what an honest
one says still arrives."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import ringroom
from integration.conftest import Joins
from ringroom.frames import DataFrame
from ringroom.testing.server import LiveKitRoom
from ringroom.testing.simulation.laws import check_counts

# By hand: ten minutes. Else each deed of the browser comes once or twice, and the flood once.
SECONDS = float(os.environ.get("HOSTILE_SECONDS", "0"))
BROWSER_SECONDS = max(SECONDS, 20.0)
# What waits for a reader is a ring and 8 MiB; the rest is the SDK's own, and its allocator's.
MAX_GROWTH = 150 << 20


def anonymous_memory(pid: int | None) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    raise AssertionError(f"process {pid} does not tell its memory")


def listen(transport: ringroom.Transport, seen: Counter[str]) -> None:
    """Counts all that comes, by its topic, or its kind and whose it is."""
    with contextlib.suppress(ringroom.ClosedError):
        for item in transport.recv():
            if isinstance(item, DataFrame):
                seen[item.topic] += 1
            elif isinstance(item, ringroom.AudioFrame | ringroom.VideoFrame):
                seen[f"{type(item).__name__} of {item.participant}"] += 1
            else:
                seen["Event"] += 1


def until(condition: Callable[[], object], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.05)


@pytest.mark.timeout(BROWSER_SECONDS + 120)
def test_a_browser_that_does_what_it_likes(
    livekit_room: LiveKitRoom, browser: Joins, go_client: Joins, opus: Callable[..., str]
) -> None:
    """An honest speaker is heard all the time, a message afterwards, and all frames are accounted
    for."""
    seed = random.randrange(1 << 31)
    print(f"seed {seed}")
    token = livekit_room.token("app")
    options = {"url": livekit_room.url, "token": token, "text_topics": ("lk.chat",)}
    with ringroom.transport("livekit", kinds=("audio", "video", "data", "event"), **options) as t:
        seen = Counter[str]()
        listening = threading.Thread(target=listen, args=(t, seen), daemon=True)
        listening.start()
        pid = t.io_pid
        eve, ann = browser("eve"), go_client("ann")
        ann.publish("mic", file=opus(440), loop=True)
        until(lambda: seen["AudioFrame of ann"], 30)
        before, heard = anonymous_memory(pid), seen["AudioFrame of ann"]
        eve.call("attack", seconds=BROWSER_SECONDS, seed=seed, timeout=BROWSER_SECONDS + 60)
        print(eve.wait_for("attacked")["counts"])
        grown, heard = anonymous_memory(pid) - before, seen["AudioFrame of ann"] - heard
        print(f"grown by {grown >> 20} MiB; {heard} frames of ann's; {seen.total()} in all")
        ann.send_data(b"alive", topic="alive")
        until(lambda: seen["alive"], 60)
        assert (t.io_pid, t.ended) == (pid, None)
        assert heard > BROWSER_SECONDS * 50 * 0.5, "what an honest one says arrives"
        assert seen["AudioFrame of eve"]
        assert grown < MAX_GROWTH
    listening.join(10)
    assert not listening.is_alive()
    check_counts(t.stats().lanes, over=True)
    assert t.stats().received.done == seen.total() - seen["Event"]


@pytest.mark.timeout(3 * SECONDS + 275)
def test_a_flood_of_data_and_flapping_tracks(
    livekit_room: LiveKitRoom, go_client: Joins, opus: Callable[..., str]
) -> None:
    token = livekit_room.token("app")
    kinds = ("audio", "data", "event")
    with ringroom.transport("livekit", url=livekit_room.url, token=token, kinds=kinds) as t:
        pid = t.io_pid
        eve, ann = go_client("eve"), go_client("ann")
        before = anonymous_memory(pid)
        said = threading.Event()

        def attack() -> None:
            flood = functools.partial(eve.send_data, to=["app"], timeout=60)
            end = time.monotonic() + SECONDS
            for number in itertools.count():
                flood(bytes(1_000), topic="t" * 1_000, times=10_000)
                flood(bytes(60_000), topic="big", times=200)
                flood(b"", topic="lossy", reliable=False, times=2_000)
                for track in range(20):
                    name = f"{number} {track}{'é' * 100}"
                    eve.publish(name, file=opus(440), loop=True)
                    # What goes before its first packet the server tells nobody about.
                    ann.wait_for("subscribed", track=name, timeout=60)
                    eve.unpublish(name)
                if time.monotonic() > end:
                    break
            said.set()

        attacking = threading.Thread(target=attack, daemon=True)
        attacking.start()
        assert said.wait(SECONDS + 180)  # and nobody reads meanwhile
        grown = anonymous_memory(pid) - before
        assert grown < MAX_GROWTH
        if SECONDS:
            eve.kill()  # what her client still holds would go on for minutes
        seen = Counter[str]()
        listening = threading.Thread(target=listen, args=(t, seen), daemon=True)
        listening.start()

        def heard() -> bool:
            ann.send_data(b"alive", topic="alive")
            return bool(seen["alive"]) and seen["Event"] > 20

        # The server keeps what she has sent, in order: all of it comes before an honest message.
        until(heard, 120 + 2 * SECONDS)
        assert seen["t" * 1_000] > 100
        assert (t.io_pid, t.ended) == (pid, None)
        attacking.join(10)
    listening.join(10)
    assert not listening.is_alive()
    check_counts(t.stats().lanes, over=True)
    assert t.stats().received.done == seen.total() - seen["Event"]
