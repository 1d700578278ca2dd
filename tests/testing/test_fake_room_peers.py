"""Applications that misbehave: they harm their own connection only."""

from __future__ import annotations

import pytest
from fake_room_kit import joined

from ringroom.events import Kind
from ringroom.providers.fake import messages, wire
from ringroom.testing import FakeRoom
from ringroom.testing import wire as room_wire


def test_an_application_that_does_not_read_holds_up_nobody(
    room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room_wire, "MAX_MEDIA_BYTES", 1 << 16)
    alice = room.join("alice")
    microphone = alice.publish_audio(sample_rate=8_000)
    with joined(room, "frozen") as frozen, joined(room, "lively") as lively:
        for number in range(20):
            microphone.noise(10.0, seed=number, realtime=False)
            alice.send_data(b"%d" % number)
            # What the lively one has read shows that the room goes on.
            assert lively.next(messages.Data).payload == b"%d" % number
        dropped = room.applications["frozen"].dropped
        assert dropped > 0
        received = 0
        for number in range(20):
            while not isinstance(message := frozen.hear(), messages.Data):
                received += isinstance(message, messages.Audio)
            assert message.payload == b"%d" % number
        assert received + dropped == 20 * 500


def test_an_application_that_never_reads_is_cut_off(
    room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room_wire, "MAX_EVENTS", 50)
    alice = room.join("alice")
    with joined(room):
        while not room.application.left:
            alice.send_data(bytes(60_000))
        assert room.application.left == "connection timeout"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"GET / HTTP/1.1\r\n", "starts with"),
        (wire.encode(messages.Ended(reason="x")), "Ended, which is ours to send"),
        (
            wire.encode(
                messages.Publish(
                    request=1, track="1", name="", kind=Kind.AUDIO, source="", muted=False
                )
            ),
            "published already",
        ),
        (
            wire.encode(
                messages.Video(
                    track="1",
                    width=2,
                    height=2,
                    rotation=0,
                    timestamp_us=0,
                    time_ns=0,
                    payload=bytes(6),
                )
            ),
            "Video on a track of kind audio",
        ),
    ],
)
def test_nonsense_cuts_its_own_connection_only(room: FakeRoom, said: bytes, why: str) -> None:
    with joined(room, "other") as other, joined(room) as app:
        app.publish()
        app.socket.sendall(said)
        room.wait_for_app_gone("app")
        assert why in room.applications["app"].summary()
        while app.hear() is not None:
            pass
        other.publish()


def test_joining_comes_first(room: FakeRoom) -> None:
    with room.dial() as socket:
        socket.settimeout(10)
        socket.sendall(wire.encode(messages.Leave()))
        assert socket.recv(1) == b""
    assert not room.applications


@pytest.mark.parametrize("identity", ["", "x" * 1_025])
def test_nobody_joins_whom_no_server_lets_in(room: FakeRoom, identity: str) -> None:
    """Else their first message, whose sender has no such identity, would end the room's thread."""
    with room.dial() as socket:
        socket.settimeout(10)
        socket.sendall(wire.encode(messages.Join(identity=identity)))
        assert socket.recv(1) == b""
    assert not room.applications


def test_late_media_and_unknown_tracks_are_ignored(room: FakeRoom) -> None:
    with joined(room) as app:
        app.play(bytes(160))
        app.say(messages.Unpublish(track="7"))
        app.say(messages.Subscription(track="TR_99", wanted=True, quality="high"))
        app.publish()
        assert room.heard("out").duration == 0
