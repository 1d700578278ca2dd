"""Processors one after the other, without any process."""

from __future__ import annotations

from typing import Any

import pytest

from app_kit import sound
from ringroom.chaining import chain
from ringroom.events import Event, EventKind, Kind, TrackInfo
from ringroom.frames import AudioFrame, DataFrame
from ringroom.processor import Processor, as_frames

TRACK = TrackInfo(sid="TR", name="mic", kind=Kind.AUDIO, participant="alice")


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


def test_what_open_and_stop_return_in_a_chain_is_nothing_to_anybody() -> None:
    class Chatty(Processor):
        def open(self, track: TrackInfo) -> Any:
            return sound(0.02)

        def stop(self) -> Any:
            return False

    chain(Chatty, Chatty).stop()
    with pytest.raises(KeyError, match="open"):
        chain(Chatty, Defective).open(TRACK)
