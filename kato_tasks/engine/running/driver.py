"""Runs the drains of many lanes side by side, with one store round trip for all of them and overlapping calls to KATO.

The driver knows nothing of lanes or events. It steps generators, and carries their effects to the store and to KATO. It
belongs to one thread. What a task's driver has under way when the task ends is absorbed by the background driver of the
process.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from kato_tasks.engine.store_retry import STORE_PATIENCE_SECONDS, execute_with_retry
from kato_tasks.ports.effects import Effect, Program, Together
from kato_tasks.ports.kato import KatoRequest, KatoTransport
from kato_tasks.ports.store import Store

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Finished(Generic[T]):
    """A generator that ended: its value, or the error that it did not handle (a lost lease, a store that is away)."""

    key: str
    value: T | None
    error: BaseException | None


@dataclass(slots=True)
class _Running(Generic[T]):
    step: Program[T]
    key: str
    ended: Callable[[Finished[T]], None]


class Driver(Generic[T]):
    """Steps any number of generators until each has ended."""

    def __init__(
        self,
        store: Store,
        kato: KatoTransport,
        *,
        wakeable: bool = False,
        patience_seconds: float = STORE_PATIENCE_SECONDS,
    ) -> None:
        self._store = store
        self._calls = kato.calls(wakeable=wakeable)
        self._patience = patience_seconds
        self._runnable: deque[tuple[_Running[T], Any, BaseException | None]] = deque()
        self._asking: list[tuple[_Running[T], Effect[Any]]] = []
        self._steps: dict[int, _Running[T]] = {}

    def __len__(self) -> int:
        """Return how many generators have not ended."""
        return len(self._steps)

    @property
    def idle(self) -> bool:
        """Whether no generator is left, nor a call to KATO that none waits for (a circuit breaker's probe)."""
        return not self._steps and not len(self._calls)

    def add(self, key: str, step: Program[T], ended: Callable[[Finished[T]], None]) -> None:
        """Take on a generator. ``ended`` is called with its end, in the thread that runs the driver."""
        running = _Running(step, key, ended)
        self._steps[id(running)] = running
        self._runnable.append((running, None, None))

    def run(
        self,
        steps: Sequence[tuple[str, Program[T]]],
        more: Callable[[int], Sequence[tuple[str, Program[T]]]] | None = None,
        *,
        quiet_seconds: float | None = None,
        until: float | None = None,
    ) -> list[Finished[T]]:
        """Run the generators, and return how each ended, in the order in which they ended.

        ``more`` is called whenever something ended, with how many calls to KATO are under way, and returns further
        (key, generator) pairs. Without ``quiet_seconds`` this returns when all have ended. With it, it also returns
        when the calls under way brought nothing for that long, or at ``until`` (monotonic seconds). What is left then
        (``idle`` is False) is for another driver to absorb. An exception that leaves this method ends all generators.
        """
        finished: list[Finished[T]] = []
        left_to_another = False
        try:
            for key, step in steps:
                self.add(key, step, finished.append)
            while True:
                self.advance()
                for key, step in more(len(self._calls)) if more is not None else ():
                    self.add(key, step, finished.append)
                if self._runnable:
                    continue
                if self.idle:
                    break
                if quiet_seconds is None:
                    self.wait()
                elif not self.wait(self._patience_left(quiet_seconds, until)):
                    left_to_another = True
                    break
        finally:
            if not left_to_another:
                self.close()
        return finished

    @staticmethod
    def _patience_left(quiet_seconds: float, until: float | None) -> float:
        return quiet_seconds if until is None else max(0.0, min(quiet_seconds, until - time.monotonic()))

    def advance(self) -> None:
        """Go on with every generator until each waits for KATO or has ended."""
        while self._runnable or self._asking:
            while self._runnable:
                self._advance(*self._runnable.popleft())
            if self._asking:
                self._ask_store()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for an answer of KATO. Returns False where none came in ``timeout`` seconds, or ``wake`` was called."""
        ended = self._calls.wait() if timeout is None else self._calls.wait(timeout)
        self._runnable.extend(ended)
        return bool(ended)

    def wake(self) -> None:
        """Let a ``wait`` in another thread return."""
        self._calls.wake()

    def absorb(self, other: Driver[T], ended: Callable[[Finished[T]], None]) -> None:
        """Go on with every generator of another driver, which this closes. ``ended`` is called with the end of each."""
        for running in other._steps.values():
            running.ended = ended
        self._steps |= other._steps
        self._runnable += other._runnable
        self._asking += other._asking
        self._calls.adopt(other._calls)
        other._steps = {}

    def close(self) -> None:
        """Give every connection back, and end every generator that is left, whose ``finally`` lets its lane go."""
        self._calls.close()
        steps, self._steps = self._steps, {}
        for running in steps.values():
            running.step.close()

    def _advance(self, running: _Running[T], value: Any, error: BaseException | None) -> None:
        try:
            effect = running.step.throw(error) if error is not None else running.step.send(value)
        except StopIteration as stop:
            self._end(running, Finished(running.key, stop.value, None))
        except Exception as exc:  # handed to the caller, who knows what it means for this lane alone
            self._end(running, Finished(running.key, None, exc))
        else:
            if isinstance(effect, KatoRequest):
                self._calls.begin(effect, running)
            else:
                self._asking.append((running, effect))

    def _end(self, running: _Running[T], finished: Finished[T]) -> None:
        del self._steps[id(running)]
        running.ended(finished)

    def _ask_store(self) -> None:
        asking, self._asking = self._asking, []
        operations: list[Effect[Any]] = []
        for _, effect in asking:
            operations.extend(effect.operations if isinstance(effect, Together) else (effect,))
        try:
            answers = iter(execute_with_retry(self._store, operations, self._patience))
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
