"""Wrong with the digits of telephones, on the way in and out, at a provider and in the core."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

from wrong_inbound import Counting
from wrong_kit import Twist, WrongCore, breaks

from ringroom import client
from ringroom.dtmf import DIGITS, DtmfFrame
from ringroom.errors import RoomError
from ringroom.frames import DataFrame


class TwistOfDigits(Counting):
    """Digits that come in; messages and all else pass."""

    def data(self, sink: Any, frame: DataFrame) -> None:
        if isinstance(frame, DtmfFrame):
            self.digit(sink, frame)
        else:
            super().data(sink, frame)

    def digit(self, sink: Any, frame: DtmfFrame) -> None:
        sink.data(frame)


# In


@breaks({"digits_arrive_in_order_and_once": "arrived as 013456"})
class DropsADigit(TwistOfDigits):
    def digit(self, sink: Any, frame: DtmfFrame) -> None:
        if self.tick() != 3:
            super().digit(sink, frame)


@breaks({"digits_arrive_in_order_and_once": "arrived as 0122345"})
class RepeatsADigit(TwistOfDigits):
    def digit(self, sink: Any, frame: DtmfFrame) -> None:
        for _ in range(2 if self.tick() == 3 else 1):
            super().digit(sink, frame)


@breaks({"digits_arrive_in_order_and_once": r"arrived as 0123456789\*#0000"})
class KnowsNoLetters(TwistOfDigits):
    def digit(self, sink: Any, frame: DtmfFrame) -> None:
        super().digit(sink, replace(frame, payload=b"0") if frame.code > 11 else frame)


@breaks({"digits_arrive_in_order_and_once": "a digit arrived as a message"})
class TakesDigitsForMessages(TwistOfDigits):
    def digit(self, sink: Any, frame: DtmfFrame) -> None:
        sink.data(DataFrame(frame.payload, participant=frame.participant))


@breaks({"a_digit_names_who_pressed_it": "it is said to be of ''"})
class ForgetsWhoPressed(TwistOfDigits):
    def digit(self, sink: Any, frame: DtmfFrame) -> None:
        super().digit(sink, replace(frame, participant=""))


@breaks({"digits_arrive_in_order_with_messages": r"\['1', 'message', '2', '#'\]"})
class LetsAMessageOvertake(TwistOfDigits):
    held: DtmfFrame | None = None

    def data(self, sink: Any, frame: DataFrame) -> None:
        super().data(sink, frame)
        if self.held is not None and not isinstance(frame, DtmfFrame):
            sink.data(self.held)

    def digit(self, sink: Any, frame: DtmfFrame) -> None:
        if self.tick() == 2:
            self.held = frame
        else:
            super().digit(sink, frame)


@breaks({"digits_come_to_those_who_ask_for_them": "a digit came, for which nobody has asked"})
class GivesDigitsToEverybody(WrongCore):
    @classmethod
    def options(cls, options: dict[str, Any]) -> dict[str, Any]:
        return {**options, "dtmf": "data" in options.get("kinds", ())}


# Out


@breaks({"digits_of_ours_arrive_in_order_and_once": "arrived as 013456"})
class DropsOurDigit(Counting):
    async def send_dtmf(self, provider: Any, frame: DtmfFrame) -> None:
        if self.tick() != 3:
            await super().send_dtmf(provider, frame)


@breaks({"digits_of_ours_arrive_in_order_and_once": "a digit arrived as a message"})
class SendsDigitsAsMessages(Twist):
    async def send_dtmf(self, provider: Any, frame: DtmfFrame) -> None:
        await provider.send_data(DataFrame(frame.payload))


@breaks({"digits_of_ours_arrive_in_order_with_messages": r"\['1', 'message', '2', '#'\]"})
class SendsADigitLate(Counting):
    held: DtmfFrame | None = None

    async def send_dtmf(self, provider: Any, frame: DtmfFrame) -> None:
        if self.tick() == 2:
            self.held = frame
        else:
            await super().send_dtmf(provider, frame)

    async def send_data(self, provider: Any, frame: DataFrame) -> None:
        await super().send_data(provider, frame)
        if self.held is not None:
            await super().send_dtmf(provider, self.held)


@breaks({"what_is_no_digit_is_refused_before_any_is_sent": "raised nothing, expected FrameError"})
class LeavesOutWhatIsNoDigit(WrongCore):
    class Transport(client.Transport):
        def send_dtmf(self, digits: str, **options: Any) -> None:
            super().send_dtmf("".join(one for one in digits if one in DIGITS), **options)


@breaks({"what_is_no_digit_is_refused_before_any_is_sent": r"\['1', '2', '#'\] were received"})
class SendsWhatComesBeforeIt(WrongCore):
    class Transport(client.Transport):
        def send_dtmf(self, digits: str, **options: Any) -> None:
            for one in digits:
                super().send_dtmf(one, **options)


@breaks({"a_refused_digit_is_told": "a refused digit was not told"})
class HidesARefusedDigit(Twist):
    async def send_dtmf(self, provider: Any, frame: DtmfFrame) -> None:
        with contextlib.suppress(RoomError):
            await super().send_dtmf(provider, frame)
