"""Promises about what happens while the connection is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ringroom.client import Receiver, Transport
from ringroom.errors import RoomError
from ringroom.events import Event, EventKind
from ringroom.frames import AudioFrame, DataFrame
from ringroom.testing import sources
from ringroom.testing.contract.events import events_until, expect_sequence, told
from ringroom.testing.contract.hearing import (
    HEIGHT,
    WIDTH,
    collect,
    heard_from_us,
    listen,
    picture,
    say,
)
from ringroom.testing.contract.messaging import received
from ringroom.testing.contract.people import CHANGED, GUEST, expect_there, expect_told
from ringroom.testing.contract.pictures import CODED_SECONDS
from ringroom.testing.contract.promise import Call, broken, expect, pause, promise
from ringroom.testing.contract.score import RATE, Score, missing
from ringroom.testing.contract.subject import Driver, Stage, Subject


def lose(transport: Transport, stage: Stage) -> Receiver:
    """Lose the connection. Returns the receiver that was told of it."""
    receiver = transport.recv(timeout=stage.patience)
    stage.driver.lose_connection()
    events_until(receiver, ("connection_lost", ""), stage)
    return receiver


def expect_begun_heard(subject: Subject, then: Callable[[Driver], None]) -> None:
    """Break the promise unless a track that is begun during a loss is heard after ``then``."""
    with subject.opened(kinds=("event",)) as (transport, stage):
        score = Score(stage.capabilities)
        lose(transport, stage)
        sending = Call("a send", transport.send, score.frame, timeout=2 * stage.patience)
        sending.waits(stage.patience / 10)  # the provider has had time to be asked for the track
        then(stage.driver)
        try:
            sending.result(2 * stage.patience)
        except RoomError as error:
            broken(f"a track that was begun meanwhile raised {error.reason!r} ({error})")
        numbers = heard_from_us(stage, score).numbers
        lost = missing(numbers, score)
        if not score.lossless and score.end in numbers:
            return  # others may begin to listen late on a connection that was just made
        expect(not lost, f"of the track that was begun meanwhile pieces {lost} were never heard")


@promise("audio_out", "events", "connection_loss")
def a_track_begun_during_a_loss_is_heard(subject: Subject) -> None:
    """A track of ours that is begun while the connection is lost is heard when it is back."""
    expect_begun_heard(subject, lambda driver: driver.restore_connection())


@promise("audio_out", "events", "connection_loss", "broken_connection")
def a_track_waits_for_the_next_room(subject: Subject) -> None:
    """A track of ours that is begun while the connection is lost for good is heard in the next
    room."""
    expect_begun_heard(subject, lambda driver: driver.break_connection())


@promise("data_out", "events", "connection_loss")
def a_message_sent_during_a_loss_is_received(subject: Subject) -> None:
    """A message that we send while the connection is lost is received when it is back."""
    with subject.opened(kinds=("event",)) as (transport, stage):
        lose(transport, stage)
        transport.send_data(b"meanwhile", timeout=stage.patience)
        stage.until(lambda: transport.stats().sent.taken, "the provider taking a message")
        stage.driver.restore_connection()
        payloads = [message.payload for message in received(stage, b"meanwhile")]
        expect(b"meanwhile" in payloads, f"the message was not received; {payloads} were")


def lose_and_restore(transport: Transport, stage: Stage) -> Receiver:
    """Lose the connection and restore it. Returns the receiver that was told of both."""
    receiver = lose(transport, stage)
    stage.driver.restore_connection()
    events_until(receiver, ("connection_back", ""), stage)
    return receiver


@promise("events", "connection_loss")
def a_lost_connection_is_told(subject: Subject) -> None:
    """That the connection is lost, and that it is back, is told, in order."""
    with subject.opened(kinds=("event",)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        stage.driver.lose_connection()
        stage.driver.restore_connection()
        wanted = [("connection_lost", ""), ("connection_back", "")]
        expect_sequence(events_until(receiver, wanted[-1], stage), wanted)


@promise("events", "connection_loss", "several_people")
def who_is_there_is_listed_after_a_loss(subject: Subject) -> None:
    """While the connection is lost, `Transport.participants` waits; it lists who is there when it
    is back."""
    with subject.opened(kinds=("event",)) as (transport, stage):
        stage.driver.join("ben")
        expect_there(transport, stage, "ann", "ben")
        lose(transport, stage)
        patience = 4 * stage.patience
        asking = Call("participants()", transport.participants, timeout=patience)
        expect(asking.waits(stage.patience / 10), "participants() did not wait for the room")
        stage.driver.leave("ben")
        stage.driver.restore_connection()
        asking.result(patience)
        expect_there(transport, stage, "ann")


@promise("audio_in", "events", "connection_loss")
def sound_goes_on_after_a_loss(subject: Subject) -> None:
    """When the connection is back, sound comes in again, to the same reader."""
    with subject.opened(kinds=("audio", "event")) as (transport, stage):
        say(stage, Score(stage.capabilities))
        stage.until(lambda: transport.stats().received.sent, "sound coming in")
        receiver = lose_and_restore(transport, stage)
        score = Score(stage.capabilities, seed=1)
        stage.driver.speak("ann", "mic", score.frame)
        heard = listen(receiver, score, stage)
        expect(
            score.end in heard.numbers,
            "what was said after the connection was back never arrived",
        )


@promise("audio_out", "events", "connection_loss")
def our_sound_goes_on_after_a_loss(subject: Subject) -> None:
    """When the connection is back, what we send on the same track is heard again."""
    with subject.opened(kinds=("event",)) as (transport, stage):
        silence = AudioFrame(sources.silence(0.02, RATE), RATE)
        transport.send(silence, timeout=stage.patience)
        lose_and_restore(transport, stage)
        score = Score(stage.capabilities)
        transport.send(score.frame, timeout=stage.patience)
        expect(
            score.end in heard_from_us(stage, score).numbers,
            "what was sent after the connection was back was never heard",
        )


@promise("events", "data_in", "connection_loss")
def messages_arrive_after_a_loss(subject: Subject) -> None:
    """A message that is sent when the connection is back arrives, at the same reader."""
    with subject.opened(kinds=("data", "event")) as (transport, stage):
        receiver = lose_and_restore(transport, stage)
        stage.driver.send_data("ann", b"afterwards", "", ())
        items, _ = collect(receiver, has_data, 2 * stage.patience)
        expect(has_data(items), "a message that was sent after the loss never arrived")


def has_data(items: list[Any]) -> bool:
    return bool(items) and isinstance(items[-1], DataFrame)


@promise("events", "video_in", "connection_loss")
def pictures_arrive_after_a_loss(subject: Subject) -> None:
    """A picture that is shown on the same track when the connection is back arrives."""
    with subject.opened(kinds=("video", "event")) as (transport, stage):
        stage.driver.publish_video("ann", "camera")
        stage.driver.show("ann", "camera", picture(0))
        lose_and_restore(transport, stage).close()
        receiver = transport.recv(kinds=("video",), timeout=CODED_SECONDS)

        def shown() -> bool:
            stage.driver.show("ann", "camera", picture(1, WIDTH, 2 * HEIGHT))
            items, _ = collect(receiver, bool, CODED_SECONDS)
            return any(one.height > HEIGHT for one in items)

        stage.until(shown, "a picture that is shown after the loss")


@promise("events", "video_out", "connection_loss")
def pictures_of_ours_are_seen_after_a_loss(subject: Subject) -> None:
    """When the connection is back, what we show on the same track is seen again."""
    with subject.opened(kinds=("event",)) as (transport, stage):
        transport.send(picture(0), timeout=stage.patience)
        lose_and_restore(transport, stage)

        def seen() -> bool:
            transport.send(picture(1, WIDTH, 2 * HEIGHT), timeout=stage.patience)
            pause(CODED_SECONDS)
            return any(one.height > HEIGHT for one in stage.driver.seen("video"))

        stage.until(seen, "a picture that we showed after the loss being seen")


@promise("events", "connection_loss", "several_people")
def who_came_and_went_during_a_loss_is_told(subject: Subject) -> None:
    """Who came and who left while the connection was lost is told when it is back."""
    with subject.opened(kinds=("event",)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        stage.driver.join("ben")
        events_until(receiver, ("participant_joined", "ben"), stage)
        stage.driver.lose_connection()
        stage.driver.leave("ben")
        stage.driver.join("eve")
        stage.driver.restore_connection()
        wanted = {("participant_left", "ben"), ("participant_joined", "eve")}
        happened: set[tuple[str, str]] = set()

        def enough(items: list[Any]) -> bool:
            happened.update(told(item) for item in items[-1:] if isinstance(item, Event))
            return wanted <= happened

        collect(receiver, enough, 2 * stage.patience)
        expect(wanted <= happened, f"never told: {sorted(wanted - happened)}")


@promise("events", "connection_loss", "profiles")
def a_change_during_a_loss_is_told(subject: Subject) -> None:
    """When the connection is back, what somebody changed meanwhile of name, metadata or attributes
    is told."""
    with subject.opened(kinds=("event",)) as (transport, stage):
        receiver = lose(transport, stage)
        GUEST.give(stage, "ann")
        stage.driver.restore_connection()
        expect_told(receiver, stage, "ann", GUEST, EventKind.PARTICIPANT_JOINED, CHANGED)


@promise("events", "audio_in", "connection_loss")
def a_track_that_comes_back_has_ended_before(subject: Subject) -> None:
    """A track that comes back under another sid after a loss has ended under the one before."""
    with subject.opened(kinds=("audio", "event")) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        say(stage, Score(stage.capabilities))
        stage.until(lambda: transport.stats().received.sent, "sound coming in")
        stage.driver.lose_connection()
        stage.driver.restore_connection()
        items, _ = collect(receiver, is_back, 2 * stage.patience)
        expect(is_back(items), "'connection_back' was never told")
        stage.driver.speak("ann", "mic", Score(stage.capabilities, seed=1).frame)
        items += collect(receiver, has_sound, 2 * stage.patience)[0]
        events = [item for item in items if isinstance(item, Event)]
        begun, over = (
            [one.track.sid for one in events if one.kind is kind and one.track is not None]
            for kind in (EventKind.TRACK_STARTED, EventKind.TRACK_ENDED)
        )
        left = set(begun[:-1]) - set(over)
        expect(begun, "no track was ever told to have started")
        expect(not left, f"begun are {begun}, ended {over}: the end of {sorted(left)} was not told")


def is_back(items: list[Any]) -> bool:
    return bool(items) and getattr(items[-1], "kind", "") is EventKind.CONNECTION_BACK


def has_sound(items: list[Any]) -> bool:
    return bool(items) and isinstance(items[-1], AudioFrame)
