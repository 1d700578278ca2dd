"""A track is unpublished once it has played, or was refused; and who waits for it is told."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

import ringroom
from app_kit import (
    PATIENCE,
    RATE,
    Call,
    check_law,
    microphone,
    opened,
    said,
    same,
    sound,
    until,
)
from ringroom.errors import (
    BusyError,
    ConfigurationError,
    RoomError,
)
from ringroom.events import EventKind
from ringroom.testing import FakeRoom, VirtualClock, sources


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("wait", ["unpublish", "wait_playout"])
def test_who_waits_for_a_refused_track_is_told(fake_room: FakeRoom, wait: str, told: bool) -> None:
    fake_room.refuse_publish()
    with opened(fake_room, kinds=("event",)) as transport:
        transport.send_nowait(sound(0.02))
        if told:
            failed = EventKind.PUBLISH_FAILED
            assert any(event.kind is failed for event in transport.recv(timeout=PATIENCE))
        with pytest.raises(RoomError, match="refuses the track"):
            getattr(transport, wait)("audio", timeout=PATIENCE)
        with pytest.raises(ConfigurationError, match="no track 'audio'"):
            transport.unpublish()


def test_leaving_tells_of_a_refused_track_once_the_others_have_played(fake_room: FakeRoom) -> None:
    def stay() -> None:
        with opened(fake_room) as transport, transport:
            transport.send(sound(0.3, track="music"))
            fake_room.refuse_publish()
            transport.send_nowait(sound(0.02))

    with pytest.raises(RoomError, match="refuses the track"):
        stay()
    assert same(said(fake_room, 0.3, "music"), sound(0.3).samples)


def test_a_received_track_names_the_one_that_answers_it(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room, "ann")
    with opened(fake_room) as transport:
        transport.audio_out(mic.info).write(sound(0.1).data)
        transport.send(sound(0.1, track="other"))
        transport.wait_playout(mic.info, timeout=PATIENCE)
        assert same(said(fake_room, 0.1, "ann/mic"), sound(0.1).samples)
        assert transport.played(mic.info) == pytest.approx(0.1)
        transport.send(sound(5.0, track=mic.info))
        assert transport.flush(mic.info) > 0
        transport.unpublish(mic.info, timeout=PATIENCE)
        until(lambda: [*fake_room.application.tracks] == ["other"])
        assert transport.played(mic.info) == 0.0
        with pytest.raises(ConfigurationError, match="no track 'ann/mic'; our tracks are"):
            transport.unpublish(mic.info)


@pytest.mark.parametrize("io", ["thread", "process"])
def test_a_track_is_unpublished_once_it_has_played(fake_room: FakeRoom, io: str) -> None:
    with opened(fake_room, io=io) as transport:
        app = fake_room.wait_for_app()
        transport.send(sound(0.3, track="music"))
        transport.send(sound(0.02))
        transport.unpublish("music", timeout=PATIENCE)
        assert same(said(fake_room, 0.3, "music"), sound(0.3).samples)
        until(lambda: list(app.tracks) == ["audio"])
        transport.send(sound(0.1, 1, track="music"))  # the name is free again
        fake_room.wait_for_track("music")
        transport.wait_playout(timeout=PATIENCE)
        with pytest.raises(
            ConfigurationError, match=r"no track 'speech'; our tracks are \['audio', "
        ):
            transport.unpublish("speech")
        check_law(transport)


def test_the_default_track_and_pictures_are_unpublished(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        with pytest.raises(ConfigurationError, match=r"no track 'audio'; our tracks are \[\]"):
            transport.unpublish()
        transport.send(sound(0.02))
        transport.send(sources.picture(1, 64, 48))
        transport.unpublish("video", timeout=PATIENCE)
        transport.unpublish(timeout=PATIENCE)
        until(lambda: not fake_room.wait_for_app().tracks)


def test_nobody_unpublishes_a_track_that_somebody_sends_on(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        sending = Call(transport.send, sound(30.0))
        until(lambda: transport.stats().sent.sent > 3)
        with pytest.raises(BusyError, match="somebody else sends on track 'audio'"):
            transport.unpublish()
        transport.flush()
        sending.result()
        transport.send(sound(1.5))
        with pytest.raises(TimeoutError, match="the track has not ended"):
            transport.unpublish(timeout=0.0)
        transport.flush()
        until(lambda: not fake_room.wait_for_app().tracks)


@contextlib.contextmanager
def ending(
    room: FakeRoom, clock: VirtualClock, seconds: float, track: str = "audio"
) -> Iterator[ringroom.Transport]:
    """A transport with a track that was unpublished and plays still: in virtual time, for on a slow
    machine it may have played before the next call."""
    with opened(room, io=clock.io) as transport:
        transport.send(sound(seconds, track=track))
        with pytest.raises(TimeoutError, match="the track has not ended"):
            transport.unpublish(track, timeout=0.0)
        yield transport


def test_leaving_plays_out_a_track_that_is_ending(
    fake_room: FakeRoom, virtual_clock: VirtualClock
) -> None:
    with ending(fake_room, virtual_clock, 0.8, "music") as transport, transport:
        pass
    assert same(said(fake_room, 0.8, "music"), sound(0.8).samples)


@pytest.mark.parametrize("track", ["music", None])
@pytest.mark.parametrize("wait", ["unpublish", "wait_playout"])
def test_who_waits_waits_for_a_track_that_is_ending(
    fake_room: FakeRoom, virtual_clock: VirtualClock, wait: str, track: str | None
) -> None:
    with ending(fake_room, virtual_clock, 0.8, track or "audio") as transport:
        assert transport.played(track) < 0.8
        getattr(transport, wait)(track, timeout=PATIENCE)
        assert same(said(fake_room, 0.8, track or "audio"), sound(0.8).samples)
        if wait == "unpublish":
            fake_room.wait_until(lambda: not fake_room.application.tracks)
            with pytest.raises(ConfigurationError, match="we publish no track"):
                transport.unpublish(track)


def test_a_flush_cuts_a_track_that_is_ending_and_its_successor(
    fake_room: FakeRoom, virtual_clock: VirtualClock
) -> None:
    with ending(fake_room, virtual_clock, 2.0) as transport:
        fake_room.wait_for_track("audio")
        transport.send_nowait(sound(0.3, 1))
        seconds = transport.flush(timeout=PATIENCE)
        whole = pytest.approx(2.3, abs=0.03)
        fake_room.wait_until(lambda: seconds + fake_room.heard().duration == whole)
        transport.wait_playout(timeout=PATIENCE)
        check_law(transport)


def test_unpublishing_again_ends_no_other_track(
    fake_room: FakeRoom, virtual_clock: VirtualClock
) -> None:
    with ending(fake_room, virtual_clock, 0.3) as transport:
        transport.send(sound(0.02, track="music"))
        transport.unpublish(timeout=PATIENCE)
        with pytest.raises(ConfigurationError, match=r"no track 'audio'; our tracks are \['music'"):
            transport.unpublish()
        fake_room.wait_until(lambda: list(fake_room.application.tracks) == ["music"])


def test_a_resampled_track_is_unpublished_with_its_end(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        transport.send(sound(0.1))  # the track's rate
        transport.send(sound(0.5, rate=48_000))
        transport.unpublish(timeout=PATIENCE)
        assert len(said(fake_room, 0.6)) == pytest.approx(0.6 * RATE, abs=1)
