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
        first = _first(file, asked)
        options = access.room(asked) | {"kinds": ()}
        # SIGTERM may come before the room is joined, and again while it is left.
        with terminated_by_sigterm(), ringroom.transport("livekit", **options) as transport:
            says(f"in room {transport.room!r} as {transport.identity!r}; Ctrl-C ends it")
            try:
                _play(transport, _pieces(file, first, loop=asked.loop), track, console)
            except (KeyboardInterrupt, Terminated) as stop:
                transport.flush(track)
                code = 130 if isinstance(stop, KeyboardInterrupt) else 0
            played = transport.played(track)
    if played is not None:
        says(f"{asked.wav}: {played:.1f} s played")
    return code


def _opened(path: Path) -> wave.Wave_read:
    """Raises `ConfigurationError`."""
    try:
        return open_wav(path)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from None
    except FrameError as error:
        raise ConfigurationError(str(error)) from None


def _first(file: wave.Wave_read, asked: argparse.Namespace) -> AudioFrame:
    """The first piece, which a pipe gives only once. Raises `ConfigurationError` for what cannot be
    sent, or not as it is asked for."""
    if not asked.track:
        raise ConfigurationError("--track is empty, expected a name")
    if asked.loop and not asked.wav.is_file():
        raise ConfigurationError(
            f"{asked.wav}: --loop begins a file again, and this is none; leave --loop out, or save "
            "the sound in a file first"
        )
    try:
        first = _next(file)
        if first is None:
            raise FrameError("no sound in it")
    except FrameError as error:
        raise ConfigurationError(f"{asked.wav}: {error}") from None
    try:
        return first.replace(track=asked.track)
    except FrameError as error:
        raise ConfigurationError(f"--track: {error}") from None


def _next(file: wave.Wave_read) -> AudioFrame | None:
    return wav_frame(file, round(file.getframerate() * _PIECE_SECONDS))


def _pieces(file: wave.Wave_read, first: AudioFrame, *, loop: bool) -> Iterator[AudioFrame]:
    piece: AudioFrame | None = first
    while piece is not None:
        yield piece.replace(track=first.track)
        piece = _next(file)
        if piece is None and loop:
            file.rewind()
            piece = _next(file)


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
