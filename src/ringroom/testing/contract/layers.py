"""Promises about pictures that are published in layers (simulcast)."""

from __future__ import annotations

import itertools
import time

from ringroom.client import Receiver
from ringroom.testing.contract.events import events_until
from ringroom.testing.contract.hearing import collect, picture
from ringroom.testing.contract.pictures import CODED_SECONDS
from ringroom.testing.contract.promise import expect, promise
from ringroom.testing.contract.subject import LAYERED, Stage, Subject

# So many pictures of one size in a row: the layer does not change any more.
STEADY = 5
# After a loss a layer that is not asked for again would have come within so many.
AFTER_A_LOSS = 20


def widths(receiver: Receiver, stage: Stage, least: int, *, small: bool) -> list[int]:
    """Of the pictures that we receive, while Ann shows one after the other: ``least``, and on until
    the last ones are all smaller than they are shown, or all as large."""
    found: list[int] = []
    end = time.monotonic() + 2 * stage.patience
    for number in itertools.count():
        last = {width < LAYERED[0] for width in found[-STEADY:]}
        if (len(found) >= max(least, STEADY) and last == {small}) or time.monotonic() > end:
            break
        stage.driver.show("ann", "camera", picture(number, *LAYERED))
        exact = stage.capabilities.exact_video
        came, _ = collect(receiver, bool if exact else lambda _: False, CODED_SECONDS)
        found += [one.width for one in came]
    return found


def expect_layer(receiver: Receiver, stage: Stage, quality: str, least: int = 0) -> None:
    """Break the promise unless that layer comes: "low" or "high"."""
    small = quality == "low"
    found = widths(receiver, stage, least, small=small)
    kept = [width < LAYERED[0] for width in found[-STEADY:]] == [small] * STEADY
    expect(
        kept,
        f"of pictures {LAYERED[0]} wide the layer {quality!r} was asked for, and such came that "
        f"are {found[-STEADY:]} wide",
    )


@promise("video_in", "layers")
def the_layer_that_is_asked_for_comes(subject: Subject) -> None:
    """Of a picture that is published in layers the smallest comes where ``video_quality`` is
    ``low``, and the largest where nothing is said."""
    for quality in ("low", "high"):
        asked = {"video_quality": quality} if quality == "low" else {}
        with subject.opened(kinds=("video",), **asked) as (transport, stage):
            stage.driver.publish_layers("ann", "camera")
            expect_layer(transport.recv(timeout=CODED_SECONDS), stage, quality)


@promise("video_in", "layers", "events", "connection_loss")
def the_layer_is_asked_for_again_after_a_loss(subject: Subject) -> None:
    """The smallest layer, where it is asked for, still comes when the connection is back."""
    options = {"kinds": ("video", "event"), "video_quality": "low"}
    with subject.opened(**options) as (transport, stage):
        receiver = transport.recv(kinds=("video",), timeout=CODED_SECONDS)
        stage.driver.publish_layers("ann", "camera")
        expect_layer(receiver, stage, "low")
        events = transport.recv(kinds=("event",), timeout=stage.patience)
        stage.driver.lose_connection()
        events_until(events, ("connection_lost", ""), stage)
        stage.driver.restore_connection()
        events_until(events, ("connection_back", ""), stage)
        expect_layer(receiver, stage, "low", least=AFTER_A_LOSS)
