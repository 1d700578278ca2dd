"""Wrong about people: what a provider tells of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wrong_kit import Twist, breaks

from ringroom.events import Event, EventKind, Participant


@breaks(
    {
        "what_is_there_before_us_is_told": r"told were \[\('track_published', 'mic'\)\]",
        "who_is_there_is_listed_whatever_is_received": r"listed were \[\]",
    }
)
class OverlooksWhoIsThere(Twist):
    def event(self, sink: Any, event: Event) -> None:
        if event.kind is not EventKind.PARTICIPANT_JOINED:
            super().event(sink, event)


@breaks({"what_is_there_before_us_is_told": "'track_published of mic' was never told"})
class OverlooksWhatIsThere(Twist):
    def event(self, sink: Any, event: Event) -> None:
        if event.kind is not EventKind.TRACK_PUBLISHED:
            super().event(sink, event)


class Describing(Twist):
    """Tells of participants what `known` makes of them, in events."""

    def known(self, who: Participant) -> Participant:
        raise NotImplementedError

    def event(self, sink: Any, event: Event) -> None:
        if event.participant is not None:
            event = replace(event, participant=self.known(event.participant))
        super().event(sink, event)


@breaks({"a_change_of_a_profile_is_told": r"what participant_changed told: \[Profile\(name=''"})
class ForgetsNames(Describing):
    def known(self, who: Participant) -> Participant:
        return replace(who, name="")


@breaks({"a_change_of_a_profile_is_told": r"participant_changed told: \[.*metadata=''"})
class ForgetsMetadata(Describing):
    def known(self, who: Participant) -> Participant:
        return replace(who, metadata="")


@breaks({"a_change_of_a_profile_is_told": r"participant_changed told: \[.*attributes=\{\}"})
class ForgetsAttributes(Describing):
    def known(self, who: Participant) -> Participant:
        return replace(who, attributes={})


@breaks(
    {
        "who_is_there_before_us_is_told_as_they_are": r"_changed told: \[Profile\(name=''",
        "who_joins_later_is_told_as_they_are": r"participant_joined told: \[Profile\(name=''",
        "who_comes_and_goes_is_listed_as_they_are": r"listed was Profile\(name=''",
    }
)
class KnowsNobodyAtFirst(Twist):
    def event(self, sink: Any, event: Event) -> None:
        if event.kind is EventKind.PARTICIPANT_JOINED and event.participant is not None:
            event = replace(event, participant=Participant(identity=event.participant.identity))
        super().event(sink, event)


@breaks(
    {
        "a_change_of_a_profile_is_told": "participant_changed told: nothing",
        "a_change_during_a_loss_is_told": "participant_changed told: nothing",
    }
)
class NeverTellsAChange(Twist):
    def event(self, sink: Any, event: Event) -> None:
        if event.kind is not EventKind.PARTICIPANT_CHANGED:
            super().event(sink, event)


@breaks({"a_change_of_a_profile_is_told": r"attributes=\{'role': 'speaker'\}\); what .*'hand'"})
class KeepsWhatWasTakenAway(Describing):
    def known(self, who: Participant) -> Participant:
        self.kept = {**getattr(self, "kept", {}), **who.attributes}
        return replace(who, attributes=self.kept)


@breaks({"a_track_is_told_with_its_publisher_as_they_are": "track_published tells Profile"})
class TellsPublicationsOfStrangers(Twist):
    def event(self, sink: Any, event: Event) -> None:
        if event.track is not None and event.participant is not None:
            event = replace(event, participant=Participant(identity=event.participant.identity))
        super().event(sink, event)


@breaks({"a_track_is_told_with_its_publisher_as_they_are": "track_started tells Profile"})
class OpensTracksOfStrangers(Twist):
    def open_track(self, sink: Any, track: Any, who: Participant) -> Any:
        return super().open_track(sink, track, Participant(identity=who.identity))


@breaks({"whom_we_hear_is_chosen_by_profile": r"asked for speakers, which is 'ben': \[\] came"})
class AsksWithTheIdentityAlone(Twist):
    def wants(self, sink: Any, track: Any, who: Participant) -> bool:
        return super().wants(sink, track, Participant(identity=who.identity))


@breaks({"people_are_told_by_their_kind": r"told were \{'ann': 'unknown', 'bot': 'unknown'\}"})
class ForgetsKinds(Describing):
    def known(self, who: Participant) -> Participant:
        return replace(who, kind="unknown")


@breaks({"whom_we_hear_is_chosen_by_kind": r"which is 'ann': \[.*'bot'\] came"})
class AsksWithoutTheKind(Twist):
    def wants(self, sink: Any, track: Any, who: Participant) -> bool:
        return super().wants(sink, track, replace(who, kind="unknown"))
