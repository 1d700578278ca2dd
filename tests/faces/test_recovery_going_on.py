"""The I/O process of a plain transport dies, and it goes on with another."""

from __future__ import annotations

import errno
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ringroom
from app_kit import Call, check_law, microphone, opened, say, sound, take, until
from recovery_kit import ALL, LONG, Events, killed, settled
from ringroom.errors import ClosedError
from ringroom.providers.fake import Fake
from ringroom.providers.provider import OutgoingTrack, Playout, Provider
from ringroom.testing import FakeRoom, faults, sources


def test_who_receives_goes_on(fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    handovers: list[Fake] = []
    before = Fake.handover
    monkeypatch.setattr(Fake, "handover", lambda spec: handovers.append(spec) or before(spec))
    mic = microphone(fake_room)
    with opened(fake_room, **ALL) as transport:
        events = Events(transport)
        frames = transport.recv(kinds=("audio",), timeout=LONG)
        mic.wait_for_subscriber()
        spoken = say(mic, 0.1)
        assert np.array_equal(take(frames, len(spoken)), spoken)
        waiting = Call(next, frames)
        gone = killed(transport)
        events.back()
        assert transport.io_pid not in (None, gone)
        assert len(handovers) == 2  # a fresh token
        until(lambda: mic.subscribers, timeout=LONG)
        say(mic, 0.02)
        waiting.result(LONG)
        until(lambda: "track_resumed" in events.kinds)
        assert events.kinds.count("connection_lost") == 1
        assert events.kinds.count("track_started") == 1
        assert "track_ended" not in events.kinds
        lost = next(event for event in events.all if event.kind == "connection_lost")
        assert "the I/O process died (killed by signal 9, " in lost.reason
    events.join()
    counts = settled(transport).received
    assert (counts.sent, counts.done) == (6, 6)


def test_it_begins_once_where_no_descriptor_is_left_to_be_woken_by(
    fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[threading.Thread] = []
    real = os.eventfd

    def eventfd(*arguments: int) -> int:
        if threading.current_thread().name == "ringroom-recovery":
            refused.append(threading.current_thread())
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(*arguments)

    monkeypatch.setattr(os, "eventfd", eventfd)
    with opened(fake_room, **ALL) as transport:
        events = Events(transport)
        killed(transport)
        events.back()
        assert len(refused) == 1
        transport.send(sound(0.1), timeout=LONG)
        fake_room.wait_for_audio("audio", 0.1, timeout=LONG)
    events.join()
    settled(transport)


@pytest.mark.once
def test_a_send_that_waits_goes_on(fake_room: FakeRoom) -> None:
    with opened(fake_room, io="process") as transport:
        sending = Call(transport.send, sound(4.0))
        fake_room.wait_for_audio("audio", 0.2, timeout=LONG)
        killed(transport)
        sending.result(LONG)
        transport.send_data("after", topic="end", timeout=LONG)
        assert [m.payload for m in fake_room.wait_for_data("end", 1, timeout=LONG)] == [b"after"]
        transport.wait_playout(timeout=LONG)
        check_law(transport)
        assert transport.stats().sent.in_flight == 0
        heard = fake_room.heard("audio").duration
        played = transport.played("audio")
    counts = settled(transport).sent
    # 40 pieces and a message: what did not play is counted, and nothing else is missing.
    assert counts.sent == 41 == counts.done + counts.lost
    assert counts.lost > 0
    assert heard >= (40 - counts.lost) * 0.1 - 0.5
    assert played == pytest.approx(heard, abs=0.5)


def test_whoever_waits_for_an_answer_gets_one(fake_room: FakeRoom) -> None:
    with opened(fake_room, io="process") as transport:
        transport.send(sound(1.0))
        waiting = [Call(transport.wait_playout), Call(next, transport.recv())]
        fake_room.wait_for_audio("audio", 0.1, timeout=LONG)
        with faults.frozen(transport.io_pid):
            flushing = Call(transport.flush, timeout=LONG)
            until(lambda: transport._connection.session.requests.unanswered)
            killed(transport)
        assert flushing.result(LONG) == 0.0
        waiting[0].result(LONG)
        assert not waiting[1].over
        assert transport.room == fake_room.name
    with pytest.raises(ClosedError):
        waiting[1].result(LONG)
    settled(transport)


@pytest.mark.once
def test_it_may_die_again_and_again(fake_room: FakeRoom) -> None:
    before = threading.active_count()
    with opened(fake_room, **ALL) as transport:
        events = Events(transport)
        for times in (1, 2):
            killed(transport)
            events.back(times)
            transport.send(sound(0.1), timeout=LONG)
            fake_room.wait_for_audio("audio", 0.1 * times, timeout=LONG)
        assert not transport._connection.session._accounts._before, "all that is over is settled"
    events.join()
    assert settled(transport).sent.sent == 2
    assert threading.active_count() == before


@dataclass(frozen=True, kw_only=True)
class Growing(Fake):
    """In its first process it takes a hundred MiB, as a library may for what others send."""

    grown: str

    def open(self, descriptors: tuple[int, ...]) -> Provider:
        provider = super().open(descriptors)
        publish = provider.publish

        async def growing(track: OutgoingTrack) -> Playout:
            if not Path(self.grown).exists():
                Path(self.grown).touch()
                _taken.append(b"x" * (100 << 20))
            return await publish(track)

        provider.publish = growing  # type: ignore[method-assign]
        return provider


_taken: list[bytes] = []


@pytest.mark.once
def test_who_takes_too_much_memory_is_replaced(fake_room: FakeRoom, tmp_path: Path) -> None:
    spec = Growing(room=fake_room, grown=str(tmp_path / "grown"))
    with (
        ringroom.IOProcess(max_memory=64 << 20) as small,
        ringroom.transport(spec, io=small, kinds=("event",)) as transport,
    ):
        before = transport.io_pid
        events = Events(transport)
        transport.send(sound(0.02), timeout=LONG)
        events.back()
        assert transport.io_pid not in (None, before)
        (lost,) = [event for event in events.all if event.kind == "connection_lost"]
        assert "it took more memory than max_memory, 64 MiB" in lost.reason
        transport.send(sound(0.3), timeout=LONG)
        fake_room.wait_for_audio(seconds=0.3, timeout=LONG)
        transport.close()
        events.join()


@pytest.mark.once
def test_those_who_share_a_process_get_another_together(fake_room: FakeRoom) -> None:
    with ringroom.IOProcess() as shared:
        options: dict[str, Any] = {**ALL, "io": shared}
        with (
            opened(fake_room, identity="a", **options) as a,
            opened(fake_room, identity="b", **options) as b,
        ):
            events = [Events(a), Events(b)]
            faults.killed(shared)
            for one in events:
                one.back()
            for transport, name in ((a, "of a"), (b, "of b")):
                transport.send(sound(0.1, track=name), timeout=LONG)
                fake_room.wait_for_audio(name, 0.1, timeout=LONG)
        for one in events:
            one.join()


def test_a_picture_that_is_filled_meanwhile_is_shown_in_the_next_room(fake_room: FakeRoom) -> None:
    with opened(fake_room, **ALL) as transport:
        events = Events(transport)
        with transport.fill_video(64, 48, timeout=LONG) as frame:
            frame.data[:] = sources.picture(7, 64, 48).data
            killed(transport)
            events.back()
        (shown,) = fake_room.wait_for_video(count=1, timeout=LONG).frames
        assert sources.picture_number(shown) == 7
    events.join()
