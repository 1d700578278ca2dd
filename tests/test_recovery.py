"""The I/O process of a plain transport dies, and it goes on with another."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ringroom
from app_kit import RATE, Call, check_law, microphone, opened, say, sound, take, until
from ringroom.errors import ClosedError, LostProcessError, RoomError, WouldBlock
from ringroom.frames import Event
from ringroom.mending import Mending
from ringroom.providers.fake import Fake
from ringroom.providers.provider import OutgoingTrack, Playout, Provider, ProviderSpec
from ringroom.recovery import Recovery
from ringroom.session import RETURN_SECONDS, Session
from ringroom.testing import FakeRoom, faults
from ringroom.testing.virtual import VirtualClock

LONG = 30.0
ALL = {"io": "process", "kinds": ("audio", "data", "event")}


class Events:
    """All events, taken on a thread of their own."""

    def __init__(self, transport: ringroom.Transport) -> None:
        self.all: list[Event] = []
        self._receiver = transport.recv(kinds=("event",))
        self._thread = threading.Thread(target=self._take)
        self._thread.start()

    def _take(self) -> None:
        with contextlib.suppress(ringroom.RingroomError):
            for event in self._receiver:
                self.all.append(event)

    @property
    def kinds(self) -> list[str]:
        return [str(event.kind) for event in list(self.all)]

    def back(self, times: int = 1) -> None:
        until(lambda: self.kinds.count("connection_back") == times, timeout=LONG)

    def join(self) -> None:
        self._thread.join(LONG)
        assert not self._thread.is_alive()


def killed(transport: Any) -> int:
    """Its I/O process, by SIGKILL; the number that it had."""
    pid: int = transport.io_pid
    faults.killed(pid)
    return pid


def settled(transport: ringroom.Transport) -> ringroom.Statistics:
    """The accounts after `close`: whatever was sent is done, dropped or lost."""
    check_law(transport)
    stats = transport.stats()
    assert stats.received.in_flight == stats.sent.in_flight == 0
    return stats


def test_who_has_died_again_is_not_asked_what_is_missing(fake_room: FakeRoom) -> None:
    """Until the room is joined anew there is nothing to do; a limit that has passed would be looked
    at without a pause."""
    with opened(fake_room) as transport:
        session = transport._connection.session
        recovery = Recovery(transport._connection, session.notify)
        recovery._rejoin()
        assert 0.0 < (recovery.patience() or 0.0) <= RETURN_SECONDS
        session.interrupted = True
        assert recovery.patience() is None
        session.interrupted = False


def test_who_receives_goes_on(fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    handovers: list[Fake] = []
    before = Fake.handover
    monkeypatch.setattr(Fake, "handover", lambda spec: handovers.append(spec) or before(spec))
    mic = microphone(fake_room)
    with opened(fake_room, **ALL) as transport:
        events = Events(transport)
        frames = transport.recv(kinds=("audio",), timeout=LONG)
        mic.wait_for_subscriber()
        spoken = say(mic, 0.1)
        assert np.array_equal(take(frames, len(spoken)), spoken)
        waiting = Call(next, frames)
        gone = killed(transport)
        events.back()
        assert transport.io_pid not in (None, gone)
        assert len(handovers) == 2  # a fresh token
        until(lambda: mic.subscribers, timeout=LONG)
        say(mic, 0.02)
        waiting.result(LONG)
        until(lambda: "track_resumed" in events.kinds)
        assert events.kinds.count("connection_lost") == 1
        assert events.kinds.count("track_started") == 1
        assert "track_ended" not in events.kinds
        lost = next(event for event in events.all if event.kind == "connection_lost")
        assert "the I/O process died (killed by signal 9)" in lost.reason
    events.join()
    counts = settled(transport).received
    assert (counts.sent, counts.done) == (6, 6)


@pytest.mark.once
def test_a_send_that_waits_goes_on(fake_room: FakeRoom) -> None:
    with opened(fake_room, io="process") as transport:
        sending = Call(transport.send, sound(4.0))
        fake_room.wait_for_audio("audio", 0.2, timeout=LONG)
        killed(transport)
        sending.result(LONG)
        transport.send_data("after", topic="end", timeout=LONG)
        assert [m.payload for m in fake_room.wait_for_data("end", 1, timeout=LONG)] == [b"after"]
        transport.wait_playout(timeout=LONG)
        check_law(transport)
        assert transport.stats().sent.in_flight == 0
        heard = fake_room.heard("audio").duration
        played = transport.played("audio")
    counts = settled(transport).sent
    # 40 pieces and a message: what did not play is counted, and nothing else is missing.
    assert counts.sent == 41 == counts.done + counts.lost
    assert counts.lost > 0
    assert heard >= (40 - counts.lost) * 0.1 - 0.5
    assert played == pytest.approx(heard, abs=0.5)


def test_whoever_waits_for_an_answer_gets_one(fake_room: FakeRoom) -> None:
    with opened(fake_room, io="process") as transport:
        transport.send(sound(1.0))
        waiting = [Call(transport.wait_playout), Call(next, transport.recv())]
        fake_room.wait_for_audio("audio", 0.1, timeout=LONG)
        with faults.frozen(transport.io_pid):
            flushing = Call(transport.flush, timeout=LONG)
            until(lambda: transport._connection.session.unanswered)
            killed(transport)
        assert flushing.result(LONG) == 0.0
        waiting[0].result(LONG)
        assert not waiting[1].over
        assert transport.room == fake_room.name
    with pytest.raises(ClosedError):
        waiting[1].result(LONG)
    settled(transport)


@pytest.mark.once
def test_it_may_die_again_and_again(fake_room: FakeRoom) -> None:
    before = threading.active_count()
    with opened(fake_room, **ALL) as transport:
        events = Events(transport)
        for times in (1, 2):
            killed(transport)
            events.back(times)
            transport.send(sound(0.1), timeout=LONG)
            fake_room.wait_for_audio("audio", 0.1 * times, timeout=LONG)
        assert len(transport._connection.session._past) == 1  # one account of all that is over
    events.join()
    assert settled(transport).sent.sent == 2
    assert threading.active_count() == before


@dataclass(frozen=True, kw_only=True)
class Growing(Fake):
    """In its first process it takes a hundred MiB, as a library may for what others send."""

    grown: str

    def open(self, descriptors: tuple[int, ...]) -> Provider:
        provider = super().open(descriptors)
        publish = provider.publish

        async def growing(track: OutgoingTrack) -> Playout:
            if not Path(self.grown).exists():
                Path(self.grown).touch()
                _taken.append(b"x" * (100 << 20))
            return await publish(track)

        provider.publish = growing  # type: ignore[method-assign]
        return provider


_taken: list[bytes] = []


@pytest.mark.once
def test_who_takes_too_much_memory_is_replaced(fake_room: FakeRoom, tmp_path: Path) -> None:
    spec = Growing(room=fake_room, grown=str(tmp_path / "grown"))
    with (
        ringroom.IOProcess(max_memory=64 << 20) as small,
        ringroom.transport(spec, io=small, kinds=("event",)) as transport,
    ):
        before = transport.io_pid
        events = Events(transport)
        transport.send(sound(0.02), timeout=LONG)
        events.back()
        assert transport.io_pid not in (None, before)
        (lost,) = [event for event in events.all if event.kind == "connection_lost"]
        assert "it took more memory than max_memory, 64 MiB" in lost.reason
        transport.send(sound(0.3), timeout=LONG)
        fake_room.wait_for_audio(seconds=0.3, timeout=LONG)
        transport.close()
        events.join()


@pytest.mark.once
def test_those_who_share_a_process_get_another_together(fake_room: FakeRoom) -> None:
    with ringroom.IOProcess() as shared:
        options: dict[str, Any] = {**ALL, "io": shared}
        with (
            opened(fake_room, identity="a", **options) as a,
            opened(fake_room, identity="b", **options) as b,
        ):
            events = [Events(a), Events(b)]
            faults.killed(shared)
            for one in events:
                one.back()
            for transport, name in ((a, "of a"), (b, "of b")):
                transport.send(sound(0.1, track=name), timeout=LONG)
                fake_room.wait_for_audio(name, 0.1, timeout=LONG)
        for one in events:
            one.join()


@pytest.mark.once
@pytest.mark.parametrize("reason", ["unauthorized", "unreachable"])
def test_a_room_that_does_not_let_us_in_again(fake_room: FakeRoom, reason: str) -> None:
    policy = ringroom.Reconnect(retries=2)
    with opened(fake_room, io="process", reconnect=policy) as transport:
        waiting = Call(next, transport.recv())
        with fake_room.faults.connects_refused(reason=reason):
            killed(transport)
            with pytest.raises(RoomError) as refused:
                waiting.result(LONG)
        assert refused.value.reason == reason
        with pytest.raises(RoomError):
            transport.send(sound(0.02))
    settled(transport)


def test_who_wants_no_other_gets_the_error(fake_room: FakeRoom) -> None:
    policy = ringroom.Reconnect(retries=0)
    with opened(fake_room, io="process", reconnect=policy) as transport:
        waiting = Call(next, transport.recv())
        killed(transport)
        with pytest.raises(LostProcessError, match=r"the I/O process died \(killed by signal 9\)"):
            waiting.result(LONG)
    settled(transport)


DEFECT = r"the I/O process died: defect"


@pytest.fixture
def defective(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bringing the connection back goes wrong in a way that nobody has thought of."""

    def turn(_: Mending) -> None:
        raise RuntimeError("defect")

    monkeypatch.setattr(Mending, "turn", turn)


@pytest.mark.usefixtures("defective")
def test_a_defect_in_it_ends_the_transport_and_nobody_waits_for_ever(fake_room: FakeRoom) -> None:
    with opened(fake_room, io="process") as transport:
        waiting = Call(next, transport.recv())
        killed(transport)
        with pytest.raises(LostProcessError, match=DEFECT):
            waiting.result(LONG)
    settled(transport)


@pytest.mark.usefixtures("defective")
def test_the_same_in_an_event_loop(fake_room: FakeRoom) -> None:
    async def scenario(transport: ringroom.aio.Transport) -> None:
        waiting = asyncio.create_task(anext(transport.recv()))  # type: ignore[arg-type]
        await asyncio.sleep(0)  # it waits
        killed(transport)
        with pytest.raises(LostProcessError, match=DEFECT):
            await waiting

    settled(run(scenario, fake_room))


def test_a_provider_that_is_not_opened_twice(
    fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ProviderSpec, "joins_anew", False)
    with opened(fake_room, io="process") as transport:
        waiting = Call(next, transport.recv())
        killed(transport)
        with pytest.raises(LostProcessError):
            waiting.result(LONG)


@pytest.mark.once
def test_closing_meanwhile(fake_room: FakeRoom) -> None:
    with opened(fake_room, io="process") as transport, fake_room.faults.hanging_connect():
        waiting = Call(next, transport.recv())
        sending = Call(transport.send, sound(20.0))
        killed(transport)
        until(lambda: len(transport._connection.session._past), timeout=LONG)
        transport.close()
        for call in (waiting, sending):
            with pytest.raises(ClosedError):
                call.result(LONG)
    settled(transport)


def test_a_track_that_does_not_come_again_has_ended() -> None:
    with VirtualClock() as clock, FakeRoom(clock=clock) as room:
        ann = room.join("ann")
        mic = ann.publish_audio(sample_rate=RATE)
        options: Any = {"kinds": ("audio", "event"), "io": clock.io}
        with ringroom.transport("fake", room=room, **options) as transport:
            mic.tone(seconds=0.1)
            taken = transport.recv(timeout=60)
            until_kind(taken, "track_started")
            with room.faults.hanging_connect():
                clock.kill("ringroom-io")
                until_kind(taken, "connection_lost")
                ann.leave()
            until_kind(taken, "connection_back")
            joined = clock.now()
            until_kind(taken, "track_ended")
            assert clock.now() - joined == pytest.approx(5.0, abs=0.1)
        settled(transport)


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    with VirtualClock() as clock:
        yield clock


@pytest.fixture
def room(clock: VirtualClock) -> Iterator[FakeRoom]:
    with FakeRoom(clock=clock) as room:
        yield room


def opened_at(clock: VirtualClock, room: FakeRoom, **options: Any) -> ringroom.Transport:
    return ringroom.transport("fake", room=room, io=clock.io, kinds=("event",), **options)


@pytest.mark.parametrize("reason", ["refused", "no answer"])
def test_who_sends_waits_while_nobody_is_let_in(
    clock: VirtualClock, room: FakeRoom, reason: str
) -> None:
    """Try after try fails: nothing that is accepted meanwhile is lost, and nobody gets an error."""
    with opened_at(clock, room, connect_timeout=1.0) as transport:
        events = transport.recv(timeout=600)
        transport.send(sound(0.5))
        transport.send(sound(0.1, track="live"), publish=ringroom.PublishOptions(mode="live"))
        clock.sleep(1.0)
        fault = room.faults.connects_refused("unreachable") if reason == "refused" else None
        with fault or room.faults.hanging_connect():
            clock.kill("ringroom-io")
            until_kind(events, "connection_lost")
            calls = [clock.start_thread("says", lambda: transport.send(sound(1.0)))]
            new = sound(0.3, track="new")
            calls.append(clock.start_thread("begins", lambda: transport.send(new)))
            calls.append(clock.start_thread("tells", lambda: transport.send_data(b"x", topic="t")))
            with pytest.raises(WouldBlock, match="joined again"):
                transport.send_nowait(sound(0.1, track="newer"))
            transport.send_nowait(sound(0.1, track="live"))  # never waits
            assert transport.flush("live") == 0.0
            transport.wait_playout("live", timeout=1.0)
            clock.sleep(60.0)
            assert transport.ended is None
        until_kind(events, "connection_back")
        for call in calls:
            call.join(60)
        transport.wait_playout(timeout=60)
        assert room.heard("audio").duration == pytest.approx(1.5)
        assert room.heard("new").duration == pytest.approx(0.3)
        assert [message.payload for message in room.wait_for_data("t", 1)] == [b"x"]
        assert transport.played("audio") == pytest.approx(1.5, abs=0.03)
    counts = settled(transport).sent
    assert (counts.sent, counts.done) == (21, 20)  # one piece on the live track


@pytest.mark.parametrize("seconds", [60.0, 300.0])
def test_the_deadline_is_that_of_the_outage(
    clock: VirtualClock, room: FakeRoom, seconds: float
) -> None:
    with opened_at(clock, room, connect_timeout=10.0) as transport:
        events = transport.recv(timeout=600)
        with room.faults.hanging_connect():
            clock.kill("ringroom-io")
            until_kind(events, "connection_lost")
            lost = clock.now()
            if seconds == 60.0:
                clock.sleep(seconds)
            else:
                with pytest.raises(RoomError, match="did not answer") as given_up:
                    next(events)
                assert given_up.value.reason == "timeout"
                assert clock.now() - lost == pytest.approx(120.0, abs=15.0)
        if seconds == 60.0:
            until_kind(events, "connection_back")
    settled(transport)


def test_a_token_function_that_exits(fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(fake_room, io="process", reconnect=ringroom.Reconnect(retries=1)) as transport:

        def leave(_: Fake) -> Any:
            raise SystemExit(3)

        monkeypatch.setattr(Fake, "handover", leave)
        waiting = Call(next, transport.recv())
        killed(transport)
        with pytest.raises(LostProcessError, match="no other came"):
            waiting.result(LONG)
    settled(transport)


def until_kind(items: Any, kind: str) -> None:
    for item in items:
        if isinstance(item, Event) and item.kind == kind:
            return
    raise AssertionError(f"no {kind}")


# The same for asyncio.


def run(scenario: Callable[[ringroom.aio.Transport], Any], room: FakeRoom, **options: Any) -> Any:
    options = {"io": "process", "max_age": 20.0, **options}

    async def main() -> ringroom.aio.Transport:
        async with ringroom.aio.transport("fake", room=room, **options) as transport:
            async with asyncio.timeout(2 * LONG):
                await scenario(transport)
        return transport

    return asyncio.run(main())


def test_in_an_event_loop(fake_room: FakeRoom) -> None:
    mic = microphone(fake_room)

    async def scenario(transport: ringroom.aio.Transport) -> None:
        await asyncio.to_thread(mic.wait_for_subscriber)
        waiting = asyncio.create_task(anext(transport.recv(kinds=("audio",))))  # type: ignore[arg-type]
        events = transport.recv(kinds=("event",))
        # Two who wait for room in their lanes, and are watched while these are replaced.
        sending = [
            asyncio.create_task(transport.send(sound(3.0, track=name))) for name in ("one", "two")
        ]
        await asyncio.to_thread(fake_room.wait_for_audio, "one", 0.2, timeout=LONG)
        for _ in range(2):
            killed(transport)
            async for event in events:
                if event.kind == "connection_back":
                    break
        await asyncio.gather(*sending)
        await asyncio.to_thread(until, lambda: mic.subscribers, timeout=LONG)
        await asyncio.to_thread(say, mic, 0.02)
        await waiting
        await transport.send_data("after", topic="end")
        await asyncio.to_thread(fake_room.wait_for_data, "end", 1, timeout=LONG)
        await transport.wait_playout()
        assert transport.room == fake_room.name

    counts = settled(run(scenario, fake_room, kinds=("audio", "event"))).sent
    assert counts.sent == 61 == counts.done + counts.lost
    assert counts.lost > 0


@pytest.mark.once
def test_in_an_event_loop_it_is_given_up(fake_room: FakeRoom) -> None:
    async def scenario(transport: ringroom.aio.Transport) -> None:
        sending = asyncio.create_task(transport.send(sound(20.0)))
        await asyncio.to_thread(fake_room.wait_for_audio, "audio", 0.1, timeout=LONG)
        with fake_room.faults.connects_refused(reason="unauthorized"):
            killed(transport)
            with pytest.raises(RoomError):
                await sending

    settled(run(scenario, fake_room, reconnect=ringroom.Reconnect(retries=1)))


@pytest.mark.once
def test_in_an_event_loop_closing_meanwhile(fake_room: FakeRoom) -> None:
    async def scenario(transport: ringroom.aio.Transport) -> None:
        sending = asyncio.create_task(transport.send(sound(20.0)))
        await asyncio.to_thread(fake_room.wait_for_audio, "audio", 0.1, timeout=LONG)
        with fake_room.faults.hanging_connect():
            killed(transport)
            while not transport._connection.session._past:
                await asyncio.sleep(0.002)
            await transport.close()
            with pytest.raises(ClosedError):
                await sending

    settled(run(scenario, fake_room))


def test_an_event_loop_watches_one_link_and_never_the_number_of_one_that_is_closed(
    fake_room: FakeRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched: list[tuple[list[int], int]] = []
    restart = Session.restart

    async def scenario(transport: ringroom.aio.Transport) -> None:
        session = transport._connection.session

        def look() -> None:
            keys = asyncio.get_running_loop()._selector.get_map()  # type: ignore[attr-defined]
            pumps = [n for n, key in keys.items() if key.data[0]._callback == transport._pump]
            watched.append((pumps, session.fileno()))

        def looking(session: Session, *arguments: Any) -> None:
            restart(session, *arguments)
            look()

        monkeypatch.setattr(Session, "restart", looking)
        events = transport.recv(kinds=("event",))
        with fake_room.faults.connects_refused(reason="unreachable"):
            killed(transport)
            while len(watched) < 2:  # one was refused over a link of its own
                await asyncio.sleep(0.002)
        async for event in events:
            if event.kind == "connection_back":
                break
        look()

    run(scenario, fake_room, kinds=("event",))
    assert len(watched) >= 3
    assert all(pumps == [link] for pumps, link in watched), watched


@pytest.mark.once
@pytest.mark.parametrize("steps", [0, 1])
def test_in_an_event_loop_a_close_that_is_cancelled_meanwhile_still_closes(
    fake_room: FakeRoom, steps: int
) -> None:
    async def main() -> ringroom.aio.Transport:
        transport = await ringroom.aio.transport("fake", room=fake_room, io="process").open()
        connection = transport._connection
        with fake_room.faults.hanging_connect():
            killed(transport)
            while not connection.session._past:
                await asyncio.sleep(0.002)
            closing = asyncio.create_task(transport.close())
            for _ in range(1 + steps):
                await asyncio.sleep(0)
            closing.cancel()
            await asyncio.wait([closing])
            await transport.close()
            assert connection.session.closed
            assert transport.io_pid is None
        return transport

    settled(asyncio.run(main()))
