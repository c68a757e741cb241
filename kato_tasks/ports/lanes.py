"""Operations on leased lanes: what a drain reads and writes while it applies a session's events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kato_tasks.domain.ids import node_id_of
from kato_tasks.domain.kato_session import Binding, Intent
from kato_tasks.domain.log_entry import Logged
from kato_tasks.ports.effects import Effect

UNSURE = ""
ALL_UNSURE = "-"


@dataclass(frozen=True, slots=True)
class Work:
    """A piece of work of a leased lane: one session and a run of entries after its cursor."""

    lane: str
    session: str
    node: str
    head: int
    cursor: int
    stm_start: int
    binding: Binding | None
    intent: Intent | None
    attempts: int
    unsent_in_a_row: int
    create_lost: bool
    predict_id: str
    now_ms: int
    entries: tuple[Logged, ...]
    keep_alive: bool = False
    first_failed_ms: int = 0
    learned_ms: int = 0
    rebuilds: int = 0
    predict_until_ms: int = 0
    predict_tries: int = 0
    gave_up_in: str = ""
    """the run of the store in which another session took over its KATO session, if it has had none since"""
    unreadable: str = ""
    """why nothing of this can be used: the session is parked with that reason"""

    @property
    def node_id(self) -> str:
        """The node as callers know it; ``node`` is what KATO is told."""
        return node_id_of(self.session, self.node)


@dataclass(frozen=True, slots=True)
class WaitingTask:
    """A Celery task that waits for an event's result: its id and its stored request (JSON)."""

    session: str
    event_id: str
    result: str
    requests: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NextWork:
    """After a step: ``work`` is more of the same lane (still held); None: given back, due at ``due_ms`` (-1: idle)."""

    due_ms: int
    work: Work | None
    completed: tuple[WaitingTask, ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """How large a piece of work may be."""

    events: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Lease:
    """A lane that the caller leases: every write under it is refused once the token is stale (LeaseLost)."""

    lane: str
    token: str
    lease_ms: int
    batch: Batch


@dataclass(frozen=True, slots=True)
class AcquireLanes(Effect[list[Work]]):
    partition: int
    token: str
    lease_ms: int
    lanes: int
    batch: Batch


@dataclass(frozen=True, slots=True)
class Renew(Effect[bool]):
    lease: Lease


@dataclass(frozen=True, slots=True)
class Release(Effect[list[int]]):
    partition: int
    token: str
    lanes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WriteIntent(Effect[bool]):
    """Write down the one changing call that is about to be sent.

    ``lender``: the session that gives up its KATO session to this one, if it is still bound as ``lent`` says (the
    binding's text), idle and without an STM; else nothing is written, and the answer is False.
    """

    lease: Lease
    session: str
    cursor: int
    intent: Intent
    binding: Binding | None = None
    replaces_call: str = ""
    lender: str = ""
    lent: str = ""


@dataclass(frozen=True, slots=True)
class Bind(Effect[None]):
    """Bind a rebuilt KATO session (None: none is bound) and close the intent it settles.

    ``events_at_most``: how many events the session's next call holds at most (0: no limit of its own).
    ``ltm_lost``: KATO lost its store, so the node's patterns are gone or in doubt.
    ``symbols``: what it holds for observations with vectors; ``reordered``: see ``kato_session.RebuiltSession``.
    """

    lease: Lease
    session: str
    cursor: int
    binding: Binding | None
    closes_call: str = ""
    leftovers: int = 0
    events_at_most: int = 0
    ltm_lost: bool = False
    symbols: Sequence[tuple[int, str]] = ()
    reordered: int = 0


@dataclass(frozen=True, slots=True)
class Commit(Effect[NextWork]):
    lease: Lease
    session: str
    call_id: str
    cursor: int
    cursor_to: int
    binding: Binding | None
    keep_binding: bool = False
    stm_start: int | None = None
    results: Sequence[tuple[str, str]] = ()
    symbols: Sequence[tuple[int, str]] = ()
    dead: Sequence[tuple[str, str]] = ()
    predict_id: str = ""
    learned: tuple[str, int] | None = None
    park_reason: str = ""
    go_on: bool = True
    certain: str = ""
    """the run of the store, if the learned pattern's frequency is certain; else `UNSURE` of it, or `ALL_UNSURE`"""
    borrowed: bool = False
    """its intent made it the KATO session's owner: where the store forgot that, it is bound to none"""


@dataclass(frozen=True, slots=True)
class Defer(Effect[NextWork]):
    lease: Lease
    session: str
    wait_ms: int
    attempts: int
    unsent_in_a_row: int
    error: str
    withdraw: str = ""
    events_at_most: int = 0
    go_on: bool = True
    rebuilds: int = 0


@dataclass(frozen=True, slots=True)
class Park(Effect[NextWork]):
    lease: Lease
    session: str
    why: str
    go_on: bool = True


@dataclass(frozen=True, slots=True)
class ReadSession(Effect[tuple[Binding | None, Intent | None]]):
    """A session's binding and open intent as the store has them now."""

    lane: str
    session: str


@dataclass(frozen=True, slots=True)
class ReadSymbols(Effect[dict[int, list[str] | None]]):
    """What KATO made of this session's vectors: position → symbols; None: a dead letter, never in KATO."""

    lane: str
    session: str


@dataclass(frozen=True, slots=True)
class LearnedLately(Effect[tuple[int, int] | None]):
    """Frequency after the lane's last learn of this pattern, and when (ms), if that was within two seconds."""

    lane: str
    pattern: str


@dataclass(frozen=True, slots=True)
class CertainFrequency(Effect[tuple[int, int, str] | None]):
    """A pattern's frequency as this lane's learns left it, when (ms), and in which run of the store; None: unknown.

    Certain as long as KATO kept its store, for the lane alone writes to its node: whatever else was applied in the lane
    by somebody who did not keep account of it makes all of them unknown.
    """

    lane: str
    pattern: str


@dataclass(frozen=True, slots=True)
class UnsettledLearn(Effect[str | None]):
    """The session of this lane whose learn of this pattern has an open outcome, or None."""

    lane: str
    pattern: str


@dataclass(frozen=True, slots=True)
class IsParked(Effect[bool]):
    """Whether a session of this lane waits for a person."""

    lane: str
    session: str


@dataclass(frozen=True, slots=True)
class KnownPattern(Effect[str | None]):
    """A pattern that this lane learned, so that KATO knows it unless it lost its store; None: no learn yet."""

    lane: str


@dataclass(frozen=True, slots=True)
class Count(Effect[None]):
    """Add to a lane's partition's counters."""

    lane: str
    name: str
    by: int = 1


@dataclass(frozen=True, slots=True)
class ClockBack(Effect[int]):
    """Bring back what a clock that went back left more than ``ahead_ms`` ahead; how many lanes that were."""

    partition: int
    ahead_ms: int
    lease_ms: int


@dataclass(frozen=True, slots=True)
class FlagNodeForRebuild(Effect[None]):
    """A lane's patterns are in doubt: its node is marked for a rebuild."""

    lane: str


@dataclass(frozen=True, slots=True)
class KeepAlive(Effect[int]):
    """Have lanes write to KATO sessions that expire within ``soon_ms`` though used within ``used_ms``; how many."""

    partition: int
    soon_ms: int
    used_ms: int
    limit: int
