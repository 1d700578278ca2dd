"""What a provider raises, as an error of ours or as text."""

from __future__ import annotations

from ringroom.errors import RingroomError, RoomError

__all__ = ["as_ours", "error_text"]


def as_ours(error: Exception) -> RingroomError:
    """The error itself, or what stands for one that a provider should not have raised."""
    return error if isinstance(error, RingroomError) else RoomError(error_text(error))


def error_text(error: BaseException) -> str:
    """One line for a log or a message; ours already say all, others are named by their type."""
    return str(error) if isinstance(error, RingroomError) else f"{type(error).__name__}: {error}"
