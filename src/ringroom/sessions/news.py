"""What the other side says of our lanes, until `outgoing.Outgoing` takes note of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ringroom.errors import RingroomError

__all__ = ["News"]


@dataclass(slots=True)
class News:
    """The session writes it down as the link brings it, `Outgoing` takes it away."""

    tracks: dict[int, RingroomError | None] = field(default_factory=dict)
    """By the lane's number: what made the track fail; None for one that is published."""
    rows: list[int] = field(default_factory=list)
    """Rows of statistics that may serve another lane."""

    def clear(self) -> None:
        """It came from a process that has died."""
        self.tracks.clear()
        self.rows.clear()
