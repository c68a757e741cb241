"""Keep the process's waker, a port that ``kato_tasks.celery_tasks`` fills when it is loaded.

``celery_tasks`` is loaded when something must be sent for the first time. Until then, appending to the store costs no
import of Celery, and ``api/`` knows nothing of Celery.
"""

from __future__ import annotations

from kato_tasks.loading import load
from kato_tasks.ports.waker import Waker

_FILLED_BY = "kato_tasks.celery_tasks.wakeups"
_waker: Waker | None = None


def fill_waker(waker: Waker) -> None:
    """Use ``waker`` for this process's wake-ups from now on."""
    global _waker
    _waker = waker


def waker() -> Waker:
    """Return this process's waker. If the port has not been filled yet, ``celery_tasks`` is loaded to fill it."""
    if _waker is None:
        load(_FILLED_BY)
    assert _waker is not None, f"{_FILLED_BY} fills the port when it is imported"
    return _waker
