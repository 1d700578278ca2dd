"""An application mutes its tracks: they are not heard, the others know it, and that lasts."""

from __future__ import annotations

import numpy as np
import pytest

import ringroom
from app_kit import PATIENCE, Call, interrupted, opened, until
from elders_kit import Elders
from recovery_kit import LONG, Events, killed
from refusal_kit import INF, NAN
from ringroom.errors import ConfigurationError, FrameError, RoomError
from ringroom.events import Event, EventKind, Kind, TrackInfo
from ringroom.faces import face
from ringroom.frames import AudioFrame, VideoFrame
from ringroom.options import PublishOptions, Reconnect
from ringroom.testing import FakeRoom
from ringroom.testing.connection import connections

RATE = 16_000
SPEECH, LIVE = PublishOptions(), PublishOptions(mode="live")
SOON = Reconnect(backoff=0.01, longest=0.02)
PICTURE = VideoFrame.from_gray(np.zeros((48, 64), np.uint8))


def words(value: int, seconds: float = 0.1) -> AudioFrame:
    return AudioFrame(np.full(round(seconds * RATE), value, np.int16), RATE)


def say(transport: ringroom.Transport, value: int, seconds: float = 0.1) -> None:
    """Sound of that value, until it has played, to whomever."""
    transport.send(words(value, seconds), timeout=PATIENCE)
    transport.wait_playout(timeout=PATIENCE)


def heard(room: FakeRoom) -> set[int]:
    return {int(value) for value in np.unique(room.heard("audio").samples)}


def until_heard(room: FakeRoom, value: int) -> None:
    until(lambda: value in heard(room), f"{value} being heard")


def until_muted(room: FakeRoom, *names: str, timeout: float = PATIENCE) -> None:
    until(lambda: room.application.muted == {*names}, "so much being muted", timeout)


@pytest.mark.parametrize("io", ["thread", "process"])
@pytest.mark.parametrize("publish", [SPEECH, LIVE], ids=["speech", "live"])
def test_what_is_sent_while_it_is_muted_is_not_heard(
    fake_room: FakeRoom, io: str, publish: PublishOptions
) -> None:
    with opened(fake_room, io=io, publish=publish) as transport:
        say(transport, 1)
        transport.mute(timeout=PATIENCE)
        until_muted(fake_room, "audio")
        say(transport, 2)
        transport.unmute(timeout=PATIENCE)
        until_muted(fake_room)
        say(transport, 3)
        until_heard(fake_room, 3)
        assert heard(fake_room) == {1, 3}
        assert transport.played() == pytest.approx(0.3, abs=0.011)
        counts = transport.stats().sent
        assert counts.sent == counts.done


def test_the_first_frame_may_come_later(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        transport.mute(timeout=PATIENCE)
        say(transport, 1)
        until_muted(fake_room, "audio")
        transport.unmute(timeout=PATIENCE)
        say(transport, 2)
        until_heard(fake_room, 2)
        assert heard(fake_room) == {2}


def test_a_track_that_is_being_published_begins_muted(fake_room: FakeRoom) -> None:
    """The room has been asked for it unmuted, and nothing has been heard yet."""
    with opened(fake_room) as transport:
        with fake_room.faults.connection_lost():
            sending_it = Call(transport.send, words(1), timeout=PATIENCE)
            (connection,) = connections(fake_room._floor.state)
            until(lambda: connection._held, "the room being asked for it")
            transport.mute(timeout=PATIENCE)
        sending_it.result()
        transport.wait_playout(timeout=PATIENCE)
        until_muted(fake_room, "audio")
        transport.unmute(timeout=PATIENCE)
        say(transport, 2)
        until_heard(fake_room, 2)
        assert heard(fake_room) == {2}


def test_it_does_not_wait_for_what_was_sent(fake_room: FakeRoom) -> None:
    """Two seconds are sent, and muted before they can all have played, however slow this is."""
    with opened(fake_room) as transport:
        transport.send(words(1, 0.5), timeout=PATIENCE)
        while True:
            before = transport.played()
            transport.send(words(2, 1.0), timeout=PATIENCE)
            transport.send(words(3), timeout=PATIENCE)
            transport.mute(timeout=PATIENCE)
            if transport.played() - before < 1.0:
                break
            transport.wait_playout(timeout=PATIENCE)
            transport.unmute(timeout=PATIENCE)
            fake_room.application.take()
        transport.wait_playout(timeout=PATIENCE)
        transport.unmute(timeout=PATIENCE)
        say(transport, 4)
        until_heard(fake_room, 4)
        assert 3 not in heard(fake_room)


def test_a_flush_and_a_wait_know_of_it_as_of_any_other(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        transport.mute(timeout=PATIENCE)
        waiting = Call(transport.send, words(1, 60.0))
        until(lambda: transport.played() > 0)
        thrown = transport.flush(timeout=PATIENCE)
        waiting.result()
        transport.wait_playout(timeout=PATIENCE)
        assert thrown + transport.played() == pytest.approx(60.0, abs=0.02)
        transport.unmute(timeout=PATIENCE)
        say(transport, 2)
        until_heard(fake_room, 2)
        assert heard(fake_room) == {2}


def test_pictures_and_one_track_of_several(fake_room: FakeRoom) -> None:
    answer = TrackInfo(sid="TR", name="mic", kind=Kind.AUDIO, participant="ann")
    with opened(fake_room) as transport:
        transport.mute("video", timeout=PATIENCE)
        transport.mute(answer, timeout=PATIENCE)
        say(transport, 1)
        transport.send(words(1).replace(track=answer), timeout=PATIENCE)
        transport.send(PICTURE, timeout=PATIENCE)
        transport.wait_playout(timeout=PATIENCE)
        until_muted(fake_room, "video", "ann/mic")
        assert fake_room.heard("ann/mic").duration == 0
        assert fake_room.seen("video").count == 0
        transport.unmute("video", timeout=PATIENCE)
        transport.send(PICTURE, timeout=PATIENCE)
        assert fake_room.wait_for_video("video").count == 1
        until_muted(fake_room, "ann/mic")
        until_heard(fake_room, 1)


def test_a_track_that_ends_is_not_muted_when_it_comes_again(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        say(transport, 1)
        transport.mute(timeout=PATIENCE)
        transport.send(words(2), timeout=PATIENCE)
        transport.unpublish(timeout=PATIENCE)
        say(transport, 3)
        until_heard(fake_room, 3)
        assert heard(fake_room) == {1, 3}, "what was sent before its end stays muted"
        until_muted(fake_room)
        transport.mute(timeout=PATIENCE)
        until_muted(fake_room, "audio")


def test_a_track_that_was_refused_is_muted_when_it_comes_again(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        transport.mute(timeout=PATIENCE)
        with fake_room.faults.publish_refused(), pytest.raises(RoomError, match="refuses"):
            say(transport, 1)
        say(transport, 1)
        until_muted(fake_room, "audio")


# It lasts.


def expect_silence_until_unmuted(room: FakeRoom, transport: ringroom.Transport) -> None:
    until_muted(room, "audio", timeout=LONG)
    say(transport, 9)
    transport.unmute(timeout=LONG)
    say(transport, 1)
    until_heard(room, 1)
    assert 9 not in heard(room)


@pytest.mark.parametrize("resume", [True, False])
def test_it_outlives_a_loss(fake_room: FakeRoom, resume: bool) -> None:
    with opened(fake_room, kinds=("event",)) as transport:
        say(transport, 1)
        transport.mute(timeout=PATIENCE)
        with fake_room.faults.connection_lost(resume=resume):
            pass
        expect_silence_until_unmuted(fake_room, transport)
        with fake_room.faults.connection_lost(resume=resume):
            transport.mute(timeout=PATIENCE)
        expect_silence_until_unmuted(fake_room, transport)


def test_it_outlives_a_room_that_is_lost_for_good(fake_room: FakeRoom) -> None:
    with opened(fake_room, reconnect=SOON) as transport:
        say(transport, 1)
        transport.mute(timeout=PATIENCE)
        fake_room.break_connection()
        expect_silence_until_unmuted(fake_room, transport)
        with fake_room.faults.server_gone():
            fake_room.wait_for_app_gone()
            transport.mute(timeout=PATIENCE)  # without waiting for the room
        expect_silence_until_unmuted(fake_room, transport)


def test_it_outlives_the_io_process(fake_room: FakeRoom) -> None:
    with opened(fake_room, io="process", kinds=("event",)) as transport:
        events = Events(transport)
        say(transport, 1)
        transport.mute(timeout=PATIENCE)
        for times in (1, 2):
            killed(transport)
            events.back(times)
            say(transport, 9)
        expect_silence_until_unmuted(fake_room, transport)
        killed(transport)
        events.back(3)
        until_muted(fake_room, timeout=LONG)
    events.join()


def test_what_is_asked_as_the_io_process_dies_is_done_by_the_next(fake_room: FakeRoom) -> None:
    with opened(fake_room, io="process", kinds=("event",)) as transport:
        events = Events(transport)
        say(transport, 1)
        with fake_room.faults.connects_refused("unreachable"):
            killed(transport)
            waiting = Call(transport.mute, timeout=LONG)
            until(lambda: transport._connection.session.muting._unanswered)
        waiting.result(LONG)
        events.back()
        expect_silence_until_unmuted(fake_room, transport)
    events.join()


# Others, and the server.


def test_another_application_is_told_of_it(fake_room: FakeRoom) -> None:
    with (
        opened(fake_room, identity="other", kinds=("audio", "event")) as other,
        opened(fake_room) as us,
    ):
        say(us, 1)
        us.mute(timeout=PATIENCE)
        say(us, 2)
        us.unmute(timeout=PATIENCE)
        say(us, 3)
        kinds, values = [], set()
        for item in other.recv(timeout=PATIENCE):
            if isinstance(item, Event) and item.track is not None:
                kinds.append(item.kind)
            elif isinstance(item, AudioFrame):
                values |= {*np.unique(item.samples).tolist()}
                if 3 in values:
                    break
        assert values <= {0, 1, 3}
        assert kinds[-2:] == [EventKind.TRACK_MUTED, EventKind.TRACK_UNMUTED]


def test_the_servers_muting_and_ours(fake_room: FakeRoom) -> None:
    """The server's is told, ours is not. Either unmutes both, but what we have muted is not heard
    before we say so."""
    with opened(fake_room, kinds=("event",)) as transport:
        receiver = transport.recv(timeout=PATIENCE)

        def told(kind: EventKind) -> list[EventKind]:
            kinds = []
            for event in receiver:
                kinds += [event.kind] if event.kind.startswith("publish_") else []
                if event.kind is kind:
                    return kinds
            raise AssertionError(kinds)

        muted, unmuted = EventKind.PUBLISH_MUTED, EventKind.PUBLISH_UNMUTED
        say(transport, 1)
        transport.mute(timeout=PATIENCE)
        transport.unmute(timeout=PATIENCE)
        until_muted(fake_room)
        with fake_room.faults.muted_by_server("audio"):
            assert told(muted) == [muted]
            transport.unmute(timeout=PATIENCE)
            assert told(unmuted) == [unmuted]
            say(transport, 2)
            until_heard(fake_room, 2)
        transport.mute(timeout=PATIENCE)
        until_muted(fake_room, "audio")
        with fake_room.faults.muted_by_server("audio"):
            pass
        assert told(unmuted) == [unmuted]
        say(transport, 9)
        transport.unmute(timeout=PATIENCE)
        say(transport, 3)
        until_heard(fake_room, 3)
        assert 9 not in heard(fake_room)


# What is wrong.


def test_what_is_no_name_and_no_timeout(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        for call in (transport.mute, transport.unmute):
            for name in ("", 5, "x" * 300, "a\0"):
                with pytest.raises(FrameError, match="track name"):
                    call(name)  # type: ignore[arg-type]
            for timeout in ("1", NAN, INF, [1]):
                with pytest.raises(ConfigurationError, match="timeout"):
                    call(timeout=timeout)  # type: ignore[arg-type]
        say(transport, 1)
        until_heard(fake_room, 1)


def test_ctrl_c_leaves_no_answer_that_nobody_takes(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        moments = 1
        while interrupted(lambda: transport.mute(timeout=PATIENCE), moments, face):
            moments += 1
        assert moments > 3
        transport.unmute(timeout=PATIENCE)  # behind all that was asked before
        changes = transport._connection.session.muting
        assert not changes._unanswered
        assert not changes._answers


def test_a_provider_that_mutes_nothing_says_so_and_goes_on() -> None:
    with ringroom.transport(Elders(), io="thread") as transport:
        for _ in range(2):
            for call in (transport.mute, transport.unmute):
                with pytest.raises(RoomError, match="not supported: mute") as caught:
                    call(timeout=PATIENCE)
                assert caught.value.reason == "not_supported"
            say(transport, 1)
