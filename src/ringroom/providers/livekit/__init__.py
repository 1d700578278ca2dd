"""The provider ``livekit``: a room on a LiveKit server. Importing this loads no SDK."""

from ringroom.providers.livekit.spec import LiveKit

__all__ = ["LiveKit"]
