"""What was erased of a session that was forgotten, and what KATO's patterns still hold of it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class HeldPattern(BaseModel):
    """A pattern that the session taught, and that KATO still holds.

    ``learns`` counts the session's learns of it, and ``frequency`` is KATO's own count (None if KATO did not answer).
    ``only_here`` says that no other session of the node taught it; None if the node's history was too long to look
    through.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    learns: int
    frequency: int | None = None
    only_here: bool | None = None


class Forgotten(BaseModel):
    """What became of a session that was forgotten.

    ``known`` is False if there was nothing of it. ``events`` counts its events, ``archived`` the rows of the archive
    that were erased. ``kato_session`` is the id of the KATO session that was deleted. ``patterns`` are those that its
    learns made; ``unnamed_patterns`` counts those whose name only KATO knows, because they hold vectors. ``history``
    says whether the whole history could be read, so that ``patterns`` are all of them. ``node_is_shared`` says that
    other sessions use the node, which is why its name stays.
    """

    model_config = ConfigDict(frozen=True)

    session_id: str
    known: bool = True
    node_id: str = ""
    events: int = 0
    archived: int = 0
    dead_letters: int = 0
    scheduled: int = 0
    kato_session: str | None = None
    patterns: tuple[HeldPattern, ...] = ()
    more_patterns: int = 0
    unnamed_patterns: int = 0
    history: bool = True
    node_is_shared: bool = True

    @property
    def remedy(self) -> str:
        """Return what to do so that KATO forgets the patterns, too; '' if there are none."""
        if not self.known or not (self.patterns or self.more_patterns or self.unnamed_patterns or not self.history):
            return ""
        if self.node_is_shared:
            return f"kato-tasks replay start --mode rebuild --node {self.node_id} builds the node without them"
        return "no other session uses the node, so nothing asks KATO for them; clear the node at KATO itself"
