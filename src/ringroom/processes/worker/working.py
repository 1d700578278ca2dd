"""How the worker role begins: in a process of its own, or as a role of a test."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import traceback

import dill
import multiprocess

from ringroom import messages as m
from ringroom.lanes.memory import Segment
from ringroom.link import Link
from ringroom.options import SessionOptions
from ringroom.processes.machine import MACHINE, Machine, ProcessMachine
from ringroom.processes.voice import speak
from ringroom.processes.worker.problems import shortened
from ringroom.processes.worker.worker import Worker
from ringroom.processor import Processor
from ringroom.system import hold_standard_descriptors, raise_descriptor_limit


def _die_with_parent() -> None:
    """A worker deep in the user's code does not look at its links; the thread does."""
    parent = multiprocess.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="ringroom-parent", daemon=True).start()


def run_role(control: Link, blob: bytes, machine: Machine = MACHINE) -> None:
    """A worker at the other end of the link, which it owns."""
    try:
        processor, options = _unpickle(control, blob)
        Worker(control, processor, options, machine).run()
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
    with contextlib.closing(Segment.attach(blob_fd)) as segment, segment.map_shared() as mapped:
        return mapped[:]


def run_process(control_fd: int, blob_fd: int, voice: tuple[int, int]) -> None:
    """The main function of a worker process, which takes the descriptors over."""
    hold_standard_descriptors()
    speak(*voice)
    raise_descriptor_limit()
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s")
    control = Link.attach(control_fd)
    _die_with_parent()
    run_role(control, _read(blob_fd), ProcessMachine())
