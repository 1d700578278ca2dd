"""What was asked over a link and is answered later, by a number: a value, once."""

from __future__ import annotations

from typing import Protocol, TypeVar

__all__ = ["Asked", "Outcomes", "Requests"]

T = TypeVar("T")
_Taken = TypeVar("_Taken", covariant=True)


class Asked(Protocol[_Taken]):
    """What was asked, by numbers, until it is taken or forgotten."""

    def take(self, number: int) -> _Taken | None: ...
    def forget(self, number: int) -> None: ...


class Outcomes(dict[int, T | Exception]):
    """What has come of requests, by their numbers, until it is taken: a value or an error."""

    def take(self, number: int) -> T | None:
        """The value; None if nothing has come. Raises the error."""
        outcome = self.pop(number, None)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class Requests:
    """The requests of one end of a session. Not thread-safe."""

    def __init__(self) -> None:
        self.unanswered: set[int] = set()
        self.answers: dict[int, float] = {}
        """Those that have not been taken yet."""
        self._number = 0
        self._forgotten: set[int] = set()
        """Unanswered requests whose answers will be thrown away."""

    def new(self) -> int:
        """A number for a request that is made now."""
        self._number += 1
        self.unanswered.add(self._number)
        return self._number

    def answer(self, number: int, value: float) -> None:
        """The other side has answered, or there is none to do so."""
        self.unanswered.discard(number)
        if number in self._forgotten:
            self._forgotten.discard(number)
        else:
            self.answers[number] = value

    def answer_all(self) -> None:
        """The other side is gone, and nothing of what they ask about plays any more."""
        for number in tuple(self.unanswered):
            self.answer(number, 0.0)

    def take(self, number: int) -> float | None:
        """The answer, if it has come."""
        return self.answers.pop(number, None)

    def forget(self, number: int) -> None:
        """No caller waits for the answer any more, whether it has come or not."""
        self.answers.pop(number, None)
        if number in self.unanswered:
            self._forgotten.add(number)
