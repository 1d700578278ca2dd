"""The claims of docs/security.md that are about this machine: secrets, memory, and code."""

from __future__ import annotations

import ast
import os
import pickle
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

import ringroom
from app_kit import children, sound, until
from ringroom import messages as m
from ringroom.lanes.memory import Segment
from ringroom.link import open_links
from ringroom.message_codec import decode
from ringroom.options import TransportConfig
from ringroom.pool import Pool
from ringroom.testing import FakeRoom
from test_layering import MODULES

# Not of the form of a token: what hides it must not be a pattern.
SECRET = "hunter2-hunter2-hunter2-hunter2"
KEY = "correct-horse-battery-staple"


def told_by_the_kernel(pid: int) -> bytes:
    """What other programs may read of a process: its command, its environment, its name."""
    files = ("cmdline", "environ", "comm", "status", "maps")
    return b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in files)


def test_no_secret_of_ours_is_in_a_childs_command_or_environment(fake_room: FakeRoom) -> None:
    options: dict[str, Any] = {"room": fake_room, "token": SECRET, "e2ee_key": KEY, "workers": 1}
    with Pool(lambda frame: None, "fake", **options) as pool:
        pids = {*pool.pids, pool.io_pid, *children()}
        assert len(pids) >= 2
        for pid in pids:
            assert pid is not None
            told = told_by_the_kernel(pid)
            assert SECRET.encode() not in told
            assert KEY.encode() not in told
        assert SECRET.encode() not in pool._staff._crew._blob, (
            "a worker is told nothing of the connection"
        )
        for shown in (repr(pool), repr(pool.stats()), repr(vars(pool)), str(pool._connection.spec)):
            assert SECRET not in shown
            assert KEY not in shown


def test_no_secret_is_in_a_repr() -> None:
    fake = ringroom.Fake(room="r", token=SECRET, e2ee_key=KEY)
    config = TransportConfig(url="ws://host", token=SECRET, extra={"e2ee_key": KEY})
    connect = m.Connect(
        blob=SECRET.encode(),
        rows_first=0,
        rows_count=1,
        readers=0,
        route="track",
        places={},
    )
    for thing in (fake, config, connect):
        assert SECRET not in repr(thing)
        assert KEY not in repr(thing)


def test_no_secret_is_in_an_error_about_what_does_not_travel(fake_room: FakeRoom) -> None:
    generator = (number for number in range(3))
    with pytest.raises(ringroom.ConfigurationError, match="cannot be sent") as caught:
        ringroom.transport(
            "fake",
            room=fake_room,
            token=SECRET,
            participants=lambda who: who in generator and SECRET == KEY,
            io="thread",
        )
    assert SECRET not in str(caught.value)


def test_a_minters_error_does_not_quote_its_secret() -> None:
    def mint() -> str:
        raise ValueError(SECRET)

    with pytest.raises(ringroom.ConfigurationError, match="raised ValueError") as caught:
        ringroom.transport("livekit", url="ws://127.0.0.1:1", token=mint)
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_recording_holds_no_secret(fake_room: FakeRoom, tmp_path: Path) -> None:
    file = tmp_path / "call.mcap"
    options: dict[str, Any] = {"token": SECRET, "e2ee_key": KEY, "kinds": ("audio", "event")}
    options |= {"io": "thread", "max_age": 20.0}
    with ringroom.transport("fake", room=fake_room, **options) as t:
        with ringroom.Recorder(file) as recorder:
            received = recorder.tap(t.recv(timeout=10))
            fake_room.join("ann").publish_audio().silence(0.1, realtime=False)
            until(lambda: isinstance(next(received), ringroom.AudioFrame))
        assert SECRET.encode() not in file.read_bytes()
        assert KEY.encode() not in file.read_bytes()


@pytest.mark.parametrize("portable", [False, True])
def test_shared_memory_has_no_name_and_is_the_owners_alone(portable: bool) -> None:
    segment = Segment.create(4_096, portable=portable)
    try:
        held = os.fstat(segment.fd)
        assert held.st_nlink == 0, "no folder holds it"
        if portable:
            assert stat.S_IMODE(held.st_mode) == 0o600
        assert os.readlink(f"/proc/self/fd/{segment.fd}").endswith("(deleted)")
    finally:
        segment.close()


def named_sockets(*pids: int | None) -> set[str]:
    """The names of the sockets that these processes hold."""
    inodes = set()
    for pid in pids:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                inodes.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
            except OSError:
                continue  # the one that listed the folder
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    return {one[7] for one in lines if len(one) > 7 and f"socket:[{one[6]}]" in inodes}


def test_sockets_have_no_name(fake_room: FakeRoom) -> None:
    foreign = named_sockets(os.getpid())
    ours, theirs = open_links()
    with ringroom.transport("fake", room=fake_room) as t:
        t.send(sound(0.01))
        for link in (ours, theirs):
            with socket.socket(fileno=os.dup(link.fileno())) as end:
                assert (end.family, end.getsockname(), end.getpeername()) == (
                    socket.AF_UNIX,
                    "",
                    "",
                )
        assert named_sockets(os.getpid(), t.io_pid) <= foreign
    ours.close()
    theirs.close()


def calls(tree: ast.AST) -> set[str]:
    """Names of what is called, with what stands before the dot: ``dill.loads``, ``eval``."""
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


@pytest.mark.once
def test_bytes_become_objects_or_code_in_four_places_only() -> None:
    """Three get what the process that started them has pickled; a history runs its own steps."""
    dangerous = ("dill.", "pickle.", "marshal.", "shelve.", "yaml.")
    found = set()
    for name, path in MODULES.items():
        for call in calls(ast.parse(path.read_text())):
            if call in ("eval", "exec", "compile", "__import__", "os.system", "loads"):
                found.add((name, call))
            if call.startswith(dangerous) and "load" in call.lower():
                found.add((name, call))
    assert found == {
        ("ringroom.cli.inline", "pickle.load"),
        ("ringroom.testing.histories.script", "exec"),
        ("ringroom.processes.io.membership", "dill.loads"),
        ("ringroom.processes.worker.starting", "dill.loads"),
    }


def test_a_message_that_is_a_pickle_is_refused() -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, ("/nowhere/at/all",))

    with pytest.raises(ringroom.WireError):
        decode(pickle.dumps(Evil()))
