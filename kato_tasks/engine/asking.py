"""Protocols that ask the store, without input or output: who carries them out may block or await.

Such a protocol is a generator. It yields the operations of one round trip and is sent their answers (or has the error
thrown in), and returns what came of it. It yields no operation at all (``BREATH``) where it has computed for a while,
so that an event loop may do something else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, TypeVar

from kato_tasks.ports.effects import Effect
from kato_tasks.ports.store import Store

T = TypeVar("T")
Asks = Generator[Sequence[Effect[Any]], list[Any], T]
BREATH: tuple[Effect[Any], ...] = ()
BREATH_ENTRIES = 500
"""After so many entries a protocol takes a breath: a few milliseconds."""


def carried_out(store: Store, asks: Asks[T]) -> T:
    """What comes of a protocol whose operations a store carries out, in this thread."""
    try:
        operations = next(asks)
        while True:
            try:
                answers = store.execute(operations) if operations else []
            except Exception as exc:
                operations = asks.throw(exc)
            else:
                operations = asks.send(answers)
    except StopIteration as end:
        result: T = end.value
        return result


async def awaited(execute: Callable[[Sequence[Effect[Any]]], Awaitable[list[Any]]], asks: Asks[T]) -> T:
    """The same on an event loop; ``execute`` answers as ``Store.execute`` does."""
    try:
        operations = next(asks)
        while True:
            try:
                answers = await execute(operations)
            except Exception as exc:
                operations = asks.throw(exc)
            else:
                operations = asks.send(answers)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        asks.close()
