"""What the KATO-shaped routes keep of a session, and read of it before each call."""

from __future__ import annotations

from dataclasses import dataclass

from kato_tasks.ports.effects import Effect


@dataclass(frozen=True, slots=True)
class FrontState:
    """A session as the KATO-shaped routes see it.

    ``row`` is the text of its ``FrontSession``, or '' where there is none. ``head`` and ``cursor`` are the positions of
    its last event and of the last that was applied; ``stm_start`` is the position of the last learn or clear. ``idle``:
    nothing of the session waits or is under way.
    """

    row: str
    head: int
    cursor: int
    stm_start: int
    idle: bool

    @property
    def has_empty_stm(self) -> bool:
        """Whether its STM is certainly empty now."""
        return self.idle and self.head == self.cursor == self.stm_start


@dataclass(frozen=True, slots=True)
class FindFrontSession(Effect[FrontState | None]):
    """Read what is known of a session of the lane; None if it has neither an event nor a row."""

    lane: str
    session: str


@dataclass(frozen=True, slots=True)
class KeepFrontSession(Effect[bool]):
    """Keep the row of a session, and its own config (``config``, JSON text; '' for none) for the drain.

    A session without events comes into being by it. The row takes the place of ``before`` ('': there is none). Where
    another row stands there, nothing is written, and the answer is False.
    """

    lane: str
    session: str
    node: str
    row: str
    config: str
    before: str = ""
