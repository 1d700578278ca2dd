"""What a promise is: a function over a subject that raises `Broken` and names the cause.

The first line of its docstring says what is promised; its arguments of the decorator, which
capabilities a provider must claim for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

if TYPE_CHECKING:
    from ringroom.testing.contract.subject import Subject

__all__ = ["Broken", "Call", "Promise", "broken", "expect", "expect_error", "pause", "promise"]

T = TypeVar("T")


class Broken(AssertionError):
    """A promise is broken; the message says by what."""


def broken(cause: str) -> NoReturn:
    raise Broken(cause)


def expect(condition: object, cause: str) -> None:
    """The promise is broken, by that cause, unless the condition is true."""
    if not condition:
        raise Broken(cause)


@dataclass(frozen=True, kw_only=True)
class Promise:
    """One promise. Called with a subject it raises `Broken`, or keeps silent."""

    name: str
    says: str
    topic: str
    needs: tuple[str, ...]
    function: Callable[[Subject], None]

    def __call__(self, subject: Subject) -> None:
        self.function(subject)

    def unclaimed(self, subject: Subject) -> tuple[str, ...]:
        """The capabilities that it needs and the subject does not claim."""
        return tuple(name for name in self.needs if not subject.capabilities.claims(name))

    def __repr__(self) -> str:
        return f"<Promise {self.name}>"


def promise(*needs: str) -> Callable[[Callable[[Subject], None]], Promise]:
    """Makes a promise of a function; ``needs`` are fields of `Capabilities`."""

    def make(function: Callable[[Subject], None]) -> Promise:
        says = (function.__doc__ or "").strip().partition("\n\n")[0]
        return Promise(
            name=function.__name__,
            says=" ".join(says.split()),
            topic=function.__module__.rpartition(".")[2],
            needs=needs,
            function=function,
        )

    return make


def expect_error(
    kind: type[BaseException] | tuple[type[BaseException], ...],
    call: Callable[[], object],
    what: str,
) -> BaseException:
    """The error of that kind that the call raises; anything else breaks the promise."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    expected = " or ".join(one.__name__ for one in kinds)
    try:
        call()
    except kinds as error:
        return error
    except Exception as error:  # noqa: BLE001 (whatever it is, it breaks the promise)
        broken(f"{what} raised {type(error).__name__} ({error}), expected {expected}")
    broken(f"{what} raised nothing, expected {expected}")


def pause(seconds: float) -> None:
    """Let that much real time pass, where a promise is about time itself."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(left)


class Call(Generic[T]):
    """A call on a thread of its own."""

    def __init__(self, what: str, function: Callable[..., T], *args: Any, **options: Any) -> None:
        self.what = what
        self._outcome: list[T] = []
        self._error: list[BaseException] = []

        def run() -> None:
            try:
                self._outcome.append(function(*args, **options))
            except BaseException as error:  # noqa: BLE001 (raised again by `result`)
                self._error.append(error)

        self._thread = threading.Thread(target=run, name=f"contract: {what}", daemon=True)
        self._thread.start()

    def waits(self, seconds: float = 0.05) -> bool:
        """Whether it still waits after a moment."""
        self._thread.join(seconds)
        return self._thread.is_alive()

    def result(self, seconds: float) -> T:
        """What the call returned, or raises what it raised. The promise is broken when that takes
        longer than ``seconds``."""
        self._thread.join(seconds)
        if self._thread.is_alive():
            broken(f"{self.what} has not come back within {seconds:g} s")
        if self._error:
            raise self._error[0]
        return self._outcome[0]


def names_of_fields(kind: type[Any]) -> frozenset[str]:
    """The names of the fields of a dataclass."""
    return frozenset(field.name for field in fields(kind))
