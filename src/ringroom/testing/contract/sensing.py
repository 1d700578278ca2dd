"""Promises about data tracks, in both directions.

Data tracks are lossy: where frames may be lost, their sender goes on until enough have come.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Any

from ringroom.client import Receiver, Transport
from ringroom.errors import RoomError
from ringroom.events import Event, EventKind, Kind, TrackInfo
from ringroom.frames import DataTrackFrame
from ringroom.testing.contract.hearing import collect, following
from ringroom.testing.contract.promise import expect, expect_error, pause, promise
from ringroom.testing.contract.subject import LOOK_SECONDS, Stage, Subject

TRACK = "lidar"
COUNT = 8
# Between two frames, where some are lost on the way: what comes in a heap is lost more often.
LOSSY_SECONDS = 0.02
# The smallest, those that are copied out of a ring, and one that lies there until it is read.
SIZES = (1, 2, 1_000, 40_000)


def reading(number: int) -> DataTrackFrame:
    """The frame of that number, which its last byte says; every other one has a timestamp."""
    size = SIZES[number % len(SIZES)]
    payload = bytes((number + place) % 251 for place in range(1, size)) + bytes([number % 251])
    return DataTrackFrame(payload, track=TRACK, timestamp=_timestamp(number))


def _timestamp(number: int) -> int | None:
    return number % 256 << 56 if number % 2 else None


def number_of(frame: DataTrackFrame) -> int:
    return frame.payload[-1]


def push(stage: Stage, number: int) -> None:
    """Ann sends the frame of that number."""
    frame = reading(number)
    stage.driver.push("ann", TRACK, frame.payload, frame.timestamp)


def ann_measures(subject: Subject) -> list[DataTrackFrame]:
    """What we receive of the frames that Ann sends, from number 1 on."""
    with subject.opened(kinds=("data_track",)) as (transport, stage):
        stage.driver.publish_data_track("ann", TRACK)
        if not stage.capabilities.lossless_data_tracks:
            return some_received(transport, stage, itertools.count(1), COUNT)
        receiver = transport.recv(timeout=stage.patience)
        for number in range(1, COUNT + 1):
            push(stage, number)
        return collect(receiver, lambda got: len(got) == COUNT, 2 * stage.patience)[0]


def some_received(
    transport: Transport, stage: Stage, numbers: Iterator[int], count: int
) -> list[DataTrackFrame]:
    """At least so many frames of Ann's, who goes on with these numbers until they have come."""
    found: list[DataTrackFrame] = []
    receiver = transport.recv(kinds=("data_track",), timeout=LOSSY_SECONDS)
    end = time.monotonic() + 2 * stage.patience
    while len(found) < count and time.monotonic() < end:
        push(stage, next(numbers))
        found += collect(receiver, lambda _: False, LOSSY_SECONDS)[0]
    return found


def we_measure(subject: Subject) -> Sequence[DataTrackFrame]:
    """What the others receive of the frames that we send, from number 1 on."""
    with subject.opened(kinds=()) as (transport, stage):
        if not stage.capabilities.lossless_data_tracks:
            return some_pushed(transport, stage, itertools.count(1), COUNT)
        for number in range(1, COUNT + 1):
            transport.send(reading(number), timeout=stage.patience)
        end = time.monotonic() + 2 * stage.patience
        while len(stage.driver.pushed(TRACK)) < COUNT and time.monotonic() < end:
            pause(LOOK_SECONDS)
        return stage.driver.pushed(TRACK)


def some_pushed(
    transport: Transport, stage: Stage, numbers: Iterator[int], count: int
) -> Sequence[DataTrackFrame]:
    """At least so many frames of ours that the others had not received before; we go on with these
    numbers until they have."""
    before = len(stage.driver.pushed(TRACK))
    end = time.monotonic() + 2 * stage.patience
    while len(stage.driver.pushed(TRACK)) < before + count and time.monotonic() < end:
        transport.send(reading(next(numbers)), timeout=2 * stage.patience)
        pause(LOSSY_SECONDS)
    return stage.driver.pushed(TRACK)[before:]


def expect_in_order(frames: Sequence[DataTrackFrame]) -> None:
    found = [number_of(frame) for frame in frames]
    expect(found, "not one frame of the data track arrived")
    expect(len(found) >= COUNT, f"of {COUNT} frames and more only {found} arrived")
    expect(found == sorted(found), f"frames came in the order {found}")
    twice = sorted({one for one in found if found.count(one) > 1})
    expect(not twice, f"frames {twice} came more than once: {found}")


def expect_as_sent(frames: Sequence[DataTrackFrame]) -> None:
    expect(frames, "not one frame of the data track arrived")
    for frame in frames:
        number = number_of(frame)
        sent = reading(number)
        wrong = f"{len(frame.payload)} bytes, and had {len(sent.payload)}"
        expect(len(frame.payload) == len(sent.payload), f"frame {number} has {wrong}")
        expect(frame.payload == sent.payload, f"the bytes of frame {number} are others")
        stamps = f"{frame.timestamp}, and was sent with {sent.timestamp}"
        expect(frame.timestamp == sent.timestamp, f"frame {number} has the timestamp {stamps}")


def expect_all(frames: Sequence[DataTrackFrame]) -> None:
    lost = sorted(set(range(1, COUNT + 1)) - {number_of(frame) for frame in frames})
    expect(not lost, f"frames {lost} never came, though the reader kept up")


# In


@promise("data_tracks_in")
def readings_arrive_in_order_and_once(subject: Subject) -> None:
    """Frames of a data track arrive in the order in which they were sent, none of them twice."""
    expect_in_order(ann_measures(subject))


@promise("data_tracks_in")
def readings_arrive_as_they_were_sent(subject: Subject) -> None:
    """A frame of a data track arrives byte for byte, and with its sender's timestamp, if it had
    one."""
    expect_as_sent(ann_measures(subject))


@promise("data_tracks_in", "lossless_data_tracks")
def no_reading_is_lost_on_the_way_in(subject: Subject) -> None:
    """Every frame of a data track arrives at a reader that keeps up."""
    expect_all(ann_measures(subject))


@promise("data_tracks_in")
def a_reading_names_its_track(subject: Subject) -> None:
    """A received frame tells its track, whose that is, and that it is a data track."""
    frames = ann_measures(subject)
    expect(frames, "not one frame of the data track arrived")
    track = frames[0].track
    found = (track.name, track.kind, track.participant) if isinstance(track, TrackInfo) else track
    expect(found == (TRACK, Kind.DATA_TRACK, "ann"), f"the frame is said to be of {found}")


@promise("data_tracks_in", "data_in")
def data_tracks_come_to_those_who_ask_for_them(subject: Subject) -> None:
    """Who receives messages, and has not asked for data tracks, gets nothing of them."""
    with subject.opened(kinds=("data",)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        stage.driver.publish_data_track("ann", TRACK)
        push(stage, 1)
        stage.driver.send_data("ann", b"message", "", ())
        got = following(receiver)
        told = "a frame of a data track came, for which nobody has asked"
        expect(not isinstance(got, DataTrackFrame), told)
        expect(not transport.stats().received.sent - 1, told)


@promise("data_tracks_in", "events", "unpublish")
def a_data_track_is_told_from_its_beginning_to_its_end(subject: Subject) -> None:
    """That a data track is published, begins, ends and is no more is told, as of other tracks."""
    with subject.opened(kinds=("data_track", "event")) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        stage.driver.publish_data_track("ann", TRACK)
        told = _told(receiver, [], _BEGINNING, stage)
        stage.driver.unpublish("ann", TRACK)
        told = _told(receiver, told, (*_BEGINNING, *_END), stage)
        first, last = told.index(EventKind.TRACK_STARTED), told.index(EventKind.TRACK_ENDED)
        expect(first < last, f"what was told of the track is {[str(one) for one in told]}")


_BEGINNING = (EventKind.TRACK_PUBLISHED, EventKind.TRACK_STARTED)
_END = (EventKind.TRACK_ENDED, EventKind.TRACK_UNPUBLISHED)
"""Room events and those of a track have no order between them."""


def _told(
    receiver: Receiver, told: list[EventKind], wanted: Sequence[EventKind], stage: Stage
) -> list[EventKind]:
    """What was told of the data track until all that is wanted was, what was told before first."""

    def of(items: list[Any]) -> list[EventKind]:
        return told + [item.kind for item in items if _is_of_data_track(item)]

    items, _ = collect(receiver, lambda items: {*wanted} <= {*of(items)}, 2 * stage.patience)
    missing = [str(one) for one in wanted if one not in of(items)]
    expect(not missing, f"of the data track was never told: {', '.join(missing)}")
    return of(items)


def _is_of_data_track(item: Any) -> bool:
    track = item.track if isinstance(item, Event) else None
    return track is not None and track.kind is Kind.DATA_TRACK


# Out


@promise("data_tracks_out")
def readings_of_ours_arrive_in_order_and_once(subject: Subject) -> None:
    """Frames that we send on a data track are received in their order, none of them twice."""
    expect_in_order(we_measure(subject))


@promise("data_tracks_out")
def readings_of_ours_arrive_as_they_were_sent(subject: Subject) -> None:
    """A frame that we send on a data track is received byte for byte, and with its timestamp."""
    expect_as_sent(we_measure(subject))


@promise("data_tracks_out", "lossless_data_tracks")
def no_reading_of_ours_is_lost(subject: Subject) -> None:
    """Every frame that we send on a data track is received."""
    expect_all(we_measure(subject))


@promise("data_tracks_out")
def a_data_track_of_ours_ends_when_we_say_so(subject: Subject) -> None:
    """A data track is published by its first frame, until we unpublish it."""
    with subject.opened(kinds=()) as (transport, stage):

        def is_there() -> bool:
            return TRACK in stage.driver.tracks()

        expect(not is_there(), "a data track is there on which nothing was sent")
        transport.send(reading(1), timeout=stage.patience)
        stage.until(is_there, "a data track of ours being published")
        transport.unpublish(TRACK, timeout=stage.patience)
        stage.until(lambda: not is_there(), "a data track of ours being unpublished")


@promise("data_tracks_out", "refusals")
def a_refused_data_track_is_told(subject: Subject) -> None:
    """Who sends on a data track that the room refuses is told so by `RoomError`."""
    with subject.opened(kinds=()) as (transport, stage):
        stage.driver.refuse("publish")
        refusal = expect_error(
            RoomError,
            lambda: transport.send(reading(1), timeout=stage.patience),
            "sending on a data track that is refused",
        )
        reason = getattr(refusal, "reason", "")
        expect(reason == "publish_refused", f"who sends is told the reason {reason!r}")


@promise("data_tracks_in", "data_tracks_out", "connection_loss")
def data_tracks_go_on_after_a_loss(subject: Subject) -> None:
    """When a connection that was lost is back, frames of data tracks come and go as before."""
    with subject.opened(kinds=("data_track",)) as (transport, stage):
        stage.driver.publish_data_track("ann", TRACK)
        numbers = itertools.count(1)
        expect(some_received(transport, stage, numbers, 2), "nothing arrived before the loss")
        expect(some_pushed(transport, stage, numbers, 2), "nothing was received before the loss")
        stage.driver.lose_connection()
        stage.driver.restore_connection()
        expect(some_received(transport, stage, numbers, 2), "nothing arrived after the loss")
        expect(some_pushed(transport, stage, numbers, 2), "nothing was received after the loss")
