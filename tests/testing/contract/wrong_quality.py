"""Wrong about how good connections are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wrong_kit import Twist, breaks

from ringroom.events import Event, EventKind

OTHERS, OURS = "the_quality_of_a_connection_is_told", "the_quality_of_our_own_connection_is_told"


class Judging(Twist):
    """Tells of a quality what `told` makes of it; None: nothing."""

    def told(self, event: Event) -> Event | None:
        raise NotImplementedError

    def event(self, sink: Any, event: Event) -> None:
        if event.kind is not EventKind.CONNECTION_QUALITY:
            super().event(sink, event)
        elif (told := self.told(event)) is not None:
            super().event(sink, told)


@breaks({OTHERS: r"'ann' is poor; told were \[\]", OURS: r"'app' is poor; told were \[\]"})
class TellsNoQuality(Judging):
    def told(self, event: Event) -> Event | None:
        return None


@breaks({OTHERS: r"told were \[\('ann', 'excellent'\)\]"})
class FindsEverythingExcellent(Judging):
    def told(self, event: Event) -> Event | None:
        return replace(event, quality="excellent")


@breaks({OTHERS: r"told were \[\('', 'poor'\)\]"})
class DoesNotSayWhose(Judging):
    def told(self, event: Event) -> Event | None:
        return replace(event, participant=None)


@breaks({OURS: r"'app' is poor; told were \[\]"})
class KeepsOursToItself(Judging):
    def told(self, event: Event) -> Event | None:
        ours = event.participant is None or event.participant.identity == "app"
        return None if ours else event
