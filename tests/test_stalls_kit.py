"""The plugin that stalls threads: it finds what a test takes for granted about time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HASTY = """
import threading

def test_hasty():
    done = threading.Event()
    timer = threading.Timer(0.02, done.set)
    timer.start()
    for _ in range(200):
        began = done.is_set()
    timer.join()
    assert not began

def test_patient():
    done = threading.Event()
    timer = threading.Timer(0.02, done.set)
    timer.start()
    assert done.wait(60)
    timer.join()
"""


def outcome(folder: Path, *options: str) -> str:
    tests = folder / "tests"
    tests.mkdir()
    (tests / "test_it.py").write_text(HASTY)
    command = [sys.executable, "-m", "pytest", "-q", *options, "-p", "no:cacheprovider", str(tests)]
    kits = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(
        command, env=kits, cwd=folder, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


if hasattr(sys, "monitoring"):

    def test_a_hasty_test_fails_and_a_patient_one_does_not(tmp_path: Path) -> None:
        told = outcome(tmp_path, "-p", "stalls_kit", "--stall-seed=1")
        assert "1 failed, 1 passed" in told, told
        assert "FAILED tests/test_it.py::test_hasty" in told, told

else:

    def test_it_says_which_python_it_needs(tmp_path: Path) -> None:
        assert "Python 3.12 or newer" in outcome(tmp_path, "-p", "stalls_kit")
