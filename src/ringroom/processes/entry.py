"""The first thing a child runs: importable by name, and importing only what its role needs."""

from __future__ import annotations

import logging
import os


def io_process(control_fd: int, preload: str, max_memory: int, log_level: int) -> None:
    """An I/O process. ``preload`` is a module that it is going to need, ``log_level`` that of the
    application's logger ``ringroom``."""
    logging.getLogger("ringroom").setLevel(log_level)
    # It multiplies no matrices: numpy's threads for that would cost memory, and time to start.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from ringroom.processes.io.serving import run_process
    from ringroom.processes.spawning import die_of_own_sigterm, ignore_interrupts

    ignore_interrupts()
    die_of_own_sigterm()
    run_process(control_fd, preload, max_memory)


def worker_process(control_fd: int, blob_fd: int, voice: tuple[int, int], log_level: int) -> None:
    """A worker; the segment holds its pickled processor. It never imports the I/O role, nor the
    provider's SDK."""
    logging.getLogger("ringroom").setLevel(log_level)
    from ringroom.processes.spawning import ignore_interrupts
    from ringroom.processes.worker.starting import run_process

    ignore_interrupts()
    run_process(control_fd, blob_fd, voice)
