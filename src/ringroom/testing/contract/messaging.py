"""Promises about messages, in both directions."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any

from ringroom.client import Receiver
from ringroom.errors import FrameError
from ringroom.events import EventKind
from ringroom.frames import DataFrame
from ringroom.testing.contract.hearing import collect, following
from ringroom.testing.contract.promise import broken, expect, expect_error, pause, promise
from ringroom.testing.contract.subject import Stage, Subject

COUNT = 20
EVERY_BYTE = bytes(range(256))
# So many small messages that they do not fit into the pipes on their way.
MANY = 300
# How long a promise waits for a message that may be lost before it sends it again.
AGAIN_SECONDS = 0.1


def ann_sends(subject: Subject, payloads: Sequence[bytes], topic: str = "") -> list[DataFrame]:
    """What we receive of the messages that Ann sends, in which the last one is sent once."""
    with subject.opened(kinds=("data",)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        for payload in payloads:
            stage.driver.send_data("ann", payload, topic, ())

        def enough(items: list[Any]) -> bool:
            return bool(items) and items[-1].payload == payloads[-1]

        messages: list[DataFrame] = collect(receiver, enough, 2 * stage.patience)[0]
        expect(messages, "not one message arrived")
        return messages


def we_send(subject: Subject, payloads: Sequence[bytes], topic: str = "") -> Sequence[DataFrame]:
    """What Ann receives of the messages that we send."""
    with subject.opened(kinds=()) as (transport, stage):
        for payload in payloads:
            transport.send_data(payload, topic=topic, timeout=stage.patience)
        return received(stage, payloads[-1])


def received(stage: Stage, last: bytes) -> Sequence[DataFrame]:
    """Ann's messages until that one came, or nothing more in time."""

    def came() -> bool:
        return any(message.payload == last for message in stage.driver.received("ann"))

    try:
        stage.until(came, "the message")
    except AssertionError:
        if not stage.driver.received("ann"):
            broken("not one message of ours was received")
    return stage.driver.received("ann")


def numbered(count: int = COUNT) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def digest(payload: bytes) -> str:
    return f"{len(payload)} bytes, {payload[:12]!r}..." if len(payload) > 12 else repr(payload)


def expect_order(messages: Sequence[DataFrame]) -> None:
    found = [int(message.payload) for message in messages]
    expect(found == sorted(found), f"messages came in the order {found}")


def expect_once(messages: Sequence[DataFrame]) -> None:
    found = [int(message.payload) for message in messages]
    twice = sorted({number for number in found if found.count(number) > 1})
    expect(not twice, f"messages {twice} came more than once")


def expect_none_lost(messages: Sequence[DataFrame], count: int) -> None:
    lost = sorted(set(range(count)) - {int(message.payload) for message in messages})
    expect(not lost, f"{len(lost)} of {count} messages never came, the first is {lost[:1]}")


def expect_unchanged(messages: Sequence[DataFrame], payloads: Sequence[bytes]) -> None:
    for message, payload in zip(messages, payloads, strict=False):
        expect(
            message.payload == payload,
            f"a message of {digest(payload)} arrived as {digest(message.payload)}",
        )


def expect_failure_told(receiver: Receiver, stage: Stage, failed: EventKind, what: str) -> None:
    """Of what Ann broke off, ``half``, an event tells and nothing arrives; ``whole``, which she
    sent after it, does."""

    def failures(items: list[Any]) -> list[Any]:
        return [one for one in items if getattr(one, "kind", None) is failed]

    def payloads(items: list[Any]) -> list[bytes]:
        return [one.payload for one in items if isinstance(one, DataFrame)]

    def enough(items: list[Any]) -> bool:
        return bool(failures(items)) and b"whole" in payloads(items)

    items, _ = collect(receiver, enough, 2 * stage.patience)
    expect(failures(items), f"a {what} that broke off was not told")
    who = failures(items)[0].participant
    expect(who is not None and who.identity == "ann", f"it is said to be of {who!r}")
    expect(b"half" not in payloads(items), f"half of a {what} arrived")
    expect(b"whole" in payloads(items), f"the {what} that was sent after it did not arrive")


def expect_not_mixed(frames: Sequence[DataFrame], what: str, form: type[DataFrame]) -> None:
    """Of two frames, one says ``message`` and is one; the other says ``what``, and is of that
    form."""
    found = {frame.payload: isinstance(frame, form) for frame in frames}
    name = what.encode()
    expect(name in found and b"message" in found, f"of two, {[*found]} arrived")
    expect(found[name], f"a {what} arrived as a message")
    expect(not found[b"message"], f"a message arrived as a {what}")


def expect_secret_kept(stage: Stage, what: str) -> None:
    """Of ``secret``, sent to Ben and Eve, Ann knows nothing when all of them have got ``end``."""
    reached = set()
    for who in ("ann", "ben", "eve"):

        def payloads(who: str = who) -> list[bytes]:
            return [one.payload for one in stage.driver.received(who)]

        stage.until(lambda got=payloads: b"end" in got(), f"{who} receiving")  # type: ignore[misc]
        reached |= {who} if b"secret" in payloads() else set()
    expect(reached == {"ben", "eve"}, f"a {what} to ben and eve reached {sorted(reached)}")


def expect_refusal_told(receiver: Receiver, stage: Stage, what: str) -> None:
    """An event tells of what the room has refused."""

    def told(items: list[Any]) -> bool:
        return bool(items) and items[-1].kind is EventKind.DATA_FAILED

    events, _ = collect(receiver, told, 2 * stage.patience)
    expect(told(events), f"a refused {what} was not told: {[str(one.kind) for one in events]}")


@promise("data_in")
def messages_arrive_in_order(subject: Subject) -> None:
    """Messages of one sender arrive in the order in which they were sent."""
    expect_order(ann_sends(subject, numbered()))


@promise("data_in")
def no_message_arrives_twice(subject: Subject) -> None:
    """No message arrives twice."""
    expect_once(ann_sends(subject, numbered()))


@promise("data_in")
def no_message_is_lost_on_the_way_in(subject: Subject) -> None:
    """Every message arrives."""
    expect_none_lost(ann_sends(subject, numbered()), COUNT)


@promise("data_in")
def a_message_arrives_byte_for_byte(subject: Subject) -> None:
    """Any bytes arrive as they are; nothing takes them for text."""
    payloads = [EVERY_BYTE, b"\0", b"\xff\xfe", b"end"]
    expect_unchanged(ann_sends(subject, payloads), payloads)


@promise("data_in")
def the_largest_message_arrives(subject: Subject) -> None:
    """A message of the claimed size arrives whole."""
    payloads = [random.Random(1).randbytes(subject.capabilities.max_data), b"end"]  # noqa: S311
    expect_unchanged(ann_sends(subject, payloads), payloads)


@promise("data_in")
def messages_wait_for_a_slow_reader(subject: Subject) -> None:
    """Nobody reads for a while: no message is dropped, however old it becomes."""
    with subject.opened(kinds=("data",), max_age=0.02) as (transport, stage):
        for payload in numbered(MANY):
            stage.driver.send_data("ann", payload, "", ())
        stage.until(lambda: transport.stats().received.sent, "messages coming in")
        receiver = transport.recv(timeout=stage.patience)
        messages, _ = collect(receiver, lambda got: len(got) == MANY, 2 * stage.patience)
        expect_none_lost(messages, MANY)


@promise("data_in", "topics")
def a_message_keeps_its_topic(subject: Subject) -> None:
    """The topic arrives with the message."""
    topic = ann_sends(subject, [b"x"], "weather/münchen")[0].topic
    expect(topic == "weather/münchen", f"the topic 'weather/münchen' arrived as {topic!r}")


@promise("data_in")
def a_message_names_its_sender(subject: Subject) -> None:
    """A received message tells who sent it."""
    who = ann_sends(subject, [b"x"])[0].participant
    expect(who == "ann", f"'ann' sent the message, it is said to be of {who!r}")


@promise("data_in", "unreliable")
def a_message_tells_whether_it_is_sent_again(subject: Subject) -> None:
    """A received message tells whether its sender wants it sent again when it is lost."""
    with subject.opened(kinds=("data",)) as (transport, stage):
        receiver = transport.recv(timeout=AGAIN_SECONDS)
        stage.driver.send_data("ann", b"sure", "", ())
        [sure] = stage.until(lambda: collect(receiver, bool, AGAIN_SECONDS)[0], "the message")

        def perhaps() -> DataFrame | None:
            stage.driver.send_unreliably("ann", b"perhaps")
            items, _ = collect(receiver, bool, AGAIN_SECONDS)
            return items[0] if items else None

        lossy = stage.until(perhaps, "a message that may be lost")
        expect(sure.reliable, "a message that is sent again is said not to be")
        expect(
            lossy is not None and not lossy.reliable,
            "a message that may be lost is said to be sent again",
        )


@promise("data_out")
def messages_of_ours_arrive_in_order(subject: Subject) -> None:
    """What we send first is received first."""
    expect_order(we_send(subject, numbered()))


@promise("data_out")
def no_message_of_ours_arrives_twice(subject: Subject) -> None:
    """No message that we send is received twice."""
    expect_once(we_send(subject, numbered()))


@promise("data_out")
def no_message_is_lost_on_the_way_out(subject: Subject) -> None:
    """Every message that we send is received."""
    expect_none_lost(we_send(subject, numbered()), COUNT)


@promise("data_out")
def a_message_of_ours_arrives_byte_for_byte(subject: Subject) -> None:
    """Any bytes that we send are received as they are."""
    payloads = [EVERY_BYTE, b"\0", b"\xff\xfe", b"end"]
    expect_unchanged(we_send(subject, payloads), payloads)


@promise("data_out")
def the_largest_message_of_ours_arrives(subject: Subject) -> None:
    """A message of the claimed size is received whole."""
    payloads = [random.Random(2).randbytes(subject.capabilities.max_data), b"end"]  # noqa: S311
    expect_unchanged(we_send(subject, payloads), payloads)


@promise("data_out")
def a_message_that_is_too_large_is_refused(subject: Subject) -> None:
    """More than a message can hold raises `FrameError`; the next one is received."""
    with subject.opened(kinds=()) as (transport, stage):
        expect_error(
            FrameError, lambda: transport.send_data(b"x" * 70_000), "sending 70,000 bytes at once"
        )
        transport.send_data(b"end", timeout=stage.patience)
        first = received(stage, b"end")[0]
        expect(first.payload == b"end", f"the refused message was sent: {digest(first.payload)}")


@promise("data_out", "topics")
def a_message_of_ours_keeps_its_topic(subject: Subject) -> None:
    """The topic that we give is received."""
    topic = we_send(subject, [b"x"], "weather/münchen")[0].topic
    expect(topic == "weather/münchen", f"the topic 'weather/münchen' was received as {topic!r}")


@promise("data_out", "unreliable")
def a_message_of_ours_is_sent_again_as_we_say(subject: Subject) -> None:
    """A message is sent again when it is lost, unless we say ``reliable=False``."""
    with subject.opened(kinds=()) as (transport, stage):
        transport.send_data(b"sure", timeout=stage.patience)
        found = {one.payload: one.reliable for one in received(stage, b"sure")}
        end = time.monotonic() + stage.patience
        while b"perhaps" not in found and time.monotonic() < end:
            transport.send_data(b"perhaps", reliable=False, timeout=stage.patience)
            pause(AGAIN_SECONDS)
            found |= {one.payload: one.reliable for one in stage.driver.received("ann")}
        expect(b"perhaps" in found, "a message with reliable=False was never received")
        expect(found[b"sure"], "a message of ours was not sent reliably")
        expect(not found[b"perhaps"], "reliable=False was asked for, and it was sent reliably")


@promise("data_out", "addressing", "several_people")
def a_message_reaches_whom_it_is_for(subject: Subject) -> None:
    """A message with ``to=`` reaches those it names and nobody else."""
    with subject.opened(kinds=()) as (transport, stage):
        addressed = ("ben", "eve")
        for who in addressed:
            stage.driver.join(who)
        transport.send_data(b"secret", to=addressed, timeout=stage.patience)
        transport.send_data(b"end", timeout=stage.patience)

        def payloads(who: str) -> list[bytes]:
            return [message.payload for message in stage.driver.received(who)]

        for who in ("ann", *addressed):
            stage.until(lambda who=who: b"end" in payloads(who), f"{who} receiving")  # type: ignore[misc]
        reached = {who for who in ("ann", *addressed) if b"secret" in payloads(who)}
        expect(reached == {*addressed}, f"the message to {addressed} reached {sorted(reached)}")


@promise("data_out", "connection_loss", "broken_connection")
def messages_wait_for_the_next_room(subject: Subject) -> None:
    """When the room is lost for good, what waits behind a message that was under way is received
    in the next."""
    with subject.opened(kinds=()) as (transport, stage):
        stage.driver.lose_connection()
        transport.send_data(b"under way", timeout=stage.patience)
        stage.until(lambda: transport.stats().sent.taken, "the provider taking a message")
        payloads = numbered()
        for payload in payloads:
            transport.send_data(payload, timeout=stage.patience)
        stage.driver.break_connection()
        messages = [one for one in received(stage, payloads[-1]) if one.payload != b"under way"]
        expect_none_lost(messages, COUNT)


@promise("data_in", "data_out")
def we_do_not_hear_ourselves(subject: Subject) -> None:
    """A message of ours does not come back to us."""
    with subject.opened(kinds=("data",)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        transport.send_data(b"ours", timeout=stage.patience)
        received(stage, b"ours")
        stage.driver.send_data("ann", b"hers", "", ())
        got = following(receiver).payload
        expect(got == b"hers", f"the first message to arrive is {got!r}, which we sent ourselves")


@promise("data_out", "refusals", "events")
def a_refused_message_is_told(subject: Subject) -> None:
    """A message that the room refuses is told as an event, for sending does not wait for it."""
    with subject.opened(kinds=("event",)) as (transport, stage):
        stage.driver.refuse("data")
        receiver = transport.recv(timeout=stage.patience)
        transport.send_data(b"x", timeout=stage.patience)
        events, _ = collect(
            receiver,
            lambda got: bool(got) and got[-1].kind is EventKind.DATA_FAILED,
            2 * stage.patience,
        )
        kinds = [str(event.kind) for event in events]
        expect("data_failed" in kinds, f"a refused message was not told; the events are {kinds}")
