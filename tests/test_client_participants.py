"""An application asks who is in the room."""

from __future__ import annotations

import pytest

import ringroom
from app_kit import PATIENCE, Call, interrupted, opened, until
from recovery_kit import LONG, Events, killed
from refusal_kit import INF, NAN
from ringroom.errors import ClosedError, ConfigurationError
from ringroom.events import Participant
from ringroom.faces import face
from ringroom.options import Reconnect
from ringroom.testing import FakeRoom

SOON = Reconnect(backoff=0.01, longest=0.02)


def there(transport: ringroom.Transport, timeout: float = PATIENCE) -> list[str]:
    return [who.identity for who in transport.participants(timeout=timeout)]


@pytest.mark.parametrize("io", ["thread", "process"])
@pytest.mark.parametrize("kinds", [(), ("audio", "data"), ("event",)])
def test_who_is_there_as_they_are_whatever_is_received(
    fake_room: FakeRoom, io: str, kinds: tuple[str, ...]
) -> None:
    fake_room.join("cy", kind="agent")
    ann = fake_room.join("ann", "Ann", "{}", {"seat": "4"})
    with opened(fake_room, io=io, kinds=kinds, participants=["nobody"]) as transport:
        # At once: whoever was there before us is known when we have joined.
        people = transport.participants(timeout=PATIENCE)
        assert [who.identity for who in people] == ["ann", "cy"]
        assert people[0] == Participant(
            identity="ann",
            sid=ann.info.sid,
            name="Ann",
            metadata="{}",
            attributes={"seat": "4"},
            kind="standard",
        )
        assert people[1].kind == "agent"
        fake_room.join("ben")
        until(lambda: there(transport) == ["ann", "ben", "cy"])
        ann.set_attributes({"seat": "5"})
        until(lambda: transport.participants()[0].attributes == {"seat": "5"})
        ann.leave()
        until(lambda: there(transport) == ["ben", "cy"])


def test_nobody_else_is_there_and_we_are_none_of_them(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport, opened(fake_room, identity="other") as other:
        until(lambda: there(transport) == ["other"])
        assert there(other) == ["app"]
        transport.close()
        until(lambda: there(other) == [])


def test_a_room_of_many_who_tell_much(fake_room: FakeRoom) -> None:
    """More than a message between processes may have."""
    metadata = "é" * 40_000
    for number in range(300):
        fake_room.join(f"p{number:03}", metadata=metadata)
    with opened(fake_room, io="process", kinds=()) as transport:
        people = transport.participants(timeout=LONG)
        assert [who.identity for who in people] == [f"p{number:03}" for number in range(300)]
        assert {who.metadata for who in people} == {metadata}


def test_several_threads_may_ask(fake_room: FakeRoom) -> None:
    fake_room.join("ann")
    with opened(fake_room) as transport:
        calls = [Call(transport.participants, timeout=PATIENCE) for _ in range(8)]
        for call in calls:
            assert [who.identity for who in call.result()] == ["ann"]


def test_what_is_no_timeout(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        for timeout in ("1", NAN, INF, [1]):
            with pytest.raises(ConfigurationError, match="timeout"):
                transport.participants(timeout=timeout)  # type: ignore[arg-type]


# While the room is away.


def test_during_an_outage_it_waits_for_the_room(fake_room: FakeRoom) -> None:
    ann = fake_room.join("ann")
    with opened(fake_room, kinds=("event",)) as transport:
        events = Events(transport)
        with fake_room.faults.connection_lost():
            until(lambda: "connection_lost" in events.kinds)
            with pytest.raises(TimeoutError, match="nobody has told who is in the room"):
                transport.participants(timeout=0.05)
            waiting = Call(transport.participants, timeout=PATIENCE)
            until(lambda: transport._connection.session.roll._unanswered)
            ann.leave()
            fake_room.join("ben")
            assert not waiting.over
        waiting.result()
        until(lambda: there(transport) == ["ben"])
    events.join()


def test_a_room_that_is_lost_for_good_is_waited_for(fake_room: FakeRoom) -> None:
    fake_room.join("ann")
    with opened(fake_room, reconnect=SOON) as transport:
        assert there(transport) == ["ann"]
        with fake_room.faults.server_gone():
            fake_room.wait_for_app_gone()
            waiting = Call(transport.participants, timeout=LONG)
        assert [who.identity for who in waiting.result(LONG)] == ["ann"]


def test_the_next_io_process_is_asked_again(fake_room: FakeRoom) -> None:
    fake_room.join("ann")
    with opened(fake_room, io="process", kinds=("event",)) as transport:
        events = Events(transport)
        with fake_room.faults.connection_lost():
            until(lambda: "connection_lost" in events.kinds)
            waiting = Call(transport.participants, timeout=LONG)
            until(lambda: transport._connection.session.roll._unanswered)
            killed(transport)
        assert [who.identity for who in waiting.result(LONG)] == ["ann"]
        events.back()
        killed(transport)
        assert there(transport, LONG) == ["ann"]
    events.join()


def test_who_waits_as_it_is_closed_is_told(fake_room: FakeRoom) -> None:
    with opened(fake_room, kinds=("event",)) as transport:
        events = Events(transport)
        with fake_room.faults.connection_lost():
            until(lambda: "connection_lost" in events.kinds)
            waiting = Call(transport.participants)
            until(lambda: transport._connection.session.roll._unanswered)
            transport.close()
            with pytest.raises(ClosedError):
                waiting.result()
        events.join()


def test_ctrl_c_leaves_no_answer_that_nobody_takes(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        moments = 1
        while interrupted(transport.participants, moments, face):
            moments += 1
        assert moments > 3
        transport.participants(timeout=PATIENCE)
        calls = transport._connection.session.roll
        assert not calls._unanswered
        assert not calls._answers
