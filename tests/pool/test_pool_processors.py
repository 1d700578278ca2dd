"""What a pool's processor may be, and what it is told of tracks and events."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import processors_kit as kit
import ringroom
from app_kit import (
    PATIENCE,
    RATE,
    check_law,
    microphone,
    same,
    say,
    until,
)
from pool_kit import heard, running, told
from ringroom.dtmf import DtmfFrame
from ringroom.errors import (
    ConfigurationError,
)
from ringroom.events import Event, EventKind, Participant
from ringroom.frames import AudioFrame, DataFrame, DataTrackFrame, FileFrame, TextFrame
from ringroom.pool import Pool
from ringroom.testing import FakeRoom, sources

# What a processor may be.


@pytest.mark.once
def test_a_function_a_lambda_a_class_and_an_instance(fake_room: FakeRoom) -> None:
    factor = 2.0
    processors = {
        "function": (kit.quieter, 0.5),
        "lambda": (lambda frame: frame.gain(factor), 2.0),
        "instance": (
            ringroom.chain(kit.Echo(), functools.partial(AudioFrame.gain, factor=0.5)),
            0.5,
        ),
    }
    mic = microphone(fake_room)
    for name, (processor, gain) in processors.items():
        with running(fake_room, processor, identity=name):
            mic.wait_for_subscriber(name)
            spoken = say(mic, 0.1)
            recording = fake_room.wait_for_audio("alice/mic", 0.1, app=name, timeout=10)
            expected = AudioFrame(spoken, RATE).gain(gain).samples
            assert same(recording.samples, expected), name


def test_with_everything_in_processes(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)
    with running(fake_room, kit.quieter, io="process", workers=2) as pool:
        mic.wait_for_subscriber()
        spoken = say(mic, 0.2)
        expected = AudioFrame(spoken, RATE).gain(0.5).samples
        assert same(heard(fake_room, "alice/mic", 0.2), expected)
        check_law(pool)
        pool.drain()
    check_law(pool)
    stats = pool.stats()
    assert stats.received.sent == stats.received.done == 10
    assert stats.sent.sent == stats.sent.done == 10


def test_a_chain_in_order_and_its_close(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)
    chained = ringroom.chain(kit.Add("p", 10), kit.Add("q", 3))
    with running(fake_room, chained) as pool:
        mic.wait_for_subscriber()
        mic.speak(np.full(320, 5, np.int16), realtime=False)
        assert set(heard(fake_room, "alice/mic", 0.02).ravel()) == {(5 * 2 + 10) * 2 + 3}
        mic.unpublish()
        last = heard(fake_room, "alice/mic", 0.06)[320:].ravel()
        # What p says at the end passes through q; what q says does not.
        assert list(dict.fromkeys(last)) == [10 * 2 + 3, 3]
        pool.drain()
    names = told(fake_room, "order", 6)
    assert names == ["open p", "open q", "close p", "close q", "stop p", "stop q"]


def test_chains_take_what_the_first_wants() -> None:
    chained = ringroom.chain(kit.Video, kit.echo)
    assert (tuple(chained.kinds), chained.mode) == (("video",), "live")
    assert ringroom.chain(kit.echo, kit.Echo).mode == "speech"
    with pytest.raises(ConfigurationError, match="no processors"):
        ringroom.chain()
    assert not chained.wants_events
    assert ringroom.chain(kit.echo, kit.Events).wants_events


def test_pictures(fake_room: FakeRoom) -> None:
    camera = fake_room.join("alice").publish_video(width=64, height=64)
    mic = fake_room.join("bob").publish_audio()
    with running(fake_room, kit.Video):
        camera.wait_for_subscriber()
        for side in (64, 640):
            picture = sources.picture(1, side, side)
            camera.show(picture)
        footage = fake_room.wait_for_video("alice/camera", 2)
        assert same(footage.frames[1].data, 255 - picture.data)
        assert not mic.subscribers


# Tracks and their life.


def test_open_and_close_for_each_track(fake_room: FakeRoom) -> None:
    with running(fake_room, kit.Teller) as pool:
        mics = {name: microphone(fake_room, name) for name in ("alice", "bob")}
        for number, mic in enumerate(mics.values(), 2):
            mic.wait_for_subscriber()
            say(mic, number * 0.02)
        told(fake_room, "life", 2)
        mics["alice"].unpublish()
        assert "close alice/mic 2" in told(fake_room, "life", 3)
        again = fake_room.join("carol").publish_audio("mic", sample_rate=RATE)
        again.wait_for_subscriber()
        told(fake_room, "life", 4)
        pool.drain()
    life = told(fake_room, "life", 7)
    assert set(life[4:6]) == {"close bob/mic 3", "close carol/mic 0"}
    assert life[6] == "stop 0"
    assert set(life[:2]) == {"open alice/mic 0", "open bob/mic 0"}


def test_a_track_that_returns_at_once_is_heard_again(fake_room: FakeRoom) -> None:
    alice = fake_room.join("alice")
    with running(fake_room, kit.Echo):
        total = 0.0
        for _ in range(2):
            mic = alice.publish_audio("mic", sample_rate=RATE)
            mic.wait_for_subscriber()
            for seconds in (0.3, 0.04, 0.04, 0.04):
                say(mic, seconds)
                total += seconds
                if total > 0.5:  # the track that returned goes on
                    fake_room.wait_for_audio("alice/mic", total, timeout=10)
            mic.unpublish()
        until(lambda: not fake_room.application.tracks)


def test_events_reach_the_processor_and_the_application(fake_room: FakeRoom) -> None:
    seen: list[Event] = []
    with running(fake_room, kit.Events, on_event=seen.append):
        fake_room.join("alice")
        fake_room.remove("alice")
        until(lambda: any(event.kind is EventKind.PARTICIPANT_LEFT for event in seen))
        assert "participant_joined alice" in told(fake_room, "event", 3)
    with running(fake_room, kit.Echo, on_event=seen.append, kinds=("audio",), identity="other"):
        seen.clear()
        fake_room.join("bob")
        until(lambda: any(event.kind is EventKind.PARTICIPANT_JOINED for event in seen))


def test_a_callback_that_raises_is_logged(fake_room: FakeRoom, caplog: Any) -> None:
    calls: list[Event] = []

    def broken(event: Event) -> None:
        calls.append(event)
        raise KeyError("callback")

    with running(fake_room, kit.echo, on_event=broken):
        fake_room.join("alice")
        until(lambda: len(calls) >= 2)
    assert "a callback of the pool raised" in caplog.text


def test_a_callback_may_close_the_pool(fake_room: FakeRoom) -> None:
    pools: list[Pool] = []
    with running(
        fake_room, kit.echo, on_event=lambda event: pools and event.participant and pools[0].close()
    ) as pool:
        pools.append(pool)
        fake_room.join("alice")
        assert pool.wait(PATIENCE)


def test_a_worker_loads_neither_the_sdk_nor_asyncio(fake_room: FakeRoom) -> None:
    alice = fake_room.join("alice")
    with running(fake_room, kit.Imports, io="process"):
        alice.send_data(b"?")
        assert told(fake_room, "imports") == [""]


def test_the_applications_level_for_our_log_holds_in_the_children(
    fake_room: FakeRoom, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    def level() -> int:
        return logging.getLogger("ringroom.io").getEffectiveLevel()

    def wanted(participant: Participant) -> bool:
        (tmp_path / "level").write_text(str(level()))
        return True

    def tell(frame: AudioFrame) -> DataFrame:
        return DataFrame(str(level()).encode(), topic="level")

    caplog.set_level(logging.CRITICAL, "ringroom")
    options = {"io": "process", "workers": 1, "spares": 0, "standby": False}
    with running(fake_room, tell, participants=wanted, **options):
        mic = microphone(fake_room)
        mic.wait_for_subscriber()
        say(mic, 0.02)
        assert told(fake_room, "level") == [str(logging.CRITICAL)]
    assert (tmp_path / "level").read_text() == str(logging.CRITICAL)


def test_a_processor_gets_texts_and_sends_some(fake_room: FakeRoom) -> None:
    ann = fake_room.join("ann")
    with running(fake_room, kit.Clerk, text_topics=("lk.chat",)) as pool:
        fake_room.wait_for_app()
        ann.send_data(b"no text", topic="lk.chat")
        ann.send_text("grüße", topic="lk.chat", attributes={"id": "1"})
        [sent] = fake_room.wait_for_data("by", timeout=PATIENCE)
        [returned] = fake_room.wait_for_data("returned", timeout=PATIENCE)
        assert isinstance(sent, TextFrame)
        assert isinstance(returned, TextFrame)
        assert (sent.text, sent.to) == ("GRÜSSE", ("ann",))
        assert sent.attributes == {"id": "1", "worker": "1"}
        assert (returned.text, returned.attributes) == ("grüße", {"id": "1"})
        pool.send_text("from the pool", topic="pool")
        assert fake_room.wait_for_data("pool", timeout=PATIENCE)[0].payload == b"from the pool"


def test_a_processor_gets_digits_and_sends_some(fake_room: FakeRoom) -> None:
    ann = fake_room.join("ann")
    with running(fake_room, kit.Switchboard, dtmf=True) as pool:
        fake_room.wait_for_app()
        ann.send_data("7")
        ann.press("7")
        answers = fake_room.wait_for_data(count=3, timeout=PATIENCE)
        assert [type(one) for one in answers] == [DtmfFrame] * 3
        assert b"".join(one.payload for one in answers) == b"*7#"
        pool.send_dtmf("42")
        assert fake_room.wait_for_data(count=5, timeout=PATIENCE)[-1].payload == b"2"


def test_a_processor_gets_files_and_sends_some(fake_room: FakeRoom) -> None:
    ann = fake_room.join("ann")
    photo = bytes(range(256)) * 8_000
    with running(fake_room, kit.Scanner, file_topics=("photos",)) as pool:
        fake_room.wait_for_app()
        ann.send_data(b"no file", topic="photos")
        ann.send_file(photo, topic="photos", name="a.jpg", attributes={"id": "1"})
        [sent] = fake_room.wait_for_data("by", timeout=PATIENCE)
        [returned] = fake_room.wait_for_data("returned", timeout=PATIENCE)
        assert isinstance(sent, FileFrame)
        assert isinstance(returned, FileFrame)
        assert (sent.payload, sent.to) == (photo[::-1], ("ann",))
        assert (sent.name, sent.mime_type) == ("back.png", "image/png")
        assert (returned.payload, returned.name) == (photo, "a.jpg")
        assert (returned.mime_type, returned.attributes) == ("image/jpeg", {"id": "1"})
        pool.send_file(b"from the pool", topic="pool")
        assert fake_room.wait_for_data("pool", timeout=PATIENCE)[0].payload == b"from the pool"


def test_all_data_tracks_of_somebody_go_to_one_worker(fake_room: FakeRoom) -> None:
    people = [fake_room.join(f"p{number}") for number in range(4)]
    sensors = [who.publish_data_track(name) for who in people for name in ("lidar", "arm")]
    with running(fake_room, kit.Readings, workers=2, max_age=PATIENCE) as pool:
        workers: dict[str, set[bytes]] = {}
        for sensor in sensors:
            sensor.wait_for_subscriber()
            sensor.push(b"x")
            name = sensor.info.reply_name
            (reply,) = fake_room.wait_for_data_track(name, timeout=PATIENCE).frames
            pid, _, payload = reply.payload.partition(b" ")
            assert payload == b"x"
            workers.setdefault(sensor.info.participant, set()).add(pid)
        assert all(len(pids) == 1 for pids in workers.values())
        assert len(set.union(*workers.values())) == 2
        pool.send(DataTrackFrame(b"from the pool", track="state"))
        (frame,) = fake_room.wait_for_data_track("state", timeout=PATIENCE).frames
        assert frame.payload == b"from the pool"
        counts = pool.stats().received
        assert (counts.sent, counts.done) == (8, 8)
