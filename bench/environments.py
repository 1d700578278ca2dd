"""Peers in environments of their own, below `.peers/`, installed by whoever needs them first.

What cannot be installed is told by `Unavailable`, and listed in the results as not to be had.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parent.parent
PEERS = Path(__file__).parent / ".peers"
INSTALL_SECONDS = 900


class Unavailable(Exception):
    """A peer that is not to be had here; the message says why."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment with those requirements."""

    name: str
    requirements: tuple[str, ...]

    @property
    def folder(self) -> Path:
        return PEERS / self.name

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @cached_property
    def packages(self) -> Path:
        """Where its packages lie."""
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return self.folder / "lib" / version / "site-packages"

    def ensure(self) -> None:
        """Make it, unless it is there. Raises `Unavailable`."""
        made = self.folder / "made-with"
        wanted = "\n".join((sys.version, *self.requirements))
        if made.exists() and made.read_text() == wanted:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        sys.stderr.write(f"installing {', '.join(self.requirements)} ...\n")
        _run(sys.executable, "-m", "venv", str(self.folder))
        _run(str(self.python), "-m", "pip", "install", "--quiet", *self.requirements)
        made.write_text(wanted)


def _run(*command: str) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(str(error)) from error
    if done.returncode:
        raise Unavailable((done.stderr.strip() or done.stdout.strip()).splitlines()[-1])
