"""Operations for the people who run the system: dead letters, parked sessions, signs of life, acknowledgements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kato_tasks.ports.effects import Effect

SignOf = Literal["worker", "beat"]
"""What a process is that gives signs of life."""


@dataclass(frozen=True, slots=True)
class KeepDeadLetter(Effect[None]):
    """Keep something that is not going to be applied, in the lane's partition; the same id is kept once."""

    lane: str
    id: str
    letter: str


@dataclass(frozen=True, slots=True)
class Resume(Effect[bool]):
    """A parked session goes on at its head event; False: it was not parked."""

    lane: str
    session: str


@dataclass(frozen=True, slots=True)
class ParkByHand(Effect[bool]):
    """A person parks a session; False: it was parked already."""

    lane: str
    session: str
    why: str


@dataclass(frozen=True, slots=True)
class DropDeadLetter(Effect[None]):
    lane: str
    id: str


@dataclass(frozen=True, slots=True)
class GiveSign(Effect[int]):
    """A process says that it lives, by the store's clock (returned, ms); ``about`` '' says that it ends.

    It is forgotten ``keep_ms`` after its last sign; of each kind the ``most`` that gave one last are kept.
    """

    of: SignOf
    id: str
    about: str
    keep_ms: int
    most: int = 500


@dataclass(frozen=True, slots=True)
class AcknowledgeLost(Effect[int]):
    """A person knows that KATO lost these lanes' patterns (``how``: who, when and why, JSON); how many were lost."""

    partition: int
    lanes: tuple[str, ...]
    how: str


@dataclass(frozen=True, slots=True)
class KeepAcknowledgement(Effect[None]):
    """Keep what a person acknowledged of the whole, under ``id``: who, when, why, and of what (JSON)."""

    id: str
    how: str
