"""What an application may get wrong: how a call refuses it, and values that are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ringroom.errors import RingroomError

NAN, INF = float("nan"), float("inf")
PCM = b"\0\0"


def refuses(kind: type[RingroomError], match: str, call: Callable[[], Any]) -> None:
    with pytest.raises(kind, match=match) as caught:
        call()
    assert type(caught.value) is kind
