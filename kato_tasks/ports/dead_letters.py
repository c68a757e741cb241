"""Describe dead letters: events that will not be applied, each kept with the reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class DeadLetterRow:
    """A dead letter as it is kept.

    ``kept_as`` is the name under which its lane keeps it (``ports.DropDeadLetter``). ``position`` is None if the
    event never got one. ``event`` is a standard event. ``message`` is set instead for a message that is none
    (``RefusedMessage.as_json``), and then ``event`` is empty. Times are milliseconds since 1970.
    """

    kept_as: str
    session: str
    node: str
    lane: str
    position: int | None
    reason: str
    last_answer: str
    attempts: int
    first_ms: int
    last_ms: int
    event: Mapping[str, Any]
    event_id: str
    message: Mapping[str, Any] | None = None


class DeadLetters(Protocol):
    """Reads dead letters. ``ports.KeepDeadLetter`` and ``ports.DropDeadLetter`` change them."""

    def rows(self) -> Iterator[DeadLetterRow]:
        """Iterate over all dead letters, those of each session in the order of their positions.

        They are read as the iterator reaches them. Raises StoreUnavailable if the store does not answer.
        """
        ...
