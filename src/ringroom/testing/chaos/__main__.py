"""``python -m ringroom.testing.chaos``: lets things go wrong, as long as one likes."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import random
import sys
from collections.abc import Sequence

from ringroom.errors import ConfigurationError
from ringroom.testing.chaos.plan import Plan
from ringroom.testing.chaos.run import run
from ringroom.testing.server import LiveKitServer, ServerUnavailable

_MOST_SEEDS = 1 << 32
FAILED, WRONG_USAGE = 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """1 when a law is broken or there is no server, 2 for wrong options."""
    asked = _parser().parse_args(arguments)
    seed = random.SystemRandom().randrange(_MOST_SEEDS) if asked.seed is None else asked.seed
    try:
        plan = Plan(
            seed=seed,
            seconds=asked.seconds,
            tracks=asked.tracks,
            places=asked.places,
            spares=asked.spares,
            standby=asked.standby,
            every=asked.every,
            worker_kills=asked.workers,
            io_kills=asked.io,
            patience=asked.patience,
        )
    except ConfigurationError as error:
        _say(f"error: {error}")
        return WRONG_USAGE
    _move_standard_error(asked.log)
    try:
        with LiveKitServer() if asked.livekit else contextlib.nullcontext() as server:
            report = run(plan, livekit=server, tell=_say)
    except ServerUnavailable as error:
        _say(f"error: {error}")
        return FAILED
    _say(f"\n{report}")
    if not report.ok:
        _say(f"again: python -m ringroom.testing.chaos {_again(seed, arguments)}")
    return 0 if report.ok else FAILED


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _again(seed: int, arguments: Sequence[str] | None) -> str:
    words = [*(sys.argv[1:] if arguments is None else arguments)]
    return " ".join(words if "--seed" in words else [*words, "--seed", str(seed)])


def _move_standard_error(path: str) -> None:
    """The log of a run in which processes die is long, and every SIGSEGV leaves its stacks."""
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(fd, 2)
    os.close(fd)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ringroom.testing.chaos",
        description=(
            "Runs a pool of real processes over a fake room (or a real LiveKit server), lets "
            "things go wrong at random, and looks all the time whether what ringroom promises is "
            "kept."
        ),
    )
    add = parser.add_argument
    add("--seconds", type=float, default=60.0, help="how long (60)")
    add("--seed", type=int, help="what goes wrong, and in which order (a new one)")
    add(
        "--every",
        type=float,
        default=1.0,
        help="seconds between two faults, on average (1); 0: a soak without any",
    )
    add(
        "--workers",
        type=int,
        default=0,
        metavar="N",
        help="kill workers N times, and nothing else; --seconds is left out",
    )
    add(
        "--io",
        type=int,
        default=0,
        metavar="M",
        help="kill the I/O process M times, and nothing else",
    )
    add("--tracks", type=int, default=8, help="how many people speak (8)")
    add("--places", type=int, default=2, help="worker processes (2)")
    add("--spares", type=int, default=1, help="workers that are kept ready (1)")
    add(
        "--no-standby",
        dest="standby",
        action="store_false",
        help="keep no second I/O process ready",
    )
    add(
        "--patience",
        type=float,
        default=60.0,
        help="seconds within which everything must recover (60)",
    )
    add(
        "--livekit",
        action="store_true",
        help="on a real server: that of LIVEKIT_URL, with LIVEKIT_API_KEY and "
        "LIVEKIT_API_SECRET, else one that is started",
    )
    add(
        "--log",
        default=os.devnull,
        metavar="FILE",
        help="where the log and the standard error of all processes go (nowhere)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
