"""`ringroom record`: what comes in from a LiveKit room, into an MCAP file."""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console

import ringroom
from ringroom.cli import access
from ringroom.cli.line import Line
from ringroom.cli.running import Terminated, terminated_by_sigterm
from ringroom.cli.view import says
from ringroom.errors import ConfigurationError, RingroomError
from ringroom.events import Event
from ringroom.frames import DataFrame
from ringroom.recording.format import require_mcap

__all__ = ["record"]

_TICK_SECONDS = 0.25


def record(asked: argparse.Namespace, console: Console) -> int:
    """Record until the room ends, ``--seconds`` are over or SIGTERM (0), or Ctrl-C (130). The file
    is whole in each case. Raises `RingroomError` when something is missing in it."""
    _check_place(asked.out, overwrite=asked.overwrite)
    options = {**access.joining(asked), "kinds": asked.kinds}
    # SIGTERM may come before the room is joined, and again while it is left.
    recorder: ringroom.Recorder | None = None
    code = dropped = 0
    with terminated_by_sigterm(), ringroom.transport("livekit", **options) as transport:
        # Not before the room is joined: where there is nothing to record, no file is left.
        with ringroom.Recorder(asked.out, overwrite=asked.overwrite) as recorder:
            says(f"in room {transport.room!r} as {transport.identity!r}; Ctrl-C ends it")
            try:
                _receive(transport, recorder, asked.seconds, console)
            except KeyboardInterrupt:
                code = 130
            except Terminated:
                pass
        dropped = transport.stats().received.dropped
    if recorder is not None:
        _tell(recorder, dropped)
    return code


def _tell(recorder: ringroom.Recorder, dropped: int) -> None:
    if recorder.missed or dropped:
        why = recorder.problem or "they were too old when it was their turn"
        raise RingroomError(
            f"{recorder.path} has {recorder.recorded} frames and events; "
            f"{recorder.missed + dropped} are missing: {why}"
        )
    says(f"{recorder.path}: {recorder.recorded} frames and events")


def _check_place(out: Path, *, overwrite: bool) -> None:
    """Checks that need no room. Raises `ConfigurationError`."""
    require_mcap()
    if out.is_dir():
        raise ConfigurationError(f"{out}: is a folder, expected a file's name")
    if out.exists() and not overwrite:
        raise ConfigurationError(f"{out} is there already; --overwrite replaces it")
    if not out.parent.is_dir():
        raise ConfigurationError(f"{out}: cannot be written (no folder {out.parent})")
    if not os.access(out if out.exists() else out.parent, os.W_OK):
        raise ConfigurationError(f"{out}: cannot be written (not allowed)")


def _receive(
    transport: ringroom.Transport,
    recorder: ringroom.Recorder,
    seconds: float | None,
    console: Console,
) -> None:
    end = None if seconds is None else time.monotonic() + seconds
    progress = _Progress(recorder)
    received = recorder.tap(transport.recv(timeout=_TICK_SECONDS))
    with Line(progress.line, console) as line:
        while end is None or time.monotonic() < end:
            try:
                progress.count(next(received))
            except StopIteration:
                says(f"the room has ended: {transport.ended}")
                return
            except TimeoutError:
                pass
            line.tick()


class _Progress:
    """What is in the file so far."""

    def __init__(self, recorder: ringroom.Recorder) -> None:
        self.recorder = recorder
        self._counts: Counter[str] = Counter()
        self._tracks: set[str] = set()

    def count(self, item: Any) -> None:
        self._counts["events" if isinstance(item, Event) else "frames"] += 1
        track = None if isinstance(item, DataFrame) else item.track
        if isinstance(track, ringroom.TrackInfo):
            self._tracks.add(track.sid)

    def line(self, seconds: float) -> str:
        try:
            size = f"{self.recorder.path.stat().st_size / 1e6:.1f} MB"
        except OSError:  # the file was moved away; it is written all the same
            size = "moved away"
        return (
            f"{seconds:6.1f} s  tracks {len(self._tracks)}  frames {self._counts['frames']}  "
            f"events {self._counts['events']}  {size}"
        )
