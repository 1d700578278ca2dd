"""An application changes what the others are told of it, and that lasts."""

from __future__ import annotations

from typing import Any

import pytest

import ringroom
from app_kit import PATIENCE, Call, interrupted, opened, until
from elders_kit import Elders
from recovery_kit import LONG, Events, killed
from refusal_kit import INF, NAN
from ringroom.errors import ClosedError, ConfigurationError, RoomError
from ringroom.events import EventKind, Participant
from ringroom.faces import face
from ringroom.options import Reconnect
from ringroom.testing import FakeRoom

GUEST = ("Guest", "{}", {"lk.agent.state": "listening", "b": "2"})


def told(room: FakeRoom) -> tuple[str, str, dict[str, str]] | None:
    """What the others are told of us."""
    found = [one for one in room.participants if one.identity == "app"]
    return (found[0].name, found[0].metadata, dict(found[0].attributes)) if found else None


def become_a_guest(transport: ringroom.Transport) -> None:
    name, metadata, attributes = GUEST
    transport.set_profile(
        name=name, metadata=metadata, attributes={**attributes, "a": "1"}, timeout=PATIENCE
    )
    transport.set_profile(attributes={"a": ""}, timeout=PATIENCE)


@pytest.mark.parametrize("io", ["thread", "process"])
def test_it_is_done_when_the_call_returns(fake_room: FakeRoom, io: str) -> None:
    with opened(fake_room, io=io) as transport:
        become_a_guest(transport)
        assert told(fake_room) == GUEST
        transport.set_profile(attributes={"lk.agent.state": "thinking"})
        assert told(fake_room) == ("Guest", "{}", {"lk.agent.state": "thinking", "b": "2"})


@pytest.mark.parametrize(
    "wrong",
    [{}, {"name": ""}, {"metadata": 5}, {"attributes": {"a": 1}}, {"attributes": "a"}],
    ids=str,
)
def test_what_no_room_takes(fake_room: FakeRoom, wrong: dict[str, Any]) -> None:
    with opened(fake_room) as transport:
        with pytest.raises(ConfigurationError):
            transport.set_profile(**wrong)
        for timeout in ("1", NAN, INF, [1]):
            with pytest.raises(ConfigurationError, match="timeout"):
                transport.set_profile(name="x", timeout=timeout)  # type: ignore[arg-type]
        assert told(fake_room) == ("", "", {})


def test_a_refusal_is_raised_once_and_the_next_call_is_judged_anew(fake_room: FakeRoom) -> None:
    with opened(fake_room, kinds=("event",)) as transport:
        with fake_room.faults.profile_refused():
            for _ in range(2):
                with pytest.raises(RoomError, match="refuses") as refused:
                    transport.set_profile(name="x", timeout=PATIENCE)
                assert refused.value.reason == "profile_refused"
        become_a_guest(transport)
        fake_room.close_room()
        kinds = [event.kind for event in transport.recv(timeout=PATIENCE)]
        assert EventKind.PROFILE_FAILED not in kinds, "who waits is told"


def test_a_deadline_while_the_connection_is_lost(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        with (
            fake_room.faults.connection_lost(),
            pytest.raises(TimeoutError, match="no answer to what was set of us"),
        ):
            transport.set_profile(name="late", timeout=0.05)
        until(lambda: told(fake_room) == ("late", "", {}), "it is done later")


def test_several_threads_may_set_it(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        calls = [
            Call(transport.set_profile, attributes={str(number): "1"}, timeout=PATIENCE)
            for number in range(8)
        ]
        for call in calls:
            call.result()
        assert told(fake_room) == ("", "", {str(number): "1" for number in range(8)})


def test_who_waits_as_it_is_closed_is_told(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport, fake_room.faults.connection_lost():
        waiting = Call(transport.set_profile, name="late")
        until(lambda: transport._connection.session.profile._unanswered)
        transport.close()
        with pytest.raises(ClosedError):
            waiting.result()


def test_ctrl_c_leaves_no_answer_that_nobody_takes(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        moments = 1
        while interrupted(lambda: transport.set_profile(name="again"), moments, face):
            moments += 1
        assert moments > 3
        transport.set_profile(name="behind all that was asked before", timeout=PATIENCE)
        changes = transport._connection.session.profile
        assert not changes._unanswered
        assert not changes._answers


# It lasts.


def test_it_outlives_the_io_process(fake_room: FakeRoom) -> None:
    """The one that is joined in its place brings the token's profile, which has nothing of it."""
    with opened(fake_room, io="process", kinds=("event",)) as transport:
        events = Events(transport)
        become_a_guest(transport)
        for times in (1, 2):
            killed(transport)
            events.back(times)
            until(lambda: told(fake_room) == GUEST, timeout=LONG)
    events.join()
    assert "profile_failed" not in events.kinds


def test_what_is_under_way_as_the_io_process_dies_is_done_by_the_next(fake_room: FakeRoom) -> None:
    with opened(fake_room, io="process", kinds=("event",)) as transport:
        events = Events(transport)
        become_a_guest(transport)
        with fake_room.faults.connection_lost():
            waiting = Call(transport.set_profile, attributes={"b": "3"}, timeout=LONG)
            until(lambda: transport._connection.session.profile._unanswered)
            killed(transport)
        waiting.result(LONG)
        events.back()
        assert told(fake_room) == ("Guest", "{}", {"lk.agent.state": "listening", "b": "3"})
    events.join()


def test_it_outlives_a_room_that_is_lost_for_good(fake_room: FakeRoom) -> None:
    policy = Reconnect(backoff=0.01, longest=0.02)
    with opened(fake_room, reconnect=policy) as transport:
        become_a_guest(transport)
        with fake_room.faults.server_gone():
            fake_room.wait_for_app_gone()
            waiting = Call(transport.set_profile, attributes={"b": "3"}, timeout=LONG)
        waiting.result(LONG)
        assert told(fake_room) == ("Guest", "{}", {"lk.agent.state": "listening", "b": "3"})


def test_a_room_that_does_not_take_it_again_is_told_as_an_event(fake_room: FakeRoom) -> None:
    policy = Reconnect(backoff=0.01, longest=0.02)
    with opened(fake_room, reconnect=policy, kinds=("event",)) as transport:
        become_a_guest(transport)
        with fake_room.faults.profile_refused():
            fake_room.break_connection()
            for event in transport.recv(timeout=PATIENCE):
                if event.kind is EventKind.PROFILE_FAILED:
                    break
        assert "the room refuses the profile" in event.reason
        assert told(fake_room) == ("", "", {})
        fake_room.break_connection()
        until(lambda: told(fake_room) == GUEST, "the room after that takes it")


def test_another_application_is_told_of_it(fake_room: FakeRoom) -> None:
    with opened(fake_room, identity="other", kinds=("event",)) as other, opened(fake_room) as us:
        us.set_profile(attributes={"lk.agent.state": "speaking"}, timeout=PATIENCE)
        for event in other.recv(timeout=PATIENCE):
            if event.kind is EventKind.PARTICIPANT_CHANGED:
                break
        known = event.participant
        assert isinstance(known, Participant)
        assert (known.identity, dict(known.attributes)) == ("app", {"lk.agent.state": "speaking"})


# A provider that cannot.


def test_a_provider_that_knows_no_profiles_says_so_and_goes_on() -> None:
    with ringroom.transport(Elders(), io="thread") as transport:
        with pytest.raises(RoomError, match="not supported: set_profile") as caught:
            transport.set_profile(name="us", timeout=PATIENCE)
        assert caught.value.reason == "not_supported"
        transport.send_data(b"all the same", timeout=PATIENCE)
        transport.wait_playout(timeout=PATIENCE)
