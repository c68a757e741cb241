"""Compute from history which of a node's patterns one session taught, alone or with others. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from kato_tasks.engine.replay.expecting import expect
from kato_tasks.ports.archive import ArchivedEvent


@dataclass(slots=True)
class Taught:
    """What a session's learns made.

    ``patterns`` counts the learns of each pattern by its name. ``unnamed`` counts those whose name only KATO knows,
    because vectors were among what was learned. ``missing`` is the first position of which no history is left; None:
    none is missing.
    """

    patterns: Counter[str] = field(default_factory=Counter)
    unnamed: int = 0
    missing: int | None = None


def find_taught(history: Iterable[ArchivedEvent]) -> Taught:
    """Return what one session's learns made; its events come in their order. Raises UnreadableRow."""
    found = expect(history)
    return Taught(found.patterns, found.unnamed, next(iter(found.gaps.values()), None))


def find_taught_by_others(history: Iterable[ArchivedEvent], session: str) -> set[str]:
    """Return the names of the patterns that the other sessions of a lane taught. Raises UnreadableRow."""
    return set(expect(event for event in history if event.session != session).patterns)
