"""How a pool runs its workers: `PoolOptions`, checked once, before anything is started."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

from ringroom.errors import ConfigurationError
from ringroom.events import Event
from ringroom.option_checks import (
    check_choice,
    check_flag,
    check_function,
    settle_number,
    settle_whole,
)
from ringroom.options import Mode, Route
from ringroom.processes.supervision.supervisor import Care
from ringroom.processor import Problem

__all__ = ["PoolOptions"]

MAX_SECONDS = 86_400


@dataclass(frozen=True, kw_only=True)
class PoolOptions:
    """How a pool runs its workers."""

    workers: int = 2
    """Processes; 1 to 256."""
    route: Route = "participant"
    """Which tracks share a worker: all of one ``participant``, or each ``track`` on its own."""
    mode: Mode | None = None
    """How replies are published; None: as the processor says."""
    start_timeout: float = 60.0
    """Seconds that `Processor.start` may take (it loads models)."""
    drain_timeout: float = 5.0
    """Seconds to finish what waits when the pool is drained. The workers have two more, also for
    `Processor.stop`; when the pool is closed they have those two alone. A worker that takes longer
    is killed, which is logged."""
    spares: int = 1
    """Workers that have started and wait for the place of one that dies, from a second after the
    work has begun."""
    restarts: int = 10
    """How often a worker's place is given to another within `restart_window`, and how often the I/O
    process is replaced; then the pool ends with `LostProcessError`. 0: with the first death."""
    restart_window: float = 60.0
    """Seconds, for `restarts`."""
    standby: bool = True
    """Whether another I/O process is kept ready for the death of the one that works, from a second
    after the work has begun. Without it, one is started then."""
    stuck_after: float | None = None
    """Seconds on one frame, from 0.05, after which a worker is reported to ``on_error``, with its
    Python stack; None: never."""
    restart_stuck: bool = False
    """Whether a worker that was reported as stuck is killed and replaced."""
    on_event: Callable[[Event], None] | None = None
    """Called on the supervision thread with what happens in the room and to the pool itself; None:
    with nothing. What it raises is logged."""
    on_error: Callable[[Problem], None] | None = None
    """Called on the supervision thread with each `Problem`, also those that are not logged any
    more; None: they are logged only. What it raises is logged."""

    def __post_init__(self) -> None:
        settle_whole(self, "workers", 1, 256)
        settle_whole(self, "spares", 0, 256)
        settle_whole(self, "restarts", 0, 1_000_000)
        check_choice("route", self.route, get_args(Route))
        if self.mode is not None:
            check_choice("mode", self.mode, get_args(Mode))
        for name in ("start_timeout", "drain_timeout", "restart_window"):
            settle_number(self, name, 0, MAX_SECONDS)
        for name in ("standby", "restart_stuck"):
            check_flag(name, getattr(self, name))
        if self.stuck_after is not None:
            settle_number(self, "stuck_after", 0.05, MAX_SECONDS)
        elif self.restart_stuck:
            raise ConfigurationError("restart_stuck goes with stuck_after, which is None")
        for name, given in (("on_event", "an Event"), ("on_error", "a Problem")):
            if getattr(self, name) is not None:
                check_function(name, getattr(self, name), given)

    @property
    def care(self) -> Care:
        """The part that is the supervisor's."""
        return Care(
            places=self.workers,
            spares=self.spares,
            restarts=self.restarts,
            window=self.restart_window,
            start_timeout=self.start_timeout,
            stuck_after=self.stuck_after,
            restart_stuck=self.restart_stuck,
        )
