"""Asking a store that may be away for a moment. Every store operation may be repeated, so waiting costs time only."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from kato_tasks.errors import StoreUnavailable
from kato_tasks.ports import Effect, Store

STORE_PATIENCE_SECONDS = 3.0


def patiently(store: Store, operations: Sequence[Effect[Any]], seconds: float = STORE_PATIENCE_SECONDS) -> list[Any]:
    """The answer of each operation, or its own error in its place.

    What the store could not serve is asked again, alone and for so long; what it refuses for good is not.
    """
    deadline = time.monotonic() + seconds
    pause = 0.05
    answers: list[Any] = [None] * len(operations)
    open_ones = list(range(len(operations)))
    while True:
        try:
            asked: list[Any] = store.execute([operations[i] for i in open_ones])
        except StoreUnavailable as exc:
            asked = [exc] * len(open_ones)
        for i, answer in zip(open_ones, asked, strict=True):
            answers[i] = answer
        open_ones = [i for i in open_ones if isinstance(answers[i], StoreUnavailable)]
        if not open_ones or time.monotonic() + pause > deadline:
            return answers
        time.sleep(pause)
        pause = min(pause * 2, 0.5)


def raise_errors(answers: Sequence[Any]) -> list[Any]:
    """The same answers, when none is an error; else the first error is raised."""
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return list(answers)
