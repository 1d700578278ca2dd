"""Wrong with texts, on the way in and out, at a provider and in the core."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any, ClassVar

from wrong_inbound import Counting
from wrong_kit import Twist, WrongCore, breaks

from ringroom import client
from ringroom.errors import FrameError, RoomError
from ringroom.events import Event, EventKind
from ringroom.frames import DataFrame, TextFrame


class TwistOfTexts(Twist):
    """Texts that come in; messages and all else pass."""

    def data(self, sink: Any, frame: DataFrame) -> None:
        if isinstance(frame, TextFrame):
            self.text(sink, frame)
        else:
            super().data(sink, frame)

    def text(self, sink: Any, frame: TextFrame) -> None:
        sink.data(frame)


class CountingTexts(TwistOfTexts, Counting):
    """Counts them."""


# In


@breaks({"texts_arrive_in_order": r"in the order \[0, 1, 2, 3, 5, 4"})
class LetsShortTextsOvertake(TwistOfTexts):
    held: TextFrame | None = None

    def text(self, sink: Any, frame: TextFrame) -> None:
        if frame.payload.startswith(b"4 "):
            self.held = frame
            return
        super().text(sink, frame)
        if self.held is not None:
            super().text(sink, self.held)
            self.held = None


@breaks({"every_text_arrives_once": r"1 of 20 messages never came.*\[2\]"})
class DropsAText(CountingTexts):
    def text(self, sink: Any, frame: TextFrame) -> None:
        if self.tick() != 3:
            super().text(sink, frame)


@breaks({"every_text_arrives_once": r"messages \[2\] came more than once"})
class RepeatsAText(CountingTexts):
    def text(self, sink: Any, frame: TextFrame) -> None:
        for _ in range(2 if self.tick() == 3 else 1):
            super().text(sink, frame)


@breaks({"a_long_text_arrives_whole": "a text of 133332 letters arrived with 10000"})
class GivesEachChunkOfAText(TwistOfTexts):
    def text(self, sink: Any, frame: TextFrame) -> None:
        for start in range(0, len(frame.text), 10_000):
            chunk = frame.text[start : start + 10_000].encode()
            super().text(sink, replace(frame, payload=chunk))


@breaks({"a_text_keeps_its_topic_and_attributes": r"the attributes .* arrived as \{\}"})
class ForgetsTheAttributes(TwistOfTexts):
    def text(self, sink: Any, frame: TextFrame) -> None:
        super().text(sink, replace(frame, attributes={}))


@breaks({"a_text_keeps_its_topic_and_attributes": "it is said to be of ''"})
class ForgetsWhoSentAText(TwistOfTexts):
    def text(self, sink: Any, frame: TextFrame) -> None:
        super().text(sink, replace(frame, participant=""))


@breaks({"texts_and_messages_do_not_mix": "a text arrived as a message"})
class TakesTextsForMessages(TwistOfTexts):
    def text(self, sink: Any, frame: TextFrame) -> None:
        super().data(sink, DataFrame(frame.payload, frame.topic, frame.participant))


@breaks({"texts_and_messages_do_not_mix": "a message arrived as a text"})
class TakesMessagesForTexts(Twist):
    def data(self, sink: Any, frame: DataFrame) -> None:
        super().data(sink, TextFrame(frame.payload, frame.topic, frame.participant))


@breaks({"texts_of_other_topics_do_not_arrive": "a text of the topic 'wetter/münchen' arrived"})
class ReceivesEveryTopic(WrongCore):
    @classmethod
    def options(cls, options: dict[str, Any]) -> dict[str, Any]:
        if "text_topics" not in options:
            return options
        return {**options, "text_topics": ("lk.chat", "wetter/münchen")}


@breaks({"a_text_that_breaks_off_is_told_and_counted": "a text that broke off was not told"})
class HidesABrokenText(Twist):
    def event(self, sink: Any, event: Event) -> None:
        if event.kind is not EventKind.TEXT_FAILED:
            super().event(sink, event)


@breaks({"a_text_that_breaks_off_is_told_and_counted": "half of a text arrived"})
class GivesHalfAText(Twist):
    def event(self, sink: Any, event: Event) -> None:
        if event.kind is EventKind.TEXT_FAILED:
            self.data(sink, TextFrame(b"half", "lk.chat", "ann"))
        super().event(sink, event)


# Out


@breaks({"texts_of_ours_arrive_in_order": r"in the order \[0, 1, 3, 2"})
class SwapsOurTexts(Counting):
    async def send_text(self, provider: Any, frame: TextFrame) -> None:
        if self.tick() == 3:
            self.held = frame
            return
        await super().send_text(provider, frame)
        if self.held is not None:
            await super().send_text(provider, self.held)
            self.held = None


@breaks({"every_text_of_ours_arrives_once": r"1 of 20 messages never came.*\[2\]"})
class DropsOurText(Counting):
    async def send_text(self, provider: Any, frame: TextFrame) -> None:
        if self.tick() != 3:
            await super().send_text(provider, frame)


@breaks({"every_text_of_ours_arrives_once": r"messages \[2\] came more than once"})
class RepeatsOurText(Counting):
    async def send_text(self, provider: Any, frame: TextFrame) -> None:
        for _ in range(2 if self.tick() == 3 else 1):
            await super().send_text(provider, frame)


@breaks({"a_long_text_of_ours_arrives_whole": "a text of 133332 letters arrived with 10000"})
class CutsOurTexts(Twist):
    async def send_text(self, provider: Any, frame: TextFrame) -> None:
        await super().send_text(provider, replace(frame, payload=frame.text[:10_000].encode()))


@breaks({"a_text_of_ours_keeps_its_topic_and_attributes": "arrived as 'lk.chat'"})
class HasOneTopic(Twist):
    async def send_text(self, provider: Any, frame: TextFrame) -> None:
        await super().send_text(provider, replace(frame, topic="lk.chat"))


@breaks({"a_text_of_ours_keeps_its_topic_and_attributes": r"arrived as \{'lk.segment_id'"})
class LeavesOutWhatIsEmpty(Twist):
    async def send_text(self, provider: Any, frame: TextFrame) -> None:
        kept = {name: value for name, value in frame.attributes.items() if value}
        await super().send_text(provider, replace(frame, attributes=kept))


@breaks({"texts_and_messages_of_ours_do_not_mix": "a text arrived as a message"})
class SendsTextsAsMessages(Twist):
    async def send_text(self, provider: Any, frame: TextFrame) -> None:
        await provider.send_data(DataFrame(frame.payload, frame.topic, to=frame.to))


@breaks({"texts_and_messages_of_ours_do_not_mix": "a message arrived as a text"})
class SendsMessagesAsTexts(Twist):
    async def send_data(self, provider: Any, frame: DataFrame) -> None:
        await provider.send_text(TextFrame(frame.payload, frame.topic, to=frame.to))


@breaks({"a_text_reaches_whom_it_is_for": r"reached \['ann', 'ben', 'eve'\]"})
class SendsTextsToEverybody(Twist):
    async def send_text(self, provider: Any, frame: TextFrame) -> None:
        await super().send_text(provider, replace(frame, to=()))


@breaks({"a_refused_text_is_told": "a refused text was not told"})
class HidesARefusedText(Twist):
    async def send_text(self, provider: Any, frame: TextFrame) -> None:
        with contextlib.suppress(RoomError):
            await super().send_text(provider, frame)


@breaks({"a_text_that_is_too_long_is_refused": "raised nothing, expected FrameError"})
class CutsWhatIsTooLong(WrongCore):
    class Transport(client.Transport):
        limit: ClassVar[int] = 200_000

        def send_text(self, text: str, **options: Any) -> None:
            try:
                super().send_text(text, **options)
            except FrameError:
                super().send_text(text[: self.limit], **options)
