"""One end of a connection to the I/O role: lanes and a link. It never waits.

The faces (client, aio, worker) wait on what `Inbox.fileno`, `Outgoing.freed_fileno` and
`fileno` name, and call again. A session is not thread-safe; a face with several threads holds a
lock of its own around each call and waits outside of it. So that no wake-up is lost between a
look and the wait that follows it, every change is also told to `listeners`.

Ownership: the link, and `incoming`, which has the reading ends of the inbound lanes. `Outgoing` has
the writing ends of the others.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from dataclasses import dataclass

from ringroom import messages as m
from ringroom.errors import (
    ClosedError,
    LostProcessError,
    RingroomError,
    StartupError,
    WireError,
)
from ringroom.lanes.statistics import LaneCounts, StatisticsTable
from ringroom.link import Link, close_descriptors
from ringroom.options import SessionOptions
from ringroom.sessions.accounts import Accounts, LaneStatistics
from ringroom.sessions.calls import OwnCalls
from ringroom.sessions.inbox import Listeners
from ringroom.sessions.incoming import Incoming
from ringroom.sessions.mute_changes import MuteChanges
from ringroom.sessions.news import News
from ringroom.sessions.profile_changes import ProfileChanges
from ringroom.sessions.requests import Requests
from ringroom.sessions.roll_calls import RollCalls
from ringroom.sessions.subscriber_changes import SubscriberChanges
from ringroom.system import interrupts_at_the_end


@dataclass(slots=True)
class Ending:
    """How the session ended: by the room, or by an error that every later call raises."""

    reason: str
    error: RingroomError | None = None
    ours: bool = False
    """Noticed on this side, and not told by the other: for others the room may go on."""


@dataclass(frozen=True, slots=True)
class Side:
    """Whose end of a connection a session is: the application's; without all of it, a worker's."""

    name: str = ""
    """What error messages begin with: the provider's name."""
    keeps_accounts: bool = False
    """Whether the counts of all lanes, also those of the workers, are kept here."""
    how_it_died: Callable[[], str] = lambda: ""
    """How the other side's process ended, for the message that it did."""


_WORKER = Side()


class Session:
    """See the module's docstring."""

    def __init__(
        self,
        link: Link,
        table: StatisticsTable,
        options: SessionOptions,
        clock: Callable[[], int],
        side: Side = _WORKER,
    ) -> None:
        self.link = link
        self.options = options
        self.clock = clock
        self.joined: m.Connected | None = None
        self.last_joined: m.Connected | None = None
        """As `joined`, also while the room is joined anew."""
        self.end: Ending | None = None
        """None while it goes on."""
        self.closed = False
        self.interrupted = False
        """The link has ended, and `restart` is waited for."""
        self.restarts = 0
        """How often another link took the place of one that had ended."""
        self.connection_losses = 0
        """How often we were in the room, and then not, though it had not ended."""
        self.io_deaths = 0
        """How often the link has ended without anybody's asking for it."""
        self.listeners = Listeners()
        self.incoming = Incoming(self)
        self.requests = Requests()
        self.profile = ProfileChanges(self.send)
        self.roll = RollCalls(self.send)
        self.calls = OwnCalls(self.send)
        self.muting = MuteChanges(self.send)
        self.subscribers = SubscriberChanges(self.send)
        self.news = News()
        self.attached: m.Attached | None = None
        """What a worker has inherited, once that is known."""
        self.error_raised = False
        """Whether a call has raised the error that ended the session."""
        self._side = side
        self._table = table
        self._accounts = Accounts(table)
        self._away = False
        """The other side has lost the room, and tries to have it back."""
        self._refusal: RingroomError | None = None
        """Why the room was not joined again."""
        self._lost_ns: int | None = None
        """When the link had ended, until our tracks go on over another."""
        self._final: Callable[[], RingroomError | None] | None = None
        """See `outlive_links`; None: the end of the link is the session's."""
        self._leaving = False
        self._unheard = False
        """The peer is gone, which may not have been found on the link yet."""

    def fileno(self) -> int:
        """The link's: readable when `pump` has something to do."""
        return self.link.fileno()

    def send(self, message: m.Message, descriptors: tuple[int, ...] = ()) -> None:
        """Send over the link; a peer that is gone is noted, not raised: `pump` tells of it, after
        all that the peer has said before."""
        if self.interrupted:
            return
        try:
            self.link.send(message, descriptors)
        except ClosedError:
            self._unheard = True
            self.notify()
        else:
            if self.link.backlog:
                self.notify()  # waits become short, and each `pump` sends more

    def pump(self) -> bool:
        """Handle all messages that are here; whether there were any. What cannot be taken (no
        descriptors are left for a lane, say) ends the session by that error."""
        if self.closed or self.link.closed:
            return False
        if self.link.has_come():
            with interrupts_at_the_end():  # else a message is lost, or nobody is told of it
                return self._tell(self._take_messages())
        self._flush()
        return self._tell(False)

    def _flush(self) -> None:
        with contextlib.suppress(ClosedError):  # the next look finds the end
            self.link.flush()

    def _take_messages(self) -> bool:
        changed = False
        try:
            while (received := self.link.receive_nowait()) is not None:
                changed = True
                self._handle(*received)
        except ClosedError:
            self._unheard = True
        except (StartupError, WireError) as error:
            # What was said is lost. To go on would be to stay deaf for a track, say.
            changed = True
            self.link.close()
            self.fail(copy.copy(error))  # without the frames that it came through
        else:
            self._flush()
        return changed

    def _tell(self, changed: bool) -> bool:
        if self._unheard:
            changed = True
            self._lost()
        if self.incoming.away_until_ns is not None:
            changed = self.incoming.end_missing() or changed
        if changed:
            self.notify()
        return changed

    def lane_begun(self, opened: m.PlayoutOpen) -> None:
        """A lane of our own has begun; the other side will list it too, if it lives."""
        if self._side.keeps_accounts:
            self._accounts.listed(opened.listed(m.APPLICATION))

    def notify(self) -> None:
        """Wake all that wait for a change of the session."""
        for listener in self.listeners:
            listener()

    def fail(self, error: RingroomError) -> None:
        """The connection is over by an error that we noticed ourselves."""
        if self.end is None:
            self.end = Ending("failed", error, ours=True)
            self.notify()

    def check_unclosed(self) -> None:
        """Raises `ClosedError` after `close`, which another thread may have called a moment ago.
        However the session has ended, it passes."""
        if self.closed:
            name = self._side.name
            raise ClosedError(f"{name}: transport is closed" if name else "closed")

    def check_unfailed(self) -> None:
        """Raises `ClosedError` after `close`, and the error that the session has ended by. One that
        has ended without an error passes: what is left of it may be received."""
        self.check_unclosed()
        if self.end is not None and self.end.error is not None:
            self.error_raised = True
            # A copy for each call: an error that is raised again and again keeps all its frames.
            raise copy.copy(self.end.error)

    def play_clock(self) -> int:
        """The moment in nanoseconds, for what is played of our tracks: while they do not go on, the
        one at which the link had ended. What their sources had left then was never played."""
        return self.clock() if self._lost_ns is None else self._lost_ns

    def tracks_go_on(self) -> None:
        """Our tracks have lanes over the present link, or there were none when it began."""
        self._lost_ns = None

    def outlive_links(self, final: Callable[[], RingroomError | None] = lambda: None) -> None:
        """From here on the end of the link ends nothing: the caller sees to it that `restart` is
        called. When ``final`` gives an error, no other link will come, and the session ends by
        that."""
        self._final = final

    def take_refusal(self) -> RingroomError | None:
        """Why the room was not joined again, once; None when it was, or may still be."""
        error, self._refusal = self._refusal, None
        return error

    def leave(self) -> None:
        """Ask the other side to end; the link's end tells that it did."""
        self._leaving = True
        self.send(m.Leave())

    def _lost(self) -> None:
        self.link.close()
        final = None if self._final is None else self._final()
        if self.end is None and self._leaving:
            self.end = Ending("closed")
            self.notify()
        elif self.end is None and not self.closed:
            self._died(final)

    def _died(self, final: RingroomError | None) -> None:
        """The other side has; ``final`` is why no other comes, where that is known."""
        self._leave_room()
        self.io_deaths += 1
        self._note_loss()
        if self._final is not None and final is None:
            self.interrupted = True
            self.incoming.expect_nothing()
            self._answer_all()
            self.notify()
        else:
            how = self._side.how_it_died()
            text = (
                f"the I/O process died{how}; what was under way is lost. Open the transport again"
            )
            self.fail(final or LostProcessError(text))

    @property
    def in_room(self) -> bool:
        """Whether we are in the room now, as far as this side was told."""
        out = self.closed or self.end is not None or self.interrupted or self._away
        return self.joined is not None and not out

    def _leave_room(self) -> None:
        """For a while, as is hoped."""
        self.connection_losses += self.in_room

    def _answer_all(self) -> None:
        """What was asked of the I/O role, which is gone."""
        self.requests.answer_all()
        self.calls.lose("the I/O process died")

    def _note_loss(self) -> None:
        if self._lost_ns is None:
            self._lost_ns = self.clock()

    def _handle(self, message: m.Message, descriptors: tuple[int, ...]) -> None:  # noqa: C901
        if isinstance(message, m.LaneOpened):
            self.incoming.open_lane(message, descriptors, self._table)
            return
        close_descriptors(descriptors)  # no other takes any
        match message:
            case m.LaneEnding(lane=number):
                self.incoming.lane_ending(number)
            case m.Reply(request=request, value=value):
                self.requests.answer(request, value)
            case m.PlayoutReady(lane=number):
                self.news.tracks[number] = None
            case m.PlayoutFailed(lane=number, error=error):
                self.news.tracks[number] = m.error_from_json(error)
            case m.RowFree(row=row):
                self.news.rows.append(row)
            case m.ProfileSet():
                self.profile.answered(message)
            case m.People():
                self.roll.answered(message)
            case m.CallEnded():
                self.calls.ended(message)
            case m.ProfileKnown():
                self.profile.known(message)
            case m.MutedSet():
                self.muting.answered(message)
            case m.MutedKnown(tracks=tracks):
                self.muting.known(tracks)
            case m.SubscribersAllowed():
                self.subscribers.answered(message)
            case m.SubscribersKnown():
                self.subscribers.known(message)
            case m.Attached():
                self.attached = message
                self._rejoined()
            case m.LaneListed():
                self._accounts.listed(message)
            case m.LaneRetired(row=row):
                if self._accounts.retire(row):
                    self.send(m.RowFree(row=row))
            case m.Connected():
                self.joined = self.last_joined = message
                self._rejoined()
            case m.Away(away=away):
                if away:
                    self._leave_room()
                self._away = away
            case m.Failed(error=error):
                if self.restarts:
                    self._refusal = m.error_from_json(error)
                else:
                    self.fail(m.error_from_json(error))
            case m.Ended():
                self._ended(message)

    def _rejoined(self) -> None:
        if self.restarts:
            self.incoming.expect_return()

    def _ended(self, message: m.Ended) -> None:
        if self.end is None:
            error = m.error_from_json(message.error) if message.error else None
            self.end = Ending(message.reason, error)

    def restart(self, link: Link, table: StatisticsTable) -> None:
        """Go on over another link, with other rows: the I/O process has died, and another is there.
        What was in the inbound lanes is lost, counted; of their tracks `Incoming.lose_lanes` tells.
        """
        self.link.close()
        self._note_loss()  # the application may have told us of it first
        self.incoming.lose_lanes()
        self._accounts.renew(table)
        self._table, self.link = table, link
        self.restarts += 1
        self.interrupted = self._unheard = self._away = False
        self.joined = self._refusal = self.attached = None
        self._answer_all()
        self.news.clear()
        for inbox in self.incoming.inboxes:
            inbox.relink()
        self.profile.ask_again()
        self.roll.ask_again()
        self.muting.ask_again()
        self.subscribers.ask_again()
        self.notify()

    def settle_past(self) -> None:
        """Lanes from before `restart` are not used any more: what is under way there is lost."""
        self._accounts.settle()

    def counts_at(self, place: int) -> LaneCounts:
        """What a worker has received through the lanes that it has now."""
        return self._accounts.received_at(place)

    def statistics(self) -> list[LaneStatistics]:
        """The counts of every lane since the beginning; a track's successive lanes are one."""
        return self._accounts.statistics()

    def close(self) -> None:
        """Idempotent. Closes every lane and the link; all that wait wake."""
        if self.closed:
            return
        self.closed = True
        self.notify()
        self.incoming.close()
        self._accounts.retire_all()
        self.link.close()


def check_going_on(session: Session) -> None:
    """Raises what a wait must end with when the session is over, however it has ended."""
    session.check_unfailed()
    if session.end is not None:
        raise ClosedError(f"the room has ended: {session.end.reason}")
