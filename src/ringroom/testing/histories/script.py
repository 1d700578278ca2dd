"""Steps that are played as the code that they show, and printed as a test that can be pasted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from ringroom.frames import AudioFrame
from ringroom.testing import sources
from ringroom.testing.histories.listener import Listener, StillClock
from ringroom.testing.histories.steps import Check, Step
from ringroom.testing.room import FakeRoom

__all__ = ["Script"]

_HEAD = """\
import numpy as np

from ringroom import AudioFrame
from ringroom.testing import FakeRoom, sources
from ringroom.testing.histories import Listener, StillClock


def test_history():
    clock = StillClock()
    with FakeRoom(clock=clock) as room, Listener(room, clock) as app:
"""


@dataclass
class Script:
    """Plays steps one by one; printed, it is a test that does the same.

    A context manager, which ends the room and the application. The laws are checked after every
    step. An error has the script so far as a note.
    """

    steps: list[Step] = field(default_factory=list)

    def __enter__(self) -> Self:
        clock = StillClock()
        self._room = FakeRoom("history", clock)
        try:
            self._app = Listener(self._room, clock).__enter__()
        except BaseException:
            self._room.close()
            raise
        self._names: dict[str, Any] = {
            "room": self._room,
            "app": self._app,
            "np": np,
            "AudioFrame": AudioFrame,
            "sources": sources,
        }
        return self

    def __exit__(self, *_: object) -> None:
        self._names.clear()
        self._app.__exit__()
        self._room.close()

    def play(self, step: Step) -> None:
        """Runs what the step shows."""
        for one in (step, Check()):
            self.steps.append(one)
            try:
                exec(repr(one), self._names)  # noqa: S102 (it is the point: what is shown is run)
            except BaseException as error:
                error.add_note(f"As a test:\n\n{self}")
                raise

    def __str__(self) -> str:
        last = len(self.steps) - 1
        shown = [step for place, step in enumerate(self.steps) if step != Check() or place == last]
        return _HEAD + "".join(f"        {step!r}\n" for step in shown or [Check()])
