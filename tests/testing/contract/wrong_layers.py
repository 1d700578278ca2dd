"""Wrong about the layers of pictures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from wrong_kit import breaks
from wrong_losing import Losing

from ringroom.events import Event
from ringroom.options import SessionOptions, VideoQuality
from ringroom.providers.provider import Joined

ASKED = "the_layer_that_is_asked_for_comes"


class Choosing(Losing):
    """Asks for a layer of its own."""

    quality: ClassVar[VideoQuality]

    async def connect(self, provider: Any, sink: Any, options: SessionOptions) -> Joined:
        asked = replace(options, video_quality=self.quality)
        return await super().connect(provider, sink, asked)


@breaks({ASKED: "'low' was asked for, and such came that are .960, 960, .*wide"})
class IgnoresTheLayer(Choosing):
    quality = "high"


@breaks({ASKED: "'high' was asked for, and such came that are .240, 240, .*wide"})
class GivesTheSmallest(Choosing):
    quality = "low"


@breaks({"the_layer_is_asked_for_again_after_a_loss": "'low' was asked for, and .*960, 960"})
class ForgetsTheLayer(Losing):
    async def connect(self, provider: Any, sink: Any, options: SessionOptions) -> Joined:
        self.options, self.provider = options, provider
        return await super().connect(provider, sink, options)

    def event(self, sink: Any, event: Event) -> None:
        super().event(sink, event)
        if self.lost:
            self.provider._tracks._options = replace(self.options, video_quality="high")
