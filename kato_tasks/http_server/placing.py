"""Append the valid events of a request, and count what became of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from kato_tasks.engine.appended import AppendedEntry
from kato_tasks.errors import StoreFailed, StoreFull, StoreUnavailable
from kato_tasks.http_server.context import Context
from kato_tasks.http_server.judging import Judged, Outcome
from kato_tasks.http_server.problems import Problem, broken, full

NAMED = 1_000
"""Of so many events a 503 tells the ids that they were given."""


async def place(context: Context, judged: Judged) -> Sequence[AppendedEntry]:
    """Append the valid events of a request. Raises Problem: 429 for a full store, 503 for one that is away."""
    try:
        return await context.append(judged.entries)
    except StoreFull:
        raise full() from None
    except StoreUnavailable:
        named = [{"index": index, "event_id": event_id} for event_id, index in islice(judged.named.items(), NAMED)]
        raise Problem(
            503,
            "The store does not answer, so nothing was accepted. It may have some of the events all the same: repeat "
            "the request with the same event ids or the same Idempotency-Key, and none of them is appended twice. An "
            "event without either had the id that event_ids tells.",
            headers={"retry-after": "2"},
            more={"event_ids": named} if named else {},
        ) from None
    except StoreFailed:
        raise broken() from None


def count_outcomes(context: Context, outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Return how many events were accepted, duplicates and rejected, and count them in the metrics."""
    counts = {"accepted": 0, "duplicate": 0, "rejected": 0}
    for one in outcomes:
        counts[one["status"]] += 1
    for status, number in counts.items():
        if number:
            context.metrics.count_events(status, number)
    return {"accepted": counts["accepted"], "duplicates": counts["duplicate"], "rejected": counts["rejected"]}


__all__ = ["count_outcomes", "place"]
