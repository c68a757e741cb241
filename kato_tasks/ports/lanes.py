"""Operations on leased lanes: what a drain reads and writes while it applies a session's events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kato_tasks.domain.ids import node_id_of
from kato_tasks.domain.kato_session import Binding, Intent, config_digest
from kato_tasks.domain.log_entry import Logged
from kato_tasks.ports.effects import Effect

UNSURE = ""
ALL_UNSURE = "-"


@dataclass(frozen=True, slots=True)
class Work:
    """A piece of work of a leased lane: one session, and a run of its entries after its cursor.

    ``head`` and ``cursor`` are positions: the last event that was appended, and the last that was applied. The
    session's STM begins after ``stm_start``, the position of its last learn or clear. ``binding`` is its KATO session
    and ``intent`` its open intent; None where there is none. ``attempts`` counts the failed calls of the next event
    alone, and ``unsent_in_a_row`` the calls that were never sent. ``create_lost``: the answer to a create was lost,
    so a KATO session may be left over. ``predict_id`` is the event id of the predict that is next, or ''; it is
    wanted until ``predict_until_ms`` (0: always), and ``predict_tries`` workers have taken it up before. All times
    are milliseconds of the store's clock: ``now_ms``, the first failure of the next event (``first_failed_ms``, 0:
    none) and the last learn that a predict must wait for (``learned_ms``). ``rebuilds`` counts failures in a row to
    rebuild the KATO session.
    """

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
    first_failed_ms: int = 0
    learned_ms: int = 0
    rebuilds: int = 0
    predict_until_ms: int = 0
    predict_tries: int = 0
    gave_up_in: str = ""
    """the run of the store in which another session took over its KATO session, if it has had none since"""
    unreadable: str = ""
    """why nothing of this can be used: the session is parked with that reason"""
    generation: str = ""
    """the node that KATO is told for all sessions of the lane, if a replay switched it to one (ports/generations.py)"""
    read: str = ""
    """what the predict that is next reads at KATO, where that is something else than predictions"""
    sink: str = ""
    """the sink that the predict's answer goes to; '' where a caller waits for it"""
    config: Mapping[str, Any] = field(default_factory=dict)
    """what KATO is told of the session's own config, beside the config of all sessions"""

    @property
    def node_id(self) -> str:
        """The node as callers know it."""
        return node_id_of(self.session, self.node)

    @property
    def kato_node(self) -> str:
        """The node that KATO is told."""
        return self.generation or self.node

    @property
    def bound_elsewhere(self) -> bool:
        """Whether its KATO session must not be used any more: its node is another generation's, or its config changed.

        A KATO session's config is set when it is made.
        """
        bound = self.binding
        return bound is not None and (bound.node != self.kato_node or bound.config != self.config_digest)

    @property
    def config_digest(self) -> str:
        """What tells the session's own config from others; '' for none."""
        return config_digest(self.config) if self.config else ""


@dataclass(frozen=True, slots=True)
class WaitingTask:
    """The Celery tasks that wait for one event, and its result.

    ``result`` is JSON, and '' while there is none; ``requests`` has each task's stored request (JSON) by its task id.
    """

    session: str
    event_id: str
    result: str
    requests: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NextWork:
    """What a commit, a defer or a park answers.

    ``work`` is the lane's next piece of work, under the same lease. If it is None, the lane was given back and is due
    at ``due_ms`` (milliseconds of the store's clock; -1: it has nothing to do). ``completed`` are the waiting tasks
    whose results this commit made.
    """

    due_ms: int
    work: Work | None
    completed: tuple[WaitingTask, ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """The limits of a piece of work: how many events, and how many bytes of them."""

    events: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Lease:
    """A lane that the caller holds. Every write under it raises LeaseLost once the token is stale.

    ``lease_ms`` is how long a write extends the lease, and ``batch`` limits the next piece of work.
    """

    lane: str
    token: str
    lease_ms: int
    batch: Batch


@dataclass(frozen=True, slots=True)
class AcquireLanes(Effect[list[Work]]):
    """Take up to ``lanes`` lanes of a partition that are due and free, each for ``lease_ms``.

    Answers the first piece of work of each.
    """

    partition: int
    token: str
    lease_ms: int
    lanes: int
    batch: Batch


@dataclass(frozen=True, slots=True)
class Renew(Effect[bool]):
    """Extend a lease by its ``lease_ms``. Answers False if another worker holds the lane by now."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class WriteIntent(Effect[bool]):
    """Write down the one changing call that is about to be sent.

    It is refused (LeaseLost) if the cursor is not at ``cursor``, or if another intent is open than that of the call
    ``replaces_call``. ``binding`` is written with it, where it changes. ``lender`` is the session that gives up its
    KATO session to this one. It does so only if it is still bound as ``lent`` says (the binding's text), idle, and
    without an STM; otherwise nothing is written, and the answer is False.
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
    """Bind a rebuilt KATO session (None: none is bound), and close the open intent of the call ``closes_call``.

    ``events_at_most`` limits the session's next call (0: no limit of its own). ``ltm_lost`` says that KATO lost its
    store, so that the node's patterns are gone or in doubt. ``symbols`` are those of observations with vectors, by
    position, and ``reordered`` counts events whose symbols stand in another order (``kato_session.RebuiltSession``).
    """

    lease: Lease
    session: str
    cursor: int
    binding: Binding | None
    closes_call: str = ""
    events_at_most: int = 0
    ltm_lost: bool = False
    symbols: Sequence[tuple[int, str]] = ()
    reordered: int = 0


@dataclass(frozen=True, slots=True)
class Commit(Effect[NextWork]):
    """Write down the outcome of a call: cursor, binding, results and the lane's numbering, in one step.

    - ``call_id`` is the call that is committed; the same commit sent again changes nothing and answers the same.
    - The cursor moves from ``cursor`` to ``cursor_to``. ``keep_binding`` leaves the binding as it is; otherwise
      ``binding`` takes its place (None: none is bound). ``stm_start`` is given where a learn or a clear moved it.
    - ``results`` has the results of events (event id, JSON), ``dead`` the dead letters (id, JSON), ``symbols``
      those of observations with vectors (position, JSON).
    - ``predict_id`` is the predict that this answers, or ''. ``learned`` is a pattern and its frequency after the
      learn.
    - ``park_reason`` parks the session (JSON); '' does not. ``go_on`` False gives the lane back.
    """

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
    sink: str = ""
    """the sink that the answer to the predict goes to, with ``prediction``, instead of a caller"""
    prediction: str = ""
    """that answer (JSON)"""
    borrowed: bool = False
    """its intent made it the KATO session's owner: where the store forgot that, it is bound to none"""


@dataclass(frozen=True, slots=True)
class Defer(Effect[NextWork]):
    """Let a session wait ``wait_ms`` and go on with the lane's others, or give the lane back (``go_on`` False).

    ``attempts`` and ``unsent_in_a_row`` replace the session's counts, and ``error`` is what its last try met.
    ``withdraw`` is the call id of an intent that was certainly never sent. ``events_at_most`` limits the next call
    (0: as before), and ``rebuilds`` replaces the count of failed rebuilds (0: as before).
    """

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
    """Park a session until a person resumes it; ``why`` is the record of its refusal (JSON)."""

    lease: Lease
    session: str
    why: str
    go_on: bool = True


@dataclass(frozen=True, slots=True)
class ReadSession(Effect[tuple[Binding | None, Intent | None]]):
    """Read a session's binding and its open intent as the store has them now."""

    lane: str
    session: str


@dataclass(frozen=True, slots=True)
class ReadSymbols(Effect[dict[int, list[str] | None]]):
    """Read what KATO made of a session's vectors, by position.

    None stands for an event that became a dead letter, and so never was in KATO.
    """

    lane: str
    session: str


@dataclass(frozen=True, slots=True)
class LearnedLately(Effect[tuple[int, int] | None]):
    """Read a pattern's frequency after the lane's last learn of it, and when that was (ms).

    None if the lane did not learn it within the last two seconds.
    """

    lane: str
    pattern: str


@dataclass(frozen=True, slots=True)
class CertainFrequency(Effect[tuple[int, int, str] | None]):
    """Read a pattern's frequency as the lane's learns left it, when that was (ms), and in which run of the store.

    It is certain as long as KATO kept its store, because the lane alone writes to its node. Whatever an older version
    applied in the lane, without keeping account of it, makes all of them unknown (None).
    """

    lane: str
    pattern: str


@dataclass(frozen=True, slots=True)
class UnsettledLearn(Effect[str | None]):
    """Find the session of the lane whose learn of this pattern has an open outcome; None if there is none."""

    lane: str
    pattern: str


@dataclass(frozen=True, slots=True)
class IsParked(Effect[bool]):
    """Ask whether a session of the lane is parked."""

    lane: str
    session: str


@dataclass(frozen=True, slots=True)
class KnownPattern(Effect[str | None]):
    """Read a pattern that the lane has learned, and that KATO knows unless it lost its store; None if there is none."""

    lane: str


@dataclass(frozen=True, slots=True)
class Count(Effect[None]):
    """Add ``by`` to a counter of the lane's partition."""

    lane: str
    name: str
    by: int = 1


@dataclass(frozen=True, slots=True)
class ClockBack(Effect[int]):
    """Bring back lanes that are due more than ``ahead_ms`` ahead, because a clock went back. Answers how many."""

    partition: int
    ahead_ms: int
    lease_ms: int


@dataclass(frozen=True, slots=True)
class FlagNodeForRebuild(Effect[None]):
    """Flag the lane's node for a rebuild, because its patterns are in doubt."""

    lane: str


@dataclass(frozen=True, slots=True)
class KeepAlive(Effect[int]):
    """Make lanes due whose KATO sessions expire within ``soon_ms`` and were used within the last ``used_ms``.

    A drain then extends these KATO sessions. Answers how many there were, ``limit`` at most.
    """

    partition: int
    soon_ms: int
    used_ms: int
    limit: int
