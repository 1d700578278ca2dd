"""Messages and texts, between frames and what goes over the wire, for both of its ends."""

from __future__ import annotations

from ringroom.frames import DataFrame, TextFrame
from ringroom.pieces import TextPiece
from ringroom.providers.fake.messages import Data, Piece, Text

__all__ = ["opened", "sealed", "sealed_piece"]


def sealed(frame: DataFrame, *, request: int = 0, participant: str = "") -> Data | Text:
    """What goes over the wire for the frame."""
    if isinstance(frame, TextFrame):
        return Text(
            request=request,
            participant=participant,
            topic=frame.topic,
            to=frame.to,
            attributes=frame.attributes,
            payload=frame.payload,
        )
    return Data(
        request=request,
        participant=participant,
        topic=frame.topic,
        reliable=frame.reliable,
        to=frame.to,
        payload=frame.payload,
    )


def sealed_piece(piece: TextPiece, *, request: int) -> Piece:
    """What goes over the wire for a step of a text that is being written."""
    return Piece(
        request=request,
        text=piece.number,
        step=piece.step,
        topic=piece.topic,
        to=piece.to,
        attributes=piece.attributes,
        payload=piece.payload,
    )


def opened(
    message: Data | Text, participant: str, *, to: tuple[str, ...] = (), received_ns: int = 0
) -> DataFrame:
    """The frame of what came over the wire, from that participant."""
    topic = message.topic
    if isinstance(message, Text):
        return TextFrame(
            message.payload,
            topic=topic,
            participant=participant,
            to=to,
            received_ns=received_ns,
            attributes=message.attributes,
        )
    return DataFrame(
        message.payload,
        topic=topic,
        participant=participant,
        reliable=message.reliable,
        to=to,
        received_ns=received_ns,
    )
