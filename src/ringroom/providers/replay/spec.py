"""What an application names to have a recording played: `Replay`."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ringroom.checks import MAX_IDENTITY_BYTES, check_name, check_text, shown
from ringroom.errors import ConfigurationError, FrameError
from ringroom.providers.provider import Joined, Provider, ProviderSpec

__all__ = ["Replay"]

_MAX_SPEED = 1_000


@dataclass(frozen=True, kw_only=True)
class Replay(ProviderSpec):
    """The recording at ``path``, made by `ringroom.Recorder` or ``ringroom record``.

    ``speed`` 1.0 plays in real time, 4.0 four times as fast, and so on; None plays as fast as the
    application receives, and then nothing is dropped. ``loop`` begins again at the end. ``url``,
    ``token``, ``e2ee_key`` and ``sdk_path`` are accepted and ignored, so that code written for
    ``livekit`` runs unchanged; ``room`` and ``identity`` are what the transport reports.

    Raises `ConfigurationError` for a file that is missing, no MCAP file or no recording of ours.
    """

    name = "replay"
    joins_anew = False
    texts = True
    text_streams = True
    dtmf = True
    files = True
    layers = True  # a recording has one of each picture
    data_tracks = True

    path: str | os.PathLike[str]
    speed: float | None = 1.0
    loop: bool = False
    room: str = ""
    identity: str = "app"
    url: str = ""
    token: str | Callable[[], str] = field(default="", repr=False, compare=False)
    e2ee_key: Any = field(default=None, repr=False, compare=False)
    sdk_path: str = field(default="auto", repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.loop, bool):
            raise ConfigurationError(f"replay: loop is {shown(self.loop)}, expected True or False")
        speed = self.speed
        if speed is not None and (
            isinstance(speed, bool)
            or not isinstance(speed, int | float)
            or not math.isfinite(speed)
            or not 0 < speed <= _MAX_SPEED
        ):
            raise ConfigurationError(
                f"replay: speed is {shown(speed)}, expected a number up to {_MAX_SPEED}, or None "
                "for as fast as the application receives"
            )
        try:
            check_name("room", self.room)
            check_text("identity", self.identity, MAX_IDENTITY_BYTES)
        except FrameError as error:
            raise ConfigurationError(f"replay: {error}") from None
        self._look()

    def _look(self) -> None:
        from ringroom.recording.format import as_path
        from ringroom.recording.reader import Reader

        try:
            # The I/O process need not be in our folder.
            object.__setattr__(self, "path", os.path.abspath(as_path(self.path)))
            Reader(self.path)
        except ConfigurationError as error:
            raise ConfigurationError(f"replay: {error}") from None

    def open(self, descriptors: tuple[int, ...]) -> Provider:
        # The provider needs asyncio; who only names a recording should not load it.
        from ringroom.providers.replay.connection import ReplayProvider

        path = os.fspath(self.path)
        joined = Joined(room=self.room or Path(path).stem, identity=self.identity)
        return ReplayProvider(path, joined, speed=self.speed, loop=self.loop)
