"""Joins under way. One that nobody waits for any more is carried on to its answer, and left.

The SDK cannot take a join back, and does not survive its cancellation (livekit 1.1.14 to 1.2.1,
python-sdks #784): the native side carries it on, waits 15 s for a word that only the cancelled
coroutine would have said, and ends the whole process by a panic.

Joins of one identity from one process take turns, the next one once the earlier is answered, and
left if it was given up: the server would put the earlier one out, the native side would try again
and put the later one out, and so on for a minute.

Owns the tasks that see joins through, for each event loop. A loop that ends before them must belong
to a process that ends with it, as the I/O process does.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any
from weakref import WeakKeyDictionary

from ringroom.providers.claims import claims_of

__all__ = ["carry_on", "turn", "under_way", "who_joins"]

_log = logging.getLogger("ringroom.livekit")
_Task = asyncio.Task[None]
# Who joins in each task that is not done.
_of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[_Task, str]] = WeakKeyDictionary()


def who_joins(url: str, token: str) -> str:
    """The server, room and identity that a token joins as, in one word."""
    try:
        claims = claims_of(token)
    except ValueError:
        return url  # the server's to refuse
    video = claims.get("video")
    room = video.get("room") if isinstance(video, dict) else None
    return f"{url} {room} {claims.get('sub')}"


def carry_on(who: str, work: Coroutine[Any, Any, object]) -> None:
    """Run ``work``, which ends when that join is answered, and left if it was given up."""
    tasks = _of_loop.setdefault(asyncio.get_running_loop(), {})
    task = asyncio.create_task(_to_its_end(work), name=f"join: {who}")
    tasks[task] = who
    task.add_done_callback(tasks.pop)


async def _to_its_end(work: Coroutine[Any, Any, object]) -> None:
    try:
        await work
    except Exception as error:  # noqa: BLE001  (nobody waits for it any more)
        # How the join ended is no error here: it was the leaving.
        name = type(error).__name__
        _log.warning("livekit: a room whose join was given up was not left: %s", name)


def under_way(who: str | None = None) -> set[_Task]:
    """What is being carried on, for one who joins or (None) for all."""
    tasks = _of_loop.get(asyncio.get_running_loop(), {})
    return {task for task, whose in tasks.items() if who in (None, whose)}


async def turn(who: str, timeout: float) -> float:
    """Wait until no earlier join of theirs is under way; the seconds that are left. Whose turn it
    is must `carry_on` at once, before anything else is awaited.

    Raises `TimeoutError`.
    """
    deadline = time.monotonic() + timeout
    while waiting := under_way(who):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        await asyncio.wait(waiting, timeout=left)
    return max(deadline - time.monotonic(), 0.0)
