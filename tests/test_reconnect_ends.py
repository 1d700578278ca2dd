"""The network or the server fails, and that is the end: given up, decided by the server, or closed
meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import reconnect_kit
import ringroom
from app_kit import PATIENCE, Call, check_law, opened, sound
from reconnect_kit import ALL, BRIEF, listening
from ringroom.errors import ClosedError, ConfigurationError, RoomError
from ringroom.events import EventKind
from ringroom.options import Reconnect
from ringroom.testing import FakeRoom

io = reconnect_kit.io


def test_given_up_everything_raises_the_one_error(fake_room: FakeRoom, io: str) -> None:
    with (
        opened(fake_room, io=io, kinds=ALL, reconnect=BRIEF) as transport,
        fake_room.faults.server_gone(),
    ):
        with pytest.raises(RoomError, match="tried to join anew 2 times") as lost:
            list(transport.recv(timeout=PATIENCE))
        assert "the server is not there" in str(lost.value)
        assert lost.value.reason == "disconnected"
        assert transport.ended == "disconnected"
        with pytest.raises(RoomError, match="tried to join anew 2 times"):
            transport.send(sound(0.02))
        check_law(transport)


def test_who_waits_to_send_is_told_when_it_is_given_up(fake_room: FakeRoom) -> None:
    policy = Reconnect(retries=3, backoff=0.2)
    with opened(fake_room, reconnect=policy) as transport:
        transport.send(sound(0.02), timeout=PATIENCE)
        with fake_room.faults.server_gone():
            old = Call(transport.send, sound(30.0))
            new = Call(transport.send, sound(0.1, track="new"))
            played = Call(transport.wait_playout, "audio")
            for call in (old, new, played):
                with pytest.raises(RoomError, match="tried to join anew"):
                    call.result()
        check_law(transport)


ENDS: list[tuple[Callable[[FakeRoom], None], str]] = [
    (lambda room: room.close_room("room closed"), "room closed"),
    (lambda room: room.remove("app"), "removed from the room"),
    (lambda room: kit_join(room), "another participant joined with the same identity"),
]


def kit_join(room: FakeRoom) -> None:
    room.join("app")


@pytest.mark.parametrize(("end", "reason"), ENDS, ids=["closed", "removed", "duplicate"])
def test_what_the_server_has_decided_is_the_end(
    fake_room: FakeRoom, end: Callable[[FakeRoom], None], reason: str
) -> None:
    with listening(fake_room) as (transport, told):
        frames = Call(list, transport.recv(kinds=("audio",)))
        end(fake_room)
        assert frames.result() == []
        assert transport.ended == reason
        told.join()
        assert told.kinds().count("disconnected") == 1
        assert "connection_lost" not in told.kinds()
        with pytest.raises(ClosedError, match=reason):
            transport.send(sound(0.02))


def test_closing_while_the_room_is_lost(fake_room: FakeRoom, io: str) -> None:
    policy = Reconnect(backoff=3_000.0, longest=3_000.0, deadline=100_000.0)
    with opened(fake_room, io=io, kinds=ALL, reconnect=policy) as transport:
        transport.send(sound(0.02), timeout=PATIENCE)
        with fake_room.faults.server_gone():
            events = transport.recv(kinds=("event",), timeout=PATIENCE)
            while next(events).kind is not EventKind.CONNECTION_LOST:
                pass
            transport.send(sound(0.1), timeout=PATIENCE)
            Call(transport.close).result()
        counts = transport.stats().sent
        assert (counts.in_flight, counts.lost) == (0, 1)


def test_the_provider_heals_or_the_deadline_comes(fake_room: FakeRoom) -> None:
    """The fake waits for ever for its connection; the policy does not."""
    policy = Reconnect(deadline=0.3)
    with listening(fake_room, reconnect=policy) as (transport, told):
        with fake_room.faults.connection_lost():
            told.wait(EventKind.CONNECTION_LOST)
            with pytest.raises(RoomError, match=r"lost, and not back within 0\.3 s"):
                next(transport.recv(kinds=("audio",), timeout=PATIENCE))
        told.join()
        assert told.kinds().count("connection_lost") == 1


def test_a_policy_that_is_none_is_refused(fake_room: FakeRoom) -> None:
    with pytest.raises(
        ConfigurationError, match=r"reconnect is None, expected ringroom\.Reconnect"
    ):
        ringroom.transport("fake", room=fake_room, reconnect=None)
