"""What a replay is: what is asked for, how far each of its lanes is, and what it reports. Plain values and JSON."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from kato_tasks.domain.json_text import dumps
from kato_tasks.errors import InvalidEvent, UnreadableRow

ReplayMode = Literal["stm", "rebuild", "as_of"]
"""Rebuild the STM of one session; a node's patterns in a new generation; or a node as it was at some moment."""
ReplayState = Literal["running", "verifying", "done", "failed", "cancelled"]
LaneState = Literal["waiting", "copying", "ready", "switched", "failed"]
"""What became of a lane. ``ready``: its new generation holds the history and was verified."""
Cleaned = Literal["", "shadow", "nodes"]
"""What was erased of a lane: nothing, its shadow lane, or the nodes that nothing uses, too."""
ENDED = ("done", "failed", "cancelled")
PARTS = 64
"""The most parts that a replay's chord has, however many lanes there are."""
LIMITED_PARTS = 8
"""The same where REPLAY_EVENTS_PER_SECOND is set. They wait for their share most of the time, so fewer will do."""
DIFFERENCES = 100
"""How many differences a report names; the others are counted."""


def time_ms(field: str, value: datetime | str) -> int:
    """Return a moment in milliseconds since 1970; without an offset it is read as UTC. Raises InvalidEvent."""
    try:
        when = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (ValueError, TypeError):
        raise InvalidEvent(field, f"must be ISO 8601 text such as 2025-11-13T10:30:00Z, not {value!r}") from None
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)


def new_replay_id() -> str:
    """Return the random id of a replay: 12 hex digits."""
    return secrets.token_hex(6)


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """What is to be replayed.

    ``stm`` needs ``session_id``. ``rebuild`` takes ``node_id``, ``flagged`` (all nodes that are marked for a rebuild),
    or neither for all nodes. ``as_of`` needs ``session_id``, and one of ``position`` (of that session) and ``until_ms``
    (a time in milliseconds since 1970), or neither for the whole history.
    """

    mode: ReplayMode
    session_id: str | None = None
    node_id: str | None = None
    flagged: bool = False
    position: int | None = None
    until_ms: int | None = None

    def check(self) -> ReplayRequest:
        """Return the request if its parts fit together. Raises InvalidEvent, which names the part that does not."""
        if self.mode not in get_args(ReplayMode):
            raise InvalidEvent("mode", f"must be stm, rebuild or as_of, not {self.mode!r}")
        if self.mode != "rebuild" and not self.session_id:
            raise InvalidEvent("session_id", f"is missing; a replay of mode {self.mode} is about one session")
        if self.mode == "rebuild" and self.session_id:
            raise InvalidEvent("session_id", "names one session, but patterns belong to a node; give its node_id")
        if self.mode != "rebuild" and (self.node_id or self.flagged):
            raise InvalidEvent("node_id", f"goes with mode rebuild; mode {self.mode} takes a session_id")
        if self.node_id and self.flagged:
            raise InvalidEvent("node_id", "names one node, and flagged means every marked node; give one of the two")
        if self.mode != "as_of" and (self.position is not None or self.until_ms is not None):
            raise InvalidEvent("position", f"and time go with mode as_of, not with {self.mode}")
        if self.position is not None and self.until_ms is not None:
            raise InvalidEvent("position", "and time are two moments; give one of them")
        if self.position is not None and self.position < 1:
            raise InvalidEvent("position", f"must be at least 1, not {self.position}")
        return self


@dataclass(frozen=True, slots=True)
class LaneReplay:
    """How far the replay of one lane is.

    ``node`` is the node as KATO is told it, ``target`` the physical node into which its history goes, and
    ``source_generation`` the generation that served when the replay began. ``copied`` is the place in the lane's order
    up to which its history was copied, ``events`` how many events that were, and ``applied`` how many of them are
    applied. ``last_order`` ends the copy (0: it follows the live lane). ``problem`` says why it failed, and ``known``
    is a pattern that KATO certainly holds in the target. ``cleaned`` says what of it was erased since.
    ``complete_ms`` is when all that was copied was applied (0: it is not).
    ``attempt`` counts the targets that were filled; ``abandoned`` are those before the present one, in which KATO held
    something else than the history makes. ``differs_ms`` is since when the present one does (0: it does not).
    """

    lane: str
    node: str
    target: str
    source_generation: str = ""
    state: LaneState = "waiting"
    copied: int = 0
    events: int = 0
    applied: int = 0
    total: int = 0
    last_order: int = 0
    problem: str = ""
    known: str = ""
    cleaned: Cleaned = ""
    attempt: int = 1
    abandoned: tuple[str, ...] = ()
    differs_ms: int = 0
    complete_ms: int = 0

    def dump(self) -> str:
        """Return the row as it is kept."""
        return dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> LaneReplay:
        """Read a row. Raises UnreadableRow."""
        row = _fields(cls, text)
        row["abandoned"] = tuple(row.get("abandoned", ()))
        return cls(**row)

    @property
    def targets(self) -> list[str]:
        """The physical nodes that were filled, the last one last."""
        return [*self.abandoned, self.target] if self.target else []

    def afresh(self, target: str) -> LaneReplay:
        """Return the lane as one that begins again, in another physical node."""
        return replace(
            self,
            target=target,
            abandoned=(*self.abandoned, self.target),
            attempt=self.attempt + 1,
            state="copying",
            copied=0,
            events=0,
            applied=0,
            problem="",
            cleaned="",
            differs_ms=0,
            complete_ms=0,
        )

    def failed(self, problem: str) -> LaneReplay:
        """Return the lane as one that ended with this problem."""
        return replace(self, state="failed", problem=problem)


@dataclass(frozen=True, slots=True)
class Replay:
    """A replay as a whole.

    ``sessions`` are those to query after mode ``as_of``, by the session that was asked for. ``waits`` says which server
    one of its tasks could not reach when it worked last ('': it reached all).
    """

    id: str
    request: ReplayRequest
    state: ReplayState = "running"
    parts: int = 1
    lanes: int = 0
    events_total: int = 0
    created_ms: int = 0
    ended_ms: int = 0
    reason: str = ""
    waits: str = ""
    task_id: str = ""
    sessions: Mapping[str, str] = field(default_factory=dict)
    differences: tuple[str, ...] = ()
    more_differences: int = 0

    def dump(self) -> str:
        """Return the record as it is kept."""
        return dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> Replay:
        """Read a record. Raises UnreadableRow."""
        row = _fields(cls, text)
        row["request"] = ReplayRequest(**row["request"])
        row["differences"] = tuple(row.get("differences", ()))
        return cls(**row)


@dataclass(frozen=True, slots=True)
class ReplayStatus:
    """What is told of a replay: the record, and how far it is.

    ``events_done`` of ``events_total`` events are applied in their new place, at ``rate`` events per second since it
    began (None: not known yet); ``remaining_seconds`` follows from the two. ``lanes`` counts the lanes by their state.
    ``waits`` says which server a replay that goes on is waiting for ('': none).
    """

    id: str
    mode: ReplayMode
    state: ReplayState
    events_done: int
    events_total: int
    differences: tuple[str, ...]
    more_differences: int = 0
    reason: str = ""
    waits: str = ""
    lanes: Mapping[str, int] = field(default_factory=dict)
    sessions: Mapping[str, str] = field(default_factory=dict)
    task_id: str = ""
    created_ms: int = 0
    ended_ms: int = 0
    rate: float | None = None
    remaining_seconds: float | None = None


def _fields(kind: type, text: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
        known = set(kind.__dataclass_fields__)  # type: ignore[attr-defined]
        return {name: value for name, value in row.items() if name in known}
    except (ValueError, AttributeError) as exc:
        raise UnreadableRow(f"the record of a replay is broken: {exc}") from None
