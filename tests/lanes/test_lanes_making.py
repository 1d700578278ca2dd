"""Lanes that cannot be made, and ends that are forgotten: they leave nothing."""

from __future__ import annotations

import errno
import gc
import mmap
import os
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from lane_kit import duplicate, plain_row

from ringroom.checks import MAX_SIDE
from ringroom.colour import i420_size
from ringroom.errors import StartupError, WireError
from ringroom.lanes import records
from ringroom.lanes.lane import COPY_BELOW, LaneDescriptors, grown, ring_for
from ringroom.lanes.live import LiveWriter
from ringroom.lanes.reliable import ReliableReader, ReliableWriter
from ringroom.lanes.ring import ALIGN, Geometry, slot_size


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("count", [0, 1, 2, 4, 6])
def test_a_wrong_number_of_descriptors_is_refused(count: int) -> None:
    with pytest.raises(WireError, match="three or five"):
        LaneDescriptors.from_flat(tuple(range(count)))


def test_descriptors_go_flat_and_back(portable: bool) -> None:
    with closing(ReliableWriter(Geometry(4_096), plain_row(), portable=portable)) as writer:
        descriptors = writer.descriptors()
        assert len(descriptors.flat()) == (5 if portable else 3)
        assert LaneDescriptors.from_flat(descriptors.flat()) == descriptors
        assert not any(os.get_inheritable(fd) for fd in descriptors.flat())


@pytest.mark.parametrize("frame_bytes", [1, 639, 640, 76_800, 1_382_400])
@pytest.mark.parametrize("frames", [1, 4, 100])
def test_a_ring_for_frames_takes_such_a_frame(frame_bytes: int, frames: int) -> None:
    ring = ring_for(frame_bytes, frames)
    assert ring.capacity % mmap.PAGESIZE == 0
    nbytes = frame_bytes + records.MAX_MEDIA_HEADER_BYTES
    assert ring.max_payload >= nbytes
    assert (ring.bank_bytes - ALIGN) // slot_size(nbytes) * ring.banks >= frames


@pytest.mark.parametrize(
    ("frame_bytes", "frames", "banks"),
    [(640, 100, 4), (640, 5, 4), (COPY_BELOW, 2, 4), (460_800, 5, 5), (460_800, 100, 8)],
)
def test_a_bank_for_each_picture_and_few_for_sound(
    frame_bytes: int, frames: int, banks: int
) -> None:
    assert ring_for(frame_bytes, frames).banks == banks


def test_a_ring_that_was_too_small_grows_twofold() -> None:
    assert [grown(9, 0), grown(9, 9), grown(3, 9), grown(10, 9), grown(40, 9)] == [9, 9, 9, 18, 40]
    largest = i420_size(MAX_SIDE, MAX_SIDE)
    assert grown(largest - 1, largest - 2) == largest


def refuse_mappings(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> mmap.mmap:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("ringroom.lanes.memory.mmap.mmap", full)


def refuse_second_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    left = [1]
    for name in ("eventfd", "pipe"):
        real: Callable[..., Any] = getattr(os, name)

        def limited(*args: Any, real: Callable[..., Any] = real) -> Any:
            if not left:
                raise OSError(errno.EMFILE, "Too many open files")
            left.pop()
            return real(*args)

        monkeypatch.setattr(os, name, limited)


@pytest.mark.parametrize("fault", [refuse_mappings, refuse_second_counter])
def test_a_writer_that_cannot_be_made_leaves_nothing(
    fault: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch, portable: bool
) -> None:
    before = open_descriptors()
    fault(monkeypatch)
    with pytest.raises(StartupError, match="ulimit"):
        LiveWriter(Geometry(8_192), plain_row(), portable=portable)
    gc.collect()
    assert open_descriptors() == before


def test_a_writer_of_a_bad_capacity_leaves_nothing(portable: bool) -> None:
    before = open_descriptors()
    for capacity in (0, 50, 100):
        with pytest.raises((ValueError, StartupError)):
            LiveWriter(Geometry(capacity), plain_row(), portable=portable)
    gc.collect()
    assert open_descriptors() == before


def test_a_reader_that_cannot_be_made_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, portable: bool
) -> None:
    """It has taken the descriptors over, so it closes them."""
    with closing(ReliableWriter(Geometry(8_192), plain_row(), portable=portable)) as writer:
        before = open_descriptors()
        with monkeypatch.context() as patch:
            refuse_mappings(patch)
            with pytest.raises(StartupError, match="ulimit"):
                ReliableReader(duplicate(writer.descriptors()), plain_row())
        empty = os.memfd_create("empty")
        rest = duplicate(writer.descriptors())
        os.close(rest.segment)
        with pytest.raises(WireError, match="no bytes"):
            ReliableReader(LaneDescriptors(empty, rest.published, rest.freed), plain_row())
        gc.collect()
        assert open_descriptors() == before


def test_an_end_that_is_forgotten_warns_and_closes() -> None:
    before = open_descriptors()
    writer = ReliableWriter(Geometry(8_192), plain_row(), portable=False)
    with pytest.warns(ResourceWarning, match="never closed") as seen:
        del writer
    assert len(seen) == 3
    assert open_descriptors() == before
