from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest


@pytest.fixture
def nothing_stays() -> Iterator[None]:
    """Of native events' exchanges and their subscriptions."""
    from native_kit import NATIVE, forget_ended_loops
    from ringroom.providers.livekit import native

    forget_ended_loops()
    before = len(NATIVE.queue._subscribers)
    yield
    assert not native._exchanges
    assert len(NATIVE.queue._subscribers) == before


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The SDK's room (`sdk_kit.Room`) that whoever connects gets."""
    from ringroom.providers.livekit import connection, data_tracks, roster
    from sdk_kit import Ingest, Room, Source, Track

    made = Room()
    tracks = SimpleNamespace(create_audio_track=lambda name, source: Track(name))
    monkeypatch.setattr(connection.rtc, "Room", lambda: made)
    monkeypatch.setattr(connection.rtc, "AudioSource", Source)
    monkeypatch.setattr(connection.rtc, "LocalAudioTrack", tracks)
    monkeypatch.setattr(connection, "SETTLE_SECONDS", 0.02)
    monkeypatch.setattr(roster, "Ingest", Ingest)
    monkeypatch.setattr(data_tracks, "Ingest", Ingest)
    Ingest.made.clear()
    return made
