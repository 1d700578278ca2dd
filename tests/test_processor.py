"""What the user writes, without any process."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from app_kit import sound
from ringroom.chaining import chain
from ringroom.errors import ConfigurationError
from ringroom.events import Event, EventKind, Kind, TrackInfo
from ringroom.frames import AudioFrame, DataFrame
from ringroom.processor import Processor, as_frames, as_processor, of_track
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
