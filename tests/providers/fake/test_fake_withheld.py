"""Tracks that their publisher keeps from the application, over both ways in: as LiveKit's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fake_kit import Opener, RememberingSink, connected, run

from ringroom.events import EventKind
from ringroom.options import SessionOptions
from ringroom.testing import FakeRoom

OPTIONS = SessionOptions(connect_timeout=77)


class Timers:
    """Those that wait for the room's answer: they go off when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waiting: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self.handles: list[asyncio.TimerHandle] = []
        loop = asyncio.get_running_loop()
        later = loop.call_later

        def call_later(seconds: float, call: Any, *given: Any, **more: Any) -> asyncio.TimerHandle:
            handle = later(seconds, call, *given, **more)
            if seconds == OPTIONS.connect_timeout:
                self.waiting.append((call, given))
                self.handles.append(handle)
            return handle

        monkeypatch.setattr(loop, "call_later", call_later)

    def go_off(self) -> None:
        (call, given) = self.waiting.pop()
        self.handles.pop().cancel()
        call(*given)


def test_what_is_withheld_is_told_in_time_and_starts_once_it_is_given(
    room: FakeRoom, open_provider: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        timers = Timers(monkeypatch)
        with room.faults.tracks_withheld("alice") as fault:
            kept = room.join("alice").publish_audio("kept", sample_rate=16_000)
            free = room.join("bob").publish_audio("free", sample_rate=16_000)
            async with connected(open_provider(room, "app"), None, OPTIONS) as (_, sink):
                await sink.until(lambda: sink.tracks)
                kept.count(3, realtime=False)
                free.count(3, realtime=False)
                await sink.until(lambda: len(sink.tracks[0].frames) == 3)
                assert [one.track.name for one in sink.tracks] == ["free"]
                assert (kept.subscribers, free.subscribers) == (frozenset(), {"app"})
                assert not sink.of(EventKind.TRACK_FAILED)
                timers.go_off()
                (failed,) = sink.of(EventKind.TRACK_FAILED)
                assert failed.track == kept.info
                assert "within 77 s (its publisher does not permit it)" in failed.reason
                fault.end()
                await sink.until(lambda: len(sink.tracks) == 2)
                kept.count(2, realtime=False)
                await sink.until(lambda: len(sink.tracks[1].frames) == 2)
                assert kept.subscribers == {"app"}
                assert len(sink.of(EventKind.TRACK_PUBLISHED)) == 2, "it was there all the time"

    run(test())


async def flowing(sink: RememberingSink, mic: Any, count: int = 1) -> None:
    """The newest track flows."""
    await sink.until(lambda: len(sink.tracks) == count)
    mic.count(1, realtime=False)
    await sink.until(lambda: sink.tracks[-1].frames)


def test_a_track_that_is_withheld_in_mid_call_ends_and_starts_again(
    room: FakeRoom, open_provider: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        timers = Timers(monkeypatch)
        mic = room.join("alice").publish_audio("mic", sample_rate=16_000)
        async with connected(open_provider(room, "app"), None, OPTIONS) as (_, sink):
            await flowing(sink, mic)
            with room.faults.tracks_withheld():
                await sink.until(lambda: sink.tracks[0].closed == "unsubscribed")
                assert mic.subscribers == frozenset()
                mic.count(1, realtime=False)
                mic.mute()
            await sink.until(lambda: len(sink.tracks) == 2)
            await sink.until(lambda: sink.tracks[1].mutes == [True])
            mic.unmute()
            await flowing(sink, mic, 2)
            assert len(sink.tracks[1].frames) == 1
        assert not timers.waiting, "as with LiveKit, only what was never given is told as failed"

    run(test())


@pytest.mark.parametrize("how", ["given", "unpublished", "closed"])
def test_nobody_is_told_of_what_is_over_by_then(
    how: str, room: FakeRoom, open_provider: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        timers = Timers(monkeypatch)
        with room.faults.tracks_withheld() as fault:
            mic = room.join("alice").publish_audio("mic")
            async with connected(open_provider(room, "app"), None, OPTIONS) as (_, sink):
                await sink.until(lambda: timers.handles)
                if how == "given":
                    fault.end()
                    await sink.until(lambda: sink.tracks)
                elif how == "unpublished":
                    mic.unpublish()
                    await sink.event_of(EventKind.TRACK_UNPUBLISHED)
            (handle,) = timers.handles
            assert handle.cancelled()

    run(test())
