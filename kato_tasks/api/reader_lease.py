"""The right to read a source, of which one listener has it at a time where the source itself does not see to that."""

from __future__ import annotations

import time
import uuid

from kato_tasks.engine.store_retry import raise_errors
from kato_tasks.ports.listening import GiveReaderBack, HoldReader
from kato_tasks.ports.store import Store

KEEP_SECONDS = 10.0
"""A reader that has not made any step for so long has lost its source to one that stands by."""
RENEW_SECONDS = 2.0


class ReaderLease:
    """One listener's right to one source. It is renewed by the reader's own steps, so a reader that hangs loses it."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._name = name
        self._token = uuid.uuid4().hex
        self._held_at = 0.0

    def hold(self) -> bool:
        """Take it, or keep it; return whether this reader has it. Raises StoreUnavailable."""
        now = time.monotonic()
        if self._held_at and now - self._held_at < RENEW_SECONDS:
            return True
        keep_ms = int(KEEP_SECONDS * 1000)
        (held,) = raise_errors(self._store.execute([HoldReader(self._name, self._token, keep_ms)]))
        self._held_at = now if held else 0.0
        return bool(held)

    def give_back(self) -> None:
        """Give it back, so that another reader need not wait for its end. Raises StoreUnavailable."""
        self._held_at = 0.0
        raise_errors(self._store.execute([GiveReaderBack(self._name, self._token)]))
