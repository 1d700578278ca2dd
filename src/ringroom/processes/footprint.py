"""The memory that an I/O process may take.

An SDK's native code may keep what others send, and others may send without end. A process that
takes too much ends itself before the system chooses one to kill. Its sessions go on in another,
which begins small.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

__all__ = ["TOO_LARGE", "default_limit", "own_memory", "watch"]

log = logging.getLogger("ringroom.io")

# What the process exits with.
TOO_LARGE = 77
LOOK_SECONDS = 1.0
# The default limit, as a share of the memory that there is.
SHARE = 0.5
# In a small container the half would be less than some healthy calls take.
LEAST = 256 << 20
# Where the kernel says how much a container may have: cgroup version 2, and 1.
_CONTAINER = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def own_memory() -> int:
    """Bytes of memory that only this process uses; 0 where the system does not tell. Memory that it
    shares with others, such as the rings, is not counted."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        _, resident, shared = Path("/proc/self/statm").read_text().split()[:3]
        return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
    return 0


def default_limit(files: tuple[str, ...] = _CONTAINER) -> int:
    """Half of what the machine, or the container, has, and not less than `LEAST`."""
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for file in files:
        with contextlib.suppress(OSError, ValueError):  # "max": it may have all
            there = min(there, int(Path(file).read_text()))
    return max(LEAST, int(there * SHARE))


async def watch(
    limit: int,
    measure: Callable[[], int] = own_memory,
    end: Callable[[int], object] = os._exit,
) -> None:
    """Ends the process once it has more than ``limit`` bytes."""
    import asyncio  # `default_limit` does without

    while (taken := measure()) <= limit:
        await asyncio.sleep(LOOK_SECONDS)
    log.error(
        "the I/O process has taken %d MiB of memory, more than the %d MiB that it may "
        "(IOProcess(max_memory=)): it ends, and its rooms are joined again by another",
        taken >> 20,
        limit >> 20,
    )
    logging.shutdown()
    end(TOO_LARGE)
