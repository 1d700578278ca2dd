"""How the Go client is built. The second time takes seconds, from Go's cache."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

__all__ = ["GO_FOLDER", "go_build", "go_command"]

GO_FOLDER = Path(__file__).parent / "go"


def go_command() -> str | None:
    """The path of Go; None if it is not installed."""
    return shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")


def go_build(go: str, binary: Path) -> tuple[list[str], dict[str, str]]:
    """The command, to be run in `GO_FOLDER`, and its environment."""
    # With the options of scripts/build-livekit-image: what that has compiled is not compiled again.
    command = [go, "build", "-trimpath", "-o", str(binary), "."]
    return command, os.environ | {"CGO_ENABLED": "0", "GOTOOLCHAIN": "auto"}
