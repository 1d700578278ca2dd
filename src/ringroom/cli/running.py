"""`ringroom run`: a processor of the user's, over a LiveKit room, with a live table."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.logging import RichHandler

import ringroom
from ringroom.cli import access, scraping
from ringroom.cli.view import Processes, View, pool_processes, says
from ringroom.errors import ConfigurationError
from ringroom.system import sigterm_raises

__all__ = ["Terminated", "find_processor", "run", "terminated_by_sigterm"]


# Options of a pool under their own names.
_POOL = (
    "workers",
    "route",
    "mode",
    "rpc_methods",
    "spares",
    "standby",
    "restarts",
    "stuck_after",
    "restart_stuck",
)


class Terminated(BaseException):
    """SIGTERM came. As with Ctrl-C, no `except Exception` catches it."""


def run(asked: argparse.Namespace, console: Console) -> int:
    """Run until the room ends (0), SIGTERM (0) or Ctrl-C (130); raises what else ended it."""
    _log_to(console)
    processor = find_processor(asked.processor)
    options = access.joining(asked) | {name: getattr(asked, name) for name in _POOL}
    if asked.kinds is not None:
        options["kinds"] = asked.kinds
    # SIGTERM may come before there is a pool, and again while it finishes.
    pool: ringroom.Pool | None = None
    code = 0
    with terminated_by_sigterm():
        pool = ringroom.Pool(processor, "livekit", **options)
        with scraping.served(asked, pool):
            code = _serve(pool, console, asked.processor)
    if pool is not None:
        _summary(pool.stats())
    return code


def _serve(pool: ringroom.Pool, console: Console, title: str) -> int:
    code = 0
    with pool:
        says(f"in room {pool.room!r} as {pool.identity!r}; Ctrl-C ends it")
        processes = Processes(lambda: pool_processes(pool))
        try:
            with View(title, pool.stats, processes, console) as view:
                _watch(pool, view)
        except KeyboardInterrupt:
            code = 130
        except Terminated:
            pass
        says("finishing what waits ...")
        pool.drain()
    return code


def _watch(pool: ringroom.Pool, view: View) -> None:
    while True:
        try:
            says(f"the room has ended: {pool.wait(0.1)}")
            return
        except TimeoutError:
            view.tick()


def find_processor(target: str) -> Any:
    """What ``module:name`` names; the current folder is searched first.

    Raises `ConfigurationError` when there is none, or its import fails (then with its traceback).
    """
    module_name, _, name = target.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), *name.split("."))):
        raise ConfigurationError(
            f"{target!r}: expected MODULE:NAME, for example app:Transcriber (a module's name, with "
            "dots, and no path)"
        )
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and module_name.split(".")[: error.name.count(".") + 1] == (
            error.name.split(".")
        ):
            hint = "; leave out the .py" if module_name.endswith(".py") else ""
            raise ConfigurationError(
                f"no module {error.name!r} in {folder} or installed{hint}"
            ) from None
        raise ConfigurationError(f"{module_name} does not import: {error}") from None
    except SystemExit as error:
        raise ConfigurationError(
            f"{module_name} does not import: it exits ({error.code!r}); put what a script does "
            'under `if __name__ == "__main__":`'
        ) from None
    except Exception as error:  # noqa: BLE001 (whatever the user's module raises)
        traceback.print_exc()
        raise ConfigurationError(f"{module_name} does not import: {error}") from None
    for part in name.split("."):
        if not hasattr(found, part):
            raise ConfigurationError(f"{module_name} has no {name!r}")
        found = getattr(found, part)
    return found


def _log_to(console: Console) -> None:
    handler: logging.Handler = logging.StreamHandler()
    if console.is_terminal:
        # Anything else would be written into the middle of the table.
        handler = RichHandler(console=console, show_path=False)
    logging.basicConfig(handlers=[handler], format="%(name)s %(levelname)s %(message)s")


def _summary(statistics: ringroom.Statistics) -> None:
    into, out = statistics.received, statistics.sent
    says(
        f"received {into.sent}: {into.done} processed, {into.dropped} dropped, {into.lost} lost, "
        f"{into.problems} raised; oldest {into.oldest_ns / 1e6:.0f} ms"
    )
    says(f"sent {out.sent}: {out.done} played, {out.dropped} dropped, {out.lost} lost")


@contextlib.contextmanager
def terminated_by_sigterm() -> Iterator[None]:
    # It may come while the pool is starting or ending; all that was open has been closed.
    with contextlib.suppress(Terminated), sigterm_raises(Terminated):
        yield
