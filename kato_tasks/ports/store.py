"""The store that carries the operations out.

Every store operation may be carried out twice (a reply can be late): each names what it starts from, and
tokens and call ids are random and made by the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from kato_tasks.ports.effects import Effect
from kato_tasks.ports.log import Append, BindNodes, KeepScheduled

GROWING = (Append, BindNodes, KeepScheduled)
"""What makes the store grow for good, and is refused (StoreFull) while it has no room."""


class Store(Protocol):
    """Carries out store operations, all of one call in one round trip where it can."""

    def run(self) -> str:
        """Which run of the store answers; another value means that it may have gone back in time."""
        ...

    def execute(self, operations: Sequence[Effect[Any]]) -> list[Any]:
        """The answer of each, or in its place the KatoTasksError of one that failed by itself.

        Of these StoreUnavailable means that it may be tried again, StoreFailed that this is of no use; one of
        ``GROWING`` is StoreFull while there is no room. Raises StoreUnavailable when the store did not answer; what was
        carried out is then not known, and repeating the same operations is safe.
        """
        ...
