"""The clients against each other: what the other integration tests measure with is itself right."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from integration.clients import tones
from integration.clients.client import ClientError
from integration.conftest import Joins

TONES = {"a": 350.0, "b": 500.0, "c": 800.0, "d": 1250.0}
LEVEL = 0.3 / 2**0.5  # RMS of what `opus` and the browser's tones send


@pytest.mark.alone
def test_the_browser_hears_four_tracks_of_the_go_client(
    go_client: Joins, browser: Joins, opus: Callable[..., str]
) -> None:
    ben, ann = browser("ben"), go_client("ann")
    for name, frequency in TONES.items():
        ann.publish(name, file=opus(frequency), loop=True)
    ben.wait_for("subscribed", count=4, participant="ann")
    time.sleep(2)  # the jitter buffers settle, and the analyser looks back 0.7 s
    heard = ben.measure(2.0)
    for name, frequency in TONES.items():
        assert heard["ann", name]["frequency"] == pytest.approx(frequency, abs=3)
        assert heard["ann", name]["level"] == pytest.approx(LEVEL, rel=0.1)
        assert heard["ann", name]["longest_gap"] < 0.1


@pytest.mark.alone
def test_the_go_client_hears_the_browser(browser: Joins, go_client: Joins) -> None:
    ann, ben = go_client("ann"), browser("ben")
    ben.publish("tone", source="tone", frequency=660, level=0.3)
    ann.wait_for("subscribed", participant="ben", track="tone")
    time.sleep(4)
    track = ann.leave()["ben", "tone"]
    assert track["packets"] == pytest.approx(track["seconds"] * 50, rel=0.1)
    assert track["lost"] <= 2
    sound = tones.heard(tones.decoded(track["file"])[tones.RATE : -tones.RATE // 2])
    assert sound.frequency == pytest.approx(660, abs=2)
    assert sound.level == pytest.approx(LEVEL, rel=0.1)
    assert sound.longest_gap < 0.1


def test_a_browser_sees_a_browser(browser: Joins) -> None:
    ann, ben = browser("ann"), browser("ben")
    colours = [[200, 40, 60], [40, 160, 60], [30, 60, 200], [180, 180, 180]]
    ann.publish("wall", source="colour", quarters=colours)
    ann.publish("camera", source="camera", width=1280, height=720)
    ann.publish("mic", source="microphone")
    for track in ("wall", "camera", "mic"):
        ben.wait_for("subscribed", participant="ann", track=track)
    time.sleep(2)
    seen = ben.measure(2.0)
    wall, camera, mic = (seen["ann", name] for name in ("wall", "camera", "mic"))
    assert wall["frames"] > 5
    for quarter, colour in zip(wall["quarters"], colours, strict=True):
        assert quarter == pytest.approx(colour, abs=15)
    assert camera["frames"] > 5
    assert camera["width"] / camera["height"] == pytest.approx(16 / 9, rel=0.02)
    assert mic["level"] > 0.005  # it beeps
    ann.unpublish("wall")
    ben.wait_for("unsubscribed", participant="ann", track="wall")


def test_data_goes_both_ways(go_client: Joins, browser: Joins) -> None:
    ann, ben = go_client("ann"), browser("ben")
    ann.wait_for("participant", participant="ben")
    every_byte = bytes(range(256))
    ann.send_data(every_byte, topic="there")
    assert ben.wait_for_data(participant="ann", topic="there") == every_byte
    ben.send_data(every_byte[::-1], topic="back", to=["ann"])
    assert ann.wait_for_data(participant="ben", topic="back") == every_byte[::-1]
    ben.send_data(b"lossy", topic="lossy", reliable=False)
    assert ann.wait_for_data(participant="ben", topic="lossy") == b"lossy"


def test_texts_go_from_browser_to_browser(browser: Joins) -> None:
    ann, ben = browser("ann"), browser("ben")
    ann.wait_for("participant", participant="ben")
    ann.call("text", text="grüße", topic="lk.chat", attributes={"a": "b"})
    came = ben.wait_for("text", participant="ann", topic="lk.chat")
    assert (came["text"], came["attributes"]) == ("grüße", {"a": "b"})


def test_muting_unpublishing_and_leaving_are_noticed(
    go_client: Joins, browser: Joins, opus: Callable[..., str]
) -> None:
    ben, ann = browser("ben"), go_client("ann")
    ann.publish("a", file=opus(440), loop=True)
    ben.wait_for("subscribed", participant="ann", track="a")
    ann.mute("a")
    ben.wait_for("muted", participant="ann", track="a")
    ann.mute("a", False)
    ben.wait_for("unmuted", participant="ann", track="a")
    ann.unpublish("a")
    ben.wait_for("unsubscribed", participant="ann", track="a")
    ann.publish("short", file=opus(440, seconds=1.0))
    ann.wait_for("finished", track="short")
    ann.leave()
    ben.wait_for("gone", participant="ann")


def test_a_wrong_command_is_an_error_with_its_reason(go_client: Joins) -> None:
    ann = go_client("ann")
    with pytest.raises(ClientError, match="no track"):
        ann.mute("nothing")
    with pytest.raises(ClientError, match="unknown command"):
        ann.call("dance")


def test_tones_are_judged_as_they_were_made(tmp_path_factory: pytest.TempPathFactory) -> None:
    samples = tones.sine(440, seconds=2.0, amplitude=0.5)
    samples[tones.RATE : tones.RATE + tones.RATE // 10] = 0
    sound = tones.heard(samples)
    assert sound.frequency == pytest.approx(440, abs=1)
    assert sound.longest_gap == pytest.approx(0.1, abs=0.011)
    assert sound.level == pytest.approx(0.5 / np.sqrt(2) * np.sqrt(0.95), rel=0.01)
    path = tones.encoded(tmp_path_factory.mktemp("tones") / "a.ogg", tones.sine(440, 2.0))
    back = tones.heard(tones.decoded(path)[4800:-4800])
    assert back.frequency == pytest.approx(440, abs=1)
    assert back.level == pytest.approx(LEVEL, rel=0.05)
