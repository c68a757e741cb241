"""Drain one leased lane, piece of work by piece of work.

A piece of work ends in exactly one of three ways: a commit, a due time (defer), or a parked session. Nothing that
changes KATO is sent for a session whose intent is open before that is reconciled (``intent_table``).
"""

from __future__ import annotations

from dataclasses import dataclass

from kato_tasks.engine.drain.config_check import ensure_config_taken
from kato_tasks.engine.drain.context import LaneContext
from kato_tasks.engine.drain.endings import back_off, park_unreadable, wait_unsent
from kato_tasks.engine.drain.intent_table import Case, handle
from kato_tasks.engine.drain.session_view import move_to_its_instance, read_again
from kato_tasks.errors import (
    ConfigurationError,
    KatoError,
    KatoSessionGone,
    KatoUnavailable,
    OutcomeUnknown,
    StoreFailed,
)
from kato_tasks.ports.effects import Program, perform
from kato_tasks.ports.lanes import NextWork, WaitingTask, Work

CHECK_MS = 100
"""After how many ms a lane is due again that came while another one asked KATO about the session config."""
CHECKED = "the session config is being checked at KATO"


@dataclass(frozen=True, slots=True)
class DrainedLane:
    """A lane that was given back.

    ``due_ms`` is when it is due again, in ms by the store's clock (-1: it has nothing to do). ``completed`` are the
    tasks whose results are there.
    """

    lane: str
    due_ms: int
    completed: tuple[WaitingTask, ...]


def drain(lane: LaneContext, work: Work) -> Program[DrainedLane]:
    """Apply what the lane holds until nothing is due or the slice is over.

    ``work`` is the first piece, which came with the lease. Raises LeaseLost when the lane has another holder, and
    StoreUnavailable; the next holder reconciles then.
    """
    completed: list[WaitingTask] = []
    while True:
        proceeded = yield from process_piece(lane, work)
        completed += proceeded.completed
        if proceeded.work is None:
            return DrainedLane(work.lane, proceeded.due_ms, tuple(completed))
        work = proceeded.work


def process_piece(lane: LaneContext, work: Work) -> Program[NextWork]:
    """Carry out one piece of work. Every failure of KATO ends in a due time, a dead letter or a parked session."""
    if work.unreadable:
        return (yield from park_unreadable(lane, work, work.unreadable))
    work = move_to_its_instance(lane, work)
    try:
        if not (yield from is_config_taken(lane, work)):
            return (yield from perform(lane.defer(work, CHECK_MS, CHECKED)))
        try:
            return (yield from handle(lane, Case(work)))
        except (KatoSessionGone, OutcomeUnknown) as exc:
            # The call may have come after an intent that was written meanwhile: the store knows which is open.
            current = yield from read_again(lane, work)
            return (yield from handle(lane, Case(current, exc), was_open=work.intent is not None))
    except StoreFailed as exc:
        return (yield from park_unreadable(lane, work, str(exc)))
    except KatoUnavailable as exc:
        return (yield from wait_unsent(lane, work, exc))
    except ConfigurationError as exc:
        if lane.check is not None:
            lane.check.forget(lane.url(work))
        return (yield from wait_unsent(lane, work, KatoUnavailable(str(exc), 5.0)))
    except KatoError as exc:
        return (yield from back_off(lane, work, exc))


def is_config_taken(lane: LaneContext, work: Work) -> Program[bool]:
    """Return whether KATO takes the session config; False: another lane is asking it. Raises ConfigNotTaken.

    It need not be known for a session that is only to be kept alive: that one stays as it was made.
    """
    if lane.check is None or not (work.entries or work.predict_id):
        return True
    return (yield from ensure_config_taken(lane.check, lane.url(work)))
