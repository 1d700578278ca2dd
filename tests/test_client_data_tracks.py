"""A transport's data tracks, both ways: bounded in age, lossy, counted."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, replace
from typing import Any

import pytest

import ringroom
from app_kit import PATIENCE, opened, until
from ringroom.checks import MAX_DATA_TRACK_BYTES
from ringroom.errors import ConfigurationError, FrameError, RoomError
from ringroom.events import EventKind, Kind
from ringroom.frames import DataTrackFrame
from ringroom.providers.fake import Fake
from ringroom.testing import FakeRoom
from ringroom.testing.simulation.laws import check_counts

KINDS = ("data_track",)


def test_frames_come_with_their_track_their_time_and_their_number(fake_room: FakeRoom) -> None:
    lidar = fake_room.join("ann").publish_data_track("lidar")
    with opened(fake_room, kinds=KINDS) as transport:
        lidar.wait_for_subscriber()
        sent = [(b"x", None), (bytes(100_000), 0), (b"\x00\xff", 2**64 - 1)]
        for payload, timestamp in sent:
            lidar.push(payload, timestamp)
        receiver = transport.recv(timeout=PATIENCE)
        frames = [next(receiver) for _ in sent]
        assert [(one.payload, one.timestamp) for one in frames] == sent
        assert [one.sequence for one in frames] == [0, 1, 2]
        assert all(isinstance(one, DataTrackFrame) for one in frames)
        track = frames[0].track
        assert (track.name, track.kind, track.source) == ("lidar", Kind.DATA_TRACK, "unknown")
        assert (track.participant, track.sid) == ("ann", lidar.info.sid)
        assert frames[0].participant == "ann"
        assert frames[1].received_ns >= frames[0].received_ns > 0
        (lane,) = transport.stats().lanes
        assert (lane.kind, lane.track, lane.counts.done) == ("data_track", "lidar", 3)


def test_nothing_comes_unless_it_is_asked_for(fake_room: FakeRoom) -> None:
    ann = fake_room.join("ann")
    lidar = ann.publish_data_track("lidar")
    with opened(fake_room, kinds=("audio", "video", "data", "event")) as transport:
        receiver = transport.recv(kinds=("data",), timeout=PATIENCE)
        fake_room.wait_for_app()
        lidar.push(b"x")
        ann.send_data(b"message")
        assert next(receiver).payload == b"message"
        assert lidar.subscribers == frozenset()


def test_participants_and_tracks_choose_as_of_other_tracks(fake_room: FakeRoom) -> None:
    ann, bob = fake_room.join("ann"), fake_room.join("bob")
    lidar, arm, other = (
        who.publish_data_track(name) for who, name in ((ann, "lidar"), (ann, "arm"), (bob, "arm"))
    )
    options: dict[str, Any] = {"kinds": KINDS, "participants": ["ann"]}
    with opened(fake_room, tracks=lambda track: track.name == "arm", **options):
        arm.wait_for_subscriber()
        assert not lidar.subscribers | other.subscribers
    with opened(fake_room, identity="b", tracks=["microphone", "unknown"], **options):
        arm.wait_for_subscriber("b")
        lidar.wait_for_subscriber("b")


def test_sources_that_no_data_track_has_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="data tracks have the source 'unknown'"):
        ringroom.SessionOptions(kinds=("audio", *KINDS), tracks=["microphone"])  # type: ignore[arg-type]


def test_who_is_slow_gets_what_is_new_and_the_rest_is_counted(fake_room: FakeRoom) -> None:
    lidar = fake_room.join("ann").publish_data_track("lidar")
    with ringroom.transport(
        "fake", room=fake_room, io="thread", kinds=KINDS, max_age=0.1
    ) as transport:
        lidar.wait_for_subscriber()
        for _ in range(50):
            lidar.push(b"old")
        until(lambda: transport.stats().received.sent == 50)
        sent = time.monotonic()
        receiver = transport.recv(timeout=0.05)
        until(lambda: time.monotonic() > sent + 0.1)

        def comes() -> Any:
            lidar.push(b"new")
            with contextlib.suppress(TimeoutError):
                return next(receiver)

        assert until(comes).payload == b"new"
        assert transport.stats().received.dropped_stale >= 50
    check_counts(transport.stats().lanes, over=True)


def test_what_has_no_room_is_dropped_and_counted(fake_room: FakeRoom) -> None:
    """The ring of a track has room for eight frames, or 1 MiB of small ones."""
    lidar = fake_room.join("ann").publish_data_track("lidar")
    with opened(fake_room, kinds=KINDS) as transport:
        lidar.wait_for_subscriber()
        for _ in range(20):
            lidar.push(bytes(300_000))
        until(lambda: transport.stats().received.sent == 20)
        counts = transport.stats().received
        assert 8 <= 20 - counts.dropped_full < 20
        assert counts.dropped_full == counts.dropped


def test_frames_of_all_sizes_come_in_order(fake_room: FakeRoom) -> None:
    """A larger one opens a lane, which is read after the one before."""
    lidar = fake_room.join("ann").publish_data_track("lidar")
    sizes = [1, 100_000, 200_000, 2, 900_000, MAX_DATA_TRACK_BYTES, 3]
    with opened(fake_room, kinds=KINDS) as transport:
        lidar.wait_for_subscriber()
        for size in sizes:
            lidar.push(bytes(size))
        receiver = transport.recv(timeout=PATIENCE)
        assert [len(next(receiver).payload) for _ in sizes] == sizes
        assert transport.stats().received.dropped == 0


def test_a_track_is_told_and_ends_after_its_last_frame(fake_room: FakeRoom) -> None:
    ann = fake_room.join("ann")
    with opened(fake_room, kinds=("data_track", "event")) as transport:
        fake_room.wait_for_app()
        lidar = ann.publish_data_track("lidar")
        lidar.wait_for_subscriber()
        lidar.push(b"x")
        lidar.mute()
        lidar.push(b"lost")
        lidar.unmute()
        lidar.push(b"y")
        lidar.unpublish()
        told: list[Any] = []
        for item in transport.recv(timeout=PATIENCE):
            if isinstance(item, DataTrackFrame):
                told.append(item.payload)
            elif item.track is not None and item.kind is not EventKind.TRACK_PUBLISHED:
                told.append(item.kind)
            if {EventKind.TRACK_ENDED, EventKind.TRACK_UNPUBLISHED} <= {*told}:
                break
        told.remove(EventKind.TRACK_UNPUBLISHED)
        assert told == ["track_started", b"x", "track_muted", "track_unmuted", b"y", "track_ended"]


def test_ours_go_out_under_their_name_until_we_end_them(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        transport.send(DataTrackFrame(b"x", track="lidar", timestamp=7))
        transport.send_nowait(DataTrackFrame(bytearray(b"y"), track="lidar"))
        transport.send(DataTrackFrame(memoryview(b"z")))
        x, y = fake_room.wait_for_data_track("lidar", 2).frames
        assert [(one.payload, one.timestamp) for one in (x, y)] == [(b"x", 7), (b"y", None)]
        assert fake_room.wait_for_data_track("data").frames[0].payload == b"z"
        info = fake_room.application.tracks["lidar"]
        assert (info.kind, info.source) == (Kind.DATA_TRACK, "unknown")
        transport.unpublish("lidar")
        fake_room.wait_until(lambda: fake_room.application.tracks.keys() == {"data"})
        transport.send(DataTrackFrame(b"again", track="lidar"))
        assert fake_room.wait_for_data_track("lidar", 3).frames[-1].payload == b"again"


def test_a_reply_goes_out_on_the_track_that_answers(fake_room: FakeRoom) -> None:
    lidar = fake_room.join("ann").publish_data_track("lidar")
    with opened(fake_room, kinds=KINDS) as transport:
        lidar.wait_for_subscriber()
        lidar.push(b"ping", 5)
        frame = next(transport.recv(timeout=PATIENCE))
        transport.send(frame.replace(payload=b"pong"))
        (reply,) = fake_room.wait_for_data_track("ann/lidar").frames
        assert (reply.payload, reply.timestamp) == (b"pong", 5)
        transport.send(frame.replace(track="other"))
        assert fake_room.wait_for_data_track("other").frames[0].payload == b"ping"


def test_ours_of_all_sizes_arrive_in_order(fake_room: FakeRoom) -> None:
    sizes = [1, 150_000, 300_000, MAX_DATA_TRACK_BYTES, 2]
    with opened(fake_room) as transport:
        for number, size in enumerate(sizes, 1):
            transport.send(DataTrackFrame(bytes(size), track="lidar"), timeout=PATIENCE)
            fake_room.wait_for_data_track("lidar", number)
        frames = fake_room.pushed("lidar").frames
        assert [len(one.payload) for one in frames] == sizes
        until(lambda: transport.stats().sent.done == 5)
        assert transport.stats().sent.sent == 5


def test_a_loss_costs_what_is_sent_meanwhile_and_no_call_waits(fake_room: FakeRoom) -> None:
    """Sending is live: what cannot go out grows too old."""
    with ringroom.transport("fake", room=fake_room, io="thread", max_age=0.05) as transport:

        def arrives(payload: bytes) -> bool:
            transport.send(DataTrackFrame(payload, track="lidar"), timeout=PATIENCE)
            return any(one.payload == payload for one in fake_room.pushed("lidar").frames)

        until(lambda: arrives(b"before"))
        fake_room.break_connection()
        until(lambda: not transport.stats().in_room)
        for _ in range(10):
            transport.send(DataTrackFrame(b"meanwhile", track="lidar"), timeout=PATIENCE)
        until(lambda: transport.stats().in_room)
        until(lambda: arrives(b"after"))
    check_counts(transport.stats().lanes, over=True)


def test_a_refused_track_is_told_at_its_first_frame(fake_room: FakeRoom) -> None:
    with opened(fake_room, kinds=("event",)) as transport, fake_room.faults.publish_refused():
        with pytest.raises(RoomError) as caught:
            transport.send(DataTrackFrame(b"x"), timeout=PATIENCE)
        assert caught.value.reason == "publish_refused"
        events = transport.recv(timeout=PATIENCE)
        assert any(event.kind is EventKind.PUBLISH_FAILED for event in events)


def test_a_track_carries_one_kind(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        transport.send(DataTrackFrame(b"x", track="lidar"), timeout=PATIENCE)
        with pytest.raises(FrameError, match="'lidar' carries data_track, this is a frame of audi"):
            transport.send(ringroom.AudioFrame(bytes(640), 16_000, track="lidar"))
        spoiled = DataTrackFrame(b"x", track="lidar")
        for wrong, match in (("text", "no bytes"), (b"", "0 bytes"), (bytearray(b"x"), "no bytes")):
            spoiled.payload = wrong  # type: ignore[assignment]
            with pytest.raises(FrameError, match=match):
                transport.send(spoiled)
        spoiled = DataTrackFrame(b"x", track="lidar")
        spoiled.timestamp = -1
        with pytest.raises(FrameError, match="the timestamp is -1"):
            transport.send(spoiled)


def test_a_muted_track_of_ours_sends_nothing(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        transport.mute("lidar")
        transport.send(DataTrackFrame(b"x", track="lidar"), timeout=PATIENCE)
        until(lambda: transport.stats().sent.done == 1)
        transport.unmute("lidar")
        transport.send(DataTrackFrame(b"y", track="lidar"))
        assert [one.payload for one in fake_room.wait_for_data_track("lidar").frames] == [b"y"]


@dataclass(frozen=True, kw_only=True)
class WithoutDataTracks(Fake):
    """A provider of before there were any."""

    data_tracks = False


def test_a_provider_without_data_tracks_says_so(fake_room: FakeRoom) -> None:
    spec = WithoutDataTracks(room=fake_room)
    with pytest.raises(ConfigurationError, match="fake: not supported: kinds has 'data_track'"):
        ringroom.transport(spec, kinds=("audio", "data_track"), io="thread")
    with ringroom.transport(spec, kinds=(), io="thread") as transport:
        with pytest.raises(RoomError, match="not supported: DataTrackFrame") as caught:
            transport.send(DataTrackFrame(b"x"), timeout=PATIENCE)
        assert caught.value.reason == "not_supported"
        with pytest.raises(RoomError, match="not supported"):
            transport.send(DataTrackFrame(b"x"), timeout=PATIENCE)
        assert not fake_room.application.tracks
        assert transport.stats().sent.in_flight == 0


def test_awaited(fake_room: FakeRoom) -> None:
    lidar = fake_room.join("ann").publish_data_track("lidar")

    async def main() -> None:
        async with ringroom.aio.transport(
            "fake", room=fake_room, io="thread", kinds=KINDS, max_age=PATIENCE
        ) as transport:
            await asyncio.to_thread(lidar.wait_for_subscriber)
            lidar.push(b"ping", 3)
            async for frame in transport.recv():
                assert (frame.payload, frame.timestamp) == (b"ping", 3)
                await transport.send(frame.replace(payload=b"pong"))
                break
            await asyncio.to_thread(fake_room.wait_for_data_track, "ann/lidar")
            await transport.unpublish(frame.track)

    asyncio.run(asyncio.wait_for(main(), 3 * PATIENCE))
    fake_room.wait_until(lambda: not fake_room.application.tracks)


def test_published_options_are_those_of_the_first_frame(fake_room: FakeRoom) -> None:
    """`mode` changes nothing: what cannot go out grows old, and holds nobody up."""
    speech = ringroom.PublishOptions(mode="speech", source="camera")
    with opened(fake_room) as transport:
        transport.send(DataTrackFrame(b"x"), publish=speech, timeout=PATIENCE)
        with pytest.raises(ConfigurationError, match="publish= is not what track 'data'"):
            transport.send(DataTrackFrame(b"x"), publish=replace(speech, mode="live"))
        assert fake_room.wait_for_track("data").source == "unknown"
