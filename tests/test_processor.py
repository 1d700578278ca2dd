"""What the user writes, without any process."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ringroom
from app_kit import sound
from ringroom.errors import ConfigurationError
from ringroom.events import Event, EventKind, Kind, TrackInfo
from ringroom.frames import AudioFrame, DataFrame
from ringroom.processor import Processor, as_frames, as_processor, chain, of_track
from ringroom.testing import sources

TRACK = TrackInfo(sid="TR", name="mic", kind=Kind.AUDIO, participant="alice")


def test_what_is_a_processor() -> None:
    assert isinstance(as_processor(Processor), Processor)
    mine = Processor()
    assert as_processor(mine) is mine
    made = as_processor(lambda frame: frame)
    assert (made.mode, tuple(made.kinds), made.wants_events) == ("live", ("audio",), False)
    for wrong in (3, None, int, "echo"):
        with pytest.raises(ConfigurationError):
            as_processor(wrong)  # type: ignore[arg-type]


class Misspelt(Processor):
    def proces(self, frame: Any) -> Any:
        return frame


def test_a_processor_that_would_do_nothing_is_refused() -> None:
    for wrong in (Misspelt, Misspelt()):
        with pytest.raises(ConfigurationError, match=r"Misspelt would do nothing: .* process, "):
            as_processor(wrong)
    for call in ("start", "open", "process", "event", "close", "stop"):
        as_processor(type("Listens", (Processor,), {call: lambda *_: None}))
    given = Misspelt()
    given.process = given.proces  # type: ignore[method-assign]
    assert as_processor(given) is given


def test_a_processor_that_overrides_nothing() -> None:
    bare = Processor()
    assert bare.process(sound(0.02)) is None
    assert bare.event(Event(kind=EventKind.CONNECTED)) is None
    assert bare.close(TRACK) is None
    bare.open(TRACK)
    bare.stop()
    assert not bare.wants_events


def test_replies_one_by_one() -> None:
    frame, message = sound(0.02), DataFrame(b"x")
    assert list(as_frames(None)) == []
    assert list(as_frames(frame)) == [frame]
    assert list(as_frames((frame, message))) == [frame, message]
    assert list(as_frames(one for one in [message])) == [message]
    for wrong in (3, b"x", "x", {"a": frame}, memoryview(b"x"), np.zeros(3), np.zeros(())):
        name = type(wrong).__name__
        with pytest.raises(TypeError, match=f"a processor returned {name}; expected a frame"):
            list(as_frames(wrong))  # type: ignore[arg-type]
    for wrong in ([frame, None], [[frame]]):
        with pytest.raises(TypeError, match="among its frames"):
            list(as_frames(wrong))  # type: ignore[list-item]


def test_what_a_generator_of_replies_raises_is_its_own() -> None:
    def failing() -> Any:
        yield sound(0.02)
        len(5)  # type: ignore[arg-type]

    made = as_frames(failing())
    assert isinstance(next(made), AudioFrame)
    with pytest.raises(TypeError, match="has no len"):
        next(made)


def test_a_reply_without_a_track_answers_and_stays_the_processors() -> None:
    for frame in (sound(0.02), sources.picture(0, 64, 64)):
        reply: Any = of_track(frame, TRACK)
        assert reply.track is TRACK
        assert frame.track is None
        assert type(reply) is type(frame)
        assert of_track(reply, "other") is reply
        assert of_track(frame, None) is frame
    message = DataFrame(b"x")
    assert of_track(message, TRACK) is message


class Split(Processor):
    """Each frame twice, and a note."""

    def process(self, frame: Any) -> Any:
        return [frame, frame, DataFrame(b"note")] if isinstance(frame, AudioFrame) else frame

    def close(self, track: TrackInfo) -> Any:
        return sound(0.02)


class Tracks(Processor):
    def start(self, context: Any) -> None:
        self.seen: list[Any] = []

    def process(self, frame: Any) -> Any:
        self.seen.append(getattr(frame, "track", None))
        return frame

    def event(self, event: Event) -> Any:
        return sound(0.02, track="own")


def test_a_chain_passes_on_and_remembers_the_track() -> None:
    second = Tracks()
    chained = chain(Split, second)
    chained.start(None)  # type: ignore[arg-type]
    chained.open(TRACK)
    frame = sound(0.02, track=TRACK)
    replies = list(as_frames(chained.process(frame)))
    assert [type(reply).__name__ for reply in replies] == ["AudioFrame", "AudioFrame", "DataFrame"]
    last = list(as_frames(chained.close(TRACK)))
    assert [reply.track for reply in last] == [TRACK]  # type: ignore[union-attr]
    assert second.seen == [TRACK, TRACK, None, TRACK]
    assert chained.wants_events
    assert len(list(as_frames(chained.event(Event(kind=EventKind.CONNECTED))))) == 1
    chained.stop()


class Defective(Processor):
    """Raises wherever it may."""

    def open(self, track: TrackInfo) -> None:
        raise KeyError("open")

    def event(self, event: Event) -> None:
        raise KeyError("event")

    def close(self, track: TrackInfo) -> None:
        raise KeyError("close")

    def stop(self) -> None:
        raise KeyError("stop")


class Keeps(Processor):
    """Holds something for each track."""

    def __init__(self) -> None:
        self.open_tracks: set[str] = set()
        self.told: list[str] = []

    def open(self, track: TrackInfo) -> None:
        self.open_tracks.add(track.sid)

    def event(self, event: Event) -> None:
        self.told.append("event")

    def close(self, track: TrackInfo) -> None:
        self.open_tracks.remove(track.sid)

    def stop(self) -> None:
        self.told.append("stop")


def test_who_raises_in_a_chain_keeps_nothing_from_the_others() -> None:
    keeps = Keeps()
    chained = chain(Defective, keeps, Defective)
    with pytest.raises(KeyError, match="open") as raised:
        chained.open(TRACK)
    assert raised.value.__notes__ == ["another of the chain raised too: KeyError: 'open'"]
    assert keeps.open_tracks == {TRACK.sid}
    with pytest.raises(KeyError, match="close"):
        chained.close(TRACK)
    assert not keeps.open_tracks
    with pytest.raises(KeyError, match="event"):
        chained.event(Event(kind=EventKind.CONNECTED))
    with pytest.raises(KeyError, match="stop"):
        chained.stop()
    assert keeps.told == ["event", "stop"]


def test_who_raises_in_a_chain_takes_no_replies_of_the_others_along() -> None:
    class Late(Processor):
        def process(self, frame: Any) -> Any:
            return frame

        def close(self, track: TrackInfo) -> Any:
            return sound(0.02)

    outer = chain(chain(Defective, Late), Late)
    outer.start(None)  # type: ignore[arg-type]
    replies = as_frames(outer.close(TRACK))
    assert [frame.track for frame in (next(replies), next(replies))] == [TRACK, TRACK]  # type: ignore[union-attr]
    with pytest.raises(KeyError, match="close"):
        next(replies)


def test_a_chain_is_pickled_with_what_it_says() -> None:
    import dill

    class Video(Processor):
        kinds = ("video",)
        mode = "live"

        def process(self, frame: Any) -> Any:
            return frame

    chained = dill.loads(dill.dumps(chain(Video, lambda frame: frame), recurse=True))
    assert (chained.kinds, chained.mode) == (("video",), "live")


def test_the_public_names_are_there() -> None:
    for name in ringroom.__all__:
        assert getattr(ringroom, name) is not None
    assert dir(ringroom) == sorted(ringroom.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        ringroom.nothing  # noqa: B018


def test_a_processor_says_what_it_wants_where_it_is_made() -> None:
    class Either(Processor):
        def __init__(self, *, sees: bool) -> None:
            self.kinds = ("video",) if sees else ("audio",)
            self.mode = "live"

        def process(self, frame: Any) -> Any:
            return frame

    made = as_processor(Either(sees=True))
    assert (made.kinds, made.mode) == (("video",), "live")
    chained = chain(made, Either(sees=False))
    assert (chained.kinds, chained.mode) == (("video",), "live")
    assert (Processor.kinds, Processor.mode) == (("audio",), "speech")


def test_what_open_and_stop_return_in_a_chain_is_nothing_to_anybody() -> None:
    class Chatty(Processor):
        def open(self, track: TrackInfo) -> Any:
            return sound(0.02)

        def stop(self) -> Any:
            return False

    chain(Chatty, Chatty).stop()
    with pytest.raises(KeyError, match="open"):
        chain(Chatty, Defective).open(TRACK)
