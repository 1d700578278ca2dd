"""What an access token claims. Its signature is the server's to check."""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any

__all__ = ["claims_of"]


# RFC 7515: three parts in base64url.
_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


def claims_of(token: str) -> dict[str, Any]:
    """The claims of a JWT. Raises `ValueError`, which says what is wrong and never quotes it."""
    if not _JWT.fullmatch(token):
        raise ValueError(
            "three parts with dots between, and nothing around them: no quotes, no 'Bearer '"
        )
    middle = token.split(".")[1]
    padded = middle + "=" * (-len(middle) % 4)
    try:
        claims = json.loads(base64.b64decode(padded.encode("ascii"), b"-_", validate=True))
    except (binascii.Error, UnicodeError, json.JSONDecodeError, RecursionError):
        raise ValueError("its claims do not decode") from None
    if not isinstance(claims, dict):
        raise ValueError("its claims are not an object")
    return claims
