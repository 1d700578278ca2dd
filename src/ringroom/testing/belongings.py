"""What a process has of the kernel's: children, descriptors and threads, in words.

Read from ``/proc`` (Linux). The resource tracker of `multiprocessing`, which all share and which is
kept for ever, is not listed.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

__all__ = ["belongings", "kinds"]


def belongings() -> set[str]:
    """Children, descriptors and threads of this process, in words that tell them apart."""
    found = {f"child {pid} ({name})" for pid, name in _children().items()}
    found |= {f"descriptor {number} ({target})" for number, target in _descriptors().items()}
    found |= {f"thread {thread.name} ({thread.ident})" for thread in _threads()}
    return found


def kinds() -> Counter[str]:
    """How many there are of each kind, the words without their numbers; and of descriptors and
    threads in the children."""
    found = Counter(f"descriptor {_unnumbered(target)}" for target in _descriptors().values())
    found.update(f"thread {_unnumbered(thread.name)}" for thread in _threads())
    for pid, name in _children().items():
        child = f"child process {_unnumbered(name)}"
        targets = _descriptors(pid).values()
        found.update([child, *(f"descriptor {_unnumbered(each)} of {child}" for each in targets)])
        with contextlib.suppress(OSError):  # it has just ended
            found[f"thread of {child}"] += len(os.listdir(f"/proc/{pid}/task"))
    return found


def _threads() -> list[threading.Thread]:
    """The threads that Python started. A library's native threads show up once they have asked for
    their name (logging does), and Python cannot end them."""
    return [one for one in threading.enumerate() if not isinstance(one, threading._DummyThread)]


def _unnumbered(text: str) -> str:
    return re.sub(r"\d+", "N", text)


def _children() -> dict[int, str]:
    # Asked of the kernel by parent: a look at every process of the machine costs more than a test.
    pids = set(_started_by(threading.main_thread().native_id))
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):  # it has just ended
            pids |= set(_started_by(thread))
    found = {}
    for pid in pids - _tracker("_pid"):
        with contextlib.suppress(OSError):
            found[pid] = Path(f"/proc/{pid}/comm").read_text().strip()
    return found


def _started_by(thread: object) -> Iterator[int]:
    return map(int, Path(f"/proc/self/task/{thread}/children").read_text().split())


def _descriptors(pid: int | None = None) -> dict[int, str]:
    folder = f"/proc/{pid or 'self'}/fd"
    ignored = _tracker("_fd") if pid is None else set()
    found = {}
    with contextlib.suppress(OSError):  # a child that has just ended
        for number in map(int, os.listdir(folder)):
            # One of our descriptors listed the folder: it is gone by now.
            with contextlib.suppress(OSError):
                if number not in ignored:
                    found[number] = os.readlink(f"{folder}/{number}")
    return found


def _tracker(field: str) -> set[int]:
    """The resource tracker's pid or descriptor: started once, and kept, by each of the packages."""
    names = ("multiprocess.resource_tracker", "multiprocessing.resource_tracker")
    trackers = (getattr(sys.modules.get(name), "_resource_tracker", None) for name in names)
    return {value for t in trackers if (value := getattr(t, field, None)) is not None}
