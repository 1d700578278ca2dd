"""The I/O process of a plain transport dies, and there is no other: it is refused, not wanted, or
the transport is closed meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import ringroom
from app_kit import Call, opened, sound, until
from recovery_kit import LONG, killed, run, settled
from ringroom.errors import ClosedError, LostProcessError, RoomError
from ringroom.faces.mending import Mending
from ringroom.providers.fake import Fake
from ringroom.providers.provider import ProviderSpec
from ringroom.testing import FakeRoom


@pytest.mark.once
@pytest.mark.parametrize("reason", ["unauthorized", "unreachable"])
def test_a_room_that_does_not_let_us_in_again(fake_room: FakeRoom, reason: str) -> None:
    policy = ringroom.Reconnect(retries=2)
    with opened(fake_room, io="process", reconnect=policy) as transport:
        waiting = Call(next, transport.recv())
        with fake_room.faults.connects_refused(reason=reason):
            killed(transport)
            with pytest.raises(RoomError) as refused:
                waiting.result(LONG)
        assert refused.value.reason == reason
        with pytest.raises(RoomError):
            transport.send(sound(0.02))
    settled(transport)


def test_who_wants_no_other_gets_the_error(fake_room: FakeRoom) -> None:
    policy = ringroom.Reconnect(retries=0)
    with opened(fake_room, io="process", reconnect=policy) as transport:
        waiting = Call(next, transport.recv())
        killed(transport)
        with pytest.raises(LostProcessError, match=r"process died \(killed by signal 9, .* memory"):
            waiting.result(LONG)
    settled(transport)


DEFECT = r"the I/O process died: defect"


@pytest.fixture
def defective(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bringing the connection back goes wrong in a way that nobody has thought of."""

    def turn(_: Mending) -> None:
        raise RuntimeError("defect")

    monkeypatch.setattr(Mending, "turn", turn)


@pytest.mark.usefixtures("defective")
def test_a_defect_in_it_ends_the_transport_and_nobody_waits_for_ever(fake_room: FakeRoom) -> None:
    with opened(fake_room, io="process") as transport:
        waiting = Call(next, transport.recv())
        killed(transport)
        with pytest.raises(LostProcessError, match=DEFECT):
            waiting.result(LONG)
    settled(transport)


@pytest.mark.usefixtures("defective")
def test_the_same_in_an_event_loop(fake_room: FakeRoom) -> None:
    async def scenario(transport: ringroom.aio.Transport) -> None:
        waiting = asyncio.create_task(anext(transport.recv()))  # type: ignore[arg-type]
        await asyncio.sleep(0)  # it waits
        killed(transport)
        with pytest.raises(LostProcessError, match=DEFECT):
            await waiting

    settled(run(scenario, fake_room))


def test_a_provider_that_is_not_opened_twice(
    fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ProviderSpec, "joins_anew", False)
    with opened(fake_room, io="process") as transport:
        waiting = Call(next, transport.recv())
        killed(transport)
        with pytest.raises(LostProcessError):
            waiting.result(LONG)


@pytest.mark.once
def test_closing_meanwhile(fake_room: FakeRoom) -> None:
    with opened(fake_room, io="process") as transport, fake_room.faults.hanging_connect():
        waiting = Call(next, transport.recv())
        sending = Call(transport.send, sound(20.0))
        killed(transport)
        until(lambda: transport._connection.session.restarts, timeout=LONG)
        transport.close()
        for call in (waiting, sending):
            with pytest.raises(ClosedError):
                call.result(LONG)
    settled(transport)


def test_a_token_function_that_exits(fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(fake_room, io="process", reconnect=ringroom.Reconnect(retries=1)) as transport:

        def leave(_: Fake) -> Any:
            raise SystemExit(3)

        monkeypatch.setattr(Fake, "handover", leave)
        waiting = Call(next, transport.recv())
        killed(transport)
        with pytest.raises(LostProcessError, match="no other came"):
            waiting.result(LONG)
    settled(transport)
