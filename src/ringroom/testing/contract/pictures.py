"""Promises about pictures, in both directions."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Sequence

import numpy as np

from ringroom.client import Receiver, Transport
from ringroom.frames import VideoFrame
from ringroom.testing import sources
from ringroom.testing.contract.hearing import (
    HEIGHT,
    WIDTH,
    collect,
    following,
    picture,
    pictures_until,
)
from ringroom.testing.contract.promise import expect, pause, promise
from ringroom.testing.contract.subject import Stage, Subject

COUNT = 6
# An encoder drops what comes faster than pictures do.
CODED_SECONDS = 0.1
# A picture whose luma is below this all over is no test picture, but the black that a source may
# show before it has a picture.
BLACK = 32
# Timestamps come from the source's own clock, which may stand anywhere and go at any pace.
TIMES_US = [7, 40_007, 5_000_000_000_000, 5_000_000_000_001]


def ann_shows(subject: Subject) -> list[VideoFrame]:
    """What we receive of the pictures 0 to COUNT that Ann shows."""
    with subject.opened(kinds=("video",)) as (transport, stage):
        exact = stage.capabilities.exact_video
        receiver = transport.recv(timeout=stage.patience if exact else CODED_SECONDS)
        stage.driver.publish_video("ann", "camera")
        if not exact:
            return coded(receiver, stage)
        for number in range(COUNT + 1):
            stage.driver.show("ann", "camera", picture(number))
        return pictures_until(receiver, COUNT, stage)


def coded(receiver: Receiver, stage: Stage) -> list[VideoFrame]:
    """What we receive while Ann shows one picture after the other. A codec may lose pictures, the
    first ones above all, and makes up for that only when another is shown."""
    found: list[VideoFrame] = []
    end = time.monotonic() + 2 * stage.patience + (COUNT + 1) * CODED_SECONDS
    for number in itertools.count():
        if len(found) > COUNT or time.monotonic() > end:
            break
        stage.driver.show("ann", "camera", picture(number))
        # Take all that has come: with one for each that is shown the reader would fall behind.
        found = pictured(found + collect(receiver, lambda _: False, CODED_SECONDS)[0])
    expect(len(found) > COUNT, f"of {number} pictures that were shown {len(found)} arrived")
    return found


def we_show(subject: Subject) -> Sequence[VideoFrame]:
    """What the others see of the pictures 0 to COUNT that we send."""
    with subject.opened(kinds=()) as (transport, stage):
        for number in range(COUNT + 1):
            show(transport, number, stage)
        if not stage.capabilities.exact_video:
            # A codec may lose pictures, the first ones above all, so more than COUNT are shown.
            end = time.monotonic() + stage.patience
            while len(pictured(stage.driver.seen("video"))) <= COUNT and time.monotonic() < end:
                number += 1
                show(transport, number, stage)
                pause(CODED_SECONDS)
            shown = pictured(seen(stage, number))
            expect(shown, "nothing but black was seen of what we sent")
            return shown
        return seen(stage, COUNT)


def show(transport: Transport, number: int, stage: Stage) -> None:
    """Every other one is filled where the I/O process reads it."""
    if number % 2:
        transport.send(picture(number), timeout=stage.patience)
        return
    with transport.fill_video(WIDTH, HEIGHT, timeout=stage.patience) as frame:
        frame.data[:] = picture(number).data


def seen(stage: Stage, last: int) -> Sequence[VideoFrame]:
    """The others' pictures until that number came."""
    stage.until(lambda: stage.driver.seen("video"), "a picture of ours to be seen")
    # Without a codec the last one comes for certain. With one it may be lost: wait for a second.
    end = time.monotonic() + (stage.patience if stage.capabilities.exact_video else 1.0)
    while time.monotonic() < end:
        pictures = stage.driver.seen("video")
        if numbers(pictures)[-1] == last:
            break
        time.sleep(0.005)
    return stage.driver.seen("video")


def pictured(items: Sequence[VideoFrame]) -> list[VideoFrame]:
    """The pictures without the black ones before the first, which would be read as picture 0: a
    source that is coded shows them as long as it has no picture."""
    return list(itertools.dropwhile(lambda one: one.planes()[0].max() < BLACK, items))


def numbers(pictures: Sequence[VideoFrame]) -> list[int]:
    return [sources.picture_number(one) for one in pictures]


def expect_in_order(pictures: Sequence[VideoFrame]) -> None:
    found = numbers(pictures)
    expect(found == sorted(found), f"pictures came in the order {found}")
    twice = sorted({n for n in found if found.count(n) > 1})
    expect(not twice, f"pictures {twice} came more than once: {found}")


def expect_all(pictures: Sequence[VideoFrame]) -> None:
    lost = sorted(set(range(COUNT + 1)) - set(numbers(pictures)))
    expect(not lost, f"pictures {lost} never came, though the reader kept up")


def expect_same(pictures: Sequence[VideoFrame]) -> None:
    for got in pictures:
        number = sources.picture_number(got)
        expect((got.width, got.height) == (WIDTH, HEIGHT), f"a picture is {got!r}")
        wrong = np.flatnonzero(got.data != picture(number).data)
        expect(not len(wrong), f"{len(wrong)} bytes of picture {number} are not as they were shown")


@promise("video_in")
def pictures_arrive_in_order_and_once(subject: Subject) -> None:
    """Pictures arrive in the order in which they were shown, none of them twice."""
    expect_in_order(ann_shows(subject))


@promise("video_in", "exact_video")
def pictures_arrive_byte_for_byte(subject: Subject) -> None:
    """A picture arrives as it was shown."""
    expect_same(ann_shows(subject))


@promise("video_in", "exact_video")
def no_picture_is_lost_on_the_way_in(subject: Subject) -> None:
    """Every picture arrives at a reader that keeps up."""
    expect_all(ann_shows(subject))


@promise("video_in")
def pictures_name_their_track_and_count(subject: Subject) -> None:
    """A picture tells whose it is, and pictures count up by one."""
    pictures = ann_shows(subject)
    owners = {one.participant for one in pictures}
    expect(owners == {"ann"}, f"the pictures are said to be of {sorted(owners)}, shown by 'ann'")
    steps = {b.sequence - a.sequence for a, b in itertools.pairwise(pictures)}
    expect(steps <= {1}, f"the pictures' numbers step by {sorted(steps)}, expected 1")


@promise("video_in", "exact_video")
def a_picture_may_grow(subject: Subject) -> None:
    """A track whose pictures become larger goes on."""
    sizes = [(64, 48), (320, 240), (640, 480), (64, 48)]
    with subject.opened(kinds=("video",)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        stage.driver.publish_video("ann", "camera")
        for number, size in enumerate(sizes):
            stage.driver.show("ann", "camera", picture(number, *size))
        pictures = pictures_until(receiver, len(sizes) - 1, stage)
        got = [(one.width, one.height) for one in pictures]
        expect(got == sizes, f"pictures of {got} arrived, shown were {sizes}")


@promise("video_in", "rotation")
def a_picture_keeps_its_rotation(subject: Subject) -> None:
    """The rotation of a picture arrives with it."""
    with subject.opened(kinds=("video",)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        stage.driver.publish_video("ann", "camera")
        shown = VideoFrame(picture(0).data, WIDTH, HEIGHT, rotation=90)
        stage.driver.show("ann", "camera", shown)
        got = following(receiver).rotation
        expect(got == 90, f"a picture shown with rotation 90 arrived with {got}")


@promise("video_in", "exact_video", "timestamps")
def pictures_keep_the_time_of_their_source(subject: Subject) -> None:
    """A picture arrives with the timestamp that its source gave it."""
    with subject.opened(kinds=("video",)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        stage.driver.publish_video("ann", "camera")
        for number, time_us in enumerate(TIMES_US):
            stage.driver.show("ann", "camera", stamped(number, time_us))
        expect_times(pictures_until(receiver, len(TIMES_US) - 1, stage))


def stamped(number: int, time_us: int) -> VideoFrame:
    return VideoFrame(picture(number).data, WIDTH, HEIGHT, timestamp_us=time_us)


def expect_times(pictures: Sequence[VideoFrame]) -> None:
    found = [one.timestamp_us for one in pictures]
    expect(found == TIMES_US, f"pictures of the times {TIMES_US} came with {found}")


@promise("video_in", "exact_video")
def after_a_stall_the_newest_picture_comes(subject: Subject) -> None:
    """A reader that was busy for longer than ``max_age`` goes on with the newest picture."""
    with subject.opened(kinds=("video",), max_age=0.1) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience / 5)
        stage.driver.publish_video("ann", "camera")
        shown = 0

        def show(count: int) -> None:
            nonlocal shown
            for number in range(shown, shown + count):
                stage.driver.show("ann", "camera", picture(number))
            shown += count
            stage.until(
                lambda: transport.stats().received.sent == shown, f"{shown} pictures coming in"
            )

        def after_a_stall() -> list[int]:
            """One number; none where a slow machine has let all become too old."""
            show(3)
            pause(0.2)  # the stall that this is about
            show(2)
            with contextlib.suppress(TimeoutError):
                return [sources.picture_number(following(receiver))]
            return []

        [found] = stage.until(after_a_stall, "a picture after a stall")
        newest = shown - 1
        expect(found == newest, f"picture {found} came after the stall, the newest is {newest}")


@promise("video_out")
def pictures_are_seen_in_order_and_once(subject: Subject) -> None:
    """What we show is seen in order, no picture twice."""
    expect_in_order(we_show(subject))


@promise("video_out", "exact_video")
def pictures_are_seen_byte_for_byte(subject: Subject) -> None:
    """What we show is seen as it was."""
    expect_same(we_show(subject))


@promise("video_out", "exact_video")
def no_picture_is_lost_on_the_way_out(subject: Subject) -> None:
    """Every picture that we show in ``speech`` mode is seen."""
    expect_all(we_show(subject))


@promise("video_out", "exact_video")
def a_picture_of_ours_may_grow(subject: Subject) -> None:
    """A track of ours whose pictures become larger goes on."""
    sizes = [(64, 48), (320, 240), (640, 480)]
    with subject.opened(kinds=()) as (transport, stage):
        for number, size in enumerate(sizes):
            transport.send(picture(number, *size), timeout=stage.patience)
        got = [(one.width, one.height) for one in seen(stage, len(sizes) - 1)]
        expect(got == sizes, f"pictures of {got} were seen, sent were {sizes}")


@promise("video_out", "rotation")
def a_picture_of_ours_keeps_its_rotation(subject: Subject) -> None:
    """The rotation of a picture that we show is seen with it."""
    with subject.opened(kinds=()) as (transport, stage):
        shown = VideoFrame(picture(0).data, WIDTH, HEIGHT, rotation=90)
        transport.send(shown, timeout=stage.patience)
        got = seen(stage, 0)[0].rotation
        expect(got == 90, f"a picture that we showed with rotation 90 was seen with {got}")


@promise("video_out", "exact_video", "timestamps")
def pictures_of_ours_keep_their_time(subject: Subject) -> None:
    """A picture that we show is seen with the timestamp that we gave it."""
    with subject.opened(kinds=()) as (transport, stage):
        for number, time_us in enumerate(TIMES_US):
            transport.send(stamped(number, time_us), timeout=stage.patience)
        expect_times(seen(stage, len(TIMES_US) - 1))
