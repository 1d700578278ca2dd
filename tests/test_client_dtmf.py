"""A transport's digits of telephones, both ways."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

import ringroom
from app_kit import PATIENCE, opened, until
from ringroom.dtmf import DIGITS, DtmfFrame
from ringroom.errors import ConfigurationError, FrameError, WouldBlock
from ringroom.events import EventKind
from ringroom.providers.fake import Fake
from ringroom.providers.provider import Provider
from ringroom.testing import FakeRoom


def test_digits_go_to_everybody_one_by_one(fake_room: FakeRoom) -> None:
    alice, bob = fake_room.join("alice"), fake_room.join("bob")
    with opened(fake_room) as transport:
        transport.send_dtmf(DIGITS, timeout=PATIENCE)
        transport.send_data(b"between")
        transport.send(DtmfFrame("5"))
        transport.send_nowait(DtmfFrame("#"))
        sent = fake_room.wait_for_data(count=19)
    for frames in (sent, alice.received, bob.received):
        digits = [one.digit if isinstance(one, DtmfFrame) else "-" for one in frames]
        assert "".join(digits) == DIGITS + "-5#"
    assert alice.received[0].participant == "app"


def test_digits_come_in_order_with_messages(fake_room: FakeRoom) -> None:
    alice = fake_room.join("alice")
    with opened(fake_room, kinds=("data",), dtmf=True) as transport:
        receiver = transport.recv(timeout=PATIENCE)
        fake_room.wait_for_app()
        alice.press("1D")
        alice.send_data(b"between")
        alice.press("#")
        first, second, between, last = (next(receiver) for _ in range(4))
        assert isinstance(first, DtmfFrame)
        assert (first.digit, first.code, first.participant) == ("1", 1, "alice")
        assert isinstance(second, DtmfFrame)
        assert (second.digit, second.code, second.sequence) == ("D", 15, first.sequence + 1)
        assert second.received_ns >= first.received_ns > 0
        assert type(between) is ringroom.DataFrame
        assert isinstance(last, DtmfFrame)
        assert last.digit == "#"
        with pytest.raises(FrameError, match="'x' is no digit of a telephone"):
            alice.press("1x")


def test_digits_are_not_received_unless_they_are_asked_for(fake_room: FakeRoom) -> None:
    alice, bob = fake_room.join("alice"), fake_room.join("bob")
    with (
        opened(fake_room, kinds=("data",)) as transport,
        opened(fake_room, identity="b", kinds=("data",), dtmf=True, participants=["bob"]) as other,
    ):
        fake_room.wait_for_app("app")
        fake_room.wait_for_app("b")
        receiver, chosen = transport.recv(timeout=PATIENCE), other.recv(timeout=PATIENCE)
        alice.press("1")
        bob.press("2")
        bob.send_data(b"x")
        assert type(next(receiver)) is ringroom.DataFrame
        digit = next(chosen)
        assert (digit.digit, digit.participant) == ("2", "bob")


@pytest.mark.parametrize("digits", ["", "12x", "1 2", "a", b"1", 5, None, ["1", "2"]])
def test_nothing_is_sent_of_what_are_no_digits(fake_room: FakeRoom, digits: Any) -> None:
    with opened(fake_room) as transport:
        with pytest.raises(
            FrameError, match=r"no digit of a telephone|expected text such as '123#'"
        ):
            transport.send_dtmf(digits)
        with pytest.raises(ConfigurationError, match="timeout"):
            transport.send_dtmf("1", timeout="soon")  # type: ignore[arg-type]
        transport.send_data(b"end")
        assert [one.payload for one in fake_room.wait_for_data()] == [b"end"]


def test_a_timeout_says_how_many_digits_were_taken(fake_room: FakeRoom) -> None:
    digits = DIGITS * 100
    with opened(fake_room) as transport:
        fake_room.lose_connection()
        transport.send_data(b"under way")
        until(lambda: transport.stats().sent.taken == 1)
        for size in (60_000, 1_000, 300):  # what is left has room for some of the digits
            with contextlib.suppress(WouldBlock):
                while True:
                    transport.send_nowait(ringroom.DataFrame(bytes(size)))
        before = transport.stats().sent.sent
        with pytest.raises(TimeoutError, match=r"a digit was not taken within 0\.05 s") as raised:
            transport.send_dtmf(digits, timeout=0.05)
        with pytest.raises(TimeoutError, match="0 of 2 digits were taken, and are sent"):
            transport.send_dtmf("12", timeout=0)
        taken = transport.stats().sent.sent - before
        fake_room.restore_connection()
        transport.send_data(b"end", topic="end", timeout=PATIENCE)
        fake_room.wait_for_data("end", timeout=PATIENCE)
        sent = fake_room.application.messages
    assert 0 < taken < len(digits)
    assert f": {taken} of 1600 digits were taken, and are sent" in str(raised.value)
    assert "".join(one.digit for one in sent if isinstance(one, DtmfFrame)) == digits[:taken]


def test_a_refused_digit_is_told(fake_room: FakeRoom) -> None:
    with opened(fake_room, kinds=("event",)) as transport, fake_room.faults.data_refused():
        transport.send_dtmf("5")
        events = transport.recv(timeout=PATIENCE)
        assert any(event.kind is EventKind.DATA_FAILED for event in events)


@dataclass(frozen=True, kw_only=True)
class WithoutDtmf(Fake):
    """A provider of before there was DTMF."""

    dtmf = False

    def open(self, descriptors: tuple[int, ...]) -> Provider:
        provider = super().open(descriptors)
        provider.send_dtmf = partial(Provider.send_dtmf, provider)  # type: ignore[method-assign]
        return provider


def test_a_provider_without_dtmf_says_so(fake_room: FakeRoom) -> None:
    spec = WithoutDtmf(room=fake_room)
    with pytest.raises(ConfigurationError, match=r"fake: not supported: dtmf .*has no DTMF"):
        ringroom.transport(spec, kinds=("data",), dtmf=True, io="thread")
    with ringroom.transport(spec, kinds=("event",), io="thread") as transport:
        with pytest.raises(ConfigurationError, match="fake: not supported: send_dtmf"):
            transport.send_dtmf("1")
        transport.send(DtmfFrame("1"))
        events = transport.recv(timeout=PATIENCE)
        failed = next(event for event in events if event.kind is EventKind.DATA_FAILED)
        assert "not supported: send_dtmf" in failed.reason
