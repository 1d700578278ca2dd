"""Texts that a transport writes while the others read them: synchronous face."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

import ringroom
from app_kit import PATIENCE, interrupted, opened, until
from recovery_kit import ALL, LONG, Events, killed, settled
from ringroom import sender, text_out
from ringroom.errors import BusyError, ClosedError, ConfigurationError, FrameError
from ringroom.faces import sending
from ringroom.frames import TextFrame
from ringroom.providers.fake import Fake
from ringroom.sessions import outgoing, unsent
from ringroom.testing import FakeRoom
from ringroom.text_out import MAX_OPEN_TEXTS, UNFINISHED

WAY_OUT = (text_out, sender, sending, outgoing, unsent)
EVENTS = {"kinds": ("event",)}


def raise_in_block(
    transport: ringroom.Transport, meanwhile: Callable[[], object] = lambda: None, **of: Any
) -> None:
    """Half of a text is written, then something happens, and the block raises."""

    def write() -> None:
        with transport.open_text(**of) as text:
            text.write("half")
            meanwhile()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()


def until_told(transport: ringroom.Transport) -> str:
    """What `DATA_FAILED` says."""
    events = transport.recv(timeout=PATIENCE)
    return next(str(event.reason) for event in events if event.kind == "data_failed")


def test_the_others_see_a_text_grow(fake_room: FakeRoom) -> None:
    ann, bob = fake_room.join("ann"), fake_room.join("bob")
    with opened(fake_room) as transport:
        attributes = {"lk.segment_id": "SG_1", "é": ""}
        with transport.open_text(topic="t", to=["ann"], attributes=attributes) as text:
            fake_room.wait_until(lambda: ann.texts, "its beginning")
            for piece in ("Gr", "ü", "ße"):
                text.write(piece)
            fake_room.wait_until(lambda: ann.texts[0].text == "Grüße", "what is written")
            seen = ann.texts[0]
            assert (seen.participant, seen.topic, seen.attributes) == ("app", "t", attributes)
            assert seen.pieces == ("Gr", "ü", "ße")
            assert not seen.ended
            assert ann.received == []
        [whole] = fake_room.wait_for_data("t")
        assert isinstance(whole, TextFrame)
        assert (whole.text, whole.to, whole.attributes) == ("Grüße", ("ann",), attributes)
        assert ann.received == [whole]
        assert ann.texts[0].whole
        assert fake_room.application.texts == ann.texts
        assert (bob.texts, bob.received) == ([], [])
        until(lambda: transport.stats().sent.done == 5)
    assert settled(transport).sent.sent == 5


def test_a_text_is_finished_with_attributes(fake_room: FakeRoom) -> None:
    ann = fake_room.join("ann")
    listening = {"kinds": ("data",), "text_topics": ("t",), "identity": "other"}
    with opened(fake_room, **EVENTS) as transport, opened(fake_room, **listening) as other:
        fake_room.wait_until(lambda: len(fake_room.participants) == 3, "both applications")
        with transport.open_text(topic="t", attributes={"a": "b", "final": "false"}) as text:
            text.write("so it is")
            fake_room.wait_until(lambda: ann.texts and ann.texts[0].text, "what is written")
            assert ann.texts[0].attributes == {"a": "b", "final": "false"}
            with pytest.raises(FrameError, match="at most 12000 are allowed"):
                text.finish({"c": "x" * 12_000})
            text.finish({"final": "true", "é": ""})
            fake_room.wait_until(lambda: ann.texts[0].whole, "its end")
            with pytest.raises(ClosedError, match="nothing after finish"):
                text.write("more")
            with pytest.raises(ClosedError, match="nothing after finish"):
                text.finish()
        last = {"a": "b", "final": "true", "é": ""}
        assert ann.texts[0].attributes == last
        [whole] = ann.received
        received = next(other.recv(timeout=PATIENCE))
        for one in (whole, received, *fake_room.applications["app"].messages):
            assert isinstance(one, TextFrame)
            assert (one.text, one.attributes) == ("so it is", last)
    assert settled(transport).sent.sent == 3


def test_texts_are_in_order_with_messages_and_apart_from_each_other(fake_room: FakeRoom) -> None:
    ann = fake_room.join("ann")
    with opened(fake_room) as transport:
        with transport.open_text(topic="1") as first, transport.open_text(topic="2") as second:
            first.write("a")
            transport.send_text("between", topic="t")
            second.write("b")
            first.write("c")
        transport.send_data("last", topic="t")
        fake_room.wait_for_data("t", count=2)
        assert [one.payload for one in ann.received] == [b"between", b"b", b"ac", b"last"]
        assert [(one.topic, one.pieces) for one in ann.texts] == [
            ("1", ("a", "c")),
            ("2", ("b",)),
            ("t", ("between",)),
        ]


def test_what_cannot_be_written(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        with pytest.raises(FrameError, match="expected a tuple of identities"):
            transport.open_text(to="ann")
        with pytest.raises(FrameError, match="at most 12000 are allowed"):
            transport.open_text(attributes={"a": "x" * 12_000})
        many = [transport.open_text() for _ in range(MAX_OPEN_TEXTS)]
        for text in many:
            text.__enter__()
        with pytest.raises(BusyError, match="64 texts are being written"):
            transport.open_text().__enter__()
        for text in many:
            text.__exit__(None, None, None)
        with transport.open_text() as text:
            text.write("x" * 100_000)
            with pytest.raises(FrameError, match="100001 more are beyond the 200000"):
                text.write("x" * 100_001)
            text.write("x" * 100_000)
        fake_room.wait_for_data(count=MAX_OPEN_TEXTS + 1)


def test_a_block_that_raises_leaves_its_text_unfinished(fake_room: FakeRoom) -> None:
    ann = fake_room.join("ann")
    with opened(fake_room, **EVENTS) as transport:
        raise_in_block(transport, topic="t")
        fake_room.wait_until(lambda: ann.texts and ann.texts[0].ended, "its end")
        [seen] = ann.texts
        assert (seen.text, seen.reason, seen.whole) == ("half", UNFINISHED, False)
        transport.send_text("whole")
        assert [one.payload for one in fake_room.wait_for_data()] == [b"whole"]
        assert [one.payload for one in ann.received] == [b"whole"]
        until(lambda: transport.stats().sent.done == 4)


def fill(transport: ringroom.Transport) -> None:
    """Send until there is no room for more."""
    for size in (60_000, 1_000, 1):
        with contextlib.suppress(TimeoutError):
            while True:
                transport.send_data(b"x" * size, timeout=0.01)


def test_an_end_that_has_to_wait_comes_with_what_is_sent_next(fake_room: FakeRoom) -> None:
    """A block that raises does not wait, for its error is on the way."""
    ann = fake_room.join("ann")
    with opened(fake_room) as transport:
        with fake_room.faults.connection_lost():
            raise_in_block(transport, lambda: fill(transport))
            assert len(transport._ends) == 1
        transport.send_data("more", topic="t", timeout=PATIENCE)
        fake_room.wait_for_data("t")
        assert not transport._ends
        until(lambda: transport.stats().sent.in_flight == 0)
        assert not any(one.whole for one in ann.texts)
    settled(transport)


def test_a_text_goes_on_in_a_connection_that_is_resumed(fake_room: FakeRoom) -> None:
    ann = fake_room.join("ann")
    with opened(fake_room, **EVENTS) as transport:
        with transport.open_text(topic="t") as text:
            text.write("half")
            fake_room.wait_until(lambda: ann.texts and ann.texts[0].text, "its beginning")
            with fake_room.faults.connection_lost(resume=True):
                text.write(" and half")
        fake_room.wait_for_data("t")
        assert (ann.texts[0].text, ann.texts[0].whole) == ("half and half", True)
    assert settled(transport).sent.problems == 0


def test_a_text_does_not_outlive_a_connection_that_is_made_anew(fake_room: FakeRoom) -> None:
    """For the others we have left, and come back."""
    ann = fake_room.join("ann")
    with opened(fake_room, **EVENTS) as transport:
        with transport.open_text(topic="t") as text:
            text.write("half")
            fake_room.wait_until(lambda: ann.texts and ann.texts[0].text, "its beginning")
            with fake_room.faults.connection_lost():
                pass
            fake_room.wait_until(lambda: ann.texts[0].ended, "its end")
            assert ann.texts[0].reason == "the connection of its sender was made anew"
            text.write("and half")
            assert "the connection was made anew" in until_told(transport)
        with transport.open_text(topic="again") as text:
            text.write("goes on")
        fake_room.wait_for_data("again")
        assert ann.texts[0].text == "half"
        until(lambda: transport.stats().sent.lost == 1)
    assert settled(transport).sent.problems == 1


def test_a_text_does_not_outlive_a_room_that_is_joined_again(fake_room: FakeRoom) -> None:
    ann = fake_room.join("ann")
    with opened(fake_room, **EVENTS) as transport:
        with transport.open_text(topic="t") as text:
            text.write("half")
            fake_room.wait_until(lambda: ann.texts and ann.texts[0].text, "its beginning")
            fake_room.break_connection()
            told = "a text ('t') is unfinished: the connection was lost while it was being written"
            assert until_told(transport) == told, "at once, though nothing of it is under way"
            text.write("and half")
        assert not ann.texts[0].whole
        with transport.open_text(topic="again") as text:
            text.write("goes on")
        fake_room.wait_for_data("again")
        until(lambda: transport.stats().sent.lost == 2)
    settled(transport)


def test_a_text_does_not_outlive_its_io_process(fake_room: FakeRoom) -> None:
    ann = fake_room.join("ann")
    with ringroom.transport("fake", room=fake_room, max_age=20.0, **ALL) as transport:
        events = Events(transport)
        with transport.open_text(topic="t") as text:
            text.write("half")
            fake_room.wait_until(lambda: ann.texts and ann.texts[0].text, timeout=LONG)
            killed(transport)
            text.write("and half")
        events.back()
        told = "a text ('t') is unfinished: the connection in which it was begun was lost"
        until(lambda: "data_failed" in events.kinds, timeout=LONG)
        assert [event.reason for event in events.all if event.kind == "data_failed"] == [told]
        with transport.open_text(topic="again") as text:
            text.write("goes on")
        fake_room.wait_for_data("again", timeout=LONG)
        assert not ann.texts[0].whole
        transport.close()
        events.join()
    settled(transport)


def test_a_text_ends_with_its_transport(fake_room: FakeRoom) -> None:
    ann = fake_room.join("ann")
    with opened(fake_room) as transport:
        text = transport.open_text()
        text.__enter__().write("half")
        fake_room.wait_until(lambda: ann.texts and ann.texts[0].text, "its beginning")
        transport.close()
        with pytest.raises(ClosedError):
            text.write("and half")
        with pytest.raises(ClosedError):
            text.__exit__(None, None, None)
        fake_room.wait_until(lambda: ann.texts[0].ended, "its end")
        assert ann.texts[0].reason.startswith("its sender has left")
        with pytest.raises(ClosedError):
            transport.open_text()
    settled(transport)


def test_a_block_that_raises_as_its_transport_closes_raises_its_own_error(
    fake_room: FakeRoom,
) -> None:
    with opened(fake_room) as transport:
        raise_in_block(transport, transport.close)


def test_a_text_is_played_out_as_messages_are(fake_room: FakeRoom) -> None:
    options: Any = {"room": fake_room, "io": "thread"}
    with ringroom.transport("fake", **options) as t, t.open_text(topic="t") as text:
        for number in range(100):
            text.write(f"{number} ")
    assert [one.whole for one in fake_room.application.texts] == [True]
    assert len(fake_room.application.texts[0].pieces) == 100


@dataclass(frozen=True, kw_only=True)
class WithoutStreams(Fake):
    text_streams = False


def test_a_provider_without_them_says_so(fake_room: FakeRoom) -> None:
    spec: Any = WithoutStreams(room=fake_room)
    with ringroom.transport(spec, io="thread") as transport:
        match = "fake: not supported: open_text .*send_text sends whole ones"
        with pytest.raises(ConfigurationError, match=match):
            transport.open_text()


def test_a_room_that_refuses_them_says_so(fake_room: FakeRoom) -> None:
    ann = fake_room.join("ann")
    with opened(fake_room, **EVENTS) as transport:
        with transport.open_text() as text:
            text.write("half")
            fake_room.wait_until(lambda: ann.texts and ann.texts[0].text, "its beginning")
            fake_room.refuse_data()
            text.write("and half")
        assert until_told(transport)
        assert ann.texts[0].ended
        assert not ann.texts[0].whole
        until(lambda: transport.stats().sent.lost == 1)
    assert settled(transport).sent.problems == 1


@pytest.mark.parametrize("how", ["finish", "block"])
def test_ctrl_c_at_any_moment_of_an_end_has_it_told_once(fake_room: FakeRoom, how: str) -> None:
    """It may have been sent by then, or not: it is sent again, and nobody is told of a text that
    was lost."""
    ann = fake_room.join("ann")

    def is_hit(moment: int) -> bool:
        text = transport.open_text(topic="t", timeout=PATIENCE).__enter__()
        text.write(str(moment))

        def end() -> None:
            if how == "finish":
                text.finish()
            else:
                text.__exit__(None, None, None)

        hit = interrupted(end, moment, *WAY_OUT)
        if text._pieces.open:  # it was too early: the block, of which that was no part, ends it
            text.__exit__(None, None, None)
        transport.send_data("next", topic="next", timeout=PATIENCE)
        fake_room.wait_until(lambda: len(ann.texts) == moment and ann.texts[-1].ended, "an end")
        assert ann.texts[-1].whole
        assert not transport._texts.count
        return hit

    with opened(fake_room, **EVENTS) as transport:
        for moment in range(1, 300):
            if not (hit := is_hit(moment)):
                break
        assert not hit
        until(lambda: transport.stats().sent.in_flight == 0)
        assert transport.stats().sent.problems == 0
    settled(transport)


def test_ctrl_c_at_any_moment_of_a_beginning_leaves_no_text_open(fake_room: FakeRoom) -> None:
    ann = fake_room.join("ann")

    def begin() -> object:
        return transport.open_text(topic="t", timeout=PATIENCE).__enter__()

    with opened(fake_room, **EVENTS) as transport:
        for moment in range(1, 300):
            hit = interrupted(begin, moment, *WAY_OUT)
            transport.send_data("next", topic="next", timeout=PATIENCE)
            if not hit:
                break
            gc.collect()
            assert not transport._texts.count
        assert not hit
        until(lambda: transport.stats().sent.in_flight == 0)
        assert transport.stats().sent.problems == 0
        assert not any(one.whole for one in ann.texts)
        *begun, last = ann.texts
        assert all(one.ended for one in begun)
        assert not last.ended
    settled(transport)
