"""How the worker role begins: in a process of its own, or as a role of a test."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
import threading
import traceback

import dill
import multiprocess
from multiprocess.connection import wait

from ringroom import messages as m
from ringroom.lanes.memory import Segment
from ringroom.link import Link
from ringroom.options import SessionOptions
from ringroom.processes.machine import MACHINE, Machine, ProcessMachine
from ringroom.processes.worker.answering import Answering
from ringroom.processes.worker.problems import shortened
from ringroom.processes.worker.worker import Worker
from ringroom.processes.worker_voice import speak
from ringroom.processor import Processor
from ringroom.system import hold_standard_descriptors, raise_descriptor_limit


def _die_with_parent() -> None:
    """A worker deep in the user's code does not look at its links; the thread does. Native code
    that holds the GIL keeps the thread from it, too: there the kernel kills the process."""
    parent = multiprocess.parent_process()
    if parent is None:
        return
    # Of its own: where standard error was closed the original may be number 2, which is replaced.
    pipe = os.dup(parent.sentinel)
    _be_killed_at_the_end_of(pipe)

    def watch() -> None:
        wait([pipe])
        os._exit(1)

    threading.Thread(target=watch, name="ringroom-parent", daemon=True).start()


def _be_killed_at_the_end_of(pipe: int) -> None:
    """When no process has the writing end any more, or one writes: all that the parent writes is
    read before the arguments of this process are unpickled. Where the system does not give that
    signal (macOS, some sandboxes), the thread is all there is."""
    if not hasattr(fcntl, "F_SETSIG"):
        return
    with contextlib.suppress(OSError):
        fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)


def run_role(control: Link, blob: bytes, machine: Machine = MACHINE) -> None:
    """A worker at the other end of the link, which it owns."""
    try:
        processor, options = _unpickle(control, blob)
        Worker(Answering(control, machine), processor, options).run()
    finally:
        control.close()


def _unpickle(control: Link, blob: bytes) -> tuple[Processor, SessionOptions]:
    """Only what the process that made us has pickled comes here."""
    try:
        processor, options = dill.loads(blob)  # noqa: S301
    except Exception:  # noqa: BLE001 (told to the pool)
        control.send(m.WorkerFailed(error=shortened(traceback.format_exc())))
        raise SystemExit(1) from None
    return processor, options


def _read(blob_fd: int) -> bytes:
    with Segment.attach(blob_fd) as segment, segment.map_shared() as mapped:
        return mapped[:]


def run_process(control_fd: int, blob_fd: int, voice: tuple[int, int]) -> None:
    """The main function of a worker process, which takes the descriptors over."""
    hold_standard_descriptors()
    _die_with_parent()
    speak(*voice)
    raise_descriptor_limit()
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s")
    control = Link.attach(control_fd)
    run_role(control, _read(blob_fd), ProcessMachine())
