"""Pools in virtual time: workers and the I/O process die, at the same moment too."""

from __future__ import annotations

from typing import Any, ClassVar

import pool_time_kit
import pytest
from pool_time_kit import Sleeps, pieces, running

from app_kit import RATE
from ringroom import link
from ringroom.errors import StartupError
from ringroom.events import Event, EventKind, TrackInfo
from ringroom.frames import AudioFrame
from ringroom.pool import places
from ringroom.processes.supervision import crew
from ringroom.processor import Processor
from ringroom.testing import FakeRoom
from ringroom.testing.virtual import VirtualClock

clock = pool_time_kit.clock
room = pool_time_kit.room


class Busy(Processor):
    """Takes longer than the frame lasts; tells which tracks have ended."""

    ended: ClassVar[list[tuple[str, float]]] = []

    def start(self, context: Any) -> None:
        self.clock = context._answering.machine

    def process(self, frame: AudioFrame) -> None:
        self.clock.sleep(0.03)

    def close(self, track: TrackInfo) -> None:
        self.ended.append((track.participant, self.clock.now()))


@pytest.mark.parametrize("busy", [True, False], ids=["busy", "idle"])
def test_a_worker_is_told_that_a_track_has_not_come_again(
    clock: VirtualClock, room: FakeRoom, busy: bool
) -> None:
    Busy.ended.clear()
    joined: list[float] = []

    def note(event: Event) -> None:
        if event.kind is EventKind.CONNECTION_BACK:
            joined.append(clock.now())

    ann, bob = room.join("ann"), room.join("bob")
    mics = [who.publish_audio("mic", sample_rate=RATE) for who in (ann, bob)]
    with running(clock, room, Busy, on_event=note, max_age=0.5) as pool:
        for mic in mics:
            mic.wait_for_subscriber()
        clock.sleep(2.0)
        with room.faults.hanging_connect():
            clock.kill("ringroom-io")
            clock.sleep(0.5)
            ann.leave()
        while not joined:
            clock.sleep(0.01)
        if busy:
            mics[1].tone(440, seconds=20, wait=True)
        else:
            clock.sleep(20.0)
        ((who, when),) = Busy.ended
        assert who == "ann"
        assert when - joined[0] == pytest.approx(5.0, abs=0.2)
        assert bool(pool.stats().received.dropped_stale) == busy


def test_a_worker_and_the_io_process_die_at_once(clock: VirtualClock, room: FakeRoom) -> None:
    """The next worker gets its place of an I/O process that is dead already, and then of another:
    what was under way is settled all the same."""
    mic = room.join("ann").publish_audio("mic", sample_rate=RATE)
    with running(clock, room, Sleeps, spares=1) as pool:
        mic.wait_for_subscriber()
        clock.sleep(3.0)
        mic.speak(pieces(1), realtime=False)
        clock.sleep(0.1)
        assert pool.stats().received.in_flight == 1
        clock.kill("ringroom-io")
        clock.kill("ringroom-worker-0")
        clock.sleep(5.0)
        assert not pool._staff._places._unsettled
        received = pool.stats().received
        assert (received.sent, received.lost, received.in_flight) == (1, 1, 0)
        mic.wait_for_subscriber()
        mic.speak(pieces(1, value=1), realtime=False)
        clock.sleep(1.0)
        assert pool.stats().received.done == 1


@pytest.mark.parametrize(
    ("refused", "after"), [("crew", 0), ("pool", 0), ("message", 0), ("message", 1)]
)
def test_descriptors_run_out_while_a_worker_is_replaced(
    clock: VirtualClock,
    room: FakeRoom,
    monkeypatch: pytest.MonkeyPatch,
    refused: str,
    after: int,
) -> None:
    """Of the links to a worker, or of what is sent with a message to it: another try follows."""
    used = iter(range(1_000))

    def refuse_once(before: Any, where: str) -> Any:
        def call(*arguments: Any) -> Any:
            bare = where == "message" and not any(arguments[2:])  # it has no descriptors
            wanted = where == refused and not bare
            if wanted and clock.role().name == "ringroom-pool" and next(used) == after:
                raise StartupError("no descriptors left")
            return before(*arguments)

        return call

    events: list[EventKind] = []

    def note(event: Event) -> None:
        events.append(event.kind)

    mic = room.join("ann").publish_audio("mic", sample_rate=RATE)
    with running(clock, room, Sleeps, spares=1, on_event=note) as pool:
        mic.wait_for_subscriber()
        clock.sleep(3.0)
        monkeypatch.setattr(crew, "open_links", refuse_once(crew.open_links, "crew"))
        monkeypatch.setattr(places, "open_links", refuse_once(link.open_links, "pool"))
        monkeypatch.setattr(link.Link, "send", refuse_once(link.Link.send, "message"))
        clock.kill("ringroom-worker-0")
        clock.sleep(3.0)
        assert next(used) > after
        mic.speak(pieces(1, value=1), realtime=False)
        clock.sleep(1.0)
        assert pool.stats().received.done == 1
        with pytest.raises(TimeoutError):
            pool.wait(0.1)
    assert EventKind.WORKER_REPLACED in events


class StartsOnce(Processor):
    """The first one starts, and no other."""

    started: ClassVar[list[Any]] = []

    def start(self, context: Any) -> None:
        self.started.append(context)
        if len(self.started) > 1:
            raise OSError("no second model")


# A process ends by `SystemExit`; here it is a thread.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_spare_that_does_not_start_is_said(
    clock: VirtualClock, room: FakeRoom, caplog: pytest.LogCaptureFixture
) -> None:
    StartsOnce.started.clear()
    with running(clock, room, StartsOnce, spares=1, restarts=1) as pool:
        clock.sleep(5.0)
        assert pool.spares == 0
    said = [record.getMessage() for record in caplog.records if record.name == "ringroom"]
    assert said
    assert all("a spare worker did not start" in text for text in said)
    assert "no second model" in said[0]
