"""What a send that does not wait takes: all of a frame, or nothing, and each but once."""

from __future__ import annotations

import contextlib
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outgoing_kit import LIVE, Bench, heard

from app_kit import RATE, noise, same, sound
from ringroom import messages as m
from ringroom.errors import WouldBlock
from ringroom.events import Kind
from ringroom.frames import AudioFrame, DataFrame, Samples, VideoFrame
from ringroom.resampling import TrackResampler
from ringroom.testing import sources


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [RATE, 48_000])
@pytest.mark.parametrize("seconds", [0.02, 0.1, 0.55, 1.9])
def test_of_what_is_refused_nothing_was_taken(
    bench: Bench, channels: int, rate: int, seconds: float
) -> None:
    """Neither by the lane nor by the resampler: tried again, each sample is heard once."""
    lane = bench.outgoing.lane_for(AudioFrame(noise(0.02, channels=channels), RATE))
    sent = [np.full(int(seconds * rate), level, np.int16) for level in range(1_000, 30_000, 1_000)]
    parts, refused = [], 0
    for samples in sent:
        while True:
            before = lane.sequence
            try:
                bench.outgoing.send_nowait(lane, AudioFrame(samples, rate))
                break
            except WouldBlock:
                refused += 1
                assert lane.sequence == before
                assert not lane.unsent
                if refused % 3 == 0:  # so that it is refused again and again
                    parts.append(heard(bench))
    lane.unsent.put(*lane.tail())
    bench.outgoing.write_unsent(lane)
    got = np.concatenate([*parts, heard(bench)])
    assert refused >= 3 or seconds < 0.1
    assert len(got) == pytest.approx(len(sent) * seconds * RATE, abs=1)
    expected = np.concatenate(sent)[:: rate // RATE]
    # The filter rounds off the steps from one frame to the next.
    assert np.mean(np.abs(got - expected[: len(got)].astype(int)) < 40) > 0.9


@pytest.mark.parametrize("kind", [Kind.DATA, Kind.VIDEO])
def test_a_message_or_a_picture_that_is_refused_is_tried_again_and_sent_once(
    bench: Bench, kind: Kind
) -> None:
    made = (
        [DataFrame(bytes([number]) * 60_000) for number in range(40)]
        if kind is Kind.DATA
        else [sources.picture(number, 640, 480) for number in range(40)]
    )
    lane = bench.outgoing.lane_for(made[0])
    bench.received()
    got: list[bytes] = []

    def drain() -> None:
        while (item := bench.readers[0].receive_nowait()) is not None:
            assert isinstance(item, (DataFrame, VideoFrame))
            got.append(item.payload if isinstance(item, DataFrame) else item.data.tobytes())

    refused = 0
    for frame in made:
        while True:
            before = lane.sequence
            try:
                bench.outgoing.send_nowait(lane, frame)
                break
            except WouldBlock:
                refused += 1
                assert lane.sequence == before
                assert not lane.unsent
                drain()
    drain()
    assert refused >= 2
    assert got == [
        frame.payload if isinstance(frame, DataFrame) else frame.data.tobytes() for frame in made
    ]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [RATE, 48_000])
def test_what_just_fits_is_taken_and_one_step_more_is_not_begun(
    bench: Bench, rate: int, channels: int
) -> None:
    """Records have headers: short pieces may be more header than sound."""
    form = AudioFrame(np.zeros((10, channels), np.int16), RATE)
    lane = bench.outgoing.lane_for(form)
    reference, sent, got = TrackResampler(RATE, channels), [], []
    spoken = noise(2.5, 1, channels, rate)
    bench.received()
    for taken in (0, 4, 9, 14):
        got += read(bench, taken)
        for samples in range(len(spoken), 0, -23):
            frame = AudioFrame(spoken[:samples], rate)
            before = lane.sequence
            try:
                bench.outgoing.send_nowait(lane, frame)
            except WouldBlock:
                assert lane.sequence == before
                assert not lane.unsent
            else:
                sent.append(reference.convert(frame))
    got += read(bench)
    assert close_to(got, sent)


_NOISE = noise(6.0, channels=2)

_RATES = st.sampled_from([8_000, 11_025, RATE, 44_100, 48_000])


@settings(max_examples=60, deadline=None)
@given(
    rate=_RATES,
    channels=st.integers(1, 2),
    steps=st.lists(
        st.tuples(
            _RATES,
            st.integers(1, 2),
            st.one_of(st.sampled_from([1, 3, 160, 800]), st.integers(1, 90_000)),
            st.integers(0, 12),
        ),
        min_size=20,
        max_size=40,
    ),
)
def test_what_does_not_wait_is_heard_whole_or_not_at_all(
    rate: int, channels: int, steps: list[tuple[int, int, int, int]]
) -> None:
    with contextlib.closing(Bench()) as bench:
        lane = bench.outgoing.lane_for(AudioFrame(np.zeros((10, channels), np.int16), rate))
        reference, sent, got = TrackResampler(rate, channels), [], []
        bench.received()
        for seed, (theirs, there, samples, taken) in enumerate(steps):
            frame = AudioFrame(_NOISE[seed : seed + samples, :there], theirs)
            before = lane.sequence
            try:
                bench.outgoing.send_nowait(lane, frame)
            except WouldBlock:
                assert lane.sequence == before
                assert not lane.unsent
            else:
                sent.append(reference.convert(frame))
            got += read(bench, taken)
        got += read(bench)
        assert close_to(got, sent)


def read(bench: Bench, most: int | None = None) -> list[Samples]:
    """So many pieces of the first track, or all that are there."""
    found = []
    for item in itertools.islice(iter(bench.readers[0].receive_nowait, None), most):
        assert isinstance(item, AudioFrame)
        found.append(item.samples.copy())
    return found


def close_to(got: list[Samples], sent: list[Samples]) -> bool:
    """Whether it is the same sound: soxr dithers what it rounds, so the last bit may differ."""
    none = np.empty((0, got[0].shape[1] if got else 1), np.int16)
    left, right = np.concatenate([none, *got]), np.concatenate(sent or [none])
    return len(left) == len(right) and bool(np.abs(left.astype(int) - right).max(initial=0) <= 4)


def test_what_waits_for_the_answer_to_a_flush_passes_no_resampler(bench: Bench) -> None:
    lane = bench.outgoing.lane_for(sound(0.02), LIVE)
    resampler = lane.unsent.resampler
    assert resampler is not None
    request = bench.outgoing.flush(lane)
    loud = AudioFrame(np.full(4_800, 20_000, np.int16), 48_000)
    for _ in range(3):
        with pytest.raises(WouldBlock, match="flush"):
            bench.outgoing.send_nowait(lane, loud)
    assert lane.tail() == []
    bench.tell(m.Reply(request=request, value=0.0))
    bench.outgoing.send_nowait(lane, loud)
    assert len(lane.tail()) == 1
    bench.received()


def test_more_than_a_track_holds_is_refused_and_all_that_it_holds_is_taken(bench: Bench) -> None:
    lane = bench.outgoing.lane_for(sound(0.02))
    for seconds in (2.0, 0.3, 2.0):  # wherever in the ring the last has ended
        with pytest.raises(WouldBlock, match=r"no room for 3\.00 s"):
            bench.outgoing.send_nowait(lane, sound(3.0))
        bench.outgoing.send_nowait(lane, sound(seconds, 1))
        assert same(heard(bench), noise(seconds, 1)[:, 0])


def test_what_a_wait_has_left_comes_before_what_does_not_wait(bench: Bench) -> None:
    lane = bench.outgoing.lane_for(sound(0.02))
    bench.outgoing.send_nowait(lane, sound(1.9))
    lane.unsent.put(sound(0.1, 1))  # as of a `wait_playout` that was given up
    with pytest.raises(WouldBlock):  # there is room for one of them
        bench.outgoing.send_nowait(lane, sound(0.1, 2, rate=48_000))
    assert lane.tail() == []
    assert same(heard(bench)[-1_600:], noise(0.1, 1)[:, 0])
    lane.unsent.put(sound(0.1, 1))
    bench.outgoing.send_nowait(lane, sound(0.1, 2))
    assert same(heard(bench), np.concatenate([noise(0.1, 1), noise(0.1, 2)])[:, 0])
