"""All benchmarks, one after the other, with the same options; what is not to be had is said."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bench import ear, growth, hop, isolation, media, pictures, report, rings
from bench.environments import Unavailable

ALL = {
    "rings": rings.main,
    "hop": hop.main,
    "growth": growth.main,
    "media": media.main,
    "pictures": pictures.main,
    "ear": ear.main,
    "isolation": isolation.main,
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = report.options(__doc__)
    parser.add_argument("--without", nargs="+", default=(), choices=ALL, help="leave these out")
    given, _ = parser.parse_known_args(arguments)
    rest = list(sys.argv[1:] if arguments is None else arguments)
    if given.without:
        first = rest.index("--without")
        del rest[first : first + 1 + len(given.without)]
    for name, benchmark in ALL.items():
        if name in given.without:
            continue
        try:
            benchmark(rest)
        except Unavailable as error:
            sys.stderr.write(f"{name}: {error}\n")


if __name__ == "__main__":
    main()
