"""The provider ``replay`` keeps the promises about what comes in.

Nobody can speak into a recording. So each promise is played twice: first on a `FakeRoom`, which is
recorded, then on the recording, with a driver whose people do nothing, for it has all happened.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Awaitable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import ringroom
from ringroom.recording.reader import Reader
from ringroom.testing import contract
from ringroom.testing.contract import cancelling
from ringroom.testing.contract.fake import APP, FakeDriver

CLAIMS = contract.Capabilities(
    audio_in=True,
    video_in=True,
    data_tracks_in=True,
    data_in=True,
    topics=True,
    events=True,
    unpublish=True,
    mute=True,
    several_people=True,
    several_tracks=True,
    profiles=True,
    participant_kinds=True,
    room_metadata=True,
    sources=True,
    unreliable=True,
    texts_in=True,
    dtmf_in=True,
    files_in=True,
    room_end=True,
    lossless_audio=True,
    lossless_data_tracks=True,
    exact_video=True,
    rotation=True,
    timestamps=True,
    patience=3.0,
)
LIVE_ONLY = {
    # A replay as fast as it is received has no stalls, and drops nothing.
    "no_frame_is_older_than_max_age",
    "after_a_stall_the_newest_picture_comes",
    "what_is_dropped_is_counted",
    # It keeps no silence before the first word.
    "a_timeout_does_not_end_the_loop",
    # Its people say nothing again until they are heard.
    "a_track_that_was_there_before_us_is_heard",
    # Who is there at a moment of the application's own, without the one who records.
    "who_is_there_is_listed_whatever_is_received",
    "who_comes_and_goes_is_listed_as_they_are",
    # Of the recorded one a replay tells as it comes to it.
    "the_room_is_told_as_we_join",
    # What is played as fast as it can be is over before anybody is looked at.
    "who_speaks_is_told",
    "the_loudest_speaker_is_told_first",
    # A recording of nothing is over at once.
    "the_end_of_the_room_ends_the_loop",
}
"""What these are about is not in a recording: the application's own time and its own doing."""
SUBJECT = replace(contract.fake_subject(), name="replay", capabilities=CLAIMS)
PLAYED = [
    promise
    for promise in contract.PROMISES
    if not promise.unclaimed(SUBJECT)
    and {
        "audio_in",
        "video_in",
        "data_tracks_in",
        "data_in",
        "texts_in",
        "files_in",
        "dtmf_in",
        "events",
    }
    & {*promise.needs}
    and promise.name not in LIVE_ONLY
]
ALL_KINDS = ("audio", "video", "data", "event", "data_track")


class Nobody:
    """A driver whose every call does nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def recorded(path: Path) -> contract.Subject:
    """The fake, with a second application in each room that records it."""

    @contextlib.contextmanager
    def rooms() -> Iterator[contract.Room]:
        with ringroom.testing.FakeRoom() as room:
            options = {"kinds": ALL_KINDS, "max_age": 20.0, "io": "thread", "dtmf": True}
            options["text_topics"] = contract.TEXT_TOPICS
            options["file_topics"] = contract.FILE_TOPICS
            with (
                ringroom.transport("fake", room=room, identity="recorder", **options) as transport,
                # A promise may want several rooms; the last one is replayed.
                ringroom.Recorder(path, overwrite=True) as recorder,
            ):
                received = recorder.tap(transport.recv())
                thread = threading.Thread(target=lambda: [*received])
                thread.start()
                yield contract.Room(
                    provider="fake",
                    options={"room": room, "identity": APP},
                    driver=FakeDriver(room),
                )
                room.close_room()
                thread.join(30)
                assert not thread.is_alive(), "what is replayed would lack its end"

    return contract.Subject(name="recorded", rooms=rooms, capabilities=CLAIMS)


def replayed(path: Path) -> contract.Subject:
    @contextlib.contextmanager
    def rooms() -> Iterator[contract.Room]:
        options = {"path": path, "speed": None}
        yield contract.Room(provider="replay", options=options, driver=Nobody())

    return contract.Subject(name="replay", rooms=rooms, capabilities=CLAIMS)


def test_what_is_left_out_is_a_promise() -> None:
    assert {promise.name for promise in contract.PROMISES} > LIVE_ONLY


@contract.parametrize(SUBJECT, promises=PLAYED)
def test_replay(case: contract.Case, tmp_path: Path) -> None:
    path = tmp_path / "call.mcap"
    replace(case, subject=recorded(path))()
    replace(case, subject=replayed(path))()


def test_waits_that_are_quicker_than_their_cancellation_break_no_promise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recording has its frames ready, and a step of the loop lasts as long as the machine has it:
    each of the waits that are to be cancelled may get one."""

    async def to_its_end(_: int, call: Awaitable[object], __: float) -> list[object]:
        return [await call]

    path = tmp_path / "call.mcap"
    promise = cancelling.a_cancelled_receive_loses_nothing
    contract.Case(subject=recorded(path), promise=promise)()
    monkeypatch.setattr(cancelling, "cancelled_after", to_its_end)
    contract.Case(subject=replayed(path), promise=promise)()


def test_a_recording_may_begin_when_the_first_track_is_over(tmp_path: Path) -> None:
    """Who recorded came to it too late, and then the promise is kept by what is there."""
    whole, rest = tmp_path / "call.mcap", tmp_path / "rest.mcap"
    name = "a_track_that_ends_does_not_end_the_room"
    (promise,) = (promise for promise in contract.PROMISES if promise.name == name)
    contract.Case(subject=recorded(whole), promise=promise)()
    with ringroom.Recorder(rest) as recorder:
        for item in Reader(whole):
            info = getattr(item, "track", None)
            if not isinstance(info, ringroom.TrackInfo) or info.name != "first":
                recorder.add(item)
    contract.Case(subject=replayed(rest), promise=promise)()
