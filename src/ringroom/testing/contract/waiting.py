"""Promises about opening, time limits, and who may read what."""

from __future__ import annotations

import contextlib
import time

from ringroom.errors import BusyError, ConfigurationError, RoomError
from ringroom.frames import AudioFrame
from ringroom.testing import sources
from ringroom.testing.contract.hearing import say
from ringroom.testing.contract.promise import Call, broken, expect, expect_error, promise
from ringroom.testing.contract.score import RATE, Score
from ringroom.testing.contract.subject import LOOK_SECONDS, Subject


@promise()
def who_opens_is_in_a_room(subject: Subject) -> None:
    """An open transport knows its room and who it is there."""
    with subject.opened() as (transport, stage):
        expect(transport.room, "the provider does not tell the room's name")
        expect(transport.identity, "the provider does not tell who we are in the room")
        if stage.capabilities.people:
            end = time.monotonic() + stage.patience
            while transport.identity not in (people := stage.driver.people()):
                expect(
                    time.monotonic() < end,
                    f"we are said to be {transport.identity!r}; in the room are {sorted(people)}",
                )
                time.sleep(LOOK_SECONDS)


@promise("refusals")
def a_refused_connection_is_an_error(subject: Subject) -> None:
    """Who is not let in gets `RoomError` with reason ``unauthorized``, and no transport."""
    with subject.staged() as stage:
        stage.driver.refuse("connect")
        try:
            stage.open().close()
        except RoomError as error:
            reason = error.reason
        else:
            broken("the room refused the connection, and a transport was opened")
        expect(reason == "unauthorized", f"the reason is {reason!r}, expected 'unauthorized'")


@promise("audio_in")
def a_timeout_does_not_end_the_loop(subject: Subject) -> None:
    """A reader's `TimeoutError` comes not before its time, and the reader goes on afterwards."""
    with subject.opened(kinds=("audio",)) as (transport, stage):
        receiver = transport.recv(timeout=0.1)
        begun = time.monotonic()
        expect_error(TimeoutError, lambda: next(receiver), "waiting where nobody speaks")
        took = time.monotonic() - begun
        expect(took >= 0.09, f"a timeout of 0.1 s came after {took:.3f} s")
        say(stage, Score(stage.capabilities))

        def comes() -> bool:
            with contextlib.suppress(TimeoutError):  # the sound may take longer than that to come
                next(receiver)
                return True
            return False

        try:
            stage.until(comes, "a frame after the timeout")
        except StopIteration:
            broken("a frame came in after the timeout, the reader raised StopIteration")


@promise("audio_out", "pacing")
def a_send_keeps_its_time_limit(subject: Subject) -> None:
    """A send that finds no room raises `TimeoutError` when its time is up."""
    with subject.opened(kinds=()) as (transport, stage):
        transport.send(AudioFrame(sources.silence(0.02, RATE), RATE), timeout=stage.patience)
        begun = time.monotonic()
        long = AudioFrame(sources.noise(6.0, RATE), RATE)
        expect_error(TimeoutError, lambda: transport.send(long, timeout=0.2), "a long send")
        took = time.monotonic() - begun
        expect(0.19 <= took <= 0.2 + stage.patience, f"a limit of 0.2 s came after {took:.2f} s")


@promise("audio_out", "pacing")
def a_wait_for_playout_keeps_its_time_limit(subject: Subject) -> None:
    """`wait_playout` raises `TimeoutError` when its time is up and sound is still to be played."""
    with subject.opened(kinds=()) as (transport, stage):
        long = AudioFrame(sources.noise(6.0, RATE), RATE)
        sending = Call("a send", transport.send, long, timeout=stage.patience)
        stage.until(lambda: transport.stats().sent.sent, "sound being sent")
        expect_error(
            TimeoutError,
            lambda: transport.wait_playout(timeout=0.1),
            "waiting 0.1 s for the playout of 6 s",
        )
        transport.flush()
        sending.result(stage.patience)


@promise()
def a_kind_has_one_reader(subject: Subject) -> None:
    """A second reader of a kind gets `BusyError`, until the first is closed."""
    with subject.opened(kinds=("audio", "data")) as (transport, _):
        first = transport.recv(kinds=("audio",))
        expect_error(BusyError, transport.recv, "a second reader of sound")
        transport.recv(kinds=("data",)).close()
        first.close()
        transport.recv().close()


@promise()
def only_what_was_asked_for_can_be_read(subject: Subject) -> None:
    """To read a kind that the transport was not opened for raises `ConfigurationError`."""
    with subject.opened(kinds=("audio",)) as (transport, _):
        expect_error(
            ConfigurationError, lambda: transport.recv(kinds=("video",)), "reading another kind"
        )


@promise()
def a_transport_that_failed_to_open_can_be_tried_again(subject: Subject) -> None:
    """A wrong option raises `ConfigurationError` before anything is started; the next opens."""
    with subject.staged() as stage:
        took = []
        for _ in range(3):  # the first may import something, and a slow machine may hold up one
            begun = time.monotonic()
            expect_error(
                ConfigurationError,
                lambda: stage.open(sample_rate=1).close(),
                "a sample rate of 1 Hz",
            )
            took.append(time.monotonic() - begun)
        expect(min(took) < 0.5, f"a wrong option was found only after {min(took):.2f} s")
        stage.open().close()
