"""What every step of a lane's drain needs: the lane with its options, and the writes that end a piece of work."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict, Unpack

from kato_tasks.domain.ids import pick_instance
from kato_tasks.domain.json_text import dumps
from kato_tasks.domain.kato_session import Binding
from kato_tasks.domain.refusals import Refusal
from kato_tasks.domain.results import Applied
from kato_tasks.engine.drain.config_check import ConfigCheck
from kato_tasks.engine.drain.known_sessions import KnownSessions
from kato_tasks.engine.drain.retry import RetryPolicy
from kato_tasks.ports.effects import Program, Together, perform
from kato_tasks.ports.lanes import Commit, Defer, Lease, Park, Work

Policy = Literal["park", "dead_letter"]
"""What becomes of an event that cannot be applied: its session is parked, or the event becomes a dead letter."""
PREDICT_AFTER_LEARN_MS = 300
"""A predict waits until this many ms after a learn. KATO shows a new pattern 50 to 200 ms late (measured on 3.10.1)."""
LEARNED_LATELY_MS = 1_000
"""For this many ms after a learn, KATO may still report the pattern's old frequency."""
MOST_UNSENT = 30
"""How far ``Work.unsent`` is counted: the backoff has reached its cap long before."""


@dataclass(frozen=True, slots=True)
class KatoSessionOptions:
    """How sessions are made at KATO.

    ``urls`` are the instances' names. ``ttl_seconds`` is how long KATO keeps a session that is not written to.
    ``config`` is the application's own session config. ``settle_ms`` is how long after a DELETE a learn may still take
    effect. With ``verify_last``, KATO is read back after a call that leaves its session with nothing to do.
    """

    urls: tuple[str, ...]
    ttl_seconds: int = 3600
    config: Mapping[str, Any] = field(default_factory=dict)
    settle_ms: int = 1_000
    verify_last: bool = False

    @staticmethod
    def own_config() -> dict[str, Any]:
        """Return what the protocol asks of every session: no predictions while observing, no learning by itself."""
        return {"process_predictions": False, "max_pattern_length": 0}

    def session_config(self) -> dict[str, Any]:
        """Return the whole config that is asked of every session: the protocol's part and the application's."""
        return {**self.own_config(), **self.config}


class CommitParts(TypedDict, total=False):
    """What a commit may hold beside the new cursor and the binding; the fields of ``ports.Commit``."""

    keep_binding: bool
    stm_start: int | None
    results: Sequence[tuple[str, str]]
    symbols: Sequence[tuple[int, str]]
    dead: Sequence[tuple[str, str]]
    predict_id: str
    sink: str
    prediction: str
    learned: tuple[str, int] | None
    park_reason: str
    borrowed: bool


@dataclass(frozen=True, slots=True)
class LaneContext:
    """One lane while it is leased.

    ``slice_over`` says whether no further piece of work may be begun. ``store_run`` names the run of the store that
    answers now. ``check`` knows whether KATO takes the session config (None: it need not be asked). ``known_sessions``
    is what this process knows of KATO sessions.
    """

    lease: Lease
    options: KatoSessionOptions
    retry: RetryPolicy
    on_rejected: Policy
    on_exhausted: Policy
    on_unknown_learn: Literal["go_on", "park"]
    slice_over: Callable[[], bool]
    store_run: Callable[[], str] = str
    check: ConfigCheck | None = None
    known_sessions: KnownSessions = field(default_factory=KnownSessions)

    def url(self, work: Work) -> str:
        """Return the KATO instance of this lane. One node is never served by two instances at once."""
        return pick_instance(work.lane, self.options.urls)

    @property
    def go_on(self) -> bool:
        """Whether the store hands out another piece of the lane's work when this one ends."""
        return not self.slice_over()

    def expires(self, work: Work) -> int:
        """Return when a KATO session that is written to now expires, in ms by the store's clock."""
        return work.now_ms + self.options.ttl_seconds * 1000

    def commit(
        self,
        work: Work,
        binding: Binding | None,
        *,
        to: int | None = None,
        call: str = "",
        **parts: Unpack[CommitParts],
    ) -> Commit:
        """Return the commit that moves the session's cursor to position ``to`` and binds it to ``binding``.

        Without ``to`` the cursor stays. ``call`` is the id of the call that is committed; without one it is the open
        intent's, or a new one where no intent is open.
        """
        if not call:
            call = work.intent.call if work.intent is not None else new_call_id()
        target = work.cursor if to is None else to
        return Commit(self.lease, work.session, call, work.cursor, target, binding, go_on=self.go_on, **parts)

    def defer(
        self,
        work: Work,
        wait_ms: int,
        error: str,
        *,
        attempts: int | None = None,
        unsent: int | None = None,
        withdraw: str = "",
        events_at_most: int = 0,
        rebuilds: int = 0,
    ) -> Defer:
        """Return the write that makes the session due again in ``wait_ms``, with ``error`` as what its last try met.

        ``attempts`` and ``unsent`` are the new counts of the head event's failed calls and of waits in a row; without
        them the counts stay. ``withdraw`` is the call id of an intent that is closed because its call was never sent.
        ``events_at_most`` limits how many events the next call holds (0: as many as a piece of work). ``rebuilds`` is
        the new count of failures without progress (0: it stays).
        """
        return Defer(
            self.lease,
            work.session,
            wait_ms,
            work.attempts if attempts is None else attempts,
            work.unsent_in_a_row if unsent is None else unsent,
            error,
            withdraw=withdraw,
            events_at_most=events_at_most,
            go_on=self.go_on,
            rebuilds=rebuilds,
        )

    def park(self, work: Work, refusal: Refusal) -> Park:
        """Return the write that lets the session wait for a person, with the reason."""
        return Park(self.lease, work.session, refusal.dump(), go_on=self.go_on)


def refuse_head(work: Work, reason: str, answer: str, *, attempts: int | None = None) -> Refusal:
    """Return the record of why the event at the head of this work is not applied.

    Without ``attempts`` the failed call that led here is counted on top of those before. Work without an event is about
    the position after the cursor.
    """
    entry = work.entries[0] if work.entries else None
    return Refusal(
        reason=reason,
        position=entry.position if entry else work.cursor + 1,
        attempts=work.attempts + 1 if attempts is None else attempts,
        first_ms=work.first_failed_ms or work.now_ms,
        last_ms=work.now_ms,
        last_answer=answer,
        event_id=entry.event_id if entry else "",
    )


def new_call_id() -> str:
    """Return a random id for one changing call."""
    return uuid.uuid4().hex


def result_json(answer: Applied | Mapping[str, Any]) -> str:
    """Return a result as it is kept in the store and sent to its caller."""
    if isinstance(answer, Applied):
        return dumps(answer.model_dump())
    return dumps(answer)


def error_json(kind: str, message: str) -> str:
    """Return an error in the place of a result; ``kind`` is the name of its class."""
    return dumps({"error": {"type": kind, "message": message}})


def send_together(operations: Sequence[Any]) -> Program[list[Any]]:
    """Carry out several store operations in one round trip, and return their answers in the same order."""
    return (yield from perform(Together(tuple(operations))))
