"""A worker's replies: full tracks hold their sources, and each track ends after its last."""

from __future__ import annotations

import select

import pytest
from io_kit import RATE
from worker_kit import Bench, frames_of, send, sound

from app_kit import Call
from ringroom import messages as m
from ringroom.checks import MAX_DATA_BYTES
from ringroom.errors import FrameError
from ringroom.frames import AudioFrame, DataFrame
from ringroom.lanes.statistics import Count
from ringroom.processes.worker.context import WorkerContext


def test_a_full_reply_track_holds_its_source_until_it_has_room_and_no_other(bench: Bench) -> None:
    bench.processor.answer = lambda frame: sound(7, 5.0) if frame.track.sid == "A" else None
    alice, bob = bench.open("A"), bench.open("B")
    send(alice, 1, 2)
    send(bob, 10, 11)
    bench.work()
    assert frames_of(bench) == [1, 10, 11]
    send(bob, 12)
    bench.work()
    assert frames_of(bench) == [1, 10, 11, 12]
    samples, turns = 0, 0
    while 2 not in frames_of(bench):
        samples += bench.take("ann/A")
        bench.work()
        turns += 1
        assert turns < 50, "the source is still held when all is sent"
    assert samples <= 5 * RATE
    assert alice.row.get(Count.DONE) == 2


def test_a_source_is_held_as_long_as_any_of_its_replies_waits(bench: Bench) -> None:
    bench.processor.answer = lambda frame: (
        [sound(1, 6.0, "x"), sound(1, 9.0, "y")] if frame.samples[0, 0] == 1 else None
    )
    source = bench.open("A")
    send(source, 1, 2)
    bench.work()
    for _ in range(10):
        bench.take("x")
        bench.work()
    assert frames_of(bench) == [1], "y is still behind"
    for _ in range(20):
        bench.take("y")
        bench.work()
    assert frames_of(bench) == [1, 2]


def test_a_full_track_does_not_keep_another_from_what_waits_there(bench: Bench) -> None:
    bench.processor.answer = lambda _: [sound(1, 6.0, "x"), sound(1, 3.0, "y")]
    send(bench.open("A"), 1)
    bench.work()
    samples = 0
    for _ in range(20):
        samples += bench.take("y")
        bench.work()
    assert samples == 3 * RATE
    assert bench.take("x") < 6 * RATE


def test_a_flush_forgets_what_waits_and_gives_the_source_free(bench: Bench) -> None:
    bench.processor.answer = lambda frame: sound(1, 5.0) if frame.samples[0, 0] == 1 else None
    send(bench.open("A"), 1, 2)
    bench.work()
    replies = bench.answering.replies
    assert replies is not None
    lane = replies.outgoing.find("ann/A")
    assert lane is not None
    waiting = replies.forget(lane)
    bench.work()
    assert frames_of(bench) == [1, 2]
    taken = sum(bench.take("ann/A") for _ in range(3))
    assert waiting == pytest.approx(5.0 - taken / RATE)
    assert replies.forget(lane) == 0.0


def test_the_loop_wakes_for_room_and_for_replies_from_another_thread(bench: Bench) -> None:
    context = WorkerContext(bench.answering)
    bench.work()
    bench.worker._wait(0)  # what the opening has left
    waiting = Call(bench.worker._wait, 60)
    context.send(sound(1, 5.0, "x"))
    waiting.result()
    bench.work()
    bench.worker._wait(0)
    poller = select.poll()
    poller.register(bench.answering.wake.fileno(), select.POLLIN)
    assert poller.poll(0) == [], "a wake-up that was seen wakes no more"
    waiting = Call(bench.worker._wait, 60)
    bench.take("x")
    waiting.result()


def ends_of(messages: list[m.Message]) -> int:
    return sum(isinstance(message, m.PlayoutClose) for message in messages)


def test_a_reply_track_ends_after_all_is_sent(bench: Bench) -> None:
    bench.processor.answer = lambda frame: sound(1, 5.0, "ann/A")
    context = WorkerContext(bench.answering)
    writer = bench.open("A", number=4)
    bench.work()
    context.send(sound(1, 5.0, "ann/A"))
    bench.link.send(m.LaneEnding(lane=4))
    bench.work()
    assert bench.processor.calls == ["open A", "close A"]
    samples = 0
    while not ends_of(bench.listen()):
        samples += bench.take("ann/A")
        assert not ends_of(bench.heard) or samples
        bench.work()
        if ends_of(bench.heard):
            break
    samples += bench.take("ann/A")
    assert samples == 5 * RATE
    assert writer.row.get(Count.SENT) == 0


def test_a_reply_track_whose_source_is_back_goes_on(bench: Bench) -> None:
    context = WorkerContext(bench.answering)
    bench.open("A", "mic", number=4)
    bench.work()
    context.send(sound(1, 5.0, "ann/mic"))
    bench.link.send(m.LaneEnding(lane=4))
    bench.work()
    bench.processor.answer = lambda frame: sound(2)
    send(bench.open("B", "mic", number=5), 1)
    bench.work()
    samples = 0
    for _ in range(20):
        samples += bench.take("ann/mic")
        bench.work()
    assert samples == 5 * RATE + 320
    assert ends_of(bench.heard) == 0


def test_a_reply_track_ends_with_the_last_track_that_it_answers(bench: Bench) -> None:
    bench.processor.answer = lambda frame: sound(1)
    for number, sid in enumerate("AB", 4):
        send(bench.open(sid, "mic", number=number), 1)
    bench.work()
    bench.link.send(m.LaneEnding(lane=4))
    bench.work()
    assert ends_of(bench.listen()) == 0
    bench.link.send(m.LaneEnding(lane=5))
    bench.work()
    assert ends_of(bench.listen()) == 1


def test_a_live_reply_that_is_cut_is_told_once_with_the_cure(bench: Bench) -> None:
    context = WorkerContext(bench.answering)
    context.send(sound(1, 30.0, "x"), mode="live")
    context.send(sound(1, 30.0, "x"), mode="live")
    problems = [one for one in bench.told() if isinstance(one, m.WorkerProblem)]
    assert [one.count for one in problems] == [1, 2]
    assert "mode='speech'" in problems[0].summary


def test_a_reply_that_cannot_be_sent_keeps_no_other_from_it(bench: Bench) -> None:
    """Of what a processor returned, and of what waits."""
    bench.processor.answer = lambda _: [wrong(), sound(1, 5.0, "x"), wrong(), sound(1, 5.0, "x")]
    send(bench.open("A"), 1)
    bench.work()
    samples = 0
    for _ in range(60):
        samples += bench.take("x")
        bench.work()
    assert samples == 10 * RATE
    told = [one for one in bench.told() if isinstance(one, m.WorkerProblem)]
    assert [one.count for one in told] == [1, 2]
    assert all("samples" in one.summary for one in told)


def wrong() -> AudioFrame:
    frame = sound(1, 0.02, "x")
    frame.samples = "none"  # type: ignore[assignment]
    return frame


def test_a_message_that_never_fits_keeps_none_behind_it_from_being_sent(bench: Bench) -> None:
    ring = MAX_DATA_BYTES // 1_000
    everyone = tuple(f"{number:0900}" for number in range(300))
    bench.processor.answer = lambda _: [
        *(DataFrame(bytes(60_000)) for _ in range(ring)),
        DataFrame(b"to too many", to=everyone),
        DataFrame(b"last"),
    ]
    send(bench.open("A"), 1)
    bench.work()
    payloads: list[bytes] = []
    for _ in range(60):
        bench.listen()
        while (frame := bench.replies[""].receive_nowait()) is not None:
            assert isinstance(frame, DataFrame)
            payloads.append(frame.payload)
            bench.replies[""].row.add(Count.DONE)
        bench.work()
    assert len(payloads) == ring + 1
    assert payloads[-1] == b"last"
    (told,) = [one for one in bench.told() if isinstance(one, m.WorkerProblem)]
    assert "send it in parts" in told.summary


def test_a_reply_that_is_refused_does_not_stay_before_the_next(bench: Bench) -> None:
    everyone = tuple(f"{number:0900}" for number in range(300))
    context = WorkerContext(bench.answering)
    with pytest.raises(FrameError, match="send it in parts"):
        context.send(DataFrame(b"to too many", to=everyone))
    for payload in (b"one", b"two"):
        context.send(DataFrame(payload))
    bench.listen()
    arrived = list(iter(bench.replies[""].receive_nowait, None))
    assert [item.payload for item in arrived if isinstance(item, DataFrame)] == [b"one", b"two"]


@pytest.mark.parametrize("spoiled", ["none", None])
def test_a_reply_that_is_spoiled_as_it_waits_does_not_stay_before_the_next(
    bench: Bench, spoiled: object
) -> None:
    context = WorkerContext(bench.answering)
    late = sound(1, 1.0, "x")
    context.send(sound(1, 5.0, "x"))
    context.send(late)
    late.samples = spoiled  # type: ignore[assignment]
    while bench.take("x"):
        bench.work()
    (told,) = [one for one in bench.told() if isinstance(one, m.WorkerProblem)]
    assert "samples" in told.summary or "NoneType" in told.summary or "str" in told.summary
    context.send(sound(1, 0.5, "x"))
    assert bench.take("x") == RATE // 2
