"""Who and what is received: ``participants=``, which means the same for tracks and for messages,
``tracks=``, and which messages. Free of I/O.

A function for ``participants=`` is asked about each one who joins or changes, and what it says then
holds for the messages of that participant. A sender that was not announced is known by its identity
alone, and so are those beyond a limit, for remote participants can grow what is remembered.

A function for ``tracks=`` is asked once about each publication. A provider may ask for a track
again as long as it is published; only beyond the limit the function is asked again then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ringroom.dtmf import DtmfFrame
from ringroom.events import Event, EventKind, Kind, Participant, TrackInfo
from ringroom.frames import DataFrame, FileFrame, TextFrame
from ringroom.notices import Notices
from ringroom.options import SessionOptions
from ringroom.rpc import RpcAnswer, RpcCall

__all__ = ["MAX_JUDGED", "Choice"]

T = TypeVar("T")

MAX_JUDGED = 10_000
"""People whose messages are decided about, and likewise tracks."""


class Choice:
    """What the application has chosen."""

    def __init__(self, options: SessionOptions, notices: Notices) -> None:
        self._wanted = options.participants
        self._tracks = options.tracks
        self._options = options
        self._receives_data = Kind.DATA in options.kinds
        self._notices = notices
        self._judged: dict[str, bool] = {}
        """What the function has said of those that are there."""
        self._judged_tracks: dict[str, tuple[str, bool]] = {}
        """By the sid of a track that is published: whose it is, and what the function has said."""

    def wants(self, participant: Participant) -> bool:
        """Whether the participant's tracks are received. A function that raises says no; the log
        has its error."""
        wanted = self._wanted
        if wanted is None:
            return True
        if not callable(wanted):
            return participant.identity in wanted
        return self._ask(wanted, participant, "participants=", participant.identity)

    def takes(self, track: TrackInfo) -> bool:
        """Whether the track is received, of somebody who is. A function that raises says no; the
        log has its error."""
        wanted = self._tracks
        if wanted is None:
            return True
        if not callable(wanted):
            return track.source in wanted
        if track.sid in self._judged_tracks:
            return self._judged_tracks[track.sid][1]
        answer = self._ask(wanted, track, "tracks=", track.reply_name)
        if len(self._judged_tracks) < MAX_JUDGED:
            self._judged_tracks[track.sid] = (track.participant, answer)
        return answer

    def _ask(self, predicate: Callable[[T], bool], about: T, option: str, name: str) -> bool:
        try:
            return bool(predicate(about))
        except Exception:  # noqa: BLE001 (the application's function)
            text = f"{option}: the predicate raised for {name!r}"
            self._notices.tell(option, text, traceback=True)
            return False

    def note(self, event: Event) -> None:
        """Somebody came, changed or left, or a track is over; other events tell nothing here. They
        are bounded ones."""
        if event.kind is EventKind.TRACK_UNPUBLISHED and event.track is not None:
            self._judged_tracks.pop(event.track.sid, None)
        who = event.participant
        if who is None:
            return
        if event.kind is EventKind.PARTICIPANT_LEFT:
            self._judged.pop(who.identity, None)
            self._forget_tracks_of(who.identity)
        elif event.kind in (EventKind.PARTICIPANT_JOINED, EventKind.PARTICIPANT_CHANGED):
            self._judge(who)

    def _judge(self, who: Participant) -> None:
        if not self._receives_data or not callable(self._wanted):
            return
        if who.identity in self._judged or len(self._judged) < MAX_JUDGED:
            self._judged[who.identity] = self.wants(who)

    def _forget_tracks_of(self, identity: str) -> None:
        judged = self._judged_tracks
        for sid in [sid for sid, (owner, _) in judged.items() if owner == identity]:
            del judged[sid]

    def forget_tracks(self) -> None:
        """The room is lost: in the next one every track is a publication of its own."""
        self._judged_tracks.clear()

    def takes_message(self, frame: DataFrame) -> bool:
        """Whether the message is received: what it is, and whose."""
        match frame:
            case TextFrame():
                taken = frame.topic in self._options.text_topics
            case FileFrame():
                taken = frame.topic in self._options.file_topics
            case DtmfFrame():
                taken = self._options.dtmf
            case RpcCall() | RpcAnswer():  # of a recording, say: no caller waits
                taken = False
            case _:
                taken = True
        return taken and self.hears(frame.participant)

    def takes_failed(self, what: EventKind, sender: str) -> bool:
        """Whether a text (TEXT_FAILED) or file (FILE_FAILED) of that identity, which does not come
        whole, is one that we would have received."""
        is_text = what is EventKind.TEXT_FAILED
        topics = self._options.text_topics if is_text else self._options.file_topics
        return bool(topics) and self.hears(sender)

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
