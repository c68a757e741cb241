"""Keep the process's starter of replays, a port that ``kato_tasks.celery_tasks`` fills when it is loaded."""

from __future__ import annotations

from kato_tasks.loading import load
from kato_tasks.ports.replay_starter import ReplayStarter

_FILLED_BY = "kato_tasks.celery_tasks.tasks"
_starter: ReplayStarter | None = None


def fill_replay_starter(starter: ReplayStarter) -> None:
    """Use ``starter`` for this process's replays from now on."""
    global _starter
    _starter = starter


def replay_starter() -> ReplayStarter:
    """Return this process's starter. If the port has not been filled yet, ``celery_tasks`` is loaded to fill it."""
    if _starter is None:
        load(_FILLED_BY)
    assert _starter is not None, f"{_FILLED_BY} fills the port when it is imported"
    return _starter
