"""The pool: real workers over a room in memory."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import processors_kit as kit
import ringroom
from app_kit import (
    NEVER_AGAIN,
    PATIENCE,
    RATE,
    Call,
    check_law,
    microphone,
    noise,
    same,
    say,
    sound,
    until,
)
from ringroom.errors import (
    BusyError,
    ClosedError,
    ConfigurationError,
    LostProcessError,
    RoomError,
    StartupError,
)
from ringroom.frames import AudioFrame, Event, EventKind
from ringroom.pool import Pool, PoolOptions
from ringroom.processes import supervisor
from ringroom.processor import Problem
from ringroom.testing import FakeRoom, leaks, sources


@contextlib.contextmanager
def running(room: FakeRoom, processor: Any, **options: Any) -> Iterator[Pool]:
    options = {
        "io": "thread",
        "max_age": 20.0,
        "workers": 1,
        "spares": 0,
        "standby": False,
        **options,
    }
    with Pool(processor, "fake", room=room, **options) as pool:
        yield pool


def told(room: FakeRoom, topic: str, count: int = 1) -> list[str]:
    return [message.payload.decode() for message in room.wait_for_data(topic, count, timeout=10)]


def heard(room: FakeRoom, track: str, seconds: float) -> Any:
    return room.wait_for_audio(track, seconds, timeout=10).samples


# Options.


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"workers": 0}, "workers is 0, expected 1 to 256"),
        ({"workers": 300}, "workers is 300"),
        ({"workers": True}, "whole number"),
        ({"workers": "2"}, "whole number"),
        ({"spares": -1}, "spares is -1, expected 0 to 256"),
        ({"restarts": 1.5}, r"restarts is 1\.5, expected a whole number"),
        ({"restart_window": "1"}, "restart_window is '1', expected a number from 0 to 86400"),
        ({"restart_window": float("nan")}, "restart_window is nan, expected 0 to 86400"),
        ({"stuck_after": 0.01}, r"stuck_after is 0\.01, expected 0\.05 to 86400"),
        ({"stuck_after": True}, "stuck_after is True, expected a number"),
        ({"restart_stuck": 1, "stuck_after": 1}, "restart_stuck is 1, expected True or False"),
        ({"standby": 0}, "standby is 0, expected True or False"),
        ({"restart_stuck": True}, "goes with stuck_after"),
        ({"route": "random"}, "route is 'random'"),
        ({"mode": "fast"}, "mode is 'fast'"),
        ({"start_timeout": -1}, "start_timeout"),
        ({"drain_timeout": "1"}, "drain_timeout"),
        ({"on_event": 3}, "on_event is 3, expected a function of an Event"),
        ({"on_error": 3}, "on_error is 3, expected a function of a Problem"),
        ({"wrokers": 1}, "unknown option wrokers"),
        ({"kinds": "audio"}, "expected a tuple"),
        ({"kinds": "audio", "on_event": print}, "expected a tuple"),
        ({"kinds": 3, "on_event": print}, "expected a tuple"),
        ({"io": "fork"}, "io is 'fork'"),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, Any], says: str) -> None:
    with (
        leaks.nothing_left_behind(grace=0.0),
        pytest.raises(ConfigurationError, match=says),
    ):
        Pool(kit.echo, "fake", room="nowhere", **options)


@pytest.mark.parametrize("processor", [3, None, "echo", int])
def test_what_is_no_processor(processor: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"expected a function|derive from it"):
        Pool(processor, "fake", room="nowhere")


def test_what_cannot_travel_is_refused_before_anything_starts() -> None:
    numbers = (number for number in range(3))
    with leaks.nothing_left_behind(grace=0.0):
        with pytest.raises(ConfigurationError, match="the processor cannot be sent"):
            Pool(lambda frame: next(numbers) or frame, "fake", room="nowhere")
        with pytest.raises(ConfigurationError, match="participants= cannot be sent"):
            Pool(kit.echo, "fake", room="nowhere", participants=lambda who: next(numbers))


def test_a_pool_that_does_not_run() -> None:
    pool = Pool(kit.echo, "fake", room="nowhere")
    for call in (pool.wait, pool.played, lambda: pool.send(sound(0.02)), lambda: pool.room):
        with pytest.raises(ClosedError, match=r"does not run|not connected"):
            call()
    assert pool.ended is None
    pool.close()
    pool.close()
    with pytest.raises(ClosedError, match="a pool runs once"):
        pool.__enter__()
    assert PoolOptions().workers == 2


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


# Replies.


def test_replies_by_participant_and_track(fake_room: FakeRoom) -> None:
    people = [fake_room.join(who) for who in ("alice", "bob")]
    mics = [who.publish_audio(name, sample_rate=RATE) for who in people for name in ("a", "b")]
    with running(fake_room, kit.Echo, workers=2):
        for seed, mic in enumerate(mics):
            mic.wait_for_subscriber()
            say(mic, 0.1, seed)
        for seed, mic in enumerate(mics):
            assert same(heard(fake_room, mic.info.reply_name, 0.1), noise(0.1, seed))


def test_a_kept_frame_answers_each_track(fake_room: FakeRoom) -> None:
    mics = [microphone(fake_room, who) for who in ("alice", "bob")]
    with running(fake_room, kit.Named):
        for mic in mics:
            mic.wait_for_subscriber()
            say(mic, 0.02)
        for mic in mics:
            assert set(heard(fake_room, mic.info.reply_name, 0.02).ravel()) == {2_000}
        heard(fake_room, "extra", 0.04)


def test_commands(fake_room: FakeRoom) -> None:
    problems: list[Problem] = []
    alice = fake_room.join("alice")
    with running(fake_room, kit.Words, workers=2, on_error=problems.append) as pool:
        alice.send_data(b"several one two three")
        assert told(fake_room, "several", 3) == ["one", "two", "three"]
        alice.send_data(b"nothing")
        for command in ("rubbish", "rubbish_in_list"):
            alice.send_data(command.encode())
        for _ in range(3):
            alice.send_data(b"fail now")
        until(lambda: len(problems) == 5)
        assert [(p.where, p.count) for p in problems] == [
            ("process", 1),
            ("process", 1),
            ("process", 1),
            ("process", 2),
            ("process", 3),
        ]
        assert "a processor returned int" in problems[0].summary
        assert "a processor returned bytes among its frames" in problems[1].summary
        assert problems[2].summary == "ValueError: now"
        assert "raise ValueError(text)" in problems[2].traceback
        assert problems[3].traceback == ""
        until(lambda: pool.stats().received.done == 7)
        assert pool.stats().received.problems == 5
        check_law(pool)


def test_problems_are_counted_and_logged_once(fake_room: FakeRoom, caplog: Any) -> None:
    problems: list[Problem] = []
    mic = microphone(fake_room)
    with (
        caplog.at_level(logging.ERROR, "ringroom"),
        running(fake_room, kit.Odd, on_error=problems.append) as pool,
    ):
        mic.wait_for_subscriber()
        say(mic, 0.4)
        heard(fake_room, "alice/mic", 0.2)
        mic.unpublish()
        until(lambda: {"open", "close", "event", "process"} == {p.where for p in problems})
        assert sum(p.where == "process" for p in problems) == 10
        pool.drain()
    stats = pool.stats()
    assert (stats.received.problems, stats.received.done) == (10, 20)
    assert caplog.text.count("process failed (said once") == 1
    check_law(pool)


def test_a_flush_cuts_an_answer_whose_question_has_ended(fake_room: FakeRoom) -> None:
    alice = fake_room.join("alice")
    with running(fake_room, kit.AnswersAtLength, kinds=("audio", "data")):
        mic = alice.publish_audio("mic", sample_rate=RATE)
        say(mic)
        heard(fake_room, "alice/mic", 0.2)
        mic.unpublish()
        told(fake_room, "told")
        alice.send_data(b"stop")
        seconds = float(told(fake_room, "flushed")[0])
        assert seconds > 0.1
        answer = fake_room.heard("alice/mic").duration
        assert seconds + answer == pytest.approx(2.5, abs=0.05)


def test_context_sends_flushes_and_tells_what_was_played(fake_room: FakeRoom) -> None:
    alice = fake_room.join("alice")
    with running(fake_room, kit.Words):
        alice.send_data(b"say 8.0")
        fake_room.wait_for_audio("voice", 0.2, timeout=10)
        alice.send_data(b"played voice")
        assert 0.05 < float(told(fake_room, "played")[0]) < 8
        alice.send_data(b"flush voice")
        flushed = float(told(fake_room, "flushed")[0])
        assert flushed + fake_room.heard("voice").duration == pytest.approx(8.0, abs=0.05)
        alice.send_data(b"say 0.1")
        total = 8.0 - flushed + 0.1
        fake_room.wait_for_audio("voice", total - 0.03, timeout=10)
        for number in range(2, 12):
            alice.send_data(b"say 1.0")
            alice.send_data(b"flush_elsewhere")
            assert len(told(fake_room, "flushed", number)) == number
        alice.send_data(b"live 60.0")
        alice.send_data(b"worker")
        told(fake_room, "worker")


def test_a_full_reply_track_holds_up_only_its_own(fake_room: FakeRoom) -> None:
    alice, bob = microphone(fake_room, "alice"), microphone(fake_room, "bob")
    with running(fake_room, kit.Longer, max_age=2.0) as pool:
        for mic in (alice, bob):
            mic.wait_for_subscriber()
        say(alice, 0.04)  # is answered with five seconds of sound
        fake_room.wait_for_audio("alice/mic", 0.1, timeout=10)
        alice.tone(seconds=1.0)
        bob.tone(seconds=1.0, wait=True)
        fake_room.wait_for_audio("bob/mic", 0.9, timeout=10)
        assert not fake_room.heard("bob/mic").gaps(longer_than=2.0)
        lanes = {lane.participant: lane.counts for lane in pool.stats().lanes if lane.participant}
        assert lanes["bob"].dropped <= 3
        assert lanes["alice"].done < 10
        check_law(pool)
    check_law(pool)


@pytest.mark.once
def test_the_reply_track_ends_after_all_is_said(fake_room: FakeRoom) -> None:
    alice = microphone(fake_room, "alice")
    with running(fake_room, kit.LongGoodbye):
        alice.wait_for_subscriber()
        say(alice, 0.02)
        alice.unpublish()
        fake_room.wait_for_audio("alice/mic", 2.6, timeout=10)
        until(lambda: not fake_room.application.tracks)


# Routing.


def test_routes_are_sticky_and_spread(fake_room: FakeRoom) -> None:
    with running(fake_room, kit.Teller, workers=2):
        people = {who: fake_room.join(who) for who in ("alice", "bob")}
        for person in people.values():
            for name in ("one", "two"):
                person.publish_audio(name, sample_rate=RATE).wait_for_subscriber()
        places = dict(line.split()[1:] for line in told(fake_room, "life", 4))
        assert places["alice/one"] == places["alice/two"]
        assert places["bob/one"] == places["bob/two"] != places["alice/one"]
    with running(fake_room, kit.Teller, workers=2, route="track", identity="two"):
        messages = until(
            lambda: (m := fake_room.applications["two"].messages) and len(m) >= 4 and m
        )
        places = dict(message.payload.decode().split()[1:] for message in messages[:4])
        assert places["alice/one"] != places["alice/two"]


def test_messages_go_where_the_tracks_go(fake_room: FakeRoom) -> None:
    people = [fake_room.join(f"p{number}") for number in range(2)]
    with running(fake_room, kit.Words, workers=2):
        for person in people * 2:
            person.send_data(b"worker")
        answers = told(fake_room, "worker", 4)
        assert len(set(answers)) == 2


# The application's own side.


def test_the_application_sends_beside_the_workers(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)
    with running(fake_room, kit.Echo) as pool:
        assert (pool.room, pool.identity) == (fake_room.name, "app")
        mic.wait_for_subscriber()
        say(mic, 0.02)
        heard(fake_room, "alice/mic", 0.02)
        pool.send(sound(0.2, 3), timeout=PATIENCE)
        pool.send_data("hi", topic="own")
        assert same(heard(fake_room, "audio", 0.2), noise(0.2, 3))
        assert told(fake_room, "own") == ["hi"]
        with pytest.raises(BusyError, match="sent by somebody else"):
            pool.send(sound(0.02, track="alice/mic"), timeout=PATIENCE)
        pool.send(sound(1.0))
        assert pool.flush() > 0.5
        pool.wait_playout(timeout=PATIENCE)
    with pytest.raises(ClosedError, match="fake: transport is closed"):
        pool.send(sound(0.02))


def test_drain_plays_what_was_answered(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)
    with running(fake_room, kit.Goodbye) as pool:
        mic.wait_for_subscriber()
        say(mic, 0.02)
        until(lambda: pool.stats().received.done)
        pool.drain()
        assert fake_room.heard("alice/mic").duration == pytest.approx(0.5)
    assert [m.payload for m in fake_room.application.messages] == [b"bye", b"stopped"]
    assert pool.stats().sent.lost == 0
    check_law(pool)


def test_close_does_not_wait_for_what_waits(fake_room: FakeRoom) -> None:
    alice = fake_room.join("alice")
    with running(fake_room, kit.Words) as pool:
        alice.send_data(b"say 30")
        fake_room.wait_for_audio("voice", 0.1, timeout=10)
        started = time.monotonic()
        pool.close()
        assert time.monotonic() - started < 20
        assert pool.wait() == "closed"
    check_law(pool)
    assert pool.stats().sent.in_flight == 0


@pytest.mark.once
def test_a_worker_that_is_behind_stops_in_good_order(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)
    with running(fake_room, kit.Slow, drain_timeout=0.5) as pool:
        mic.wait_for_subscriber()
        say(mic, 2.0)  # takes thirty seconds
        until(lambda: pool.stats().received.done > 2)
        started = time.monotonic()
        pool.drain()
        assert time.monotonic() - started < 15
    assert told(fake_room, "bye") == ["stopped"]
    check_law(pool)
    assert pool.stats().received.in_flight == 0


def test_drain_finishes_what_waits_but_no_more(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)
    with running(fake_room, kit.Once, drain_timeout=10.0) as pool:
        mic.wait_for_subscriber()
        say(mic, 1.0)
        told(fake_room, "told")
        mic.tone(seconds=30)
        started = time.monotonic()
        pool.drain()
        assert time.monotonic() - started < 20
    assert 50 <= int(told(fake_room, "bye")[0]) < 1_000


def test_close_from_many_threads(fake_room: FakeRoom) -> None:
    with running(fake_room, kit.echo) as pool:
        for call in [Call(pool.close) for _ in range(4)] + [Call(pool.drain)]:
            call.result()
        assert pool.wait(PATIENCE) == "closed"
    fake_room.wait_for_app_gone()


def test_the_rooms_end_ends_wait(fake_room: FakeRoom) -> None:
    with running(fake_room, kit.echo) as pool:
        with pytest.raises(TimeoutError):
            pool.wait(0.01)
        waiting = Call(pool.wait)
        fake_room.close_room("over and out")
        assert waiting.result() == "over and out"


def test_run_returns_at_the_rooms_end(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)
    call = Call(
        ringroom.run, kit.quieter, "fake", room=fake_room, io="thread", workers=1, max_age=20.0
    )
    mic.wait_for_subscriber(timeout=10)
    say(mic, 0.1)
    heard(fake_room, "alice/mic", 0.1)
    fake_room.close_room()
    stats = call.result()
    assert stats.received.done == 5
    assert stats.sent.done == 5


# Death.


@pytest.mark.once
def test_a_start_that_raises(fake_room: FakeRoom) -> None:
    with (
        pytest.raises(StartupError, match=r"(?s)worker 0 did not start:.*no model here") as failed,
        running(fake_room, kit.Failing),
    ):
        pass
    assert 'raise OSError("no model here")' in str(failed.value)
    assert not fake_room.applications
    with (
        pytest.raises(StartupError, match="send from open"),
        running(fake_room, kit.SendsTooEarly),
    ):
        pass


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "STOP_GRACE", 0.2)


@pytest.mark.usefixtures("impatient")
def test_a_start_that_takes_too_long(fake_room: FakeRoom) -> None:
    started = time.monotonic()
    with (
        pytest.raises(StartupError, match=r"start_timeout=0\.3"),
        running(fake_room, kit.Slowly, start_timeout=0.3),
    ):
        pass
    assert time.monotonic() - started < 20


def test_a_refused_connection_leaves_nothing(fake_room: FakeRoom) -> None:
    fake_room.refuse_connects()
    with pytest.raises(RoomError, match="refuses"), running(fake_room, kit.echo, io="process"):
        pass


@pytest.mark.parametrize(("name", "says"), [("SIGKILL", "signal 9"), ("SIGTERM", "signal 15")])
def test_a_killed_worker_is_named(fake_room: FakeRoom, name: str, says: str) -> None:
    alice = fake_room.join("alice")
    with running(fake_room, kit.Suicide, workers=2, restarts=0) as pool:
        waiting = Call(pool.wait)
        alice.send_data(name.encode())
        with pytest.raises(LostProcessError, match=rf"worker 0 was killed by {says}"):
            waiting.result()
    check_law(pool)


def test_a_killed_io_process_ends_the_pool(fake_room: FakeRoom) -> None:
    with (
        ringroom.IOProcess() as shared,
        running(fake_room, kit.echo, io=shared, restarts=0) as pool,
    ):
        assert shared.pid is not None
        os.kill(shared.pid, signal.SIGKILL)
        with pytest.raises(LostProcessError, match="I/O process died"):
            pool.wait(PATIENCE)
    check_law(pool)


def test_a_connection_lost_for_good_ends_the_pool(fake_room: FakeRoom) -> None:
    with running(fake_room, kit.echo, reconnect=NEVER_AGAIN) as pool:
        fake_room.break_connection()
        with pytest.raises(RoomError, match="hung up"):
            pool.wait(PATIENCE)


@pytest.mark.usefixtures("impatient")
def test_a_hanging_worker_is_ended(fake_room: FakeRoom) -> None:
    alice = fake_room.join("alice")
    with running(fake_room, kit.Words, drain_timeout=0.1) as pool:
        alice.send_data(b"hang 60")
        told(fake_room, "told")
        started = time.monotonic()
        pool.close()
        assert time.monotonic() - started < 30


def test_a_worker_loads_neither_the_sdk_nor_asyncio(fake_room: FakeRoom) -> None:
    alice = fake_room.join("alice")
    with running(fake_room, kit.Imports, io="process"):
        alice.send_data(b"?")
        assert told(fake_room, "imports") == [""]


def test_a_forgotten_pool_says_so(fake_room: FakeRoom) -> None:
    pool: Any = Pool(kit.echo, "fake", room=fake_room, io="thread", workers=1)
    pool.options.__class__  # noqa: B018
    del pool  # never started: nothing to say
    chosen = Pool(kit.Echo(), "fake", room=fake_room, mode="live")
    assert chosen.options.mode == "live"


def test_a_mode_leaves_the_processor_as_it_is() -> None:
    mine = kit.Echo()
    Pool(mine, "fake", room="nowhere", mode="live")
    assert mine.mode == "speech"
