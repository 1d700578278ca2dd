"""The processor of a chaos run: it sends back what it hears of some people, answers the messages of
all, and checks that everything comes in order.

A broken order is raised, so that it reaches the application as a `Problem` of ``process``. What
one worker takes and another has taken before does not show here: the room hears it twice.
"""

from __future__ import annotations

import ctypes
import signal
import time
from collections.abc import Collection
from types import FrameType

from ringroom.context import Context
from ringroom.errors import RingroomError
from ringroom.events import TrackInfo
from ringroom.frames import DataFrame, Frame
from ringroom.processor import Processor, Replies
from ringroom.rpc import RpcCall
from ringroom.testing.simulation import call_laws as c

__all__ = ["ANSWER", "HOLD", "SAY", "SLEEP", "Actor"]

# Topics: a message that is numbered, and the answer to it, which names its sender.
SAY, ANSWER = "say", "answer"
# What a worker that gets these signals does with its next frame: it never comes back from it.
SLEEP, HOLD = signal.SIGUSR1, signal.SIGUSR2
_FOR_EVER = 3_600
# A worker that asks back takes nothing meanwhile, and is not to be taken for stuck.
_ASKS_BACK_SECONDS = 0.4
_WRONG = 599


class Actor(Processor):
    """See the module's docstring."""

    kinds = ("audio", "video", "data")
    mode = "live"

    def __init__(self, answered: Collection[str]) -> None:
        self._answered = frozenset(answered)

    def start(self, context: Context) -> None:
        self._context = context
        self._frames: dict[str, tuple[int, int]] = {}
        self._numbers: dict[str, int] = {}
        self._stuck = 0
        for number in (SLEEP, HOLD):
            signal.signal(number, self._get_stuck)

    def _get_stuck(self, number: int, frame: FrameType | None) -> None:
        self._stuck = number

    def process(self, frame: Frame) -> Replies:
        if self._stuck == SLEEP:
            time.sleep(_FOR_EVER)
        elif self._stuck == HOLD:
            # Called through PyDLL it keeps the GIL.
            ctypes.PyDLL(None).sleep(_FOR_EVER)
        if isinstance(frame, RpcCall):
            return self._answer_call(frame)
        if isinstance(frame, DataFrame):
            self._answer(frame)
            return None
        assert isinstance(frame.track, TrackInfo)
        # The number begins anew in a lane that is made anew, the time at which it came does not.
        this = (frame.received_ns, frame.sequence)
        last = self._frames.get(frame.track.sid, (-1, -1))
        self._frames[frame.track.sid] = this
        if this[0] < last[0] or (this[0] == last[0] and this[1] <= last[1]):
            raise AssertionError(f"frame {this} of {frame.track.reply_name} after {last}")
        return frame if frame.participant in self._answered else None

    def close(self, track: TrackInfo) -> None:
        self._frames.pop(track.sid, None)

    def _answer(self, message: DataFrame) -> None:
        if message.topic != SAY:
            return
        number = int(message.payload)
        last = self._numbers.get(message.participant, -1)
        self._numbers[message.participant] = number
        if number <= last:
            raise AssertionError(f"message {number} of {message.participant} after {last}")
        self._context.send_data(f"{message.participant} {number}", topic=ANSWER)

    def _answer_call(self, call: RpcCall) -> Replies:
        number, wanted = c.wanted_of(call.text)
        if wanted != c.ASK_BACK:
            return c.answers_of_us(call)
        guest, text = call.participant, f"{number} {c.ANSWER}"
        try:
            found = self._context.call(guest, c.ASK, text, timeout=_ASKS_BACK_SECONDS)
        except (RingroomError, TimeoutError):
            return c.refusal_of(call)
        if found != c.answer_to(number, guest):
            return call.refuse(f"asked back, it was {found!r}", code=_WRONG)
        return c.answers_of_us(call)
