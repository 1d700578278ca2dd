"""The SDK's public streams, whose ends it gets wrong."""

from __future__ import annotations

import asyncio

from native_kit import end_event, picture, put, sdk_stream, sound, turns
from ringroom.events import Kind
from ringroom.providers.livekit.public import frames_of


def test_sound_that_is_queued_when_the_end_comes_is_kept() -> None:
    async def scenario() -> list[int]:
        stream = sdk_stream(Kind.AUDIO)
        for value in range(1, 6):
            put(sound(value))
        put(end_event(Kind.AUDIO))
        return [event.frame.data[0] async for event in frames_of(stream)]

    assert asyncio.run(asyncio.wait_for(scenario(), 20)) == [1, 2, 3, 4, 5]


def test_pictures_end_when_their_source_ends() -> None:
    async def scenario() -> list[int]:
        stream = sdk_stream(Kind.VIDEO)
        reading = asyncio.create_task(anext(frames_of(stream), None))  # type: ignore[arg-type]
        await turns()
        assert not reading.done()
        put(end_event(Kind.VIDEO))
        assert await reading is None
        stream = sdk_stream(Kind.VIDEO)
        put(picture(1))
        put(picture(2))
        put(end_event(Kind.VIDEO))
        return [event.frame.data[0] async for event in frames_of(stream)]

    assert asyncio.run(asyncio.wait_for(scenario(), 20)) == [1, 2]
