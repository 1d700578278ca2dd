"""What a processor may do without being asked."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from worker_kit import Bench, sound

from ringroom import messages as m
from ringroom.errors import ConfigurationError, FrameError
from ringroom.options import PublishOptions
from ringroom.processes.worker.context import WorkerContext


def test_a_context_takes_names_of_tracks(bench: Bench) -> None:
    context = WorkerContext(bench.worker)
    for call in (context.flush, context.played):
        for name in (5, b"x", ["a"], "a\0b"):
            with pytest.raises(FrameError, match="the track name"):
                call(name)  # type: ignore[arg-type]
    for nothing in (None, 5, "x"):
        with pytest.raises(FrameError, match="cannot send a"):
            context.send(nothing)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="mode is 'fast'"):
        context.send(sound(1), mode="fast")  # type: ignore[arg-type]


def test_a_context_sends_with_options_for_the_track(bench: Bench) -> None:
    context = WorkerContext(bench.worker)
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
