"""Promises about what is told of the room's life."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ringroom.client import Receiver, Transport
from ringroom.events import Event, EventKind
from ringroom.frames import AudioFrame
from ringroom.testing.contract.hearing import collect, say
from ringroom.testing.contract.promise import broken, expect, promise
from ringroom.testing.contract.score import RATE, Score
from ringroom.testing.contract.subject import Stage, Subject

Told = tuple[str, str]


def told(event: Event) -> Told:
    """What happened, and to whom: an identity, or a track's name."""
    if event.track is not None:
        return str(event.kind), event.track.name
    return str(event.kind), event.participant.identity if event.participant else ""


def events_until(receiver: Receiver, last: Told, stage: Stage) -> list[Told]:
    """What is told, up to and including ``last``; it breaks the promise not to be told in time."""

    def enough(items: list[Any]) -> bool:
        return bool(items) and isinstance(items[-1], Event) and told(items[-1]) == last

    items, _ = collect(receiver, enough, 2 * stage.patience)
    happened = [told(item) for item in items if isinstance(item, Event)]
    if not enough(items):
        broken(f"{' of '.join(last)!r} was never told; what was told: {happened}")
    return happened


def expect_sequence(happened: list[Told], wanted: list[Told]) -> None:
    """Break the promise unless each of ``wanted`` happened once, in that order."""
    found = [one for one in happened if one in wanted]
    expect(found == wanted, f"told were {found}, expected {wanted}")


@promise("events", "several_people")
def who_comes_and_goes_is_told_in_order(subject: Subject) -> None:
    """A participant's coming and going are told, once each, in order."""
    with subject.opened(kinds=("event",)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        wanted: list[Told] = []
        happened: list[Told] = []
        # Each is waited for: of a participant who leaves at once the others may never be told.
        for act, kind in (
            (stage.driver.join, "participant_joined"),
            (stage.driver.leave, "participant_left"),
        ):
            for who in ("ben", "eve"):
                act(who)
                wanted.append((kind, who))
                happened += events_until(receiver, wanted[-1], stage)
        expect_sequence(happened, wanted)


@promise("events", "audio_in", "unpublish")
def a_track_begins_before_it_ends(subject: Subject) -> None:
    """The beginning and the end of a track are told, once each, in order."""
    with subject.opened(kinds=("audio", "event")) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        say(stage, Score(stage.capabilities))
        stage.until(lambda: transport.stats().received.sent, "sound coming in")
        stage.driver.unpublish("ann", "mic")
        happened = events_until(receiver, ("track_ended", "mic"), stage)
        expect_sequence(happened, [("track_started", "mic"), ("track_ended", "mic")])


@promise("events", "audio_in")
def a_track_is_told_before_its_frames(subject: Subject) -> None:
    """That a track has started is told before its first frame comes."""
    with subject.opened(kinds=("audio", "event")) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        say(stage, Score(stage.capabilities))
        items, _ = collect(
            receiver, lambda got: bool(got) and isinstance(got[-1], AudioFrame), stage.patience
        )
        expect(items and isinstance(items[-1], AudioFrame), "not one frame arrived")
        before = [told(item) for item in items[:-1]]
        expect(("track_started", "mic") in before, f"before the first frame was told: {before}")


@promise("events", "audio_in", "unpublish")
def a_track_ends_after_its_last_frame(subject: Subject) -> None:
    """All that was said on a track comes before its end, and nothing after it."""
    with subject.opened(kinds=("audio", "event")) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        score = Score(stage.capabilities)
        say(stage, score)
        stage.until(lambda: transport.stats().received.sent, "sound coming in")
        stage.driver.unpublish("ann", "mic")
        seen: list[Any] = []

        def ended(items: list[Any]) -> bool:
            seen[:] = items
            return bool(items) and told_kind(items[-1]) == "track_ended"

        _, _ = collect(receiver, ended, 2 * stage.patience)
        expect(ended(seen), "the track's end was never told")
        frames = [item for item in seen if isinstance(item, AudioFrame)]
        expect(frames, "the track ended before one frame of it came")
        if stage.capabilities.lossless_audio:
            count = sum(len(frame.samples) for frame in frames)
            wanted = len(score.samples)
            expect(count >= wanted, f"the track ended after {count} of {wanted} samples")
        late = frames_still_coming(transport, receiver)
        expect(not late, f"{late} frames of the track came after its end")


def told_kind(item: object) -> str:
    return str(item.kind) if isinstance(item, Event) else ""


def frames_still_coming(transport: Transport, receiver: Receiver) -> int:
    """Frames that come within a moment."""
    receiver.close()
    moment = transport.recv(timeout=0.05)
    items, _ = collect(moment, lambda got: len(got) > 20, 0.2)
    return sum(isinstance(item, AudioFrame) for item in items)


@promise("events", "audio_in", "mute")
def muting_is_told_in_order(subject: Subject) -> None:
    """Muting and unmuting of a track are told, once each, in order."""
    with subject.opened(kinds=("audio", "event")) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        say(stage, Score(stage.capabilities))
        stage.until(lambda: transport.stats().received.sent, "sound coming in")
        wanted = [("track_muted", "mic"), ("track_unmuted", "mic")]
        happened: list[Told] = []
        for muted, last in zip((True, False), wanted, strict=True):
            # Each is waited for: a room may tell its present state only, and skip one in between.
            stage.driver.mute("ann", "mic", muted)
            happened += events_until(receiver, last, stage)
        expect_sequence(happened, wanted)


@promise("events", "audio_in", "unpublish")
def a_publication_is_told_in_order(subject: Subject) -> None:
    """That somebody publishes and unpublishes is told also of tracks that we do not receive."""
    with subject.opened(kinds=("event",)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        stage.driver.publish_audio("ann", "mic", RATE, 1)
        stage.driver.unpublish("ann", "mic")
        wanted = [("track_published", "mic"), ("track_unpublished", "mic")]
        expect_sequence(events_until(receiver, wanted[-1], stage), wanted)


@promise("events", "audio_in")
def events_name_who_and_when(subject: Subject) -> None:
    """An event of a track names its participant, and when it happened."""
    with subject.opened(kinds=("event",)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        stage.driver.publish_audio("ann", "mic", RATE, 1)
        event = first(receiver, lambda one: one.kind is EventKind.TRACK_PUBLISHED, stage)
        who = event.participant.identity if event.participant else ""
        expect(who == "ann", f"'ann' published the track, the event names {who!r}")
        expect(event.received_ns > 0, "the event does not tell when it happened")


def first(receiver: Receiver, wanted: Callable[[Event], bool], stage: Stage) -> Event:
    """The first such event."""

    def enough(items: list[Any]) -> bool:
        return bool(items) and isinstance(items[-1], Event) and wanted(items[-1])

    items, _ = collect(receiver, enough, 2 * stage.patience)
    if not enough(items):
        broken(f"the event never came; what came: {[told_kind(item) for item in items]}")
    event: Event = items[-1]
    return event


@promise("events", "audio_in")
def who_wants_no_events_gets_none(subject: Subject) -> None:
    """A reader of sound alone gets frames and no event."""
    with subject.opened(kinds=("audio",)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        say(stage, Score(stage.capabilities))
        stage.driver.leave("ann")
        items, _ = collect(receiver, lambda got: len(got) >= 6, stage.patience)
        others = {type(item).__name__ for item in items} - {"AudioFrame"}
        expect(items, "not one frame arrived")
        expect(not others, f"asked for sound, and {sorted(others)} came")
