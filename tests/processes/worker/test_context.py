"""What a processor may do without being asked."""

from __future__ import annotations

import pytest
from worker_kit import Bench, sound

from ringroom.errors import ConfigurationError, FrameError
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
