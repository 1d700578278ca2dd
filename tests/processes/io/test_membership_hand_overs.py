"""Fresh hand-overs: each try asks the application for one."""

from __future__ import annotations

import asyncio
import os

import dill
from membership_kit import Scene, Script, Stay, joining, play

from ringroom import messages as m
from ringroom.errors import RoomError
from ringroom.link import open_links
from ringroom.options import SessionOptions


class Application:
    """The far end of the link for renewals."""

    def __init__(self, scene: Scene) -> None:
        self.link, theirs = open_links()
        scene.membership.renew_over(os.dup(theirs.fileno()))
        theirs.close()
        self.asked: list[int] = []

    def look(self) -> None:
        while (received := self.link.receive_nowait()) is not None:
            message, _ = received
            assert isinstance(message, m.Renew)
            self.asked.append(message.request)

    def renew(self, request: int, number: int, *descriptors: int) -> None:
        blob = dill.dumps((Script(number=number), SessionOptions()))
        self.link.send(m.Renewed(request=request, blob=blob), descriptors)


def test_each_try_asks_for_a_fresh_hand_over() -> None:
    async def test(scene: Scene) -> None:
        app = Application(scene)
        await scene.start()
        scene.ends(0.0)
        refused = m.error_to_json(RoomError("no token today", reason="timeout"))
        await asyncio.sleep(1.1)
        app.look()
        app.link.send(m.NotRenewed(request=1, error=refused))
        await asyncio.sleep(2.1)
        app.look()
        app.renew(1, 71)  # late, for the first
        app.renew(2, 72)
        await asyncio.sleep(1.0)
        assert app.asked == [1, 2]
        app.link.close()

    scene = play([Stay(joining()), Stay(joining())], test)
    assert [number for number, _ in Script.opened] == [0, 72]
    assert scene.told[-1][1] == "joined"


def test_a_provider_that_does_not_open_anew_leaves_no_descriptor() -> None:
    async def test(scene: Scene) -> None:
        app = Application(scene)
        await scene.start()
        scene.ends(0.0)
        await asyncio.sleep(1.1)
        reading, writing = os.pipe()
        app.renew(1, 1, writing)
        os.close(writing)
        await asyncio.sleep(0.5)
        assert len(Script.opened) == 2
        os.set_blocking(reading, False)
        assert os.read(reading, 1) == b"", "the hand-over's descriptor is closed"
        os.close(reading)
        app.link.close()

    play([Stay(joining()), RoomError("it cannot be opened", reason="unreachable")], test)


def test_an_application_that_hands_nothing_over_in_time_or_is_gone() -> None:
    async def test(scene: Scene) -> None:
        app = Application(scene)
        await scene.start()
        scene.ends(0.0)
        await asyncio.sleep(20.0)
        app.look()
        assert app.asked == [1, 2]
        app.link.close()
        await asyncio.sleep(30.0)

    scene = play([Stay(joining())], test, connect_timeout=10.0)
    assert str(scene.error).endswith("the application hands nothing over any more")
    assert len(Script.opened) == 1
