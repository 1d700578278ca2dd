"""Promises about texts: messages that are received whole, by their topic, with attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ringroom.errors import FrameError
from ringroom.events import EventKind
from ringroom.frames import DataFrame, TextFrame
from ringroom.testing.contract.hearing import collect
from ringroom.testing.contract.messaging import (
    COUNT,
    expect_failure_told,
    expect_none_lost,
    expect_not_mixed,
    expect_once,
    expect_order,
    expect_refusal_told,
    expect_secret_kept,
    received,
)
from ringroom.testing.contract.promise import expect, expect_error, promise
from ringroom.testing.contract.subject import Subject

__all__ = ["TEXT_TOPICS"]

TEXT_TOPICS = ("lk.chat", "wetter/münchen")
"""Those that promises use: for a driver that must say what it listens to."""
TOPIC, OTHER = TEXT_TOPICS
ATTRIBUTES = {"lk.segment_id": "SG_1", "größe": "3 %", "empty": ""}


def ann_sends(
    subject: Subject, *texts: str, topic: str = TOPIC, attributes: Mapping[str, str] | None = None
) -> list[TextFrame]:
    """What we receive of the texts that Ann sends, of which the last one is sent once."""
    with subject.opened(kinds=("data",), text_topics=(topic,)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        for text in texts:
            stage.driver.send_text("ann", text, topic, attributes or {})

        def enough(items: list[Any]) -> bool:
            return bool(items) and items[-1].payload == texts[-1].encode()

        return only_texts(collect(receiver, enough, 2 * stage.patience)[0])


def we_send(
    subject: Subject, *texts: str, topic: str = TOPIC, attributes: Mapping[str, str] | None = None
) -> list[TextFrame]:
    """What Ann receives of the texts that we send."""
    with subject.opened(kinds=()) as (transport, stage):
        for text in texts:
            transport.send_text(text, topic=topic, attributes=attributes, timeout=stage.patience)
        return only_texts(received(stage, texts[-1].encode()))


def only_texts(frames: Sequence[DataFrame]) -> list[TextFrame]:
    expect(frames, "not one text arrived")
    texts = [frame for frame in frames if isinstance(frame, TextFrame)]
    expect(len(texts) == len(frames), "a text arrived as a message")
    return texts


def numbered() -> list[str]:
    """Every fourth is long: what is sent after it is short, and not to overtake it."""
    return [f"{number}" + " " * 40_000 * (number % 4 == 0) for number in range(COUNT)]


def long_text(subject: Subject) -> str:
    """Of the claimed size, with letters of two bytes at every place."""
    size = subject.capabilities.max_text
    return ("é" + "aé" * size)[: size // 3 * 2]


def expect_whole(texts: Sequence[TextFrame], sent: str) -> None:
    got = texts[0].text
    expect(got == sent, f"a text of {len(sent)} letters arrived with {len(got)}, or others")


def expect_kept(text: TextFrame) -> None:
    expect(text.topic == OTHER, f"the topic {OTHER!r} arrived as {text.topic!r}")
    found = dict(text.attributes)
    expect(found == ATTRIBUTES, f"the attributes {ATTRIBUTES} arrived as {found}")


@promise("texts_in")
def texts_arrive_in_order(subject: Subject) -> None:
    """Texts of one sender arrive in the order in which they were sent, long and short ones."""
    expect_order(ann_sends(subject, *numbered()))


@promise("texts_in")
def every_text_arrives_once(subject: Subject) -> None:
    """Every text arrives, and none twice."""
    texts = ann_sends(subject, *numbered())
    expect_once(texts)
    expect_none_lost(texts, COUNT)


@promise("texts_in")
def a_long_text_arrives_whole(subject: Subject) -> None:
    """A text of the claimed size arrives as one."""
    text = long_text(subject)
    expect_whole(ann_sends(subject, text, "end"), text)


@promise("texts_in")
def a_text_keeps_its_topic_and_attributes(subject: Subject) -> None:
    """Topic and attributes arrive with the text, and who sent it."""
    text = ann_sends(subject, "x", topic=OTHER, attributes=ATTRIBUTES)[0]
    expect_kept(text)
    expect(
        text.participant == "ann", f"'ann' sent the text, it is said to be of {text.participant!r}"
    )


@promise("texts_in")
def texts_of_other_topics_do_not_arrive(subject: Subject) -> None:
    """Of texts those arrive whose topic is asked for, and no others."""
    with subject.opened(kinds=("data",), text_topics=(TOPIC,)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        stage.driver.send_text("ann", "other", OTHER, {})
        stage.driver.send_text("ann", "asked for", TOPIC, {})
        texts = only_texts(collect(receiver, bool, 2 * stage.patience)[0])
        expect(texts[0].topic == TOPIC, f"a text of the topic {texts[0].topic!r} arrived")


@promise("texts_in", "data_in", "topics")
def texts_and_messages_do_not_mix(subject: Subject) -> None:
    """A message arrives as a message and a text as a text, also of the same topic."""
    with subject.opened(kinds=("data",), text_topics=(TOPIC,)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        stage.driver.send_data("ann", b"message", TOPIC, ())
        stage.driver.send_text("ann", "text", TOPIC, {})
        frames, _ = collect(receiver, lambda got: len(got) == 2, 2 * stage.patience)
        expect_not_mixed(frames, "text", TextFrame)


@promise("texts_in", "events")
def a_text_that_breaks_off_is_told_and_counted(subject: Subject) -> None:
    """Of a text that is broken off nothing arrives, and an event tells that."""
    kinds = ("data", "event")
    with subject.opened(kinds=kinds, text_topics=(TOPIC,)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        stage.driver.break_off_text("ann", "half", TOPIC)
        # Events and texts have no order between them, but texts have.
        stage.driver.send_text("ann", "whole", TOPIC, {})

        expect_failure_told(receiver, stage, EventKind.TEXT_FAILED, "text")
        stage.until(lambda: transport.stats().received.dropped, "a text that broke off in stats()")


@promise("texts_out")
def texts_of_ours_arrive_in_order(subject: Subject) -> None:
    """The text that we send first begins first at the others."""
    expect_order(we_send(subject, *numbered()))


@promise("texts_out")
def every_text_of_ours_arrives_once(subject: Subject) -> None:
    """Every text that we send is received, and none twice."""
    texts = we_send(subject, *numbered())
    expect_once(texts)
    expect_none_lost(texts, COUNT)


@promise("texts_out")
def a_long_text_of_ours_arrives_whole(subject: Subject) -> None:
    """A text of the claimed size is received as one."""
    text = long_text(subject)
    expect_whole(we_send(subject, text, "end"), text)


@promise("texts_out")
def a_text_of_ours_keeps_its_topic_and_attributes(subject: Subject) -> None:
    """The topic and the attributes that we give are received."""
    expect_kept(we_send(subject, "x", topic=OTHER, attributes=ATTRIBUTES)[0])


@promise("texts_out", "data_out", "topics")
def texts_and_messages_of_ours_do_not_mix(subject: Subject) -> None:
    """A text that we send is received as a text, a message as a message."""
    with subject.opened(kinds=()) as (transport, stage):
        transport.send_data(b"message", topic=TOPIC, timeout=stage.patience)
        transport.send_text("text", topic=TOPIC, timeout=stage.patience)
        received(stage, b"message")
        expect_not_mixed(received(stage, b"text"), "text", TextFrame)


@promise("texts_out", "addressing", "several_people")
def a_text_reaches_whom_it_is_for(subject: Subject) -> None:
    """A text with ``to=`` reaches those it names and nobody else."""
    with subject.opened(kinds=()) as (transport, stage):
        for who in ("ben", "eve"):
            stage.driver.join(who)
        transport.send_text("secret", topic=TOPIC, to=("ben", "eve"), timeout=stage.patience)
        transport.send_text("end", topic=TOPIC, timeout=stage.patience)
        expect_secret_kept(stage, "text")


@promise("texts_out")
def a_text_that_is_too_long_is_refused(subject: Subject) -> None:
    """More than a text can hold raises `FrameError`; the next one is received."""
    with subject.opened(kinds=()) as (transport, stage):
        longer = "x" * (subject.capabilities.max_text + 1)
        expect_error(
            FrameError, lambda: transport.send_text(longer), f"sending {len(longer)} bytes"
        )
        transport.send_text("end", topic=TOPIC, timeout=stage.patience)
        first = received(stage, b"end")[0]
        expect(first.payload == b"end", "the refused text was sent")


@promise("texts_out", "refusals", "events")
def a_refused_text_is_told(subject: Subject) -> None:
    """A text that the room refuses is told as an event, for sending does not wait for it."""
    with subject.opened(kinds=("event",)) as (transport, stage):
        stage.driver.refuse("data")
        receiver = transport.recv(timeout=stage.patience)
        transport.send_text("x", topic=TOPIC, timeout=stage.patience)
        expect_refusal_told(receiver, stage, "text")
