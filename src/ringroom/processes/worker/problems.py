"""What user code raises in a worker, told to the application: the first of a kind with all its
text, the others by their count. What the application lets lie beyond a bound is counted only.
"""

from __future__ import annotations

import traceback
from collections import Counter as Tally
from collections.abc import Callable
from functools import partial

from ringroom import messages as m
from ringroom.link import Link
from ringroom.processor import Problem

# Characters of an exception that are told: a message has its limit.
MAX_TOLD = 20_000
# Problems that the application has let lie: further ones are counted, and told by their count.
MAX_UNHEARD = 1_000


class Problems:
    """``place`` tells the worker's, which may change."""

    def __init__(self, control: Link, place: Callable[[], int]) -> None:
        self._control = control
        self._place = place
        self._counts: Tally[str] = Tally()

    def __len__(self) -> int:
        """Kinds that are kept count of."""
        return len(self._counts)

    def raised(self, where: str, error: Exception, more: str = "") -> None:
        """User code did, in that call."""
        try:
            summary = f"{type(error).__name__}: {error}"
        except Exception:  # noqa: BLE001 (words that the user's exception does not find)
            summary = type(error).__name__
        self._tell(where, summary + more, partial(_text, error), f"{where} {_kind(error)}")

    def cut(self, track: str) -> None:
        """A live track has dropped what did not fit: said once, with the cure."""
        self._tell(
            "reply",
            f"track {track!r} is live and had no room for all that was sent at once; part of it is "
            "dropped, counted. Send it in real time, or publish it with mode='speech'",
            str,
            track,
        )

    def forget(self, track: str) -> None:
        """It has ended: names come for ever."""
        self._counts.pop(track, None)

    def _tell(self, where: str, summary: str, text: Callable[[], str], key: str) -> None:
        self._counts[key] += 1
        count = self._counts[key]
        if count > 1 and self._control.backlog >= MAX_UNHEARD:
            return
        self._control.send(
            m.WorkerProblem(
                place=self._place(),
                where=where,
                summary=summary[:2000],
                traceback=shortened(text()) if count == 1 else "",
                count=count,
            )
        )


def _text(error: Exception) -> str:
    return "".join(traceback.format_exception(error))


def as_problem(message: m.WorkerProblem) -> Problem:
    """What a worker has told, for the application."""
    return Problem(
        worker=message.place,
        where=message.where,
        summary=message.summary,
        traceback=message.traceback,
        count=message.count,
    )


def shortened(text: str) -> str:
    """An exception may hold all that was worked on; what is too long for a message ends the link.
    Where it was raised stands in front, what it says at the end."""
    if len(text) <= MAX_TOLD:
        return text
    half = MAX_TOLD // 2
    return f"{text[:half]}\n... {len(text) - MAX_TOLD} characters left out ...\n{text[-half:]}"


def _kind(error: Exception) -> str:
    """One kind of problem is one class of exception from one place in the code."""
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        place = f"{frame.f_code.co_filename}:{line}"
    return f"{type(error).__name__} {place}"
