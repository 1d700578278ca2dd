"""Programs of every form run a pool: scripts without a guard, standard input, ``-c``, a notebook;
and they end as they should by signals."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from app_kit import until

TESTS = Path(__file__).parent
pytestmark = pytest.mark.once

# The room lives in the program; the processor tells what it can reach.
PROLOGUE = """
import threading
import ringroom
from ringroom.testing import FakeRoom
room = FakeRoom().__enter__()
"""
EPILOGUE = """
with room, ringroom.Pool(PROCESSOR, "fake", room=room, workers=1, kinds=("data",)) as pool:
    room.join("alice").send_data(b"2")
    print("answer", room.wait_for_data("answer", timeout=20)[0].payload.decode(), flush=True)
    pool.drain()
print("end", flush=True)
"""
HELPERS = """
import json
FACTOR = 20

def helper(number):
    return json.dumps(number * FACTOR)

def closure(offset):
    def process(frame):
        return ringroom.DataFrame(str(int(helper(int(frame.payload))) + offset).encode(), "answer")
    return process

def function(frame):
    return ringroom.DataFrame(str(int(helper(int(frame.payload))) + 2).encode(), "answer")

class OfMain(ringroom.Processor):
    kinds = ("data",)
    def process(self, frame):
        return function(frame)

class Base(OfMain):
    def start(self, context):
        super().start(context)

class Derived(Base):
    def process(self, frame):
        return super().process(frame)
"""


def program(processor: str, helpers: str = HELPERS) -> str:
    return PROLOGUE + helpers + EPILOGUE.replace("PROCESSOR", processor)


def finish(process: subprocess.Popen[str], stdin: str | None = None) -> str:
    try:
        out, err = process.communicate(stdin, timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert "Traceback" not in err, err
    return out


def start(*arguments: str, **options: object) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "error"}
    return subprocess.Popen(
        [sys.executable, *arguments],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        **options,  # type: ignore[call-overload]
    )


EXPECTED = "answer 42\nend\n"


@pytest.mark.parametrize(
    "processor",
    [
        "function",
        "closure(2)",
        "Derived()",
        "ringroom.chain(Derived, lambda frame: frame)",
    ],
)
def test_a_script_without_a_guard(tmp_path: Path, processor: str) -> None:
    script = tmp_path / "script.py"
    script.write_text("print('once')\n" + program(processor))
    with start(str(script)) as process:
        assert finish(process) == "once\n" + EXPECTED


def test_standard_input(tmp_path: Path) -> None:
    with start("-", cwd=tmp_path) as process:
        assert finish(process, program("closure(2)")) == EXPECTED


def test_an_argument() -> None:
    with start("-c", program("function")) as process:
        assert finish(process) == EXPECTED


@pytest.mark.parametrize("closed", ["2>&-", "<&- 2>&-"])
def test_closed_standard_descriptors(closed: str) -> None:
    """As a daemon may have it; what is opened first has their numbers, here a file of its own."""
    code = "own = open('/dev/null', 'w')\nassert own.fileno() < 3\n" + program("function")
    shell = ["sh", "-c", f'exec "$0" "$@" {closed}', sys.executable, "-c", code]
    with start("-c", f"import os; os.execvp('sh', {shell!r})") as process:
        assert finish(process) == EXPECTED


def test_a_notebook() -> None:
    """Cells run in a `__main__` that has no file, as a kernel has it."""
    cells = [PROLOGUE, HELPERS, EPILOGUE.replace("PROCESSOR", "Derived")]
    kernel = f"""
        import code, sys, types
        main = types.ModuleType("__main__")
        sys.modules["__main__"] = main
        shell = code.InteractiveInterpreter(main.__dict__)
        for number, cell in enumerate({cells!r}):
            shell.runcode(compile(cell, f"<cell {{number}}>", "exec"))
    """
    with start("-c", textwrap.dedent(kernel)) as process:
        assert finish(process) == EXPECTED


def test_a_processor_of_a_module(tmp_path: Path) -> None:
    (tmp_path / "my_processor.py").write_text("import ringroom\n" + HELPERS)
    script = tmp_path / "script.py"
    script.write_text(program("my_processor.Derived", "import my_processor\n"))
    with start(str(script)) as process:
        assert finish(process) == EXPECTED


def test_modules_beside_the_script_are_imported_not_copied(tmp_path: Path) -> None:
    holder = "numbers = (number for number in range(3))\ndef double(number): return 21 * number\n"
    (tmp_path / "holder.py").write_text(holder)
    script = tmp_path / "script.py"
    helpers = """
import holder
def function(frame):
    return ringroom.DataFrame(str(holder.double(int(frame.payload))).encode(), "answer")
"""
    script.write_text(program("function", helpers))
    with start(str(script)) as process:
        assert finish(process) == EXPECTED


def test_what_lies_where_the_application_alone_looks() -> None:
    """As in a folder of its own with all that it needs, or an archive."""
    code = f"import sys\nsys.path[:] = {sys.path!r}\n" + program("function")
    with start("-S", "-c", code) as process:
        assert finish(process) == EXPECTED


# What Python has on Linux, and not on macOS. Its selector, kqueue, is played by Linux's.
ELSEWHERE = """
import fcntl, mmap, os, resource, signal, socket, subprocess, sys, tempfile
missing = {
    fcntl: "F_ADD_SEALS F_SEAL_SHRINK F_SEAL_GROW F_SEAL_SEAL F_SETPIPE_SZ F_GETPIPE_SZ",
    mmap: "MAP_POPULATE",
    os: "eventfd EFD_CLOEXEC EFD_NONBLOCK memfd_create MFD_ALLOW_SEALING MFD_CLOEXEC pidfd_open "
    "pipe2 posix_fallocate sched_getaffinity",
    resource: "prlimit",
    signal: "SIGRTMIN SIGRTMAX",
    socket: "MSG_CMSG_CLOEXEC MSG_NOSIGNAL SOCK_CLOEXEC SOCK_NONBLOCK SOCK_SEQPACKET",
}
for module, names in missing.items():
    for name in names.split():
        vars(module).pop(name, None)
sys.platform = "darwin"
"""


def test_a_system_that_has_less_than_linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In all processes: each of them reads this first."""
    (tmp_path / "sitecustomize.py").write_text(ELSEWHERE)
    path = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), path]))
    helpers = """
def function(frame):
    import socket
    return ringroom.DataFrame(b"that" if hasattr(socket, "MSG_NOSIGNAL") else b"42", "answer")
"""
    with start("-c", program("function", helpers)) as process:
        assert finish(process) == EXPECTED


LEFT_OPEN = """
import sys
mic = room.join("alice").publish_audio()
mic.tone(seconds=60)
it = OPENED
if isinstance(it, ringroom.Transport):
    receiver = it.recv()
    next(receiver)
sys.it = it
print("open", flush=True)
input()
"""


@pytest.mark.parametrize(
    "opened",
    [
        'ringroom.transport("fake", room=room)',
        'ringroom.transport("fake", room=room, io="thread")',
        'ringroom.Pool(lambda frame: frame, "fake", room=room).__enter__()',
        "ringroom.IOProcess().start()",
    ],
)
def test_what_is_left_open_ends_with_the_interpreter(opened: str) -> None:
    code = PROLOGUE + LEFT_OPEN.replace("OPENED", opened)
    with start("-c", code, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n", process.communicate()
        children = descendants(process.pid)
        _, err = process.communicate("\n", timeout=20)
        assert process.returncode == 0
        assert "Traceback" not in err, err
        assert "killed by" not in err, "it was us, and nobody need look for why"
        all_gone(children)


UNHEARD = """
import contextlib, os
os.set_blocking(2, False)
with contextlib.suppress(BlockingIOError):
    while True:
        os.write(2, b"x" * 4096)
os.set_blocking(2, True)
with room, contextlib.closing(ringroom.IOProcess()) as host:
    host.keep_standby("no.such.module")  # of which it will want to tell
    try:
        with ringroom.transport("fake", room=room, io=host, connect_timeout=15.0) as it:
            it.send_data("heard")
        print(room.wait_for_data("", timeout=20)[0].payload.decode(), flush=True)
    except Exception as error:
        print(repr(error), flush=True)
"""


def test_a_standard_error_that_nobody_reads_holds_nobody_up() -> None:
    with start("-c", PROLOGUE + UNHEARD) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "heard\n"
        finish(process)


AT_THE_END = """
import atexit
def handler():  # registered before the first use of ringroom: its processes are killed before it
    try:
        CALL
        print("done", flush=True)
    except ringroom.LostProcessError as error:
        print(error, flush=True)
atexit.register(handler)
import ringroom
from ringroom.testing import FakeRoom
room = FakeRoom().__enter__()
it = OPENED
"""
TRANSPORT = 'ringroom.transport("fake", room=room)'
POOL = 'ringroom.Pool(lambda frame: frame, "fake", room=room, workers=1).__enter__()'


@pytest.mark.parametrize(
    ("opened", "call"),
    [
        (TRANSPORT, "it.send_data('goodbye')"),
        (TRANSPORT, "it.send_data('one'); it.wait_playout()"),
        (TRANSPORT, "next(it.recv())"),
        (POOL, "it.send_data('goodbye')"),
        (POOL, "it.wait()"),
        (POOL, "it.drain()"),
    ],
)
def test_what_waits_as_the_interpreter_ends_is_told(opened: str, call: str) -> None:
    code = AT_THE_END.replace("OPENED", opened).replace("CALL", call)
    with start("-c", code) as process:
        assert finish(process).startswith("the interpreter ends, and its I/O processes with it")


FORKS = """
import os, sys
with room, ringroom.Pool(lambda frame: frame, "fake", room=room, workers=1) as pool:
    sys.stdout.flush()
    child = os.fork()
    if not child:
        sys.exit(0)
    print("fork", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_a_fork_that_ends_as_programs_do_leaves_its_parents_processes_alone() -> None:
    code = PROLOGUE + "import warnings; warnings.simplefilter('ignore')" + FORKS
    with start("-c", code) as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "fork 0\n"), err
    assert "Traceback" not in err, err
    assert "ignored in" not in err, err


# It reads on, after whom it was forked from.
OUTLIVED = """
import os, warnings
warnings.simplefilter("ignore")
from ringroom.processes import spawning
put_down = spawning.put_down
spawning.put_down = lambda process: (print("killed", process.name, flush=True), put_down(process))
with room, OPENED as opened:
    if not os.fork():
        os.close(1)
        os.close(2)
        os.read(0, 1)
        os._exit(0)
    print("forked", flush=True)
    HOLDS
print("closed", flush=True)
"""
HOLD_LINKS = [
    'ringroom.transport("fake", room=room)',
    'ringroom.Pool(lambda frame: frame, "fake", room=room, workers=1)',
    "ringroom.IOProcess()",
]


@contextlib.contextmanager
def outlived(opened: str, holds: str) -> Iterator[tuple[subprocess.Popen[str], set[int]]]:
    """The program, once it has forked, and its children but for the fork."""
    code = PROLOGUE + OUTLIVED.replace("OPENED", opened).replace("HOLDS", holds)
    with start("-c", code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "forked\n", process.communicate()
        yield process, {pid for pid in descendants(process.pid) if b"spawn_main" in command(pid)}


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # it has just ended
        return b""


@pytest.mark.parametrize("opened", HOLD_LINKS)
def test_a_fork_that_lives_on_does_not_hold_up_what_its_parent_closes(opened: str) -> None:
    with outlived(opened, "pass") as (process, children):
        assert process.stdout is not None
        assert process.stdout.readline() == "closed\n", "nobody had to be killed"
        all_gone(children)


@pytest.mark.parametrize("opened", HOLD_LINKS)
def test_a_killed_application_takes_its_children_along_though_its_fork_lives(opened: str) -> None:
    with outlived(opened, "input()") as (process, children):
        assert children
        process.kill()
        all_gone(children)


# Signals.

RUNNING = """
from processors_kit import *
import os, sys, threading
def main_is_in(name):
    frame = sys._current_frames()[threading.main_thread().ident]
    while frame is not None and frame.f_code.co_qualname != name:
        frame = frame.f_back
    return frame is not None
def announce():
    import time
    person = room.join("alice")
    while not (main_is_in("Pool.wait") and any(who.identity == "app" for who in room.participants)):
        time.sleep(0.005)
    ON_START
    print("running", flush=True)
threading.Thread(target=announce, daemon=True).start()
with room:
    stats = ringroom.run(PROCESSOR, "fake", room=room, workers=2, OPTIONS)
    print("stopped", *[m.payload.decode() for m in room.application.messages], flush=True)
"""
# Who is stopped before a track has begun has nobody to say goodbye for.
TALK = """mic = person.publish_audio()
    mic.wait_for_subscriber()
    mic.tone(seconds=60)"""


@contextlib.contextmanager
def running(
    processor: str, options: str = "", on_start: str = TALK
) -> Iterator[tuple[subprocess.Popen[str], set[int]]]:
    code = RUNNING.replace("PROCESSOR", processor).replace("OPTIONS", options)
    code = PROLOGUE + code.replace("ON_START", on_start)
    with start("-c", code, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line == "running\n", process.stderr and process.stderr.read()
            yield process, descendants(process.pid)
        finally:
            process.kill()


def descendants(pid: int) -> set[int]:
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended
            for child in (task / "children").read_text().split():
                found |= {int(child)} | descendants(int(child))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def all_gone(pids: set[int]) -> None:
    until(lambda: not any(map(alive, pids)), f"the end of {pids}")


@pytest.mark.parametrize(
    ("number", "group"), [*itertools.product([signal.SIGINT, signal.SIGTERM], [False, True])]
)
def test_a_signal_ends_run_in_good_order(number: signal.Signals, group: bool) -> None:
    with running("Goodbye") as (process, children):
        assert len(children) >= 3
        (os.killpg if group else os.kill)(process.pid, number)
        out, err = process.communicate(timeout=20)
        assert process.returncode == 0, err
        assert "Traceback" not in err
        assert out == "stopped bye stopped stopped\n" or out == "stopped stopped bye stopped\n"
        all_gone(children)


def test_a_second_interrupt_does_not_wait() -> None:
    options = "drain_timeout=30"
    talk = """person.send_data(b'say 60'); room.wait_for_audio('voice', 0.1, timeout=20)
    def tell():
        while not main_is_in("Pool.drain"):
            time.sleep(0.005)
        print("draining", flush=True)
    threading.Thread(target=tell, daemon=True).start()"""
    with running("Words", options, talk) as (process, children):
        os.kill(process.pid, signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.readline() == "draining\n"  # else the two may count as one
        with pytest.raises(subprocess.TimeoutExpired):  # it plays out
            process.wait(0.5)
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=20)  # and not the 30 s that it might drain
        assert "KeyboardInterrupt" in err
        assert process.returncode == -signal.SIGINT
        all_gone(children)


DEAF = """
import ctypes, os
def deaf(frame):
    os.write(1, b"deaf\\n")
    ctypes.PyDLL(None).sleep(60)  # holds the GIL
with room, ringroom.Pool(deaf, "fake", room=room, workers=1, kinds=("data",)):
    room.join("alice").send_data(b"")
    input()
"""


def test_a_killed_application_takes_a_worker_along_whose_native_code_holds_the_gil() -> None:
    with start("-c", PROLOGUE + DEAF) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "deaf\n"
        children = descendants(process.pid)
        process.kill()
        all_gone(children)


def test_a_killed_application_takes_its_children_along() -> None:
    with running("Words", "", "person.send_data(b'hang 60')") as (process, children):
        assert len(children) >= 3
        process.kill()
        all_gone(children)


def test_a_killed_transport_takes_its_process_along() -> None:
    code = PROLOGUE + 'ringroom.transport("fake", room=room)\nprint("open", flush=True)\ninput()'
    code = code.replace("ringroom.transport", "t = ringroom.transport")
    with start("-c", code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        children = descendants(process.pid)
        process.kill()
        all_gone(children)
