"""Promises about files: messages that are received whole, by their topic, with a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ringroom.errors import FrameError
from ringroom.events import EventKind
from ringroom.frames import DataFrame, FileFrame
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
    expect_unchanged,
    received,
)
from ringroom.testing.contract.promise import expect, expect_error, promise
from ringroom.testing.contract.subject import Subject

__all__ = ["FILE_TOPICS"]

FILE_TOPICS = ("photos", "größe/bilder")
"""Those that promises use: for a driver that must say what it listens to."""
TOPIC, OTHER = FILE_TOPICS
SAID: Mapping[str, Any] = {
    "name": "../größe 1/é.jpg",
    "mime_type": "image/jpeg",
    "attributes": {"größe": "3 %", "empty": ""},
}


def ann_sends(subject: Subject, *files: FileFrame) -> list[FileFrame]:
    """What we receive of the files that Ann sends, of which the last one is sent once."""
    with subject.opened(kinds=("data",), file_topics=FILE_TOPICS) as (transport, stage):
        receiver = transport.recv(timeout=2 * stage.patience)
        for file in files:
            stage.driver.send_file("ann", file)

        def enough(items: list[Any]) -> bool:
            return bool(items) and items[-1].payload == files[-1].payload

        return only_files(collect(receiver, enough, 4 * stage.patience)[0])


def we_send(subject: Subject, *files: FileFrame) -> list[FileFrame]:
    """What Ann receives of the files that we send."""
    with subject.opened(kinds=()) as (transport, stage):
        for file in files:
            transport.send(file, timeout=2 * stage.patience)
        return only_files(received(stage, files[-1].payload))


def only_files(frames: Sequence[DataFrame]) -> list[FileFrame]:
    expect(frames, "not one file arrived")
    files = [frame for frame in frames if isinstance(frame, FileFrame)]
    expect(len(files) == len(frames), "a file arrived as a message")
    return files


def numbered() -> list[FileFrame]:
    """Every fourth is long: what is sent after it is short, and not to overtake it."""
    return [
        FileFrame(b"%d" % number + b" " * 100_000 * (number % 4 == 0), TOPIC)
        for number in range(COUNT)
    ]


def large(subject: Subject) -> list[FileFrame]:
    """One of the claimed size, whose parts are not alike, and a last one."""
    size = subject.capabilities.max_file
    parts = b"".join(number.to_bytes(4, "little") for number in range(size // 4 + 1))
    return [FileFrame(parts[:size], TOPIC), FileFrame(b"end", TOPIC)]


def expect_kept(file: FileFrame) -> None:
    expect(file.topic == OTHER, f"the topic {OTHER!r} arrived as {file.topic!r}")
    for field, said in SAID.items():
        found = getattr(file, field)
        found = dict(found) if isinstance(found, Mapping) else found
        expect(found == said, f"the {field} {said!r} arrived as {found!r}")


@promise("files_in")
def files_arrive_in_order(subject: Subject) -> None:
    """Files of one sender arrive in the order in which they were sent, long and short ones."""
    expect_order(ann_sends(subject, *numbered()))


@promise("files_in")
def every_file_arrives_once(subject: Subject) -> None:
    """Every file arrives, and none twice."""
    files = ann_sends(subject, *numbered())
    expect_once(files)
    expect_none_lost(files, COUNT)


@promise("files_in")
def a_large_file_arrives_whole(subject: Subject) -> None:
    """A file of the claimed size arrives as one, byte for byte."""
    files = large(subject)
    expect_unchanged(ann_sends(subject, *files), [file.payload for file in files])


@promise("files_in")
def a_file_keeps_what_is_said_of_it(subject: Subject) -> None:
    """Topic, name, media type and attributes arrive with the file, and who sent it."""
    file = ann_sends(subject, FileFrame(b"x", OTHER, **SAID))[0]
    expect_kept(file)
    expect(
        file.participant == "ann", f"'ann' sent the file, it is said to be of {file.participant!r}"
    )


@promise("files_in")
def an_empty_file_arrives(subject: Subject) -> None:
    """A file without a single byte is a file."""
    files = ann_sends(subject, FileFrame(b"", TOPIC, name="empty"), FileFrame(b"end", TOPIC))
    names = [file.name for file in files if not file.payload]
    expect(names == ["empty"], f"of an empty file and another {[*map(repr, files)]} arrived")


@promise("files_in")
def files_of_other_topics_do_not_arrive(subject: Subject) -> None:
    """Of files those arrive whose topic is asked for, and no others."""
    with subject.opened(kinds=("data",), file_topics=(TOPIC,)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        stage.driver.send_file("ann", FileFrame(b"other", OTHER))
        stage.driver.send_file("ann", FileFrame(b"asked for", TOPIC))
        files = only_files(collect(receiver, bool, 2 * stage.patience)[0])
        expect(files[0].topic == TOPIC, f"a file of the topic {files[0].topic!r} arrived")


@promise("files_in", "data_in", "topics")
def files_and_messages_do_not_mix(subject: Subject) -> None:
    """A message arrives as a message and a file as a file, also of the same topic."""
    with subject.opened(kinds=("data",), file_topics=(TOPIC,)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        stage.driver.send_data("ann", b"message", TOPIC, ())
        stage.driver.send_file("ann", FileFrame(b"file", TOPIC))
        frames, _ = collect(receiver, lambda got: len(got) == 2, 2 * stage.patience)
        expect_not_mixed(frames, "file", FileFrame)


@promise("files_in", "events")
def a_file_that_breaks_off_is_told_and_counted(subject: Subject) -> None:
    """Of a file that is broken off nothing arrives, and an event tells that."""
    kinds = ("data", "event")
    with subject.opened(kinds=kinds, file_topics=(TOPIC,)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        stage.driver.break_off_file("ann", FileFrame(b"half", TOPIC))
        # Events and files have no order between them, but files have.
        stage.driver.send_file("ann", FileFrame(b"whole", TOPIC))
        expect_failure_told(receiver, stage, EventKind.FILE_FAILED, "file")
        stage.until(lambda: transport.stats().received.dropped, "a file that broke off in stats()")


@promise("files_out")
def files_of_ours_arrive_in_order(subject: Subject) -> None:
    """The file that we send first begins first at the others."""
    expect_order(we_send(subject, *numbered()))


@promise("files_out")
def every_file_of_ours_arrives_once(subject: Subject) -> None:
    """Every file that we send is received, and none twice."""
    files = we_send(subject, *numbered())
    expect_once(files)
    expect_none_lost(files, COUNT)


@promise("files_out")
def a_large_file_of_ours_arrives_whole(subject: Subject) -> None:
    """A file of the claimed size is received as one, byte for byte."""
    files = large(subject)
    expect_unchanged(we_send(subject, *files), [file.payload for file in files])


@promise("files_out")
def a_file_of_ours_keeps_what_is_said_of_it(subject: Subject) -> None:
    """The topic, the name, the media type and the attributes that we give are received."""
    expect_kept(we_send(subject, FileFrame(b"x", OTHER, **SAID))[0])


@promise("files_out", "data_out", "topics")
def files_and_messages_of_ours_do_not_mix(subject: Subject) -> None:
    """A file that we send is received as a file, a message as a message."""
    with subject.opened(kinds=()) as (transport, stage):
        transport.send_data(b"message", topic=TOPIC, timeout=stage.patience)
        transport.send_file(b"file", topic=TOPIC, timeout=stage.patience)
        received(stage, b"message")
        expect_not_mixed(received(stage, b"file"), "file", FileFrame)


@promise("files_out", "addressing", "several_people")
def a_file_reaches_whom_it_is_for(subject: Subject) -> None:
    """A file with ``to=`` reaches those it names and nobody else."""
    with subject.opened(kinds=()) as (transport, stage):
        for who in ("ben", "eve"):
            stage.driver.join(who)
        transport.send_file(b"secret", topic=TOPIC, to=("ben", "eve"), timeout=stage.patience)
        transport.send_file(b"end", topic=TOPIC, timeout=stage.patience)
        expect_secret_kept(stage, "file")


@promise("files_out")
def a_file_that_is_too_large_is_refused(subject: Subject) -> None:
    """More than a file can hold raises `FrameError`; the next one is received."""
    with subject.opened(kinds=()) as (transport, stage):
        larger = bytes(subject.capabilities.max_file + 1)
        expect_error(
            FrameError, lambda: transport.send_file(larger), f"sending {len(larger)} bytes"
        )
        transport.send_file(b"end", topic=TOPIC, timeout=stage.patience)
        first = received(stage, b"end")[0]
        expect(first.payload == b"end", "the refused file was sent")


@promise("files_out", "refusals", "events")
def a_refused_file_is_told(subject: Subject) -> None:
    """A file that the room refuses is told as an event, for sending does not wait for it."""
    with subject.opened(kinds=("event",)) as (transport, stage):
        stage.driver.refuse("data")
        receiver = transport.recv(timeout=stage.patience)
        transport.send_file(b"x", topic=TOPIC, timeout=stage.patience)
        expect_refusal_told(receiver, stage, "file")
