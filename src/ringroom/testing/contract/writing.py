"""Promises about texts of ours that the others see while they are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ringroom.client import Transport
from ringroom.events import EventKind
from ringroom.testing.contract.events import events_until
from ringroom.testing.contract.hearing import collect
from ringroom.testing.contract.losing import lose
from ringroom.testing.contract.promise import expect, promise
from ringroom.testing.contract.subject import Stage, Subject
from ringroom.testing.contract.texting import ATTRIBUTES, OTHER, TOPIC, long_text
from ringroom.testing.written import WrittenText


class _Failed(Exception):
    """What a block raises."""


def seen(stage: Stage, who: str = "ann") -> dict[str, WrittenText]:
    """The texts that somebody sees, by what each begins with."""
    return {text.text[:1]: text for text in stage.driver.texts(who)}


def until_seen(stage: Stage, text: str, *, ended: bool) -> WrittenText:
    """What Ann sees, once that is there."""

    def there() -> WrittenText | None:
        found = seen(stage).get(text[:1])
        return found if found is not None and found.text == text and found.ended == ended else None

    state = "ended" if ended else "still being written"
    shown = text if len(text) < 40 else f"{text[:12]}..."
    found = stage.until(there, f"the text {shown!r}, {state}")
    assert found is not None
    return found


def write_and_raise(transport: Transport, stage: Stage, text: str) -> None:
    """Write that, and leave the block by an error."""
    try:
        with transport.open_text(topic=TOPIC, timeout=stage.patience) as out:
            out.write(text)
            raise _Failed
    except _Failed:
        pass


@promise("text_streams")
def a_text_is_seen_as_it_is_written(subject: Subject) -> None:
    """What we have written of a text is seen before it ends, and then it is whole."""
    with subject.opened(kinds=()) as (transport, stage):
        with transport.open_text(topic=TOPIC, timeout=stage.patience) as text:
            text.write("one ")
            until_seen(stage, "one ", ended=False)
            text.write("twö")
            until_seen(stage, "one twö", ended=False)
        whole = until_seen(stage, "one twö", ended=True).whole
        expect(whole, "a text that has ended in order is said to be unfinished")
        number = len(stage.driver.texts("ann"))
        expect(number == 1, f"one text was written, {number} are seen")


@promise("text_streams")
def all_of_what_is_written_is_seen_in_order(subject: Subject) -> None:
    """The pieces of a text, short and long, make up what was written, of the claimed size."""
    long = long_text(subject)
    text = "".join(f"{number} " for number in range(100))
    text += long[: (subject.capabilities.max_text - len(text)) // 3 * 2]
    pieces = [text[start : start + 5] for start in range(0, 390, 5)] + [text[390:]]
    with subject.opened(kinds=()) as (transport, stage):
        with transport.open_text(topic=TOPIC, timeout=stage.patience) as out:
            for piece in pieces:
                out.write(piece)

        def ended() -> Sequence[WrittenText]:
            return [one for one in stage.driver.texts("ann") if one.ended]

        got = stage.until(ended, "the end of a text")[0].text
        expect(len(got) >= len(text), f"of {len(text)} letters {len(got)} are seen")
        expect(got == text, "the pieces of a text are seen in another order, or others")


@promise("text_streams")
def a_text_that_is_written_keeps_its_topic_and_attributes(subject: Subject) -> None:
    """The topic and the attributes that we give are seen from the beginning."""
    with subject.opened(kinds=()) as (transport, stage):
        of = {"topic": OTHER, "attributes": ATTRIBUTES}
        with transport.open_text(**of, timeout=stage.patience) as text:  # type: ignore[arg-type]
            text.write("x")
            one = until_seen(stage, "x", ended=False)
            expect(one.topic == OTHER, f"the topic {OTHER!r} is seen as {one.topic!r}")
            found = dict(one.attributes)
            expect(found == ATTRIBUTES, f"the attributes {ATTRIBUTES} are seen as {found}")


@promise("text_streams")
def the_attributes_of_an_end_are_seen_with_it(subject: Subject) -> None:
    """The attributes that we finish a text with are seen once it has ended, with those that it
    began with, of which they replace those of the same name."""
    beginning, last = {**ATTRIBUTES, "final": "false"}, {"final": "true", "größe": "ä"}
    with subject.opened(kinds=()) as (transport, stage):
        of: dict[str, Any] = {"topic": TOPIC, "attributes": beginning, "timeout": stage.patience}
        with transport.open_text(**of) as text:
            text.write("x")
            found = dict(until_seen(stage, "x", ended=False).attributes)
            expect(found == beginning, f"the attributes {beginning} are seen as {found}")
            text.finish(last)
            one = until_seen(stage, "x", ended=True)
            expect(one.whole, "a text that we have finished is said to be unfinished")
            found, both = dict(one.attributes), beginning | last
            expect(found == both, f"the attributes {both} are seen at the end as {found}")


@promise("text_streams")
def texts_that_are_written_at_a_time_stay_apart(subject: Subject) -> None:
    """Two texts of one topic that we write by turns do not get into each other."""
    with subject.opened(kinds=()) as (transport, stage):
        of: dict[str, Any] = {"topic": TOPIC, "timeout": stage.patience}
        with transport.open_text(**of) as a, transport.open_text(**of) as b:
            for _ in range(5):
                a.write("a")
                b.write("b")

        def both() -> bool:
            texts = stage.driver.texts("ann")
            return len(texts) >= 2 and all(one.ended for one in texts)

        stage.until(both, "the ends of two texts")
        found = sorted(one.text for one in stage.driver.texts("ann"))
        expect(found == ["aaaaa", "bbbbb"], f"two texts are seen as {found}")


@promise("text_streams")
def a_block_that_raises_leaves_its_text_unfinished(subject: Subject) -> None:
    """A text whose block raises is seen to have ended without being whole; others go on."""
    with subject.opened(kinds=()) as (transport, stage):
        write_and_raise(transport, stage, "half")
        whole = until_seen(stage, "half", ended=True).whole
        expect(not whole, "half of a text is said to be whole")
        with transport.open_text(topic=TOPIC, timeout=stage.patience) as text:
            text.write("another")
        until_seen(stage, "another", ended=True)


@promise("text_streams", "addressing", "several_people")
def a_text_is_seen_by_whom_it_is_for(subject: Subject) -> None:
    """A text that is written with ``to=`` is seen by those it names and nobody else."""
    with subject.opened(kinds=()) as (transport, stage):
        for who in ("ben", "eve"):
            stage.driver.join(who)
        of: dict[str, Any] = {"topic": TOPIC, "timeout": stage.patience}
        with transport.open_text(**of, to=("ben", "eve")) as text:
            text.write("secret")
        with transport.open_text(**of) as text:
            text.write("end")
        reached = set()
        for who in ("ann", "ben", "eve"):

            def end(who: str = who) -> bool:
                return "e" in seen(stage, who)

            stage.until(end, f"{who} seeing a text")
            reached |= {who} if "s" in seen(stage, who) else set()
        expect(reached == {"ben", "eve"}, f"a text to ben and eve is seen by {sorted(reached)}")


@promise("text_streams", "events", "connection_loss")
def a_text_that_a_loss_cuts_is_told(subject: Subject) -> None:
    """A text that is being written as the connection is lost is seen whole, with all that is
    written before and afterwards, or else it is unfinished, which is told; what is begun afterwards
    is seen."""
    with subject.opened(kinds=("event",)) as (transport, stage):
        of: dict[str, Any] = {"topic": TOPIC, "timeout": 4 * stage.patience}
        with transport.open_text(**of) as text:
            text.write("half")
            until_seen(stage, "half", ended=False)
            receiver = lose(transport, stage)
            stage.driver.restore_connection()
            events_until(receiver, ("connection_back", ""), stage)
            text.write(" and half")
        with transport.open_text(**of) as text:
            text.write("another")
        until_seen(stage, "another", ended=True)
        stage.until(lambda: seen(stage)["h"].ended, "the end of a text in which we were lost")
        cut = seen(stage)["h"]
        if cut.whole:
            right = cut.text == "half and half"
            expect(right, f"a text of which a part was lost is said to be whole: {cut.text!r}")
        else:
            expect_failed(receiver, stage)


def expect_failed(receiver: Any, stage: Stage) -> None:
    failed = EventKind.DATA_FAILED

    def told(items: list[Any]) -> bool:
        return any(one.kind is failed for one in items)

    items, _ = collect(receiver, told, 2 * stage.patience)
    expect(told(items), f"a text that was lost was not told: {[str(one.kind) for one in items]}")


@promise("text_streams", "refusals", "events")
def a_text_that_is_refused_is_told(subject: Subject) -> None:
    """A text that the room refuses to see begin is told as an event."""
    with subject.opened(kinds=("event",)) as (transport, stage):
        stage.driver.refuse("data")
        receiver = transport.recv(timeout=stage.patience)
        with transport.open_text(topic=TOPIC, timeout=stage.patience) as text:
            text.write("x")
        expect_failed(receiver, stage)
