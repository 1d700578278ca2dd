"""What the leak check finds and names, and what it leaves alone, of what is younger than a test."""

from __future__ import annotations

import _thread
import asyncio
import collections
import gc
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from ringroom.errors import ConfigurationError
from ringroom.testing import leaks
from ringroom.testing.census import Census


class Session:
    pass


class Slotted:
    __slots__ = ("kept",)

    def __init__(self) -> None:
        self.kept: list[int] = []


class App:
    def __init__(self) -> None:
        self.sessions: dict[int, Any] = {}
        self.totals: dict[int, float] = {}
        self.said = bytearray()
        self.nested: dict[str, set[int]] = {"all": set()}
        self.slotted = Slotted()
        self.bounded: collections.deque[int] = collections.deque(maxlen=1000)


OPENS_FILES = """
import sys, threading, time
kept = []
for line in sys.stdin:
    kept.append(open("/dev/null"))
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    print(flush=True)
"""


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module with a list. What is older than it stays frozen, and is not looked at: in a process
    that runs thousands of tests each count of all that takes a second."""
    gc.collect()
    gc.freeze()
    monkeypatch.setattr(gc, "unfreeze", lambda: None)
    module = ModuleType("registry")
    monkeypatch.setitem(sys.modules, "registry", module)
    module.__dict__["KEPT"] = []
    return module


@pytest.fixture
def app() -> App:
    return App()


def leaked(visit: Callable[[int], object], **options: Any) -> str:
    with pytest.raises(leaks.Leaked) as raised:
        leaks.check(visit, **{"visits": 6, "warm_up": 1, "grace": 0.0} | options)
    return str(raised.value)


@pytest.mark.parametrize(
    ("visit", "line"),
    [
        (
            lambda app, n: app.sessions.__setitem__(n, Session()),
            r"App\.sessions \(dict\): grew from 1 to 7 entries",
        ),
        (
            lambda app, n: app.sessions.__setitem__(n, Session()),
            r"Session: from 1 to 7 of them, one is held by .*App\.sessions",
        ),
        # Of plain values: such a dict is unknown to the collector.
        (
            lambda app, n: app.totals.__setitem__(n, 0.0),
            r"App\.totals \(dict\): grew from 1 to 7 entries",
        ),
        (
            lambda app, n: app.said.extend(b"xy"),
            r"App\.said \(bytearray\): grew from 2 to 14 entries",
        ),
        (
            lambda app, n: app.nested["all"].add(n),
            r"App\.nested\[\.\.\.\] \(set\): grew from 1 to 7 entries",
        ),
        (
            lambda app, n: app.slotted.kept.append(n),
            r"Slotted\.kept \(list\): grew from 1 to 7 entries",
        ),
        (
            lambda app, n: sys.modules["registry"].KEPT.append(n),
            r"registry\.KEPT \(list\): grew from 1 to 7 entries",
        ),
    ],
)
def test_what_grows_is_named(app: App, visit: Callable[[App, int], Any], line: str) -> None:
    text = leaked(lambda number: visit(app, number))
    assert text.startswith("left behind by each of 6 visits:")
    assert re.search(line, text), text


def test_a_variable_of_a_function_that_runs_is_named() -> None:
    sessions: dict[int, float] = {}

    def visit(number: int) -> None:
        sessions[number] = 0.0

    text = leaked(visit)
    assert re.search(r"test_a_variable_\S+named\.sessions \(dict\): grew from 1 to 7", text), text


def test_a_variable_of_a_coroutine_that_waits_is_named() -> None:
    async def serve(queue: asyncio.Queue[int]) -> None:
        sessions: list[int] = []
        while True:
            sessions.append(await queue.get())
            queue.task_done()

    async def test() -> str:
        queue: asyncio.Queue[int] = asyncio.Queue()
        serving = asyncio.create_task(serve(queue))

        async def visit(number: int) -> None:
            queue.put_nowait(number)
            await queue.join()

        loop = asyncio.get_running_loop()
        text = await asyncio.to_thread(
            leaked, lambda n: asyncio.run_coroutine_threadsafe(visit(n), loop).result(10)
        )
        serving.cancel()
        await asyncio.wait([serving])
        return text

    text = asyncio.run(test())
    assert re.search(r"serve\.sessions \(list\): grew from 1 to 7", text), text


@pytest.mark.parametrize(
    "visit",
    [
        lambda app, n: None,
        lambda app, n: app.sessions.__setitem__("the same", Session()),
        lambda app, n: app.bounded.append(n),
        lambda app, n: app.totals.__setitem__(n // 2, 0.0),
        lambda app, n: Session(),
    ],
)
def test_what_does_not_grow_with_each_visit_is_none(
    app: App, visit: Callable[[App, int], Any]
) -> None:
    leaks.check(lambda number: visit(app, number), 6, warm_up=1)


def test_what_fills_up_during_the_warm_up_is_none(app: App) -> None:
    leaks.check(lambda n: app.totals.__setitem__(min(n, 4), 0.0), 6, warm_up=5)


def test_what_stops_growing_halfway_is_none(app: App) -> None:
    leaks.check(lambda n: app.said.extend(bytes(100 if n < 4 else 0)), 6, warm_up=1)


def test_what_looks_for_leaks_is_none() -> None:
    """With the fewest visits that may be, each count is one of them."""
    leaks.check(lambda _: None, visits=4, warm_up=0)


def test_what_may_grow_is_allowed_by_name(app: App) -> None:
    def visit(number: int) -> None:
        app.totals[number] = 0.0
        app.said.extend(b"x")

    text = leaked(visit, allow=["App.totals"])
    assert "App.said" in text
    assert "App.totals" not in text
    leaks.check(visit, 6, warm_up=1, allow=["App.totals", "App.said"])


def test_a_librarys_own_thread_that_has_logged_is_no_leak() -> None:
    over, asked, ended = (threading.Event() for _ in range(3))

    def run() -> None:
        threading.current_thread()  # as who logs does
        asked.set()
        over.wait(10)
        ended.set()

    try:
        with leaks.nothing_left_behind(grace=0.0):
            _thread.start_new_thread(run, ())
            assert asked.wait(10)
    finally:
        over.set()
        assert ended.wait(10)


def test_descriptors_and_threads_are_counted() -> None:
    over = threading.Event()
    threads: list[threading.Thread] = []
    descriptors: list[int] = []

    def visit(number: int) -> None:
        descriptors.append(os.open(os.devnull, os.O_RDONLY))
        threads.append(threading.Thread(target=over.wait, name=f"guest {number}"))
        threads[-1].start()

    try:
        text = leaked(visit)
    finally:
        over.set()
        for thread in threads:
            thread.join()
        for descriptor in descriptors:
            os.close(descriptor)
    assert re.search(r"descriptor /dev/null: from \d+ to \d+ of them", text), text
    assert re.search(r"thread guest N: from 1 to 7 of them", text), text


def test_what_a_child_opens_is_counted() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", OPENS_FILES], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdin is not None
    assert child.stdout is not None
    stdin, stdout = child.stdin, child.stdout

    def visit(number: int) -> None:
        stdin.write(b"open\n")
        stdin.flush()
        stdout.readline()

    with child:
        text = leaked(visit)
        stdin.close()
    assert re.search(r"descriptor /dev/null of child process python\S*: from 1 to 7", text), text
    assert re.search(r"thread of child process python\S*: from 2 to 8", text), text


def test_a_task_for_each_visit_is_named() -> None:
    async def test() -> str:
        tasks = []
        loop = asyncio.get_running_loop()

        def visit(number: int) -> None:
            begun = threading.Event()

            def begin() -> None:  # a function, for a coroutine would be another task for a moment
                tasks.append(loop.create_task(asyncio.sleep(60)))
                begun.set()

            loop.call_soon_threadsafe(begin)
            assert begun.wait(10)

        text = await asyncio.to_thread(leaked, visit)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return text

    text = asyncio.run(test())
    told = re.search(r"_asyncio.Task: from (\d+) to (\d+) of them, one runs sleep$", text, re.M)
    assert told is not None, text
    assert int(told[2]) - int(told[1]) == 6, "other tests may have left theirs to the collector"
    assert re.search(r"test\.tasks \(list\): grew from 1 to 7", text), text


def test_what_goes_away_by_itself_is_waited_for(app: App) -> None:
    timers: list[threading.Timer] = []

    def visit(number: int) -> None:
        app.totals[number] = 0.0
        if number == 6:
            timers.append(threading.Timer(0.05, app.totals.clear))
            timers[0].start()

    leaks.check(visit, 6, warm_up=1, grace=10.0)
    timers[0].join()


def test_a_watch_is_silent_until_there_were_enough_visits(app: App) -> None:
    watch = leaks.Watch(warm_up=1, visits=4)
    told = [0] * 7
    for number in range(7):
        app.totals[number] = 0.0
        told[number] = len(watch.visited())
    assert told == [0, 0, 0, 0, 1, 1, 1]
    with pytest.raises(ConfigurationError, match="visits is 1"):
        leaks.Watch(visits=1)


WAITS_AND_COUNTS = """
import asyncio, gc
from ringroom.testing import leaks
loop = asyncio.new_event_loop()
watch = leaks.Watch()
for _ in range(3):
    waiting = iter(loop.create_future())
    del waiting
    watch.visited()
gc.collect()
loop.close()
"""


def test_counting_frees_nothing_that_is_free_already() -> None:
    """What waits for a future leaves memory behind that `_asyncio` keeps for the next one: counting
    must not take it for objects (python/cpython#122695, in 3.12 before 3.12.6)."""
    # In a process of its own: the collection that goes on for ever cannot be interrupted.
    subprocess.run([sys.executable, "-c", WAITS_AND_COUNTS], check=True, timeout=60)


def test_counting_keeps_nothing_alive(app: App) -> None:
    app.sessions[0] = Session()
    before = Census.taken()
    assert len(before.sizes) < 1_000, "what is older than this test"
    app.sessions.clear()
    gc.collect()
    assert not any(isinstance(thing, Session) for thing in gc.get_objects())
    # Not by `leaks`, which looks in the whole heap for the holder of whatever has grown meanwhile.
    assert not [name for name, *_ in Census.taken().growth_since(before, 1) if "Session" in name]


def test_a_block_that_leaves_something_behind() -> None:
    kept = []
    with (
        pytest.raises(leaks.Leaked, match=r"left behind: descriptor \d+ \(/dev/null\)"),
        leaks.nothing_left_behind(grace=0.05),
    ):
        kept.append(os.open(os.devnull, os.O_RDONLY))
    os.close(kept[0])
    with pytest.raises(ZeroDivisionError), leaks.nothing_left_behind():
        raise ZeroDivisionError
