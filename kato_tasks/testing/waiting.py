"""Waiting for a condition, never for a length of time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class StillWaiting(AssertionError):
    """The condition did not come true in time."""


def wait_until(predicate: Callable[[], T], timeout: float = 10.0, message: str = "", *, every: float = 0.02) -> T:
    """Ask `predicate` every `every` seconds until it is truthy, and return what it said.

    Raises StillWaiting after `timeout` seconds, with `message` and the last answer. An exception of the
    predicate is not caught: one that expects failures turns them into False itself.
    """
    deadline = time.monotonic() + timeout
    while not (answer := predicate()):
        if time.monotonic() >= deadline:
            raise StillWaiting(f"{message or repr(predicate)}: not after {timeout} s (last answer: {answer!r})")
        time.sleep(every)
    return answer
