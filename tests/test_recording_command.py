"""``ringroom record``: it leaves a whole file, however it ends, and writes over none."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import ringroom
import ringroom.lanes.records
from recording_kit import a_call, recorded
from ringroom import AudioFrame, Event
from ringroom.cli import recording as cli_recording
from ringroom.events import EventKind
from ringroom.recording import Reader

COMMAND = """
import os, signal, sys, threading, time
from ringroom import AudioFrame
from ringroom.cli import main
from ringroom.providers import registry
from ringroom.recording import Reader
from ringroom.testing import FakeRoom

registry._BUILT_IN["livekit"] = registry._BUILT_IN["fake"]
with FakeRoom("r") as room:
    room.join("ann").publish_audio().tone(seconds=60)
    def heard():
        if not os.path.exists("call.mcap"):
            return 0
        return sum(isinstance(item, AudioFrame) for item in Reader("call.mcap"))
    def watch():
        room.wait_for_app(timeout=30)
        while heard() <= 10:
            time.sleep(0.02)
        {then}
    threading.Thread(target=watch, daemon=True).start()
    os.environ |= {"LIVEKIT_URL": "ws://fake", "LIVEKIT_TOKEN": "any"}
    print("exit", main(["record", "call.mcap", "--room", "r", *sys.argv[1:]]), flush=True)
"""


@pytest.mark.parametrize(
    ("then", "words", "code"),
    [
        ("room.close_room()", [], 0),
        ("os.kill(os.getpid(), signal.SIGINT)", [], 130),
        ("os.kill(os.getpid(), signal.SIGTERM)", [], 0),
        ("pass", ["--seconds", "1"], 0),
    ],
    ids=["room ends", "Ctrl-C", "SIGTERM", "seconds"],
)
@pytest.mark.once
def test_the_command_leaves_a_whole_file(
    tmp_path: Path, then: str, words: list[str], code: int
) -> None:
    script = textwrap.dedent(COMMAND).replace("{then}", then)
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert f"exit {code}" in done.stdout, done.stdout + done.stderr
    assert "in room 'r' as 'app'; Ctrl-C ends it" in done.stdout
    assert "Traceback" not in done.stderr
    reader = Reader(tmp_path / "call.mcap")
    items = list(reader)
    assert reader.cut == ""
    assert sum(isinstance(item, AudioFrame) for item in items) > 10
    joined = [i for i in items if isinstance(i, Event) and i.kind is EventKind.PARTICIPANT_JOINED]
    assert [event.participant.identity for event in joined if event.participant] == ["ann"]
    assert f"call.mcap: {len(items)} frames and events" in done.stdout


def test_the_command_does_not_write_over_a_recording(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ringroom.cli import main

    path = recorded(tmp_path / "call.mcap", a_call())
    before = path.read_bytes()
    assert main(["record", str(path), "--url", "ws://127.0.0.1:1", "--room", "r"]) == 2
    assert "is there already; --overwrite replaces it" in capsys.readouterr().err
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("where", "why"), [("", "is a folder"), ("no/call.mcap", "no folder"), ("file/x", "no folder")]
)
def test_where_nothing_can_be_recorded_no_room_is_joined(
    where: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ringroom.cli import main

    (tmp_path / "file").touch()
    out = str(tmp_path / where)
    assert main(["record", out, "--overwrite", "--url", "ws://127.0.0.1:1", "--room", "r"]) == 2
    assert f"{Path(out)}" in (told := capsys.readouterr().err)
    assert why in told


def test_a_file_that_is_moved_away_meanwhile_ends_nothing(tmp_path: Path) -> None:
    file, moved = tmp_path / "call.mcap", tmp_path / "yesterday.mcap"
    with ringroom.Recorder(file) as recorder:
        progress = cli_recording._Progress(recorder)
        file.rename(moved)
        assert "moved away" in progress.line(1.0)
        recorder.add(ringroom.AudioFrame(bytes(640), 16_000))
    assert len([*Reader(moved)]) == 1
