"""Runs many lanes' drains side by side: one store round trip for all that ask, KATO calls overlapping.

The driver knows nothing of lanes or events: it steps generators and carries effects to the store and to
KATO. One driver serves one wake-up, in one thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from kato_tasks.engine.patience import STORE_PATIENCE_SECONDS, patiently
from kato_tasks.ports import Effect, KatoRequest, KatoTransport, Step, Store, Together

T = TypeVar("T")


@dataclass(slots=True)
class _Running(Generic[T]):
    step: Step[T]
    key: str


@dataclass(frozen=True, slots=True)
class Finished(Generic[T]):
    """A step that ended: its value, or the error that it did not handle (a lost lease, a store that is away)."""

    key: str
    value: T | None
    error: BaseException | None


class Driver(Generic[T]):
    """Steps any number of generators until each has ended.

    ``more`` is asked for further (key, step) pairs whenever something ended; it may answer none.
    """

    def __init__(
        self,
        store: Store,
        kato: KatoTransport,
        *,
        patience_seconds: float = STORE_PATIENCE_SECONDS,
    ) -> None:
        self._store = store
        self._calls = kato.calls()
        self._patience = patience_seconds
        self._runnable: deque[tuple[_Running[T], Any, BaseException | None]] = deque()
        self._asking: list[tuple[_Running[T], Effect[Any]]] = []

    def run(
        self,
        steps: Sequence[tuple[str, Step[T]]],
        more: Callable[[int], Sequence[tuple[str, Step[T]]]] | None = None,
    ) -> list[Finished[T]]:
        """Run all steps to their end and return how each ended, in the order of ending."""
        finished: list[Finished[T]] = []
        for key, step in steps:
            self._runnable.append((_Running(step, key), None, None))
        while True:
            while self._runnable:
                ended = self._advance(*self._runnable.popleft())
                if ended is not None:
                    finished.append(ended)
            if self._asking:
                self._ask_store()
                continue
            if more is not None:
                added = more(len(self._calls))
                for key, step in added:
                    self._runnable.append((_Running(step, key), None, None))
                if added:
                    continue
            if not len(self._calls):
                self._calls.close()
                return finished
            self._runnable.extend(self._calls.wait())

    def _advance(self, running: _Running[T], value: Any, error: BaseException | None) -> Finished[T] | None:
        try:
            effect = running.step.throw(error) if error is not None else running.step.send(value)
        except StopIteration as stop:
            return Finished(running.key, stop.value, None)
        except Exception as exc:  # handed to the caller, who knows what it means for this lane alone
            return Finished(running.key, None, exc)
        if isinstance(effect, KatoRequest):
            self._calls.begin(effect, running)
        else:
            self._asking.append((running, effect))
        return None

    def _ask_store(self) -> None:
        asking, self._asking = self._asking, []
        operations: list[Effect[Any]] = []
        for _, effect in asking:
            operations.extend(effect.operations if isinstance(effect, Together) else (effect,))
        try:
            answers = iter(patiently(self._store, operations, self._patience))
        except Exception as exc:
            for running, _ in asking:
                self._runnable.append((running, None, exc))
            return
        for running, effect in asking:
            if isinstance(effect, Together):
                part = [next(answers) for _ in effect.operations]
                failed = next((a for a in part if isinstance(a, Exception)), None)
                self._runnable.append((running, part, failed))
            else:
                answer = next(answers)
                if isinstance(answer, Exception):
                    self._runnable.append((running, None, answer))
                else:
                    self._runnable.append((running, answer, None))
