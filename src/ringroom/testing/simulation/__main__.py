"""``python -m ringroom.testing.simulation``: plays seeds by hand, as long as one likes."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence

from ringroom.testing.simulation.run import Outcome, run, simulate
from ringroom.testing.simulation.story import make_story

_MOST_SEEDS = 1 << 32


def main(arguments: Sequence[str] | None = None) -> int:
    """1 when a law is broken, after which no other seed is played."""
    options = _options(arguments)
    seed = random.SystemRandom().randrange(_MOST_SEEDS) if options.seed is None else options.seed
    if options.trace:
        outcome = run(make_story(seed, options.seconds), keep_trace=True)
        sys.stdout.write("\n".join((*outcome.trace, f"{outcome.law}", "")))
        return int(bool(outcome.law))
    played, began, burned = 0.0, time.perf_counter(), time.process_time()
    while not played or played < 60 * options.minutes:
        try:
            outcome = simulate(seed, options.seconds)
        except AssertionError as error:
            sys.stdout.write(f"{error}\n")
            return 1
        sys.stdout.write(_line(seed, outcome))
        played += options.seconds
        seed += 1
    took, burned = time.perf_counter() - began, time.process_time() - burned
    sys.stdout.write(
        f"{played / 60:.1f} minutes in {took:.1f} s: {played / took:.0f} simulated hours per hour, "
        f"{played / burned:.0f} per hour of CPU time\n"
    )
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ringroom.testing.simulation")
    parser.add_argument("--seed", type=int, help="the first seed (default: a new one)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of a story (default: 60)")
    parser.add_argument(
        "--minutes", type=float, default=0.0, help="seed after seed until so much is simulated"
    )
    parser.add_argument("--trace", action="store_true", help="print who went on when, and why")
    return parser.parse_args(arguments)


def _line(seed: int, outcome: Outcome) -> str:
    return (
        f"seed {seed}: {outcome.frames} frames, {outcome.messages} messages, "
        f"{outcome.calls} calls, {outcome.mutes} mutes, {outcome.deaths} deaths, "
        f"trace {outcome.fingerprint[:16]}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
