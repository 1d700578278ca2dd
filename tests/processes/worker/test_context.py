"""What a processor may do without being asked."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from worker_kit import Bench, sound

from ringroom import messages as m
from ringroom.errors import BusyError, ConfigurationError, FrameError
from ringroom.frames import VideoFrame
from ringroom.options import PublishOptions
from ringroom.processes.worker.context import WorkerContext
from ringroom.profile import Profile
from ringroom.testing import sources


def test_a_context_takes_names_of_tracks(bench: Bench) -> None:
    context = WorkerContext(bench.answering)
    for call in (context.flush, context.played):
        for name in (5, b"x", ["a"], "a\0b"):
            with pytest.raises(FrameError, match="the track name"):
                call(name)  # type: ignore[arg-type]
    for nothing in (None, 5, "x"):
        with pytest.raises(FrameError, match="cannot send a"):
            context.send(nothing)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="mode is 'fast'"):
        context.send(sound(1), mode="fast")  # type: ignore[arg-type]


def test_a_context_sets_our_profile_and_waits_for_nothing(bench: Bench) -> None:
    context = WorkerContext(bench.answering)
    bench.listen()
    context.set_profile(attributes={"lk.agent.state": "thinking"})
    context.set_profile(name="Bot", metadata="m")
    one, two = (told for told in bench.listen() if isinstance(told, m.SetProfile))
    assert (one.awaited, two.awaited) == (False, False)
    assert one.profile == Profile(attributes={"lk.agent.state": "thinking"}).to_json()
    assert two.profile == Profile(name="Bot", metadata="m").to_json()
    for wrong in ({}, {"name": ""}, {"attributes": {"a": 1}}):
        with pytest.raises(ConfigurationError):
            context.set_profile(**wrong)  # type: ignore[arg-type]
    bench.link.send(m.Ended(reason="closed", error={}))
    bench.worker._pump()
    context.set_profile(name="late")
    assert not bench.listen()


def test_a_context_sends_with_options_for_the_track(bench: Bench) -> None:
    context = WorkerContext(bench.answering)
    wide = PublishOptions(mode="live", audio_bitrate=96_000)
    context.send(sound(1, track="wide"), publish=wide)
    context.send(sound(1, track="live"), mode="live")
    context.send(sound(1, track="plain"))
    told = {one.name: one for one in bench.listen() if isinstance(one, m.PlayoutOpen)}
    assert told["wide"].publish == asdict(wide)
    assert told["live"].publish == asdict(PublishOptions(mode="live"))
    assert told["plain"].publish == asdict(PublishOptions())
    with pytest.raises(ConfigurationError, match="both mode= and publish="):
        context.send(sound(1), mode="live", publish=wide)
    with pytest.raises(ConfigurationError, match="publish is str"):
        context.send(sound(1), publish="live")  # type: ignore[arg-type]


def pictures(bench: Bench, name: str) -> list[int]:
    bench.listen()
    taken = iter(bench.replies[name].receive_nowait, None)
    return [sources.picture_number(item) for item in taken if isinstance(item, VideoFrame)]


def test_a_context_fills_pictures_in_place(bench: Bench) -> None:
    context = WorkerContext(bench.answering)
    for number in range(3):
        with context.fill_video(64, 48, track="drawn") as frame:
            assert not frame.data.flags.owndata
            frame.data[:] = sources.picture(number, 64, 48).data
            with pytest.raises(BusyError, match="'drawn'"):
                context.send(VideoFrame(frame.data, 64, 48, track="drawn"))
    with pytest.raises(ZeroDivisionError), context.fill_video(64, 48, track="drawn"):
        raise ZeroDivisionError
    assert pictures(bench, "drawn") == [0, 1, 2]
    both = context.fill_video(64, 48, mode="live", publish=PublishOptions())
    with pytest.raises(ConfigurationError, match="both mode= and publish="), both:
        pass


def test_what_a_full_track_does_not_take_is_kept(bench: Bench) -> None:
    """Pictures that find no room wait, and those that follow wait behind them."""
    context = WorkerContext(bench.answering)
    sent, in_place = 0, True
    while in_place or sent < 12:
        with context.fill_video(64, 48) as frame:
            in_place = not frame.data.flags.owndata
            frame.data[:] = sources.picture(sent, 64, 48).data
        sent += 1
    got = pictures(bench, "video")
    assert len(got) < sent
    with context.fill_video(64, 48) as frame:
        assert frame.data.flags.owndata, "there is room, but others have waited for it"
        frame.data[:] = sources.picture(sent, 64, 48).data
    for _ in range(sent):
        bench.work()
        got += pictures(bench, "video")
    assert got == [*range(sent + 1)]


def test_a_picture_that_is_filled_as_the_room_ends_goes_nowhere(bench: Bench) -> None:
    context = WorkerContext(bench.answering)
    with context.fill_video(64, 48) as frame:
        frame.data[:] = 0
        bench.link.send(m.Ended(reason="room_deleted", error={}))
        bench.worker._pump()
    assert pictures(bench, "video") == []
    with context.fill_video(64, 48) as frame:
        frame.data[:] = 0
    assert pictures(bench, "video") == []
