"""Answers of Redis to plain commands, and what its errors become."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

import redis
from redis.exceptions import RedisError

from kato_tasks.errors import StoreUnavailable

T = TypeVar("T")


@contextmanager
def redis_errors() -> Iterator[None]:
    """Make StoreUnavailable of whatever Redis, or the way to it, answers instead of what was asked."""
    try:
        yield
    except RedisError as exc:
        raise no_answer(exc) from exc


def no_answer(exc: RedisError) -> StoreUnavailable:
    """Return the error that says that the store could not be asked."""
    return StoreUnavailable(f"Redis does not answer: {exc}")


def answers_of(pipe: redis.client.Pipeline, *, raise_on_error: bool = True) -> list[Any]:
    """Return the answers to what was put into the pipeline, in one round trip. Raises StoreUnavailable.

    With ``raise_on_error`` False, a command that Redis refused has its error in its place.
    """
    with redis_errors():
        answers: list[Any] = pipe.execute(raise_on_error=raise_on_error)
    return answers


def all_answered(answers: Sequence[Any]) -> list[Any]:
    """Return the answers of store operations, and raise the first that is an error."""
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return list(answers)


def ms_of(time: tuple[int, int]) -> int:
    """Return the answer of TIME in milliseconds."""
    seconds, micros = time
    return int(seconds) * 1000 + int(micros) // 1000


def chunks(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the rows, ``size`` at a time."""
    rows = iter(rows)
    while some := list(islice(rows, size)):
        yield some
