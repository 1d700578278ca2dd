"""Who may subscribe to our tracks, as `allow_subscribers` says it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ringroom.checks import MAX_IDENTITY_BYTES, as_items, check_text, shown
from ringroom.errors import ConfigurationError, FrameError

__all__ = ["Allowance", "Subscribers"]

MAX_IDENTITIES = 1_000
# Of tracks that have subscribers of their own.
MAX_TRACKS = 256
# By all of them together: they travel in one message.
MAX_NAMED = 4_000


@dataclass(frozen=True, slots=True)
class Allowance:
    """These may subscribe to our track of that name, or, for "", to all of ours; ``who`` None:
    everybody. Raises `ConfigurationError` for what are no identities (1 to 256 bytes each, up to
    1,000)."""

    who: frozenset[str] | None
    track: str = ""

    def __post_init__(self) -> None:
        if self.who is not None:
            object.__setattr__(self, "who", _as_identities(self.who))


@dataclass(frozen=True, slots=True)
class Subscribers:
    """Who may subscribe to our tracks; at first everybody to all of them."""

    everywhere: frozenset[str] | None = None
    """To the tracks that have none of their own; None: everybody."""
    tracks: Mapping[str, frozenset[str] | None] = field(default_factory=dict)
    """Those of tracks, by name."""

    def after(self, change: Allowance) -> Subscribers:
        """With the change: for all tracks it leaves none with subscribers of its own. Raises
        `ConfigurationError` for more than 256 of those, and for 4,000 identities in all of them."""
        if not change.track:
            return Subscribers(change.who)
        tracks = {**self.tracks, change.track: change.who}
        count = sum(len(who or ()) for who in (self.everywhere, *tracks.values()))
        if count > MAX_NAMED:
            raise ConfigurationError(
                f"the subscribers of all tracks would be {count} identities, at most {MAX_NAMED} "
                "can be named; a call without track= begins anew"
            )
        if len(tracks) > MAX_TRACKS:
            raise ConfigurationError(
                f"{len(tracks)} tracks would have subscribers of their own, at most {MAX_TRACKS} "
                "may; a call without track= begins anew"
            )
        return Subscribers(self.everywhere, tracks)

    def changes(self) -> Iterator[Allowance]:
        """What makes them of what they are at first."""
        if self.everywhere is not None:
            yield Allowance(self.everywhere)
        for track, who in self.tracks.items():
            yield Allowance(who, track)

    def allows(self, identity: str, track: str) -> bool:
        """Whether somebody may subscribe to our track of that name."""
        who = self.tracks.get(track, self.everywhere)
        return who is None or identity in who

    @property
    def named(self) -> frozenset[str]:
        """All identities that are named."""
        return frozenset().union(*(who or () for who in (self.everywhere, *self.tracks.values())))

    def to_json(self) -> dict[str, Any]:
        """As a message carries it."""
        return {
            "everywhere": _plain(self.everywhere),
            "tracks": {track: _plain(who) for track, who in self.tracks.items()},
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Subscribers:
        """They again. Raises `ConfigurationError` for what are none."""
        try:
            tracks = {track: _of_plain(who) for track, who in fields["tracks"].items()}
            return cls(_of_plain(fields["everywhere"]), tracks)
        except (KeyError, TypeError, AttributeError) as error:
            raise ConfigurationError(f"no subscribers: {error}") from None


def _as_identities(value: Collection[str]) -> frozenset[str]:
    identities = as_items(value)
    if identities is None:
        raise ConfigurationError(
            f"who may subscribe is {shown(value)}, expected a list of identities, or None for "
            "everybody"
        )
    if len(identities) > MAX_IDENTITIES:
        raise ConfigurationError(
            f"{len(identities)} identities may subscribe, at most {MAX_IDENTITIES} can be named"
        )
    try:
        if "" in [check_text("identity", one, MAX_IDENTITY_BYTES) for one in identities]:
            raise ConfigurationError("an identity that may subscribe is empty")
    except FrameError as error:
        raise ConfigurationError(f"who may subscribe: {error}") from None
    return frozenset(identities)


def _plain(who: frozenset[str] | None) -> list[str] | None:
    return None if who is None else sorted(who)


def _of_plain(who: Any) -> frozenset[str] | None:
    return None if who is None else _as_identities(who)
