"""Whatever happens in a room, each frame is done, dropped, lost, or still under way."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import ringroom
from app_kit import RATE, check_law, noise, sound
from ringroom.errors import WouldBlock
from ringroom.frames import AudioFrame, DataFrame, VideoFrame
from ringroom.options import PublishOptions
from ringroom.testing import FakeRoom, sources

LIVE = PublishOptions(mode="live")


class Machine(RuleBasedStateMachine):
    """People come, speak, show, mute and leave; the application receives now and then, and sends.

    What was spoken by each track arrives in its order, without a frame twice.
    """

    def __init__(self) -> None:
        super().__init__()
        self.room = FakeRoom()
        self.transport = ringroom.transport(
            "fake", room=self.room, io="thread", kinds=("audio", "video", "data"), max_age=20.0
        )
        self.receiver = self.transport.recv(timeout=0.001)
        self.people: dict[str, Any] = {}
        self.seen: dict[str, int] = {}
        self.messages = 0
        self.got = 0

    def teardown(self) -> None:
        try:
            self.transport.close()
            check_law(self.transport)
            stats = self.transport.stats()
            assert stats.received.in_flight == stats.sent.in_flight == 0
        finally:
            self.room.close()

    @rule(number=st.integers(0, 2))
    def join(self, number: int) -> None:
        identity = f"p{number}"
        if identity not in self.people:
            person = self.room.join(identity)
            self.people[identity] = (
                person,
                person.publish_audio(sample_rate=RATE),
                person.publish_video(width=64, height=64),
            )

    @precondition(lambda self: self.people)
    @rule(data=st.data(), frames=st.integers(1, 10))
    def speak(self, data: st.DataObject, frames: int) -> None:
        _, mic, camera = self.people[data.draw(st.sampled_from(sorted(self.people)))]
        mic.speak(noise(0.02 * frames), realtime=False)
        camera.show(sources.picture(frames, 64, 64))

    @precondition(lambda self: self.people)
    @rule(data=st.data())
    def message(self, data: st.DataObject) -> None:
        self.people[data.draw(st.sampled_from(sorted(self.people)))][0].send_data(b"x")
        self.messages += 1

    @precondition(lambda self: self.people)
    @rule(data=st.data(), muted=st.booleans())
    def mute(self, data: st.DataObject, muted: bool) -> None:
        mic = self.people[data.draw(st.sampled_from(sorted(self.people)))][1]
        (mic.mute if muted else mic.unmute)()

    @precondition(lambda self: self.people)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self.people.pop(data.draw(st.sampled_from(sorted(self.people))))[0].leave()

    @rule(most=st.integers(1, 30))
    def receive(self, most: int) -> None:
        for _ in range(most):
            try:
                item = next(self.receiver)
            except TimeoutError:
                return
            self._note(item)

    def _note(self, item: Any) -> None:
        if isinstance(item, DataFrame):
            self.got += 1
            return
        assert isinstance(item, AudioFrame | VideoFrame)
        assert not isinstance(item.track, str)
        assert item.track is not None
        assert item.sequence > self.seen.get(item.track.sid, -1)
        self.seen[item.track.sid] = item.sequence

    @rule(seconds=st.sampled_from([0.02, 0.3, 1.0]), live=st.booleans())
    def send(self, seconds: float, live: bool) -> None:
        frame = sound(seconds, track="live" if live else "speech")
        with contextlib.suppress(WouldBlock):
            self.transport.send_nowait(frame, publish=LIVE if live else None)

    @rule()
    def flush(self) -> None:
        assert self.transport.flush() >= 0

    @invariant()
    def the_law_holds(self) -> None:
        check_law(self.transport)

    @rule()
    def messages_are_never_lost(self) -> None:
        end = time.monotonic() + 5
        while self.got < self.messages and time.monotonic() < end:
            self.receive(50)
        assert self.got == self.messages


TestConservation = Machine.TestCase
TestConservation.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)


def test_the_law_while_everything_is_busy(fake_room: FakeRoom) -> None:
    """Counts are read while both sides write them: none is ever negative."""
    mic = fake_room.join("alice").publish_audio(sample_rate=RATE)
    with ringroom.transport("fake", room=fake_room, io="process", max_age=0.1) as transport:
        mic.wait_for_subscriber()
        mic.speak(noise(20.0), speed=20)
        frames = transport.recv(timeout=0.1)

        def all_handled() -> bool:
            with contextlib.suppress(TimeoutError):
                transport.send(next(frames), publish=LIVE)
            check_law(transport)
            counts = transport.stats().received
            return counts.sent == 1_000 and not counts.in_flight

        while not all_handled():
            pass
    check_law(transport)
