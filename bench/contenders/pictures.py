"""Pictures through the LiveKit SDK, in or out, one way: prints pictures and CPU of this process.

    python -m bench.contenders.pictures '{"url": ..., "what": "in", "way": "direct", ...}'

Ways: `native`, what the library does without Python (in: subscribed and not read; out: one picture
that it has already, captured again and again); `sdk`, as its documentation has it; `public` and
`direct`, ringroom's provider. What else there is, `show`, is the other side of `in`.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from livekit import rtc

from bench.contenders import media
from bench.contenders.media import Way, measured, perform, spec
from ringroom.colour import i420_size
from ringroom.events import Kind
from ringroom.frames import VideoFrame
from ringroom.options import PublishOptions, SessionOptions
from ringroom.providers.provider import OutgoingTrack

BITRATE = 3_000_000  # the SDK's preset for 1080p
I420 = rtc.VideoBufferType.I420


@dataclass(frozen=True, kw_only=True)
class Order(media.Order):
    """What to measure."""

    width: int
    height: int


class Count(media.Count):
    """Pictures so far; the sink of inbound tracks, which copies them as a lane does."""

    def __init__(self, order: Order) -> None:
        super().__init__()
        self._picture = np.zeros(i420_size(order.width, order.height), np.uint8)

    def video(
        self, i420: memoryview, size: tuple[int, int], rotation: int, timestamp_us: int
    ) -> None:
        # The first pictures of a call are smaller: the bandwidth is not known yet.
        self._picture[: i420.nbytes] = np.frombuffer(i420, np.uint8)
        self.frames += size[0] * size[1] * 3 // 2 == len(self._picture)


def picture(order: Order) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Something to look at: a slope of grey, and a colour."""
    grey = np.linspace(16, 235, order.width * order.height).astype(np.uint8)
    colours = np.full(i420_size(order.width, order.height) - len(grey), 90, np.uint8)
    return np.concatenate([grey, colours])


async def beats(order: Order) -> Any:
    """Again and again, at the moment when a picture is due."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        due += 1 / order.rate
        await asyncio.sleep(due - loop.time())
        yield


async def sdk_in(order: Order) -> dict[str, float]:
    count, room = Count(order), rtc.Room()
    found: list[rtc.Track] = []
    reading = []

    async def read(track: rtc.Track) -> None:
        async for event in rtc.VideoStream(track, format=I420):
            size = (event.frame.width, event.frame.height)
            count.video(memoryview(event.frame.data), size, 0, 0)

    def subscribed(track: rtc.Track, *_: Any) -> None:
        found.append(track)
        if order.way == "sdk":
            reading.append(asyncio.ensure_future(read(track)))

    room.on("track_subscribed", subscribed)
    await room.connect(order.url, order.token)
    return await measured(order, count, lambda: len(found))


async def ours_in(order: Order) -> dict[str, float]:
    count = Count(order)
    await (
        spec(order).open(()).connect(count, SessionOptions(connect_timeout=30, kinds=(Kind.VIDEO,)))
    )
    return await measured(order, count, lambda: count.tracks)


async def sdk_out(order: Order) -> dict[str, float]:
    count = Count(order)
    source = await _published(order)
    whole = picture(order)
    same = rtc.VideoFrame(order.width, order.height, I420, bytearray(whole))

    async def play() -> None:
        async for _ in beats(order):
            frame = same
            if order.way == "sdk":
                frame = rtc.VideoFrame(order.width, order.height, I420, whole.tobytes())
            source.capture_frame(frame)
            count.frames += 1

    playing = asyncio.ensure_future(play())
    return await measured(order, count, lambda: int(not playing.done()))


async def _published(order: Order) -> rtc.VideoSource:
    room = rtc.Room()
    await room.connect(order.url, order.token, rtc.RoomOptions(auto_subscribe=False))
    source = rtc.VideoSource(order.width, order.height)
    track = rtc.LocalVideoTrack.create_video_track("picture", source)
    options = rtc.TrackPublishOptions(simulcast=False, video_codec=rtc.VideoCodec.VP8)
    options.video_encoding.max_framerate = order.rate
    options.video_encoding.max_bitrate = BITRATE
    await room.local_participant.publish_track(track, options)
    return source


async def ours_out(order: Order) -> dict[str, float]:
    count = Count(order)
    app = spec(order).open(())
    await app.connect(count, SessionOptions(connect_timeout=30, kinds=(Kind.VIDEO,)))
    track = OutgoingTrack(
        name="picture",
        kind=Kind.VIDEO,
        options=PublishOptions(video_bitrate=BITRATE, video_fps=order.rate),
        width=order.width,
        height=order.height,
    )
    playout = await app.publish(track)
    frame = VideoFrame(picture(order), order.width, order.height)

    async def play() -> None:
        async for _ in beats(order):
            await playout.play(frame)
            count.frames += 1

    playing = asyncio.ensure_future(play())
    return await measured(order, count, lambda: int(not playing.done()))


async def show(order: Order) -> dict[str, float]:
    """Until it is killed."""
    source = await _published(order)
    sys.stdout.write("showing\n")
    sys.stdout.flush()
    frame = rtc.VideoFrame(order.width, order.height, I420, bytearray(picture(order)))
    async for _ in beats(order):
        source.capture_frame(frame)
    return {}


WAYS: dict[tuple[str, bool], Way] = {
    ("in", False): sdk_in,
    ("in", True): ours_in,
    ("out", False): sdk_out,
    ("out", True): ours_out,
    ("show", False): show,
}


if __name__ == "__main__":
    perform(Order, WAYS)
