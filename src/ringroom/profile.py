"""What the others in a room are told of us: a change of it, as `set_profile` takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from ringroom.checks import MAX_NAME_BYTES, check_text
from ringroom.errors import ConfigurationError, FrameError

__all__ = ["Profile", "change_of"]

# A LiveKit server's own limits, as it is configured by default.
MAX_METADATA_BYTES = 1 << 19
MAX_ATTRIBUTES_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What is to change of our name, metadata and attributes. None leaves the name, the metadata as
    they are. Of the attributes those that are named are set, an empty value takes one away, and the
    others stay.

    Raises `ConfigurationError`: a name has 1 to 256 bytes of UTF-8, metadata 1 to 524,288, the
    attributes have 65,536 together, names and values.
    """

    name: str | None = None
    metadata: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            _check_filled("name", self.name, MAX_NAME_BYTES)
            _check_filled("metadata", self.metadata, MAX_METADATA_BYTES)
            object.__setattr__(self, "attributes", _as_attributes(self.attributes))
        except FrameError as error:
            raise ConfigurationError(str(error)) from None

    def followed_by(self, later: Profile) -> Profile:
        """Both changes as one. Of the attributes that were taken away the earliest are forgotten
        where there are too many. Raises `ConfigurationError` if there are still."""
        attributes = {
            key: value for key, value in self.attributes.items() if key not in later.attributes
        }
        attributes.update(later.attributes)
        over = _bytes_of(attributes) - MAX_ATTRIBUTES_BYTES
        for key in [key for key, value in attributes.items() if not value]:
            if over <= 0:
                break
            del attributes[key]
            over -= len(key.encode())
        return Profile(
            name=self.name if later.name is None else later.name,
            metadata=self.metadata if later.metadata is None else later.metadata,
            attributes=attributes,
        )

    def to_json(self) -> dict[str, Any]:
        """Its fields, for a message."""
        return {
            "name": self.name,
            "metadata": self.metadata,
            "attributes": dict(self.attributes),
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """The profile again. Raises `ConfigurationError` for what is none."""
        try:
            return cls(**fields)
        except TypeError as error:
            raise ConfigurationError(f"no profile: {error}") from None


def change_of(
    name: str | None, metadata: str | None, attributes: Mapping[str, str] | None
) -> Profile:
    """What `set_profile` is asked for. Raises `ConfigurationError`, also where that is nothing."""
    change = Profile(
        name=name, metadata=metadata, attributes={} if attributes is None else attributes
    )
    if change == Profile():
        raise ConfigurationError(
            "nothing to set, expected a name=, metadata= or attributes= that are not empty"
        )
    return change


def _check_filled(what: str, text: str | None, limit: int) -> None:
    if text is not None and not check_text(what, text, limit):
        raise FrameError(
            f"the {what} is empty, expected text, or None to leave it: a server takes none away"
        )


def _as_attributes(attributes: Any) -> dict[str, str]:
    if not isinstance(attributes, Mapping):
        raise FrameError(
            f"the attributes are of type {type(attributes).__name__}, expected a mapping of text "
            'to text; "" takes one away'
        )
    given = dict(attributes)
    for key, value in given.items():
        check_text("name of an attribute", key, MAX_ATTRIBUTES_BYTES)
        check_text(f"attribute {key[:40]!r}", value, MAX_ATTRIBUTES_BYTES)
    if (size := _bytes_of(given)) > MAX_ATTRIBUTES_BYTES:
        raise FrameError(
            f"the attributes have {size} bytes, at most {MAX_ATTRIBUTES_BYTES} are allowed, in one "
            "call and of all that are set"
        )
    return given


def _bytes_of(attributes: Mapping[str, str]) -> int:
    return sum(len(key.encode()) + len(value.encode()) for key, value in attributes.items())
