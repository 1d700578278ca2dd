"""Promises about counts: whatever happens, they add up."""

from __future__ import annotations

from ringroom.events import Kind
from ringroom.faces.connection import Statistics
from ringroom.frames import AudioFrame
from ringroom.testing import sources
from ringroom.testing.contract.hearing import heard_from_us, listen, say
from ringroom.testing.contract.promise import expect, pause, promise
from ringroom.testing.contract.score import RATE, Score
from ringroom.testing.contract.subject import Subject


def expect_law(stats: Statistics) -> None:
    """sent = done + dropped + lost + in flight, and nothing is under way that was not sent."""
    for lane in stats.lanes:
        counts = lane.counts
        what = f"{lane.direction} {lane.kind} {lane.track!r}"
        expect(
            counts.in_flight >= 0,
            f"{what}: {counts.sent} sent, but {counts.done} done + {counts.dropped} dropped "
            f"+ {counts.lost} lost",
        )


@promise("audio_in")
def what_is_received_adds_up(subject: Subject) -> None:
    """Frames that came in were received, dropped or are waiting; the counts tell which."""
    with subject.opened(kinds=("audio",)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        score = Score(stage.capabilities)
        say(stage, score)
        heard = listen(receiver, score, stage)
        stats = transport.stats()
        expect_law(stats)
        count = len(heard.frames)
        done = stats.received.done
        expect(done == count, f"{count} frames were received, the counts say {done}")


@promise("audio_out")
def what_is_sent_adds_up(subject: Subject) -> None:
    """Frames that were sent are played, dropped, lost or under way; at the end none is."""
    with subject.opened(kinds=()) as (transport, stage):
        score = Score(stage.capabilities)
        transport.send(score.frame, timeout=stage.patience + score.seconds)
        expect_law(transport.stats())
        transport.wait_playout(timeout=stage.patience + score.seconds)
        heard_from_us(stage, score)
        stats = transport.stats()
        expect_law(stats)
        under_way = stats.sent.in_flight
        expect(not under_way, f"all is played out, and {under_way} frames count as under way")
        expect(stats.sent.sent > 0, "sound was sent, and the counts say nothing was")


@promise("audio_in")
def what_is_dropped_is_counted(subject: Subject) -> None:
    """Frames that grew too old unread are counted as dropped, each once."""
    with subject.opened(kinds=("audio",), max_age=0.05) as (transport, stage):
        receiver = transport.recv(timeout=0.2)
        score = Score(stage.capabilities)
        say(stage, score)
        stage.until(lambda: transport.stats().received.sent, "sound coming in")
        pause(0.15)  # the stall that this is about
        taken = 0
        while taken < 5:
            try:
                next(receiver)
            except TimeoutError:
                break
            taken += 1
        counts = transport.stats().received
        expect_law(transport.stats())
        expect(counts.dropped > 0, "nobody read for longer than max_age, and nothing was dropped")
        expect(counts.done == taken, f"{taken} frames were taken, the counts say {counts.done}")


@promise("data_out")
def messages_add_up(subject: Subject) -> None:
    """Every message that was sent is done in the end, or counted as lost."""
    with subject.opened(kinds=()) as (transport, stage):
        for number in range(10):
            transport.send_data(b"%d" % number, timeout=stage.patience)
        stage.until(lambda: len(stage.driver.received("ann")) >= 10, "ten messages")
        stage.until(lambda: transport.stats().sent.in_flight == 0, "the messages being done")
        stats = transport.stats()
        expect_law(stats)
        expect(stats.sent.done == 10, f"10 messages were sent, {stats.sent.done} count as done")


@promise("audio_out")
def counts_outlive_the_close(subject: Subject) -> None:
    """After close the counts still stand, add up, and nothing is under way."""
    with subject.opened(kinds=()) as (transport, stage):
        sound = AudioFrame(sources.noise(0.3, RATE), RATE)
        transport.send(sound, timeout=stage.patience)
        before = transport.stats().sent.sent
        transport.close()
        stats = transport.stats()
        expect_law(stats)
        expect(
            stats.sent.sent == before, f"{before} frames were sent, after close {stats.sent.sent}"
        )
        under_way = stats.sent.in_flight
        expect(not under_way, f"closed, and {under_way} frames count as under way for ever")


@promise("audio_in", "audio_out")
def every_lane_tells_what_it_is(subject: Subject) -> None:
    """The statistics list each track with its direction, kind, name and participant."""
    with subject.opened(kinds=("audio",)) as (transport, stage):
        receiver = transport.recv(timeout=stage.patience)
        score = Score(stage.capabilities)
        say(stage, score)
        listen(receiver, score, stage)
        sound = AudioFrame(sources.silence(0.02, RATE), RATE, track="voice")
        transport.send(sound, timeout=stage.patience)
        lanes = {(one.direction, one.track, one.participant) for one in transport.stats().lanes}
        expect(("in", "mic", "ann") in lanes, f"Ann's track is not among the lanes: {lanes}")
        ours = [one for one in transport.stats().lanes if one.direction == "out"]
        expect(ours and ours[0].kind is Kind.AUDIO, "our track is not among the lanes")
