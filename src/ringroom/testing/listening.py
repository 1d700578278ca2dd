"""What a test hears and sees of the applications in a fake room, and how it waits for that.

What waits has a deadline; a deadline that passes tells what did arrive.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

from ringroom.events import TrackInfo
from ringroom.frames import DataFrame
from ringroom.option_checks import check_function, check_timeout
from ringroom.testing.application import Application, Footage, Readings, Recording
from ringroom.testing.floor import Floor

__all__ = ["Listening"]

_Found = TypeVar("_Found")


class Listening:
    """A fake room, as far as the test listens to it."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor

    @property
    def applications(self) -> dict[str, Application]:
        """All that ever joined, by identity."""
        with self._floor.wire.changed:
            return dict(self._floor.state.applications)

    @property
    def application(self) -> Application:
        """The only application. Raises `LookupError` if there is none, or more than one."""
        applications = [*self.applications.values()]
        if len(applications) == 1:
            return applications[0]
        raise LookupError(
            f"{len(applications)} applications have joined, expected one\n  {self._floor.summary()}"
        )

    def heard(self, track: str | None = None) -> Recording:
        """What the application said on that track. Raises `LookupError`."""
        return self.application.heard(track)

    def seen(self, track: str | None = None) -> Footage:
        """What the application showed on that track. Raises `LookupError`."""
        return self.application.seen(track)

    def pushed(self, track: str | None = None) -> Readings:
        """What the application sent on that data track. Raises `LookupError`."""
        return self.application.pushed(track)

    # Waiting. ``app`` names one of several applications.

    def wait_until(
        self,
        condition: Callable[[], _Found | None],
        what: str = "the condition",
        timeout: float = 5.0,
    ) -> _Found:
        """Waits until ``condition()`` is true, and returns what it returned. It is asked whenever
        something happens in the room, and else every quarter of a second at least. Raises
        `DeadlinePassed`."""
        check_function("condition", condition)
        limit = check_timeout(timeout)
        wire = self._floor.wire
        found = (wire.wait_until if limit is None else wire.look_until)(condition, timeout)
        return self._floor.come(found, what, timeout)

    def wait_for_app(self, identity: str | None = None, *, timeout: float = 5.0) -> Application:
        """Waits until the application is in the room."""

        def present() -> Application | None:
            return next((one for one in self._chosen(identity) if one.joined), None)

        return self._floor.wait_until(present, "an application to join", timeout)

    def wait_for_app_gone(
        self, identity: str | None = None, *, timeout: float = 5.0
    ) -> Application:
        """Waits until an application that was in the room has left it."""

        def gone() -> Application | None:
            return next((one for one in self._chosen(identity) if not one.joined), None)

        return self._floor.wait_until(gone, "an application to leave", timeout)

    def wait_for_track(
        self, name: str, *, timeout: float = 5.0, app: str | None = None
    ) -> TrackInfo:
        """Waits until the application publishes a track of that name."""

        def published() -> TrackInfo | None:
            tracks = (one.tracks.get(name) for one in self._chosen(app))
            return next((track for track in tracks if track is not None), None)

        return self._floor.wait_until(published, f"track {name!r}", timeout)

    def wait_for_audio(
        self,
        track: str | None = None,
        seconds: float = 0.01,
        *,
        timeout: float = 5.0,
        app: str | None = None,
    ) -> Recording:
        """Waits until that much sound was heard on the track (by default the only one)."""

        def heard() -> Recording | None:
            for one in self._chosen(app):
                with contextlib.suppress(LookupError):
                    log = one.sound_log(track)
                    # Half a sample of grace: durations are sums of fractions.
                    if log.seconds >= seconds - 5e-6:
                        return log.snapshot()
            return None

        what = f"{seconds} s of sound on {track or 'the audio track'!r}"
        return self._floor.wait_until(heard, what, timeout)

    def wait_for_quiet(
        self,
        track: str | None = None,
        seconds: float = 0.3,
        *,
        timeout: float = 5.0,
        app: str | None = None,
    ) -> Recording:
        """Waits until something was heard on the track (by default the only one) and then, for that
        many seconds of the room's clock, nothing: the application has said all it had to say, or
        was interrupted."""
        wire = self._floor.wire
        asked: list[float] = []

        def quiet() -> Recording | None:
            for one in self._chosen(app):
                with contextlib.suppress(LookupError):
                    log = one.sound_log(track)
                    if log.seconds and log.quiet_since is not None:
                        due = log.quiet_since + seconds
                        if wire.time() >= due:
                            return log.snapshot()
                        if asked[-1:] != [due]:
                            asked.append(due)
                            wire.call_at(due, lambda: None)  # nothing else would look then
            return None

        what = f"{seconds} s of quiet after sound on {track or 'the audio track'!r}"
        return self._floor.wait_until(quiet, what, timeout)

    def wait_for_video(
        self,
        track: str | None = None,
        count: int = 1,
        *,
        timeout: float = 5.0,
        app: str | None = None,
    ) -> Footage:
        """Waits until that many pictures were seen on the track (by default the only one)."""

        def seen() -> Footage | None:
            for one in self._chosen(app):
                with contextlib.suppress(LookupError):
                    log = one.picture_log(track)
                    if log.count >= count:
                        return log.snapshot()
            return None

        what = f"{count} pictures on {track or 'the video track'!r}"
        return self._floor.wait_until(seen, what, timeout)

    def wait_for_data_track(
        self,
        track: str | None = None,
        count: int = 1,
        *,
        timeout: float = 5.0,
        app: str | None = None,
    ) -> Readings:
        """Waits until that many frames came on the data track (by default the only one)."""

        def pushed() -> Readings | None:
            for one in self._chosen(app):
                with contextlib.suppress(LookupError):
                    log = one.reading_log(track)
                    if log.count >= count:
                        return log.snapshot()
            return None

        what = f"{count} frames on the data track {track or '(the only one)'!r}"
        return self._floor.wait_until(pushed, what, timeout)

    def wait_for_data(
        self,
        topic: str | None = None,
        count: int = 1,
        *,
        timeout: float = 5.0,
        app: str | None = None,
    ) -> list[DataFrame]:
        """Waits until that many messages, texts and files were sent (of the topic); all of them,
        oldest first. A text is a `TextFrame`, with its `text` and its ``attributes``, a file a
        `FileFrame`."""

        def received() -> list[DataFrame] | None:
            found = [
                message
                for one in self._chosen(app)
                for message in one.messages
                if topic is None or message.topic == topic
            ]
            return found if len(found) >= count else None

        what = f"{count} messages" + ("" if topic is None else f" of topic {topic!r}")
        return self._floor.wait_until(received, what, timeout)

    def _chosen(self, identity: str | None) -> Iterator[Application]:
        for application in self._floor.state.applications.values():
            if identity is None or application.identity == identity:
                yield application
