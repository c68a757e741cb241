"""The process's waker: ``kato_tasks.celery_tasks`` fills this port when it is loaded.

It is loaded when something must be sent for the first time, so appending to the store costs no import of Celery until
then, and ``api/`` knows nothing of Celery.
"""

from __future__ import annotations

from importlib import import_module

from kato_tasks.ports.waker import Waker

_FILLED_BY = "kato_tasks.celery_tasks.wakeups"
_waker: Waker | None = None


def fill_waker(waker: Waker) -> None:
    """Use ``waker`` for this process's wake-ups from now on."""
    global _waker
    _waker = waker


def waker() -> Waker:
    """Return this process's waker; loads ``celery_tasks`` if nothing has filled the port yet."""
    if _waker is None:
        import_module(_FILLED_BY)
    assert _waker is not None, f"{_FILLED_BY} fills the port when it is imported"
    return _waker
