"""Promises about ends: of a track, of the room, of the connection, of the transport."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from ringroom.client import Transport
from ringroom.errors import ClosedError, RoomError
from ringroom.frames import AudioFrame
from ringroom.options import Reconnect
from ringroom.testing import sources
from ringroom.testing.contract.hearing import collect, following, joined, listen, say
from ringroom.testing.contract.promise import Call, broken, expect, expect_error, promise
from ringroom.testing.contract.score import FOREIGN, RATE, Score, missing
from ringroom.testing.contract.subject import Stage, Subject


def silence(seconds: float = 0.02) -> AudioFrame:
    return AudioFrame(sources.silence(seconds, RATE), RATE)


@promise("audio_in", "unpublish")
def a_track_that_ends_does_not_end_the_room(subject: Subject) -> None:
    """After the end of one track the reader goes on with others."""
    with subject.opened(kinds=("audio",)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        say(stage, Score(stage.capabilities, seed=1), "ann", "first")
        heard = next(receiver)
        # A replay of this promise may be over with the last piece, so the room may end then. It may
        # also lack the first track, which may have been over when the recorder came to it.
        stage.driver.unpublish("ann", "first")
        score = Score(stage.capabilities)
        say(stage, score, "ann", "second")
        numbers = of_track(itertools.chain([heard], receiver), "second", score, stage)
        lost = missing(numbers, score)
        expect(not lost, f"after the first track's end pieces {lost} of the second never came")


def of_track(receiver: Iterator[Any], name: str, score: Score, stage: Stage) -> list[int]:
    """The pieces that come of one track; frames of other tracks are left out."""
    numbers: list[int] = []

    def enough(items: list[Any]) -> bool:
        frames = [frame for frame in items if frame.track.name == name]
        if frames:
            numbers[:] = score.read(joined(frames), frames[0].sample_rate)
        return score.end in numbers

    _, ended = collect(receiver, enough, stage.patience + score.seconds)
    expect(not ended, "the reader's loop ended, and the room did not")
    return numbers


@promise("audio_in", "unpublish")
def a_track_can_be_published_again(subject: Subject) -> None:
    """A track that ended and begins again under its name is received again, under a new sid."""
    with subject.opened(kinds=("audio",)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        say(stage, Score(stage.capabilities, seed=1))
        sid = following(receiver).track.sid
        stage.driver.unpublish("ann", "mic")
        score = Score(stage.capabilities)
        say(stage, score)
        frames: list[AudioFrame] = []

        def again(items: list[Any]) -> bool:
            frames[:] = [frame for frame in items if frame.track.sid != sid]
            return len(frames) >= 3

        collect(receiver, again, stage.patience + score.seconds)
        expect(again(list(frames)), "no frame came of the track that was published again")


@promise("audio_in", "several_people", "events")
def who_leaves_takes_tracks_along(subject: Subject) -> None:
    """When a participant leaves, the end of each track is told."""
    with subject.opened(kinds=("audio", "event")) as (transport, stage):
        stage.driver.join("ben")
        receiver = transport.recv(timeout=stage.patience)
        say(stage, Score(stage.capabilities), "ben", "mic")
        stage.until(lambda: transport.stats().received.sent, "sound coming in")
        stage.driver.leave("ben")
        items, _ = collect(
            receiver,
            lambda got: bool(got) and getattr(got[-1], "kind", "") == "track_ended",
            2 * stage.patience,
        )
        kinds = [str(getattr(item, "kind", "frame")) for item in items]
        expect("track_ended" in kinds, "the track of one who left was never told to have ended")


@promise("room_end")
def the_end_of_the_room_ends_the_loop(subject: Subject) -> None:
    """When the room ends, a reader that waits gets the end of its loop, and no error."""
    with subject.opened(kinds=("audio",)) as (transport, stage):
        receiver = transport.recv()
        reading = Call("the reader's loop", lambda: [*receiver])
        expect(reading.waits(), "the reader's loop ended before the room did")
        stage.driver.close_room()
        reading.result(stage.patience)
        expect(transport.ended, "the room has ended, and `ended` does not say why")


@promise("room_end", "audio_in")
def what_was_said_before_the_end_arrives(subject: Subject) -> None:
    """What came before the room's end is received before the loop ends."""
    with subject.opened(kinds=("audio",)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        score = Score(stage.capabilities)
        say(stage, score)
        stage.until(lambda: transport.stats().received.sent >= score.count, "sound coming in")
        stage.driver.close_room()
        stage.until(lambda: transport.ended, "the room's end")
        items, ended = collect(receiver, lambda _: False, stage.patience)
        expect(ended, "the room has ended, and the reader's loop goes on")
        expect(len(items) >= score.count, f"{len(items)} frames came, {score.count} came in before")


@promise("room_end")
def the_end_of_the_room_is_told_once(subject: Subject) -> None:
    """The last event is that we are disconnected; it is told once."""
    with subject.opened(kinds=("event",)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        stage.driver.close_room()
        items, ended = collect(receiver, lambda _: False, stage.patience)
        kinds = [str(item.kind) for item in items]
        expect(ended, f"the reader's loop goes on after the room's end; it was told {kinds}")
        count = kinds.count("disconnected")
        expect(count == 1, f"the room's end was told {count} times: {kinds}")
        expect(kinds[-1] == "disconnected", f"something was told after the room's end: {kinds}")


@promise("room_end", "audio_out")
def sending_ends_with_the_room(subject: Subject) -> None:
    """When the room has ended, sending raises `ClosedError` instead of waiting for ever."""
    with subject.opened(kinds=()) as (transport, stage):
        transport.send(silence(), timeout=stage.patience)
        stage.driver.close_room()
        stage.until(lambda: transport.ended, "the room's end")
        expect_error(
            ClosedError,
            lambda: transport.send(silence(), timeout=stage.patience),
            "sending after the room's end",
        )


@promise("removal")
def being_put_out_ends_the_loop(subject: Subject) -> None:
    """An application that is put out of the room gets the end of the loop, and the reason."""
    with subject.opened(kinds=("audio",)) as (transport, stage):
        receiver = transport.recv()
        reading = Call("the reader's loop", lambda: [*receiver])
        expect(reading.waits(), "the reader's loop ended before we were put out")
        stage.driver.remove()
        reading.result(stage.patience)
        expect(transport.ended, "we were put out, and `ended` does not say why")


@promise("broken_connection")
def a_connection_that_does_not_come_back_is_an_error(subject: Subject) -> None:
    """A loss that does not heal raises `RoomError` where somebody waits, if it is not to be joined
    anew."""
    never = Reconnect(retries=0)
    with subject.opened(kinds=("audio",), reconnect=never) as (transport, stage):
        receiver = transport.recv()
        reading = Call("the reader's loop", lambda: [*receiver])
        expect(reading.waits(), "the reader's loop ended before the connection did")
        stage.driver.break_connection()
        expect_error(
            RoomError, lambda: reading.result(stage.patience), "reading on a broken connection"
        )


# The transport's own end


@promise()
def a_waiting_reader_wakes_at_close(subject: Subject) -> None:
    """Closing wakes who waits for a frame, with `ClosedError`."""
    with subject.opened(kinds=("audio",)) as (transport, stage):
        receiver = transport.recv()
        wakes_at_close(Call("a waiting reader", lambda: next(receiver)), transport, stage)


def wakes_at_close(call: Call[Any], transport: Transport, stage: Stage) -> None:
    expect(call.waits(), f"{call.what} did not wait")
    transport.close()
    expect_error(ClosedError, lambda: call.result(stage.patience), f"{call.what}, closed meanwhile")


@promise("audio_out", "pacing")
def a_waiting_sender_wakes_at_close(subject: Subject) -> None:
    """Closing wakes who waits to send, with `ClosedError`."""
    with subject.opened(kinds=()) as (transport, stage):
        transport.send(silence(), timeout=stage.patience)
        long = AudioFrame(sources.noise(6.0, RATE), RATE)
        wakes_at_close(Call("a waiting sender", transport.send, long), transport, stage)


@promise("audio_out", "pacing")
def a_wait_for_playout_wakes_at_close(subject: Subject) -> None:
    """Closing wakes who waits for the playout, with `ClosedError`."""
    with subject.opened(kinds=()) as (transport, stage):
        transport.send(AudioFrame(sources.noise(1.0, RATE), RATE), timeout=stage.patience)
        wakes_at_close(Call("a wait for playout", transport.wait_playout), transport, stage)


@promise()
def closing_twice_is_closing_once(subject: Subject) -> None:
    """A second close does nothing, also while the first is under way."""
    with subject.opened(kinds=("audio",)) as (transport, stage):
        both = [Call("a close beside another", transport.close) for _ in range(2)]
        for one in both:
            one.result(stage.capabilities.close_seconds + stage.patience)
        transport.close()


@promise()
def after_close_everything_says_so(subject: Subject) -> None:
    """After close every call raises `ClosedError` and says that the transport is closed."""
    with subject.opened(kinds=("audio",)) as (transport, _):
        receiver = transport.recv()
        transport.close()
        calls: dict[str, Callable[[], object]] = {
            "recv": transport.recv,
            "the next frame": lambda: next(receiver),
            "send": lambda: transport.send(silence()),
            "send_nowait": lambda: transport.send_nowait(silence()),
            "send_data": lambda: transport.send_data(b"x"),
            "flush": transport.flush,
            "played": transport.played,
            "wait_playout": transport.wait_playout,
            "audio_out": transport.audio_out,
        }
        for name, call in calls.items():
            error = expect_error(ClosedError, call, f"{name} after close")
            expect("closed" in str(error), f"{name} after close says {str(error)!r}")


@promise()
def closing_takes_no_longer_than_it_may(subject: Subject) -> None:
    """Leaving the room takes no longer than the provider claims, also while others speak."""
    with subject.opened(kinds=("audio",)) as (transport, stage):
        if stage.capabilities.audio_in:
            say(stage, Score(stage.capabilities))
        begun = time.monotonic()
        transport.close()
        took, limit = time.monotonic() - begun, stage.capabilities.close_seconds
        expect(took <= limit, f"closing took {took:.2f} s, claimed are {limit:g} s")


@promise("people")
def closing_leaves_the_room(subject: Subject) -> None:
    """After close we are not in the room any more."""
    with subject.opened() as (transport, stage):
        identity = transport.identity
        stage.until(lambda: identity in stage.driver.people(), f"{identity!r} being in the room")
        transport.close()
        stage.until(
            lambda: identity not in stage.driver.people(), f"{identity!r} leaving the room at close"
        )


@promise("audio_out", "events")
def a_track_of_ours_ends_with_us(subject: Subject) -> None:
    """After close our tracks are not published any more."""
    with subject.opened(kinds=()) as (transport, stage):
        transport.send(silence(0.1), timeout=stage.patience)
        stage.until(lambda: "audio" in stage.driver.tracks(), "our track being published")
        transport.close()
        stage.until(lambda: "audio" not in stage.driver.tracks(), "our track's end at close")


@promise()
def closing_leaves_nothing_behind(subject: Subject) -> None:
    """After close this process has no thread and no descriptor more than before."""
    with subject.staged() as stage:
        stage.open(kinds=("audio", "data")).close()  # makes what the process keeps for good
        stage.until(lambda: _is_free(stage), "the first transport's end")
        before = belongings()
        transport = stage.open(kinds=("audio", "data"))
        if stage.capabilities.audio_in:
            say(stage, Score(stage.capabilities))
        transport.close()
        end = time.monotonic() + stage.patience
        while (more := belongings() - before) and time.monotonic() < end:
            time.sleep(0.01)
        if more:
            broken(f"close left behind: {', '.join(sorted(more))}")


def _is_free(stage: Stage) -> bool:
    return not any(thread.name == "ringroom-io" for thread in threading.enumerate())


def belongings() -> set[str]:
    """Threads and descriptors of this process."""
    found = {f"thread {thread.name} ({thread.ident})" for thread in threading.enumerate()}
    for number in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        with contextlib.suppress(OSError):  # the descriptor by which the folder was listed
            found.add(f"descriptor {number} ({os.readlink(f'/proc/self/fd/{number}')})")
    return found


@promise("audio_in")
def who_closed_can_come_again(subject: Subject) -> None:
    """After close another transport joins the same room under the same identity, and receives."""
    with subject.staged() as stage:
        stage.open(kinds=("audio",)).close()
        transport = stage.open(kinds=("audio",))
        try:
            receiver = transport.recv(timeout=stage.patience)
            score = Score(stage.capabilities)
            say(stage, score)
            heard = listen(receiver, score, stage)
            expect(
                FOREIGN not in heard.numbers, "the second time other sound arrived than was said"
            )
            lost = missing(heard.numbers, score)
            expect(not lost, f"the second time pieces {lost} never arrived")
        finally:
            transport.close()
