"""The ring and the lane beside other ways to pass frames from one process to another.

Each way runs in two fresh children, a writer and a reader. First the writer sends as fast as the
reader takes (frames and bytes per second, and CPU per frame on both sides), then one frame every
two milliseconds to a reader that sleeps (how long until it has the frame, and CPU per frame with a
wake-up for each). The reader checks number and end of every frame.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn, Self

import numpy as np

from bench import peers, report
from bench.channels import OURS, STANDARD, Channel, Copied, InPlace
from bench.charts import bars
from bench.report import Asked
from bench.rounds import Figures, Outcome, Run, measure, outcomes

SIZES = {
    320: "320 B (10 ms of speech)",
    960: "960 B (10 ms at 48 kHz)",
    7_680: "7.7 KB (40 ms of stereo)",
    460_800: "460 KB (VGA)",
    3_110_400: "3.1 MB (1080p)",
    12_441_600: "12.4 MB (4K)",
}
MEMCPY, MEMSET = "memcpy", "memset"
# Of a frame: its number, when it was sent, and what part of the run it belongs to.
_STAMP = struct.Struct("<QqB")
_TAIL = struct.Struct("<Q")
_WARM, _FULL, _PACED, _OVER = range(4)
PAUSE_SECONDS = 0.002
LEAVE_SECONDS = 5.0  # a child that is in the middle of something is not waited for
LARGE = 1 << 20


@dataclass(frozen=True)
class Case:
    """One way and one size."""

    way: str
    nbytes: int


@dataclass(frozen=True, kw_only=True)
class Load:
    """How much to send."""

    seconds: float = 0.5
    paced: int = 300
    """Frames, one at a time; of the largest a quarter, for some ways take seconds for them."""

    def paced_for(self, nbytes: int) -> int:
        return self.paced if nbytes < LARGE else max(2, self.paced // 4)


TRIAL = Load(seconds=0.01, paced=5)


class Failed(Exception):
    """A child ended without its figures."""


def run(make: type[Channel], nbytes: int, load: Load) -> Figures:
    """One way, once."""
    channel = make(nbytes)
    signs, sign = os.pipe()
    try:
        with contextlib.ExitStack() as children:
            reader = children.enter_context(_Child(lambda: _read(channel, sign), channel.leave))
            os.close(sign)  # its reader's end is then the only one, and its death is seen
            writer = children.enter_context(
                _Child(lambda: _write(channel, load, signs), channel.leave)
            )
            figures = reader.figures() | writer.figures()
    finally:
        os.close(signs)
        channel.close()
    figures["gb_per_s"] = figures["frames_per_s"] * nbytes / 1e9
    return figures


class _Child:
    """A forked process that computes figures. It inherits what was made before, as is, and stays
    until the block ends: queues and sockets still send from threads of theirs."""

    def __init__(self, work: Callable[[], Figures], leave: Callable[[], None]) -> None:
        self._answer, answer = os.pipe()
        hold, self._hold = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._hold)
            _be_child(work, leave, answer, hold)
        os.close(answer)
        os.close(hold)

    def __enter__(self) -> Self:
        return self

    def figures(self) -> Figures:
        with open(self._answer, "rb", closefd=False) as answer:
            told = answer.read()
        if not told:
            raise Failed("a child ended early; see its error above")
        figures: Figures = json.loads(told)
        return figures

    def __exit__(self, *exc_info: object) -> None:
        os.close(self._answer)
        os.close(self._hold)
        deadline = time.monotonic() + LEAVE_SECONDS
        while os.waitpid(self._pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
                return
            time.sleep(0.001)


def _be_child(
    work: Callable[[], Figures], leave: Callable[[], None], answer: int, hold: int
) -> NoReturn:
    code = 1
    try:
        os.write(answer, json.dumps(work()).encode())
        os.close(answer)
        os.read(hold, 1)
        leave()
        code = 0
    except BaseException:  # noqa: BLE001 (the parent reads the traceback)
        traceback.print_exc()
    finally:
        os._exit(code)


def _write(channel: Channel, load: Load, signs: int) -> Figures:
    _await_sign(signs)
    send = _sender(channel)
    sequence = 0

    def burst(part: int, seconds: float) -> tuple[int, float]:
        nonlocal sequence
        first, spent, end = sequence, time.process_time(), time.monotonic() + seconds
        while time.monotonic() < end:
            for _ in range(8):
                send(sequence, part)
                sequence += 1
        return sequence - first, time.process_time() - spent

    burst(_WARM, load.seconds / 4)
    count, spent = burst(_FULL, load.seconds)
    send(sequence, _PACED)
    _await_sign(signs)
    time.sleep(0.02)
    paced, paced_spent = load.paced_for(channel.nbytes), time.process_time()
    for number in range(1, paced + 1):
        time.sleep(PAUSE_SECONDS)
        send(sequence + number, _PACED)
    paced_spent = time.process_time() - paced_spent
    send(sequence + paced + 1, _OVER)
    return {
        "writer_cpu_us": spent / count * 1e6,
        "paced_writer_cpu_us": paced_spent / paced * 1e6,
    }


def _await_sign(signs: int) -> None:
    """The reader is there, or has caught up."""
    if not os.read(signs, 1):
        raise Failed("the reader has ended")


def _sender(channel: Channel) -> Callable[[int, int], None]:
    """What sends a frame with that number, in that part of the run."""
    nbytes, end, now = channel.nbytes, channel.nbytes - _TAIL.size, time.monotonic_ns
    if isinstance(channel, Copied):
        frame, put = bytearray(nbytes), channel.writing()

        def send(sequence: int, part: int) -> None:
            _TAIL.pack_into(frame, end, sequence)
            _STAMP.pack_into(frame, 0, sequence, now(), part)
            put(frame)

        return send
    assert isinstance(channel, InPlace)
    loan, commit = channel.loaning()

    def fill(sequence: int, part: int) -> None:
        view = loan()
        began = now()
        np.frombuffer(view, np.uint8).fill(sequence & 255)
        _TAIL.pack_into(view, end, sequence)
        _STAMP.pack_into(view, 0, sequence, began, part)
        del view
        commit()

    return fill


def _read(channel: Channel, sign: int) -> Figures:
    get = channel.reading()
    os.write(sign, b".")
    now, end = time.monotonic_ns, channel.nbytes - _TAIL.size
    delays: list[int] = []
    expected, part_before = 0, _WARM
    began = spent = paced_spent = 0.0
    first = count = 0
    seconds = cpu = 0.0
    while True:
        frame = get()
        arrived = now()
        sequence, sent, part = _STAMP.unpack_from(frame)
        if sequence != expected or _TAIL.unpack_from(frame, end)[0] != sequence:
            raise Failed(f"{channel.name}: frame {sequence} where {expected} belongs")
        del frame  # done with, before the next is waited for, as a worker is
        expected += 1
        if part == part_before == _PACED:
            delays.append(arrived - sent)
        elif part != part_before:
            if part == _FULL:
                began, spent, first = time.monotonic(), time.process_time(), sequence
            elif part == _PACED:
                seconds, cpu = time.monotonic() - began, time.process_time() - spent
                count, paced_spent = sequence - first, time.process_time()
                os.write(sign, b".")
            else:
                paced_spent = time.process_time() - paced_spent
                break
            part_before = part
    return {
        "frames_per_s": count / seconds,
        "reader_cpu_us": cpu / count * 1e6,
        "paced_reader_cpu_us": paced_spent / len(delays) * 1e6,
        **report.spread("wake_us", delays, 1e-3),
    }


def _memory(way: str, nbytes: int, load: Load) -> Figures:
    """What the machine's memory allows: a buffer into as many others as a lane holds, in turn."""
    source = np.zeros(nbytes, np.uint8)
    targets = [np.ones(nbytes, np.uint8) for _ in range(8)]
    count, began, spent, seconds = 0, time.monotonic(), time.process_time(), 0.0
    while seconds < load.seconds / 2:
        for target in targets:
            if way == MEMCPY:
                np.copyto(target, source)
            else:
                target.fill(count & 255)
            count += 1
        seconds = time.monotonic() - began
    return {
        "frames_per_s": count / seconds,
        "gb_per_s": count * nbytes / seconds / 1e9,
        "writer_cpu_us": (time.process_time() - spent) / count * 1e6,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = report.options(__doc__)
    parser.add_argument("--seconds", type=float, default=Load.seconds, help="at full speed, each")
    parser.add_argument("--only", nargs="+", default=[""], help="parts of ways' names")
    given = parser.parse_args(arguments)
    asked = report.asked(given)
    others, missing = peers.installed() if asked.peers else ([], {})
    ways = {way.name: way for way in (*OURS, *STANDARD, *others) if _is_wanted(way, given.only)}
    missing |= {way.name: why for way in others if (why := _broken(ways, way.name))}
    load, sizes = Load(seconds=given.seconds), [*SIZES]
    if asked.smallest:
        load, sizes = TRIAL, [960]
    cases = [Case(way, nbytes) for nbytes in sizes for way in (*ways, MEMCPY, MEMSET)]

    def one(case: Case) -> Figures:
        if case.way in (MEMCPY, MEMSET):
            return _memory(case.way, case.nbytes, load)
        return run(ways[case.way], case.nbytes, load)

    runs = measure(cases, one, asked.plan)
    report.keep("rings", runs, asked, missing=missing)
    tell(runs, sizes, missing)
    if not asked.smallest:
        draw(runs, asked)


def _is_wanted(way: type[Channel], parts: Sequence[str]) -> bool:
    return any(part in way.name for part in parts)


def _broken(ways: dict[str, type[Channel]], name: str) -> str:
    """Why somebody else's way does not work here, if so; it is then left out."""
    if name not in ways:
        return ""
    try:
        run(ways[name], 960, TRIAL)
    except Exception as error:  # noqa: BLE001 (a peer may raise anything; it is listed)
        del ways[name]
        return f"{type(error).__name__}: {error}"
    return ""


COLUMNS = {
    "frames/s": "frames_per_s",
    "GB/s": "gb_per_s",
    "wake-up p50 us": "wake_us_p50",
    "p99": "wake_us_p99",
    "CPU us writer": "writer_cpu_us",
    "reader": "reader_cpu_us",
    "one at a time: writer": "paced_writer_cpu_us",
    "reader ": "paced_reader_cpu_us",
}


def tell(runs: Sequence[Run[Case]], sizes: Sequence[int], missing: dict[str, str]) -> None:
    """A table for each size."""
    found = outcomes(runs)
    for nbytes in sizes:
        rows = [
            [case.way, *(_cell(outcome, figure) for figure in COLUMNS.values())]
            for case, outcome in found.items()
            if case.nbytes == nbytes
        ]
        report.show(SIZES[nbytes], ["", *COLUMNS], rows, missing=missing)


def _cell(outcome: Outcome, figure: str) -> str:
    return report.number(outcome.figures.get(figure), outcome.noisy)


def draw(runs: Sequence[Run[Case]], asked: Asked) -> None:
    """Frames per second for small frames, GB/s for large ones, and the wake-up."""
    found = outcomes(runs)

    def groups(figure: str, sizes: Sequence[int]) -> dict[str, dict[str, float | None]]:
        return {
            SIZES[nbytes]: {
                case.way: outcome.figures[figure]
                for case, outcome in found.items()
                if case.nbytes == nbytes and figure in outcome.figures
            }
            for nbytes in sizes
        }

    small, large = [n for n in SIZES if n < 32_768], [n for n in SIZES if n >= 32_768]
    folder = asked.figures
    copied = {
        size: {way: value for way, value in ways.items() if way not in (MEMCPY, MEMSET)}
        for size, ways in groups("frames_per_s", small).items()
    }
    bars(folder / "rings-small.svg", "Small frames: frames per second", copied, unit="/s")
    large_groups = groups("gb_per_s", large)
    bars(folder / "rings-large.svg", "Pictures: GB per second", large_groups, unit="GB/s")
    bars(
        folder / "rings-wake.svg",
        "Until a reader that sleeps has the frame: median",
        groups("wake_us_p50", [*SIZES]),
        unit="us",
    )


if __name__ == "__main__":
    main()
