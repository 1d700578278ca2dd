"""The source of a replay that plays to nobody, as fast as it is given sound."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from ringroom.errors import RoomError
from ringroom.events import Kind
from ringroom.frames import AudioFrame, VideoFrame
from ringroom.options import PublishOptions
from ringroom.providers.provider import OutgoingTrack
from ringroom.providers.replay.playout import Unpaced

SECOND = AudioFrame(np.zeros(16_000, np.int16), 16_000)


def test_what_comes_after_the_end_is_told_as_not_played() -> None:
    async def scenario() -> None:
        options = PublishOptions()
        track = OutgoingTrack(name="voice", kind=Kind.AUDIO, options=options, sample_rate=16_000)
        playout = Unpaced(track)
        await playout.play(SECOND)
        assert (playout.queued(), playout.clear()) == (0.0, 0.0)
        playout.stop("disconnected")
        picture = VideoFrame.from_gray(np.zeros((4, 4), np.uint8))
        for frame in (SECOND, SECOND, picture):
            with pytest.raises(RoomError) as caught:
                await playout.play(frame)
            assert caught.value.reason == "disconnected"
        assert playout.clear() == 2.0
        assert playout.clear() == 0.0

    asyncio.run(scenario())
