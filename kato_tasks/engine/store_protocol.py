"""Protocols that ask the store without doing input or output, so that a thread or an event loop may carry them out.

Such a protocol is a generator. It yields the operations of one round trip, is sent their answers (or has the error
thrown in), and returns its result. Where it has computed for a while it yields no operation at all (``BREATH``), so
that an event loop can do something else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, TypeVar

from kato_tasks.ports.effects import Effect
from kato_tasks.ports.store import Store

T = TypeVar("T")
StoreProtocol = Generator[Sequence[Effect[Any]], list[Any], T]
BREATH: tuple[Effect[Any], ...] = ()
BREATH_ENTRIES = 500
"""A protocol yields ``BREATH`` after this many entries, which take a few milliseconds."""


def carry_out(store: Store, asks: StoreProtocol[T]) -> T:
    """Carry a protocol out on a store in this thread, and return its result. Raises what the store or it raises."""
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


async def carry_out_async(
    execute: Callable[[Sequence[Effect[Any]]], Awaitable[list[Any]]], asks: StoreProtocol[T]
) -> T:
    """Carry a protocol out on an event loop, and return its result. ``execute`` answers as ``Store.execute`` does."""
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
