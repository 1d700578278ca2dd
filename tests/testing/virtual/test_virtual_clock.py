"""Virtual time: a long call in no time, the same every time, and clear words when it is stuck."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

import ringroom
from ringroom import AudioFrame, ConfigurationError, Event, LostProcessError, Processor, TrackInfo
from ringroom.testing import FakeRoom, Stuck, VirtualClock, sleep

ALL = ("audio", "data", "event")


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    with VirtualClock() as made:
        yield made


@pytest.fixture
def room(clock: VirtualClock) -> Iterator[FakeRoom]:
    with FakeRoom(clock=clock) as made:
        yield made


def ten_minutes() -> tuple[list[str], str]:
    """What an application sees of ten minutes with joins, drops and a reconnect."""
    log = []
    with VirtualClock() as clock, FakeRoom(clock=clock) as room:
        begin = clock.now()

        def play() -> None:
            for minute in range(10):
                with_name = room.join(f"guest{minute}")
                with_name.publish_audio(sample_rate=16_000).noise(seconds=2, wait=True)
                if minute % 3 == 1:
                    with room.faults.connection_lost():
                        clock.sleep(1.5)
                with_name.send_data(f"minute {minute}".encode())
                clock.sleep(begin + 60 * (minute + 1) - clock.now() - 1)
                if minute % 2:
                    with_name.leave()
                clock.sleep(1)
            room.close_room()

        with ringroom.transport("fake", room=room, io=clock.io, kinds=ALL) as transport:
            director = clock.start_thread("director", play)
            for item in transport.recv():
                log.append(f"{clock.now() - begin:.6f} {describe(item)}")
                if isinstance(item, AudioFrame) and len(log) % 10 == 0:
                    transport.send(item.replace(track="echo"))
            log.append(repr(transport.stats().received))
            director.join()
        log.append(f"over after {clock.now() - begin:.0f} s")
        return log, clock.fingerprint


def describe(item: object) -> str:
    if isinstance(item, AudioFrame):
        assert isinstance(item.track, TrackInfo)
        return f"audio {item.track.participant} {item.sequence} {int(item.samples.sum())}"
    if isinstance(item, Event):
        return f"{item.kind} {item.participant and item.participant.identity} {item.reason}"
    return repr(item)


@pytest.mark.once
def test_ten_minutes_are_the_same_every_time() -> None:
    log, fingerprint = ten_minutes()
    assert log[-1] == "over after 600 s"
    assert sum(" audio " in line for line in log) == 10 * 100
    assert sum("connection_lost" in line for line in log) == 3
    assert (log, fingerprint) == ten_minutes()


SCRIPT = """
import ringroom
from ringroom.testing import FakeRoom, VirtualClock

def loud(frame):
    return frame.gain(2)

with VirtualClock() as clock, FakeRoom(clock=clock) as room:
    with ringroom.Pool(loud, "fake", room=room, io=clock.io, workers=3) as pool:
        for name in ("ann", "bob", "cy"):
            room.join(name).publish_audio(sample_rate=16_000).tone(seconds=0.3)
        for name in ("ann", "bob", "cy"):
            room.wait_for_audio(f"{name}/mic", seconds=0.3)
        pool.drain()
    print(clock.fingerprint)
"""


@pytest.mark.once
def test_hashes_and_addresses_do_not_enter() -> None:
    prints = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(prints) == 1


class Slow(Processor):
    """Takes its time, virtually."""

    kinds = ("audio", "data")

    def start(self, context: ringroom.Context) -> None:
        self.context = context

    def process(self, frame: ringroom.AudioFrame | ringroom.DataFrame) -> None:
        sleep(0.005)
        if isinstance(frame, ringroom.DataFrame):
            self.context.send_data(f"worker {self.context.worker}: {frame.payload.decode()}")


def test_a_pool_with_workers(clock: VirtualClock, room: FakeRoom) -> None:
    with ringroom.Pool(Slow(), "fake", room=room, io=clock.io, workers=2) as pool:
        ann, bob = room.join("ann"), room.join("bob")
        ann.publish_audio(sample_rate=16_000).tone(seconds=2)
        bob.publish_audio(sample_rate=16_000).tone(seconds=2, wait=True)
        ann.send_data(b"hello")
        bob.send_data(b"hello")
        answers = room.wait_for_data(count=2)
        assert {answer.payload for answer in answers} == {b"worker 0: hello", b"worker 1: hello"}
        with pytest.raises(TimeoutError):
            pool.wait(3600)
        room.close_room()
        assert pool.wait() == "room closed"
        counts = pool.stats().received
    assert counts.sent == counts.done == 202
    assert counts.oldest_ns == 0


def test_an_asyncio_application(clock: VirtualClock, room: FakeRoom) -> None:
    async def echo() -> float:
        async with ringroom.aio.transport("fake", room=room, io=clock.io) as transport:
            mic = room.join("ann").publish_audio(sample_rate=16_000)
            mic.tone(seconds=10)
            begin = asyncio.get_running_loop().time()
            frames = transport.recv()
            for _ in range(500):
                await transport.send((await anext(frames)).replace(track="echo"))
            await asyncio.to_thread(room.wait_for_audio, "echo", 9.5)
            return asyncio.get_running_loop().time() - begin

    assert 9.5 < clock.run(echo()) < 11


def test_who_is_stuck_is_named(clock: VirtualClock, room: FakeRoom) -> None:
    with ringroom.Pool(Slow(), "fake", room=room, io=clock.io, workers=1) as pool:
        with pytest.raises(Stuck) as stuck:
            pool.wait()
        text = str(stuck.value)
        for role in ("test", "fake room", "ringroom-io", "ringroom-worker-0", "ringroom-pool"):
            assert f"  {role}" in text
        assert "< wait (pool.py:" in text
        assert "test_who_is_stuck_is_named (test_virtual_clock.py:" in text
        assert "without a time limit" in text


def test_a_call_that_never_ends_has_a_limit() -> None:
    with VirtualClock(limit=100) as clock:

        def tick() -> None:
            while not over:
                clock.sleep(1)

        over: list[bool] = []
        ticking = clock.start_thread("clockwork", tick)
        with pytest.raises(Stuck, match=r"limit of virtual time.*\n.*\n  clockwork waits for 1"):
            ticking.join()
        over.append(True)


def test_a_dead_worker_ends_a_pool_that_replaces_none(clock: VirtualClock, room: FakeRoom) -> None:
    options = {"workers": 2, "spares": 0, "restarts": 0}
    with ringroom.Pool(Slow(), "fake", room=room, io=clock.io, **options) as pool:
        room.join("ann").publish_audio(sample_rate=16_000).tone(seconds=2)
        clock.sleep(1.002)  # in the middle of a frame
        clock.kill("ringroom-worker-0")
        with pytest.raises(LostProcessError, match="worker 0 was killed by signal 9"):
            pool.wait()
    counts = pool.stats().received
    assert (counts.in_flight, counts.lost) == (0, counts.sent - counts.done)
    assert counts.taken == counts.done + 1


def test_a_dead_io_process_is_noticed(clock: VirtualClock, room: FakeRoom) -> None:
    policy = ringroom.Reconnect(retries=0)
    with ringroom.transport("fake", room=room, io=clock.io, reconnect=policy) as transport:
        room.join("ann").publish_audio(sample_rate=16_000).tone(seconds=2)
        frames = transport.recv()
        next(frames)
        clock.kill("ringroom-io")
        with pytest.raises(LostProcessError):
            list(frames)
        room.wait_for_app_gone()


def test_a_frozen_worker_drops_what_became_stale(clock: VirtualClock, room: FakeRoom) -> None:
    with ringroom.Pool(Slow(), "fake", room=room, io=clock.io, workers=1) as pool:
        mic = room.join("ann").publish_audio(sample_rate=16_000)
        mic.tone(seconds=0.1, wait=True)
        clock.freeze("ringroom-worker-0", 1.0)
        mic.tone(seconds=2, wait=True)
        clock.sleep(0.1)
        counts = pool.stats().received
    assert counts.sent == counts.done + counts.dropped == 105
    assert 40 <= counts.dropped_stale <= 50
    with pytest.raises(LookupError, match="no role 'nobody'; there are test"):
        clock.kill("nobody")


def test_others_threads_are_told(clock: VirtualClock, room: FakeRoom) -> None:
    errors: list[BaseException] = []

    def elsewhere() -> None:
        try:
            room.join("ann")
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=elsewhere, name="stranger")
    thread.start()
    thread.join()
    assert "thread 'stranger' is no role of this VirtualClock" in str(errors[0])


def test_an_event_loop_in_real_time_is_refused(clock: VirtualClock, room: FakeRoom) -> None:
    async def main() -> None:
        async with ringroom.aio.transport("fake", room=room, io=clock.io):
            pass

    with pytest.raises(RuntimeError, match=r"use clock\.run\(main\(\)\) in place of asyncio\.run"):
        asyncio.run(main())


def test_the_clock_itself_is_no_host(clock: VirtualClock, room: FakeRoom) -> None:
    with pytest.raises(ConfigurationError, match="or an IOProcess; hand over its `io`"):
        ringroom.transport("fake", room=room, io=clock)  # type: ignore[arg-type]


def test_what_never_ends_is_named() -> None:
    clock = VirtualClock()
    told = clock.condition()

    def wait() -> None:
        with told:
            told.wait()

    clock.start_thread("sleeper", wait)
    with pytest.raises(RuntimeError, match="never ended: sleeper; close the room"):
        clock.close()
    clock.close()


def test_a_lock_makes_others_wait(clock: VirtualClock) -> None:
    lock, order = clock.lock(), []

    def hold(name: str) -> None:
        with lock, lock:
            order.append(f"{name} in")
            clock.sleep(1)
            order.append(f"{name} out")

    threads = [clock.start_thread(name, lambda name=name: hold(name)) for name in ("a", "b")]
    for thread in threads:
        thread.join()
        assert not thread.is_alive()
    assert order == ["a in", "a out", "b in", "b out"]


def test_a_condition_has_a_deadline(clock: VirtualClock) -> None:
    news = clock.condition()
    begin = clock.now()
    with news:
        assert not news.wait(2.5)
        assert not news.wait_for(lambda: False, 2.5)
    assert clock.now() - begin == pytest.approx(5)
    clock.start_thread("teller", lambda: (clock.sleep(1), news.notify_all()))
    with news:
        assert news.wait(2.5)
    assert clock.now() - begin == pytest.approx(6)


def test_outside_of_virtual_time_sleep_is_real() -> None:
    sleep(0)
    with VirtualClock() as clock:
        begin = clock.now()
        sleep(1000)
        assert clock.now() - begin == 1000
