"""Promises about our own tracks while we have muted them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

from ringroom.client import Transport
from ringroom.frames import AudioFrame
from ringroom.testing import sources
from ringroom.testing.contract.events import events_until
from ringroom.testing.contract.hearing import heard_from_us, picture
from ringroom.testing.contract.losing import lose_and_restore
from ringroom.testing.contract.pictures import CODED_SECONDS
from ringroom.testing.contract.promise import expect, pause, promise
from ringroom.testing.contract.score import MANY, RATE, Score, missing
from ringroom.testing.contract.subject import Stage, Subject


def until_told(stage: Stage, muted: bool, track: str = "audio") -> None:
    """The others are told that our track is muted, or not."""

    def so() -> bool:
        return track in stage.driver.tracks() and stage.driver.muted(track) == muted

    stage.until(so, f"the others being told that {track!r} is {'un' * (not muted)}muted")


def begin(transport: Transport, stage: Stage) -> None:
    """Publish a track of sound."""
    transport.send(AudioFrame(sources.silence(0.02, RATE), RATE), timeout=stage.patience)
    stage.until(lambda: "audio" in stage.driver.tracks(), "our track being published")


def say(transport: Transport, stage: Stage, score: Score) -> None:
    """Send the score, and wait until it has played, to whomever."""
    limit = stage.patience + score.seconds
    transport.send(score.frame, timeout=limit)
    transport.wait_playout(timeout=limit)


def expect_all_heard(transport: Transport, stage: Stage, score: Score) -> None:
    """What is sent now is heard from its first words on."""
    transport.send(score.frame, timeout=stage.patience + score.seconds)
    lost = missing(heard_from_us(stage, score).numbers, score)
    expect(not lost, f"pieces {lost} that were sent after we had unmuted were never heard")


def expect_unheard(stage: Stage, score: Score) -> None:
    """Nothing of the score was heard, which was sent before something that was."""
    heard = heard_of(stage, score)
    expect(not heard, f"pieces {heard} were heard, which played while the track was muted")


def heard_of(stage: Stage, score: Score) -> list[int]:
    """The pieces of the score that were heard so far."""
    sound = stage.driver.heard("audio")
    found = [] if sound is None else score.read(sound.samples, sound.sample_rate)
    return [number for number in found if number >= 0]


def expect_muted_and_unmuted(transport: Transport, stage: Stage) -> None:
    """What is sent now is not heard, and the others know why; once we have unmuted, all is."""
    until_told(stage, True)
    unheard, after = Score(stage.capabilities), Score(stage.capabilities, seed=1)
    say(transport, stage, unheard)
    transport.unmute(timeout=stage.patience)
    until_told(stage, False)
    expect_all_heard(transport, stage, after)
    expect_unheard(stage, unheard)


@promise("audio_out", "own_mute")
def what_we_send_on_a_muted_track_is_not_heard(subject: Subject) -> None:
    """When we mute a track the others are told, and do not hear what we send; they hear all that we
    send once we have unmuted it."""
    with subject.opened(kinds=()) as (transport, stage):
        begin(transport, stage)
        transport.mute(timeout=stage.patience)
        expect_muted_and_unmuted(transport, stage)


@promise("audio_out", "own_mute", "pacing")
def muted_sound_plays_as_ever(subject: Subject) -> None:
    """Sound on a muted track plays in real time, and is counted as played."""
    with subject.opened(kinds=()) as (transport, stage):
        begin(transport, stage)
        transport.mute(timeout=stage.patience)
        before, begun = transport.played(), time.monotonic()
        score = Score(stage.capabilities)
        say(transport, stage, score)
        took = time.monotonic() - begun
        expect(took > score.seconds - 0.05, f"{score.seconds:.2f} s were over after {took:.2f} s")
        played = transport.played() - before
        cause = f"of {score.seconds:.2f} s sent while muted {played:.2f} s were played"
        expect(abs(played - score.seconds) < 0.05, cause)


@promise("audio_out", "own_mute")
def a_track_that_is_muted_first_begins_muted(subject: Subject) -> None:
    """A track that we mute before its first frame is published muted: nothing of it is heard."""
    with subject.opened(kinds=()) as (transport, stage):
        transport.mute(timeout=stage.patience)
        begin(transport, stage)
        expect_muted_and_unmuted(transport, stage)


@promise("audio_out", "own_mute", "pacing")
def muting_does_not_wait_for_what_was_sent(subject: Subject) -> None:
    """When we mute a track, what was sent before and is still to be played is not heard either."""
    with subject.opened(kinds=()) as (transport, stage):
        begin(transport, stage)
        for seed in itertools.count(1):
            score = Score(stage.capabilities, MANY, seed=seed)
            before = transport.played()
            transport.send(score.frame, timeout=stage.patience + score.seconds)
            transport.mute(timeout=stage.patience)
            if transport.played() - before < score.seconds * 0.7:
                break  # else this machine was slow, and the end has played before
            transport.wait_playout(timeout=stage.patience + score.seconds)
            transport.unmute(timeout=stage.patience)
        transport.wait_playout(timeout=stage.patience + score.seconds)
        transport.unmute(timeout=stage.patience)
        expect_all_heard(transport, stage, Score(stage.capabilities))
        heard = heard_of(stage, score)
        expect(score.end not in heard, "the end of what was sent before we muted was heard")


@promise("audio_out", "own_mute")
def a_track_that_is_published_again_is_not_muted(subject: Subject) -> None:
    """A track that we unpublish while it is muted is not muted when its name is used again."""
    with subject.opened(kinds=()) as (transport, stage):
        begin(transport, stage)
        transport.mute(timeout=stage.patience)
        until_told(stage, True)
        transport.unpublish(timeout=stage.patience)
        stage.until(lambda: "audio" not in stage.driver.tracks(), "our track being gone")
        begin(transport, stage)
        until_told(stage, False)
        expect_all_heard(transport, stage, Score(stage.capabilities))


def numbers_seen(stage: Stage) -> set[int]:
    """Of the pictures of our track; small ones are a server's, to hide a track that is muted."""
    pictures = stage.driver.seen("video")
    return {sources.picture_number(one) for one in pictures if one.height > 8}


@promise("video_out", "own_mute")
def pictures_on_a_muted_track_are_not_seen(subject: Subject) -> None:
    """The others do not see the pictures that we send on a track that we have muted; they see those
    that we send once we have unmuted it."""
    with subject.opened(kinds=()) as (transport, stage):

        def shown(number: int) -> bool:
            transport.send(picture(number), timeout=stage.patience)
            return number in numbers_seen(stage)

        stage.until(lambda: shown(1), "the first picture being seen")
        transport.mute("video", timeout=stage.patience)
        until_told(stage, True, "video")
        for _ in range(10):
            shown(2)
            pause(0.0 if stage.capabilities.exact_video else CODED_SECONDS)
        # What is played only once we have unmuted may be seen.
        transport.wait_playout("video", timeout=stage.patience)
        transport.unmute("video", timeout=stage.patience)
        stage.until(lambda: shown(4), "a picture being seen after we had unmuted")
        seen = 2 in numbers_seen(stage)
        expect(not seen, "a picture was seen that was sent while the track was muted")


def expect_muted_after(subject: Subject, loss: Callable[[Transport, Stage], object]) -> None:
    """Break the promise unless what we have muted is muted after the loss."""
    with subject.opened(kinds=("event",)) as (transport, stage):
        begin(transport, stage)
        transport.mute(timeout=stage.patience)
        until_told(stage, True)
        loss(transport, stage)
        expect_muted_and_unmuted(transport, stage)


@promise("audio_out", "own_mute", "events", "connection_loss")
def what_we_mute_is_muted_after_a_loss(subject: Subject) -> None:
    """A track that we have muted is muted still when the connection is back after a loss."""
    expect_muted_after(subject, lose_and_restore)


@promise("audio_out", "own_mute", "events", "broken_connection")
def what_we_mute_is_muted_in_the_next_room(subject: Subject) -> None:
    """A track that we have muted is muted still where the room is joined anew."""

    def lose_for_good(transport: Transport, stage: Stage) -> None:
        receiver = transport.recv(timeout=stage.patience)
        stage.driver.break_connection()
        events_until(receiver, ("connection_back", ""), stage)

    expect_muted_after(subject, lose_for_good)


@promise("audio_out", "own_mute", "events", "moderation")
def our_muting_is_not_told_as_the_rooms(subject: Subject) -> None:
    """What the room mutes is told, what we mute is not; we may unmute both, and that it is not
    muted by the room any more is told."""
    with subject.opened(kinds=("event",)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        begin(transport, stage)
        transport.mute(timeout=stage.patience)
        until_told(stage, True)
        transport.unmute(timeout=stage.patience)
        until_told(stage, False)
        stage.driver.moderate("audio", True)
        happened = events_until(receiver, ("publish_muted", "audio"), stage)
        until_told(stage, True)
        transport.unmute(timeout=stage.patience)
        happened += events_until(receiver, ("publish_unmuted", "audio"), stage)
        told = [kind for kind, _ in happened if kind in ("publish_muted", "publish_unmuted")]
        expect(told == ["publish_muted", "publish_unmuted"], f"told were {told}")
        expect_all_heard(transport, stage, Score(stage.capabilities))
