"""`ringroom speak`: a WAV file, played into a LiveKit room."""

from __future__ import annotations

import argparse
import wave
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

import ringroom
from ringroom.cli import access
from ringroom.cli.line import Line
from ringroom.cli.running import Terminated, terminated_by_sigterm
from ringroom.cli.view import says
from ringroom.errors import ConfigurationError, FrameError
from ringroom.frames import AudioFrame
from ringroom.testing.sources import open_wav, wav_frame

__all__ = ["speak"]

# Sound in one frame: little enough for a line that moves.
_PIECE_SECONDS = 0.25


def speak(asked: argparse.Namespace, console: Console) -> int:
    """Play the file to its end (0), or until SIGTERM (0) or Ctrl-C (130). Raises `RingroomError`
    when the room ends before."""
    code, track = 0, asked.track
    played: float | None = None
    with _opened(asked.wav) as file:
        options = access.room(asked) | {"kinds": ()}
        # SIGTERM may come before the room is joined, and again while it is left.
        with terminated_by_sigterm(), ringroom.transport("livekit", **options) as transport:
            says(f"in room {transport.room!r} as {transport.identity!r}; Ctrl-C ends it")
            try:
                _play(transport, _pieces(file, track, loop=asked.loop), track, console)
            except (KeyboardInterrupt, Terminated) as stop:
                transport.flush(track)
                code = 130 if isinstance(stop, KeyboardInterrupt) else 0
            played = transport.played(track)
    if played is not None:
        says(f"{asked.wav}: {played:.1f} s played")
    return code


def _opened(path: Path) -> wave.Wave_read:
    """The file, with sound in it of a form that can be sent. Raises `ConfigurationError`."""
    try:
        file = open_wav(path)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from None
    except FrameError as error:
        raise ConfigurationError(str(error)) from None
    try:
        if wav_frame(file, 1) is None:
            raise FrameError("no sound in it")
    except FrameError as error:
        file.close()
        raise ConfigurationError(f"{path}: {error}") from None
    file.rewind()
    return file


def _pieces(file: wave.Wave_read, track: str, *, loop: bool) -> Iterator[AudioFrame]:
    count = round(file.getframerate() * _PIECE_SECONDS)
    while True:
        while (piece := wav_frame(file, count)) is not None:
            yield piece.replace(track=track)
        if not loop:
            return
        file.rewind()


def _play(
    transport: ringroom.Transport, pieces: Iterator[AudioFrame], track: str, console: Console
) -> None:
    def played(_: float) -> str:
        return f"{transport.played(track):6.1f} s played"

    with Line(played, console) as line:
        for piece in pieces:
            transport.send(piece)
            line.tick()
        while True:
            try:
                transport.wait_playout(track, timeout=_PIECE_SECONDS)
                return
            except TimeoutError:
                line.tick()
