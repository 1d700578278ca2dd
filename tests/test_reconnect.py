"""The network or the server fails: what an application sees of it, on the fake."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import processors_kit as kit
import ringroom
from app_kit import PATIENCE, Call, check_law, microphone, opened, said, say, sound, until
from ringroom.errors import ClosedError, ConfigurationError, RoomError
from ringroom.frames import AudioFrame, Event, EventKind
from ringroom.options import Reconnect
from ringroom.testing import FakeRoom, VirtualClock

ALL = ("audio", "data", "event")
# Quick, and never given up by a busy machine.
SOON = Reconnect(retries=1_000, backoff=0.02, longest=0.1, deadline=600.0)
BRIEF = Reconnect(retries=2, backoff=0.02, longest=0.02)


def token(life: float, room: str = "room") -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    claims = {
        "sub": "app",
        "exp": time.time() + life,
        "video": {"roomJoin": True, "room": room},
    }
    return f"{part({'alg': 'HS256'})}.{part(claims)}.x"


class Told:
    """The events of a transport, read on a thread."""

    def __init__(self, transport: Any) -> None:
        self.events: list[Event] = []
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._read, args=(transport,), daemon=True)
        self._thread.start()

    def _read(self, transport: Any) -> None:
        try:
            self.events.extend(iter(transport.recv(kinds=("event",))))
        except (ringroom.RingroomError, StopIteration) as error:
            self.error = error

    def kinds(self) -> list[str]:
        return [str(event.kind) for event in list(self.events)]

    def wait(self, kind: EventKind, count: int = 1) -> Event:
        until(lambda: self.kinds().count(kind) >= count, f"{count} x {kind}, not {self.kinds()}")
        return [event for event in self.events if event.kind is kind][count - 1]

    def join(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


@contextlib.contextmanager
def listening(room: FakeRoom, **options: Any) -> Iterator[tuple[Any, Told]]:
    """A transport in the room, and its events."""
    with opened(room, **{"kinds": ALL, "reconnect": SOON, **options}) as transport:
        told = Told(transport)
        yield transport, told
        check_law(transport)
        transport.close()
        told.join()


@pytest.fixture(params=["thread", "process"])
def io(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_server_that_was_gone_costs_the_call_nothing_more(fake_room: FakeRoom, io: str) -> None:
    mic = microphone(fake_room)
    with listening(fake_room, io=io) as (transport, told):
        frames = transport.recv(kinds=("audio",), timeout=PATIENCE)
        say(mic)
        first = next(frames)
        transport.send(sound(0.1, track="voice"), timeout=PATIENCE)
        before = said(fake_room, 0.1, "voice")
        transport.wait_playout(timeout=PATIENCE)
        with fake_room.faults.server_gone():
            told.wait(EventKind.CONNECTION_LOST)
            told.wait(EventKind.PARTICIPANT_LEFT)
            # Its lane is not open yet: that waits for the room.
            message = Call(transport.send_data, "waits", topic="after")
            transport.send(sound(0.1, seed=7, track="voice"), timeout=PATIENCE)
            fake_room.wait_for_app_gone()
        told.wait(EventKind.CONNECTION_BACK)
        message.result()
        assert fake_room.wait_for_data("after")[0].payload == b"waits"
        heard = said(fake_room, 0.2, "voice")
        np.testing.assert_array_equal(heard[: len(before)], before)
        np.testing.assert_array_equal(heard[len(before) :], noise_of(7))
        until(lambda: mic.subscribers)
        say(mic, seed=3)
        heard = np.concatenate([first.samples, *(next(frames).samples for _ in range(9))])
        np.testing.assert_array_equal(
            heard, np.concatenate([sound(0.1).samples, sound(0.1, seed=3).samples])
        )
        order = told.kinds()
        lost, back = order.index("connection_lost"), order.index("connection_back")
        assert order[:lost].count("participant_joined") == 1
        assert order[lost:back].count("participant_left") == 1
        assert order[lost:back].count("track_unpublished") == 1
        assert order[back:].count("participant_joined") == 1
        assert order.count("connected") == order.count("connection_lost") == 1
        assert "publish_failed" not in order
        assert "data_failed" not in order


def noise_of(seed: int) -> Any:
    return sound(0.1, seed=seed).samples


def there(room: FakeRoom) -> bool:
    """Whether the application is in the room."""
    return any(one.identity == "app" for one in room.participants)


def test_an_application_that_does_not_look_is_joined_anew_all_the_same(
    fake_room: FakeRoom, io: str
) -> None:
    with opened(fake_room, io=io, reconnect=SOON) as transport:
        with fake_room.faults.server_gone():
            fake_room.wait_for_app_gone()
        until(lambda: there(fake_room))
        assert transport.ended is None
        transport.send(sound(0.1), timeout=PATIENCE)
        said(fake_room, 0.1)


def test_inbound_tracks_end_and_begin_again(fake_room: FakeRoom) -> None:
    microphone(fake_room)
    with listening(fake_room) as (transport, told):
        frames = Call(list, transport.recv(kinds=("audio",)))
        told.wait(EventKind.TRACK_STARTED)
        with fake_room.faults.server_gone():
            told.wait(EventKind.TRACK_ENDED)
        told.wait(EventKind.TRACK_STARTED, 2)
        tracks = [kind for kind in told.kinds() if kind in ("track_started", "track_ended")]
        assert tracks == ["track_started", "track_ended", "track_started"]
        fake_room.close_room()
        frames.result()


def test_what_was_spoken_before_the_loss_is_still_received(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)
    with opened(fake_room, reconnect=SOON) as transport:
        frames = transport.recv(timeout=PATIENCE)
        say(mic, 0.1, seed=1)
        until(lambda: transport.stats().received.sent == 5)
        with fake_room.faults.server_gone():
            fake_room.wait_for_app_gone()
        until(lambda: there(fake_room))
        until(lambda: mic.subscribers)
        say(mic, 0.1, seed=2)
        heard = np.concatenate([next(frames).samples for _ in range(10)])
        wanted = np.concatenate([sound(0.1, seed=seed).samples for seed in (1, 2)])
        np.testing.assert_array_equal(heard, wanted)


def test_each_join_gets_a_fresh_token(fake_room: FakeRoom) -> None:
    minted: list[str] = []

    def mint() -> str:
        minted.append(token(3600, fake_room.name))
        return minted[-1]

    with listening(fake_room, token=mint) as (_, told):
        for loss in (1, 2):
            with fake_room.faults.server_gone():
                told.wait(EventKind.CONNECTION_LOST, loss)
            told.wait(EventKind.CONNECTION_BACK, loss)
    assert len(minted) >= 3


def test_a_token_that_has_expired_meanwhile_is_the_end(fake_room: FakeRoom) -> None:
    leeway = 60.0  # a server's
    short = token(1.0 - leeway, fake_room.name)
    with listening(fake_room, token=short) as (transport, told):
        waiting = Call(next, transport.recv(kinds=("audio",)))
        until(lambda: time.time() > json.loads(_claims(short))["exp"] + leeway)
        fake_room.break_connection()
        with pytest.raises(RoomError, match="expired") as refused:
            waiting.result()
        assert refused.value.reason == "unauthorized"
        assert "the room hung up" in str(refused.value), "what it was joined anew for"
        told.join()
        assert told.kinds().count("disconnected") == 1
        assert told.kinds()[-1] == "disconnected"


def _claims(text: str) -> bytes:
    part = text.split(".")[1]
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_a_token_function_that_fails_meanwhile_is_asked_again(fake_room: FakeRoom) -> None:
    calls: list[int] = []

    def mint() -> str:
        calls.append(1)
        if len(calls) in (2, 3):
            raise OSError("key=sesame: the minter is not there either")
        return ""

    with listening(fake_room, token=mint) as (_, told):
        fake_room.break_connection()
        told.wait(EventKind.CONNECTION_BACK)
        assert len(calls) == 4


def test_what_a_token_function_raises_is_not_told(fake_room: FakeRoom) -> None:
    calls: list[int] = []

    def mint() -> str:
        calls.append(1)
        if len(calls) > 1:
            raise OSError("key=sesame")
        return ""

    with opened(fake_room, token=mint, reconnect=BRIEF) as transport:
        fake_room.break_connection()
        with pytest.raises(RoomError, match="the token function raised OSError") as lost:
            next(transport.recv(timeout=PATIENCE))
        assert "sesame" not in str(lost.value)
        assert len(calls) == 3


def test_given_up_everything_raises_the_one_error(fake_room: FakeRoom, io: str) -> None:
    with (
        opened(fake_room, io=io, kinds=ALL, reconnect=BRIEF) as transport,
        fake_room.faults.server_gone(),
    ):
        with pytest.raises(RoomError, match="tried to join anew 2 times") as lost:
            list(transport.recv(timeout=PATIENCE))
        assert "the server is not there" in str(lost.value)
        assert lost.value.reason == "disconnected"
        assert transport.ended == "disconnected"
        with pytest.raises(RoomError, match="tried to join anew 2 times"):
            transport.send(sound(0.02))
        check_law(transport)


def test_who_waits_to_send_is_told_when_it_is_given_up(fake_room: FakeRoom) -> None:
    policy = Reconnect(retries=3, backoff=0.2)
    with opened(fake_room, reconnect=policy) as transport:
        transport.send(sound(0.02), timeout=PATIENCE)
        with fake_room.faults.server_gone():
            old = Call(transport.send, sound(30.0))
            new = Call(transport.send, sound(0.1, track="new"))
            played = Call(transport.wait_playout, "audio")
            for call in (old, new, played):
                with pytest.raises(RoomError, match="tried to join anew"):
                    call.result()
        check_law(transport)


ENDS: list[tuple[Callable[[FakeRoom], None], str]] = [
    (lambda room: room.close_room("room closed"), "room closed"),
    (lambda room: room.remove("app"), "removed from the room"),
    (lambda room: kit_join(room), "another participant joined with the same identity"),
]


def kit_join(room: FakeRoom) -> None:
    room.join("app")


@pytest.mark.parametrize(("end", "reason"), ENDS, ids=["closed", "removed", "duplicate"])
def test_what_the_server_has_decided_is_the_end(
    fake_room: FakeRoom, end: Callable[[FakeRoom], None], reason: str
) -> None:
    with listening(fake_room) as (transport, told):
        frames = Call(list, transport.recv(kinds=("audio",)))
        end(fake_room)
        assert frames.result() == []
        assert transport.ended == reason
        told.join()
        assert told.kinds().count("disconnected") == 1
        assert "connection_lost" not in told.kinds()
        with pytest.raises(ClosedError, match=reason):
            transport.send(sound(0.02))


def test_a_flush_while_the_room_is_lost_is_answered_at_once(fake_room: FakeRoom) -> None:
    with listening(fake_room) as (transport, told):
        transport.send(sound(0.02), timeout=PATIENCE)
        said(fake_room, 0.02)  # what has been played may still be on its way
        with fake_room.faults.server_gone():
            told.wait(EventKind.CONNECTION_LOST)
            transport.send(sound(0.3, seed=1), timeout=PATIENCE)
            assert transport.flush(timeout=PATIENCE) == pytest.approx(0.3)
            transport.send(sound(0.1, seed=2), timeout=PATIENCE)
        transport.wait_playout(timeout=PATIENCE)
        heard = said(fake_room, 0.12)
        np.testing.assert_array_equal(heard[320:], sound(0.1, seed=2).samples)


def test_what_was_not_played_is_counted(fake_room: FakeRoom, virtual_clock: VirtualClock) -> None:
    """What lay at the source is not played, what was under way is lost, the rest is played."""
    options = {"io": virtual_clock.io, "kinds": ("event",), "reconnect": SOON}
    with opened(fake_room, **options) as transport:
        events = transport.recv(timeout=PATIENCE)
        sending = virtual_clock.start_thread("sender", lambda: transport.send(sound(2.0)))
        fake_room.wait_for_audio(None, 0.3)
        with fake_room.faults.server_gone():
            assert EventKind.CONNECTION_LOST in [next(events).kind for _ in range(2)]
        sending.join()
        transport.wait_playout(timeout=PATIENCE)
        heard = fake_room.wait_for_quiet().duration
        # A tenth that was under way, and the fifth that waited at the source.
        assert 2.0 - 0.1 - 0.2 - 0.02 <= heard <= 2.0 - 0.1
        assert transport.played() == pytest.approx(heard, abs=0.011)
    counts = transport.stats().sent
    assert (counts.lost, counts.in_flight, counts.problems) == (1, 0, 0)


def test_closing_while_the_room_is_lost(fake_room: FakeRoom, io: str) -> None:
    policy = Reconnect(backoff=3_000.0, longest=3_000.0, deadline=100_000.0)
    with opened(fake_room, io=io, kinds=ALL, reconnect=policy) as transport:
        transport.send(sound(0.02), timeout=PATIENCE)
        with fake_room.faults.server_gone():
            events = transport.recv(kinds=("event",), timeout=PATIENCE)
            while next(events).kind is not EventKind.CONNECTION_LOST:
                pass
            transport.send(sound(0.1), timeout=PATIENCE)
            Call(transport.close).result()
        counts = transport.stats().sent
        assert (counts.in_flight, counts.lost) == (0, 1)


def test_closing_while_a_token_is_minted(fake_room: FakeRoom) -> None:
    minting, go_on = threading.Event(), threading.Event()
    calls: list[int] = []

    def mint() -> str:
        calls.append(1)
        if len(calls) > 1:
            minting.set()
            go_on.wait(PATIENCE)
        return ""

    with opened(fake_room, token=mint, reconnect=SOON) as transport:
        fake_room.break_connection()
        assert minting.wait(PATIENCE)
        Call(transport.close).result()
        go_on.set()
    until(lambda: not any(t.name == "ringroom-renewals" for t in threading.enumerate()))


def test_the_provider_heals_or_the_deadline_comes(fake_room: FakeRoom) -> None:
    """The fake waits for ever for its connection; the policy does not."""
    policy = Reconnect(deadline=0.3)
    with listening(fake_room, reconnect=policy) as (transport, told):
        with fake_room.faults.connection_lost():
            told.wait(EventKind.CONNECTION_LOST)
            with pytest.raises(RoomError, match=r"lost, and not back within 0\.3 s"):
                next(transport.recv(kinds=("audio",), timeout=PATIENCE))
        told.join()
        assert told.kinds().count("connection_lost") == 1


def test_a_provider_that_fails_is_opened_again(fake_room: FakeRoom, io: str) -> None:
    with listening(fake_room, io=io) as (_, told):
        fault = fake_room.faults.provider_raises("receive")
        told.wait(EventKind.CONNECTION_LOST)
        fault.end()
        told.wait(EventKind.CONNECTION_BACK)


def test_in_virtual_time_the_room_is_joined_to_the_moment() -> None:
    policy = Reconnect(backoff=1.0, longest=4.0, jitter=0.0)
    with (
        VirtualClock() as clock,
        FakeRoom(clock=clock) as room,
        ringroom.transport(
            "fake", room=room, io=clock.io, kinds=("event",), reconnect=policy
        ) as transport,
    ):
        begun = clock.now()
        room.faults.server_gone().lasting(5.0)
        times = {}
        for event in transport.recv():
            times[str(event.kind)] = round(clock.now() - begun, 3)
            if event.kind is EventKind.CONNECTION_BACK:
                break
    # Tries after 1, 3 and 7 seconds.
    assert times["connection_back"] - times["connection_lost"] == 7.0


def test_the_same_seed_of_time_gives_the_same_jitter() -> None:
    def once() -> float:
        with (
            VirtualClock() as clock,
            FakeRoom(clock=clock) as room,
            ringroom.transport("fake", room=room, io=clock.io, kinds=("event",)) as transport,
        ):
            room.faults.server_gone().lasting(5.0)
            for event in transport.recv():
                if event.kind is EventKind.CONNECTION_BACK:
                    break
            return clock.now()

    assert once() == once()


def test_asyncio_is_joined_anew_as_well(fake_room: FakeRoom, io: str) -> None:
    mic = microphone(fake_room)

    async def main() -> None:
        async with (
            asyncio.timeout(6 * PATIENCE),
            ringroom.aio.transport(
                "fake", room=fake_room, io=io, kinds=ALL, reconnect=SOON, max_age=20.0
            ) as transport,
        ):
            await transport.send(sound(0.1))
            await asyncio.to_thread(said, fake_room, 0.1)
            seen: list[str] = []
            with fake_room.faults.server_gone():
                async for event in transport.recv(kinds=("event",)):
                    if event.kind is EventKind.CONNECTION_LOST:
                        break
            async for event in transport.recv(kinds=("event",)):
                seen.append(str(event.kind))
                if event.kind is EventKind.CONNECTION_BACK:
                    break
            assert seen == ["track_unpublished", "participant_left", "connection_back"]
            await transport.send(sound(0.1))
            await asyncio.to_thread(said, fake_room, 0.2)
            await asyncio.to_thread(mic.wait_for_subscriber)
            await asyncio.to_thread(say, mic)
            async for frame in transport.recv(kinds=("audio",)):
                assert isinstance(frame, AudioFrame)
                break
            check_law(transport)

    asyncio.run(main())


def test_a_pool_goes_on_with_its_workers(fake_room: FakeRoom, io: str) -> None:
    events: list[Event] = []
    mic = microphone(fake_room)
    options: dict[str, Any] = {
        "io": io,
        "workers": 2,
        "spares": 0,
        "standby": False,
        "max_age": 20.0,
        "reconnect": SOON,
        "on_event": events.append,
    }
    with ringroom.Pool(kit.Lives, "fake", room=fake_room, **options) as pool:
        mic.wait_for_subscriber()
        say(mic)
        said(fake_room, 0.1, "alice/mic")
        workers, process = pool.pids, pool.io_pid
        with fake_room.faults.server_gone():
            until(lambda: EventKind.CONNECTION_LOST in [event.kind for event in events])
        until(lambda: EventKind.CONNECTION_BACK in [event.kind for event in events])
        until(lambda: mic.subscribers)
        say(mic, seed=2)
        heard = said(fake_room, 0.2, "alice/mic")
        np.testing.assert_array_equal(heard[-1600:], sound(0.1, seed=2).samples)
        assert (pool.pids, pool.io_pid) == (workers, process)
        lives = [one.payload.decode() for one in fake_room.wait_for_data("life", 3)]
        assert lives == ["open alice/mic", "close alice/mic", "open alice/mic"]
        check_law(pool)


def test_a_pool_that_is_given_up_ends_with_the_error(fake_room: FakeRoom) -> None:
    with (
        ringroom.Pool(
            kit.echo, "fake", room=fake_room, io="thread", workers=1, spares=0, reconnect=BRIEF
        ) as pool,
        fake_room.faults.server_gone(),
        pytest.raises(RoomError, match="tried to join anew 2 times"),
    ):
        pool.wait(PATIENCE)


def test_a_policy_that_is_none_is_refused(fake_room: FakeRoom) -> None:
    with pytest.raises(
        ConfigurationError, match=r"reconnect is None, expected ringroom\.Reconnect"
    ):
        ringroom.transport("fake", room=fake_room, reconnect=None)
