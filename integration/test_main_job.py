"""The main job against a real server: room -> I/O process -> shared memory -> workers -> room.

The other side is always somebody else's client: Go's SDK and Chromium. Where many participants are
wanted, transports of our own stand in for some of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import ringroom
from integration.clients import tones
from integration.conftest import Joins
from ringroom.testing.server import LiveKitRoom, LiveKitServer
from ringroom.testing.simulation.laws import check_counts

TONES = {"a": 350.0, "b": 500.0, "c": 800.0, "d": 1250.0}
LEVEL = 0.3 / 2**0.5  # RMS of what the clients' tones have


class Burner(ringroom.Processor):
    """Echoes what it gets after some Python work, and tells how old the oldest frame was."""

    kinds = ("audio", "video", "data")
    mode = "live"

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def start(self, context: ringroom.Context) -> None:
        self.context = context
        self.oldest = 0.0

    def process(self, frame):  # type: ignore[no-untyped-def]
        if isinstance(frame, ringroom.DataFrame):
            answer = f"{self.context.worker} {self.oldest:.6f}".encode()
            self.context.send_data(answer + b" " + frame.payload, topic=f"re:{frame.topic}")
            return None
        if isinstance(frame, ringroom.AudioFrame):
            self.oldest = max(self.oldest, (time.monotonic_ns() - frame.received_ns) / 1e9)
            end = time.perf_counter() + self.seconds
            while time.perf_counter() < end:
                pass
        return frame


@contextlib.contextmanager
def pool_in(room: LiveKitRoom, processor: object, **options: object) -> Iterator[ringroom.Pool]:
    with ringroom.Pool(
        processor,  # type: ignore[arg-type]
        "livekit",
        url=room.url,
        token=room.token("pool"),
        room=room.name,
        workers=2,
        **options,
    ) as pool:
        yield pool


def collect(transport: ringroom.Transport, seconds: float, **narrow: object) -> NDArray[np.float64]:
    """That much received sound, one channel, full scale 1."""
    pieces: list[NDArray[np.float64]] = []
    wanted = 0
    for frame in transport.recv(kinds=("audio",), timeout=15, **narrow):  # type: ignore[arg-type]
        pieces.append(frame.as_float()[:, 0].astype(np.float64))
        wanted += len(frame.samples)
        if wanted >= seconds * frame.sample_rate:
            break
    return np.concatenate(pieces)


def speak(transport: ringroom.Transport, samples: NDArray[np.float64], rate: int, **more: object):  # type: ignore[no-untyped-def]
    """Send in the background; ends when all is taken or the transport is closed."""

    def send() -> None:
        with contextlib.suppress(ringroom.ClosedError):
            transport.send(ringroom.AudioFrame(samples, rate, **more))  # type: ignore[arg-type]

    thread = threading.Thread(target=send)
    thread.start()
    return thread


@pytest.mark.alone
def test_four_opus_tracks_come_back_from_two_workers(
    go_client: Joins, livekit_room: LiveKitRoom, opus: Callable[..., str]
) -> None:
    with pool_in(
        livekit_room, Burner(0.003), kinds=("audio",), sample_rate=48_000, route="track"
    ) as pool:
        ann = go_client("ann")
        for name, frequency in TONES.items():
            ann.publish(name, file=opus(frequency), loop=True)
        for name in TONES:
            ann.wait_for("subscribed", participant="pool", track=f"ann/{name}")
        time.sleep(6)
        received = ann.leave()
        stats = pool.stats()
    check_counts(stats.lanes)
    assert {lane.place for lane in stats.lanes if lane.direction == "in"} == {0, 1}
    for name, frequency in TONES.items():
        sound = tones.decoded(received["pool", f"ann/{name}"]["file"])
        heard = tones.heard(sound[tones.RATE : -tones.RATE // 2])
        assert heard.frequency == pytest.approx(frequency, abs=2), name
        assert heard.level == pytest.approx(LEVEL, rel=0.1), name
        assert heard.longest_gap <= 0.1, name


@pytest.mark.alone
def test_microphone_camera_and_data_of_a_browser_come_back(
    browser: Joins, livekit_room: LiveKitRoom
) -> None:
    colours = [[200, 40, 60], [40, 160, 60], [30, 60, 200], [180, 180, 180]]
    with pool_in(livekit_room, Burner(), sample_rate=48_000):
        ben = browser("ben")
        ben.publish("tone", source="tone", frequency=660, level=0.3)
        ben.publish("wall", source="colour", quarters=colours)
        ben.publish("camera", source="camera", width=1280, height=720)
        for name in ("tone", "wall", "camera"):
            ben.wait_for("subscribed", participant="pool", track=f"ben/{name}", timeout=30)
        time.sleep(3)
        seen = ben.measure(2.0)
        tone, wall, camera = (seen["pool", f"ben/{name}"] for name in ("tone", "wall", "camera"))
        assert tone["frequency"] == pytest.approx(660, abs=3)
        assert tone["level"] == pytest.approx(LEVEL, rel=0.15)
        assert tone["longest_gap"] < 0.1
        assert wall["frames"] > 5
        for quarter, colour in zip(wall["quarters"], colours, strict=True):
            assert quarter == pytest.approx(colour, abs=20)
        assert camera["frames"] > 5
        # Under load WebRTC scales down, to sides that are multiples of 16.
        assert camera["width"] / camera["height"] == pytest.approx(16 / 9, rel=0.05)
        ben.send_data(b"hello", topic="greeting")
        assert ben.wait_for_data(participant="pool", topic="re:greeting").endswith(b" hello")


@pytest.mark.alone
def test_work_in_the_workers_leaves_no_gap_in_what_the_application_says(
    go_client: Joins, livekit_room: LiveKitRoom, opus: Callable[..., str]
) -> None:
    with pool_in(
        livekit_room, Burner(0.006), kinds=("audio", "data"), mode="live", route="track"
    ) as pool:
        ann = go_client("ann")
        for name, frequency in TONES.items():
            ann.publish(name, file=opus(frequency), loop=True)
        speech = tones.sine(620, 8.0)[::3]  # to 16 kHz
        pool.send(ringroom.AudioFrame(speech[:16_000], 16_000, track="speech"))
        ann.wait_for("subscribed", participant="pool", track="speech")
        for start in range(16_000, len(speech), 320):
            pool.send(ringroom.AudioFrame(speech[start : start + 320], 16_000, track="speech"))
        pool.wait_playout("speech", timeout=10)
        assert pool.played("speech") == pytest.approx(8.0, abs=0.05)
        ann.send_data(b"?", topic="age")
        oldest = float(ann.wait_for_data(participant="pool", topic="re:age").split()[1])
        received = ann.leave()
        stats = pool.stats()
    check_counts(stats.lanes)
    assert oldest <= 0.2 + 0.02, "older than max_age (and one frame) when its processing began"
    sound = tones.decoded(received["pool", "speech"]["file"])
    heard = tones.heard(sound[tones.RATE : int(tones.RATE * 7)])
    assert heard.frequency == pytest.approx(620, abs=2)
    assert heard.longest_gap <= 0.1


@pytest.mark.alone
def test_stereo_at_48_khz_keeps_its_sides(
    go_client: Joins, livekit_room: LiveKitRoom, tmp_path: Path
) -> None:
    room = livekit_room
    both = np.stack([tones.sine(440, 10.0, 0.3), tones.sine(1000, 10.0, 0.1)], axis=1)
    ann = go_client("ann")
    ann.publish(
        "both", file=str(tones.encoded(tmp_path / "both.ogg", both)), loop=True, stereo=True
    )
    options = {"url": room.url, "token": room.token("ben"), "sample_rate": 48_000, "channels": 2}
    with ringroom.transport("livekit", **options) as ben:
        pieces = []
        for frame in ben.recv(timeout=15):
            assert (frame.sample_rate, frame.channels) == (48_000, 2)
            pieces.append(frame.as_float())
            if len(pieces) == 150:
                break
    sound = np.concatenate(pieces)[48_000:].astype(np.float64)
    left, right = (tones.heard(sound[:, side]) for side in (0, 1))
    assert left.frequency == pytest.approx(440, abs=2)
    assert right.frequency == pytest.approx(1000, abs=2)
    assert left.level == pytest.approx(0.3 / 2**0.5, rel=0.1)
    assert right.level == pytest.approx(0.1 / 2**0.5, rel=0.1)


@pytest.mark.alone
def test_stereo_that_we_send_arrives_as_the_mean_of_its_sides(livekit_room: LiveKitRoom) -> None:
    """The SDK publishes every track as mono (rust-sdks #1018); nothing is lost but the sides."""
    room = livekit_room
    both = np.stack([tones.sine(440, 4.0, 0.4), np.zeros(4 * tones.RATE)], axis=1)
    with (
        ringroom.transport("livekit", url=room.url, token=room.token("ann")) as ann,
        ringroom.transport("livekit", url=room.url, token=room.token("ben")) as ben,
    ):
        sender = speak(ann, both, 48_000)
        heard = tones.heard(collect(ben, 2.5)[16_000:], 16_000)
        sender.join()
    assert heard.frequency == pytest.approx(440, abs=2)
    assert heard.level == pytest.approx(0.2 / 2**0.5, rel=0.1)


@pytest.mark.alone
def test_the_asyncio_face_echoes(livekit_room: LiveKitRoom) -> None:
    room = livekit_room

    async def main() -> tuple[tones.Heard, ringroom.Statistics]:
        options = {"url": room.url, "room": room.name}
        async with (
            ringroom.aio.transport("livekit", token=room.token("ann"), **options) as ann,
            ringroom.aio.transport("livekit", token=room.token("echo"), **options) as echo,
        ):

            async def answer() -> None:
                async for frame in echo.recv(participants=["ann"]):
                    await echo.send(frame)

            echoing = asyncio.create_task(answer())
            speech = tones.sine(700, 4.0)[::3]
            sending = asyncio.create_task(ann.send(ringroom.AudioFrame(speech, 16_000)))
            pieces = []
            async with asyncio.timeout(20):
                async for frame in ann.recv():
                    pieces.append(frame.as_float()[:, 0].astype(np.float64))
                    if len(pieces) == 150:
                        break
                await sending
            echoing.cancel()
            return tones.heard(np.concatenate(pieces)[16_000:], 16_000), ann.stats()

    heard, stats = asyncio.run(main())
    assert heard.frequency == pytest.approx(700, abs=2)
    assert heard.level == pytest.approx(LEVEL, rel=0.1)
    check_counts(stats.lanes)


def test_a_pool_beside_an_event_loop_answers(go_client: Joins, livekit_room: LiveKitRoom) -> None:
    options = {"url": livekit_room.url, "token": livekit_room.token("pool"), "workers": 2}

    async def main() -> None:
        async with ringroom.aio.Pool(Burner(), "livekit", **options) as pool:
            ann = await asyncio.to_thread(go_client, "ann")
            await pool.send_data("from the loop", topic="news")
            ann.send_data(b"hello", topic="greeting")
            for topic, end in (("news", b"from the loop"), ("re:greeting", b" hello")):
                said = await asyncio.to_thread(ann.wait_for_data, topic=topic)
                assert said.endswith(end)
            async with asyncio.timeout(15):  # the SDK tells of somebody after their messages
                while not (people := await pool.participants()):
                    await asyncio.sleep(0.1)
            assert [person.identity for person in people] == ["ann"]
            waiting = asyncio.create_task(pool.wait())
            await pool.drain()
            assert await waiting == "closed"
        check_counts(pool.stats().lanes, over=True)

    asyncio.run(main())


@pytest.mark.alone
def test_eight_participants_at_once_come_late_and_leave(livekit_room: LiveKitRoom) -> None:
    room = livekit_room
    pitches = {f"p{n}": 300.0 + 150.0 * n for n in range(8)}
    with contextlib.ExitStack() as stack:
        hub = stack.enter_context(
            ringroom.transport(
                "livekit", url=room.url, token=room.token("hub"), kinds=("audio", "event")
            )
        )
        host = stack.enter_context(ringroom.IOProcess())
        speakers = [
            stack.enter_context(
                ringroom.transport(
                    "livekit", url=room.url, token=room.token(identity), kinds=("event",), io=host
                )
            )
            for identity in pitches
        ]
        threads = [
            speak(speaker, tones.sine(pitch, 5.0)[::3], 16_000)
            for speaker, pitch in zip(speakers, pitches.values(), strict=True)
        ]
        heard: dict[str, list[NDArray[np.float64]]] = {identity: [] for identity in pitches}
        for frame in hub.recv(kinds=("audio",), timeout=15):
            heard[frame.participant].append(frame.as_float()[:, 0].astype(np.float64))
            if all(len(pieces) >= 125 for pieces in heard.values()):
                break
        for thread in threads:
            thread.join()
        for identity, pieces in heard.items():
            sound = tones.heard(np.concatenate(pieces)[16_000:], 16_000)
            assert sound.frequency == pytest.approx(pitches[identity], abs=2), identity
        stack.pop_all().close()
    check_counts(hub.stats().lanes, over=True)


@pytest.mark.alone
def test_late_joiners_are_heard_and_those_who_leave_are_told(
    go_client: Joins, livekit_room: LiveKitRoom, opus: Callable[..., str]
) -> None:
    room = livekit_room
    early = go_client("early")
    early.publish("a", file=opus(350), loop=True)
    with ringroom.transport(
        "livekit", url=room.url, token=room.token("hub"), kinds=("audio", "event")
    ) as hub:
        events = hub.recv(timeout=15)
        await_event(events, "track_started", "early")
        late = go_client("late")
        late.publish("b", file=opus(800), loop=True)
        await_event(events, "participant_joined", "late")
        await_event(events, "track_started", "late")
        late.unpublish("b")
        await_event(events, "track_ended", "late")
        late.publish("b", file=opus(500), loop=True)
        await_event(events, "track_started", "late")
        late.mute("b")
        await_event(events, "track_muted", "late")
        late.leave()
        await_event(events, "participant_left", "late")
        events.close()
        sound = tones.heard(collect(hub, 2.0, participants=["early"])[8_000:], 16_000)
        assert sound.frequency == pytest.approx(350, abs=2)


def await_event(events: ringroom.client.Receiver, kind: str, identity: str) -> ringroom.Event:  # type: ignore[name-defined]
    seen = []
    for event in events:
        if not isinstance(event, ringroom.Event):
            continue
        seen.append(event)
        who = event.participant.identity if event.participant else None
        if event.kind == kind and who == identity:
            return event  # type: ignore[no-any-return]
    raise AssertionError(f"no {kind} of {identity} in {seen}")


def test_a_room_that_the_server_closes_ends_the_loop(
    livekit_room: LiveKitRoom, livekit_server: LiveKitServer
) -> None:
    from livekit import api

    room = livekit_room

    async def delete() -> None:
        async with api.LiveKitAPI(
            room.url.replace("ws", "http", 1), livekit_server.api_key, livekit_server.api_secret
        ) as client:
            await client.room.delete_room(api.DeleteRoomRequest(room=room.name))

    with ringroom.transport("livekit", url=room.url, token=room.token("ann")) as ann:
        threading.Timer(0.5, lambda: asyncio.run(delete())).start()
        assert list(ann.recv(timeout=20)) == []
        assert ann.ended
        with pytest.raises(ringroom.ClosedError, match="room has ended"):
            ann.send(ringroom.AudioFrame(b"\0\0" * 160, 16_000))


def test_what_is_refused_says_why(livekit_room: LiveKitRoom, livekit_server: LiveKitServer) -> None:
    room = livekit_room
    stranger, ann = _token_of_a_stranger(room), room.token("ann")
    with pytest.raises(ringroom.RoomError, match="livekit: ") as refused:
        ringroom.transport("livekit", url=room.url, token=stranger)
    assert refused.value.reason == "unauthorized"
    with pytest.raises(ringroom.RoomError) as nobody:
        ringroom.transport("livekit", url="ws://127.0.0.1:9", token=ann, connect_timeout=3)
    assert nobody.value.reason in ("unreachable", "timeout")
    for error, token in ((refused.value, stranger), (nobody.value, ann)):
        _, *secrets = token.split(".")
        assert not [one for one in secrets if one in str(error)]


def _token_of_a_stranger(room: LiveKitRoom) -> str:
    from livekit import api

    return (
        api.AccessToken("devkey", "another-secret-of-at-least-thirty-two-characters")
        .with_identity("ann")
        .with_grants(api.VideoGrants(room_join=True, room=room.name))
        .to_jwt()
    )


def test_a_server_that_stops_in_mid_call_ends_the_call_with_its_reason(own: LiveKitServer) -> None:
    room = own.room("stops")
    options = {"url": room.url, "token": room.token("ann"), "workers": 2}
    never = ringroom.Reconnect(retries=0)
    with ringroom.Pool(lambda frame: None, "livekit", reconnect=never, **options) as pool:
        threading.Timer(1.0, own.stop).start()
        with pytest.raises(ringroom.RoomError, match="lost") as lost:
            pool.wait(timeout=110)
    assert lost.value.reason == "disconnected"


@pytest.mark.timeout(240)
def test_a_join_that_was_given_up_harms_no_other_call_of_its_process(
    own: LiveKitServer,
) -> None:
    """The SDK's native side ends the whole process 15 s after a join whose caller was cancelled."""
    with ringroom.IOProcess() as io:
        room = own.room()
        options = {"url": room.url, "token": room.token("app"), "kinds": ("event",), "io": io}
        own.pause()
        with pytest.raises(ringroom.RoomError) as late:
            ringroom.transport("livekit", connect_timeout=1, **options)
        assert late.value.reason == "timeout"
        own.resume()
        with ringroom.transport("livekit", connect_timeout=60, **options) as again:
            events = again.recv(timeout=17)
            assert next(events).kind == "connected"
            others = (event for event in events if event.kind != "connection_quality")
            with pytest.raises(TimeoutError):  # no end, and nobody of our own name put us out
                next(others)
