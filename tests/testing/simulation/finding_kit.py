"""That the simulation finds what is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from unittest import mock

import pytest

from ringroom.testing.simulation import Schedule, Story, run

CALM = Schedule(seed=1, touches=0.0, delays=0.0)


def finds(law: str, replaced: mock._patch[object], stories: Iterable[Story], text: str = "") -> str:
    """With what is replaced one of the stories breaks that law, and the message has that text;
    the message."""
    with replaced:
        for story in stories:
            outcome = run(story)
            if outcome.law:
                assert (outcome.law, text in outcome.text) == (law, True), outcome.text
                return outcome.text
    pytest.fail("it was not found")
