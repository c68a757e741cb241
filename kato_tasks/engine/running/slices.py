"""One slice of draining: its options, and what became of its lanes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from kato_tasks.engine.drain.context import KatoSessionOptions, Policy
from kato_tasks.engine.drain.drain import DrainedLane
from kato_tasks.engine.drain.retry import RetryPolicy
from kato_tasks.engine.running.driver import Finished
from kato_tasks.errors import LeaseLost, StoreUnavailable
from kato_tasks.ports.lanes import Batch, WaitingTask
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)
SOON_MS = 500
"""A lane that is due within this many ms is not left to the sweep, which looks once a second."""
CLOCKS_MS = 100
"""How far the store's clock may be ahead of this process's."""


@dataclass(frozen=True, slots=True)
class DrainOptions:
    """How lanes are drained.

    ``lease_ms`` is how long a lease lasts unless it is renewed, ``batch`` how large a piece of work may be,
    ``slice_seconds`` after which time no further piece is begun, and ``lanes`` how many lanes a slice drains at a time.
    """

    kato: KatoSessionOptions
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    on_rejected: Policy = "dead_letter"
    on_exhausted: Policy = "park"
    on_unknown_learn: Literal["go_on", "park"] = "go_on"
    lease_ms: int = 5_000
    batch: Batch = field(default_factory=lambda: Batch(400, 1_000_000))
    slice_seconds: float = 1.0
    lanes: int = 64


@dataclass(frozen=True, slots=True)
class SliceResult:
    """What one slice did.

    ``lanes`` is how many lanes ended. ``completed`` are waiting tasks whose results are there, and ``lane_of`` gives
    the lane of each one's session. ``due_lanes`` are due again already; ``due_soon`` gives those that are due before
    the sweep would look, each with when, in ms by the store's clock. ``over`` says that the slice ended before every
    partition was found empty, so there may be more to do.
    """

    lanes: int
    completed: tuple[WaitingTask, ...]
    lane_of: dict[str, str]
    due_lanes: frozenset[str]
    due_soon: dict[str, int] = field(default_factory=dict)
    over: bool = False


Later = Callable[[SliceResult], None]
"""Called in another thread with what became of lanes that were left to the background."""


def summarise(finished: Sequence[Finished[DrainedLane]], *, over: bool = False) -> SliceResult:
    """Return what became of these lanes, and log each that ended otherwise than it should."""
    completed: list[WaitingTask] = []
    lanes: dict[str, str] = {}
    due: set[str] = set()
    soon: dict[str, int] = {}
    now = time.time() * 1000 + CLOCKS_MS
    for end in finished:
        if end.value is not None:
            completed += end.value.completed
            lanes.update((parked.session, end.value.lane) for parked in end.value.completed)
            if 0 <= end.value.due_ms <= now:
                due.add(end.value.lane)
            elif now < end.value.due_ms <= now + SOON_MS:
                soon[end.value.lane] = end.value.due_ms
        elif isinstance(end.error, LeaseLost):
            log_event(log, logging.WARNING, "lane.lost", lane=end.key, reason=end.error)
        elif isinstance(end.error, StoreUnavailable):
            # Nothing more can be written: the lease runs out and the next holder reconciles.
            log_event(log, logging.WARNING, "store.unavailable", lane=end.key, error=end.error)
        elif end.error is not None:
            log_event(log, logging.ERROR, "lane.failed", lane=end.key, error=end.error, exc_info=end.error)
    return SliceResult(len(finished), tuple(completed), lanes, frozenset(due), soon, over)
