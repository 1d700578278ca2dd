"""A transport that another thread closes just before a call takes the connection's lock: at each
of the locks that the call takes, one after the other. And calls that Ctrl-C interrupts: at each of
the moments at which Python looks for it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

import ringroom
from app_kit import (
    PATIENCE,
    Call,
    descriptors,
    interrupted,
    microphone,
    opened,
    say,
    sound,
    until,
)
from ringroom import client
from ringroom.client import Transport
from ringroom.errors import ClosedError
from ringroom.faces import connection
from ringroom.sessions import incoming
from ringroom.sessions.inbox import Inbox
from ringroom.testing import FakeRoom, leaks

MAX_LOCKS = 40
MAX_MOMENTS = 200


class ClosingLock:
    """The connection's lock. Whoever enters it on this thread for the n-th time finds that the
    transport was closed by another thread a moment before."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._lock = transport._connection.lock
        self._thread = threading.get_ident()
        self._left = 0

    def close_before(self, entry: int) -> None:
        self._left = entry

    @property
    def has_closed(self) -> bool:
        return self._left == 0

    def __enter__(self) -> Any:
        if threading.get_ident() == self._thread and self._left:
            self._left -= 1
            if not self._left:
                Call(self._transport.close).result()
        return self._lock.__enter__()

    def __exit__(self, *reason: object) -> Any:
        return self._lock.__exit__(*reason)


def receive(transport: Transport) -> None:
    next(transport.recv(kinds=("audio",)))


def write(transport: Transport) -> None:
    transport.audio_out().write(b"\0\0" * 3200)


CALLS: dict[str, Callable[[Transport], Any]] = {
    "receive": receive,
    "send": lambda transport: transport.send(sound(0.05)),
    "send a long sound": lambda transport: transport.send(sound(1.0)),
    "send on another track": lambda transport: transport.send(sound(0.02, track="another")),
    "send_nowait": lambda transport: transport.send_nowait(sound(0.02)),
    "send_data": lambda transport: transport.send_data(b"hello"),
    "write": write,
    "flush": lambda transport: transport.flush(),
    "wait_playout": lambda transport: transport.wait_playout(),
    "unpublish": lambda transport: transport.unpublish(),
    "played": lambda transport: transport.played(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_call_whose_transport_is_closed_says_so(
    fake_room: FakeRoom, call: Callable[[Transport], Any]
) -> None:
    mic = microphone(fake_room)
    for entry in range(1, MAX_LOCKS):
        with leaks.nothing_left_behind(), opened(fake_room) as transport:
            say(mic)
            transport.send(sound(0.02))
            lock = ClosingLock(transport)
            transport._connection.lock = lock  # type: ignore[assignment]
            lock.close_before(entry)
            try:
                call(transport)
            except ClosedError as error:
                assert "fake: transport is closed" in str(error)  # noqa: PT017
            else:
                assert entry > 1, "nothing was said of the transport's end"
            if not lock.has_closed:
                lock.close_before(0)  # it would close while this thread does, who waits for it
                break
    else:
        pytest.fail(f"a call that takes the lock {MAX_LOCKS} times")
    assert entry > 1


def test_a_receiver_that_nobody_got_for_ctrl_c_keeps_no_kind(fake_room: FakeRoom) -> None:
    microphone(fake_room)
    with opened(fake_room) as transport:
        for moment in range(1, MAX_MOMENTS):
            if not interrupted(transport.recv, moment, client, incoming):
                break
            transport.recv().close()
        assert 5 < moment < MAX_MOMENTS


def test_ctrl_c_as_a_receiver_is_made_leaves_no_descriptors(
    fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Inbox.__init__

    def interrupted_then(*given: Any) -> None:
        monkeypatch.undo()
        make(*given)
        signal.raise_signal(signal.SIGINT)

    with opened(fake_room) as transport:
        held = descriptors()
        monkeypatch.setattr(Inbox, "__init__", interrupted_then)
        with pytest.raises(KeyboardInterrupt):
            transport.recv()
        assert descriptors() == held
        transport.recv().close()


def test_a_close_that_was_interrupted_can_be_repeated(fake_room: FakeRoom) -> None:
    for moment in range(1, MAX_MOMENTS):
        with leaks.nothing_left_behind():
            transport = ringroom.transport("fake", room=fake_room, io="thread")
            done = not interrupted(transport.close, moment, client, connection)
            transport.close()
            assert transport._connection.session.closed
            assert transport._connection.host._closed
        if done:
            break
    assert 5 < moment < MAX_MOMENTS


def ended(room: FakeRoom, transport: Transport) -> None:
    room.close_room()
    until(lambda: transport.ended)


@pytest.mark.parametrize(
    ("end", "says"),
    [
        (lambda room, transport: transport.close(), "transport is closed"),
        (ended, "the room has ended: room closed"),
    ],
    ids=["closed", "ended"],
)
def test_nothing_is_asked_after_the_end(
    fake_room: FakeRoom, end: Callable[[FakeRoom, Transport], None], says: str
) -> None:
    with opened(fake_room) as transport:
        end(fake_room, transport)
        for ask in (
            transport.mute,
            transport.unmute,
            transport.participants,
            partial(transport.set_profile, name="late"),
            partial(transport.call, "ann", "greet"),
        ):
            with pytest.raises(ClosedError, match=says):
                ask(timeout=PATIENCE)
        session = transport._connection.session
        for asked in (session.muting, session.roll, session.profile, session.calls):
            assert not asked._number  # an answer might come before the end is found
