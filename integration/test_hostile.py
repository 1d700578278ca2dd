"""A hostile client in a real room: the I/O process lives, its memory is bounded, and what an honest
one says still arrives."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import ringroom
from conftest import Joins
from ringroom.frames import DataFrame
from ringroom.testing.server import LiveKitRoom

# What waits for a reader is a ring and 8 MiB; the rest is the SDK's own, and its allocator's.
MAX_GROWTH = 150 << 20


def anonymous_memory(pid: int | None) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    raise AssertionError(f"process {pid} does not tell its memory")


@pytest.mark.timeout(300)
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
            flood(bytes(1_000), topic="t" * 1_000, times=10_000)
            flood(bytes(60_000), topic="big", times=200)
            flood(b"", topic="lossy", reliable=False, times=2_000)
            for number in range(20):
                name = f"{number}{'é' * 100}"
                eve.publish(name, file=opus(440), loop=True)
                # What goes before its first packet the server tells nobody about.
                ann.wait_for("subscribed", track=name, timeout=60)
                eve.unpublish(name)
            said.set()

        attacking = threading.Thread(target=attack, daemon=True)
        attacking.start()
        assert said.wait(180)  # and nobody reads meanwhile
        grown = anonymous_memory(pid) - before
        receiver, seen = t.recv(timeout=1), Counter[str]()
        for _ in range(30):
            ann.send_data(b"alive", topic="alive")  # the server drops for those who are slow
            with contextlib.suppress(TimeoutError):
                while not seen["alive"] or seen["Event"] <= 20:
                    item = next(receiver)
                    seen[item.topic if isinstance(item, DataFrame) else type(item).__name__] += 1
            if seen["alive"] and seen["Event"] > 20:
                break
        assert seen["alive"]
        assert seen["t" * 1_000] > 100
        assert seen["Event"] > 20
        assert (t.io_pid, t.ended) == (pid, None)
        assert grown < MAX_GROWTH
        counts = t.stats().received
        assert counts.sent == counts.done + counts.dropped + counts.lost + counts.in_flight
        attacking.join(10)
