"""Numbered pieces, read back after all that may happen to sound on its way."""

from __future__ import annotations

import numpy as np
import pytest

from app_kit import PATIENCE, RATE, opened
from ringroom.errors import FrameError
from ringroom.frames import AudioFrame
from ringroom.resampling import TrackResampler
from ringroom.testing import FakeRoom
from ringroom.testing.counting import account_for, numbered, numbers


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_they_are_read_back(rate: int, channels: int) -> None:
    sound = numbered(1, 500, rate, channels)
    assert sound.shape == (500 * round(rate * 0.02), channels)
    assert numbers(sound, rate) == [*range(1, 501)]
    assert numbers(AudioFrame(sound, rate)) == [*range(1, 501)]


def test_a_volume_that_is_known() -> None:
    assert numbers(AudioFrame(numbered(1, 100), RATE).gain(0.25), gain=0.25) == [*range(1, 101)]


def test_resampled() -> None:
    pieces = numbered(200, 60, 48_000)
    resampler = TrackResampler(16_000, 1)
    frames = (AudioFrame(pieces[at : at + 960], 48_000) for at in range(0, len(pieces), 960))
    sound = np.concatenate([*map(resampler.convert, frames), resampler.tail()])
    assert numbers(sound, 16_000) == [*range(200, 260)]


def test_silence_repetition_and_what_is_cut_off() -> None:
    silence = np.zeros((640, 1), np.int16)
    seven = numbered(7, 1)
    assert numbers(np.concatenate([silence, seven, silence, seven, seven])) == [7, 7, 7]
    assert numbers(np.concatenate([seven, numbered(8, 1)[:100]])) == [7]
    assert numbers(np.concatenate([seven, numbered(8, 1)[:200]])) == [7, 8]
    assert numbers(silence[:0]) == []
    assert numbers(seven[:, 0]) == [7]


@pytest.mark.parametrize(("first", "count"), [(0, 1), (1, 501), (1, -1), (501, 1)])
def test_numbers_that_there_are_not(first: int, count: int) -> None:
    with pytest.raises(FrameError, match="expected 1 to 500"):
        numbered(first, count)


@pytest.mark.parametrize(
    ("heard", "fault"),
    [
        ([1, 2, 4, 5, 6], "6 pieces were spoken and 5 heard\n  never heard: 3"),
        ([6], "never heard: 1 to 5"),
        ([1, 2, 2, 3, 4, 5, 6], "heard more than once: 2"),
        ([1, 3, 2, 4, 5, 6], "heard after a later one: 2"),
        ([1, 2, 3, 9, 4, 5, 6], "never spoken: 9"),
        ([], "never heard: 1 to 6"),
    ],
)
def test_what_does_not_add_up_is_told(heard: list[int], fault: str) -> None:
    with pytest.raises(AssertionError) as raised:
        account_for(heard, range(1, 7))
    assert fault in str(raised.value)


def test_what_adds_up() -> None:
    account_for([1, 2, 3], range(1, 4))
    account_for([3, 1], [3, 1])
    with pytest.raises(AssertionError, match="in another order: 1, 3"):
        account_for([1, 3], [3, 1])
    with pytest.raises(AssertionError, match=r"never heard: 1, 3.* and 3 more"):
        account_for([], range(1, 30, 2))


def test_a_microphone_counts_on(fake_room: FakeRoom) -> None:
    with opened(fake_room) as transport:
        microphone = fake_room.join("ann").publish_audio(channels=2)
        microphone.wait_for_subscriber()
        assert microphone.count(3, realtime=False) == range(1, 4)
        assert microphone.count(2, realtime=False) == range(4, 6)
        frames = transport.recv(timeout=PATIENCE)
        heard: list[int] = []
        while 5 not in heard:
            frame = next(frames)
            heard += numbers(frame)
            transport.send(frame.replace(track="echo"))
        echoed = fake_room.wait_until(
            lambda: 5 in (found := fake_room.heard("echo").numbers) and found, timeout=PATIENCE
        )
    account_for(heard, range(1, 6))
    account_for(echoed, range(1, 6))
