"""What the engine asks of the world, as plain values.

The engine is written as generators that yield these values and are sent the answers (or have the errors
thrown in), so it has no input or output of its own: a driver may run one lane alone or hundreds side by
side, put all pending store operations into one round trip and overlap the calls to KATO.

Every store operation may be carried out twice (a reply can be late): each names what it starts from, and
tokens and call ids are random and made by the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, cast

from kato_tasks.domain.binding import Binding, Intent
from kato_tasks.domain.entries import Entry, Logged
from kato_tasks.domain.ids import node_id_of

T = TypeVar("T")
UNSURE = ""
ALL_UNSURE = "-"
PARKED_AT_MOST = 100
"""Requests that may wait for one event."""


@dataclass(frozen=True, slots=True)
class Effect(Generic[T]):
    """Something to be done outside; ``T`` is its answer."""


Step = Generator[Effect[Any], Any, T]


def ask(effect: Effect[T]) -> Step[T]:
    """Yield an effect, return its answer: ``yield from`` with a type."""
    return cast(T, (yield effect))


# ---------------------------------------------------------------- answers


@dataclass(frozen=True, slots=True)
class Work:
    """A piece of work of a leased lane: one session and a run of entries after its cursor."""

    lane: str
    session: str
    node: str
    head: int
    cursor: int
    mark: int
    binding: Binding | None
    intent: Intent | None
    attempts: int
    unsent: int
    create_lost: bool
    asked: str
    now_ms: int
    entries: tuple[Logged, ...]
    keep_alive: bool = False
    first_failed_ms: int = 0
    learned_ms: int = 0
    rebuilds: int = 0
    asked_until_ms: int = 0
    asked_before: int = 0
    gave_up_in: str = ""
    """the run of the store in which another session took over its KATO session, if it has had none since"""
    unreadable: str = ""
    """why nothing of this can be used: the session is parked with that reason"""

    @property
    def node_id(self) -> str:
        """The node as callers know it; ``node`` is what KATO is told."""
        return node_id_of(self.session, self.node)


@dataclass(frozen=True, slots=True)
class Parked:
    """A Celery task that waits for an event's result: its id and its stored request (JSON)."""

    session: str
    event_id: str
    result: str
    requests: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Proceeded:
    """After a step: ``work`` is more of the same lane (still held); None: given back, due at ``due_ms`` (-1: idle)."""

    due_ms: int
    work: Work | None
    completed: tuple[Parked, ...] = ()


@dataclass(frozen=True, slots=True)
class AppendStatus:
    status: str
    position: int


@dataclass(frozen=True, slots=True)
class AppendedBatch:
    wake: bool
    statuses: tuple[AppendStatus, ...]


@dataclass(frozen=True, slots=True)
class Waits:
    """Why a task's event is not in KATO yet: how its session stands.

    ``cursor``: how far it was applied. ``error``: what its last try met, or ''. ``parked``: it waits for a person.
    ``now_ms`` by the store's clock, and ``due_ms``: when the session is due (0: it is at work, or has nothing to do).
    """

    cursor: int
    error: str
    parked: bool
    now_ms: int
    due_ms: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a task found on arrival: exactly one of these; with none of them it waits.

    ``applied``: the event is in KATO and its result has expired; ``node`` is its session's. ``dead``: it is a dead
    letter (JSON, empty when that was discarded). ``unknown``: the store has no such event, or no longer.
    ``full``: so many tasks wait for this event that no other may. ``waits``: it waits, and was only looked for.
    """

    result: str | None = None
    applied: bool = False
    work: Work | None = None
    node: str = ""
    dead: str | None = None
    unknown: bool = False
    full: bool = False
    waits: Waits | None = None


# ------------------------------------------------------- store operations


@dataclass(frozen=True, slots=True)
class Batch:
    """How large a piece of work may be."""

    events: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Held:
    """A lane that the caller leases: every write under it is refused once the token is stale (LeaseLost)."""

    lane: str
    token: str
    lease_ms: int
    batch: Batch


@dataclass(frozen=True, slots=True)
class Append(Effect[AppendedBatch]):
    """Append entries to one partition's lanes. ``source`` and each entry's offset give a high-water mark.

    Operations of one ``execute`` may fail one by one, so what must come after an append waits for its answer.
    """

    partition: int
    entries: Sequence[tuple[str, str, Entry, int]]
    """lane, node, entry, offset in the source (0 without one)"""
    source: str = ""
    run: str = ""
    """the run of the store that the nodes were read from: another one answers StoreWentBack (empty: any will do)"""


@dataclass(frozen=True, slots=True)
class BindNodes(Effect[list[str]]):
    """The node of each session for life: (session, wanted or '', default). ``run``: see ``Append``."""

    partition: int
    sessions: Sequence[tuple[str, str, str]]
    run: str = ""


@dataclass(frozen=True, slots=True)
class Lease(Effect[list[Work]]):
    partition: int
    token: str
    lease_ms: int
    lanes: int
    batch: Batch


@dataclass(frozen=True, slots=True)
class Claim(Effect[Claimed]):
    """Find a task's result, take its lane (unless ``token`` is empty), or park its request: one atomic step.

    ``kind`` tells what has no position (0): ``p`` a predict, ms an event that is appended then.
    """

    lane: str
    session: str
    event_id: str
    position: int
    task_id: str
    request: str
    token: str
    lease_ms: int
    batch: Batch
    kind: str = ""
    parked_at_most: int = PARKED_AT_MOST


@dataclass(frozen=True, slots=True)
class Renew(Effect[bool]):
    held: Held


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

    held: Held
    session: str
    cursor: int
    intent: Intent
    binding: Binding | None = None
    follows: str = ""
    lender: str = ""
    lent: str = ""


@dataclass(frozen=True, slots=True)
class Bind(Effect[None]):
    """Bind a rebuilt KATO session (None: none is bound) and close the intent it settles.

    ``halve``: how many events the session's next call holds at most (0: no limit of its own).
    ``ltm_lost``: KATO lost its store, so the node's patterns are gone or in doubt.
    ``symbols``: what it holds for observations with vectors; ``reordered``: see ``engine.binding.Rebuilt``.
    """

    held: Held
    session: str
    cursor: int
    binding: Binding | None
    settles: str = ""
    leftovers: int = 0
    halve: int = 0
    ltm_lost: bool = False
    symbols: Sequence[tuple[int, str]] = ()
    reordered: int = 0


@dataclass(frozen=True, slots=True)
class Commit(Effect[Proceeded]):
    held: Held
    session: str
    call: str
    cursor: int
    to: int
    binding: Binding | None
    keep_binding: bool = False
    mark: int | None = None
    results: Sequence[tuple[str, str]] = ()
    symbols: Sequence[tuple[int, str]] = ()
    dead: Sequence[tuple[str, str]] = ()
    answers: str = ""
    learned: tuple[str, int] | None = None
    park: str = ""
    go_on: bool = True
    certain: str = ""
    """the run of the store, if the learned pattern's frequency is certain; else `UNSURE` of it, or `ALL_UNSURE`"""
    borrowed: bool = False
    """its intent made it the KATO session's owner: where the store forgot that, it is bound to none"""


@dataclass(frozen=True, slots=True)
class Defer(Effect[Proceeded]):
    held: Held
    session: str
    wait_ms: int
    attempts: int
    unsent: int
    error: str
    withdraw: str = ""
    halve: int = 0
    go_on: bool = True
    rebuilds: int = 0


@dataclass(frozen=True, slots=True)
class Park(Effect[Proceeded]):
    held: Held
    session: str
    why: str
    go_on: bool = True


@dataclass(frozen=True, slots=True)
class ReadLog(Effect[list[Logged]]):
    """Entries at positions ``first`` to ``last``, both included."""

    lane: str
    session: str
    first: int
    last: int


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
class Mark(Effect[bool]):
    """Set a mark that expires; False: it stands already."""

    key: str
    ms: int


@dataclass(frozen=True, slots=True)
class MarkNode(Effect[None]):
    """A lane's patterns are in doubt: its node is marked for a rebuild."""

    lane: str


@dataclass(frozen=True, slots=True)
class KeepAlive(Effect[int]):
    """Have lanes write to KATO sessions that expire within ``soon_ms`` though used within ``used_ms``; how many."""

    partition: int
    soon_ms: int
    used_ms: int
    limit: int


@dataclass(frozen=True, slots=True)
class KeepDeadLetter(Effect[None]):
    """Keep something that is not going to be applied, in the lane's partition; the same id is kept once."""

    lane: str
    id: str
    letter: str


@dataclass(frozen=True, slots=True)
class KeepLater(Effect[None]):
    """Keep an event that is to be appended at ``due_ms``; the same payload is kept once, equal times in call order."""

    lane: str
    due_ms: int
    payload: str


@dataclass(frozen=True, slots=True)
class DueLater(Effect[list[str]]):
    """Payloads kept for later that are due at ``now_ms``, as they are to be dropped: white space may come first."""

    partition: int
    now_ms: int
    limit: int


@dataclass(frozen=True, slots=True)
class DropLater(Effect[None]):
    partition: int
    payload: str


@dataclass(frozen=True, slots=True)
class KeepMessage(Effect[None]):
    """Keep a task message that could not be published."""

    lane: str
    message: str


@dataclass(frozen=True, slots=True)
class KeptMessages(Effect[list[str]]):
    """The oldest messages that could not be published."""

    partition: int
    limit: int


@dataclass(frozen=True, slots=True)
class DropMessage(Effect[None]):
    partition: int
    message: str


@dataclass(frozen=True, slots=True)
class Unpark(Effect[None]):
    lane: str
    session: str
    event_id: str
    task_id: str


@dataclass(frozen=True, slots=True)
class Delivered(Effect[None]):
    """A task was told its event's result: the store need not keep it for long any more."""

    lane: str
    session: str
    event_id: str


@dataclass(frozen=True, slots=True)
class Owed(Effect[list[Parked]]):
    """Parked requests that nobody completed.

    Those whose result has been there for ``age_ms``; and, with an empty result, those whose event is not where they
    look for it (each is looked at every ``look_ms``).
    """

    partition: int
    age_ms: int
    limit: int
    look_ms: int = 10_000


@dataclass(frozen=True, slots=True)
class LookSoon(Effect[None]):
    """Have the requests that are parked for an event looked at in the next round."""

    lane: str
    session: str
    event_id: str


@dataclass(frozen=True, slots=True)
class NodeOf(Effect[str | None]):
    """The node that a session belongs to; None: the session does not exist (asking makes nothing)."""

    session: str


@dataclass(frozen=True, slots=True)
class Resume(Effect[bool]):
    """A parked session goes on at its head event; False: it was not parked."""

    lane: str
    session: str


@dataclass(frozen=True, slots=True)
class SetAside(Effect[bool]):
    """A person parks a session; False: it was parked already."""

    lane: str
    session: str
    why: str


@dataclass(frozen=True, slots=True)
class DropDeadLetter(Effect[None]):
    lane: str
    id: str


@dataclass(frozen=True, slots=True)
class Together(Effect[list[Any]]):
    """Several store operations in one round trip; fails as a whole when one fails."""

    operations: tuple[Effect[Any], ...]


GROWING = (Append, BindNodes, KeepLater)
"""What makes the store grow for good, and is refused (StoreFull) while it has no room."""


class Store(Protocol):
    """Carries out store operations, all of one call in one round trip where it can."""

    def run(self) -> str:
        """Which run of the store answers; another value means that it may have gone back in time."""
        ...

    def execute(self, operations: Sequence[Effect[Any]]) -> list[Any]:
        """The answer of each, or in its place the KatoTasksError of one that failed by itself.

        Of these StoreUnavailable means that it may be tried again, StoreFailed that this is of no use; one of
        ``GROWING`` is StoreFull while there is no room. Raises StoreUnavailable when the store did not answer; what was
        carried out is then not known, and repeating the same operations is safe.
        """
        ...


# -------------------------------------------------------------- KATO calls


@dataclass(frozen=True, slots=True)
class KatoReply:
    """An answer, with the few of its headers that tell KATO's own from a gateway's (lower case where it matters)."""

    status: int
    body: bytes
    retry_after: float | None = None
    content_type: str = field(default="", compare=False)
    server: str = field(default="", compare=False)
    connection: str = field(default="", compare=False)
    location: str = field(default="", compare=False)


REPLY_BYTES = 256 * 1024 * 1024
"""The largest answer that is read: the STM of a thousand events at their limit."""


@dataclass(frozen=True, slots=True)
class KatoRequest(Effect[KatoReply]):
    """One HTTP request to KATO. Fails with KatoUnavailable (never sent) or OutcomeUnknown."""

    url: str
    method: str
    path: str
    route: str
    body: bytes | None = None
    still: Callable[[], bool] | None = field(default=None, compare=False)
    """asked right before the first byte is written: False ends it with LeaseLost, and nothing is sent"""
    timeout_seconds: float | None = None
    """how long the answer may take; None: as long as the transport allows for every call"""
    most_bytes: int = REPLY_BYTES
    """how large the answer may be; a larger one is an OutcomeUnknown"""

    def guarded(self, still: Callable[[], bool]) -> KatoRequest:
        """The same request, sent only while ``still`` says so (``replace`` costs four times as much)."""
        return KatoRequest(
            self.url,
            self.method,
            self.path,
            self.route,
            self.body,
            still,
            self.timeout_seconds,
            self.most_bytes,
        )


class KatoCalls(Protocol):
    """Calls under way, each with the caller's tag. It belongs to one thread, but for ``wake``."""

    def __len__(self) -> int: ...

    def begin(self, request: KatoRequest, tag: Any) -> None:
        """Send the request as soon as a connection to its instance is free."""
        ...

    def wait(self, timeout: float | None = None) -> Sequence[tuple[Any, KatoReply | None, Exception | None]]:
        """The calls that ended: at least one, if any is under way and neither ``timeout`` passed nor ``wake`` came.

        ``timeout`` is in seconds. An error is KatoUnavailable (never sent), OutcomeUnknown, LeaseLost (``still`` said
        no) or ConfigurationError (the instance's address or certificate cannot work; nothing was sent).
        """
        ...

    def adopt(self, other: Any) -> None:
        """Take over every call of another ``KatoCalls`` of the same transport; the other is closed by it."""
        ...

    def withdraw(self, url: str) -> Sequence[Any]:
        """Take back the calls to this instance that wait for a connection; returns their tags."""
        ...

    def wake(self) -> None:
        """Let a ``wait`` in another thread return; only for calls that were opened as ``wakeable``."""
        ...

    def close(self) -> None:
        """Abandon what is under way, and give every connection back."""
        ...


class KatoTransport(Protocol):
    """Sends requests to KATO."""

    def calls(self, *, wakeable: bool = False) -> KatoCalls:
        """A place for calls that overlap."""
        ...

    def send(self, request: KatoRequest) -> KatoReply:
        """Blocks until the answer is there; raises KatoUnavailable or OutcomeUnknown."""
        ...
