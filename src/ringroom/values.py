"""What processes tell each other is values: fields by keyword, equal when these are, never changed.

They are what frozen dataclasses would be. Making a dataclass takes a millisecond, though, and half
a hundred of them a fifth of the start of every process.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Never, Self, dataclass_transform

__all__ = ["Value"]


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Value:
    """A base: the annotations of its subclass are the fields, what is assigned there their
    defaults."""

    fields: ClassVar[Mapping[str, str]] = {}
    """The names of the fields and their types, as they are written."""

    def __init_subclass__(cls) -> None:
        cls.fields = dict(cls.__annotations__)

    def __init__(self, **values: Any) -> None:
        """Raises `TypeError` for fields that are missing or unknown."""
        kind = type(self)
        if values.keys() != kind.fields.keys():
            left_out = {name: getattr(kind, name) for name in kind.fields if hasattr(kind, name)}
            values = left_out | values
            if values.keys() != kind.fields.keys():
                raise TypeError(
                    f"{kind.__name__} of {sorted(values)}, expected {sorted(kind.fields)}"
                )
        self.__dict__.update(values)

    def replace(self, **changes: Any) -> Self:
        """Another one, with these fields changed."""
        return type(self)(**(vars(self) | changes))

    def __setattr__(self, name: str, value: object) -> Never:
        raise AttributeError(f"a {type(self).__name__} is not changed once it is made")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __repr__(self) -> str:
        shown = (
            # A token may be within.
            f"{name}=<{len(value)} bytes>" if isinstance(value, bytes) else f"{name}={value!r}"
            for name, value in vars(self).items()
        )
        return f"{type(self).__name__}({', '.join(shown)})"
