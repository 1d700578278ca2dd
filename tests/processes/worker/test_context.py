"""What a processor may do without being asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import pytest
from worker_kit import Bench, sound

from app_kit import Call, until
from ringroom import messages as m
from ringroom.errors import BusyError, ClosedError, ConfigurationError, FrameError, RoomError
from ringroom.events import Participant
from ringroom.frames import VideoFrame
from ringroom.lanes.records import participant_to_json
from ringroom.options import PublishOptions
from ringroom.processes.worker import context as context_module
from ringroom.processes.worker.context import WorkerContext
from ringroom.profile import Profile
from ringroom.testing import sources

ANN, BEN = Participant(identity="ann"), Participant(identity="ben", kind="sip")


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


def told(bench: Bench, *people: Participant, away: bool = False) -> None:
    """Answer all that the context has asked."""
    fields = {who.identity: participant_to_json(who) for who in people}
    bench.link.send(m.People(request=1_000, people=fields, last=True, away=away))


def test_a_context_tells_who_is_there(bench: Bench) -> None:
    context = WorkerContext(bench.answering)
    asking = Call(context.participants)
    until(lambda: any(isinstance(one, m.AskPeople) for one in bench.listen()))
    told(bench, BEN, ANN)
    assert asking.result() == (ANN, BEN)


@pytest.mark.parametrize(
    ("ends", "error", "says"),
    [
        (lambda bench: told(bench, away=True), RoomError, "not in the room now"),
        (lambda bench: bench.link.close(), RoomError, "not in the room now"),
        (
            lambda bench: bench.link.send(m.Ended(reason="room closed", error={})),
            ClosedError,
            "the room has ended: room closed",
        ),
    ],
    ids=["away", "the I/O process dies", "ended"],
)
def test_a_context_does_not_wait_for_the_room(
    bench: Bench, ends: Callable[[Bench], None], error: type[Exception], says: str
) -> None:
    context = WorkerContext(bench.answering)
    asking = Call(context.participants)
    asked = until(lambda: [one for one in bench.listen() if isinstance(one, m.AskPeople)])
    assert [one.waits for one in asked] == [False]
    ends(bench)
    with pytest.raises(error, match=says):
        asking.result()
    seat = bench.answering.seat
    assert seat is not None
    assert not seat.session.roll._unanswered
    assert not seat.session.roll._answers


def test_a_context_waits_for_no_answer_for_ever(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context_module, "ANSWER_SECONDS", 0.05)
    with pytest.raises(TimeoutError, match="nobody has told who is in the room"):
        WorkerContext(bench.answering).participants()


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
