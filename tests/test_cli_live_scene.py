"""The people of ``ringroom demo --livekit``, here in a fake room: what goes wrong with them is
told by whoever waits for them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import pytest

import ringroom
from app_kit import until
from ringroom.cli import demo, inline, live_scene
from ringroom.cli.scene import PEOPLE, fake_scene
from ringroom.cli.speech import chord
from ringroom.errors import ClosedError, RoomError, StartupError
from ringroom.frames import AudioFrame
from ringroom.providers.provider import ProviderSpec
from ringroom.testing import FakeRoom

WORDS = [AudioFrame(chord(0.2), 16_000)] * len(PEOPLE)


@contextlib.contextmanager
def staged(room: FakeRoom) -> Iterator[live_scene._LiveKitScene]:
    class Scene(live_scene._LiveKitScene):
        def spec(self, identity: str) -> ProviderSpec:
            return ringroom.Fake(room=room, identity=identity)

    with contextlib.ExitStack() as closing:
        yield Scene(None, "thread", closing)  # type: ignore[arg-type]


def test_everybody_speaks_and_leaves(fake_room: FakeRoom) -> None:
    with staged(fake_room) as scene:
        scene.speak(WORDS)
        scene.silence()
        assert scene.heard("nobody") == []
        speaking, listening = scene._speaking, scene._listening
        for person in PEOPLE:
            assert fake_room.applications[person].heard().duration > 0.1
    for threads in (speaking, listening):
        threads.join()


def test_leaving_while_they_speak_is_no_error(fake_room: FakeRoom) -> None:
    with staged(fake_room) as scene:
        scene.speak([AudioFrame(chord(5.0), 16_000)] * len(PEOPLE))
    for threads in (scene._speaking, scene._listening):
        threads.join()


def test_who_may_not_speak_is_told(fake_room: FakeRoom) -> None:
    with staged(fake_room) as scene, fake_room.faults.publish_refused():
        scene.speak(WORDS)
        with pytest.raises(RoomError, match="the room refuses the track"):
            scene.silence()


def test_a_room_that_ends_is_told(fake_room: FakeRoom) -> None:
    with staged(fake_room) as scene:
        fake_room.close_room("nobody came")
        until(lambda: scene._listening._failures)
        with pytest.raises(ClosedError, match=r"the listener's room has ended: .*nobody came"):
            scene.heard("app")
        scene.speak(WORDS)
        with pytest.raises(ClosedError, match="the room has ended"):
            scene.silence()


NOBODY_SPEAKS = demo.Demo(seconds=0.1, burn_ms=0.0)


@pytest.mark.once
def test_a_comparison_in_which_nobody_speaks_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inline, "PATIENCE_SECONDS", 0.1)
    with fake_scene() as scene:
        monkeypatch.setattr(scene, "speak", lambda sounds: None)
        with pytest.raises(StartupError, match=r"one loop said nothing for 0\.2 s"):
            demo._compare(NOBODY_SPEAKS, scene)


@pytest.mark.once
def test_why_nobody_speaks_in_a_comparison_is_told(
    fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inline, "PATIENCE_SECONDS", 0.1)
    with staged(fake_room) as scene, contextlib.ExitStack() as faults:
        speak = scene.speak

        def refused(sounds: Sequence[AudioFrame]) -> None:
            faults.enter_context(fake_room.faults.publish_refused())
            speak(sounds)

        monkeypatch.setattr(scene, "speak", refused)
        with pytest.raises(RoomError, match="the room refuses the track"):
            demo._compare(NOBODY_SPEAKS, scene)
