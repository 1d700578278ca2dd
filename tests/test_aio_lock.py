"""The asyncio face holds the connection's lock wherever it touches the session."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from typing import Any

import pytest

import ringroom
from aio_kit import cancelled, soon, until
from app_kit import (
    microphone,
    say,
    sound,
)
from ringroom.events import EventKind
from ringroom.faces.connection import Connection
from ringroom.sessions import incoming
from ringroom.sessions.inbox import Inbox, Listeners
from ringroom.sessions.incoming import Incoming
from ringroom.sessions.outgoing import Outgoing
from ringroom.sessions.outgoing_lane import OutgoingLane
from ringroom.sessions.requests import Requests
from ringroom.sessions.session import Session
from ringroom.testing import FakeRoom

LOCKED = {
    Session: (
        "pump",
        "notify",
        "send",
        "leave",
        "restart",
        "close",
    ),
    Incoming: (
        "open_inbox",
        "close_inbox",
        "finish_lane",
        "lose_lanes",
        "end_missing",
        "tell_of_connection",
    ),
    Outgoing: ("lane_for", "push_nowait", "push_unsent", "named", "find"),
    OutgoingLane: ("forget_unsent", "tail", "played"),
    Inbox: ("receive_nowait", "close"),
    Listeners: ("add", "discard"),
    Requests: ("new", "answer", "take", "forget"),
}


def test_whatever_touches_the_session_has_the_lock(
    fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Receivers are collected, and the connection is closed, on other threads."""
    connections: list[Connection] = []
    seen: set[str] = set()
    without: set[str] = set()

    def belongs(one: Any) -> bool:
        # Others of earlier tests may be collected meanwhile.
        sessions = [connection.session for connection in connections]
        mine: list[Any] = [*sessions, *(session.listeners for session in sessions)]
        mine += [lane for each in connections for lane in each.outgoing.lanes]
        mine += [part for session in sessions for part in (session.incoming, session.requests)]
        return any(one is each for each in mine) or getattr(one, "_session", None) in sessions

    def looking(name: str, method: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            if belongs(arguments[0]):
                seen.add(name)
                if not connections[0].lock._is_owned():  # type: ignore[attr-defined]
                    without.add(name)
            return method(*arguments, **options)

        return call

    for owner, names in LOCKED.items():
        for name in names:
            method = looking(f"{owner.__name__}.{name}", getattr(owner, name))
            monkeypatch.setattr(owner, name, method)
    monkeypatch.setattr(incoming, "RETURN_SECONDS", 0.0)

    async def main() -> None:
        mic, brief = microphone(fake_room), microphone(fake_room, "ben")
        options: dict[str, Any] = {"kinds": ("audio", "event"), "max_age": 20.0}
        transport = ringroom.aio.transport("fake", room=fake_room, **options)
        async with transport:
            connections.append(transport._connection)
            await asyncio.to_thread(mic.wait_for_subscriber)
            await asyncio.to_thread(brief.wait_for_subscriber)
            events = transport.recv(kinds=("event",))
            say(mic, 0.1)
            say(brief, 0.1)
            receiver = transport.recv(kinds=("audio",))
            await soon(anext(receiver))
            brief.unpublish()
            listening = asyncio.create_task(listen(receiver))
            await soon(told(events, EventKind.TRACK_ENDED))
            await cancelled(listening)
            sending = asyncio.create_task(transport.send(sound(3.0)))
            await until(lambda: transport.stats().sent.sent > 10)
            waiting = asyncio.create_task(transport.wait_playout())
            await asyncio.sleep(0.01)
            transport.played()
            await soon(transport.flush())
            await soon(asyncio.gather(sending, waiting))
            await receiver.aclose()
            os.kill(transport.io_pid or 0, signal.SIGKILL)
            await told(events, EventKind.CONNECTION_BACK)
            del events
            gc.collect()
            await transport.send_data("after")
            await until(lambda: "Incoming.end_missing" in seen)

    asyncio.run(main())
    assert not without
    assert seen == {f"{owner.__name__}.{name}" for owner in LOCKED for name in LOCKED[owner]}


async def listen(receiver: Any) -> None:
    async for _ in receiver:
        pass


async def told(events: Any, kind: EventKind) -> None:
    while (await anext(events)).kind is not kind:
        pass
