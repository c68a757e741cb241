"""Keep the one runtime of this process. It is opened on first use, and each forked child opens its own."""

from __future__ import annotations

import os
import threading
import time

from kato_tasks.bootstrap.runtime import Runtime, build
from kato_tasks.errors import StoreUnavailable
from kato_tasks.settings import settings

FAIL_FAST_SECONDS = 1.5
"""How long calls fail at once, without asking the store, after it did not answer."""
_lock = threading.Lock()
_current: tuple[int, Runtime] | None = None
_failed: tuple[float, StoreUnavailable] | None = None
"""when (monotonic seconds) the pieces last failed to open, and why"""


def runtime() -> Runtime:
    """Return this process's pieces, which are opened on first use. A forked child opens its own.

    Threads that call this while another thread opens the pieces share its outcome; otherwise they would wait one after
    another for a store that hangs. Raises StoreUnavailable or ConfigurationError if the store cannot be used.
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
    """Return this process's pieces if they are open, else None. This opens nothing."""
    current = _current
    return current[1] if current is not None and current[0] == os.getpid() else None


def forget_runtime(close: bool = False) -> None:
    """Drop this process's pieces, and close them first if ``close`` is set, so that the next use opens new ones.

    A forked child must not use its parent's connections, and tests change the settings.
    """
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
