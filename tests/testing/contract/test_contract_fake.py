"""The provider ``fake`` keeps every promise, on a thread and in a process of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from dataclasses import replace

import pytest

import ringroom
from ringroom.testing import FakeRoom, contract
from ringroom.testing.contract import cancelling


@contract.parametrize(contract.fake_subject())
def test_on_a_thread(case: contract.Case) -> None:
    case()


@pytest.fixture(scope="module")
def io_process() -> Iterator[ringroom.IOProcess]:
    """One process for all promises: to start it takes longer than to keep them."""
    with ringroom.IOProcess() as process:
        yield process


@pytest.mark.once
@pytest.mark.parametrize("promise", contract.PROMISES, ids=lambda promise: promise.name)
def test_in_a_process(promise: contract.Promise, io_process: ringroom.IOProcess) -> None:
    subject = contract.fake_subject(io_process)
    assert not promise.unclaimed(subject), "the fake claims everything"
    contract.Case(subject=subject, promise=promise)()


def test_a_process_that_is_frozen_breaks_a_promise_and_does_not_hang_the_report() -> None:
    """A promise that would wait for ever ends at the subject's deadline, and tells where."""

    with FakeRoom() as room, ringroom.transport("fake", room=room, io="thread") as transport:
        receiver = transport.recv()

        def waits_for_ever(_: contract.Subject) -> None:
            next(receiver)

        slow = replace(contract.PROMISES[0], function=waits_for_ever)
        subject = replace(contract.fake_subject(), deadline=0.2)
        report = contract.check(subject, [slow])
    assert "hangs for 0.2 s in " in report.broken[0].cause


def test_an_opening_that_is_quicker_than_its_cancellation_breaks_no_promise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A step of the loop lasts as long as the machine has it: the room may be joined within it."""

    async def to_its_end(_: int, call: Awaitable[object], __: float) -> list[object]:
        return [await call]

    monkeypatch.setattr(cancelling, "cancelled_after", to_its_end)
    report = contract.check(
        contract.fake_subject(), [cancelling.a_cancelled_open_leaves_nothing_running]
    )
    assert report.ok, str(report)
