"""Ask a store that may be away for a moment. Every store operation may be repeated, so to wait costs time only."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from kato_tasks.errors import StoreUnavailable
from kato_tasks.ports.effects import Effect
from kato_tasks.ports.store import Store

STORE_PATIENCE_SECONDS = 3.0
"""How long a store that does not answer is asked again."""


def execute_with_retry(
    store: Store, operations: Sequence[Effect[Any]], seconds: float = STORE_PATIENCE_SECONDS
) -> list[Any]:
    """Return the answer of each operation, or its own error in its place.

    Operations that end with StoreUnavailable are asked again, by themselves, for at most ``seconds``. What the store
    refuses for good (StoreFailed) is not.
    """
    deadline = time.monotonic() + seconds
    pause = 0.05
    answers = _execute(store, operations)
    while open_ones := [i for i, answer in enumerate(answers) if isinstance(answer, StoreUnavailable)]:
        if time.monotonic() + pause > deadline:
            break
        time.sleep(pause)
        pause = min(pause * 2, 0.5)
        again = _execute(store, [operations[i] for i in open_ones])
        for i, answer in zip(open_ones, again, strict=True):
            answers[i] = answer
    return answers


def _execute(store: Store, operations: Sequence[Effect[Any]]) -> list[Any]:
    try:
        return store.execute(operations)
    except StoreUnavailable as exc:
        return [exc] * len(operations)


def raise_errors(answers: Sequence[Any]) -> list[Any]:
    """Return the same answers if there is no error among them. Otherwise raises the first error."""
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return list(answers)
