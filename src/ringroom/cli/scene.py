"""The room of the demo: people who speak, one who shows a picture, and what the room heard.

A scene is a `FakeRoom`, or (`live_scene`) a room on a real LiveKit server, with the same people.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Protocol

import ringroom
from ringroom.cli.speech import Heard
from ringroom.frames import AudioFrame
from ringroom.providers.provider import ProviderSpec
from ringroom.testing import FakeRoom

__all__ = ["FPS", "OWN_TRACK", "PEOPLE", "PICTURE", "Scene", "burn", "fake_scene"]

PEOPLE = ("ann", "bob", "cho", "fay")
OWN_TRACK = "chord"
FPS = 10.0
PICTURE = (320, 240)


def burn(milliseconds: float) -> None:
    """Holds the GIL for that long, as a computation in pure Python does."""
    end = time.perf_counter() + milliseconds / 1000
    while time.perf_counter() < end:
        pass


class Scene(Protocol):
    """The people of a room, and its ears."""

    def spec(self, identity: str) -> ProviderSpec:
        """The way in for an application."""

    def speak(self, sounds: Sequence[AudioFrame]) -> None:
        """Everybody begins to speak; returns at once."""

    def silence(self) -> None:
        """Waits until everybody has spoken. Raises what kept somebody from it."""

    def heard(self, identity: str) -> list[Heard]:
        """What that application sent, track by track. Raises what kept the room from hearing it."""

    def pids(self) -> dict[int, str]:
        """Processes that belong to the scene and not to the application."""


class _FakeScene:
    def __init__(self, room: FakeRoom) -> None:
        self._room = room
        members = [room.join(identity) for identity in PEOPLE]
        self._microphones = [member.publish_audio() for member in members]
        self._camera = members[0].publish_video("camera", *PICTURE)
        self._ends = 0.0

    def spec(self, identity: str) -> ProviderSpec:
        return ringroom.Fake(room=self._room, identity=identity)

    def speak(self, sounds: Sequence[AudioFrame]) -> None:
        seconds = max(sound.duration for sound in sounds)
        self._ends = time.monotonic() + seconds
        for microphone, sound in zip(self._microphones, sounds, strict=True):
            microphone.speak(sound)
        self._camera.test_picture(seconds, FPS)

    def silence(self) -> None:
        time.sleep(max(0.0, self._ends - time.monotonic()))

    def heard(self, identity: str) -> list[Heard]:
        application = self._room.applications[identity]
        found = []
        for name in (OWN_TRACK, *(f"{person}/mic" for person in PEOPLE)):
            try:
                recording = application.heard(name)
            except LookupError:
                continue  # it never came to that
            pieces = tuple((frame.received_ns, frame.samples) for frame in recording.frames)
            found.append(
                Heard(
                    track=name,
                    sample_rate=recording.sample_rate,
                    pieces=pieces,
                    longest_gap=recording.longest_gap,
                )
            )
        return found

    def pids(self) -> dict[int, str]:
        return {}


@contextlib.contextmanager
def fake_scene() -> Iterator[Scene]:
    """A room in memory; nothing is needed."""
    with FakeRoom("demo") as room:
        yield _FakeScene(room)
