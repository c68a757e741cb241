"""Asking a store that may be away for a moment. Every store operation may be repeated, so waiting costs time only."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from kato_tasks.errors import StoreUnavailable
from kato_tasks.ports.effects import Effect
from kato_tasks.ports.store import Store

STORE_PATIENCE_SECONDS = 3.0


def patiently(store: Store, operations: Sequence[Effect[Any]], seconds: float = STORE_PATIENCE_SECONDS) -> list[Any]:
    """The answer of each operation, or its own error in its place.

    What the store could not serve is asked again, alone and for so long; what it refuses for good is not.
    """
    deadline = time.monotonic() + seconds
    pause = 0.05
    answers = _asked(store, operations)
    while open_ones := [i for i, answer in enumerate(answers) if isinstance(answer, StoreUnavailable)]:
        if time.monotonic() + pause > deadline:
            break
        time.sleep(pause)
        pause = min(pause * 2, 0.5)
        again = _asked(store, [operations[i] for i in open_ones])
        for i, answer in zip(open_ones, again, strict=True):
            answers[i] = answer
    return answers


def _asked(store: Store, operations: Sequence[Effect[Any]]) -> list[Any]:
    try:
        return store.execute(operations)
    except StoreUnavailable as exc:
        return [exc] * len(operations)


def raise_errors(answers: Sequence[Any]) -> list[Any]:
    """The same answers, when none is an error; else the first error is raised."""
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return list(answers)
