"""Handing a spec over: at the beginning, and again over a link of its own."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Self

import dill
import pytest

from app_kit import PATIENCE, descriptors, interrupted, until
from ringroom import messages as m
from ringroom.errors import ClosedError, ConfigurationError, RoomError, StartupError
from ringroom.faces import handover
from ringroom.faces.connection import MAX_PLACES_BYTES
from ringroom.faces.handover import Renewals, hand_over
from ringroom.link import Link, open_links
from ringroom.options import SessionOptions
from ringroom.processes.machine import MACHINE
from ringroom.providers.provider import Provider, ProviderSpec

MAX_MOMENTS = 50


@dataclass(frozen=True, kw_only=True)
class Minted(ProviderSpec):
    """Hands over what the function gives, with a descriptor."""

    name: ClassVar[str] = "minted"
    mint: Callable[[], str] | None = field(default=None, repr=False)
    token: str = ""

    def open(self, descriptors: tuple[int, ...]) -> Provider:
        raise NotImplementedError

    def handover(self) -> tuple[Self, tuple[int, ...]]:
        assert self.mint is not None
        token = self.mint()
        return type(self)(token=token), (os.open(os.devnull, os.O_RDONLY),)


@contextlib.contextmanager
def renewing(mint: Callable[[], str]) -> Iterator[tuple[Link, Renewals]]:
    renewals = Renewals(MACHINE, Minted(mint=mint), SessionOptions(channels=2))
    far = renewals.open()
    try:
        yield far, renewals
    finally:
        renewals.close()
        far.close()


def answer(far: Link) -> tuple[Any, tuple[int, ...]]:
    return until(far.receive_nowait)


def threads() -> int:
    return sum(thread.name == "ringroom-renewals" for thread in threading.enumerate())


def test_each_request_gets_a_hand_over_of_its_own() -> None:
    tokens = iter("abc")
    with renewing(lambda: next(tokens)) as (far, _):
        for request, token in ((3, "a"), (4, "b")):
            far.send(m.Renew(request=request))
            renewed, (fd,) = answer(far)
            os.close(fd)
            spec, options = dill.loads(renewed.blob)
            assert (renewed.request, spec.token, spec.mint) == (request, token, None)
            assert options.channels == 2


@pytest.mark.parametrize(
    ("raised", "text"),
    [
        (RoomError("no token for you", reason="unauthorized"), "no token for you"),
        (ValueError("key=sesame"), "minted: the hand-over raised ValueError"),
        (SystemExit("key=sesame"), "minted: the hand-over raised SystemExit"),
    ],
)
def test_what_it_raises_is_the_answer_and_no_secret_of_it(raised: BaseException, text: str) -> None:
    def mint() -> str:
        raise raised

    with renewing(mint) as (far, _):
        far.send(m.Renew(request=1))
        failed, _none = answer(far)
        assert failed.request == 1
        assert failed.error["text"] == text
        assert failed.error["reason"] == getattr(raised, "reason", "failed")


def test_a_far_end_that_talks_nonsense_is_told_and_ended(caplog: pytest.LogCaptureFixture) -> None:
    with renewing(lambda: "") as (far, _):
        far._open_socket().send(b"\xff" * 8)
        with pytest.raises(ClosedError):
            until(far.receive_nowait)
        until(lambda: not threads())
    (record,) = caplog.records
    assert record.getMessage().startswith("minted: no token is handed over any more: a message of")


def test_nothing_is_left_when_either_side_ends_it() -> None:
    before = descriptors()
    with renewing(lambda: "") as (far, renewals):
        assert threads() == 1
        far.close()
        until(lambda: not threads())
        renewals.close()
    with renewing(lambda: "") as (far, renewals):
        renewals.close()
        assert threads() == 0
        with pytest.raises(ClosedError):
            far.receive_nowait()
        renewals.close()
    assert descriptors() == before


def test_another_takes_the_place_of_the_one_before() -> None:
    with renewing(lambda: "x") as (first, renewals):
        second = renewals.open()
        until(lambda: threads() == 1)
        with pytest.raises(ClosedError):
            until(first.receive_nowait)
        second.send(m.Renew(request=1))
        _, (fd,) = answer(second)
        os.close(fd)
        second.close()


def test_a_mint_that_hangs_does_not_hold_up_the_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringroom.faces.handover.CLOSE_SECONDS", 0.05)
    begun, go_on = threading.Event(), threading.Event()

    def mint() -> str:
        begun.set()
        go_on.wait(PATIENCE)
        return ""

    with renewing(mint) as (far, renewals):
        far.send(m.Renew(request=1))
        assert begun.wait(PATIENCE)
        renewals.close()
        assert threads() == 1
        go_on.set()
        until(lambda: not threads())


def test_it_may_be_closed_on_its_own_thread() -> None:
    """By the collector, which may run on any."""
    closed: list[None] = []
    with renewing(lambda: closed.append(renewals.close()) or "x") as (far, renewals):
        far.send(m.Renew(request=2))
        until(lambda: not threads())
    assert closed == [None]


def test_what_is_no_question_is_not_answered() -> None:
    with renewing(lambda: "x") as (far, _):
        far.send(m.Leave(), (0,))
        far.send(m.Renew(request=2))
        renewed, (fd,) = answer(far)
        os.close(fd)
        assert renewed.request == 2


def test_the_first_hand_over_has_a_deadline() -> None:
    go_on = threading.Event()

    def mint() -> str:
        go_on.wait(PATIENCE)
        raise ValueError("nobody waits any more")

    with pytest.raises(RoomError, match=r"not minted within 0\.05 s") as late:
        hand_over(MACHINE, Minted(mint=mint), 0.05)
    assert late.value.reason == "timeout"
    go_on.set()
    until(lambda: not any(t.name == "ringroom-handover" for t in threading.enumerate()))


def test_what_is_too_much_for_a_message_is_told() -> None:
    before = descriptors()
    with renewing(lambda: "x" * m.MAX_MESSAGE_BYTES) as (far, _):
        far.send(m.Renew(request=3))
        refused, fds = answer(far)
        assert (refused.request, fds) == (3, ())
        assert refused.error["type"] == "ConfigurationError"
        assert "bytes when pickled, expected at most 8388608" in refused.error["text"]
    assert descriptors() == before


def test_the_largest_options_and_the_most_descriptors_fit_into_what_is_said() -> None:
    spec = Minted(mint=None, token="x" * (handover.MAX_OPTIONS_BYTES - 2_000))
    fds = (0,) * handover.MAX_HANDED
    blob = handover.pickled_spec((spec, fds), SessionOptions())
    message = m.Connect(
        blob=blob,
        rows_first=0,
        rows_count=1,
        readers=256,
        route="participant",
        places={"x" * MAX_PLACES_BYTES: 1},
    )
    ours, theirs = open_links()
    with closing(ours), closing(theirs):
        ours.send(message, (0, *fds))
    with pytest.raises(ConfigurationError, match=r"gave 32 descriptors, expected at most 31"):
        handover.pickled_spec((spec, (0, *fds)), SessionOptions())


def test_who_is_interrupted_leaves_no_descriptor_of_a_hand_over() -> None:
    """Neither of one that was there already, nor of one that comes later."""

    class Interrupted:
        def __init__(self, work: Callable[[], None], *, first: bool) -> None:
            self.work, self.first = work, first

        def join(self, seconds: float) -> None:
            if self.first:
                self.work()
            raise KeyboardInterrupt

    class Machine:
        def __init__(self, *, first: bool) -> None:
            self.first = first

        def start_thread(self, name: str, work: Callable[[], None]) -> Any:
            self.started = Interrupted(work, first=self.first)
            return self.started

    for first in (True, False):
        before, machine = descriptors(), Machine(first=first)
        with pytest.raises(KeyboardInterrupt):
            hand_over(machine, Minted(mint=lambda: "t"), 5.0)  # type: ignore[arg-type]
        if not first:
            machine.started.work()
        assert descriptors() == before


def test_no_moment_of_a_hand_over_at_which_it_is_interrupted_leaves_a_descriptor() -> None:
    class Machine:
        """Its threads have done their work when they have started."""

        def start_thread(self, name: str, work: Callable[[], None]) -> threading.Thread:
            thread = MACHINE.start_thread(name, work)
            thread.join()
            return thread

    before, handed = descriptors(), list[Any]()
    machine: Any = Machine()
    spec = Minted(mint=lambda: "t")
    for moment in range(1, MAX_MOMENTS):
        call = partial(hand_over, machine, spec, 5.0)
        done = not interrupted(lambda: handed.append(call()), moment, handover)  # noqa: B023
        if done:
            break
        assert descriptors() == before, moment
    # Python 3.13 looks at two moments, those before it at more.
    assert (2 if sys.version_info >= (3, 13) else 3) < moment < MAX_MOMENTS
    ((_, (fd,)),) = handed
    os.close(fd)


def test_who_is_interrupted_as_the_thread_starts_leaves_no_descriptor_of_a_hand_over() -> None:
    class Machine:
        def start_thread(self, name: str, work: Callable[[], None]) -> threading.Thread:
            MACHINE.start_thread(name, work).join()
            raise KeyboardInterrupt

    before, machine = descriptors(), Machine()
    with pytest.raises(KeyboardInterrupt):
        hand_over(machine, Minted(mint=lambda: "t"), 5.0)  # type: ignore[arg-type]
    assert descriptors() == before


def test_where_no_thread_is_to_be_had_nothing_is_left_of_its_link() -> None:
    class Machine:
        def start_thread(self, name: str, work: Callable[[], None]) -> threading.Thread:
            raise StartupError("no thread")

    before = descriptors()
    machine: Any = Machine()
    renewals = Renewals(machine, Minted(mint=lambda: "t"), SessionOptions())
    with pytest.raises(StartupError) as refused:
        renewals.open()
    # Its frames keep what they had, so nothing of it is collected.
    left = descriptors()
    renewals.close()
    del refused
    assert left == before
