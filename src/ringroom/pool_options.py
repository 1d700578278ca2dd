"""How a pool runs its workers: `PoolOptions`, checked once, before anything is started."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

from ringroom.errors import ConfigurationError
from ringroom.frames import Event
from ringroom.options import Mode, Route
from ringroom.processes.supervisor import Care
from ringroom.processor import Problem

__all__ = ["PoolOptions"]


@dataclass(frozen=True, kw_only=True)
class PoolOptions:
    """How a pool runs its workers."""

    workers: int = 2
    route: Route = "participant"
    """Which tracks share a worker: all of one ``participant``, or each ``track`` on its own."""
    mode: Mode | None = None
    """How replies are published; None: as the processor says."""
    start_timeout: float = 60.0
    """Seconds that `Processor.start` may take (it loads models)."""
    drain_timeout: float = 5.0
    """Seconds for finishing what waits, when the pool stops in good order."""
    spares: int = 1
    """Workers that have started and wait for the place of one that dies."""
    restarts: int = 10
    """How often a worker's place is given to another within `restart_window`, and how often the I/O
    process is replaced; then the pool ends with `LostProcessError`. 0: with the first death."""
    restart_window: float = 60.0
    """Seconds."""
    standby: bool = True
    """Whether another I/O process is kept ready, for the death of the one that works."""
    stuck_after: float | None = None
    """Seconds on one frame after which a worker is reported to ``on_error``, with its Python stack;
    None: never."""
    restart_stuck: bool = False
    """Whether a worker that was reported so is killed and replaced."""
    on_event: Callable[[Event], None] | None = None
    on_error: Callable[[Problem], None] | None = None

    def __post_init__(self) -> None:
        _check_count("workers", self.workers, 1, 256)
        _check_count("spares", self.spares, 0, 256)
        _check_count("restarts", self.restarts, 0, 1_000_000)
        if self.route not in get_args(Route):
            raise ConfigurationError(f"route is {self.route!r}, expected 'participant' or 'track'")
        if self.mode not in (None, *get_args(Mode)):
            raise ConfigurationError(f"mode is {self.mode!r}, expected 'speech' or 'live'")
        for name in ("start_timeout", "drain_timeout", "restart_window"):
            _check_seconds(name, getattr(self, name), 0.0)
        if not isinstance(self.standby, bool):
            raise ConfigurationError(f"standby is {self.standby!r}, expected True or False")
        if self.stuck_after is not None:
            _check_seconds("stuck_after", self.stuck_after, 0.05)
        elif self.restart_stuck:
            raise ConfigurationError("restart_stuck goes with stuck_after, which is None")
        for name in ("on_event", "on_error"):
            if getattr(self, name) is not None and not callable(getattr(self, name)):
                raise ConfigurationError(f"{name} is not callable")

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


def _check_count(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigurationError(f"{name} is {value!r}, expected a whole number")
    if not low <= value <= high:
        raise ConfigurationError(f"{name} is {value}, expected {low} to {high}")


def _check_seconds(name: str, value: object, low: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= low:
        raise ConfigurationError(f"{name} is {value!r}, expected seconds, at least {low:g}")
