"""What may be sent, and on which track."""

from __future__ import annotations

import pytest

from app_kit import sound
from ringroom.errors import FrameError
from ringroom.frames import DataFrame, Kind, TrackInfo
from ringroom.sessions.sendable import track_name
from ringroom.testing import sources


def test_names() -> None:
    track = TrackInfo(sid="TR", name="", kind=Kind.AUDIO, participant="alice")
    assert track_name(sound(0.02)) == "audio"
    assert track_name(sound(0.02, track="x")) == "x"
    assert track_name(sound(0.02, track=track)) == "alice/TR"
    assert track_name(sources.picture(0, 64, 64)) == "video"
    assert track_name(DataFrame(b"x")) == ""
    with pytest.raises(FrameError, match="cannot send a str"):
        track_name("x")  # type: ignore[arg-type]
