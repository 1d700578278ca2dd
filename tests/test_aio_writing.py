"""Texts that a transport writes while the others read them: asyncio face."""

from __future__ import annotations

import asyncio

import pytest

from aio_kit import cancelled, opened, soon, until
from ringroom.errors import ClosedError, FrameError
from ringroom.frames import TextFrame
from ringroom.testing import FakeRoom
from ringroom.text_out import UNFINISHED


def test_the_others_see_a_text_grow(fake_room: FakeRoom) -> None:
    async def main() -> None:
        ann = fake_room.join("ann")
        async with opened(fake_room) as transport:
            async with transport.open_text(topic="t", to=["ann"], attributes={"a": "b"}) as text:
                await soon(text.write("Hel"))
                await until(lambda: ann.texts and ann.texts[0].text == "Hel")
                assert not ann.texts[0].ended
                await soon(text.write("lo"))
            await until(lambda: ann.received)
            [whole] = ann.received
            assert isinstance(whole, TextFrame)
            assert (whole.text, whole.topic, whole.attributes) == ("Hello", "t", {"a": "b"})
            assert ann.texts[0].pieces == ("Hel", "lo")
            with pytest.raises(FrameError, match="expected a tuple"):
                transport.open_text(to="ann")
            async with transport.open_text() as text:
                await soon(text.finish({"final": "true"}))
                await until(lambda: len(ann.texts) == 2 and ann.texts[1].whole)
                assert ann.texts[1].attributes == {"final": "true"}
                with pytest.raises(ClosedError, match="nothing after finish"):
                    await text.write("more")
                with pytest.raises(ClosedError, match="nothing after finish"):
                    await text.finish()

    asyncio.run(main())


def test_a_task_that_is_cancelled_leaves_its_text_unfinished(fake_room: FakeRoom) -> None:
    async def main() -> None:
        ann = fake_room.join("ann")
        async with opened(fake_room) as transport:

            async def speak() -> None:
                async with transport.open_text() as text:
                    await text.write("half")
                    await asyncio.Event().wait()

            task = asyncio.create_task(speak())
            await until(lambda: ann.texts and ann.texts[0].text == "half")
            await cancelled(task)
            await until(lambda: ann.texts[0].ended)
            assert ann.texts[0].reason == UNFINISHED

    asyncio.run(main())


def test_texts_that_are_written_at_a_time_stay_apart(fake_room: FakeRoom) -> None:
    async def main() -> None:
        ann = fake_room.join("ann")
        async with opened(fake_room) as transport:
            async with transport.open_text(topic="a") as a, transport.open_text(topic="b") as b:
                for number in range(50):
                    await soon(a.write(f"a{number}"))
                    await soon(b.write(f"b{number}"))
            await until(lambda: len(ann.received) == 2)
            for seen in ann.texts:
                assert seen.pieces == tuple(f"{seen.topic}{number}" for number in range(50))

    asyncio.run(main())
