"""Describe the store, which carries out the operations.

A store operation may be carried out twice, because a reply can be late. Each operation therefore names the state from
which it starts, and tokens and call ids are random and made by the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from kato_tasks.ports.effects import Effect
from kato_tasks.ports.listening import KeepBodies, KeepRefusedMessage
from kato_tasks.ports.log import Append, BindNodes, KeepScheduled

GROWING = (Append, BindNodes, KeepBodies, KeepRefusedMessage, KeepScheduled)
"""The operations that make the store grow for good. They are refused with StoreFull while the store has no room."""


class Store(Protocol):
    """Carries out store operations. All operations of one call take one round trip if that is possible."""

    def run(self) -> str:
        """Return which run of the store answers. If this changes, the store may have gone back in time."""
        ...

    def execute(self, operations: Sequence[Effect[Any]]) -> list[Any]:
        """Carry out operations, and return their answers in the same order.

        In place of its answer, an operation that failed by itself has a KatoTasksError: StoreUnavailable if it may be
        tried again, StoreFailed if trying again is of no use, and StoreFull if it is one of ``GROWING`` and there is no
        room. Raises StoreUnavailable if the store did not answer. It is then not known what was carried out, and it is
        safe to repeat the same operations.
        """
        ...
