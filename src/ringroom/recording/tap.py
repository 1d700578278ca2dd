"""A tap: an iterator that hands on what a receiver gives, and shows it to a recorder on the way.

It raises what the receiver raises, when the receiver does, and nothing of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Generic, TypeVar

__all__ = ["AsyncTap", "Tap"]

T = TypeVar("T")


class Tap(Iterator[T], Generic[T]):
    """A `TimeoutError` of the receiver does not end it, as it does not end the receiver."""

    def __init__(self, receiver: Iterator[T], show: Callable[[Any], None]) -> None:
        self._receiver = receiver
        self._show = show

    def __iter__(self) -> Tap[T]:
        return self

    def __next__(self) -> T:
        item = next(self._receiver)
        self._show(item)
        return item

    def close(self) -> None:
        """Close the receiver, if it can be closed."""
        close = getattr(self._receiver, "close", None)
        if close is not None:
            close()


class AsyncTap(AsyncIterator[T], Generic[T]):
    """The same for a receiver of `ringroom.aio`."""

    def __init__(self, receiver: AsyncIterator[T], show: Callable[[Any], None]) -> None:
        self._receiver = receiver
        self._show = show

    def __aiter__(self) -> AsyncTap[T]:
        return self

    async def __anext__(self) -> T:
        item = await anext(self._receiver)
        self._show(item)
        return item

    async def aclose(self) -> None:
        """Close the receiver, if it can be closed."""
        close = getattr(self._receiver, "aclose", None)
        if close is not None:
            await close()
