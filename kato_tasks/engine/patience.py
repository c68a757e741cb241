"""Asking a store that may be away for a moment. Every store operation may be repeated, so waiting costs time only."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from kato_tasks.errors import StoreUnavailable
from kato_tasks.ports import Effect, Store

STORE_PATIENCE_SECONDS = 3.0


def patiently(store: Store, operations: Sequence[Effect[Any]], seconds: float = STORE_PATIENCE_SECONDS) -> list[Any]:
    """``store.execute``, again and again for so long; then StoreUnavailable."""
    deadline = time.monotonic() + seconds
    pause = 0.05
    while True:
        try:
            return store.execute(operations)
        except StoreUnavailable:
            if time.monotonic() + pause > deadline:
                raise
            time.sleep(pause)
            pause = min(pause * 2, 0.5)
