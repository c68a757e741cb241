"""Operations of listeners and sinks: who reads a source, what it has not acknowledged, and predictions to send."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kato_tasks.ports.effects import Effect

LISTENED = "listen:"
"""What the names of sources begin with that listeners read (``Append.source``)."""


@dataclass(frozen=True, slots=True)
class HoldReader(Effect[bool]):
    """Take the right to read a source, or keep it for ``keep_ms`` more. Answers False if another reader has it."""

    name: str
    token: str
    keep_ms: int


@dataclass(frozen=True, slots=True)
class GiveReaderBack(Effect[None]):
    """Give the right to read a source back, if this token has it."""

    name: str
    token: str


@dataclass(frozen=True, slots=True)
class KeepBodies(Effect[None]):
    """Remember what is about to be appended from messages that carry nothing by which they are known again.

    Each row is the id that its event gets, and a digest of the message's body.
    """

    name: str
    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class ReadBodies(Effect[dict[str, str]]):
    """Read what ``KeepBodies`` remembers of a source: the digest of each body by its event's id."""

    name: str


@dataclass(frozen=True, slots=True)
class DropBodies(Effect[None]):
    """Forget these events' bodies, because their messages are acknowledged."""

    name: str
    event_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class KeepRefusedMessage(Effect[None]):
    """Keep a message that is no valid event, as a dead letter. The same id is kept once, with the first reason."""

    lane: str
    id: str
    letter: str


@dataclass(frozen=True, slots=True)
class CountPredictions(Effect[int]):
    """Count the predictions in a partition that are on their way to a sink."""

    partition: int
    sink: str


@dataclass(frozen=True, slots=True)
class OutgoingPrediction:
    """A prediction on its way to a sink.

    ``id`` names it for good. It was made after the event at ``position`` of its session's log, at ``at_ms`` by the
    store's clock. ``entry`` is that event's entry, or '' where only the archive has it. ``answer`` is KATO's answer,
    or an error in its place (JSON).
    """

    id: str
    session: str
    position: int
    at_ms: int
    entry: str
    answer: str


@dataclass(frozen=True, slots=True)
class ReadPredictions(Effect[list[OutgoingPrediction]]):
    """Read the first ``most`` predictions in a partition that are on their way to a sink, in their order."""

    partition: int
    sink: str
    most: int


@dataclass(frozen=True, slots=True)
class DropPredictions(Effect[bool]):
    """Forget the first ``count`` predictions, the first of which has the id ``first``, because they were sent.

    Answers False, and does nothing, if another one is the first: another sender has sent these.
    """

    partition: int
    sink: str
    first: str
    count: int
