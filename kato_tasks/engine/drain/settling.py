"""Settle a learn whose outcome is unknown, by its pattern's frequency: the only trace that a learn leaves.

1. ``learn``: its KATO session is deleted, so that a learn that lands late gets 404. The session waits as a due time
   until no call can land any more; no worker slot waits with it.
2. ``settle``: the session is rebuilt, ClickHouse must answer, and the frequency is read. One more than before: the
   learn is done. Unchanged: it is sent again.
3. ``verify``: the frequency is read once more, because a learn that failed may have counted without leaving a row.

Anything else is counted in ``learns_unknown``, the node is marked for a rebuild, and by ``on_unknown_learn`` the
session goes on or is parked. While an intent of these kinds is open no other session of the lane learns that pattern.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from kato_tasks.domain.kato_session import Binding, Intent
from kato_tasks.domain.stm import pattern_name
from kato_tasks.engine.drain import kato_api
from kato_tasks.engine.drain.context import LaneContext, new_call_id, refuse_head, send_together
from kato_tasks.engine.drain.kato_session import NotLearned, RebuiltSession, bind, delete_surely, discard, rebuild
from kato_tasks.engine.drain.learning import clear_after_learn, commit_learn
from kato_tasks.errors import KatoError, KatoFailed, KatoRejected, OutcomeUnknown
from kato_tasks.ports.effects import Program, perform
from kato_tasks.ports.lanes import Count, FlagNodeForRebuild, KnownPattern, NextWork, Work, WriteIntent
from kato_tasks.telemetry.log_events import log_event

log = logging.getLogger(__name__)


def settle(lane: LaneContext, work: Work, intent: Intent) -> Program[NextWork]:
    """Take the learn at the head one step further.

    Raises KatoError where that fails. The intent stays open then, and the same step is taken again later.
    """
    if intent.kind == "learn":
        assert work.binding is not None
        yield from delete_surely(lane, work, work.binding)
        return (yield from _wait(lane, work, intent, replace(intent, call=new_call_id(), kind="settle")))
    if intent.kind == "verify":
        return (yield from _verify(lane, work, intent))
    made = yield from rebuild(lane, work)
    new = made.binding
    try:
        after = yield from _read_frequency(work, new, intent.pattern)
    except KatoError:
        yield from discard(work, new.url, new.kato_session)
        raise
    before = intent.frequency or 0
    if intent.pattern and after == before:
        if intent.forgotten and before:
            # It may have been counted already when ``before`` was read, while KATO had not emptied the STM yet.
            yield from perform(Count(work.lane, "learns_in_doubt"))
        if pattern_name(made.stm) != intent.pattern:
            return (yield from _begin_again(lane, work, intent, made))
        return (yield from _learn_again(lane, work, intent, new))
    park = ""
    if intent.pattern and after != before + 1:
        park = yield from _count_unknown_learn(lane, work, before, after)
    yield from discard(work, new.url, new.kato_session)
    return (yield from commit_learn(lane, work, intent, None, park))


def _wait(lane: LaneContext, work: Work, intent: Intent, waiting: Intent) -> Program[NextWork]:
    """Write the intent that waits, and let the session wait until no learn can take effect any more."""
    yield from perform(WriteIntent(lane.lease, work.session, work.cursor, waiting, replaces_call=intent.call))
    why = "the outcome of a learn is unknown; waiting until it can be read"
    return (yield from perform(lane.defer(work, lane.options.settle_ms, why, unsent=0)))


def _read_frequency(work: Work, binding: Binding, pattern: str) -> Program[int]:
    """Return how often KATO counts the pattern. Raises OutcomeUnknown where ClickHouse does not answer for certain."""
    if not pattern:
        return 0
    # ClickHouse must answer 200 here, or an unknown pattern would look like one never learned.
    try:
        yield from kato_api.read_predictions(binding.url, binding.kato_session)
    except OutcomeUnknown:
        # It may be these predictions alone that take too long. A pattern that is there for certain tells.
        known = yield from perform(KnownPattern(work.lane))
        if not known or known == pattern or not (yield from kato_api.read_frequency(binding.url, binding.node, known)):
            raise
    return (yield from kato_api.read_frequency(binding.url, binding.node, pattern))


def _learn_again(lane: LaneContext, work: Work, intent: Intent, new: Binding) -> Program[NextWork]:
    """Send the learn again, for the first one left no trace. If this fails it is settled from the start again."""
    again = replace(intent, call=new_call_id(), kind="learn", again=True)
    yield from perform(WriteIntent(lane.lease, work.session, work.cursor, again, new, replaces_call=intent.call))
    try:
        yield from kato_api.learn(new.url, new.kato_session)
    except (KatoFailed, KatoRejected) as exc:
        # A moment ago it answered all that a learn needs.
        raise NotLearned(str(exc)) from exc
    return (yield from _wait(lane, work, again, replace(again, call=new_call_id(), kind="verify")))


def _begin_again(lane: LaneContext, work: Work, intent: Intent, made: RebuiltSession) -> Program[NextWork]:
    """Begin the learn again as if nothing had been sent: KATO holds the STM in another order, and under another name.

    The first learn may have counted without leaving a row, which would not show under the new name. It is counted.
    """
    yield from perform(Count(work.lane, "learns_in_doubt"))  # of the name it had
    yield from bind(lane, work, made, intent.call)
    why = "a learn left no trace, and the rebuilt STM has another name"
    return (yield from perform(lane.defer(work, 0, why)))


def _verify(lane: LaneContext, work: Work, intent: Intent) -> Program[NextWork]:
    """Read the frequency after the second learn, then clear and commit."""
    assert work.binding is not None
    after = yield from kato_api.read_frequency(work.binding.url, work.binding.node, intent.pattern)
    before = intent.frequency or 0
    park = "" if after == before + 1 else (yield from _count_unknown_learn(lane, work, before, after))
    return (yield from clear_after_learn(lane, work, intent, park))


def _count_unknown_learn(lane: LaneContext, work: Work, before: int, after: int) -> Program[str]:
    """Count a learn whose outcome cannot be known any more, and mark its node for a rebuild.

    Returns the record with which the session is parked after the learn, or '' where it goes on.
    """
    counts = f"{before} before and {after} after"
    log_event(log, logging.WARNING, "learn.unknown", session=work.session, lane=work.lane, counted=counts)
    yield from send_together((Count(work.lane, "learns_unknown"), FlagNodeForRebuild(work.lane)))
    if lane.on_unknown_learn == "go_on":
        return ""
    answer = f"the pattern's frequency was {before} before and is {after}"
    return refuse_head(work, "the outcome of a learn cannot be known", answer, attempts=work.attempts).dump()
