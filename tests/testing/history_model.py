"""What an application must hear of a history: the promises of rooms and lanes, as plain lists."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ringroom.colour import i420_size
from ringroom.events import Kind
from ringroom.lanes import records
from ringroom.lanes.live import LOW_MARK
from ringroom.lanes.ring import Geometry
from ringroom.options import SessionOptions
from ringroom.processes.io.inbound import ring_of
from ringroom.testing import histories as h
from ringroom.testing.strategies import Cast

MAX_AGE_NS = 200_000_000
SAME = 1e-9


@dataclass(eq=False)
class Lane:
    """What waits in one lane: values with their arrival, and None for an event of the track."""

    track: h.Track
    ring: Geometry | None = None
    waiting: deque[tuple[int | None, int]] = field(default_factory=deque)

    def read(self, now_ns: int) -> tuple[list[int], int]:
        """What is handed out, and how many are dropped."""
        taken: list[int] = []
        dropped, skipping = 0, False
        while self.waiting:
            value, arrived_ns = self.waiting.popleft()
            if value is None:
                skipping = False
            elif self._is_wanted(now_ns - arrived_ns, skipping):
                taken.append(value)
                skipping = False
            else:
                dropped += 1
                skipping = True
        return taken, dropped

    def _is_wanted(self, age_ns: int, skipping: bool) -> bool:
        if not skipping:
            return age_ns <= MAX_AGE_NS
        if self.track.is_video:
            return age_ns <= MAX_AGE_NS and not self.waiting
        return age_ns <= MAX_AGE_NS * LOW_MARK


@dataclass
class Model:
    """A room with one application that receives everything."""

    cast: Cast = field(default_factory=Cast)
    now_ns: int = 1_000_000_000
    people: set[str] = field(default_factory=set)
    lanes: list[Lane] = field(default_factory=list)
    """In the order in which they were opened."""
    heard: dict[h.Track, Lane] = field(default_factory=dict)
    """The lane into which a track goes now."""
    told_muted: set[h.Track] = field(default_factory=set)
    late: float | None = None
    under_way: list[tuple[float, h.Track, int, int]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    resumes: bool = False
    sent: int = 0
    done: int = 0
    dropped: int = 0

    def apply(self, step: h.Step) -> None:
        match step:
            case h.Speak(track=track, pieces=pieces, value=value):
                if not self.is_muted(track):
                    for _ in range(pieces):
                        self._carry(track, value, 0)
            case h.Show(track=track, number=number, width=width, height=height):
                self._carry(track, number, i420_size(width, height))
            case h.SendData(text=text) if not self.cast.lost:
                self.messages.append(text)
            case h.Wait(seconds=seconds):
                self.now_ns += round(seconds * 1e9)
                self._arrive(self.now_ns / 1e9)
            case h.Delay(seconds=seconds):
                self.late = seconds
            case h.Undelay():
                self.late = None
                self._arrive(float("inf"))
            case h.Lose(resume=resume):
                self.resumes = resume
            case h.Return() if not self.resumes:
                self.heard.clear()
            case _:
                pass
        self.cast.apply(step)
        if not self.cast.lost:
            self._catch_up()

    def is_muted(self, track: h.Track) -> bool:
        return track in self.cast.muted

    def waiting(self, track: h.Track) -> int:
        """Pieces of a track that were not read yet, wherever they are."""
        here = [lane for lane in self.lanes if lane.track == track]
        return sum(len(lane.waiting) for lane in here) + sum(
            each[1] == track for each in self.under_way
        )

    def read(self) -> h.Read:
        """The application reads all: what that must be."""
        found: dict[str, list[int | str]] = {}
        for lane in self.lanes:
            taken, dropped = lane.read(self.now_ns)
            self.done += len(taken)
            self.dropped += dropped
            if taken:
                found.setdefault(lane.track.reply_name, []).extend(taken)
        if self.messages:
            found["data"] = list(self.messages)
            self.messages.clear()
        return h.Read(found)

    @property
    def counts(self) -> dict[str, int]:
        return {"sent": self.sent, "done": self.done, "dropped": self.dropped, "lost": 0}

    def _catch_up(self) -> None:
        """What is told when the connection is there."""
        self.people = set(self.cast.people)
        for track in [track for track in self.heard if track not in self.cast.tracks]:
            del self.heard[track]
        for track in self.cast.tracks:
            if track not in self.heard:
                self._open(track)
                self.told_muted.discard(track)
            if (track in self.cast.muted) is not (track in self.told_muted):
                self.told_muted ^= {track}
                self.heard[track].waiting.append((None, 0))

    def _open(self, track: h.Track) -> None:
        self.heard[track] = Lane(track)
        self.lanes.append(self.heard[track])

    def _carry(self, track: h.Track, value: int, nbytes: int) -> None:
        if self.late is None:
            self._deliver(track, value, nbytes)
        else:
            self.under_way.append((self.now_ns / 1e9 + self.late, track, value, nbytes))

    def _arrive(self, until: float) -> None:
        while self.under_way and self.under_way[0][0] <= until + SAME:
            self._deliver(*self.under_way.pop(0)[1:])

    def _deliver(self, track: h.Track, value: int, nbytes: int) -> None:
        lane = self.heard.get(track)
        if lane is None or self.cast.lost:
            return
        room = lane.ring.max_payload if lane.ring else 0
        if track.is_video and nbytes + records.MAX_MEDIA_HEADER_BYTES > room:
            if lane.ring:
                # A larger picture than the ring was made for: a new ring, after the old one.
                self._open(track)
                lane = self.heard[track]
            lane.ring = ring_of(SessionOptions(), Kind.VIDEO, nbytes)
        lane.waiting.append((value, self.now_ns))
        self.sent += 1


class Forgetful(Model):
    """A model that is wrong: it takes the muted for heard."""

    def is_muted(self, track: h.Track) -> bool:
        return False


class Unworried(Model):
    """A model that is wrong: it takes what was said while the connection was lost for heard."""

    def _deliver(self, track: h.Track, value: int, nbytes: int) -> None:
        lost, self.cast.lost = self.cast.lost, False
        super()._deliver(track, value, nbytes)
        self.cast.lost = lost
