"""A way out with its writer's lane and its task, and the ways out that end with their writer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ringroom.processes.io.outbound import Outbound


@dataclass(slots=True, eq=False)
class Sending:
    """A way out, and the task that serves it."""

    lane: int
    """The number of the writer's lane; 0 once the writer has died."""
    name: str
    outbound: Outbound
    task: asyncio.Task[None] | None = None

    @property
    def is_track(self) -> bool:
        return self.outbound.is_track

    @property
    def takes_lanes(self) -> bool:
        """Whether it is a track that is not ending: its next writer goes on in it."""
        return self.is_track and not self.outbound.closing

    def lose_writer(self) -> None:
        """Its writer has died. Messages that are in the lane still go out; a track waits for the
        next writer."""
        self.lane = 0
        if not self.is_track:
            self.outbound.finish()


class DyingAnswers:
    """The tracks that a writer is about to end.

    A reader that is through with a track closes it, may send a first word on the track of ours that
    answers it, and then ends that one. If it dies in between, nothing else knows that the answer
    has to end: the I/O role ends it, unless another track that flows is answered on it too.
    """

    def __init__(self) -> None:
        self._name = ""
        """The name of the answer to the track that was closed last."""
        self._dying: dict[Sending, None] = {}

    def closed(self, name: str, sendings: Iterable[Sending]) -> None:
        """The reader is through with a track that is answered under that name, if under any."""
        self._name = name
        for sending in sendings:
            self.begun(sending)

    def begun(self, sending: Sending) -> None:
        """Something begins to be sent."""
        if self._name and sending.name == self._name:
            self._dying[sending] = None

    def over(self, sending: Sending) -> None:
        """It has ended."""
        self._dying.pop(sending, None)

    def end(self, flows: Callable[[str], bool]) -> None:
        """The writer has died. ``flows`` says whether something is answered under that name."""
        for sending in self._dying:
            if not flows(sending.name):
                sending.outbound.finish()
