"""The provider ``replay``: a recorded room, played to the application as if it were live."""

from ringroom.providers.replay.spec import Replay

__all__ = ["Replay"]
