"""Somebody else's provider, found by its entry point, under the contract: right, and broken in a
dozen ways."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiny_kit import SUBJECT
from wrong_kit import found

import ringroom
from ringroom.testing import contract

SOURCE = Path(__file__).parent / "third_party" / "ringroom_tiny.py"
BY_NAME = {promise.name: promise for promise in contract.PROMISES}

Install = Callable[[str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a distribution with that source: a module, and metadata with the entry point."""

    def write(source: str) -> None:
        (tmp_path / "ringroom_tiny.py").write_text(source)
        info = tmp_path / "ringroom_tiny-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ringroom-tiny\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[ringroom.providers]\ntiny = ringroom_tiny:Tiny\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        importlib.invalidate_caches()

    yield write
    sys.modules.pop("ringroom_tiny", None)


@pytest.mark.once
def test_it_keeps_all_that_it_claims(install: Install) -> None:
    install(SOURCE.read_text())
    assert "tiny" in ringroom.provider_names()
    report = contract.check(SUBJECT)
    assert report.ok, str(report)
    assert len(report.kept) > 60
    assert len(SOURCE.read_text().splitlines()) < 150


BROKEN = {
    "loses what is left of a frame": (
        "self.held[info.sid] = sound",
        "self.held[info.sid] = sound[2:]",
        "no_sound_is_lost_on_the_way_in|sound_arrives_sample_for_sample",
        "never arrived|samples arrived|sample",
    ),
    "says another sample rate": (
        "self.length]), self.rate, 1)",
        "self.length]), 8000, 1)",
        "frames_have_the_form_that_was_asked_for",
        "a frame of 8000 Hz, asked for 16000",
    ),
    "never closes a track": (
        "self.tracks.pop(info.sid).close()",
        "self.tracks.pop(info.sid)",
        "a_track_begins_before_it_ends",
        "'track_ended of mic' was never told",
    ),
    "subscribes to everything": (
        "if self.sink.wants(info, who):",
        "if True:",
        "what_is_not_wanted_is_not_subscribed",
        "of 'ben' came in, who is not wanted",
    ),
    "does not pace": (
        "await asyncio.sleep(self.queued())",
        "self.ends = 0.0",
        "speech_waits_for_the_room",
        "sending 4 s of sound within 0.3 s raised nothing",
    ),
    "says that all is played": (
        "return max(0.0, self.ends - asyncio.get_running_loop().time())",
        "return 0.0",
        "wait_playout_waits_for_the_end",
        "0.3 s of sound were said to be played out after",
    ),
    "forgets who sent a message": (
        'topic=head["topic"], participant=head["who"]',
        'topic=head["topic"]',
        "a_message_names_its_sender",
        "'ann' sent the message, it is said to be of ''",
    ),
    "takes messages for text": (
        "self.sink.data(DataFrame(body,",
        "self.sink.data(DataFrame(body.decode(errors='replace').encode(),",
        "a_message_arrives_byte_for_byte",
        "a message of 256 bytes, .* arrived as",
    ),
    "takes a loss for an end": (
        'error = "tiny: the connection is lost" if ending == "lost" else ""',
        'error = ""',
        "a_connection_that_does_not_come_back_is_an_error",
        "raised nothing, expected RoomError",
    ),
    "does not tell that the room has ended": (
        "self.sink.ended(ending, error=error)",
        "pass",
        "the_end_of_the_room_ends_the_loop",
        "the reader's loop has not come back",
    ),
    "names no room": (
        'room=answer["room"]',
        'room=""',
        "who_opens_is_in_a_room",
        "does not tell the room's name",
    ),
    "hangs at close": (
        "    async def close(self):\n        if self.task",
        "    async def close(self):\n        await asyncio.sleep(1.2)\n        if self.task",
        "closing_takes_no_longer_than_it_may",
        r"closing took .* s, claimed are 1 s",
    ),
}


@pytest.mark.parametrize("how", BROKEN)
def test_what_is_broken_is_named(how: str, install: Install) -> None:
    old, new, names, cause = BROKEN[how]
    source = SOURCE.read_text()
    assert source.count(old) == 1
    install(source.replace(old, new))
    report = found(SUBJECT, [BY_NAME[name] for name in names.split("|")], cause)
    assert report.broken, f"a provider that {how} was not noticed"
    assert re.search(cause, report.broken[0].cause), str(report)
