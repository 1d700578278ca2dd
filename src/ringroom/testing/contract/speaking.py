"""Promises about who is told to speak, which rests on the sound of each that a provider gives."""

from __future__ import annotations

import time
from collections.abc import Callable

from ringroom.client import Receiver
from ringroom.events import EventKind
from ringroom.frames import AudioFrame
from ringroom.testing import sources
from ringroom.testing.contract.hearing import collect
from ringroom.testing.contract.promise import expect, promise
from ringroom.testing.contract.score import RATE
from ringroom.testing.contract.subject import Stage, Subject

OPTIONS = {"kinds": ("audio", "event"), "active_speakers": True}
# So short that several people can be heard at a time where speaking takes its time.
PIECE_SECONDS = 0.2
LOUD, SOFT = 0.5, 0.1


def utter(stage: Stage, who: str, level: float) -> None:
    """Somebody says something short."""
    sound = AudioFrame(sources.tone(440, PIECE_SECONDS, RATE, level=level), RATE)
    stage.driver.speak(who, "mic", sound)


def expect_speakers(
    receiver: Receiver, stage: Stage, speakers: tuple[str, ...], going_on: Callable[[], object]
) -> None:
    """Break the promise unless it is told that they speak, while they do what goes on."""
    told: list[tuple[str, ...]] = []
    end = time.monotonic() + 2 * stage.patience
    while speakers not in told[-1:] and time.monotonic() < end:
        going_on()
        items, _ = collect(receiver, bool, PIECE_SECONDS)
        told += [one.speakers for one in items if one.kind is EventKind.ACTIVE_SPEAKERS]
    expect(speakers in told[-1:], f"those who speak are {speakers}; told were {told}")


@promise("audio_in", "events")
def who_speaks_is_told(subject: Subject) -> None:
    """It is told who speaks, while they do, and that nobody does any more."""
    with subject.opened(**OPTIONS) as (transport, stage):
        receiver = transport.recv(kinds=("event",), timeout=PIECE_SECONDS)
        stage.driver.publish_audio("ann", "mic", RATE, 1)
        expect_speakers(receiver, stage, ("ann",), lambda: utter(stage, "ann", LOUD))
        expect_speakers(receiver, stage, (), lambda: None)


@promise("audio_in", "events", "several_people")
def the_loudest_speaker_is_told_first(subject: Subject) -> None:
    """Of those who speak at a time the loudest is told first."""
    with subject.opened(**OPTIONS) as (transport, stage):
        receiver = transport.recv(kinds=("event",), timeout=PIECE_SECONDS)
        stage.driver.join("bob")
        for who in ("ann", "bob"):
            stage.driver.publish_audio(who, "mic", RATE, 1)

        def both() -> None:
            utter(stage, "ann", SOFT)
            utter(stage, "bob", LOUD)

        expect_speakers(receiver, stage, ("bob", "ann"), both)
