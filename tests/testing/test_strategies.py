"""What the strategies make is right, varied, and shrinks to something simple."""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

from ringroom.events import Event
from ringroom.frames import DataFrame, VideoFrame
from ringroom.lanes import records
from ringroom.lanes.ring import Geometry, RingReader, RingWriter
from ringroom.testing import histories as h
from ringroom.testing import strategies

QUICK = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def round_trip(item: Any) -> Any:
    head, body = records.encode(item, (3, 5))
    return records.decode(bytes(head) + bytes(body), None)


@QUICK
@given(strategies.frames())
def test_frames_travel(frame: Any) -> None:
    back = round_trip(frame)
    assert type(back) is type(frame)
    assert bytes(back.data) == bytes(frame.data)


@QUICK
@given(strategies.events())
def test_events_travel(event: Event) -> None:
    back = round_trip(event)
    assert (back.kind, back.participant, back.track) == (event.kind, event.participant, event.track)


@QUICK
@given(strategies.formats(), st.data())
def test_sound_of_a_format(form: strategies.Format, data: st.DataObject) -> None:
    frame = data.draw(strategies.audio_frames(form))
    assert (frame.sample_rate, frame.channels) == (form.sample_rate, form.channels)
    assert frame.samples.shape[0] >= 1
    assert frame.samples.shape[1] == form.channels


@pytest.mark.once
def test_they_shrink_to_the_simplest() -> None:
    def simplest(strategy: st.SearchStrategy[Any]) -> Any:
        return find(strategy, lambda _: True, settings=settings(max_examples=5, database=None))

    sound = simplest(strategies.audio_frames())
    assert (len(sound.samples), sound.sample_rate, sound.channels) == (1, 16_000, 1)
    picture = simplest(strategies.video_frames())
    assert (picture.width, picture.height, picture.rotation) == (2, 2, 0)
    assert simplest(strategies.data_frames()) == DataFrame(b"", reliable=False)
    assert simplest(strategies.room_histories(max_steps=2)) == []
    assert simplest(strategies.fault_schedules()) == []
    assert isinstance(simplest(strategies.frames()), DataFrame)
    assert find(strategies.frames(), lambda frame: isinstance(frame, VideoFrame)).width == 2


@QUICK
@given(strategies.ring_geometries())
def test_every_record_of_a_geometry_fits(geometry: strategies.RingGeometry) -> None:
    memory = memoryview(bytearray(geometry.capacity))
    writer, reader = RingWriter(memory), RingReader(memory)
    for number, size in enumerate(geometry.records):
        assert size <= Geometry(geometry.capacity).max_payload
        view = writer.reserve(size)
        if view is None and writer.turn(size):
            view = writer.reserve(size)
        assert view is not None
        view[:] = bytes([number]) * size
        writer.commit(size)
        reader.announce(writer.announce())
        slot = reader.take()
        assert slot is not None
        assert bytes(slot.payload) == bytes([number]) * size
        slot.released = True
        writer.credit(reader.collect())


@pytest.mark.once
@QUICK
@given(strategies.room_histories())
def test_histories_are_possible(history: list[h.Step]) -> None:
    with h.Script() as script:
        for step in history:
            script.play(step)
    compile(str(script), "<script>", "exec")


@pytest.mark.once
@QUICK
@given(strategies.fault_schedules())
def test_no_fault_of_a_schedule_lasts(schedule: list[h.Step]) -> None:
    with h.Script() as script:
        for step in [*schedule, h.Join("alice"), h.SendData("alice", "after"), h.Wait(0.3)]:
            script.play(step)
        script.play(h.Read({"data": ["after"]}))


@pytest.mark.parametrize("module", ["ringroom.testing", "ringroom.pytest_plugin"])
def test_hypothesis_is_loaded_by_who_asks(module: str) -> None:
    code = f"import sys, {module}; assert 'hypothesis' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_hypothesis_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    monkeypatch.delitem(sys.modules, strategies.__name__)
    with pytest.raises(ModuleNotFoundError, match=r"strategies needs hypothesis: .* `testing`"):
        importlib.import_module(strategies.__name__)
