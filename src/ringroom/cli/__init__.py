"""The command line: ``ringroom demo``, ``run``, ``record``, ``speak``, ``token``, ``providers``.

Exit codes: 0 all went well (also after SIGTERM, which ends a run in good order); 1 it failed, with
one line on standard error that says why; 2 the command is wrong (with such a line too, or with its
usage); 130 Ctrl-C.
It composes the public names and does nothing else. It alone reads environment variables.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ringroom.errors import ConfigurationError, RingroomError

__all__ = ["main"]

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code. Raises `SystemExit` (0 or 2) as argparse does."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that the terminal or the locale cannot show must not end what runs.
        sys.stdout.reconfigure(errors="backslashreplace")
    parser = _parser()
    asked = parser.parse_args(arguments)
    try:
        return int(asked.command(asked))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except ConfigurationError as error:
        _complain(f"error: {error}")
        return WRONG_USAGE
    except (RingroomError, TimeoutError, OSError) as error:
        _complain(f"error: {error}")
        return FAILED


def _complain(text: str) -> None:
    if sys.stderr is not None:  # it was closed
        sys.stderr.write(f"ringroom: {text}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ringroom", description="LiveKit media for CPU-heavy Python."
    )
    version = importlib.metadata.version("ringroom")
    parser.add_argument("--version", action="version", version=f"ringroom {version}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_demo(commands.add_parser("demo", help="hear and see it work: no server, no keys"))
    _add_run(commands.add_parser("run", help="run a processor of yours over a room"))
    _add_record(commands.add_parser("record", help="record what comes in from a room"))
    _add_speak(commands.add_parser("speak", help="speak a WAV file into a room"))
    _add_token(commands.add_parser("token", help="print an access token for a room"))
    providers = commands.add_parser("providers", help="list the providers that are installed")
    providers.set_defaults(command=_providers)
    return parser


def _positive(kind: Callable[[str], float], most: float) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = kind(text)
        if not 0 < value <= most:
            raise argparse.ArgumentTypeError(f"{text}: expected more than 0 and at most {most:g}")
        return value

    number.__name__ = "number"
    return number


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise argparse.ArgumentTypeError(f"{text!r}: expected names with commas between")
    return names


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=_demo)
    add = parser.add_argument
    add("--wav", type=Path, help="what the people say: a 16-bit PCM WAV file, not synthesised")
    add("--seconds", type=_positive(float, 3600), default=10.0, help="how long (10)")
    add("--workers", type=_positive(int, 64), default=2, help="worker processes (2)")
    add(
        "--burn-ms",
        type=_positive(float, 1000),
        default=6.0,
        help="milliseconds for which each frame holds the GIL of its worker (6)",
    )
    add("--out", type=Path, default=Path("ringroom-demo.wav"), help="where what was heard goes")
    add("--livekit", action="store_true", help="on a real LiveKit server, started for it")
    add("--no-comparison", action="store_true", help="leave the asyncio loop out")


def _demo(asked: argparse.Namespace) -> int:
    from rich.console import Console

    from ringroom.cli.demo import Demo, demo

    wanted = Demo(
        seconds=asked.seconds,
        workers=asked.workers,
        burn_ms=asked.burn_ms,
        wav=asked.wav,
        out=asked.out,
        livekit=asked.livekit,
        compare=not asked.no_comparison,
    )
    return demo(wanted, Console())


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=_run)
    parser.description = (
        "Runs a processor (a function of a frame, or a ringroom.Processor) over a LiveKit room "
        "until the room ends, Ctrl-C or SIGTERM. Access: a token (--token-file or LIVEKIT_TOKEN), "
        "or a key and secret, with which a fresh token is minted for --room and --identity."
    )
    add = parser.add_argument
    add("processor", metavar="MODULE:NAME", help="found from the current folder too")
    _add_joining(parser, "ringroom")
    add("--workers", type=_positive(int, 256), default=2, help="worker processes (2)")
    add(
        "--kinds",
        type=_names,
        help="audio,video,data,event,data_track; else what the processor names",
    )
    add("--rpc-methods", type=_names, default=(), help="of calls, the methods received: greet,...")
    add("--max-age", type=float, default=0.2, help="seconds after which a frame is stale (0.2)")
    add("--route", choices=("participant", "track"), default="participant")
    add("--mode", choices=("speech", "live"), help="how replies are published")
    _add_care(parser)
    add("--metrics-port", type=int, help="serve metrics to Prometheus there; 0: at any free port")
    add("--metrics-address", help="to whom; 0.0.0.0 is everybody (127.0.0.1: this machine)")


def _add_care(parser: argparse.ArgumentParser) -> None:
    """What is done when processes die or hang; the ranges are checked by `PoolOptions`."""
    add = parser.add_argument
    add("--spares", type=int, default=1, help="workers that are kept ready for one that dies (1)")
    add(
        "--no-standby",
        dest="standby",
        action="store_false",
        help="keep no second I/O process ready",
    )
    add(
        "--restarts",
        type=int,
        default=10,
        help="deaths of one process within a minute after which the run fails (10)",
    )
    add("--stuck-after", type=float, help="seconds on one frame that are reported (never)")
    add("--restart-stuck", action="store_true", help="replace a worker that was reported so")


def _run(asked: argparse.Namespace) -> int:
    from rich.console import Console

    from ringroom.cli.running import run

    return run(asked, Console())


def _add_record(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=_record)
    parser.description = (
        "Writes what comes in from a LiveKit room, with its times, to an MCAP file until the room "
        "ends, Ctrl-C or SIGTERM; the provider `replay` plays it. Access: as for `ringroom run`."
    )
    add = parser.add_argument
    add("out", type=Path, metavar="OUT.mcap", help="the file to write")
    _add_joining(parser, "recorder")
    add("--overwrite", action="store_true", help="replace the file if it is there")
    add("--seconds", type=_positive(float, 10 * 365 * 86_400), help="how long; else until the end")
    add(
        "--kinds",
        type=_names,
        default=("audio", "data", "event"),
        help="audio,video,data,event,data_track (audio,data,event: a picture takes 1.4 MB at "
        "1280x720)",
    )
    add("--max-age", type=float, default=5.0, help="seconds after which a frame is lost (5)")


def _record(asked: argparse.Namespace) -> int:
    from rich.console import Console

    from ringroom.cli.recording import record

    return record(asked, Console())


def _add_speak(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=_speak)
    parser.description = (
        "Joins a LiveKit room, plays a WAV file there as a track of its own, and leaves once it is "
        "played; Ctrl-C or SIGTERM end it at once. Access: as for `ringroom run`."
    )
    add = parser.add_argument
    add("wav", type=Path, metavar="SPEECH.wav", help="16-bit PCM, 1 or 2 channels")
    _add_room(parser, "speaker")
    add("--track", default="audio", help="the name of the track (audio)")
    add("--loop", action="store_true", help="begin again at its end")


def _speak(asked: argparse.Namespace) -> int:
    from rich.console import Console

    from ringroom.cli.speaking import speak

    return speak(asked, Console())


def _add_joining(parser: argparse.ArgumentParser, identity: str) -> None:
    """Which room, as whom, and what is heard there."""
    _add_room(parser, identity)
    add = parser.add_argument
    add("--participants", type=_names, help="only these identities, with commas between")
    sources = "only of these sources: microphone,camera,screen_share,screen_share_audio,unknown"
    add("--tracks", type=_names, help=sources)
    add("--text-topics", type=_names, default=(), help="of texts, the topics received: lk.chat,...")
    add("--file-topics", type=_names, default=(), help="of files, the topics received: photos,...")
    add("--dtmf", action="store_true", help="receive the digits of telephones")
    add("--active-speakers", action="store_true", help="tell who speaks, by an event")
    layer = "of pictures in layers (simulcast), the one received: low, medium, high (high)"
    add("--video-quality", default="high", help=layer)
    add("--sample-rate", type=int, default=16_000, help="Hz of the received audio (16000)")
    add("--channels", type=int, default=1, help="1 or 2 (1)")
    add("--frame-ms", type=int, default=20, help="sound in a received frame (20)")


def _add_room(parser: argparse.ArgumentParser, identity: str) -> None:
    """Which room, and as whom: ``identity``, where nobody says. Each command has one of its own,
    for a server removes whoever has it as another joins with it."""
    _add_access(parser)
    parser.set_defaults(default_identity=identity)
    add = parser.add_argument
    add("--url", help="of the LiveKit server; else LIVEKIT_URL")
    add("--room", default="", help="its name; needed where a token is minted")
    add("--identity", help=f"who we are, where a token is minted ({identity})")
    add("--token-file", type=Path, help="a file that holds the token; else LIVEKIT_TOKEN")
    add("--token", help="the token itself; it shows in `ps`, so rather use --token-file")


def _add_access(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--key-file", type=Path, help="a file that holds the API key")
    add("--secret-file", type=Path, help="a file that holds the API secret")
    add("--key", help="the API key; else LIVEKIT_API_KEY")
    add("--secret", help="the API secret; it shows in `ps`, so rather use LIVEKIT_API_SECRET")


def _add_token(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=_token)
    add = parser.add_argument
    _add_access(parser)
    add("--room", required=True)
    add("--identity", required=True)
    add("--name", default="", help="the name for people")
    kinds = ("standard", "agent", "sip", "ingress", "egress")
    add("--kind", default="standard", choices=kinds, help="of participant (standard)")
    add("--ttl", type=_positive(float, 10 * 365 * 86_400), default=6 * 3600.0, help="s (21600)")
    may = "its holder may change its own name, metadata and attributes"
    add("--set-profile", action="store_true", help=may)


def _token(asked: argparse.Namespace) -> int:
    from ringroom.cli.access import minter

    _print(minter(asked, asked.room, asked.identity)())
    return 0


def _providers(asked: argparse.Namespace) -> int:
    from ringroom import provider_names

    _print("\n".join(provider_names()))
    return 0


def _print(result: str) -> None:
    """Print the result of the command, which has failed if nobody gets it."""
    if sys.stdout is None:
        raise OSError("standard output is closed")
    sys.stdout.write(result + "\n")
    sys.stdout.flush()
