"""Hypothesis strategies for what ringroom carries: named in the plural of what they make.

`frames`, `events`, `formats`, `ring_geometries` make values that are right, small, and shrink to
the simplest; `room_histories` and `fault_schedules` make lists of `histories.Step`, each possible
where it stands. Needs the extra ``testing``; nothing imports this module by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

try:
    from hypothesis import strategies as st
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"{__name__} needs hypothesis: install the extra `testing` of ringroom", name=error.name
    ) from error

from ringroom.colour import i420_size
from ringroom.dtmf import DIGITS, DtmfFrame
from ringroom.events import Event, EventKind, Kind, Participant, RoomInfo, TrackInfo
from ringroom.frames import (
    AudioFrame,
    DataFrame,
    DataTrackFrame,
    FileFrame,
    Frame,
    TextFrame,
    VideoFrame,
)
from ringroom.lanes.ring import ALIGN, Geometry
from ringroom.option_checks import QUALITIES, TOLD_PARTICIPANT_KINDS
from ringroom.testing.histories import (
    Delay,
    Join,
    Leave,
    Lose,
    Mute,
    Publish,
    Read,
    Return,
    SendData,
    Show,
    Speak,
    Step,
    Track,
    Undelay,
    Unmute,
    Unpublish,
    Wait,
)

__all__ = [
    "Cast",
    "Format",
    "RingGeometry",
    "audio_frames",
    "data_frames",
    "data_track_frames",
    "dtmf_frames",
    "events",
    "fault_schedules",
    "file_frames",
    "formats",
    "frames",
    "participants",
    "ring_geometries",
    "room_histories",
    "text_frames",
    "tracks",
    "video_frames",
]

PEOPLE = ("alice", "bob", "carol")
WAITS = (0.05, 0.15, 0.3)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=8)


@dataclass(frozen=True, kw_only=True)
class Format:
    """A form of sound."""

    sample_rate: int
    channels: int


def formats() -> st.SearchStrategy[Format]:
    """The rates that are met in practice, mono and stereo."""
    rates = st.sampled_from([16_000, 8_000, 24_000, 32_000, 44_100, 48_000])
    return st.builds(Format, sample_rate=rates, channels=st.sampled_from([1, 2]))


@st.composite
def audio_frames(draw: st.DrawFn, form: Format | None = None, max_samples: int = 960) -> AudioFrame:
    """Sound of that form, or of any."""
    form = form or draw(formats())
    length = draw(st.integers(1, max_samples))
    # A seed and not each sample: what matters is that no two pieces are alike.
    kind = draw(st.sampled_from(["silence", "noise", "loud"]))
    samples = np.zeros((length, form.channels), np.int16)
    if kind == "noise":
        generator = np.random.default_rng(draw(st.integers(0, 1000)))
        samples = generator.integers(-32768, 32768, samples.shape, np.int16)
    elif kind == "loud":
        samples[::2], samples[1::2] = -32768, 32767
    return AudioFrame(samples, form.sample_rate, track=draw(st.none() | _NAMES))


@st.composite
def video_frames(draw: st.DrawFn, max_side: int = 64) -> VideoFrame:
    """Pictures of even and odd sides."""
    width, height = draw(st.integers(2, max_side)), draw(st.integers(2, max_side))
    generator = np.random.default_rng(draw(st.integers(0, 1000)))
    return VideoFrame(
        generator.integers(0, 256, i420_size(width, height), np.uint8),
        width,
        height,
        rotation=draw(st.sampled_from([0, 90, 180, 270])),
        timestamp_us=draw(st.integers(0, 1 << 62)),
        track=draw(st.none() | _NAMES),
    )


def data_track_frames(max_bytes: int = 200) -> st.SearchStrategy[DataTrackFrame]:
    """Frames of data tracks, with and without a timestamp."""
    return st.builds(
        DataTrackFrame,
        st.binary(min_size=1, max_size=max_bytes),
        track=st.none() | _NAMES,
        timestamp=st.none() | st.integers(0, (1 << 64) - 1),
    )


def data_frames(max_bytes: int = 200) -> st.SearchStrategy[DataFrame]:
    """Messages, to all or to some."""
    return st.builds(
        DataFrame,
        st.binary(max_size=max_bytes),
        topic=_TEXT,
        reliable=st.booleans(),
        to=st.lists(_NAMES, max_size=2, unique=True).map(tuple),
    )


def text_frames(max_size: int = 200) -> st.SearchStrategy[TextFrame]:
    """Texts of so many characters, with and without attributes, to all or to some."""
    return st.builds(
        TextFrame,
        st.text(st.characters(exclude_categories=["Cs"]), max_size=max_size).map(str.encode),
        topic=_TEXT,
        to=st.lists(_NAMES, max_size=2, unique=True).map(tuple),
        attributes=st.dictionaries(_NAMES, _TEXT, max_size=2),
    )


def file_frames(max_bytes: int = 200) -> st.SearchStrategy[FileFrame]:
    """Files, with and without a name and attributes, to all or to some."""
    return st.builds(
        FileFrame,
        st.binary(max_size=max_bytes),
        topic=_TEXT,
        to=st.lists(_NAMES, max_size=2, unique=True).map(tuple),
        name=_TEXT,
        mime_type=_TEXT,
        attributes=st.dictionaries(_NAMES, _TEXT, max_size=2),
    )


def dtmf_frames() -> st.SearchStrategy[DtmfFrame]:
    """Digits of a telephone."""
    return st.builds(DtmfFrame, st.sampled_from(DIGITS))


def frames() -> st.SearchStrategy[Frame]:
    """Audio, video, of a data track, data, text, file or a digit."""
    messages = (data_frames(), text_frames(), file_frames(), dtmf_frames())
    return st.one_of(*messages, audio_frames(), video_frames(), data_track_frames())


def participants() -> st.SearchStrategy[Participant]:
    """People, with and without attributes."""
    return st.builds(
        Participant,
        identity=_NAMES,
        sid=_NAMES.map("PA_{}".format),
        name=_TEXT,
        metadata=_TEXT,
        attributes=st.dictionaries(_NAMES, _TEXT, max_size=2),
        kind=st.sampled_from(TOLD_PARTICIPANT_KINDS),
    )


def tracks() -> st.SearchStrategy[TrackInfo]:
    """Tracks of sound, of pictures and of data."""
    return st.builds(
        TrackInfo,
        sid=_NAMES.map("TR_{}".format),
        name=_TEXT,
        kind=st.sampled_from([Kind.AUDIO, Kind.VIDEO, Kind.DATA_TRACK]),
        participant=_NAMES,
    )


def events() -> st.SearchStrategy[Event]:
    """Anything that can happen, with and without a participant and a track."""
    return st.builds(
        Event,
        kind=st.sampled_from(EventKind),
        participant=st.none() | participants(),
        track=st.none() | tracks(),
        reason=_TEXT,
        received_ns=st.integers(0, 1 << 62),
        room=st.none() | st.builds(RoomInfo, name=_NAMES, sid=_NAMES, metadata=_TEXT),
        quality=st.sampled_from(("", *QUALITIES)),
        speakers=st.lists(_NAMES, max_size=3).map(tuple),
    )


@dataclass(frozen=True, kw_only=True)
class RingGeometry:
    """The size of a ring, and of records that fit in it."""

    capacity: int
    records: tuple[int, ...]


@st.composite
def ring_geometries(draw: st.DrawFn, max_pages: int = 4) -> RingGeometry:
    """Rings of few pages, with records from one byte to the largest that fits: they change banks
    often, share pages, and leave every size of gap at a bank's end."""
    capacity = draw(st.integers(1, max_pages)) * 4096
    largest = Geometry(capacity).max_payload
    sizes = st.one_of(st.integers(1, 3 * ALIGN), st.integers(1, largest), st.just(largest))
    return RingGeometry(
        capacity=capacity, records=tuple(draw(st.lists(sizes, min_size=1, max_size=12)))
    )


@dataclass
class Cast:
    """Who is in the room and what they publish: which steps are possible next."""

    people: list[str] = field(default_factory=list)
    tracks: list[Track] = field(default_factory=list)
    muted: set[Track] = field(default_factory=set)
    lost: bool = False
    late: bool = False
    count: int = 0

    def next_number(self) -> int:
        """A number that no track, sound, picture or message of the history has."""
        return self.count + 1

    def apply(self, step: Step) -> None:
        """The step has been taken."""
        self.count += 1
        match step:
            case Join(who=who):
                self.people.append(who)
            case Leave(who=who):
                self.people.remove(who)
                self.tracks = [track for track in self.tracks if track.owner != who]
            case Publish(track=track):
                self.tracks.append(track)
            case Unpublish(track=track):
                self.tracks.remove(track)
            case Mute(track=track):
                self.muted.add(track)
            case Unmute(track=track):
                self.muted.discard(track)
            case Lose() | Return():
                self.lost = isinstance(step, Lose)
            case Delay() | Undelay():
                self.late = isinstance(step, Delay)
            case _:
                pass

    def steps(self) -> list[st.SearchStrategy[Step]]:
        """The steps that are possible now, by kind."""
        number = self.next_number()
        found: list[st.SearchStrategy[Step]] = [
            st.just(Read()),
            st.sampled_from(WAITS).map(Wait),
            *self.faults(),
        ]
        if absent := [who for who in PEOPLE if who not in self.people]:
            found.append(st.sampled_from(absent).map(Join))
        if self.people:
            who = st.sampled_from(self.people)
            found.append(who.map(Leave))
            found.append(who.map(lambda who: SendData(who, str(number))))
            for name, is_video in (("mic", False), ("camera", True)):
                found.append(
                    st.builds(
                        Track,
                        owner=who,
                        name=st.just(f"{name}{number}"),
                        is_video=st.just(is_video),
                    ).map(Publish)
                )
        found += self._of_tracks(number)
        return found

    def _of_tracks(self, number: int) -> list[st.SearchStrategy[Step]]:
        found: list[st.SearchStrategy[Step]] = []
        if self.tracks:
            found.append(st.sampled_from(self.tracks).map(Unpublish))
        if mics := [track for track in self.tracks if not track.is_video]:
            mic = st.sampled_from(mics)
            found.append(
                st.builds(Speak, mic, st.integers(1, 3), st.just(number), st.sampled_from([1, 2]))
            )
            found.append(mic.map(lambda mic: Unmute(mic) if mic in self.muted else Mute(mic)))
        if cameras := [track for track in self.tracks if track.is_video]:
            side = st.sampled_from([32, 64])
            found.append(st.builds(Show, st.sampled_from(cameras), st.just(number), side, side))
        return found

    def faults(self) -> list[st.SearchStrategy[Step]]:
        """Faults that can begin or end now."""
        return [
            st.just(Return()) if self.lost else st.booleans().map(Lose),
            st.just(Undelay()) if self.late else st.sampled_from([0.1, 0.3]).map(Delay),
        ]


@st.composite
def room_histories(draw: st.DrawFn, max_steps: int = 20) -> list[Step]:
    """People join, publish, speak, show, mute, unpublish, send, leave; the connection is lost and
    back, media is late; the application reads, or does not for a while."""
    cast, steps = Cast(), []
    for _ in range(draw(st.integers(0, max_steps))):
        step = draw(st.one_of(cast.steps()))
        cast.apply(step)
        steps.append(step)
    return steps


@st.composite
def fault_schedules(draw: st.DrawFn, max_faults: int = 6) -> list[Step]:
    """Faults that begin and end, with time between them; at the end none lasts."""
    cast, steps = Cast(), []
    for _ in range(draw(st.integers(0, max_faults))):
        for step in (draw(st.one_of(cast.faults())), Wait(draw(st.sampled_from(WAITS)))):
            cast.apply(step)
            steps.append(step)
    endings = [Return()] * cast.lost + [Undelay()] * cast.late
    return [*steps, *endings]
