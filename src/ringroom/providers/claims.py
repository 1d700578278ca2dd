"""What an access token claims. Its signature is the server's to check."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

__all__ = ["claims_of"]


def claims_of(token: str) -> dict[str, Any]:
    """The claims of a JWT. Raises `ValueError`, which says what is wrong and never quotes it."""
    parts = token.split(".")
    if len(parts) != 3 or not all(parts):
        raise ValueError("three parts with dots between")
    padded = parts[1] + "=" * (-len(parts[1]) % 4)
    try:
        claims = json.loads(base64.b64decode(padded.encode("ascii"), b"-_", validate=True))
    except (binascii.Error, UnicodeError, json.JSONDecodeError, RecursionError):
        raise ValueError("its claims do not decode") from None
    if not isinstance(claims, dict):
        raise ValueError("its claims are not an object")
    return claims
