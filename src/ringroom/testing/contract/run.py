"""Runs promises and reports: kept, broken by what, or not claimed.

`check` needs nothing but Python; `parametrize` makes pytest's parameters of the same promises.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ringroom.testing.contract import (
    calling,
    cancelling,
    dialling,
    ending,
    events,
    filing,
    layers,
    losing,
    messaging,
    muting,
    own_profile,
    people,
    pictures,
    receiving,
    room_life,
    sending,
    sensing,
    speaking,
    statistics,
    subscribing,
    texting,
    tracks,
    waiting,
    writing,
)
from ringroom.testing.contract.promise import Broken, Promise
from ringroom.testing.contract.subject import Subject

if TYPE_CHECKING:
    import pytest

__all__ = ["PROMISES", "Case", "Outcome", "Report", "check", "keep", "parametrize"]

_TOPICS = (
    waiting,
    receiving,
    pictures,
    layers,
    sensing,
    messaging,
    filing,
    texting,
    writing,
    dialling,
    calling,
    events,
    people,
    room_life,
    speaking,
    own_profile,
    tracks,
    muting,
    subscribing,
    sending,
    losing,
    ending,
    cancelling,
    statistics,
)
PROMISES: tuple[Promise, ...] = tuple(
    value for topic in _TOPICS for value in vars(topic).values() if isinstance(value, Promise)
)
"""All promises, by topic, in the order in which a person would read them."""

State = Literal["kept", "broken", "not claimed"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one promise; ``cause`` is for people."""

    promise: Promise
    state: State
    cause: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        text = f"{self.state:11}  {self.promise.topic}: {self.promise.name}"
        if self.state == "broken":
            text += f"\n{'':13}promised: {self.promise.says}\n{'':13}but: {self.cause}"
        elif self.state == "not claimed":
            text += f" (needs {self.cause})"
        return text


@dataclass(frozen=True, kw_only=True)
class Report:
    """All outcomes of one subject. ``print(report)`` gives a list to read, the broken last."""

    subject: str
    outcomes: tuple[Outcome, ...]

    def of(self, state: State) -> tuple[Outcome, ...]:
        return tuple(one for one in self.outcomes if one.state == state)

    @property
    def kept(self) -> tuple[Outcome, ...]:
        return self.of("kept")

    @property
    def broken(self) -> tuple[Outcome, ...]:
        return self.of("broken")

    @property
    def unclaimed(self) -> tuple[Outcome, ...]:
        return self.of("not claimed")

    @property
    def ok(self) -> bool:
        """Whether all that is claimed is kept, and anything is claimed at all."""
        return not self.broken and bool(self.kept)

    def __str__(self) -> str:
        lines = [str(one) for one in (*self.kept, *self.unclaimed, *self.broken)]
        lines.append(
            f"{self.subject}: {len(self.kept)} promises kept, {len(self.broken)} broken, "
            f"{len(self.unclaimed)} not claimed"
        )
        return "\n".join(lines)


def keep(subject: Subject, promise: Promise) -> None:
    """Check one promise within the subject's deadline. Raises `Broken`, whatever went wrong."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            promise(subject)
        except BaseException as error:  # noqa: BLE001 (told below)
            failures.append(error)

    # A thread of its own: a provider that hangs must not take the report with it.
    thread = threading.Thread(target=run, name=f"contract: {promise.name}", daemon=True)
    thread.start()
    thread.join(subject.deadline)
    if thread.is_alive():
        raise Broken(f"hangs for {subject.deadline:g} s in {_where(thread)}")
    if failures:
        error = failures[0]
        if isinstance(error, Broken):
            raise error
        raise Broken(_unexpected(error)) from error


def _where(thread: threading.Thread) -> str:
    frame = sys._current_frames().get(thread.ident or 0)
    stack = traceback.extract_stack(frame) if frame else []
    ours = [one for one in stack if "contract" in one.filename] or stack
    return f"{ours[-1].name}: {ours[-1].line}" if ours else "its end"


def _unexpected(error: BaseException) -> str:
    stack = traceback.extract_tb(error.__traceback__)
    ours = [one for one in stack if "contract" in one.filename] or stack
    place = f" (at: {ours[-1].line})" if ours else ""
    return f"{type(error).__name__}: {error}{place}"


def check(subject: Subject, promises: Iterable[Promise] = PROMISES) -> Report:
    """Check promises one after the other, without pytest."""
    return Report(subject=subject.name, outcomes=tuple(_outcome(subject, one) for one in promises))


def _outcome(subject: Subject, promise: Promise) -> Outcome:
    if needs := promise.unclaimed(subject):
        return Outcome(promise=promise, state="not claimed", cause=", ".join(needs))
    begun = time.monotonic()
    try:
        keep(subject, promise)
    except Broken as error:
        state: State = "broken"
        cause = str(error)
    else:
        state, cause = "kept", ""
    seconds = time.monotonic() - begun
    return Outcome(promise=promise, state=state, cause=cause, seconds=seconds)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One promise for one subject, to be called by a test."""

    subject: Subject
    promise: Promise

    def __call__(self) -> None:
        # The cause, and not the way to it, is what a failing test should show.
        __tracebackhide__ = True
        try:
            keep(self.subject, self.promise)
        except Broken as error:
            raise Broken(f"{self.promise.says}\n    but: {error}") from error.__cause__


def parametrize(*subjects: Subject, promises: Iterable[Promise] = PROMISES) -> pytest.MarkDecorator:
    """``@contract.parametrize(subject)`` above ``def test_contract(case): case()``.

    One test for each promise and subject, with an id such as ``mine-sound_arrives_in_order``; what
    is not claimed is skipped with the reason.
    """
    import pytest

    cases = []
    for subject in subjects:
        for promise in promises:
            needs = promise.unclaimed(subject)
            reason = f"not claimed: {', '.join(needs)}"
            marks = [pytest.mark.skip(reason=reason)] if needs else []
            case = Case(subject=subject, promise=promise)
            cases.append(pytest.param(case, id=f"{subject.name}-{promise.name}", marks=marks))
    return pytest.mark.parametrize("case", cases)
