"""One line about what runs, drawn in place on a terminal, and now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from ringroom.cli.view import says

__all__ = ["Line"]

_IN_PLACE_SECONDS, _PLAIN_SECONDS = 0.25, 2.0


class Line:
    """Call `tick` a few times each second, in a ``with`` block."""

    def __init__(self, text: Callable[[float], str], console: Console) -> None:
        """``text`` makes the line, given the seconds since the beginning."""
        self._text = text
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._in_place = console.is_terminal
        self._began = self._told = time.monotonic()

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()

    def tick(self) -> None:
        """Show the present state, if it is time to."""
        now = time.monotonic()
        if now - self._told < (_IN_PLACE_SECONDS if self._in_place else _PLAIN_SECONDS):
            return
        self._told = now
        line = self._text(now - self._began)
        if self._in_place:
            self._live.update(Text(line), refresh=True)
        else:
            says(line)
