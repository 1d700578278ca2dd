"""Virtual time for tests: `VirtualClock`."""

from ringroom.testing.virtual.clock import VirtualClock, sleep
from ringroom.testing.virtual.roles import Stuck

__all__ = ["Stuck", "VirtualClock", "sleep"]
