"""What the tests of children run in them. A child imports the module that has it: this one loads
nothing that takes long, as pytest does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

from ringroom.processes.spawning import die_of_own_sigterm, ignore_interrupts


def echo_child(fd: int, text: str) -> None:
    os.write(fd, text.encode())


def forever(fd: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.write(fd, b"!")
    signal.pause()


def deaf(fd: int) -> None:
    ignore_interrupts()
    os.write(fd, b"!")


def deaf_and_asked(fd: int, number: int) -> None:
    ignore_interrupts()
    os.kill(os.getpid(), number)
    program = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    program.send_signal(number)
    assert program.wait() == -number

    def fork() -> None:
        if not (pid := os.fork()):
            os.kill(os.getpid(), number)
            os._exit(0)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    codes: list[int] = []
    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
    fork()
    assert codes == [-number] * 2
    os.write(fd, b"!")


def what_is_ignored(fd: int) -> None:
    ignore_interrupts()
    os.write(fd, b"!" if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else b"?")


def panics(fd: int, wait: int) -> None:
    ignore_interrupts()
    die_of_own_sigterm()
    os.write(fd, b"!")
    assert os.read(wait, 1) == b"!"
    os.write(fd, b"!")
    while signal.SIGTERM in signal.sigpending():  # of two that wait the kernel keeps the first
        os.sched_yield()
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()


def with_nothing_open(fd: int) -> None:
    os.closerange(0, 4_096)
    signal.pause()


def survived_by_a_fork(fd: int) -> None:
    if not (pid := os.fork()):
        signal.pause()
    os.write(fd, pid.to_bytes(4, "big"))
    os._exit(3)


def answers(asked: int, fd: int) -> None:
    os.write(fd, b"!")
    os.write(fd, os.read(asked, 1))


def at_once(fd: int) -> None:
    os._exit(4)
