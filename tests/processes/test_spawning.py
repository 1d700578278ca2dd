"""Children, what travels to them, and what they load."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import dill
import multiprocess
import pytest
from multiprocess import resource_tracker, util
from spawned_kit import deaf, deaf_and_asked, echo_child, forever, panics, what_is_ignored

from app_kit import PATIENCE, Call, children, descriptors, until
from ringroom.errors import ClosedError, ConfigurationError, LostProcessError, StartupError
from ringroom.link import Link, open_links
from ringroom.processes import footprint, spawning
from ringroom.processes.children import WorkerProcess
from ringroom.processes.hosts import IOProcess, IOThread, choose_host
from ringroom.processes.machine import Machine
from ringroom.processes.spawning import (
    Inherited,
    pickle_by_value,
    reap,
    spawn,
)
from ringroom.processes.worker_voice import MEMORY_HINT
from ringroom.testing import faults

NUMBER = 40


def helper(number: int) -> int:
    return number + NUMBER


def loaded(module: str) -> set[str]:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module", ["ringroom", "ringroom.processes.worker.worker", "ringroom.processes.entry"]
)
def test_a_worker_loads_neither_the_sdk_nor_asyncio(module: str) -> None:
    names = loaded(module)
    heavy = ("livekit", "soxr", "rich", "pytest", "asyncio.events", "asyncio.base_events")
    assert [name for name in heavy if name in names] == []
    assert [name for name in names if name.startswith("ringroom.providers.")] == []


def test_closures_travel_with_what_they_refer_to() -> None:
    offset = 2

    def closure(number: int) -> int:
        return helper(number) + offset

    assert dill.loads(pickle_by_value("it", closure, ""))(0) == 42
    assert dill.loads(pickle_by_value("it", lambda: os.getpid(), ""))() == os.getpid()


def test_what_cannot_travel_says_what_and_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match=r"the thing cannot be sent.*: leave it$"):
        pickle_by_value("the thing", (number for number in range(3)), "leave it")


TO_GROUPS = [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2]


@pytest.mark.parametrize("number", [signal.SIGINT, *TO_GROUPS])
def test_an_interrupt_finds_no_child_that_is_still_starting(number: signal.Signals) -> None:
    reading, writing = os.pipe()
    try:
        process = spawn("child", deaf, Inherited(writing))
        os.kill(process.pid, number)
        os.close(writing)
        assert os.read(reading, 1) == b"!"
        process.join(PATIENCE)
        assert process.exitcode == 0
        reap(process, PATIENCE)
    finally:
        os.close(reading)


@pytest.mark.parametrize("number", TO_GROUPS)
def test_what_a_child_starts_does_not_inherit_its_deafness(number: signal.Signals) -> None:
    """Neither a program nor a fork: user code ends them by SIGTERM, say."""
    reading, writing = os.pipe()
    try:
        process = spawn("child", deaf_and_asked, Inherited(writing), number)
        os.close(writing)
        assert os.read(reading, 1) == b"!"
        reap(process, PATIENCE)
    finally:
        os.close(reading)


def test_what_the_application_ignores_is_ignored_in_a_child_and_below_it() -> None:
    """As below nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    reading, writing = os.pipe()
    try:
        process = spawn("child", what_is_ignored, Inherited(writing))
        os.close(writing)
        assert os.read(reading, 1) == b"!"
        reap(process, PATIENCE)
    finally:
        signal.signal(signal.SIGHUP, before)
        os.close(reading)


def test_a_child_dies_of_its_own_sigterm_and_not_of_anothers() -> None:
    reading, writing = os.pipe()
    asked, asks = os.pipe()
    try:
        process = spawn("child", panics, Inherited(writing), Inherited(asked))
        os.close(writing)
        assert os.read(reading, 1) == b"!"
        os.kill(process.pid, signal.SIGTERM)
        os.write(asks, b"!")
        assert os.read(reading, 1) == b"!"
        process.join(PATIENCE)
        assert process.exitcode == -signal.SIGTERM
        reap(process, PATIENCE)
    finally:
        for fd in (reading, asked, asks):
            os.close(fd)


def test_who_is_interrupted_as_it_starts_a_child_leaves_nothing_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    main, before = sys.modules["__main__"], children()
    monkeypatch.setitem(sys.modules, "__main__", main)  # a failure leaves the others theirs
    process_class = multiprocess.get_context("spawn").Process
    start, pids = process_class.start, []

    def interrupted(process: Any) -> None:
        start(process)
        pids.append(process.pid)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    monkeypatch.setattr(process_class, "start", interrupted)
    reading, writing = os.pipe()
    try:
        with pytest.raises(KeyboardInterrupt):
            spawn("child", forever, Inherited(writing))
        assert len(pids) == 1
        assert sys.modules["__main__"] is main
        assert children() - before <= _tracker()
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGUSR1],  # the last: limits of time
)
def test_an_interrupt_that_another_thread_is_given_waits_for_the_start(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """The kernel gives a process's signal to any thread that does not block it; the main thread
    then raises, whatever its own mask is."""
    before, handler = children(), signal.getsignal(number)
    launch, pids, over = util.spawnv_passfds, [], threading.Event()
    told, telling = socket.socketpair()
    telling.setblocking(False)

    def interrupted(*given: Any) -> int:
        pid: int = launch(*given)
        pids.append(pid)
        os.kill(os.getpid(), number)
        told.recv(1)  # the other thread has been given it, however late it got its turn
        return pid

    def terminate(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(util, "spawnv_passfds", interrupted)
    other = threading.Thread(target=over.wait, args=(PATIENCE,))
    other.start()
    reading, writing = os.pipe()
    signal.signal(number, terminate)
    woken = signal.set_wakeup_fd(telling.fileno())
    try:
        with pytest.raises(KeyboardInterrupt):
            spawn("child", forever, Inherited(writing))
        assert signal.getsignal(number) is terminate
        assert len(pids) == 1
        assert children() - before <= _tracker()
    finally:
        signal.set_wakeup_fd(woken)
        signal.signal(number, handler)
        over.set()
        other.join()
        told.close()
        telling.close()
        os.close(reading)
        os.close(writing)


def test_while_a_child_starts_the_main_module_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other threads pickle what it holds."""
    main, launch, found = sys.modules["__main__"], util.spawnv_passfds, []

    def seen(*given: Any) -> int:
        found.append(sys.modules["__main__"])
        pid: int = launch(*given)
        return pid

    monkeypatch.setattr(util, "spawnv_passfds", seen)
    process = spawn("child", os.getpid)
    reap(process, PATIENCE)
    assert found == [main]


def test_a_start_adds_one_process_and_no_resource_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in ("_fd", "_pid"):
        monkeypatch.setattr(resource_tracker._resource_tracker, field, None)
    before = children()
    process = spawn("child", os.getpid)
    assert children() - before == {process.pid}
    process.join(PATIENCE)
    assert process.exitcode == 0
    process.close()


def test_a_start_does_not_need_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with open(writing, "w") as output, open(os.devnull, "w") as sink:
        monkeypatch.setattr(sys, "stdout", output)
        output.write("it waits to be flushed")
        os.close(reading)
        try:
            reap(spawn("child", os.getpid), PATIENCE)
        finally:
            os.dup2(sink.fileno(), writing)


def test_a_start_does_not_need_the_working_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    process = spawn("child", os.getpid)
    process.join(PATIENCE)
    assert process.exitcode == 0
    process.close()


def test_no_file_of_the_working_folder_hides_a_module_that_a_start_needs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "socket.py").write_text("raise ImportError('that is not the one')")
    monkeypatch.chdir(tmp_path)
    process = spawn("child", os.getpid)
    process.join(PATIENCE)
    assert process.exitcode == 0
    process.close()


def test_a_child_inherits_what_it_is_given() -> None:
    main = sys.modules["__main__"]
    reading, writing = os.pipe()
    try:
        process = spawn("child", echo_child, Inherited(writing), "hello")
        assert sys.modules["__main__"] is main
        assert os.read(reading, 10) == b"hello"
        reap(process, PATIENCE)
    finally:
        os.close(reading)
        os.close(writing)


def test_a_child_that_does_not_want_to_end_is_killed() -> None:
    reading, writing = os.pipe()
    try:
        process = spawn("child", forever, Inherited(writing))
        assert os.read(reading, 1) == b"!"
        reap(process, 0.1)
    finally:
        os.close(reading)
        os.close(writing)


class Interrupting:
    """A process: whoever waits for its end is interrupted as he does, each time."""

    def __init__(self, process: Any) -> None:
        self._process = process

    def __getattr__(self, name: str) -> Any:
        return getattr(self._process, name)

    def join(self, timeout: float | None = None) -> None:
        signal.raise_signal(signal.SIGINT)
        self._process.join(timeout)


def test_who_is_interrupted_twice_as_he_ends_a_child_has_reaped_it() -> None:
    before = children()
    reading, writing = os.pipe()
    try:
        process = spawn("child", forever, Inherited(writing))
        assert os.read(reading, 1) == b"!"
        with pytest.raises(KeyboardInterrupt):
            reap(Interrupting(process), PATIENCE)
        assert children() - before <= _tracker()
    finally:
        os.close(reading)
        os.close(writing)


class Held:
    """A process that the kernel does not let go, in a driver, say."""

    exitcode = None

    def __init__(self) -> None:
        self.killed = self.closed = 0

    def kill(self) -> None:
        self.killed += 1

    def terminate(self) -> None:
        pass

    def join(self, timeout: float | None = None) -> None:
        assert timeout is not None, "it would wait for ever"

    def close(self) -> None:
        self.closed += 1


def test_who_does_not_even_die_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawning, "KILLED_SECONDS", 0.05)
    held = Held()
    reap(held, PATIENCE)
    assert (held.killed, held.closed) == (1, 1)


def test_a_worker_that_was_given_up_is_closed_and_reaped_later() -> None:
    before, opened = children(), descriptors()
    ours, theirs = open_links()
    worker = WorkerProcess(0, theirs, b"not read")
    with faults.frozen(worker):
        worker.close()
        worker.close()
        worker.kill()
        worker.join()
    worker.close()
    ours.close()
    theirs.close()
    assert children() - before <= _tracker()
    assert descriptors() == opened


def test_a_worker_that_dies_before_it_has_read_its_processor_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Which is more than a pipe takes."""
    resource_tracker.ensure_running()  # it is not the child that is meant
    start, opened, begun = util.spawnv_passfds, descriptors(), list[int]()

    def killed(*given: Any) -> int:
        begun.append(start(*given))
        faults.killed(begun[0])
        return begun[0]

    monkeypatch.setattr(util, "spawnv_passfds", killed)
    ours, theirs = open_links()
    with closing(ours), closing(theirs):
        worker = Call(WorkerProcess, 0, theirs, bytes(1 << 20)).result()
        worker.join(PATIENCE)
        assert worker.exitcode == -signal.SIGKILL
        worker.close()
    assert descriptors() == opened


class Begun(IOProcess):
    """Whoever starts it is interrupted as it has begun, and before it is kept."""

    def _spawn(self, control: Link, preload: str) -> Any:
        process = super()._spawn(control, preload)
        signal.raise_signal(signal.SIGINT)
        return process


def test_who_is_interrupted_before_he_keeps_a_child_keeps_it() -> None:
    before = children()
    host = Begun()
    with pytest.raises(KeyboardInterrupt):
        host.start()
    assert host.pid is not None
    host.close()
    assert children() - before <= _tracker()


def test_a_daemonic_process_is_told_that_it_may_have_no_children(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(multiprocess.current_process()._config, "daemon", True)
    with pytest.raises(StartupError, match="daemon=False"):
        IOProcess().start()


@pytest.mark.once
def test_spawning_from_many_threads() -> None:
    before = children()
    hosts = [IOProcess() for _ in range(3)]
    threads = [threading.Thread(target=host.start) for host in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({host.pid for host in hosts}) == 3
    for host in hosts:
        host.close()
    until(lambda: children() - before <= _tracker())


def _tracker() -> set[int]:
    from multiprocess import resource_tracker

    return {resource_tracker._resource_tracker._pid}


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (-signal.SIGKILL, f"killed by signal 9, {MEMORY_HINT}"),
        (-signal.SIGSEGV, "killed by signal 11; its standard error tells why"),
        (1, "exited with 1; its standard error tells why"),
        (footprint.TOO_LARGE, "it took more memory than max_memory, 64 MiB"),
    ],
)
def test_how_a_process_died_is_told_with_where_to_look(code: int, says: str) -> None:
    assert IOProcess(max_memory=64 << 20)._describe(code) == says


def test_hosts() -> None:
    host, own = choose_host("thread")
    assert isinstance(host, IOThread)
    assert own
    assert choose_host(host) == (host, False)
    with pytest.raises(ConfigurationError, match="expected 'process', 'thread' or an IOProcess"):
        choose_host("elsewhere")  # type: ignore[arg-type]


def test_a_forgotten_host_says_so() -> None:
    def forgotten() -> None:
        IOThread().start()
        gc.collect()

    with pytest.warns(ResourceWarning, match="IOThread never closed"):
        forgotten()


@pytest.mark.filterwarnings("error::ResourceWarning")
def test_a_forgotten_host_is_closed_where_warnings_are_errors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda raised: told.append(raised.exc_type))
    host = IOThread().start()
    thread = host._thread
    assert thread is not None
    del host
    gc.collect()
    assert told == [ResourceWarning]
    assert not thread.is_alive()


def test_a_forgotten_host_that_is_collected_on_its_own_thread_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda raised: told.append(raised.exc_value))
    forgotten = threading.Event()

    class Collecting(Machine):
        def start_thread(self, name: str, work: Callable[[], None]) -> threading.Thread:
            def run() -> None:
                forgotten.wait(PATIENCE)
                gc.collect()
                work()

            return super().start_thread(name, run)

    def collect(thread: threading.Thread) -> None:
        forgotten.set()
        thread.join(PATIENCE)

    gc.disable()
    try:
        host = IOThread(machine=Collecting()).start()
        circle: list[Any] = [host]
        circle.append(circle)
        thread = host._thread
        assert thread is not None
        del host, circle
        with pytest.warns(ResourceWarning, match="IOThread never closed"):
            collect(thread)
    finally:
        gc.enable()
    assert told == []
    assert not thread.is_alive()


def test_a_dead_process_is_replaced_at_the_next_session() -> None:
    with IOProcess() as host:
        dead = host.pid
        assert dead is not None
        faults.killed(dead)
        before = descriptors()
        host.open_session().close()
        assert host.pid not in (None, dead)
        assert descriptors() == before


def test_a_dead_process_that_the_application_has_reaped_is_replaced() -> None:
    """As a handler of SIGCHLD does that waits for all children."""
    with IOProcess() as host:
        dead = host.pid
        assert dead is not None
        faults.killed(dead)
        os.waitpid(dead, 0)
        host.open_session().close()
        assert host.pid not in (None, dead)
        assert "reaped by the application" in host.how_it_died()


def test_a_process_that_hears_no_more_and_lives_is_told_at_the_next_session() -> None:
    with IOProcess() as host:
        assert host.pid is not None
        assert host._control is not None
        with faults.frozen(host.pid):
            before = descriptors()
            host._control.shut_down()
            with pytest.raises(LostProcessError, match="the I/O process is gone"):
                host.open_session()
            assert descriptors() == before - 1, "the link to it is closed, and that is all"


def test_who_is_interrupted_as_he_waits_for_the_end_leaves_no_process_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = children()
    host = IOProcess()
    host.start()
    host.keep_standby("ringroom")
    pids = host.pid, host.standby_pid
    join, asked = host._process.join, []

    def interrupted(timeout: float | None = None) -> None:
        if not asked:
            asked.append(timeout)
            raise KeyboardInterrupt
        join(timeout)

    monkeypatch.setattr(host._process, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        host.close()
    assert None not in pids
    until(lambda: children() - before <= _tracker())
    host.close()


def test_a_host_that_a_signal_handler_closes_as_it_starts_does_not_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = children()
    host = IOProcess()
    start = host._start

    def interrupted(control: Link) -> None:
        start(control)
        host.close()  # as the handler of a signal does, on this thread

    monkeypatch.setattr(host, "_start", interrupted)
    with pytest.raises(ClosedError, match="the IOProcess is closed"):
        host.start()
    assert host.pid is None
    until(lambda: children() - before <= _tracker())


def test_who_is_not_told_of_a_childs_end_starts_none() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with pytest.raises(StartupError, match="SIGCHLD is ignored"):
            IOProcess().start()
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_what_is_being_started_as_the_interpreter_ends_is_killed_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And nothing is started after it."""
    monkeypatch.setattr(spawning, "_ending", threading.Event())
    monkeypatch.setattr(spawning, "_started", weakref.WeakSet())
    reading, writing = os.pipe()
    begun: list[Any] = []
    within = threading.Event()

    def begin() -> None:
        with spawning._start_lock:  # as `spawn` has it while the child starts
            within.set()
            spawning._ending.wait(PATIENCE)
            monkeypatch.setattr(spawning, "_ending", threading.Event())  # it looked before
            begun.append(spawn("child", forever, Inherited(writing)))
            spawning._ending.set()

    starting = threading.Thread(target=begin)
    starting.start()
    try:
        assert within.wait(PATIENCE)
        spawning._kill_all()
        starting.join()
        assert begun[0].exitcode == -signal.SIGKILL
        begun[0].close()
        with pytest.raises(StartupError, match="the interpreter ends"):
            spawn("child", forever, Inherited(writing))
    finally:
        os.close(reading)
        os.close(writing)


FORKING = threading.Event()
os.register_at_fork(before=FORKING.set)


def test_a_fork_while_a_child_is_started_can_start_its_own() -> None:
    """It waits for that: it would have the lock for ever."""
    within = threading.Event()
    FORKING.clear()

    def begin() -> None:
        with spawning._start_lock:
            within.set()
            FORKING.wait(PATIENCE)

    starting = threading.Thread(target=begin)
    starting.start()
    assert within.wait(PATIENCE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks with threads about
        child = os.fork()
    if not child:
        taken: list[bool] = []
        another = threading.Thread(target=lambda: taken.append(spawning._start_lock.acquire(False)))
        another.start()
        another.join()
        os._exit(0 if taken == [True] and not spawning._started else 1)
    starting.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
