"""Whatever happens in a room, each frame is done, dropped, lost, or still under way."""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import ringroom
from app_kit import RATE, check_law, noise, sound
from ringroom.errors import WouldBlock
from ringroom.events import Kind
from ringroom.frames import AudioFrame, DataFrame, VideoFrame
from ringroom.options import PublishOptions
from ringroom.sessions.unsent import PIECE_SECONDS
from ringroom.testing import FakeRoom, sources
from ringroom.testing.simulation.laws import check_counts

LIVE = PublishOptions(mode="live")


class Machine(RuleBasedStateMachine):
    """People come, speak, show, mute and leave; the application receives now and then, and sends.

    What was spoken by each track arrives in its order, without a frame twice. What is done is what
    was received, at every moment, and no more was sent than was said.
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
        self.said = Counter[Kind]()
        self.got = Counter[Kind]()
        self.taken = 0
        self.seconds = self.flushed = 0.0

    def teardown(self) -> None:
        try:
            self.transport.close()
            check_counts(self.transport.stats().lanes, over=True)
            self.the_law_holds()
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
        self.said[Kind.AUDIO] += frames
        camera.show(sources.picture(frames, 64, 64))
        self.said[Kind.VIDEO] += 1

    @precondition(lambda self: self.people)
    @rule(data=st.data())
    def message(self, data: st.DataObject) -> None:
        self.people[data.draw(st.sampled_from(sorted(self.people)))][0].send_data(b"x")
        self.said[Kind.DATA] += 1

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
            self.got[Kind.DATA] += 1
            return
        assert isinstance(item, AudioFrame | VideoFrame)
        self.got[Kind.AUDIO if isinstance(item, AudioFrame) else Kind.VIDEO] += 1
        assert not isinstance(item.track, str)
        assert item.track is not None
        assert item.sequence > self.seen.get(item.track.sid, -1)
        self.seen[item.track.sid] = item.sequence

    @rule(seconds=st.sampled_from([0.02, 0.3, 1.0]), live=st.booleans())
    def send(self, seconds: float, live: bool) -> None:
        frame = sound(seconds, track="live" if live else "speech")
        pieces = math.ceil(seconds / PIECE_SECONDS)
        self.seconds += seconds
        with contextlib.suppress(WouldBlock):
            self.transport.send_nowait(frame, publish=LIVE if live else None)
            self.taken += pieces

    @rule()
    def flush(self) -> None:
        self.flushed += self.transport.flush()
        assert 0 <= self.flushed <= self.seconds + 1e-6

    @invariant()
    def the_law_holds(self) -> None:
        stats = self.transport.stats()
        check_counts(stats.lanes)
        assert stats.sent.sent == self.taken, "of a send that would block nothing is taken"
        for kind in (Kind.AUDIO, Kind.VIDEO, Kind.DATA):
            lanes = [one for one in stats.lanes if (one.direction, one.kind) == ("in", kind)]
            assert sum(one.counts.done for one in lanes) == self.got[kind]
            assert sum(one.counts.sent for one in lanes) <= self.said[kind]

    @rule()
    def messages_are_never_lost(self) -> None:
        end = time.monotonic() + 5
        while self.got[Kind.DATA] < self.said[Kind.DATA] and time.monotonic() < end:
            self.receive(50)
        assert self.got[Kind.DATA] == self.said[Kind.DATA]


TestConservation = Machine.TestCase
TestConservation.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)


def test_the_law_while_everything_is_busy(fake_room: FakeRoom) -> None:
    """Counts are read while both sides write them: none is ever negative, and what is done is what
    was received."""
    received = 0
    mic = fake_room.join("alice").publish_audio(sample_rate=RATE)
    with ringroom.transport("fake", room=fake_room, io="process", max_age=0.1) as transport:
        mic.wait_for_subscriber()
        mic.speak(noise(20.0), speed=20)
        frames = transport.recv(timeout=0.1)

        def all_handled() -> bool:
            nonlocal received
            with contextlib.suppress(TimeoutError):
                frame = next(frames)
                received += 1
                transport.send(frame, publish=LIVE)
            check_law(transport)
            counts = transport.stats().received
            assert counts.done == received
            return counts.sent == 1_000 and not counts.in_flight

        while not all_handled():
            pass
    stats = transport.stats()
    check_counts(stats.lanes, over=True)
    assert stats.received.done == stats.sent.sent == received
