"""Pools in virtual time: the machine has no thread or no link for them."""

from __future__ import annotations

import gc
from typing import Any

import pool_time_kit
import pytest
from pool_time_kit import NOBODY, Sleeps, pieces, running

import processors_kit as kit
from app_kit import RATE
from ringroom import link
from ringroom.errors import StartupError
from ringroom.faces.connection import Connection, Prepared
from ringroom.pool import Pool, places
from ringroom.testing import FakeRoom
from ringroom.testing.virtual import VirtualClock

clock = pool_time_kit.clock
room = pool_time_kit.room


def test_a_pool_without_a_thread_is_closed(
    clock: VirtualClock, room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = clock.start_thread

    def start(name: str, run: Any) -> Any:
        if name == "ringroom-pool":
            raise StartupError("no thread")
        return before(name, run)

    monkeypatch.setattr(clock, "start_thread", start)
    pool = Pool(kit.Echo, "fake", room=room, io=clock.io)
    with pytest.raises(StartupError), pool:
        pass
    assert set(clock.roles) <= NOBODY


def refuse(monkeypatch: pytest.MonkeyPatch, number: int) -> list[int]:
    """The pool does not get the link of that number from now on; how many it has asked for."""
    asked: list[int] = []

    def open_links() -> Any:
        asked.append(1)
        if len(asked) == number:
            raise StartupError("no descriptors left")
        return link.open_links()

    monkeypatch.setattr(places, "open_links", open_links)
    return asked


def test_links_run_out_at_the_beginning(
    clock: VirtualClock, room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, 2)
    pool = Pool(kit.Echo, "fake", room=room, io=clock.io)
    with pytest.raises(StartupError), pool:
        pass
    assert set(clock.roles) <= NOBODY
    gc.collect()  # a link that nobody has closed warns


def test_links_run_out_while_the_room_is_joined_again(
    clock: VirtualClock, room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared: list[Prepared] = []
    before = Connection.prepare

    def prepare(connection: Connection) -> Prepared:
        prepared.append(before(connection))
        return prepared[-1]

    mic = room.join("ann").publish_audio("mic", sample_rate=RATE)
    with running(clock, room, Sleeps, workers=2) as pool:
        mic.wait_for_subscriber()
        monkeypatch.setattr(Connection, "prepare", prepare)
        asked = refuse(monkeypatch, 2)
        clock.kill("ringroom-io")
        clock.sleep(5.0)
        assert len(asked) == 4
        assert [one.link.closed for one in prepared] == [True, False]
        mic.wait_for_subscriber()
        mic.speak(pieces(1, value=1), realtime=False)
        clock.sleep(1.0)
        assert pool.stats().received.done == 1
    gc.collect()  # a link that nobody has closed warns


def test_a_session_that_the_machine_refuses_leaves_no_link(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StartupError("no descriptors left")

    host = clock.io.start()
    with monkeypatch.context() as patched:
        patched.setattr(link.Link, "send", refuse)
        with pytest.raises(StartupError):
            host.open_session()
    gc.collect()  # a link that nobody has closed warns
