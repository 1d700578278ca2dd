"""The layers of pictures that a LiveKit server has in store, as we ask for one of them."""

from __future__ import annotations

import pytest
from livekit import rtc

import ringroom
from integration.conftest import Joins
from integration.provider_kit import WAYS, Recorder, Server, connected, peer, run, until
from ringroom.events import EventKind
from ringroom.testing import sources
from ringroom.testing.server import LiveKitRoom

SHOWN = (1280, 720)
WIDTHS = {"low": 320, "medium": 640, "high": 1280}
"""Of the layers that LiveKit's SDKs make of a picture of that size."""


def widths(sink: Recorder) -> list[int]:
    """Of the last pictures that came."""
    return [size[0] for _, size, _, _ in sink.tracks[-1].pictures[-5:]] if sink.tracks else []


@pytest.mark.parametrize("quality", WIDTHS)
def test_the_layer_that_is_asked_for_comes(server: Server, quality: str) -> None:
    async def scenario() -> None:
        sink, options = Recorder(), {"kinds": ("video",), "video_quality": quality}
        async with peer(server) as ann, connected(server.spec(), sink, **options):
            await ann.show("camera", sources.picture(5, *SHOWN))
            wanted = [WIDTHS[quality]] * 5
            await until(lambda: widths(sink) == wanted, f"pictures {wanted[0]} wide", 30)

    run(scenario())


@WAYS
@pytest.mark.parametrize("scenario_name", ["SIMULATE_SIGNAL_RECONNECT", "SIMULATE_FULL_RECONNECT"])
def test_the_layer_stays_through_a_reconnection(
    server: Server, scenario_name: str, sdk_path: str
) -> None:
    async def scenario() -> None:
        sink, options = Recorder(), {"kinds": ("video",), "video_quality": "low"}
        spec = server.spec(sdk_path=sdk_path)
        async with peer(server) as ann, connected(spec, sink, **options) as app:
            await ann.show("camera", sources.picture(5, *SHOWN))
            small = [WIDTHS["low"]] * 5
            await until(lambda: widths(sink) == small, "the small layer", 30)
            room = app._opened.room  # type: ignore[attr-defined]
            await room.simulate_scenario(rtc.SimulateScenarioKind.Value(scenario_name))
            await until(lambda: EventKind.CONNECTION_BACK in sink.kinds(), "back", 30)
            before = len(sink.tracks[-1].pictures)
            # So long a larger one, if none were asked for, would have come.
            await until(lambda: len(sink.tracks[-1].pictures) > before + 60, "3 s of pictures", 30)
            await until(lambda: widths(sink) == small, "the small layer, after", 30)

    run(scenario())


def test_the_layer_of_a_browser_comes(livekit_room: LiveKitRoom, browser: Joins) -> None:
    access = {"url": livekit_room.url, "token": livekit_room.token("app")}
    options = {"kinds": ("video",), "video_quality": "low", "max_age": 10.0}
    with ringroom.transport("livekit", **access, **options) as app:
        browser("ben").publish("camera", source="camera", simulcast=True, width=1280, height=720)
        for frame in app.recv(timeout=60):
            if frame.width == WIDTHS["low"]:
                break
