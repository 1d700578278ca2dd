"""Recordings: what came in, with its times, in an MCAP file (https://mcap.dev), and back.

    with ringroom.Recorder("call.mcap") as recorder:
        for frame in recorder.tap(transport.recv()):
            ...                                       # goes on as without the tap
    for item in ringroom.recording.Reader("call.mcap"):
        ...                                           # the same frames and events, in order

A file that was cut off anywhere, or whose writer was killed, is read up to the cut. The provider
``replay`` plays a recording back. Needs the package mcap, which the extra ``recording`` brings.
"""

from ringroom.recording.reader import Entry, Reader
from ringroom.recording.recorder import Recorder
from ringroom.recording.tap import AsyncTap, Tap

__all__ = ["AsyncTap", "Entry", "Reader", "Recorder", "Tap"]
