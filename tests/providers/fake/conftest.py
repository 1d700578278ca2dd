"""Every test that asks for ``open_provider`` runs over both ways into a room."""

from __future__ import annotations

from collections.abc import Iterator

import fake_kit
import pytest

from ringroom.testing import FakeRoom


@pytest.fixture(params=[fake_kit.open_directly, fake_kit.open_handed_over], ids=["room", "socket"])
def open_provider(request: pytest.FixtureRequest) -> fake_kit.Opener:
    opener: fake_kit.Opener = request.param
    return opener


@pytest.fixture
def room() -> Iterator[FakeRoom]:
    with FakeRoom() as room:
        yield room
