"""Messages, texts, files and digits, between frames and what goes over the wire, for both of its
ends."""

from __future__ import annotations

from typing import TypeAlias

from ringroom.dtmf import DtmfFrame
from ringroom.frames import DataFrame, FileFrame, TextFrame
from ringroom.pieces import TextPiece
from ringroom.providers.fake.messages import Data, Dtmf, File, Piece, Text

__all__ = ["Envelope", "opened", "sealed", "sealed_piece"]

Envelope: TypeAlias = Data | Text | File | Dtmf


def sealed(frame: DataFrame, *, request: int = 0, participant: str = "") -> Envelope:
    """What goes over the wire for the frame."""
    if isinstance(frame, DtmfFrame):
        return Dtmf(request=request, participant=participant, payload=frame.payload)
    if isinstance(frame, TextFrame):
        return Text(
            request=request,
            participant=participant,
            topic=frame.topic,
            to=frame.to,
            attributes=frame.attributes,
            payload=frame.payload,
        )
    if isinstance(frame, FileFrame):
        return File(
            request=request,
            participant=participant,
            topic=frame.topic,
            to=frame.to,
            name=frame.name,
            mime_type=frame.mime_type,
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
    message: Envelope, participant: str, *, to: tuple[str, ...] = (), received_ns: int = 0
) -> DataFrame:
    """The frame of what came over the wire, from that participant."""
    if isinstance(message, Dtmf):
        return DtmfFrame(message.payload, participant=participant, received_ns=received_ns)
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
    if isinstance(message, File):
        return FileFrame(
            message.payload,
            topic=topic,
            participant=participant,
            to=to,
            received_ns=received_ns,
            name=message.name,
            mime_type=message.mime_type,
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
