"""The network or the server fails, and the room is joined anew: what goes on, and what is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reconnect_kit
import ringroom
from app_kit import PATIENCE, Call, microphone, opened, said, say, sound, until
from reconnect_kit import SOON, listening
from ringroom.events import EventKind, TrackInfo
from ringroom.options import Reconnect
from ringroom.testing import FakeRoom, VirtualClock, faults

io = reconnect_kit.io


def test_a_server_that_was_gone_costs_the_call_nothing_more(fake_room: FakeRoom, io: str) -> None:
    mic = microphone(fake_room)
    with listening(fake_room, io=io) as (transport, told):
        frames = transport.recv(kinds=("audio",), timeout=PATIENCE)
        say(mic)
        first = next(frames)
        transport.send(sound(0.1, track="voice"), timeout=PATIENCE)
        before = said(fake_room, 0.1, "voice")
        transport.wait_playout(timeout=PATIENCE)
        with fake_room.faults.server_gone():
            told.wait(EventKind.CONNECTION_LOST)
            told.wait(EventKind.PARTICIPANT_LEFT)
            # Its lane is not open yet: that waits for the room.
            message = Call(transport.send_data, "waits", topic="after")
            transport.send(sound(0.1, seed=7, track="voice"), timeout=PATIENCE)
            fake_room.wait_for_app_gone()
        told.wait(EventKind.CONNECTION_BACK)
        message.result()
        assert fake_room.wait_for_data("after")[0].payload == b"waits"
        heard = said(fake_room, 0.2, "voice")
        np.testing.assert_array_equal(heard[: len(before)], before)
        np.testing.assert_array_equal(heard[len(before) :], noise_of(7))
        until(lambda: mic.subscribers)
        say(mic, seed=3)
        heard = np.concatenate([first.samples, *(next(frames).samples for _ in range(9))])
        np.testing.assert_array_equal(
            heard, np.concatenate([sound(0.1).samples, sound(0.1, seed=3).samples])
        )
        order = told.kinds()
        lost, back = order.index("connection_lost"), order.index("connection_back")
        assert order[:lost].count("participant_joined") == 1
        assert order[lost:back].count("participant_left") == 1
        assert order[lost:back].count("track_unpublished") == 1
        assert order[back:].count("participant_joined") == 1
        assert order.count("connected") == order.count("connection_lost") == 1
        assert "publish_failed" not in order
        assert "data_failed" not in order


def asked_for(path: Path) -> Any:
    """A function for ``tracks=`` that wants no screens, and notes where it may be asked in another
    process."""

    def wanted(track: TrackInfo) -> bool:
        with path.open("a") as file:
            file.write(f"{track.name} ")
        return track.source != "screen_share_audio"

    return wanted


def test_which_tracks_are_received_is_the_same_in_the_next_room(
    fake_room: FakeRoom, io: str, tmp_path: Path
) -> None:
    """Where tracks are published anew, as after a full reconnection, it is asked again."""
    asked = tmp_path / "asked"
    screen = fake_room.join("bob").publish_audio("screen", source="screen_share_audio")
    mic = microphone(fake_room)
    with listening(fake_room, io=io, tracks=asked_for(asked)) as (transport, told):
        frames = transport.recv(kinds=("audio",), timeout=PATIENCE)
        mic.wait_for_subscriber()
        for losses, resume in ((1, True), (2, False)):
            fake_room.lose_connection()
            told.wait(EventKind.CONNECTION_LOST, losses)
            fake_room.restore_connection(resume=resume)
            told.wait(EventKind.CONNECTION_BACK, losses)
            until(lambda n=losses: asked.read_text().split() == ["screen", "mic"] * n)
            until(lambda: mic.subscribers)
            assert not screen.subscribers
        with fake_room.faults.server_gone():
            told.wait(EventKind.CONNECTION_LOST, 3)
            fake_room.wait_for_app_gone()
        told.wait(EventKind.CONNECTION_BACK, 3)
        until(lambda: mic.subscribers)
        say(mic)
        assert next(frames).track.name == "mic"
        assert not screen.subscribers
        assert asked.read_text().split() == ["screen", "mic"] * 3


def test_which_tracks_are_received_is_the_same_for_another_io_process(
    fake_room: FakeRoom, tmp_path: Path
) -> None:
    asked = tmp_path / "asked"
    screen = fake_room.join("bob").publish_audio("screen", source="screen_share_audio")
    mic = microphone(fake_room)
    options: Any = {"io": "process", "tracks": asked_for(asked)}
    with listening(fake_room, **options) as (transport, told):
        frames = transport.recv(kinds=("audio",), timeout=PATIENCE)
        mic.wait_for_subscriber()
        faults.killed(transport.io_pid)
        told.wait(EventKind.CONNECTION_BACK)
        until(lambda: mic.subscribers)
        say(mic)
        assert next(frames).track.name == "mic"
        assert not screen.subscribers
        assert asked.read_text().split() == ["screen", "mic"] * 2


def noise_of(seed: int) -> Any:
    return sound(0.1, seed=seed).samples


def there(room: FakeRoom) -> bool:
    """Whether the application is in the room."""
    return any(one.identity == "app" for one in room.participants)


def test_an_application_that_does_not_look_is_joined_anew_all_the_same(
    fake_room: FakeRoom, io: str
) -> None:
    with opened(fake_room, io=io, reconnect=SOON) as transport:
        with fake_room.faults.server_gone():
            fake_room.wait_for_app_gone()
        until(lambda: there(fake_room))
        assert transport.ended is None
        transport.send(sound(0.1), timeout=PATIENCE)
        said(fake_room, 0.1)


def test_inbound_tracks_end_and_begin_again(fake_room: FakeRoom) -> None:
    microphone(fake_room)
    with listening(fake_room) as (transport, told):
        frames = Call(list, transport.recv(kinds=("audio",)))
        told.wait(EventKind.TRACK_STARTED)
        with fake_room.faults.server_gone():
            told.wait(EventKind.TRACK_ENDED)
        told.wait(EventKind.TRACK_STARTED, 2)
        tracks = [kind for kind in told.kinds() if kind in ("track_started", "track_ended")]
        assert tracks == ["track_started", "track_ended", "track_started"]
        fake_room.close_room()
        frames.result()


def test_what_was_spoken_before_the_loss_is_still_received(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)
    with opened(fake_room, reconnect=SOON) as transport:
        frames = transport.recv(timeout=PATIENCE)
        say(mic, 0.1, seed=1)
        until(lambda: transport.stats().received.sent == 5)
        with fake_room.faults.server_gone():
            fake_room.wait_for_app_gone()
        until(lambda: there(fake_room))
        until(lambda: mic.subscribers)
        say(mic, 0.1, seed=2)
        heard = np.concatenate([next(frames).samples for _ in range(10)])
        wanted = np.concatenate([sound(0.1, seed=seed).samples for seed in (1, 2)])
        np.testing.assert_array_equal(heard, wanted)


def test_a_flush_while_the_room_is_lost_is_answered_at_once(fake_room: FakeRoom) -> None:
    with listening(fake_room) as (transport, told):
        transport.send(sound(0.02), timeout=PATIENCE)
        said(fake_room, 0.02)  # what has been played may still be on its way
        with fake_room.faults.server_gone():
            told.wait(EventKind.CONNECTION_LOST)
            transport.send(sound(0.3, seed=1), timeout=PATIENCE)
            assert transport.flush(timeout=PATIENCE) == pytest.approx(0.3)
            transport.send(sound(0.1, seed=2), timeout=PATIENCE)
        transport.wait_playout(timeout=PATIENCE)
        heard = said(fake_room, 0.12)
        np.testing.assert_array_equal(heard[320:], sound(0.1, seed=2).samples)


def test_what_was_not_played_is_counted(fake_room: FakeRoom, virtual_clock: VirtualClock) -> None:
    """What lay at the source is not played, what was under way is lost, the rest is played."""
    options = {"io": virtual_clock.io, "kinds": ("event",), "reconnect": SOON}
    with opened(fake_room, **options) as transport:
        events = transport.recv(timeout=PATIENCE)
        sending = virtual_clock.start_thread("sender", lambda: transport.send(sound(2.0)))
        fake_room.wait_for_audio(None, 0.3)
        with fake_room.faults.server_gone():
            assert EventKind.CONNECTION_LOST in [next(events).kind for _ in range(2)]
        sending.join()
        transport.wait_playout(timeout=PATIENCE)
        heard = fake_room.wait_for_quiet().duration
        # A tenth that was under way, and the fifth that waited at the source.
        assert 2.0 - 0.1 - 0.2 - 0.02 <= heard <= 2.0 - 0.1
        assert transport.played() == pytest.approx(heard, abs=0.011)
    counts = transport.stats().sent
    assert (counts.lost, counts.in_flight, counts.problems) == (1, 0, 0)


def test_a_provider_that_fails_is_opened_again(fake_room: FakeRoom, io: str) -> None:
    with listening(fake_room, io=io) as (_, told):
        fault = fake_room.faults.provider_raises("receive")
        told.wait(EventKind.CONNECTION_LOST)
        fault.end()
        told.wait(EventKind.CONNECTION_BACK)


def test_in_virtual_time_the_room_is_joined_to_the_moment() -> None:
    policy = Reconnect(backoff=1.0, longest=4.0, jitter=0.0)
    with (
        VirtualClock() as clock,
        FakeRoom(clock=clock) as room,
        ringroom.transport(
            "fake", room=room, io=clock.io, kinds=("event",), reconnect=policy
        ) as transport,
    ):
        begun = clock.now()
        room.faults.server_gone().lasting(5.0)
        times = {}
        for event in transport.recv():
            times[str(event.kind)] = round(clock.now() - begun, 3)
            if event.kind is EventKind.CONNECTION_BACK:
                break
    # Tries after 1, 3 and 7 seconds.
    assert times["connection_back"] - times["connection_lost"] == 7.0


def test_the_same_seed_of_time_gives_the_same_jitter() -> None:
    def once() -> float:
        with (
            VirtualClock() as clock,
            FakeRoom(clock=clock) as room,
            ringroom.transport("fake", room=room, io=clock.io, kinds=("event",)) as transport,
        ):
            room.faults.server_gone().lasting(5.0)
            for event in transport.recv():
                if event.kind is EventKind.CONNECTION_BACK:
                    break
            return clock.now()

    assert once() == once()


def test_a_track_of_ours_that_was_muted_is_heard_in_the_next_room(
    fake_room: FakeRoom, io: str
) -> None:
    with listening(fake_room, io=io) as (transport, told):
        transport.send(sound(0.1, track="voice"), timeout=PATIENCE)
        fake_room.wait_for_track("voice")
        fake_room.faults.muted_by_server("voice")
        muted = told.wait(EventKind.PUBLISH_MUTED)
        with fake_room.faults.server_gone():
            told.wait(EventKind.CONNECTION_LOST)
            back = told.wait(EventKind.PUBLISH_UNMUTED)
            fake_room.wait_for_app_gone()
        assert back.track == muted.track
        told.wait(EventKind.CONNECTION_BACK)
        before = fake_room.heard("voice").duration
        transport.send(sound(0.1, seed=7, track="voice"), timeout=PATIENCE)
        fake_room.wait_for_audio("voice", seconds=before + 0.1)
