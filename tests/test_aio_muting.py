"""The asyncio face mutes our tracks, cancelled or not."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from aio_kit import cancelled, opened, soon, until
from ringroom.errors import ClosedError, FrameError
from ringroom.frames import AudioFrame
from ringroom.testing import FakeRoom, faults

WORDS = AudioFrame(np.ones(1_600, np.int16), 16_000)


def test_it_is_awaited(fake_room: FakeRoom) -> None:
    async def main() -> None:
        async with opened(fake_room, io="process") as transport:
            await soon(transport.mute())
            await soon(transport.send(WORDS))
            await soon(transport.wait_playout())
            await until(lambda: fake_room.application.muted == {"audio"})
            assert fake_room.heard("audio").duration == 0
            with pytest.raises(FrameError, match="empty"):
                await transport.mute("")
            await soon(transport.unmute())
            await soon(transport.send(WORDS))
            await until(lambda: fake_room.heard("audio").duration == pytest.approx(0.1))
            with faults.frozen(transport.io_pid):
                late = asyncio.create_task(transport.mute())
                await until(lambda: transport._connection.session.muting._unanswered)
                await cancelled(late)
            await until(lambda: fake_room.application.muted == {"audio"})
        for call in (transport.mute, transport.unmute):
            with pytest.raises(ClosedError):
                await call()

    asyncio.run(main())
