"""Promises about who is in the room, and what is told of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ringroom.client import Receiver, Transport
from ringroom.events import Event, EventKind, Participant
from ringroom.testing.contract.events import events_until, expect_sequence
from ringroom.testing.contract.hearing import collect, listen, say
from ringroom.testing.contract.promise import Broken, broken, expect, promise
from ringroom.testing.contract.score import RATE, Score
from ringroom.testing.contract.subject import Stage, Subject

JOINED, CHANGED = EventKind.PARTICIPANT_JOINED, EventKind.PARTICIPANT_CHANGED


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What somebody tells of themselves."""

    name: str = "Ann Lee"
    metadata: str = '{"seat": "münchen"}'
    attributes: Mapping[str, str] = field(default_factory=lambda: {"role": "guest", "hand": "up"})

    def give(self, stage: Stage, who: str) -> None:
        stage.driver.describe(who, self.name, self.metadata, self.attributes)


GUEST = Profile()
SPEAKER = Profile(attributes={"role": "speaker"})


def profile_of(participant: Participant | None) -> Profile | None:
    if participant is None:
        return None
    name, metadata = participant.name, participant.metadata
    return Profile(name=name, metadata=metadata, attributes=dict(participant.attributes))


def is_no_agent(participant: Participant) -> bool:
    return participant.kind != "agent"


def is_speaker(participant: Participant) -> bool:
    return participant.attributes.get("role") == "speaker"


def expect_there(transport: Transport, stage: Stage, *wanted: str) -> tuple[Participant, ...]:
    """Who `Transport.participants` says is there, once these are and nobody else; if they never
    are, the promise is broken."""
    people: tuple[Participant, ...] = ()

    def there() -> bool:
        nonlocal people
        people = transport.participants(timeout=4 * stage.patience)
        return [who.identity for who in people] == [*wanted]

    try:
        stage.until(there, "who is there", 2 * stage.patience)
    except Broken:
        identities = [who.identity for who in people]
        broken(f"there are {[*wanted]}, and not we ourselves; listed were {identities}")
    return people


def expect_told(
    receiver: Receiver, stage: Stage, who: str, profile: Profile, *kinds: EventKind
) -> list[Any]:
    """What comes up to an event of one of those kinds about ``who`` with that profile; without one
    the promise is broken."""
    told: list[Profile | None] = []

    def enough(items: list[Any]) -> bool:
        event = items[-1] if items else None
        if not isinstance(event, Event) or event.kind not in kinds:
            return False
        if event.participant is None or event.participant.identity != who:
            return False
        told.append(profile_of(event.participant))
        return told[-1] == profile

    items, _ = collect(receiver, enough, 2 * stage.patience)
    if told[-1:] != [profile]:
        broken(f"{who!r} is {profile}; what {' or '.join(kinds)} told: {told or 'nothing'}")
    return items


@promise("events", "audio_in")
def what_is_there_before_us_is_told(subject: Subject) -> None:
    """Who is in the room when we come is told, and what they publish, once each, in order."""
    with subject.staged() as stage:
        stage.driver.publish_audio("ann", "mic", RATE, 1)
        transport = stage.open(kinds=("event",))
        try:
            receiver = transport.recv(timeout=stage.patience)
            wanted = [("participant_joined", "ann"), ("track_published", "mic")]
            expect_sequence(events_until(receiver, wanted[-1], stage), wanted)
        finally:
            transport.close()


@promise("events", "profiles")
def who_is_there_before_us_is_told_as_they_are(subject: Subject) -> None:
    """Who is in the room when we come is told with name, metadata and attributes."""
    with subject.staged() as stage:
        GUEST.give(stage, "ann")
        transport = stage.open(kinds=("event",))
        try:
            receiver = transport.recv(timeout=stage.patience)
            # Ann's profile was changed a moment ago, so the room may learn of it after we joined.
            expect_told(receiver, stage, "ann", GUEST, JOINED, CHANGED)
        finally:
            transport.close()


@promise("events", "profiles", "several_people")
def who_joins_later_is_told_as_they_are(subject: Subject) -> None:
    """Who comes after us is told with name, metadata and attributes as soon as they come."""
    with subject.opened(kinds=("event",)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        GUEST.give(stage, "ben")
        stage.driver.join("ben")
        expect_told(receiver, stage, "ben", GUEST, JOINED)


@promise("events")
def who_is_there_is_listed_whatever_is_received(subject: Subject) -> None:
    """`Transport.participants` lists who was there before us, without ourselves, also where nothing
    is received of them."""
    with subject.opened(kinds=(), participants=["nobody"]) as (transport, stage):
        expect_there(transport, stage, "ann")


@promise("events", "profiles", "several_people")
def who_comes_and_goes_is_listed_as_they_are(subject: Subject) -> None:
    """`Transport.participants` lists who is there now, with name, metadata and attributes, sorted
    by identity."""
    with subject.opened(kinds=()) as (transport, stage):
        GUEST.give(stage, "al")
        stage.driver.join("al")
        people = expect_there(transport, stage, "al", "ann")
        expect(
            profile_of(people[0]) == GUEST,
            f"'al' is {GUEST}; listed was {profile_of(people[0])}",
        )
        stage.driver.leave("al")
        expect_there(transport, stage, "ann")


@promise("events", "profiles")
def a_change_of_a_profile_is_told(subject: Subject) -> None:
    """A change of a name, of metadata, of attributes is told, with all that holds now."""
    with subject.opened(kinds=("event",)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        now = GUEST
        for change in (
            {},
            {"name": "Ann Smith"},
            {"metadata": "standing"},
            {"attributes": {"role": "speaker", "hand": "up"}},
            {"attributes": {"role": "speaker"}},
        ):
            now = replace(now, **change)
            now.give(stage, "ann")
            expect_told(receiver, stage, "ann", now, CHANGED)


@promise("events", "profiles", "audio_in")
def a_track_is_told_with_its_publisher_as_they_are(subject: Subject) -> None:
    """The events of a track tell its publisher with name, metadata and attributes."""
    with subject.opened(kinds=("audio", "event")) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        GUEST.give(stage, "ann")
        items = expect_told(receiver, stage, "ann", GUEST, CHANGED)
        say(stage, Score(stage.capabilities))
        wanted = {EventKind.TRACK_PUBLISHED, EventKind.TRACK_STARTED}

        def found() -> dict[EventKind, Profile | None]:
            events = [one for one in items if isinstance(one, Event) and one.kind in wanted]
            return {one.kind: profile_of(one.participant) for one in events}

        def enough(more: list[Any]) -> bool:
            items.extend(more[-1:])
            return found().keys() == wanted

        collect(receiver, enough, 2 * stage.patience)
        for kind in sorted(wanted):
            told = found().get(kind, "nothing")
            expect(told == GUEST, f"'ann' is {GUEST}; {kind} tells {told}")


@promise("events", "participant_kinds", "several_people")
def people_are_told_by_their_kind(subject: Subject) -> None:
    """Who is there before us and who comes later is told with their kind: standard, agent, ..."""
    with subject.opened(kinds=("event",)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        stage.driver.join_as("bot", "agent")
        wanted, kinds = {"ann": "standard", "bot": "agent"}, {}

        def enough(items: list[Any]) -> bool:
            event = items[-1] if items else None
            if isinstance(event, Event) and event.kind is JOINED and event.participant is not None:
                kinds[event.participant.identity] = event.participant.kind
            return kinds.keys() >= wanted.keys()

        collect(receiver, enough, 2 * stage.patience)
        kinds = {who: kind for who, kind in kinds.items() if who in wanted}
        expect(kinds == wanted, f"people are {wanted}; told were {kinds}")


@promise("audio_in", "participant_kinds", "several_people")
def whom_we_hear_is_chosen_by_kind(subject: Subject) -> None:
    """``participants=`` as a function is asked with the kind of participant."""
    with subject.staged() as stage:
        stage.driver.join_as("bot", "agent")
        expect_heard_alone(stage, is_no_agent, "no agents", "ann", "bot")


@promise("audio_in", "profiles", "several_people")
def whom_we_hear_is_chosen_by_profile(subject: Subject) -> None:
    """``participants=`` as a function is asked with name, metadata and attributes."""
    with subject.staged() as stage:
        GUEST.give(stage, "ann")
        SPEAKER.give(stage, "ben")
        stage.driver.join("ben")
        expect_heard_alone(stage, is_speaker, "speakers", "ben", "ann")


def expect_heard_alone(
    stage: Stage, chosen: Callable[[Participant], bool], asked: str, who: str, other: str
) -> None:
    """Of two who speak, the function chooses ``who``; ``asked`` says by what."""
    transport = stage.open(kinds=("audio",), participants=chosen)
    try:
        receiver = transport.recv(timeout=stage.patience)
        say(stage, Score(stage.capabilities, seed=1), other, "mic")
        score = Score(stage.capabilities)
        say(stage, score, who, "mic")
        heard = {frame.participant for frame in listen(receiver, score, stage).frames}
        expect(heard == {who}, f"asked for {asked}, which is {who!r}: {sorted(heard)} came")
    finally:
        transport.close()
