"""The one runtime of this process: opened on first use, and by each forked child for itself."""

from __future__ import annotations

import os
import threading
import time

from kato_tasks.bootstrap.runtime import Runtime, build
from kato_tasks.errors import StoreUnavailable
from kato_tasks.settings import settings

FAIL_FAST_SECONDS = 1.5
"""How long after the store did not answer the next call fails at once, without asking it."""
_lock = threading.Lock()
_current: tuple[int, Runtime] | None = None
_failed: tuple[float, StoreUnavailable] | None = None
"""when (monotonic seconds) the pieces could not be opened last, and why"""


def runtime() -> Runtime:
    """This process's pieces, opened on first use; a forked child opens its own.

    Raises StoreUnavailable. Threads that come while another opens them share what becomes of it: with a store that
    hangs they would otherwise wait for it one after another.
    """
    global _current, _failed
    current = _current
    if current is not None and current[0] == os.getpid():
        return current[1]
    came = time.monotonic()
    with _lock:
        if _current is not None and _current[0] == os.getpid():
            return _current[1]
        if _failed is not None and (_failed[0] >= came or came - _failed[0] < FAIL_FAST_SECONDS):
            raise StoreUnavailable(str(_failed[1])) from _failed[1]
        try:
            _current = (os.getpid(), build(settings()))
        except StoreUnavailable as exc:
            _failed = (time.monotonic(), exc)
            raise
        _failed = None
        return _current[1]


def opened_runtime() -> Runtime | None:
    """This process's pieces if they are open; opens nothing."""
    current = _current
    return current[1] if current is not None and current[0] == os.getpid() else None


def forget_runtime(close: bool = False) -> None:
    """Drop this process's pieces (a fork's child must not use its parent's connections; tests change settings)."""
    global _current, _failed
    with _lock:
        _failed = None
        if close and _current is not None and _current[0] == os.getpid():
            _current[1].close()
        _current = None


def _after_fork() -> None:
    global _lock, _current, _failed
    _lock = threading.Lock()
    _current = _failed = None


os.register_at_fork(after_in_child=_after_fork)

__all__ = ["forget_runtime", "opened_runtime", "runtime"]
