"""What every step of a lane's drain needs to know."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from kato_tasks.domain.ids import pick_instance
from kato_tasks.domain.json_text import dumps
from kato_tasks.domain.results import Applied
from kato_tasks.engine.drain.config_check import ConfigCheck
from kato_tasks.engine.drain.familiar import Familiar
from kato_tasks.engine.drain.retry import RetryPolicy
from kato_tasks.ports.effects import Step, Together, ask
from kato_tasks.ports.lanes import Held, Work

Policy = Literal["park", "dead_letter"]
PREDICT_AFTER_LEARN_MS = 300
"""A new pattern is seen by predictions 50 to 200 ms after its learn (measured on KATO 3.10.1)."""
LEARNED_LATELY_MS = 1_000
"""For so long a frequency read from KATO may still lack the lane's last learn."""


@dataclass(frozen=True, slots=True)
class KatoTerms:
    """How sessions are made at KATO. ``settle_ms``: how long after a DELETE a learn may still land.

    ``verify_last``: read KATO back after a call that leaves its session with nothing to do.
    """

    urls: tuple[str, ...]
    ttl_seconds: int = 3600
    config: Mapping[str, Any] = field(default_factory=dict)
    settle_ms: int = 1_000
    verify_last: bool = False

    @staticmethod
    def own_config() -> dict[str, Any]:
        """What the protocol asks of every session: predictions off, no learning by itself."""
        return {"process_predictions": False, "max_pattern_length": 0}

    def session_config(self) -> dict[str, Any]:
        """What is asked of every session: the protocol's, then the user's own."""
        return {**self.own_config(), **self.config}


@dataclass(frozen=True, slots=True)
class LaneContext:
    """One lane while it is leased. ``slice_over`` says that no further piece of work may be begun.

    ``store_run`` names the run of the store that answers now. ``check`` knows whether KATO takes the session config.
    """

    held: Held
    terms: KatoTerms
    retry: RetryPolicy
    on_rejected: Policy
    on_exhausted: Policy
    on_unknown_learn: Literal["go_on", "park"]
    slice_over: Callable[[], bool]
    store_run: Callable[[], str] = str
    check: ConfigCheck | None = None
    familiar: Familiar = field(default_factory=Familiar)

    def url(self, work: Work) -> str:
        """The KATO instance of this lane, by rendezvous hashing: one node must not be served by two at once."""
        return pick_instance(work.lane, self.terms.urls)

    @property
    def go_on(self) -> bool:
        return not self.slice_over()


def new_call_id() -> str:
    """A random id of one changing call."""
    return uuid.uuid4().hex


def result_json(answer: Applied | Mapping[str, Any]) -> str:
    """A result as it is kept and sent."""
    if isinstance(answer, Applied):
        return dumps(answer.model_dump())
    return dumps(answer)


def error_json(kind: str, message: str) -> str:
    """A refusal in the place of a result."""
    return dumps({"error": {"type": kind, "message": message}})


def dead_letter_json(work: Work, position: int, event: Mapping[str, Any], reason: str, answer: str) -> str:
    """An event that is not going to be applied, with everything that a person needs to decide about it."""
    return dumps(
        {
            "session_id": work.session,
            "node_id": work.node_id,
            "lane": work.lane,
            "position": position,
            "event": dict(event),
            "reason": reason,
            "last_answer": answer[:2000],
            "attempts": work.attempts + 1,
            "first_ms": work.first_failed_ms or work.now_ms,
            "last_ms": work.now_ms,
        }
    )


def send_together(operations: Sequence[Any]) -> Step[list[Any]]:
    """Several store operations in one round trip."""
    return (yield from ask(Together(tuple(operations))))
