"""Workers that die, and what goes on without them: real processes, real signals."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import processors_kit as kit
from app_kit import RATE, Call, check_law, microphone, same, say, until
from ringroom.errors import LostProcessError, StartupError
from ringroom.events import Event, EventKind
from ringroom.pool import Pool
from ringroom.processor import Problem
from ringroom.providers.fake.playout import AudioPlayout
from ringroom.testing import FakeRoom, faults

LONG = 30.0


@contextlib.contextmanager
def running(room: FakeRoom, processor: Any, **options: Any) -> Iterator[Pool]:
    options = {"io": "thread", "max_age": 60.0, "workers": 1, "spares": 0, **options}
    with Pool(processor, "fake", room=room, **options) as pool:
        yield pool


def told(room: FakeRoom, topic: str, count: int = 1) -> list[str]:
    return [message.payload.decode() for message in room.wait_for_data(topic, count, timeout=LONG)]


def speak_numbers(mic: Any, numbers: range) -> None:
    """Frames of 20 ms, each of one value."""
    values = np.repeat(np.array(numbers, np.int16), RATE // 50)
    mic.speak(values, realtime=False)


def numbers_heard(room: FakeRoom, track: str, count: int) -> list[int]:
    """The values of whole frames, in the order in which they were heard."""
    recording = room.wait_for_audio(track, count * 0.02, timeout=LONG)
    return [int(value) for value in recording.samples[:: RATE // 50, 0]]


def seen(events: list[Event], kind: EventKind) -> list[str]:
    return [event.reason for event in events if event.kind is kind]


def kill_when_trapped(room: FakeRoom, pool: Pool, times: int = 1) -> None:
    (*_, last) = told(room, "told", times)
    assert last == f"trapped {pool.pids[0]}"
    faults.killed(pool.pids[0])


@pytest.mark.parametrize("spares", [0, 1])
def test_what_was_not_taken_is_delivered_and_nothing_comes_twice(
    fake_room: FakeRoom, spares: int
) -> None:
    mic = microphone(fake_room)
    events: list[Event] = []
    with running(fake_room, kit.Trap, spares=spares, on_event=events.append) as pool:
        until(lambda: pool.spares == spares, timeout=LONG)
        mic.wait_for_subscriber()
        speak_numbers(mic, range(1, 40))
        kill_when_trapped(fake_room, pool)
        expected = [number for number in range(1, 40) if number != 5]
        assert numbers_heard(fake_room, "alice/mic", len(expected)) == expected
        until(lambda: seen(events, EventKind.WORKER_REPLACED), timeout=LONG)
        # The track goes on under its name, and so does the life of the new worker.
        speak_numbers(mic, range(40, 50))
        expected += range(40, 50)
        assert numbers_heard(fake_room, "alice/mic", len(expected)) == expected
        until(lambda: pool.stats().received.in_flight == 0)
        received = pool.stats().received
        assert (received.sent, received.done, received.lost) == (49, 48, 1)
        check_law(pool)
        pool.drain()
    check_law(pool)
    assert pool.stats().sent.lost == 0
    assert re.match(r"worker 0 was killed by signal 9 \(SIGKILL", events[-2].reason)
    assert [e.kind for e in events[-2:]] == [EventKind.WORKER_LOST, EventKind.WORKER_REPLACED]


def test_a_second_death_in_the_same_lane(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)
    with running(fake_room, kit.Trap, spares=1) as pool:
        mic.wait_for_subscriber()
        speak_numbers(mic, range(1, 20))
        speak_numbers(mic, range(1, 10))
        kill_when_trapped(fake_room, pool)
        kill_when_trapped(fake_room, pool, 2)
        expected = [n for n in (*range(1, 20), *range(1, 10)) if n != 5]
        assert numbers_heard(fake_room, "alice/mic", len(expected)) == expected
        until(lambda: pool.stats().received.in_flight == 0)
        assert pool.stats().received.lost == 2
        check_law(pool)


def test_others_notice_nothing(fake_room: FakeRoom) -> None:
    alice, bob = microphone(fake_room, "alice"), microphone(fake_room, "bob")
    with running(fake_room, kit.Trap, workers=2) as pool:
        for mic in (alice, bob):
            mic.wait_for_subscriber()
        pids = pool.pids
        speak_numbers(alice, range(1, 10))
        spoken = [say(bob, 0.2, seed) for seed in range(3)]
        told(fake_room, "told")
        place = next(p for p in (0, 1) if pool._staff.progress(p).within)
        faults.killed(pool.pids[place])
        spoken += [say(bob, 0.2, seed) for seed in range(3, 6)]
        assert numbers_heard(fake_room, "alice/mic", 8) == [1, 2, 3, 4, 6, 7, 8, 9]
        heard = fake_room.wait_for_audio("bob/mic", 1.2, timeout=LONG)
        assert same(heard.samples, np.concatenate(spoken))
        assert pool.pids[1 - place] == pids[1 - place]
        lanes = {lane.participant: lane.counts for lane in pool.stats().lanes if lane.participant}
        assert (lanes["bob"].lost, lanes["bob"].dropped) == (0, 0)


def test_what_is_too_old_is_dropped_by_the_next(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)
    with running(fake_room, kit.Trap, max_age=0.1) as pool:
        mic.wait_for_subscriber()
        spoken = 0
        while not pool._staff.progress(0).within:  # on a busy machine the first may be too old
            speak_numbers(mic, range(5, 6))
            spoken += 1
            until(lambda count=spoken: pool.stats().received.sent == count)
            until(lambda: not pool._staff.progress(0).waiting or pool._staff.progress(0).within)
        speak_numbers(mic, range(6, 15))
        before = until(lambda: (r := pool.stats().received) and r.in_flight >= 10 and r)
        began = time.monotonic()
        until(lambda: time.monotonic() > began + 0.1)
        kill_when_trapped(fake_room, pool)
        until(lambda: pool.stats().received.in_flight == 0, timeout=LONG)
        received = pool.stats().received
        assert received.dropped_stale - before.dropped_stale == before.in_flight - 1
        assert (received.sent, received.lost, received.done) == (before.sent, 1, 0)
        check_law(pool)


def test_messages_go_on_with_the_next_that_was_not_taken(fake_room: FakeRoom) -> None:
    alice = fake_room.join("alice")
    with running(fake_room, kit.Words) as pool:
        alice.send_data(b"worker")
        alice.send_data(b"hang 600")
        for _ in range(3):
            alice.send_data(b"worker")
        assert told(fake_room, "told") == ["hanging"]
        before = pool.pids[0]
        faults.killed(before)
        answers = told(fake_room, "worker", 4)
        assert answers == [f"0 {before}", *[f"0 {pool.pids[0]}"] * 3]
        until(lambda: pool.stats().received.in_flight == 0)
        assert pool.stats().received.lost == 1
        check_law(pool)


def test_what_a_dead_worker_has_sent_is_still_said_and_sent(fake_room: FakeRoom) -> None:
    alice = fake_room.join("alice")
    with running(fake_room, kit.Deaths) as pool:
        alice.send_data(b"say 0.8")
        alice.send_data(b"several a b c")
        alice.send_data(b"leave 3")
        alice.send_data(b"several d e")
        alice.send_data(b"say 0.2")
        assert told(fake_room, "several", 5) == ["a", "b", "c", "d", "e"]
        fake_room.wait_for_audio("voice", 1.0, timeout=LONG)
        until(lambda: pool.stats().sent.in_flight == 0)
        assert pool.stats().sent.lost == 0
        check_law(pool)


def test_a_flush_reaches_what_a_dead_worker_has_sent(
    fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    stands, wait = threading.Event(), AudioPlayout._wait_for_space

    async def standing(playout: AudioPlayout, seconds: float) -> None:
        if not stands.is_set() or playout._ends < 0:  # the first piece
            await wait(playout, seconds)
            return
        playout._waiter = asyncio.get_running_loop().create_future()
        await playout._waiter  # until it is flushed
        playout._waiter = None

    monkeypatch.setattr(AudioPlayout, "_wait_for_space", standing)
    alice = fake_room.join("alice")
    stands.set()
    with running(fake_room, kit.Deaths) as pool:
        # The ring takes a second.
        alice.send_data(b"say 0.8")
        fake_room.wait_for_audio("voice", 0.1, timeout=LONG)
        with faults.frozen(kit_pid := _worker_pid(fake_room, alice)):
            faults.killed(kit_pid)
        alice.send_data(b"say 0.1")
        alice.send_data(b"flush voice")
        assert [float(seconds) for seconds in told(fake_room, "flushed")] == [pytest.approx(0.8)]
        stands.clear()
        alice.send_data(b"say 0.3")
        fake_room.wait_for_audio("voice", 0.4, timeout=LONG)
        until(lambda: pool.stats().sent.in_flight == 0)
        assert fake_room.heard("voice").duration == pytest.approx(0.4)


def _worker_pid(room: FakeRoom, alice: Any) -> int:
    alice.send_data(b"worker")
    return int(told(room, "worker")[-1].split()[1])


def test_a_track_that_ends_meanwhile_is_closed_with_its_reply(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)
    with running(fake_room, kit.Trap) as pool:
        mic.wait_for_subscriber()
        speak_numbers(mic, range(1, 8))
        told(fake_room, "told")
        mic.unpublish()
        kill_when_trapped(fake_room, pool)
        assert numbers_heard(fake_room, "alice/mic", 6) == [1, 2, 3, 4, 6, 7]
        until(lambda: not fake_room.application.tracks, timeout=LONG)


@pytest.mark.once
def test_an_inherited_track_of_another_form_is_published_anew(fake_room: FakeRoom) -> None:
    alice = fake_room.join("alice")
    with running(fake_room, kit.Deaths):
        alice.send_data(b"say 0.2")
        alice.send_data(b"leave 3")
        alice.send_data(b"live 0.2")
        fake_room.wait_for_audio("live", 0.2, timeout=LONG)
        alice.send_data(b"stereo 0.2")
        until(lambda: fake_room.heard("voice").channels == 2, timeout=LONG)


@pytest.mark.once
@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("signal SIGKILL", r"was killed by signal 9 \(SIGKILL"),
        ("signal SIGABRT", r"was killed by signal 6 \(SIGABRT\)"),
        ("leave 3", "exited with code 3"),
        ("exit 4", "exited with code 4"),
        ("crash", r"was killed by signal 11 \(SIGSEGV\)"),
        ("bare", "closed its link and did not end"),
        ("shout GET / HTTP/1.0", "was killed, for what it sent is no message of ours"),
    ],
)
def test_every_death_is_told_and_survived(fake_room: FakeRoom, command: str, says: str) -> None:
    alice = fake_room.join("alice")
    events: list[Event] = []
    with running(fake_room, kit.Deaths, on_event=events.append) as pool:
        alice.send_data(command.encode())
        alice.send_data(b"worker")
        assert told(fake_room, "worker") == [f"0 {pool.pids[0]}"]
        (reason,) = seen(events, EventKind.WORKER_LOST)
        assert re.match(f"worker 0 {says}", reason)
        until(lambda: seen(events, EventKind.WORKER_REPLACED))
        assert pool.stats().received.lost == 1
        check_law(pool)


@pytest.mark.once
def test_dying_again_and_again_ends_the_pool_with_all_that_is_known(
    fake_room: FakeRoom, capfd: Any
) -> None:
    alice = fake_room.join("alice")
    with running(fake_room, kit.Deaths, restarts=2, spares=1) as pool:
        alice.send_data(b"leave 3")
        alice.send_data(b"leave 3")
        alice.send_data(b"crash now")
        with pytest.raises(LostProcessError) as lost:
            pool.wait(LONG)
    text = str(lost.value)
    assert "worker 0 was killed by signal 11 (SIGSEGV); 3 deaths within 60 s" in text
    assert "Fatal Python error: Segmentation fault" in text
    assert re.search(r"processors_kit\.py.* in crash", text)
    assert capfd.readouterr().err.count("famous last words") == 2
    check_law(pool)
    assert pool.stats().received.in_flight == 0


def test_without_restarts_the_first_death_ends_the_pool(fake_room: FakeRoom) -> None:
    alice = fake_room.join("alice")
    with running(fake_room, kit.Deaths, restarts=0) as pool:
        waiting = Call(pool.wait)
        alice.send_data(b"leave 7")
        with pytest.raises(LostProcessError, match=r"worker 0 exited with code 7(?s:.*)famous"):
            waiting.result(LONG)


@pytest.mark.once
def test_workers_that_cannot_be_replaced_end_the_pool(fake_room: FakeRoom, tmp_path: Path) -> None:
    alice = fake_room.join("alice")
    processor = kit.SpareFails(str(tmp_path / "model"))
    with running(fake_room, processor, restarts=1) as pool:
        alice.send_data(b"die")
        with pytest.raises(StartupError, match="no second model"):
            pool.wait(LONG)


# Stuck.


@pytest.mark.once
@pytest.mark.parametrize("command", ["hang 600", "hold 1000000000000000"])
def test_who_is_stuck_is_reported_with_its_stack_and_restarted(
    fake_room: FakeRoom, command: str
) -> None:
    alice = fake_room.join("alice")
    problems: list[Problem] = []
    options = {"stuck_after": 0.3, "restart_stuck": True, "on_error": problems.append}
    with running(fake_room, kit.Deaths, **options) as pool:
        before = pool.pids[0]
        alice.send_data(command.encode())
        alice.send_data(b"worker")
        (answer,) = told(fake_room, "worker")
        assert answer != f"0 {before}"
        stuck = [problem for problem in problems if problem.where == "stuck"]
        assert stuck[0].worker == 0
        assert "on one frame for 0.3 s or longer" in stuck[0].summary
        assert re.search(rf"processors_kit\.py.* in {command.split()[0]}", stuck[0].traceback)
        assert pool.stats().received.lost >= 1
        check_law(pool)


def test_who_stands_still_is_reported_as_stopped_and_goes_on(fake_room: FakeRoom) -> None:
    alice = fake_room.join("alice")
    problems: list[Problem] = []
    with running(fake_room, kit.Words, stuck_after=0.2, on_error=problems.append) as pool:
        with faults.frozen(pool.pids[0]):
            alice.send_data(b"worker")
            until(lambda: any("SIGSTOP" in problem.summary for problem in problems))
        assert told(fake_room, "worker") == [f"0 {pool.pids[0]}"]
        assert {problem.where for problem in problems} == {"stuck"}


@pytest.mark.once
def test_nobody_is_looked_after_unless_asked(fake_room: FakeRoom) -> None:
    alice = fake_room.join("alice")
    problems: list[Problem] = []
    with running(fake_room, kit.Words, on_error=problems.append) as pool:
        alice.send_data(b"hang 0.5")
        alice.send_data(b"worker")
        told(fake_room, "worker")
        assert pool._staff._crew.patience() is None
        assert problems == []


@pytest.mark.once
@pytest.mark.parametrize(("answers", "says"), [(True, False), (True, True), (False, True)], ids=str)
def test_who_dies_closing_a_track_leaves_no_answer_published(
    fake_room: FakeRoom, answers: bool, says: bool
) -> None:
    events: list[Event] = []
    alice, bob = microphone(fake_room), microphone(fake_room, "bob")
    with running(fake_room, kit.DiesClosing(answers, says), on_event=events.append) as pool:
        for mic in (alice, bob):
            mic.wait_for_subscriber()
            say(mic, 0.1)
        told(fake_room, "told", 10)
        alice.unpublish()
        until(lambda: seen(events, EventKind.WORKER_REPLACED), timeout=LONG)
        if answers or says:
            fake_room.wait_for_track("bob/mic") if answers else None
            fake_room.wait_for_audio("alice/mic", 0.5 * says or 0.1, timeout=LONG)
        until(lambda: "alice/mic" not in fake_room.application.tracks, timeout=LONG)
        # The track that goes on is still answered under its name, and so is the one that is back.
        assert ("bob/mic" in fake_room.application.tracks) is answers
        again = fake_room.join("alice").publish_audio("mic", sample_rate=RATE)
        again.wait_for_subscriber()
        for mic in (again, bob):
            say(mic, 0.1)
        told(fake_room, "told", 20)
        if answers:
            fake_room.wait_for_track("alice/mic", timeout=LONG)
        check_law(pool)


@pytest.mark.once
def test_what_a_dead_worker_had_still_to_say_on_a_track_that_ended_does_not_keep_it(
    fake_room: FakeRoom,
) -> None:
    events: list[Event] = []
    mic = microphone(fake_room)
    with running(fake_room, kit.LongGoodbye, on_event=events.append) as pool:
        mic.wait_for_subscriber()
        say(mic, 0.1)
        until(lambda: pool.stats().received.done == 5, timeout=LONG)
        mic.unpublish()
        fake_room.wait_for_audio("alice/mic", 0.2, timeout=LONG)
        faults.killed(pool.pids[0])
        until(lambda: seen(events, EventKind.WORKER_REPLACED), timeout=LONG)
        until(lambda: "alice/mic" not in fake_room.application.tracks, timeout=LONG)
        check_law(pool)


def test_who_comes_next_is_told_what_the_room_is(fake_room: FakeRoom) -> None:
    events: list[Event] = []
    with running(fake_room, kit.RoomEvents, on_event=events.append) as pool:
        fake_room.set_metadata("first")
        assert told(fake_room, "room", 2) == ["connected ", "room_changed first"]
        faults.killed(pool.pids[0])
        until(lambda: seen(events, EventKind.WORKER_REPLACED), timeout=LONG)
        assert told(fake_room, "room", 3)[2:] == ["room_changed first"]


def test_who_comes_next_is_told_who_is_in_the_room(fake_room: FakeRoom) -> None:
    events: list[Event] = []
    with running(fake_room, kit.Events, on_event=events.append) as pool:
        alice, bob = fake_room.join("alice"), fake_room.join("bob")
        bob.leave()
        alice.set_attributes({"role": "host"})
        carl = fake_room.join("carl")
        first = until(lambda: (t := told(fake_room, "event"))[-1].endswith("carl") and t)
        assert [text for text in first if text.startswith("participant")] == [
            "participant_joined alice",
            "participant_joined bob",
            "participant_left bob",
            "participant_changed alice",
            "participant_joined carl",
        ]
        faults.killed(pool.pids[0])
        until(lambda: seen(events, EventKind.WORKER_REPLACED), timeout=LONG)
        again = told(fake_room, "event", len(first) + 2)[len(first) :]
        assert again == ["participant_joined alice", "participant_joined carl"]
        carl.leave()
        *_, last = told(fake_room, "event", len(first) + 3)
        assert last == "participant_left carl"
