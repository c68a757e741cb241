"""Operations for the people who run the system: dead letters, parked sessions, signs of life, acknowledgements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kato_tasks.ports.effects import Effect

SignOf = Literal["worker", "beat", "listener"]
"""What a process is that gives signs of life."""


@dataclass(frozen=True, slots=True)
class KeepDeadLetter(Effect[None]):
    """Keep something that is not going to be applied, in the lane's partition. The same id is kept once."""

    lane: str
    id: str
    letter: str


@dataclass(frozen=True, slots=True)
class Resume(Effect[bool]):
    """Let a parked session go on at its head event. Answers False if it was not parked."""

    lane: str
    session: str


@dataclass(frozen=True, slots=True)
class ParkByHand(Effect[bool]):
    """Park a session by a person's wish; ``why`` is the record of it (JSON). Answers False if it was parked already."""

    lane: str
    session: str
    why: str


@dataclass(frozen=True, slots=True)
class DropDeadLetter(Effect[None]):
    """Forget a dead letter."""

    lane: str
    id: str


@dataclass(frozen=True, slots=True)
class GiveSign(Effect[int]):
    """Say that a process lives; an empty ``about`` says that it ends. Answers the store's time (ms).

    ``about`` is what the process tells of itself (JSON). The sign is forgotten after ``keep_ms``, and of each kind the
    ``most`` latest are kept.
    """

    of: SignOf
    id: str
    about: str
    keep_ms: int
    most: int = 500


@dataclass(frozen=True, slots=True)
class AddCallCounts(Effect[None]):
    """Add to the counts of calls to KATO, by name (``engine/running/call_figures.py``). Carried out twice, it doubles.

    So it is asked once and not again: a missing count does not mislead for long.
    """

    rows: Sequence[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class AcknowledgeLost(Effect[int]):
    """Note that a person knows that KATO lost these lanes' patterns. Answers how many were lost.

    ``how`` says who knows it, since when and why (JSON).
    """

    partition: int
    lanes: tuple[str, ...]
    how: str


@dataclass(frozen=True, slots=True)
class KeepAcknowledgement(Effect[None]):
    """Keep what a person acknowledged of the system as a whole, under ``id``: who, when, why and of what (JSON)."""

    id: str
    how: str
