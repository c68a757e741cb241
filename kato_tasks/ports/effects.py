"""What the engine asks of the world, as plain values.

The engine is written as generators that yield these values and are sent the answers (or have the errors
thrown in), so it has no input or output of its own: a driver may run one lane alone or hundreds side by
side, put all pending store operations into one round trip and overlap the calls to KATO.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Effect(Generic[T]):
    """Something to be done outside the engine; ``T`` is the type of its answer."""


Program = Generator[Effect[Any], Any, T]
"""A generator that yields effects, is sent their answers, and returns a ``T``."""


def perform(effect: Effect[T]) -> Program[T]:
    """Yield one effect and return its answer, with its type; call it with ``yield from``."""
    return cast(T, (yield effect))


@dataclass(frozen=True, slots=True)
class Together(Effect[list[Any]]):
    """Several store operations in one round trip; it fails as a whole if one of them fails."""

    operations: tuple[Effect[Any], ...]
