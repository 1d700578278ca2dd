"""What the tests of the command line share: an environment without access, errors of one line."""

from __future__ import annotations

import base64
import json

import pytest

from ringroom.cli import main
from ringroom.events import Kind
from ringroom.lanes.statistics import LaneCounts
from ringroom.sessions.accounts import LaneStatistics

SECRET = "a-secret-of-thirty-two-characters-or-more"
NAMES = (
    "LIVEKIT_URL",
    "LIVEKIT_TOKEN",
    "LIVEKIT_API_KEY",
    "LIVEKIT_API_SECRET",
)


# A test module takes it by assignment: ruff takes a fixture that is imported for unused.
@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def claims(token: str) -> dict[str, object]:
    part = token.strip().split(".")[1]
    found = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    assert isinstance(found, dict)
    return found


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Runs a command that is wrong; the one line that says why."""
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert not out
    assert "Traceback" not in err
    lines = err.splitlines()
    assert len(lines) == 1
    return lines[0].removeprefix("ringroom: error: ")


def lane(direction: str, counts: LaneCounts, participant: str = "ann") -> LaneStatistics:
    return LaneStatistics(
        direction=direction,
        kind=Kind.AUDIO,
        track="mic",
        participant=participant,
        place=0,
        counts=counts,
    )
