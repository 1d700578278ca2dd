"""Turns on this machine: who judges sound as it is played goes alone, all others beside each
other, in however many processes and runs.

By locks on two files, which the kernel releases when their process dies. Who wants to be alone
keeps the gate shut while those before it end, so they come to an end.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["turn"]


@contextlib.contextmanager
def turn(*, alone: bool, folder: Path | None = None) -> Iterator[None]:
    """Waits for it; it is over with the block."""
    where = folder or Path(tempfile.gettempdir())
    name = f"ringroom-integration-{os.getuid()}"
    with (where / f"{name}.gate").open("ab") as gate, (where / f"{name}.room").open("ab") as room:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        yield
