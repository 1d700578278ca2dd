"""`ringroom record`: what comes in from a LiveKit room, into an MCAP file."""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

import ringroom
from ringroom.cli import access
from ringroom.cli.running import Terminated, terminated_by_sigterm
from ringroom.cli.view import says
from ringroom.errors import ConfigurationError, RingroomError
from ringroom.events import Event
from ringroom.frames import DataFrame
from ringroom.recording.format import require_mcap

__all__ = ["record"]

_TICK_SECONDS = 0.25
_PLAIN_SECONDS = 2.0


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
                _receive(transport, _Progress(recorder, console), asked.seconds)
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


def _receive(transport: ringroom.Transport, progress: _Progress, seconds: float | None) -> None:
    end = None if seconds is None else time.monotonic() + seconds
    received = progress.recorder.tap(transport.recv(timeout=_TICK_SECONDS))
    with progress.live:
        while end is None or time.monotonic() < end:
            try:
                progress.count(next(received))
            except StopIteration:
                says(f"the room has ended: {transport.ended}")
                return
            except TimeoutError:
                pass
            progress.tick()


class _Progress:
    """One line, drawn in place on a terminal, and now and then elsewhere."""

    def __init__(self, recorder: ringroom.Recorder, console: Console) -> None:
        self.recorder = recorder
        self.live = Live(console=console, auto_refresh=False, transient=True)
        self._in_place = console.is_terminal
        self._began = self._told = time.monotonic()
        self._counts: Counter[str] = Counter()
        self._tracks: set[str] = set()

    def count(self, item: Any) -> None:
        self._counts["events" if isinstance(item, Event) else "frames"] += 1
        track = None if isinstance(item, DataFrame) else item.track
        if isinstance(track, ringroom.TrackInfo):
            self._tracks.add(track.sid)

    def tick(self) -> None:
        now = time.monotonic()
        if now - self._told < (_TICK_SECONDS if self._in_place else _PLAIN_SECONDS):
            return
        self._told = now
        if self._in_place:
            self.live.update(Text(self._line(now)), refresh=True)
        else:
            says(self._line(now))

    def _line(self, now: float) -> str:
        try:
            size = f"{self.recorder.path.stat().st_size / 1e6:.1f} MB"
        except OSError:  # the file was moved away; it is written all the same
            size = "moved away"
        return (
            f"{now - self._began:6.1f} s  tracks {len(self._tracks)}  frames "
            f"{self._counts['frames']}  events {self._counts['events']}  {size}"
        )
