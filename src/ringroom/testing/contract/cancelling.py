"""Promises of the asyncio face: what it awaits can be cancelled anywhere, and nothing is harmed.

A cancellation at every await: the call is let run for one step of the event loop, then two, and so
on, and cancelled there.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from ringroom.frames import AudioFrame
from ringroom.testing import sources
from ringroom.testing.contract.ending import belongings
from ringroom.testing.contract.hearing import heard_from_us, say
from ringroom.testing.contract.promise import Broken, broken, expect, promise
from ringroom.testing.contract.score import RATE, Score, disordered, missing, repeated
from ringroom.testing.contract.subject import LOOK_SECONDS, Stage, Subject

STEPS = 6
T = TypeVar("T")


def run(subject: Subject, play: Callable[[Stage], Coroutine[Any, Any, None]]) -> None:
    """Play it in a fresh room on an event loop of its own."""
    with subject.staged() as stage:
        asyncio.run(play(stage))


def descriptors() -> set[str]:
    return {one for one in belongings() if one.startswith("descriptor")}


async def cancelled_after(steps: int, call: Awaitable[T], patience: float) -> list[T]:
    """Let the call run that many steps of the loop, cancel it, and wait until it has ended. Returns
    its result if it had ended by itself: how far a call comes in a step depends on the machine."""
    task = asyncio.ensure_future(call)
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=patience)
    if not done:
        broken(f"a call that was cancelled after {steps} steps goes on")
    return [] if task.cancelled() else [task.result()]


async def happens(condition: Callable[[], object], what: str, patience: float) -> None:
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            broken(f"{what}: not within {patience:g} s")
        await asyncio.sleep(LOOK_SECONDS)


@promise("audio_in")
def a_cancelled_receive_loses_nothing(subject: Subject) -> None:
    """Cancel a wait for a frame at any step: every frame comes all the same, once, in order."""

    async def play(stage: Stage) -> None:
        async with stage.open_aio(kinds=("audio",)) as transport:
            receiver: Any = transport.recv()
            numbers: list[int] = []
            for steps in range(STEPS):
                came = await cancelled_after(steps, receiver.__anext__(), stage.patience)
                numbers += [frame.sequence for frame in came]
            score = Score(stage.capabilities)
            await asyncio.to_thread(say, stage, score)
            async for number in arriving(receiver, stage):
                numbers.append(number)
                if len(numbers) > score.count:
                    break
        expect(numbers, "no frame came after cancelled waits")
        expect(
            numbers == [*range(numbers[0], numbers[0] + len(numbers))],
            f"frames {numbers} came, of which some were waited for and cancelled",
        )
        expect(
            len(numbers) > score.count,
            f"of more than {score.count} frames that were said no more than {len(numbers)} came "
            f"after cancelled waits, and none within another {stage.patience:g} s",
        )

    run(subject, play)


async def arriving(receiver: Any, stage: Stage) -> Any:
    """The numbers of the frames that come. Each wait is begun and cancelled first: if its frame
    comes all the same it is taken, else another wait gets it."""
    with contextlib.suppress(TimeoutError, StopAsyncIteration):
        while True:
            async with asyncio.timeout(stage.patience):
                waiting = asyncio.ensure_future(receiver.__anext__())
                await asyncio.sleep(0)
                waiting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    yield (await waiting).sequence
                    continue
                frame = await receiver.__anext__()
            yield frame.sequence


@promise("audio_out")
def a_cancelled_send_leaves_the_track_whole(subject: Subject) -> None:
    """Cancel a send at any step: the track goes on; of each frame all is heard, or nothing."""

    async def play(stage: Stage) -> None:
        score = Score(stage.capabilities, STEPS)
        async with stage.open_aio(kinds=()) as transport:
            for number in range(score.count):
                await cancelled_after(number, transport.send(score.piece(number)), stage.patience)
            async with asyncio.timeout(stage.patience):
                await transport.send(score.piece(score.end))
            heard = await asyncio.to_thread(heard_from_us, stage, score)
        expect(score.end in heard.numbers, "what was sent after cancelled sends was never heard")
        twice, wrong = repeated(heard.numbers), disordered(heard.numbers)
        expect(not twice, f"pieces {twice} were heard twice after cancelled sends")
        expect(not wrong, f"out of order after cancelled sends: {wrong[:1]}")
        if score.lossless:
            expect(-1 not in heard.numbers, "of a cancelled send a part of a frame was heard")

    run(subject, play)


@promise("data_out")
def a_cancelled_message_leaves_the_next_whole(subject: Subject) -> None:
    """Cancel the sending of a message at any step: those that follow are received, in order."""

    async def play(stage: Stage) -> None:
        async with stage.open_aio(kinds=()) as transport:
            for steps in range(STEPS):
                call = transport.send_data(b"%d" % steps)
                await cancelled_after(steps, call, stage.patience)
            async with asyncio.timeout(stage.patience):
                await transport.send_data(b"99")
            await happens(
                lambda: any(one.payload == b"99" for one in stage.driver.received("ann")),
                "the message after cancelled ones being received",
                stage.patience,
            )
        found = [int(one.payload) for one in stage.driver.received("ann")]
        expect(found == sorted(set(found)), f"after cancelled ones messages came as {found}")

    run(subject, play)


@promise("audio_out", "pacing")
def a_cancelled_wait_for_playout_harms_nothing(subject: Subject) -> None:
    """Cancel waits for the playout and flushes at any step: what is sent next is heard."""

    async def play(stage: Stage) -> None:
        async with stage.open_aio(kinds=()) as transport:
            await transport.send(AudioFrame(sources.noise(0.5, RATE), RATE))
            for steps in range(STEPS):
                await cancelled_after(steps, transport.wait_playout(), stage.patience)
            for steps in range(STEPS):
                await cancelled_after(steps, transport.flush(), stage.patience)
            score = Score(stage.capabilities)
            async with asyncio.timeout(stage.patience):
                await transport.send(score.frame)
            heard = await asyncio.to_thread(heard_from_us, stage, score)
        lost = missing(heard.numbers, score)
        expect(not lost, f"after cancelled waits pieces {lost} were never heard")

    run(subject, play)


@promise()
def a_cancelled_open_leaves_nothing_running(subject: Subject) -> None:
    """Cancel an opening at any step: it ends in time, and the next one succeeds."""

    async def play(stage: Stage) -> None:
        before = descriptors()
        for steps in range(0, 2 * STEPS, 3):
            transport = stage.open_aio()
            begun = time.monotonic()
            opened = await cancelled_after(steps, transport.open(), 2 * stage.patience + 2)
            took = time.monotonic() - begun
            limit = stage.capabilities.close_seconds + stage.patience
            expect(took <= limit, f"a cancelled opening took {took:.2f} s to end")
            if opened:
                await transport.close()
        await happens(
            lambda: descriptors() <= before, "giving back the descriptors", stage.patience
        )
        async with asyncio.timeout(stage.patience + 10), stage.open_aio() as transport:
            expect(transport.identity, "after cancelled openings a transport opened without a room")

    run(subject, play)


@promise("people")
def a_cancelled_close_still_leaves_the_room(subject: Subject) -> None:
    """Cancel a close at any step: we are out of the room all the same."""

    async def play(stage: Stage) -> None:
        for steps in (0, 2, 4):
            transport = await stage.open_aio().open()
            identity = transport.identity
            await cancelled_after(steps, transport.close(), stage.patience + 2)
            if not steps:  # the cancelled close had not begun
                await transport.close()
            await happens(
                lambda who=identity: who not in stage.driver.people(),  # type: ignore[misc]
                f"leaving the room by a close that was cancelled after {steps} steps",
                stage.patience,
            )

    run(subject, play)


@promise("audio_in", "room_end")
def the_async_loop_ends_with_the_room(subject: Subject) -> None:
    """``async for`` ends with the room, after the frames that came before."""

    async def play(stage: Stage) -> None:
        async with stage.open_aio(kinds=("audio",)) as transport:
            score = Score(stage.capabilities)
            await asyncio.to_thread(say, stage, score)
            await happens(
                lambda: transport.stats().received.sent, "sound coming in", stage.patience
            )
            await asyncio.to_thread(stage.driver.close_room)
            count = 0
            try:
                async with asyncio.timeout(2 * stage.patience):
                    async for _ in transport.recv():
                        count += 1
            except TimeoutError:
                raise Broken("the room has ended, and the async loop goes on") from None
            expect(count, "the async loop ended before the frames that came before the end")

    run(subject, play)
