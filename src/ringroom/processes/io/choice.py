"""Who is received: ``participants=``, which means the same for tracks and for messages. Free of
I/O.

A function is asked about whoever joins or changes, and what it says then holds for the messages of
that participant. A sender that was not announced is known by its identity alone, and so are those
beyond a limit, for remote participants can grow what is remembered.
"""

from __future__ import annotations

from ringroom.frames import Event, EventKind, Kind, Participant
from ringroom.notices import Notices
from ringroom.options import SessionOptions

__all__ = ["MAX_JUDGED", "Choice"]

MAX_JUDGED = 10_000


class Choice:
    """What the application has chosen."""

    def __init__(self, options: SessionOptions, notices: Notices) -> None:
        self._wanted = options.participants
        self._receives_data = Kind.DATA in options.kinds
        self._notices = notices
        self._judged: dict[str, bool] = {}
        """What the function has said of those that are there."""

    def wants(self, participant: Participant) -> bool:
        """Whether the participant's tracks are received. A function that raises says no; the log
        has its error."""
        wanted = self._wanted
        if wanted is None:
            return True
        if not callable(wanted):
            return participant.identity in wanted
        try:
            return bool(wanted(participant))
        except Exception:  # noqa: BLE001 (the application's function)
            who = participant.identity
            text = f"participants=: the predicate raised for {who!r}"
            self._notices.tell("predicate", text, traceback=True)
            return False

    def note(self, event: Event) -> None:
        """Somebody came, changed or left; other events tell nothing here. They are bounded ones."""
        who = event.participant
        if who is None or not self._receives_data or not callable(self._wanted):
            return
        if event.kind is EventKind.PARTICIPANT_LEFT:
            self._judged.pop(who.identity, None)
        elif event.kind in (EventKind.PARTICIPANT_JOINED, EventKind.PARTICIPANT_CHANGED) and (
            who.identity in self._judged or len(self._judged) < MAX_JUDGED
        ):
            self._judged[who.identity] = self.wants(who)

    def hears(self, sender: str) -> bool:
        """Whether a message of that identity is received; of one that names no sender nobody can
        say, so only where everybody is."""
        if self._wanted is None or not self._receives_data:
            return True
        if not sender:
            self._notices.tell(
                "nameless",
                "participants=: a message that names no sender was left out (it came before the "
                "room has told who sent it, or through the server's API); without participants= "
                "it is received",
            )
            return False
        judged = self._judged.get(sender)
        return self.wants(Participant(identity=sender)) if judged is None else judged
