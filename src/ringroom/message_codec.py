"""The bytes of a message between two processes: a JSON object of its name and fields (bytes as
base64). Law: any bytes decode to a message or raise `WireError`.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from ringroom.errors import WireError
from ringroom.messages import Message

__all__ = ["VERSION", "decode", "encode"]

VERSION = 1


def encode(message: Message) -> bytes:
    body: dict[str, Any] = {"v": VERSION, "m": type(message).__name__}
    for name, value in vars(message).items():
        body[name] = base64.b64encode(value).decode() if isinstance(value, bytes) else value
    return json.dumps(body, separators=(",", ":")).encode()


def decode(raw: bytes) -> Message:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise WireError(f"a message that is no JSON: {error}") from None
    if not isinstance(body, dict) or body.pop("v", None) != VERSION:
        raise WireError(f"a message that is not of version {VERSION}")
    name = body.pop("m", None)
    kind = Message.types.get(name) if isinstance(name, str) else None
    if kind is None:
        raise WireError(f"a message of unknown name {name!r}")
    if kind.fields.keys() != body.keys():
        raise WireError(f"a {kind.__name__} with the fields {sorted(body)}")
    known = kind.fields.items()
    return kind(**{name: _field(kind.__name__, name, type_, body) for name, type_ in known})


_TYPES: dict[str, type | tuple[type, ...]] = {
    "int": int,
    "float": (int, float),
    "str": str,
    "bool": bool,
    "bytes": str,
    "dict": dict,
    "list": list,
}


def _field(name: str, field_name: str, annotation: str, body: dict[str, Any]) -> Any:
    value: Any = body[field_name]
    base = annotation.split("[")[0]
    fits: bool = isinstance(value, _TYPES[base])
    if fits and base == "list":
        item = _TYPES[annotation.partition("[")[2].rstrip("]")]
        fits = all(isinstance(v, item) and not isinstance(v, bool) for v in value)
    if not fits or (isinstance(value, bool) and base != "bool"):
        raise WireError(f"{name}.{field_name} is a {type(value).__name__}, not {annotation}")
    try:
        if base == "float":
            return float(value)
        if base == "bytes":
            return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError, OverflowError) as error:
        raise WireError(f"{name}.{field_name} is no {base}: {error}") from None
    return value
