"""Recordings: every item comes back equal, at its time, also in the MCAP readers of others."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recording_kit import MIC, a_call, content, recorded
from ringroom import AudioFrame, DataFrame, DataTrackFrame, Event, FileFrame, TextFrame, VideoFrame
from ringroom.colour import i420_size
from ringroom.dtmf import DIGITS, DtmfFrame
from ringroom.events import EventKind, Kind, Participant, RoomInfo, TrackInfo
from ringroom.frames import Item
from ringroom.recording import Reader

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
U64 = st.integers(0, (1 << 64) - 1)
STAMPS = st.tuples(U64, U64)
TRACKS = (
    st.none()
    | TEXT
    | st.builds(
        TrackInfo,
        sid=TEXT,
        name=TEXT,
        kind=st.sampled_from([Kind.AUDIO, Kind.VIDEO, Kind.DATA_TRACK]),
        participant=TEXT,
        source=TEXT,
    )
)


@st.composite
def any_audio(draw: st.DrawFn) -> AudioFrame:
    channels = draw(st.sampled_from([1, 2]))
    samples = draw(st.lists(st.integers(-32768, 32767), min_size=1, max_size=20))
    pcm = np.repeat(np.array(samples, np.int16)[:, None], channels, axis=1)
    rate = draw(st.integers(8_000, 192_000))
    return AudioFrame.received(pcm, rate, draw(TRACKS), draw(STAMPS))


@st.composite
def any_video(draw: st.DrawFn) -> VideoFrame:
    size = draw(st.tuples(st.integers(2, 9), st.integers(2, 9)))
    data = np.full(i420_size(*size), draw(st.integers(0, 255)), np.uint8)
    rotation = draw(st.sampled_from([0, 90, 180, 270]))
    origin = (rotation, draw(st.integers(-(1 << 63), (1 << 63) - 1)))
    return VideoFrame.received(data, size, origin, draw(TRACKS), draw(STAMPS))


ITEMS = st.one_of(
    any_audio(),
    any_video(),
    st.builds(
        DataTrackFrame.received,
        st.binary(min_size=1, max_size=50),
        st.none() | U64,
        TRACKS,
        STAMPS,
    ),
    st.builds(
        DataFrame,
        payload=st.binary(max_size=50),
        topic=TEXT,
        participant=TEXT,
        reliable=st.booleans(),
        to=st.lists(TEXT, max_size=3).map(tuple),
        sequence=U64,
        received_ns=U64,
    ),
    st.builds(
        DtmfFrame,
        payload=st.sampled_from(DIGITS),
        participant=TEXT,
        sequence=U64,
        received_ns=U64,
    ),
    st.builds(
        TextFrame,
        payload=TEXT.map(str.encode),
        topic=TEXT,
        participant=TEXT,
        to=st.lists(TEXT, max_size=3).map(tuple),
        sequence=U64,
        received_ns=U64,
        attributes=st.dictionaries(TEXT, TEXT, max_size=3),
    ),
    st.builds(
        FileFrame,
        payload=st.binary(max_size=50),
        topic=TEXT,
        participant=TEXT,
        sequence=U64,
        received_ns=U64,
        name=TEXT,
        mime_type=TEXT,
        attributes=st.dictionaries(TEXT, TEXT, max_size=3),
    ),
    st.builds(
        Event,
        kind=st.sampled_from(EventKind),
        participant=st.none()
        | st.builds(
            Participant,
            identity=TEXT,
            sid=TEXT,
            name=TEXT,
            metadata=TEXT,
            attributes=st.dictionaries(TEXT, TEXT, max_size=2),
        ),
        track=st.none()
        | st.builds(TrackInfo, sid=TEXT, name=TEXT, kind=st.just(Kind.AUDIO), participant=TEXT),
        reason=TEXT,
        received_ns=U64,
        room=st.none() | st.builds(RoomInfo, name=TEXT, sid=TEXT, metadata=TEXT),
        quality=TEXT,
        speakers=st.lists(TEXT, max_size=3).map(tuple),
    ),
)


@given(items=st.lists(ITEMS, max_size=8))
@settings(deadline=None, max_examples=60)
def test_any_item_comes_back_in_order(items: list[Item]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        reader = Reader(recorded(Path(folder) / "any.mcap", items))
        assert [content(item) for item in reader] == [content(item) for item in items]
        assert reader.cut == ""
        # Each iteration begins anew.
        assert len(list(reader.entries())) == len(items)


def test_times_are_on_the_wall_clock(tmp_path: Path) -> None:
    frame = AudioFrame.received(np.ones((8, 1), np.int16), 16_000, MIC, (0, time.monotonic_ns()))
    before = time.time_ns()
    (entry,) = Reader(recorded(tmp_path / "now.mcap", [frame])).entries()
    assert abs(entry.time_ns - before) < 1e9
    assert entry.item.received_ns == frame.received_ns


def test_any_mcap_reader_finds_tracks_and_times(tmp_path: Path) -> None:
    from mcap.reader import make_reader

    path = recorded(tmp_path / "call.mcap", a_call())
    with path.open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True)
        summary = reader.get_summary()
        assert summary is not None
        assert summary.statistics is not None
        assert summary.statistics.message_count == len(a_call())
        channels = {channel.topic: channel for channel in summary.channels.values()}
        assert set(channels) == {"ann/mic", "zoë/TR_2", "data", "event"}
        assert channels["ann/mic"].metadata["participant"] == "ann"
        assert channels["ann/mic"].metadata["source"] == "microphone"
        assert {channel.message_encoding for channel in channels.values()} == {"ringroom.record.v1"}
        assert len(list(reader.iter_messages(topics="ann/mic"))) == 12
