"""The I/O role on a loop: sessions come over its control link, and end with it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from io_kit import no_more_watched, run, until

import ringroom
from ringroom import messages as m
from ringroom.errors import ClosedError
from ringroom.link import Link, open_links
from ringroom.processes.io import serving
from ringroom.processes.io.rooms import RoomSession
from ringroom.testing import FakeRoom, faults


class Opened(RoomSession):
    """A session that is not over before the test says so."""

    made: list[RoomSession]
    gate: asyncio.Event

    async def _close(self) -> None:
        await self.gate.wait()
        await super()._close()


def test_the_role_ends_when_all_its_sessions_have(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        made: list[RoomSession] = []
        Opened.gate = asyncio.Event()

        def opens(*arguments: object) -> RoomSession:
            made.append(Opened(*arguments))  # type: ignore[arg-type]
            return made[-1]

        monkeypatch.setattr(serving, "RoomSession", opens)
        ours, theirs = open_links()
        role = asyncio.ensure_future(serving.serve(theirs))
        links = []
        for _ in range(2):
            far, near = open_links()
            ours.send(m.NewSession(), (near.fileno(),))
            near.close()
            links.append(far)
        await until(lambda: len(made) == 2)
        links[0].close()
        await until(lambda: made[0]._closing)
        ours.close()
        await until(lambda: made[1]._closing)
        for _ in range(50):
            await asyncio.sleep(0)
        assert not role.done()
        Opened.gate.set()
        await role
        assert all(session.done.is_set() for session in made)
        links[1].close()

    run(main())


def test_a_session_whose_link_cannot_be_watched_ends_and_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        ours, theirs = open_links()
        role = asyncio.ensure_future(serving.serve(theirs))
        await asyncio.sleep(0)
        far, near = open_links()
        with contextlib.closing(far):
            with no_more_watched():
                ours.send(m.NewSession(), (near.fileno(),))
                near.close()
                await until(lambda: _is_over(far))
            far, near = open_links()
        with contextlib.closing(far):
            ours.send(m.NewSession(), (near.fileno(),))
            near.close()
            far.send(m.Leave())
            await until(lambda: _is_over(far))
            assert not role.done()
            ours.close()
            await role

    run(main())
    assert caplog.text.count("max_user_watches") == 1


def _is_over(link: Link) -> bool:
    try:
        link.receive_nowait()
    except ClosedError:
        return True
    return False


def test_other_messages_are_refused_with_their_descriptors(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        ours, theirs = open_links()
        role = asyncio.ensure_future(serving.serve(theirs))
        near, far = socket.socketpair()
        ours.send(m.Leave(), (near.fileno(),))
        near.close()
        with far:
            far.setblocking(False)

            def let_go() -> bool:
                try:
                    return far.recv(1) == b""
                except BlockingIOError:
                    return False

            await until(let_go)
        ours.close()
        await role

    run(main())
    assert "the control link takes no Leave" in caplog.text


def test_a_session_that_has_ended_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """An I/O process that is shared lives on."""

    async def main() -> None:
        made: list[weakref.ref[RoomSession]] = []

        def opens(link: Link, clock: Callable[[], int]) -> RoomSession:
            session = RoomSession(link, clock)
            made.append(weakref.ref(session))
            return session

        monkeypatch.setattr(serving, "RoomSession", opens)
        ours, theirs = open_links()
        role = asyncio.ensure_future(serving.serve(theirs))
        far, near = open_links()
        ours.send(m.NewSession(), (near.fileno(),))
        near.close()
        await until(lambda: made)
        far.close()
        await until(lambda: gc.collect() * 0 == 0 and made[0]() is None)
        assert not role.done()
        ours.close()
        await role

    gc.freeze()  # all that other tests have left would take a second each time
    try:
        run(main())
    finally:
        gc.unfreeze()


def test_all_that_lasts_is_made_when_a_room_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        rooms: list[Any] = []
        settled: list[int] = []

        class Room:
            def __init__(self, link: Link, clock: Callable[[], int]) -> None:
                link.close()
                self.done = asyncio.Event()
                self.joining = asyncio.get_running_loop().create_future()
                rooms.append(self)

            async def joined_provider(self) -> None:
                await self.joining

            def leave(self) -> None:
                self.done.set()

        monkeypatch.setattr(serving, "RoomSession", Room)
        ours, theirs = open_links()
        role = asyncio.ensure_future(
            serving.serve(theirs, freeze_garbage=lambda: settled.append(len(rooms)))
        )
        for _ in range(2):
            far, near = open_links()
            ours.send(m.NewSession(), (near.fileno(),))
            near.close()
            far.close()
        await until(lambda: len(rooms) == 2)
        rooms[0].joining.set_exception(ClosedError("the room is over"))
        for _ in range(10):
            await asyncio.sleep(0)
        rooms[0].done.set()
        assert not settled
        rooms[1].joining.set_result(None)
        await until(lambda: settled == [2])
        ours.close()
        await role

    run(main())


@pytest.mark.parametrize("text", ["raise RuntimeError('not today')", "import nothing_of_that_name"])
def test_what_cannot_be_imported_ahead_is_told_and_the_standby_serves(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    fake_room: FakeRoom,
    text: str,
) -> None:
    (tmp_path / "broken_sdk.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    with ringroom.IOProcess() as process:
        process.start()
        process.keep_standby("broken_sdk")
        assert process.pid is not None
        faults.killed(process.pid)
        with ringroom.transport("fake", room=fake_room, io=process) as transport:
            assert transport.room == fake_room.name
    assert "broken_sdk was not imported ahead" in capfd.readouterr().err
