"""What an option may be: checks of values that are handed in, for options and arguments alike.

Everything here raises `ConfigurationError`, which says what was wrong and what was expected.
"""

from __future__ import annotations

import inspect
from numbers import Real
from typing import Any

from ringroom.checks import (
    MAX_IDENTITY_BYTES,
    MAX_METHOD_BYTES,
    MAX_TOPIC_BYTES,
    as_items,
    check_text,
    is_whole,
    shown,
)
from ringroom.errors import ConfigurationError, FrameError
from ringroom.events import Kind

# Eleven days: in milliseconds they still fit an int of C.
MAX_TIMEOUT = 1_000_000
SOURCES = ("microphone", "camera", "screen_share", "screen_share_audio")
SOURCES_OF = {
    Kind.AUDIO: ("microphone", "screen_share_audio"),
    Kind.VIDEO: ("camera", "screen_share"),
}
"""What a publisher may say of its track, by kind."""
RECEIVED_SOURCES = (*SOURCES, "unknown")
"""What `TrackInfo.source` may be."""
PARTICIPANT_KINDS = ("standard", "agent", "sip", "ingress", "egress")
TOLD_PARTICIPANT_KINDS = (*PARTICIPANT_KINDS, "unknown")
"""What `Participant.kind` may be."""

QUALITIES = ("excellent", "good", "poor", "lost")
"""What `Event.quality` may be."""
VIDEO_QUALITIES = ("low", "medium", "high")
"""What ``video_quality=`` may be."""


def check_whole(name: str, value: Any, low: int, high: int) -> int:
    """The value as a plain number: those of numpy do not travel. Raises `ConfigurationError`."""
    if not is_whole(value):
        raise ConfigurationError(
            f"{name} is {shown(value)}, expected a whole number from {low} to {high}"
        )
    if not low <= value <= high:
        raise ConfigurationError(f"{name} is {shown(value)}, expected {low} to {high}")
    return int(value)


def check_range(name: str, value: Any, low: float, high: float) -> float:
    """The value as a plain number. Raises `ConfigurationError`."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ConfigurationError(
            f"{name} is {shown(value)}, expected a number from {low} to {high}"
        )
    number: Any = value  # `Real` is not known to have an order
    if not low <= number <= high:
        raise ConfigurationError(f"{name} is {shown(value)}, expected {low} to {high}")
    return int(number) if is_whole(value) else float(number)


def settle_whole(options: object, name: str, low: int, high: int) -> None:
    """Check a field of frozen options, and leave the plain number there."""
    object.__setattr__(options, name, check_whole(name, getattr(options, name), low, high))


def settle_number(options: object, name: str, low: float, high: float) -> None:
    """Check a field of frozen options, and leave the plain number there."""
    object.__setattr__(options, name, check_range(name, getattr(options, name), low, high))


def check_flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name} is {shown(value)}, expected True or False")


def check_choice(name: str, value: object, known: tuple[str, ...], *, empty: bool = False) -> None:
    """Raises `ConfigurationError` unless it is one of those, or empty where ``empty`` allows it."""
    if not isinstance(value, str) or not (value in known or (empty and not value)):
        *others, last = map(repr, known)
        raise ConfigurationError(
            f"{name} is {shown(value)}, expected {', '.join(others)} or {last}"
        )


def check_function(name: str, function: Any, *given: str) -> None:
    """Check that the function can be called with these values, and is not async. Raises
    `ConfigurationError`."""
    expected = f"a function of {' and '.join(given)}" if given else "a function without arguments"
    if not callable(function):
        raise ConfigurationError(f"{name} is {shown(function)}, expected {expected}")
    asks = (inspect.iscoroutinefunction, inspect.isasyncgenfunction)
    if any(ask(function) or ask(function.__call__) for ask in asks):
        raise ConfigurationError(
            f"{name} is async, and there is no event loop where it is called; expected an ordinary "
            "function (it may block)"
        )
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # some functions in C have none
    try:
        signature.bind(*given)
    except TypeError as error:
        raise ConfigurationError(f"{name}: {error}; expected {expected}") from None


def as_kinds(kinds: Any) -> tuple[Kind, ...]:
    """``kinds=`` as a tuple, each once. Raises `ConfigurationError`."""
    items = as_items(kinds)
    if items is None:
        raise ConfigurationError(
            f"kinds is {shown(kinds)}, expected a tuple such as ('audio', 'video')"
        )
    known = ", ".join(Kind)
    for kind in items:
        if not isinstance(kind, str) or kind not in list(Kind):
            raise ConfigurationError(f"kinds has {shown(kind)}, expected some of: {known}")
    return tuple(dict.fromkeys(map(Kind, items)))


def as_identities(value: Any) -> frozenset[str]:
    """``participants=`` as a set. Raises `ConfigurationError`."""
    identities = as_items(value)
    if identities is None:
        raise ConfigurationError(
            f"participants is {shown(value)}, expected a list of identities (or, where the "
            "connection is opened, a function of a Participant)"
        )
    if not all(isinstance(identity, str) and identity for identity in identities):
        raise ConfigurationError("participants has an identity that is empty or not text")
    try:
        for identity in identities:
            check_text("identity", identity, MAX_IDENTITY_BYTES)
    except FrameError as error:
        raise ConfigurationError(f"participants: {error}") from None
    return frozenset(identities)


def as_sources(value: Any) -> frozenset[str]:
    """``tracks=`` as a set. Raises `ConfigurationError`."""
    known = ", ".join(RECEIVED_SOURCES)
    sources = as_items(value)
    if sources is None:
        raise ConfigurationError(
            f"tracks is {shown(value)}, expected a list of sources ({known}) or a function of a "
            "TrackInfo"
        )
    if not sources:
        raise ConfigurationError(
            f"tracks is empty, expected some of: {known}; leave it out to receive all, or 'audio' "
            "and 'video' out of kinds to receive none"
        )
    for source in sources:
        if not isinstance(source, str) or source not in RECEIVED_SOURCES:
            raise ConfigurationError(
                f"tracks has {shown(source)}, expected some of: {known}; to choose by name, give a "
                "function of a TrackInfo"
            )
    # Plain text, whatever enumeration they came from: that need not travel.
    return frozenset(source for source in RECEIVED_SOURCES if source in sources)


def check_sources_come(sources: frozenset[str], kinds: tuple[Kind, ...]) -> None:
    """Raises `ConfigurationError` for sources of which the kinds have none, where they have sound
    or pictures at all, or data tracks: nobody would be received, and nothing would say why."""
    if Kind.DATA_TRACK in kinds and "unknown" not in sources:
        raise ConfigurationError(
            f"tracks has {', '.join(sorted(sources))}, and data tracks have the source 'unknown': "
            "none would be received; add it, or give a function of a TrackInfo"
        )
    wanted = [kind for kind in SOURCES_OF if kind in kinds]
    come = {source for kind in wanted for source in (*SOURCES_OF[kind], "unknown")}
    if wanted and not sources & come:
        (other,) = SOURCES_OF.keys() - wanted
        raise ConfigurationError(
            f"tracks has {', '.join(sorted(sources))} alone, and kinds has no '{other}': no track "
            "would be received; add it"
        )


def check_timeout(seconds: float | None) -> float | None:
    """For ``timeout=``: None waits for ever, what is below 0 is over at once.

    Raises `ConfigurationError`.
    """
    return None if seconds is None else check_range("timeout", seconds, -MAX_TIMEOUT, MAX_TIMEOUT)


def as_topics(option: str, value: Any) -> tuple[str, ...]:
    """The topics of that option as a tuple, each once. Raises `ConfigurationError`."""
    items = _as_texts(option, value, "lk.chat")
    return _each_once(option, items, "topic", MAX_TOPIC_BYTES)


def as_methods(value: Any) -> tuple[str, ...]:
    """``rpc_methods=`` as a tuple, each once. Raises `ConfigurationError`."""
    items = _as_texts("rpc_methods", value, "greet")
    if "" in items:
        raise ConfigurationError("rpc_methods has a name that is empty")
    return _each_once("rpc_methods", items, "name of a method", MAX_METHOD_BYTES)


def _as_texts(option: str, value: Any, example: str) -> tuple[Any, ...]:
    items = as_items(value)
    if items is None:
        raise ConfigurationError(
            f"{option} is {shown(value)}, expected a tuple such as ({example!r},)"
        )
    return items


def _each_once(option: str, items: tuple[Any, ...], what: str, limit: int) -> tuple[str, ...]:
    try:
        return tuple(dict.fromkeys(check_text(what, one, limit) for one in items))
    except FrameError as error:
        raise ConfigurationError(f"{option}: {error}") from None
