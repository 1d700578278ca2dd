"""Promises about who may subscribe to our tracks."""

from __future__ import annotations

from collections.abc import Callable

from ringroom.client import Transport
from ringroom.frames import AudioFrame
from ringroom.testing import sources
from ringroom.testing.contract.events import events_until
from ringroom.testing.contract.losing import lose_and_restore
from ringroom.testing.contract.promise import expect, promise
from ringroom.testing.contract.score import RATE
from ringroom.testing.contract.subject import Stage, Subject

# Sound that is on its way while it is asked who hears it.
UTTERANCE = AudioFrame(sources.tone(440, 1.0, RATE), RATE)


def hears(transport: Transport, stage: Stage, who: str, track: str) -> bool:
    """Whether somebody hears what we are just saying on the track."""
    transport.send(UTTERANCE.replace(track=track), timeout=stage.patience + 2)
    return stage.driver.hears(who, track)


def until_heard(transport: Transport, stage: Stage, who: str, track: str = "audio") -> None:
    """Somebody begins to hear it."""
    stage.until(lambda: hears(transport, stage, who, track), f"{who!r} hearing our {track!r}")


def until_unheard(transport: Transport, stage: Stage, who: str, track: str = "audio") -> None:
    """Somebody hears it no more."""
    said = f"{who!r}, who may not, hearing our {track!r} no more"
    stage.until(lambda: not hears(transport, stage, who, track), said)


def expect_unheard(transport: Transport, stage: Stage, who: str, track: str = "audio") -> None:
    """Break the promise if somebody hears it who may not, and somebody else does."""
    heard = hears(transport, stage, who, track)
    expect(not heard, f"{who!r} may not subscribe to our {track!r}, and hears it")


@promise("audio_out", "own_subscribers", "several_people")
def who_may_not_subscribe_does_not_hear_us(subject: Subject) -> None:
    """Those alone hear us of whom we say that they may: also where we change our mind."""
    with subject.opened(kinds=()) as (transport, stage):
        stage.driver.join("bob")
        transport.allow_subscribers(["ann"], timeout=stage.patience)
        until_heard(transport, stage, "ann")
        expect_unheard(transport, stage, "bob")
        transport.allow_subscribers(None, timeout=stage.patience)
        until_heard(transport, stage, "bob")
        until_heard(transport, stage, "ann")
        transport.allow_subscribers(["bob"], timeout=stage.patience)
        until_unheard(transport, stage, "ann")
        until_heard(transport, stage, "bob")


@promise("audio_out", "own_subscribers", "several_people", "several_tracks")
def a_track_may_be_for_some_alone(subject: Subject) -> None:
    """A track that we allow to some alone no others hear, who hear our other tracks, also if they
    have come later."""
    with subject.opened(kinds=()) as (transport, stage):
        transport.allow_subscribers(["bob"], track="whisper", timeout=stage.patience)
        for who in ("bob", "cid"):
            stage.driver.join(who)
        until_heard(transport, stage, "bob", "whisper")
        for who in ("ann", "bob", "cid"):
            until_heard(transport, stage, who, "open")
        for who in ("ann", "cid"):
            expect_unheard(transport, stage, who, "whisper")


def expect_so_after(subject: Subject, loss: Callable[[Transport, Stage], object]) -> None:
    """Break the promise unless those alone hear us after the loss who may."""
    with subject.opened(kinds=("event",)) as (transport, stage):
        stage.driver.join("bob")
        transport.allow_subscribers(["bob"], track="whisper", timeout=stage.patience)
        until_heard(transport, stage, "bob", "whisper")
        loss(transport, stage)
        for who in ("ann", "bob"):
            until_heard(transport, stage, who, "open")
        until_heard(transport, stage, "bob", "whisper")
        expect_unheard(transport, stage, "ann", "whisper")


@promise("audio_out", "own_subscribers", "several_people", "events", "connection_loss")
def who_may_subscribe_holds_after_a_loss(subject: Subject) -> None:
    """Those who may subscribe to a track of ours do so still when the connection is back, and no
    others."""
    expect_so_after(subject, lose_and_restore)


@promise("audio_out", "own_subscribers", "several_people", "events", "broken_connection")
def who_may_subscribe_holds_in_the_next_room(subject: Subject) -> None:
    """Those who may subscribe to a track of ours do so still where the room is joined anew, and no
    others."""

    def lose_for_good(transport: Transport, stage: Stage) -> None:
        receiver = transport.recv(timeout=stage.patience)
        stage.driver.break_connection()
        events_until(receiver, ("connection_back", ""), stage)

    expect_so_after(subject, lose_for_good)
