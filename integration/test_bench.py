"""The benchmarks that need a real server reach their end; nobody looks at their figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from integration.conftest import Joins
from ringroom.testing.server import LiveKitServer

ROOT = Path(__file__).parent.parent


@pytest.mark.timeout(300)  # two calls, and the Go client is built first
def test_a_small_case_of_isolation(
    livekit_server: LiveKitServer, go_client: Joins, tmp_path: Path
) -> None:
    """The fixtures say what is needed; the benchmark starts a server and clients of its own."""
    command = [sys.executable, "-m", "bench.isolation", "--no-peers", "--rounds=1", "--again=0"]
    command += ["--seconds=3", "--tracks", "2", "--work-ms", "1", "--only", "ringroom", "inline"]
    command += ["--results", str(tmp_path), "--figures", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "isolation.json").read_text())
    figures = {median["contender"]: median["figures"] for median in found["medians"]}
    assert set(figures) == {"ringroom", "plain SDK, inline"}
    for name, of_one in figures.items():
        assert of_one["played"] > 0, name
        assert of_one["processed"] > 0, name
    assert (tmp_path / "isolation-2.svg").exists()


@pytest.mark.timeout(300)
def test_a_small_case_of_media(
    livekit_server: LiveKitServer, go_client: Joins, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "bench.media", "--rounds=1", "--again=0", "--seconds=1"]
    command += ["--tracks", "2", "--ways", "native", "direct", "--results", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "media.json").read_text())
    cases = {(median["what"], median["way"]) for median in found["medians"]}
    assert cases == {(what, way) for what in ("in", "out", "beat") for way in ("native", "direct")}
    for median in found["medians"]:
        assert median["figures"].get("frames", 0) > 0, done.stderr


@pytest.mark.timeout(300)
def test_a_small_case_of_pictures(livekit_server: LiveKitServer, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.pictures", "--rounds=1", "--seconds=1"]
    command += ["--size", "320", "240", "--ways", "native", "direct", "--results", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "pictures.json").read_text())
    cases = {(median["what"], median["way"]) for median in found["medians"]}
    assert cases == {(what, way) for what in ("in", "out") for way in ("native", "direct")}
    for median in found["medians"]:
        assert median["figures"].get("frames", 0) > 0, done.stderr
