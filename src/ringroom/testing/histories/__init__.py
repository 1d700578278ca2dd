"""What may happen in a room, step by step, as code.

So a history that was found at random and one that was written by hand are the same thing:
`Script` plays steps as the code that they show, and prints them as a test that can be pasted.
"""

from __future__ import annotations

from ringroom.testing.histories.listener import Listener, StillClock
from ringroom.testing.histories.script import Script
from ringroom.testing.histories.steps import (
    Check,
    Delay,
    Join,
    Leave,
    Lose,
    Mute,
    Publish,
    Read,
    Return,
    SendData,
    Show,
    Speak,
    Step,
    Track,
    Undelay,
    Unmute,
    Unpublish,
    Wait,
)

__all__ = [
    "Check",
    "Delay",
    "Join",
    "Leave",
    "Listener",
    "Lose",
    "Mute",
    "Publish",
    "Read",
    "Return",
    "Script",
    "SendData",
    "Show",
    "Speak",
    "Step",
    "StillClock",
    "Track",
    "Undelay",
    "Unmute",
    "Unpublish",
    "Wait",
]
