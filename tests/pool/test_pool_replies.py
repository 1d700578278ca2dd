"""What a pool's workers answer and on which tracks, who answers whom, and what the application
sends beside them."""

from __future__ import annotations

import logging
from typing import Any

import pytest

import processors_kit as kit
from app_kit import (
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
from pool_kit import heard, running, told
from ringroom.errors import (
    BusyError,
    ClosedError,
)
from ringroom.processor import Problem
from ringroom.testing import FakeRoom

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


def test_what_answers_a_screen_share_is_one(fake_room: FakeRoom) -> None:
    ann = fake_room.join("ann")
    screen = ann.publish_video("screen", 64, 48, source="screen_share")
    with running(fake_room, kit.Video):
        screen.wait_for_subscriber()
        screen.test_picture(seconds=0.1, fps=20)
        fake_room.wait_for_video("ann/screen")
        assert fake_room.application.tracks["ann/screen"].source == "screen_share"


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
        with pytest.raises(BusyError, match=r"sent by somebody else .*workers=1, or"):
            pool.send(sound(0.02, track="alice/mic"), timeout=PATIENCE)
        sending = Call(pool.send, sound(20.0))
        fake_room.wait_for_audio("audio", 0.3, timeout=PATIENCE)
        flushed = pool.flush()
        sending.result()
        pool.wait_playout(timeout=PATIENCE)
        whole = pytest.approx(20.2, abs=0.05)
        until(lambda: flushed + fake_room.heard("audio").duration == whole)
    with pytest.raises(ClosedError, match="fake: pool is closed"):
        pool.send(sound(0.02))


class Shouting(kit.Echo):
    """Answers all on one track."""

    def process(self, frame: Any) -> Any:
        return frame.replace(track="all")


def test_a_worker_that_sends_on_the_track_of_another_is_told(fake_room: FakeRoom) -> None:
    """Also by its last frame."""
    problems: list[Any] = []
    with running(fake_room, Shouting, workers=2, on_error=problems.append):
        for name in ("ann", "bob"):
            say(microphone(fake_room, name), 0.02)
        until(lambda: problems)
    assert [one.where for one in problems] == ["reply"]
    assert problems[0].summary.startswith("BusyError: track 'all' is sent by somebody else")
