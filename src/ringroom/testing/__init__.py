"""The test kit: everything to test an application without a LiveKit server.

with FakeRoom() as room, ringroom.transport("fake", room=room) as transport:
    microphone = room.join("alice").publish_audio()
    microphone.tone(440, seconds=1)
    ...
    assert room.wait_for_audio(seconds=1).longest_gap == 0
"""

from ringroom.testing import counting, leaks
from ringroom.testing.application import Application, Footage, Gap, Readings, Recording
from ringroom.testing.devices import Camera, Microphone, Sensor
from ringroom.testing.floor import DeadlinePassed
from ringroom.testing.participants import FakeParticipant
from ringroom.testing.playback import Playback
from ringroom.testing.room import FakeRoom
from ringroom.testing.virtual import Stuck, VirtualClock, sleep
from ringroom.testing.workbench import Workbench
from ringroom.testing.written import WrittenText

__all__ = [
    "Application",
    "Camera",
    "DeadlinePassed",
    "FakeParticipant",
    "FakeRoom",
    "Footage",
    "Gap",
    "Microphone",
    "Playback",
    "Readings",
    "Recording",
    "Sensor",
    "Stuck",
    "VirtualClock",
    "Workbench",
    "WrittenText",
    "sleep",
    "counting",
    "leaks",
]
